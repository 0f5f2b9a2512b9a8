"""The face store: a table of faces and their crops.

A store is a folder with ``faces.parquet`` (a row per annotated face), ``crops.npy`` (the kept faces, memory
mapped) and ``store.json``, which is written last: where it is, the store is complete. A new store is made
in ``.NAME.part`` beside it and takes its place by two renames, the old one being ``.NAME.old`` in between;
whoever holds the lock ``.NAME.lock`` finishes what a process that was killed there has left.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from mfc.config import SPLITS
from mfc.corpus.reading import parse_json
from mfc.errors import UserError, reason_of
from mfc.files import file_digest, value_digest, write_json

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 2
CROPS, TABLE, STORE_FILE = "crops.npy", "faces.parquet", "store.json"
"""The files of a store; the last one is written last: where it is, the store is complete."""
SWAP_SECONDS = 2.0
"""How long a reader waits for two renames of another process; they take a thousandth of it."""
REMEDY = "make it by `mfc preprocess`"
COLUMNS: Mapping[str, str] = {
    "face_id": "str",
    "title": "str",
    "split": "str",
    "page_index": "int32",
    "frame_id": "str",  # missing: the face overlaps no frame
    "character_id": "str",
    "character_name": "str",  # missing: the book does not declare the character
    "is_other": "bool",
    "xmin": "int32",
    "ymin": "int32",
    "xmax": "int32",
    "ymax": "int32",
    "crop_xmin": "Int32",  # the expanded box; missing: dropped
    "crop_ymin": "Int32",
    "crop_xmax": "Int32",
    "crop_ymax": "Int32",
    "row": "Int64",  # index into the crops; missing: dropped
    "drop_reason": "str",  # missing: kept
}


@dataclass(frozen=True, eq=False)
class FaceStore:
    """An opened store. ``crops``: (n, S, S, C) uint8, C = 1 or 3, RGB, read from the disk as it is used."""

    path: Path
    table: pd.DataFrame
    crops: npt.NDArray[np.uint8]
    meta: dict[str, Any]

    def titles(self, split: str) -> list[str]:
        """The titles of a split in their order: ``title_idx`` counts in it."""
        if split not in SPLITS:
            raise UserError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        return list(self.meta["splits"][split])

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change with the corpus, the splits and every parameter of preprocessing."""
        return value_digest({key: self.meta.get(key) for key in ("corpus", "parameters", "splits")})


def open_store(path: Path) -> FaceStore:
    """Open the store in a folder, all of it as one process wrote it, also while another is replaced by it.

    Raises:
        UserError: when it is not there, incomplete, damaged or of another schema.
    """
    path = Path(path)
    deadline = time.monotonic() + SWAP_SECONDS
    while True:
        _finish_or_await_swap(path, deadline)
        before = _read_meta(path)
        try:
            store = _open(path, before)
        except UserError:
            swapping = _read_meta(path) != before or _beside(path, "old").exists()
            if not swapping or time.monotonic() > deadline:
                raise
        else:
            # Digests of both files are in there: the same before and after, so what is between belongs to it.
            if _read_meta(path) == before:
                return store


def _read_meta(path: Path) -> bytes | None:
    try:
        return (path / STORE_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _open(path: Path, text: bytes | None) -> FaceStore:
    import pandas as pd

    meta = _checked_meta(path, text)
    try:
        for name in (CROPS, TABLE):
            found, written = (path / name).stat().st_size, meta["files"][name]["bytes"]
            if found != written:
                raise ValueError(f"{name} has {found:,} bytes, not {written:,}")
        table = pd.read_parquet(path / TABLE)
        crops = _map_crops(path / CROPS)
    except Exception as error:  # the readers raise whatever they stumble over
        raise UserError(
            f"face store {path} is damaged ({reason_of(error)}); {REMEDY} --overwrite true"
        ) from None
    if list(table.columns) != list(COLUMNS) or int(table["row"].notna().sum()) != len(crops):
        raise UserError(f"face store {path} is damaged (table and crops disagree); {REMEDY} --overwrite true")
    return FaceStore(path, table, crops, meta)


def _checked_meta(path: Path, text: bytes | None) -> dict[str, Any]:
    if text is None:
        state = f"is an incomplete face store (no {STORE_FILE})" if path.is_dir() else "is not there"
        raise UserError(f"face store {path} {state}; {REMEDY}")
    try:
        meta = parse_json(path / STORE_FILE, text.decode())
        if isinstance(meta, dict) and meta.get("schema") == SCHEMA:
            lists = [meta["splits"][split] for split in SPLITS]
            sizes = [meta["files"][name]["bytes"] for name in (CROPS, TABLE)]
            texts = all(
                isinstance(titles, list) and all(isinstance(t, str) for t in titles) for titles in lists
            )
            told = meta.get("problems", [])
            problems = isinstance(told, list) and all(
                isinstance(problem, dict) and {"kind", "detail"} <= problem.keys() for problem in told
            )
            objects = all(isinstance(meta.get(key, {}), dict) for key in ("parameters", "pages"))
            if texts and problems and objects and all(isinstance(size, int) for size in sizes):
                return meta
            raise TypeError
    except (UserError, ValueError, KeyError, TypeError):
        raise UserError(f"{path / STORE_FILE} is damaged; {REMEDY} --overwrite true") from None
    raise UserError(
        f"{path / STORE_FILE} has another schema than {SCHEMA}, which this version reads; {REMEDY} "
        "--overwrite true"
    )


def _map_crops(path: Path) -> npt.NDArray[np.uint8]:
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name} is empty")
    try:
        crops = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # its head is Python text, in which much can be wrong
        raise ValueError(f"{path.name}: {reason_of(error)}") from None
    if (
        crops.dtype != np.uint8
        or crops.ndim != 4
        or crops.shape[1] != crops.shape[2]
        or crops.shape[3] not in (1, 3)
    ):
        raise ValueError(f"{path.name} has shape {crops.shape} and type {crops.dtype}")
    return crops


@contextlib.contextmanager
def store_lock(path: Path, say: Callable[[str], None] = lambda message: None) -> Iterator[None]:
    """One process at a time makes the store at ``path``; the others wait, and ``say`` so.

    It may be taken again inside. Entering finishes the swap of a process that was killed, and removes what
    else one has left.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            say(f"{path} is being made by another process; waiting for it")
            lock.acquire()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be made ({error.strerror}); mend it or choose another folder"
        ) from None
    try:
        _clear_up(path)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def new_store(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well.

    The block writes ``crops.npy`` there and calls `finish_store`. A store that was at ``path`` is replaced;
    when the block fails, it is untouched and nothing is left behind.
    """
    path = Path(path)
    with store_lock(path):
        part = _beside(path, "part")
        part.mkdir()
        try:
            yield part
            if not (part / STORE_FILE).is_file():
                raise RuntimeError("the block must call finish_store")
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        _swap(path)


def remove_leftovers(path: Path) -> None:
    """Remove what a process left that was killed right after its new store had taken its place."""
    if _beside(path, "old").exists() or _beside(path, "part").exists():
        with store_lock(path):
            pass  # entering clears up


def _lock(path: Path) -> FileLock:
    return FileLock(_beside(path.absolute(), "lock"), is_singleton=True)


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")


def _swap(path: Path) -> None:
    """Put the finished new store in its place; killed anywhere here, `_clear_up` goes on with it."""
    part, old = _beside(path, "part"), _beside(path, "old")
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    try:
        part.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _clear_up(path: Path) -> None:
    """What a killed process has left: a finished new store takes its place, else the old one stays."""
    part, old = _beside(path, "part"), _beside(path, "old")
    if _is_whole(part):
        if path.exists() and _read_meta(path) is None and (not path.is_dir() or any(path.iterdir())):
            return  # somebody put what is no store into its place: nothing of it is touched
        _swap(path)
    elif _is_whole(old) and not path.exists():
        old.rename(path)
    for rest in (part, old):
        shutil.rmtree(rest, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    try:
        _open(folder, _read_meta(folder))
    except UserError:
        return False
    return True


def _finish_or_await_swap(path: Path, deadline: float) -> None:
    """When the store is not there because of a swap: wait for the other process, or finish what it left."""
    while not path.exists() and (_beside(path, "part").exists() or _beside(path, "old").exists()):
        with contextlib.suppress(OSError):  # also Timeout
            with _lock(path).acquire(timeout=0):
                _clear_up(path)
            return
        if time.monotonic() > deadline or not _beside(path, "old").exists():
            return
        time.sleep(0.01)


def new_crops(folder: Path, n: int, size: int, channels: int) -> np.memmap:
    """``crops.npy`` for ``n`` faces, writable and memory mapped, all zero."""
    return np.lib.format.open_memmap(
        folder / CROPS, mode="w+", dtype=np.uint8, shape=(n, size, size, channels)
    )


def finish_store(
    folder: Path, table: pd.DataFrame, meta: Mapping[str, Any], crops_sha256: str | None = None
) -> None:
    """Write the table and, last, ``store.json``.

    Args:
        meta: holds at least ``splits``.
        crops_sha256: of the file ``crops.npy``, when it is known already; else it is read for that.
    """
    numbers = {name: kind for name, kind in COLUMNS.items() if kind != "str"}
    ordered = table[list(COLUMNS)].astype(numbers)
    for name in COLUMNS.keys() - numbers.keys():
        # Not astype("str"): before pandas 3 that makes the text "None" of a missing value.
        ordered[name] = table[name].astype(object).where(table[name].notna(), None)
    ordered.to_parquet(folder / TABLE, index=False)
    sha256 = {CROPS: crops_sha256 or file_digest(folder / CROPS), TABLE: file_digest(folder / TABLE)}
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256[name]} for name in sha256}
    write_json(folder / STORE_FILE, {"schema": SCHEMA, **meta, "files": files})
