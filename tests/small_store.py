"""A face store made of numbers: no pages, no drawing, some kilobytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mfc.faces.store import COLUMNS, FaceStore, finish_store, new_crops, new_store, open_store

SPLITS = {"train": ["T1", "T2"], "val": ["V"], "test": ["A", "B"]}


def small_store(path: Path, *, faces: int = 12, size: int = 37, salt: str = "") -> FaceStore:
    """Titles with two characters of ``faces`` faces each, three on a page, two of them in one frame.

    Args:
        salt: stands for the content of the corpus.
    """
    random = np.random.default_rng(0)
    lines = []
    for split, titles in SPLITS.items():
        for title in titles:
            for number in range(2 * faces):
                values: dict[str, object] = dict.fromkeys(COLUMNS, 0)
                who = number % 2
                values |= {"face_id": f"{len(lines):08x}", "title": title, "split": split}
                values |= {"page_index": number // 3, "frame_id": f"{title}{number // 3}{number % 3 == 2}"}
                values |= {"character_id": f"{title}-{who}", "character_name": f"{title} {who}"}
                values |= {"is_other": False, "row": len(lines), "drop_reason": None}
                lines.append(values)
    table = pd.DataFrame(lines)
    with new_store(path) as folder:
        crops = new_crops(folder, len(lines), size, 1)
        dark = table["character_id"].str.endswith("-0").to_numpy()[:, None, None, None]
        crops[:] = np.where(dark, 60, 190) + random.integers(-40, 40, crops.shape)
        counts = {title: (2 * faces + 2) // 3 for titles in SPLITS.values() for title in titles}
        finish_store(
            folder, table, {"splits": SPLITS, "corpus": f"corpus{salt}", "parameters": {}, "pages": counts}
        )
    return open_store(path)
