"""Fill a face store from books: cut their pages on all cores as planned, close the gaps of lost faces."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mfc.config import SPLITS, Preprocess
from mfc.corpus.manga109 import Book
from mfc.errors import UserError
from mfc.faces.cut import MISSING, OUTSIDE, UNREADABLE, PageDone, PageTask, Target, cut_pages
from mfc.faces.plan import Plan, Problem
from mfc.faces.store import CROPS, FaceStore, finish_store, new_crops, new_store, open_store
from mfc.log import Log, progress
from mfc.processes import map_in

if TYPE_CHECKING:
    import pandas as pd

EXPORT_FOLDER = "crops"
"""Below the store: ``crops/<character id>/<face id>.png``, as cut from the page, before stretching."""
PAGES_A_TASK = 8
FEW_PAGES = 48
"""Starting a process takes as long as cutting this many."""


def cut_books(
    config: Preprocess,
    books: list[Book],
    image_path: Callable[[str, int], Path],
    meta: Mapping[str, Any],
    store: Path,
    executor: ProcessPoolExecutor | None,
    log: Log,
    *,
    expand: bool = True,
) -> FaceStore:
    """Cut the faces of some books into a new face store; what was at ``store`` is replaced.

    Args:
        image_path: (title, page index) → the picture of a page.
        meta: goes into ``store.json``; holds at least ``splits``.
        executor: processes to cut in; None: here.
        expand: grow the boxes before cutting (`mfc.faces.cut.expand_box`).
    """
    with new_store(store) as folder:
        plan = Plan(config, image_path, expand)
        split_of = {title: split for split in SPLITS for title in meta["splits"][split]}
        for book in books:
            plan.add(book, split_of[book.title])
        table, problems = plan.table(), plan.problems
        stop_if_strict(problems, config)
        if table.empty:
            raise UserError(f"{', '.join(b.title for b in books)}: no page of the titles in use has a face")
        target = _prepare(folder, table, plan.kept, config)
        log.say(f"cut {len(table):,} faces from {len(plan.tasks):,} pages of {len(books)} titles")
        crops_sha256 = _fill(plan, target, table, executor)
        if not table["row"].notna().any():
            first = problems[0]["detail"] if problems else f"none is larger than {config.min_side} pixels"
            raise UserError(f"none of {len(table)} faces could be cut; the first reason: {first}")
        counts = {
            "titles": len(books),
            "pages": sum(len(book.pages) for book in books),
            "faces": len(table),
            "kept": int(table["row"].notna().sum()),
        }
        pages = {book.title: len(book.pages) for book in books}
        content = {**meta, "counts": counts, "pages": pages, "problems": problems}
        finish_store(folder, table, content, crops_sha256)
    return open_store(store)


def stop_if_strict(problems: list[Problem], config: Preprocess) -> None:
    """Raise `UserError` for the first problem when the configuration is strict."""
    if config.strict and problems:
        raise UserError(f"{problems[0]['detail']}; mend it, or go on without it by --strict false")


def _prepare(folder: Path, table: pd.DataFrame, n: int, config: Preprocess) -> Target:
    """Make the files and folders that the workers fill; `UserError` when the disk is too small."""
    channels = 3 if config.color else 1
    needed, free = n * config.size**2 * channels, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"the face store needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: choose another "
            "--store, a smaller --size or --color false"
        )
    offset = new_crops(folder, n, config.size, channels).offset
    exports = folder / EXPORT_FOLDER if config.export_crops else None
    if exports:  # the reference makes a folder before it looks at the size of a face
        for character in table["character_id"].unique():
            (exports / character).mkdir(parents=True)
    return Target(folder / CROPS, offset, config.size, channels, exports)


def _fill(
    plan: Plan, target: Target, table: pd.DataFrame, executor: ProcessPoolExecutor | None
) -> str | None:
    """Cut all pages, enter into the table what came of each face, and close the gaps of lost ones.

    Returns the SHA-256 of the crops, which a thread makes meanwhile; None if there were gaps.
    """
    crop_boxes, reasons = np.zeros((plan.kept, 4), np.int32), np.full(plan.kept, None, object)
    crops = np.load(target.crops, mmap_mode="r", allow_pickle=False)
    digest = hashlib.sha256(target.crops.open("rb").read(target.offset))
    with ThreadPoolExecutor(1) as hashing:
        pages = progress(_cut(plan.tasks, target, executor), label="preprocess: pages", total=len(plan.tasks))
        for page in pages:
            plan.problems += _problems_of(page)
            stop_if_strict(plan.problems, plan.config)
            for row, box in zip(page.task.rows, page.crop_boxes, strict=True):
                if box is None:
                    reasons[row] = page.drop_reason
                else:
                    crop_boxes[row] = box
            hashing.submit(digest.update, crops[page.task.rows[0] : page.task.rows[-1] + 1])
    _enter(table, crop_boxes, reasons)
    lost = [reason is not None for reason in reasons]
    _close_gaps(target.crops, np.flatnonzero(np.logical_not(lost)))
    return None if any(lost) else digest.hexdigest()


def _cut(tasks: list[PageTask], target: Target, executor: ProcessPoolExecutor | None) -> Iterator[PageDone]:
    """Cut all pages; yields them in order as they are done."""
    chunks = [tasks[i : i + PAGES_A_TASK] for i in range(0, len(tasks), PAGES_A_TASK)]
    work = [(chunk, target) for chunk in chunks]
    for pages in map_in(cut_pages, work, FEW_PAGES // PAGES_A_TASK, executor):
        yield from pages


def _problems_of(page: PageDone) -> list[Problem]:
    """At most two: what is wrong with the picture, and faces that lie outside of it."""
    task, found = page.task, []
    if page.problem:
        kind = page.drop_reason if page.drop_reason in (MISSING, UNREADABLE) else "page size"
        found.append((str(kind), page.problem))
    if page.drop_reason == OUTSIDE:
        n = page.crop_boxes.count(None)
        found.append((OUTSIDE, f"{task.name}: {n} faces lie outside of the picture"))
    return [
        {"kind": kind, "title": task.title, "page": task.index, "detail": detail} for kind, detail in found
    ]


def _enter(table: pd.DataFrame, crop_boxes: npt.NDArray[np.int32], reasons: npt.NDArray[np.object_]) -> None:
    """Write what came of each planned row into the table; rows are numbered anew without the lost ones."""
    import pandas as pd

    lines = np.flatnonzero(table["row"].notna())
    kept = np.array([reason is None for reason in reasons], bool)
    rows: pd.Series = pd.Series(pd.NA, index=table.index, dtype="Int64")
    rows.iloc[lines[kept]] = np.arange(kept.sum())
    table["row"] = rows
    for i, name in enumerate(("crop_xmin", "crop_ymin", "crop_xmax", "crop_ymax")):
        sides: pd.Series = pd.Series(pd.NA, index=table.index, dtype="Int32")
        sides.iloc[lines[kept]] = crop_boxes[kept, i]
        table[name] = sides
    why = table["drop_reason"].to_numpy(dtype=object, copy=True)
    why[lines] = reasons
    table["drop_reason"] = why


def _close_gaps(path: Path, rows: npt.NDArray[np.int64]) -> None:
    """Copy the crops with only those ``rows``, a slice at a time."""
    crops = np.load(path, mmap_mode="r", allow_pickle=False)
    if len(rows) == len(crops):
        return
    full = path.with_suffix(".full")
    path.rename(full)
    compact = new_crops(path.parent, len(rows), crops.shape[1], crops.shape[3])
    for start in range(0, len(rows), 256):
        compact[start : start + 256] = crops[rows[start : start + 256]]
    full.unlink()
