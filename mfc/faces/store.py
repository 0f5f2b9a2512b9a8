"""The face store: a table of faces and their crops.

A store is a folder with ``faces.parquet`` (a row per annotated face), ``crops.npy`` (the kept faces, memory
mapped) and ``store.json``, which is written last: where it is, the store is complete.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mfc.config import SPLITS
from mfc.errors import UserError
from mfc.files import value_digest, write_json

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
STORE_FILE = "store.json"
"""Written last: where it is, the store is complete."""
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
    """Open the store in a folder; `UserError` when it is not there, incomplete or of another schema."""
    import pandas as pd

    path = Path(path)
    remedy = "make it by `mfc preprocess`"
    try:
        meta = json.loads((path / "store.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        state = "is an incomplete face store (no store.json)" if path.is_dir() else "is not there"
        raise UserError(f"face store {path} {state}; {remedy}") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{path / 'store.json'} is damaged; {remedy} --overwrite true") from None
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        raise UserError(
            f"{path / 'store.json'} has another schema than {SCHEMA}, which this version reads; "
            f"{remedy} --overwrite true"
        )
    try:
        table = pd.read_parquet(path / "faces.parquet")
        crops = _map_crops(path / "crops.npy")
    except (OSError, ValueError) as error:
        raise UserError(f"face store {path} is damaged ({error}); {remedy} --overwrite true") from None
    if list(table.columns) != list(COLUMNS) or int(table["row"].notna().sum()) != len(crops):
        raise UserError(f"face store {path} is damaged (table and crops disagree); {remedy} --overwrite true")
    return FaceStore(path, table, crops, meta)


def _map_crops(path: Path) -> npt.NDArray[np.uint8]:
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name} is empty")
    crops = np.load(path, mmap_mode="r", allow_pickle=False)
    if (
        crops.dtype != np.uint8
        or crops.ndim != 4
        or crops.shape[1] != crops.shape[2]
        or crops.shape[3] not in (1, 3)
    ):
        raise ValueError(f"{path.name} has shape {crops.shape} and type {crops.dtype}")
    return crops


@contextlib.contextmanager
def new_store(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well.

    The block writes ``crops.npy`` there and calls `finish_store`. A store that was at ``path`` is replaced;
    when the block fails, it is untouched and nothing is left behind.
    """
    import psutil  # type: ignore[import-untyped]

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.part"):  # of runs that were killed
        process = stale.name.split(".")[-2]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(stale, ignore_errors=True)
    folder = path.with_name(f".{path.name}.{os.getpid()}.part")
    folder.mkdir()
    try:
        yield folder
        if not (folder / "store.json").is_file():
            raise RuntimeError("the block must call finish_store")
        old = folder.with_suffix(".old")
        if path.exists():
            path.rename(old)
        folder.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def new_crops(folder: Path, n: int, size: int, channels: int) -> np.memmap:
    """``crops.npy`` for ``n`` faces, writable and memory mapped, all zero."""
    return np.lib.format.open_memmap(
        folder / "crops.npy", mode="w+", dtype=np.uint8, shape=(n, size, size, channels)
    )


def finish_store(folder: Path, table: pd.DataFrame, meta: Mapping[str, Any]) -> None:
    """Write the table and, last, ``store.json``. ``meta`` holds at least ``splits``."""
    numbers = {name: kind for name, kind in COLUMNS.items() if kind != "str"}
    ordered = table[list(COLUMNS)].astype(numbers)
    for name in COLUMNS.keys() - numbers.keys():
        # Not astype("str"): before pandas 3 that makes the text "None" of a missing value.
        ordered[name] = table[name].astype(object).where(table[name].notna(), None)
    ordered.to_parquet(folder / "faces.parquet", index=False)
    write_json(folder / "store.json", {"schema": SCHEMA, **meta})
