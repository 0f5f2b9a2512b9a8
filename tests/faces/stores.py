"""A small face store for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mfc.faces.store import COLUMNS, FaceStore, finish_store, new_crops, new_store, open_store


def line(face: int, title: str, character: str, **more: object) -> dict[str, object]:
    """One line of the table, kept unless ``more`` says otherwise."""
    values: dict[str, object] = dict.fromkeys(COLUMNS, 0)
    values |= {"face_id": f"{face:08x}", "title": title, "split": "test", "character_id": character}
    values |= {"character_name": f"name of {character}", "is_other": False, "frame_id": None, "row": face}
    return values | {"drop_reason": None} | more


TABLE = pd.DataFrame(
    [
        line(0, "B", "000000bb", page_index=4, frame_id="f2"),
        line(1, "B", "000000aa", page_index=4, frame_id="f1"),
        line(2, "B", "000000bb", page_index=5, frame_id="f2"),
        line(3, "B", "000000cc", is_other=True),
        line(4, "B", "000000dd", character_name=None),
        line(5, "B", "000000aa", row=None, drop_reason="too small"),
        line(6, "A", "000000ab", row=5),
        line(7, "A", "000000bb", row=6),
    ]
)
SPLITS = {"train": [], "val": [], "test": ["B", "A"]}


def make_store(
    path: Path,
    table: pd.DataFrame = TABLE,
    size: int = 16,
    channels: int = 3,
    splits: Mapping[str, list[str]] = SPLITS,
    first: int = 0,
) -> FaceStore:
    """A store whose i-th crop is filled with ``first`` + i."""
    with new_store(path) as folder:
        n = int(table["row"].notna().sum())
        crops = new_crops(folder, n, size, channels)
        crops[:] = np.arange(first, first + n, dtype=np.uint8)[:, None, None, None]
        finish_store(folder, table, {"splits": splits})
    return open_store(path)
