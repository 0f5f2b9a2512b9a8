"""cluster: the cast of a comic without labels, as a table to edit, exports, and a gallery to look at."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mfc.adapt.adaptation import find_constraints, plan_adaptation
from mfc.cast.decisions import Label, Sheet, decisions, hard_pairs, number_clusters, read_sheet
from mfc.cast.exports import ClusteredFace, as_coco, as_csv, as_manga109, cluster_name
from mfc.clusters.counting import density_clusters, silhouette_clusters
from mfc.clusters.linkage import average_linkage, components
from mfc.config import Cluster, Finetune, Preprocess, parse_auto
from mfc.corpus.comics import Comic, lasting_id, read_comic
from mfc.encoders.device import Compute, pick_compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import WEIGHTS_NAME, Encoder, load_encoder
from mfc.encoders.training import fit
from mfc.errors import UserError
from mfc.faces.build import cut_books
from mfc.faces.pairs import NO_PAIRS, cannot_links_from_frames
from mfc.faces.selection import Selection, page_and_frame_codes, select
from mfc.faces.store import FaceStore, open_store
from mfc.files import file_digest, value_digest
from mfc.log import Log, progress
from mfc.processes import available_cores, workers
from mfc.report.galleries import (
    GalleryCluster,
    GalleryFace,
    data_uri,
    gallery_index,
    gallery_page,
    gallery_section,
)

TABLE, GALLERY, COCO, XML, RECORD = (
    "clusters.csv",
    "gallery.html",
    "coco.json",
    "manga109.xml",
    "cluster.json",
)
"""The files of a result; the record is written last."""


@dataclass(frozen=True)
class Job:
    """A call whose arguments and inputs have been read and found good; nothing is written yet."""

    config: Cluster
    comic: Comic
    n_clusters: int | None
    threshold: float | None
    sheet: Sheet | None
    labels: Mapping[str, Label]
    out: Path

    @property
    def needs_calibration(self) -> bool:
        """Whether the number of clusters is to be told by a cut that nobody gave."""
        guess = self.n_clusters is None and self.threshold is None
        return guess and self.config.method == "agglomerative"


def open_job(config: Cluster, default_out: Callable[[str], Path], overwrite: bool) -> Job:
    """Read and check everything that a person may have got wrong, before anything takes time.

    Args:
        default_out: name of the comic → where its result goes when ``config.out`` is empty.

    Raises:
        UserError: naming the option, file, line, column or id.
    """
    n_clusters = parse_auto("n_clusters", config.n_clusters, int, 1)
    threshold = parse_auto("threshold", config.threshold, float, 0)
    if not config.input:
        raise UserError("cluster: give the comic's folder by --input (see `mfc cluster --help`)")
    if config.method == "hdbscan" and n_clusters is not None:
        raise UserError("method hdbscan finds the number of clusters itself; leave --n_clusters out")
    if config.corrections and config.method != "agglomerative":
        raise UserError(
            f"corrections hold with --method agglomerative only, not with {config.method}; leave --method out"
        )
    if config.corrections and config.previous:
        raise UserError("corrections are a previous result too; leave --previous out")
    comic = read_comic(
        Path(config.input),
        title=config.title,
        boxes=config.boxes,
        frames=config.frames,
        annotations=config.annotations,
        strict=config.strict,
    )
    face_ids = {face.face_id for page in comic.book.pages for face in page.faces}
    given = config.corrections or config.previous
    sheet = _with_lasting_ids(read_sheet(Path(given)), face_ids) if given else None
    if sheet and config.corrections:
        _all_known(sheet, face_ids)
    # What was decided in earlier rounds holds with --previous too, where the method can hold to it.
    labels = decisions(sheet) if sheet and config.method == "agglomerative" else {}
    labels = {face_id: label for face_id, label in labels.items() if face_id in face_ids}
    people = len(set(labels.values()))
    if n_clusters is not None and n_clusters < people:
        raise UserError(
            f"n_clusters {n_clusters} is less than the {people} people that {given} tells apart; give at "
            f"least {people}"
        )
    out = Path(config.out) if config.out else default_out(comic.book.title)
    _may_write(out, given, overwrite)
    return Job(config, comic, n_clusters, threshold, sheet, labels, out)


def _with_lasting_ids(sheet: Sheet, face_ids: set[str]) -> Sheet:
    """A table of version 0.1 with the ids that its faces have now."""

    def now(face_id: str) -> str:
        return face_id if face_id in face_ids else lasting_id(face_id)

    return dataclasses.replace(
        sheet, rows=tuple(dataclasses.replace(row, face_id=now(row.face_id)) for row in sheet.rows)
    )


def _all_known(sheet: Sheet, face_ids: set[str]) -> None:
    for row in sheet.rows:
        if row.face_id not in face_ids:
            raise UserError(
                f"{sheet.path}, line {row.line}: face {row.face_id} is not in the comic; give the comic that "
                "the table was made from, and let the spreadsheet read the column face_id as text"
            )


def _may_write(out: Path, given: str, overwrite: bool) -> None:
    """Refuse to write over what is not ours, and over a person's work that was not handed in."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; give a folder")
    there = [name for name in (TABLE, GALLERY, COCO, XML) if (out / name).exists()]
    if there and not (out / RECORD).is_file():
        raise UserError(f"--out {out} holds a {there[0]} that is not from `mfc cluster`; give another folder")
    table = out / TABLE
    if overwrite or not table.is_file() or (given and Path(given).resolve() == table.resolve()):
        return
    if not given and read_sheet(table).touched:
        raise UserError(
            f"{table} holds names or moves by hand: keep them by --corrections {table}, write elsewhere by "
            "--out, or drop them by --overwrite true"
        )


def run(
    job: Job,
    cutting: Preprocess,
    adaptation: Finetune,
    model: Path,
    threshold: Callable[[Encoder, Compute], float],
    work: Path,
    log: Log,
) -> Path:
    """Cluster the comic of a job; returns the folder of the result.

    Args:
        cutting: how faces are cut, as for the encoder's training.
        adaptation: how the encoder is adapted.
        model: folder of the encoder.
        threshold: the calibrated cut; asked only if the job needs it.
        work: parent of folders for cut faces and adapted encoders, each named after all it depends on.
    """
    config, comic = job.config, job.comic
    for note in comic.notes:
        log.say(f"cluster: {note}")
    compute = pick_compute(config.device, config.precision)
    encoder = load_encoder(model, compute.device)
    cut = job.threshold
    if job.needs_calibration:
        cut = threshold(encoder, compute)
    store = _store(job, cutting, work, log)
    title = comic.book.title
    selection = select(store, [title], others=True)
    face_ids = selection.faces["face_id"].astype(str).tolist()
    _tell_left_out(store, log)

    features = embed(encoder, store.crops, selection.rows, batch_size=config.batch_size, compute=compute)
    must, cannot = _pairs(job, selection, face_ids)
    adapted = None
    if _adaptable(job, selection, log):
        folders = [work / "adapted"]
        adapted = adapt_to(title, adaptation, store, model, config.seed, folders, compute, log)
    last = features
    if adapted is not None:
        last = embed(adapted, store.crops, selection.rows, batch_size=config.batch_size, compute=compute)
    if config.method == "hdbscan":
        clusters = density_clusters(last)
    elif config.method == "silhouette":
        clusters = silhouette_clusters(last, config.seed, job.n_clusters)
    else:
        clusters = _agglomerate(job, cut, features, last, must, cannot, log)
    numbers, names = number_clusters(clusters, face_ids, job.sheet, job.labels)
    faces = _faces(selection, face_ids, numbers, names, last, job.labels)

    sizes = np.bincount(numbers)
    counts = {
        "faces": len(faces),
        "clusters": int((sizes > 0).sum()),
        "singletons": int((sizes == 1).sum()),
        "decided": sum(face.decided for face in faces),
    }
    log.say(
        f"cluster {title}: {counts['faces']:,} faces in {counts['clusters']} clusters, "
        f"{counts['singletons']} of them a single face"
    )
    record = {
        "comic": comic.fingerprint(),
        "encoder": file_digest(model / WEIGHTS_NAME),
        "adapted": adapted is not None,
        "threshold": cut,
        "counts": counts,
        "parameters": dataclasses.asdict(config),
        "finetune": dataclasses.asdict(adaptation) if adapted is not None else None,
    }
    files = {
        TABLE: as_csv(faces, comic.names),
        COCO: as_coco(faces, comic.book, comic.names),
        XML: as_manga109(faces, comic.book),
        GALLERY: gallery(job, faces, store.crops, selection.rows, counts),
        RECORD: json.dumps(record, ensure_ascii=False, indent=1) + "\n",
    }
    _publish(files, job.out)
    log.metrics({f"cluster/{name}": float(count) for name, count in counts.items()})
    for name in (TABLE, COCO, XML, RECORD):
        log.text(name, files[name])
    log.file(job.out / GALLERY, artwork=True)
    log.say(f"cluster: look at {job.out / GALLERY}; name and move faces in {job.out / TABLE}")
    return job.out


def _store(job: Job, cutting: Preprocess, work: Path, log: Log) -> FaceStore:
    """The faces of the comic, cut now or in an earlier call."""
    config, comic = job.config, job.comic
    smallest = cutting.min_side if config.min_side is None else config.min_side
    cutting = dataclasses.replace(
        cutting,
        min_side=smallest if comic.pages_known else 0,
        strict=config.strict,
        export_crops=False,
        reference_quirks=False,
    )
    title = comic.book.title
    meta = {
        "corpus": comic.fingerprint(),
        "parameters": {name: getattr(cutting, name) for name in ("size", "color", "min_side", "strict")},
        "splits": {"train": [], "val": [], "test": [title]},
    }
    path = work / "faces" / value_digest(meta)
    if (path / "store.json").is_file():
        return open_store(path)
    with workers(cutting.jobs or available_cores()) as executor:
        return cut_books(
            cutting,
            [comic.book],
            lambda _, index: comic.pictures[index],
            meta,
            path,
            executor,
            log,
            expand=comic.pages_known,
        )


def _tell_left_out(store: FaceStore, log: Log) -> None:
    dropped = store.table["drop_reason"].value_counts()
    if len(dropped):
        why = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        log.say(f"cluster: {int(dropped.sum()):,} faces are left out ({why})")


def _pairs(job: Job, selection: Selection, face_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Must-links and cannot-links: the person's, and one frame's where the person did not say otherwise."""
    must, cannot = hard_pairs(face_ids, job.labels)
    _, frames = page_and_frame_codes(selection.faces)
    apart = cannot_links_from_frames(frames) if job.comic.pages_known else NO_PAIRS
    groups = components(len(face_ids), must)
    apart = apart[groups[apart[:, 0]] != groups[apart[:, 1]]]
    return must, np.concatenate([cannot, apart])


def _adaptable(job: Job, selection: Selection, log: Log) -> bool:
    if not job.config.adapt:
        return False
    _, frames = page_and_frame_codes(selection.faces)
    if job.comic.pages_known and len(cannot_links_from_frames(frames)):
        return True
    lacking = "two faces in one frame" if job.comic.pages_known else "pages"
    log.say(
        f"cluster: not adapted to the comic, because no {lacking} are known; the encoder is used as it is"
    )
    return False


def adapt_to(
    title: str,
    adaptation: Finetune,
    store: FaceStore,
    model: Path,
    seed: int,
    folders: Sequence[Path],
    compute: Compute,
    log: Log,
) -> Encoder:
    """The encoder in ``model``, adapted to a title of a store without its labels.

    Args:
        folders: where a finished adaptation may lie; a new one goes below the last.
    """
    encoder = load_encoder(model, compute.device)
    selection = select(store, [title], others=True)
    constraints = find_constraints(adaptation, store, encoder, selection, compute)
    log.say(
        f"cluster {title}: adapting to {len(selection.rows):,} faces by {len(constraints.must_link):,} "
        f"must-links and {len(constraints.cannot_link):,} cannot-links, on {compute}"
    )
    plans = [
        plan_adaptation(
            adaptation, store, model, encoder, title, seed, out, selection, constraints, lambda *_: {}
        )
        for out in folders
    ]
    done = [plan for plan in plans if (plan.folder / "training.json").is_file()]
    plan = [*done, plans[-1]][0]
    return fit(encoder, plan.task, plan.plan, compute, plan.folder, log)


def _agglomerate(
    job: Job,
    cut: float | None,
    features: np.ndarray,
    last: np.ndarray,
    must: np.ndarray,
    cannot: np.ndarray,
    log: Log,
) -> np.ndarray:
    """Clusters of the ``last`` features; their number, when not given, from the cut of ``features``."""
    tree = average_linkage(last, must, cannot)
    wanted = job.n_clusters
    if wanted is None and cut is not None:
        before = tree if last is features else average_linkage(features, must, cannot)
        wanted = len(np.unique(before.cut(cut)))
    wanted = wanted or tree.most
    if job.n_clusters is not None and not tree.fewest <= wanted <= tree.most:
        log.say(
            f"cluster: {wanted} clusters are not to be had; faces of one frame and your corrections allow "
            f"{tree.fewest} to {tree.most}"
        )
    return tree.cut_into(wanted)


def _faces(
    selection: Selection,
    face_ids: Sequence[str],
    numbers: np.ndarray,
    names: Mapping[int, str],
    features: np.ndarray,
    labels: Mapping[str, Label],
) -> list[ClusteredFace]:
    sizes = np.bincount(numbers)
    centres = np.zeros((len(sizes), features.shape[1]), np.float64)
    np.add.at(centres, numbers, features)
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    distances = np.maximum(1 - (features * centres[numbers]).sum(axis=1), 0)
    boxes = selection.faces[["xmin", "ymin", "xmax", "ymax"]].to_numpy(dtype=int).tolist()
    pages = selection.faces["page_index"].tolist()
    return [
        ClusteredFace(
            face_id,
            int(page),
            (box[0], box[1], box[2], box[3]),
            int(number),
            names.get(int(number), ""),
            face_id in labels,
            float(distance),
            bool(sizes[number] == 1),
        )
        for face_id, page, box, number, distance in zip(
            face_ids, pages, boxes, numbers, distances, strict=True
        )
    ]


def gallery(
    job: Job,
    faces: Sequence[ClusteredFace],
    crops: np.ndarray,
    rows: np.ndarray,
    counts: Mapping[str, int],
) -> str:
    """The clusters as a page: larger ones first, faces nearest to the centre first, single faces at the end.

    Args:
        crops, rows: a face store's crops, and which of them the faces are.
    """
    shown: dict[int, list[tuple[float, GalleryFace]]] = {}
    singles: list[GalleryFace] = []
    named: dict[int, str] = {}
    for face, row in progress(list(zip(faces, rows, strict=True)), label="cluster: gallery"):
        page = job.comic.names[face.page]
        where = f"page {page}" if job.comic.pages_known else page
        who = f"{cluster_name(face.cluster, face.name)}: " if face.singleton else ""
        caption = f"{who}{where}" + (f", {face.face_id}" if job.comic.pages_known else "")
        picture = GalleryFace(
            data_uri(crops[row]),
            f"Face {face.face_id}, {where}",
            caption + (" ✓" if face.decided else ""),
        )
        named[face.cluster] = cluster_name(face.cluster, face.name)
        if face.singleton and not face.name:
            singles.append(picture)
        else:
            shown.setdefault(face.cluster, []).append((face.distance, picture))
    order = sorted(shown, key=lambda number: (-len(shown[number]), number))
    clusters = [
        GalleryCluster(
            f"cluster-{number}",
            named[number],
            [picture for _, picture in sorted(shown[number], key=lambda item: item[0])],
            f"number {number}" if named[number] != cluster_name(number, "") else "",
        )
        for number in order
    ]
    if singles:
        clusters.append(GalleryCluster("single", "Single faces", singles, "each a cluster of its own"))
    intro = [
        f"{counts['faces']:,} faces in {counts['clusters']} clusters; faces alone in theirs: "
        f"{counts['singletons']}. In each cluster the face nearest to its centre comes first, the most "
        "doubtful last.",
        f"To name or move faces, edit the columns `cluster` and `name` of `{TABLE}` beside this page and run "
        f"`mfc cluster` again with `--corrections`. A ✓ marks what was decided by hand.",
    ]
    body = gallery_index(clusters) + gallery_section(clusters)
    return gallery_page(f"The cast of {job.comic.book.title}", intro, body)


def _publish(files: Mapping[str, str], out: Path) -> None:
    """Write all files beside their places, then move them there; other files in the folder are left alone."""
    out.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=out, prefix=".writing-"))
    try:
        for name, text in files.items():
            (scratch / name).write_text(text, encoding="utf-8")
        for name in files:
            (scratch / name).replace(out / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def describe(folder: Path) -> dict[str, Any]:
    """The record of a result."""
    record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return record
