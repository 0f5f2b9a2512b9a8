"""cluster: the cast of a comic without labels, as a table to edit, exports, and a gallery to look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mfc.adapt.adapt import adapt
from mfc.cast.agglomeration import NO_HINTS, Held, Hints, agglomerate, hints_of, hold
from mfc.cast.changes import tell_changes
from mfc.cast.exports import as_coco, as_manga109, picture_names, with_page_sizes
from mfc.cast.faces import faces_of, tell_doubled, tell_left_out
from mfc.cast.gallery import gallery
from mfc.cast.job import Job
from mfc.cast.numbering import number_clusters
from mfc.cast.result import COCO, GALLERY, RECORD, TABLE, XML, publish
from mfc.cast.table import as_csv, counts_of, tabulate
from mfc.clusters.counting import density_clusters, silhouette_clusters
from mfc.clusters.linkage import refuse_too_many
from mfc.config import Finetune, Preprocess
from mfc.encoders.device import Compute, pick_compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import WEIGHTS_NAME, Encoder, load_encoder
from mfc.faces.selection import select
from mfc.files import file_digest
from mfc.log import Log
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
    store = faces_of(job, cutting, workspace, log)
    selection = select(store, [title], others=True)
    face_ids = selection.faces["face_id"].astype(str).tolist()
    if config.method == "agglomerative" and not config.corrections:
        refuse_too_many(len(face_ids))
    hints = hints_of(selection.faces) if comic.pages_known else NO_HINTS
    tell_left_out(store, log)
    tell_doubled(hints, face_ids, log)

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

    counts = counts_of(faces)
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
