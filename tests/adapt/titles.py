"""Small titles for the tests of this room: drawn by hypothesis, or with crops in a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from numpy.typing import NDArray

from mfc.adapt.constraints import Constraints
from mfc.faces.store import FaceStore

Title = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]
UNKNOWN, DIFFERENT, SAME = -10, 0, 1


def as_matrix(found: Constraints) -> NDArray[np.int8]:
    """Faces × faces, and each array of pairs as it should be."""
    matrix = np.full((found.n, found.n), UNKNOWN, np.int8)
    for pairs, value in ((found.must_link, SAME), (found.cannot_link, DIFFERENT)):
        assert pairs.dtype == np.int64
        assert (pairs[:, 0] < pairs[:, 1]).all()
        assert pairs.tolist() == sorted(map(list, set(map(tuple, pairs.tolist()))))
        matrix[pairs[:, 0], pairs[:, 1]] = matrix[pairs[:, 1], pairs[:, 0]] = value
    return matrix


@st.composite
def titles(draw: st.DrawFn) -> Title:
    """Features, pages and frames of a small title; whole numbers make products exact and ties common."""
    n = draw(st.integers(0, 14))
    numbers = st.integers(-3, 3)
    features = draw(st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=n, max_size=n))
    pages = draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    frames = [draw(st.integers(-1, 1)) for _ in pages]
    of_page = [3 * page + frame if frame >= 0 else -1 for page, frame in zip(pages, frames, strict=True)]
    return (
        np.array(features, np.float32).reshape(n, 2),
        np.array(pages, np.int32),
        np.array(of_page, np.int32),
    )


def small_store(folder: Path) -> FaceStore:
    """A title "Small" of 20 faces on 5 pages: three people, told apart by their grey, two faces a frame."""
    random = np.random.default_rng(0)
    faces, who = 20, np.arange(20) % 3
    crops = (60 + 60 * who[:, None, None, None] + random.integers(-20, 20, (faces, 40, 40, 1))).astype(
        np.uint8
    )
    character = [f"{i:08x}" for i in who]
    table = pd.DataFrame(
        {
            "face_id": [f"{i:08x}" for i in range(faces)],
            "title": "Small",
            "page_index": np.arange(faces) // 4,
            "frame_id": [f"{i // 2:08x}" for i in range(faces)],
            "character_id": character,
            "character_name": character,
            "is_other": False,
            "row": np.arange(faces),
            **dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), 0),
        }
    )
    meta = {
        "corpus": "noise",
        "parameters": {},
        "splits": {"train": [], "val": [], "test": ["Small", "None"]},
    }
    return FaceStore(folder, table, crops, meta)
