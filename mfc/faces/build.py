"""Fill a face store from books: plan which faces are kept, cut their pages on all cores, close the gaps."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mfc.config import SPLITS, Preprocess
from mfc.corpus.manga109 import Book, Box, assign_frame, is_other
from mfc.corpus.splits import Splits
from mfc.errors import UserError
from mfc.faces.cut import MISSING, OUTSIDE, TOO_SMALL, UNREADABLE, PageDone, PageTask, Target, cut_pages
from mfc.faces.store import COLUMNS, FaceStore, finish_store, new_crops, new_store, open_store
from mfc.log import Log, progress
from mfc.processes import map_in

if TYPE_CHECKING:
    import pandas as pd

EXPORT_FOLDER = "crops"
"""Below the store: ``crops/<character id>/<face id>.png``, as cut from the page, before stretching."""
PAGES_A_TASK = 8
# Starting a process takes as long as this many pieces of work.
FEW_PAGES = 48


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
        table, tasks, problems = _plan(image_path, books, meta["splits"], config, expand)
        stop_if_strict(problems, config)
        if table.empty:
            raise UserError(f"{', '.join(b.title for b in books)}: no page of the titles in use has a face")
        target = _prepare(folder, table, tasks, config)
        log.say(f"cut {len(table):,} faces from {len(tasks):,} pages of {len(books)} titles")
        problems += _fill(tasks, target, table, executor, config)
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
        finish_store(folder, table, {**meta, "counts": counts, "pages": pages, "problems": problems})
    return open_store(store)


def _plan(
    image_path: Callable[[str, int], Path],
    books: list[Book],
    splits: Splits,
    config: Preprocess,
    expand: bool,
) -> tuple[pd.DataFrame, list[PageTask], list[dict[str, Any]]]:
    """The table with a row number for each face that is large enough, the pages to decode, and problems."""
    import pandas as pd

    split_of = {title: split for split in SPLITS for title in splits[split]}
    lines: list[tuple[Any, ...]] = []
    tasks: list[PageTask] = []
    problems: list[dict[str, Any]] = []
    row = 0
    for book in books:
        names: dict[str, str] = {}
        others = {c.character_id for c in book.characters if is_other(c.name, config.others)}
        for character in book.characters:
            names.setdefault(character.character_id, character.name)
        undeclared: Counter[str] = Counter()
        for page in book.pages:
            cuts: list[tuple[int, Box, str]] = []
            for face in page.faces:
                frame = assign_frame(face.box, page.frames, reference_quirks=config.reference_quirks)
                xmin, ymin, xmax, ymax = face.box
                kept = xmax - xmin > config.min_side and ymax - ymin > config.min_side
                if face.character_id not in names:
                    undeclared[face.character_id] += 1
                if kept:
                    name = f"{face.character_id}/{face.face_id}.png"
                    cuts.append((row, face.box, name))
                lines.append(
                    (
                        face.face_id,
                        book.title,
                        split_of[book.title],
                        page.index,
                        frame,
                        face.character_id,
                        names.get(face.character_id),
                        face.character_id in others,
                        *face.box,
                        *(None,) * 4,
                        row if kept else None,
                        None if kept else TOO_SMALL,
                    )
                )
                row += kept
            if cuts:
                rows, boxes, exports = zip(*cuts, strict=True)
                path = image_path(book.title, page.index)
                size = (page.width, page.height)
                tasks.append(PageTask(book.title, page.index, path, size, rows, boxes, exports, expand))
        for character_id, count in undeclared.items():
            detail = f"{book.title}: character {character_id} ({count} faces) is not declared"
            problems.append(_problem("undeclared character", book.title, None, detail))
    # Columns of objects until the store is written: None stays None.
    table = pd.DataFrame(lines, columns=list(COLUMNS), dtype=object)
    twice = table["face_id"][table["face_id"].duplicated()]
    for face_id, title in zip(twice, table["title"][twice.index], strict=True):
        detail = f"{title}: the id of face {face_id} is used more than once"
        problems.append(_problem("id used twice", title, None, detail))
    return table, tasks, problems


def _problem(kind: str, title: str, page: int | None, detail: str) -> dict[str, Any]:
    return {"kind": kind, "title": title, "page": page, "detail": detail}


def stop_if_strict(problems: list[dict[str, Any]], config: Preprocess) -> None:
    if config.strict and problems:
        raise UserError(f"{problems[0]['detail']}; mend it, or go on without it by --strict false")


def _prepare(folder: Path, table: pd.DataFrame, tasks: list[PageTask], config: Preprocess) -> Target:
    """Make the files and folders that the workers fill; `UserError` when the disk is too small."""
    n, channels = sum(len(task.rows) for task in tasks), 3 if config.color else 1
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
    return Target(folder / "crops.npy", offset, config.size, channels, exports)


def _fill(
    tasks: list[PageTask],
    target: Target,
    table: pd.DataFrame,
    executor: ProcessPoolExecutor | None,
    config: Preprocess,
) -> list[dict[str, Any]]:
    """Cut all pages, enter into the table what came of each face, and close the gaps of lost ones."""
    n = sum(len(task.rows) for task in tasks)
    crop_boxes, reasons = np.zeros((n, 4), np.int32), np.full(n, None, object)
    problems: list[dict[str, Any]] = []
    for page in progress(_cut(tasks, target, executor), label="preprocess: pages", total=len(tasks)):
        problems += _problems_of(page)
        stop_if_strict(problems, config)
        for row, box in zip(page.task.rows, page.crop_boxes, strict=True):
            if box is None:
                reasons[row] = page.drop_reason
            else:
                crop_boxes[row] = box
    _enter(table, crop_boxes, reasons)
    _close_gaps(target.crops, reasons)
    return problems


def _cut(tasks: list[PageTask], target: Target, executor: ProcessPoolExecutor | None) -> Iterator[PageDone]:
    """Cut all pages; yields them in order as they are done."""
    chunks = [tasks[i : i + PAGES_A_TASK] for i in range(0, len(tasks), PAGES_A_TASK)]
    work = [(chunk, target) for chunk in chunks]
    for pages in map_in(cut_pages, work, FEW_PAGES // PAGES_A_TASK, executor):
        yield from pages


def _problems_of(page: PageDone) -> list[dict[str, Any]]:
    """At most two: what is wrong with the picture, and faces that lie outside of it."""
    task, found = page.task, []
    if page.problem:
        kind = page.drop_reason if page.drop_reason in (MISSING, UNREADABLE) else "page size"
        found.append(_problem(str(kind), task.title, task.index, page.problem))
    if page.drop_reason == OUTSIDE:
        n = page.crop_boxes.count(None)
        found.append(
            _problem(OUTSIDE, task.title, task.index, f"{task.name}: {n} faces lie outside of the picture")
        )
    return found


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


def _close_gaps(path: Path, reasons: npt.NDArray[np.object_]) -> None:
    """Copy the crops without the rows of faces that could not be cut, a slice at a time."""
    rows = np.flatnonzero([reason is None for reason in reasons])
    if len(rows) == len(reasons):
        return
    full = path.with_suffix(".full")
    path.rename(full)
    crops = np.load(full, mmap_mode="r", allow_pickle=False)
    compact = new_crops(path.parent, len(rows), crops.shape[1], crops.shape[3])
    for start in range(0, len(rows), 256):
        compact[start : start + 256] = crops[rows[start : start + 256]]
    full.unlink()
