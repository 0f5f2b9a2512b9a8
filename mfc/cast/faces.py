"""The faces of a comic without labels: cut once, and what became of all its boxes is said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mfc.cast.agglomeration import Hints
from mfc.cast.job import Job
from mfc.config import STORE, Preprocess, affecting
from mfc.faces.build import cut_books, stop_if_strict
from mfc.faces.store import STORE_FILE, FaceStore, open_store
from mfc.files import value_digest
from mfc.log import Log
from mfc.processes import available_cores, workers
from mfc.workspace import Workspace


def faces_of(job: Job, cutting: Preprocess, workspace: Workspace, log: Log) -> FaceStore:
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
        stop_if_strict(store.meta.get("problems", []), cutting)
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


def tell_left_out(store: FaceStore, log: Log) -> None:
    dropped = store.table["drop_reason"].value_counts()
    if len(dropped):
        why = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        log.say(f"cluster: {int(dropped.sum()):,} faces are left out ({why})")


def tell_doubled(hints: Hints, face_ids: Sequence[str], log: Log) -> None:
    if len(hints.doubled):
        pairs = [f"{face_ids[i]} and {face_ids[j]}" for i, j in hints.doubled[:3].tolist()]
        log.say(
            f"cluster: two boxes are of one face {len(hints.doubled):,} times "
            f"({', '.join(pairs)}{', …' if len(hints.doubled) > len(pairs) else ''}); cut one of each"
        )
