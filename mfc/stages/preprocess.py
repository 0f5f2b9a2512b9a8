"""Crop the faces of a Manga109-layout corpus into a face store: each page is decoded once, on all cores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from mfc.config import SPLITS, Preprocess
from mfc.corpus.manga109 import Book, Box, Corpus, assign_frame, is_other, open_corpus
from mfc.corpus.splits import Splits, resolve_splits
from mfc.errors import UserError
from mfc.faces import COLUMNS, FaceStore, expand_box, finish_store, new_crops, new_store, open_store, stretch
from mfc.log import Log, progress

if TYPE_CHECKING:
    import pandas as pd

EXPORT_FOLDER = "crops"
"""Below the store: ``crops/<character id>/<face id>.png``, as cut from the page, before stretching."""
TOO_SMALL, MISSING, UNREADABLE, OUTSIDE = "too small", "missing image", "unreadable image", "outside image"
"""The values of ``drop_reason``."""
PAGES_A_TASK = 8
# Starting a process takes as long as this many pieces of work.
FEW_PAGES = 48
FEW_BOOKS = 16

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class PageTask:
    """A page to decode and what to cut from it: rows of the crops, face boxes, and names for the export."""

    title: str
    index: int
    path: Path
    size: tuple[int, int]
    rows: tuple[int, ...]
    boxes: tuple[Box, ...]
    exports: tuple[str, ...]
    expand: bool = True

    @property
    def name(self) -> str:
        """The picture as problems name it."""
        return "/".join(self.path.parts[-3:])


@dataclass(frozen=True)
class PageDone:
    """What came of a page: per face the expanded box or None, why faces are lost, what is odd about it."""

    task: PageTask
    crop_boxes: tuple[Box | None, ...]
    drop_reason: str | None
    problem: str | None


@dataclass(frozen=True)
class Target:
    """Where the workers write."""

    crops: Path
    offset: int
    """Bytes before the first crop."""
    size: int
    channels: int
    exports: Path | None


def run(config: Preprocess, root: Path, store: Path, log: Log, overwrite: bool = False) -> FaceStore:
    """Make the face store of the corpus at ``root`` in the folder ``store``, or find it there as wanted.

    Problems of the corpus are listed in ``store.json`` and the faces they cost carry a ``drop_reason``;
    ``config.strict`` makes the first one a `UserError`. So is a store that exists with other parameters,
    unless ``overwrite``.
    """
    corpus = open_corpus(root, config.annotations)
    splits = resolve_splits(corpus.root, corpus.titles, config.splits)
    fingerprint = corpus.fingerprint()
    wanted = {"corpus": fingerprint, "parameters": _parameters(config), "splits": splits}
    found = _existing(store, wanted, overwrite)
    if found is not None:
        _stop_if_strict(found.meta["problems"], config)
        log.say(f"preprocess: {store} is up to date with {len(found.crops):,} faces; nothing to do")
        return found

    with workers(config.jobs or available_cores()) as executor:
        books = _read_books(corpus, splits, executor)
        made = cut_books(config, books, corpus.image_path, wanted, store, executor, log)
    _say_what_came_of_it(made, log)
    return made


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
        expand: grow the boxes before cutting (`mfc.faces.expand_box`).
    """
    with new_store(store) as folder:
        table, tasks, problems = _plan(image_path, books, meta["splits"], config, expand)
        _stop_if_strict(problems, config)
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


def _say_what_came_of_it(store: FaceStore, log: Log) -> None:
    dropped = store.table["drop_reason"].value_counts()
    why = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "none"
    log.say(f"preprocess: {len(store.crops):,} faces kept in {store.path}; dropped: {why}")
    problems = store.meta["problems"]
    if problems:
        counted = Counter(problem["kind"] for problem in problems)
        kinds = ", ".join(f"{count} {kind}" for kind, count in counted.items())
        where = f"listed in {store.path / 'store.json'}; the first: {problems[0]['detail']}"
        log.say(f"preprocess: {len(problems)} problems ({kinds}), {where}")


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parameters(config: Preprocess) -> dict[str, Any]:
    """Whatever changes what is in a store; the splits are compared by their content."""
    names = ("annotations", "size", "color", "min_side", "others", "reference_quirks", "export_crops")
    return {name: getattr(config, name) for name in names}


def _existing(store: Path, wanted: dict[str, Any], overwrite: bool) -> FaceStore | None:
    """The store if it is there as wanted; None if it has to be made; else `UserError`."""
    if not store.exists() or (store.is_dir() and not any(store.iterdir())):
        return None
    if not (store / "store.json").is_file():
        raise UserError(f"{store} exists and is no face store; move it away or choose another --store")
    try:
        found = open_store(store)
    except UserError:
        if overwrite:
            return None
        raise
    differences = _differences(found.meta, wanted)
    if not differences:
        return found
    if overwrite:
        return None
    raise UserError(
        f"face store {store} was made with {'; '.join(differences)}: pass --overwrite true to remake it, or "
        "choose another --store"
    )


def _differences(meta: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    result = []
    for name, value in wanted["parameters"].items():
        old = meta.get("parameters", {}).get(name)
        if old != value and not (name == "export_crops" and old):
            result.append(f"{name} {_plain(old)}, not {_plain(value)}")
    if meta.get("corpus") != wanted["corpus"]:
        result.append("another corpus, or this one before it was changed")
    if meta.get("splits") != wanted["splits"]:
        result.append("other splits")
    return result


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextlib.contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes that start when first used; none for one job. Spawned, because threads may run here."""
    if jobs == 1:
        yield None
        return
    executor = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _map(
    function: Callable[[T], R], items: list[T], few: int, executor: ProcessPoolExecutor | None
) -> Iterable[R]:
    """``map`` in order, in the processes when there is enough to do."""
    return map(function, items) if executor is None or len(items) <= few else executor.map(function, items)


def _read_books(corpus: Corpus, splits: Splits, executor: ProcessPoolExecutor | None) -> list[Book]:
    used = {title for split in SPLITS for title in splits[split]}
    titles = [title for title in corpus.titles if title in used]
    books = _map(corpus.read_book, titles, FEW_BOOKS, executor)
    return list(progress(books, label="preprocess: books", total=len(titles)))


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


def _stop_if_strict(problems: list[dict[str, Any]], config: Preprocess) -> None:
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
        _stop_if_strict(problems, config)
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
    for pages in _map(_cut_pages, work, FEW_PAGES // PAGES_A_TASK, executor):
        yield from pages


def _cut_pages(work: tuple[list[PageTask], Target]) -> list[PageDone]:
    """Cut some pages into the crops file."""
    tasks, target = work
    # Plain writes: mapped pages would each be zeroed and faulted in before they are overwritten.
    with target.crops.open("r+b") as file:
        return [_cut_page(task, file, target) for task in tasks]


def _cut_page(task: PageTask, file: BinaryIO, target: Target) -> PageDone:
    """Decode a page and write its faces to their rows of the crops."""
    nothing = (None,) * len(task.boxes)
    try:
        page = read_page(task.path)
    except FileNotFoundError:
        return PageDone(task, nothing, MISSING, f"{task.name} is missing")
    except OSError as error:
        return PageDone(task, nothing, UNREADABLE, f"{task.name} cannot be used: {error}")
    problem = None
    size = task.size
    if 0 in size:
        problem, size = (
            f"{task.name}: page of size {size[0]}x{size[1]}; the picture's size is used",
            page.size,
        )
    elif page.width < size[0] or page.height < size[1]:
        problem = f"{task.name} has {page.width}x{page.height} pixels, not {size[0]}x{size[1]}"
    crop_boxes: list[Box | None] = []
    for row, box, export in zip(task.rows, task.boxes, task.exports, strict=True):
        crop_box = expand_box(box, size) if task.expand else box
        left, top, right, bottom = crop_box
        right, bottom = min(right, page.width), min(bottom, page.height)
        if left >= right or top >= bottom:
            crop_boxes.append(None)
            continue
        cut = page.crop((left, top, right, bottom))
        crop = stretch(cut, target.size, target.channels)
        file.seek(target.offset + row * crop.nbytes)
        file.write(crop.data)
        if target.exports:
            cut.save(target.exports / export, compress_level=1)
        crop_boxes.append(crop_box)
    return PageDone(task, tuple(crop_boxes), OUTSIDE if None in crop_boxes else None, problem)


def read_page(path: Path) -> Image.Image:
    """Decode a page's picture (JPEG or PNG, grey or RGB), turned upright as its EXIF data says.

    Raises `OSError` for whatever cannot be decoded, and for a picture of more pixels than Pillow deems safe.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("JPEG", "PNG")) as image:
                image.load()
                # The reference's decoder (OpenCV) turns pictures too.
                ImageOps.exif_transpose(image, in_place=True)
                return image if image.mode in ("L", "RGB") else image.convert("RGB")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise OSError(f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels") from None
    except (SyntaxError, ValueError, EOFError, struct.error) as error:
        raise OSError(f"damaged picture ({error})") from error


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
