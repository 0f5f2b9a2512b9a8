"""cluster: the cast of a comic without labels, as a table to edit, exports, and a gallery to look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mfc.adapt.adapt import adapt
from mfc.cast.agglomeration import NO_HINTS, Held, Hints, agglomerate, hints_of, hold
from mfc.cast.changes import tell_changes
from mfc.cast.exports import as_coco, as_manga109, picture_names, with_page_sizes
from mfc.cast.gallery import gallery
from mfc.cast.job import Job
from mfc.cast.numbering import number_clusters
from mfc.cast.result import COCO, GALLERY, RECORD, TABLE, XML, publish
from mfc.cast.table import as_csv, tabulate
from mfc.clusters.counting import density_clusters, silhouette_clusters
from mfc.clusters.linkage import refuse_too_many
from mfc.config import STORE, Finetune, Preprocess, affecting
from mfc.encoders.device import Compute, pick_compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import WEIGHTS_NAME, Encoder, load_encoder
from mfc.faces.build import cut_books, stop_if_strict
from mfc.faces.selection import select
from mfc.faces.store import STORE_FILE, FaceStore, open_store
from mfc.files import file_digest, value_digest
from mfc.log import Log
from mfc.processes import available_cores, workers
from mfc.workspace import Workspace


def cluster_comic(
    job: Job,
    cutting: Preprocess,
    adaptation: Finetune,
    model: Path,
    threshold: Callable[[Encoder, Compute], float],
    workspace: Workspace,
    log: Log,
) -> Path:
    """Cluster the comic of a job; returns the folder of the result.

    Args:
        cutting: how faces are cut, as for the encoder's training.
        adaptation: how the encoder is adapted.
        model: folder of the encoder.
        threshold: the calibrated cut; asked only if the job needs it.
        workspace: where cut faces and adapted encoders go, each to a folder named after all it depends on.
    """
    config, comic, title = job.config, job.comic, job.comic.book.title
    for note in job.notes:
        log.say(f"cluster: {note}")
    compute = pick_compute(config.device, config.precision)
    encoder = load_encoder(model, compute.device)
    cut = job.threshold
    if job.needs_calibration and not config.corrections:
        cut = threshold(encoder, compute)
    store = _store(job, cutting, workspace, log)
    selection = select(store, [title], others=True)
    face_ids = selection.faces["face_id"].astype(str).tolist()
    if config.method == "agglomerative" and not config.corrections:
        refuse_too_many(len(face_ids))
    hints = hints_of(selection.faces) if comic.pages_known else NO_HINTS
    _tell_left_out(store, log)
    _tell_doubled(hints, face_ids, log)

    def features_of(encoder: Encoder) -> np.ndarray:
        return embed(encoder, store.crops, selection.rows, batch_size=config.batch_size, compute=compute)

    features = last = features_of(encoder)
    adapted = None
    if _adaptable(job, hints, log):
        place = workspace.adapted_to_comics
        adapted = adapt(adaptation, store, model, title, config.seed, place, compute, log).encoder
        last = features_of(adapted)
    held = Held({})
    if config.method == "hdbscan":
        clusters = density_clusters(last)
    elif config.method == "silhouette":
        clusters = silhouette_clusters(last, config.seed, job.n_clusters)
    else:
        if job.sheet:
            every = bool(config.corrections)
            held = hold(job.sheet, job.labels, face_ids, last, hints, everywhere=every)
        if job.needs_calibration and cut is None and len(held.people) < len(face_ids):
            cut = threshold(encoder, compute)  # for the faces that the table does not have
        clusters = agglomerate(face_ids, held.people, features, last, hints, job.n_clusters, cut, log)
    numbers, names = number_clusters(clusters, face_ids, job.sheet, job.labels, held.people)
    faces = tabulate(selection.faces, last, numbers, names, job.labels)

    counts = {
        "faces": len(faces),
        "clusters": len(np.unique(numbers)),
        "singletons": sum(face.singleton for face in faces),
        "decided": sum(face.decided for face in faces),
    }
    log.say(
        f"cluster {title}: {counts['faces']:,} faces in {counts['clusters']} clusters, "
        f"{counts['singletons']} of them a single face"
    )
    for sentence in tell_changes(job.sheet, faces, held) if job.sheet else ():
        log.say(f"cluster: {sentence}")
    record = {
        "input": str(Path(config.input).resolve()),
        "title": title,
        "comic": comic.fingerprint(),
        "encoder": file_digest(model / WEIGHTS_NAME),
        "adapted": adapted is not None,
        "threshold": cut,
        "counts": counts,
        "parameters": dataclasses.asdict(config),
        "finetune": dataclasses.asdict(adaptation) if adapted is not None else None,
    }
    book = with_page_sizes(comic)
    files = {
        TABLE: as_csv(faces, comic.names),
        COCO: as_coco(faces, book, picture_names(comic)),
        XML: as_manga109(faces, book),
        GALLERY: gallery(comic, faces, store.crops, selection.rows, counts),
        RECORD: json.dumps(record, ensure_ascii=False, indent=1) + "\n",
    }
    publish(files, job.out)
    log.metrics({f"cluster/{name}": float(count) for name, count in counts.items()})
    for name in (TABLE, COCO, XML, RECORD):
        log.text(name, files[name])
    log.file(job.out / GALLERY, artwork=True)
    log.say(f"cluster: look at {job.out / GALLERY}; name and move faces in {job.out / TABLE}")
    return job.out


def _store(job: Job, cutting: Preprocess, workspace: Workspace, log: Log) -> FaceStore:
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
        "parameters": {**affecting(cutting, STORE), "expand": comic.pages_known},
        "splits": {"train": [], "val": [], "test": [title]},
    }
    path = workspace.cut_comics / value_digest(meta)
    if (path / STORE_FILE).is_file():
        store = open_store(path)
        stop_if_strict(store.meta["problems"], cutting)
        return store
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


def _tell_doubled(hints: Hints, face_ids: Sequence[str], log: Log) -> None:
    if len(hints.doubled):
        pairs = [f"{face_ids[i]} and {face_ids[j]}" for i, j in hints.doubled[:3].tolist()]
        log.say(
            f"cluster: {len(hints.doubled):,} pairs of boxes are each of one face, boxed twice "
            f"({', '.join(pairs)}{', …' if len(hints.doubled) > len(pairs) else ''}); cut one of each"
        )


def _adaptable(job: Job, hints: Hints, log: Log) -> bool:
    if not job.config.adapt:
        return False
    if len(hints.apart):
        return True
    lacking = "two faces in one frame" if job.comic.pages_known else "pages"
    log.say(
        f"cluster: not adapted to the comic, because no {lacking} are known; the encoder is used as it is"
    )
    return False
