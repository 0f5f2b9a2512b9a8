"""Which faces of a store a stage works on, with their labels, pages and frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mfc.config import SPLITS
from mfc.errors import UserError
from mfc.faces.pairs import Pairs, cannot_links_from_frames
from mfc.faces.store import FaceStore

if TYPE_CHECKING:
    import pandas as pd

SAME_FACE = 0.7
"""Intersection over union; the boxes of two faces that touch share less than a tenth."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Labelled faces of some titles, aligned: the i-th row, label and line of ``faces`` are one face.

    ``rows``: (n,) int64 into the store's crops. ``labels``: (n,) int64 into ``classes``, the sorted character
    ids. ``faces``: their lines of the store's table.
    """

    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    faces: pd.DataFrame


def select(store: FaceStore, titles: Sequence[str], *, others: bool, min_faces: int = 0) -> Selection:
    """The kept faces of declared characters in ``titles``, in the order of the store.

    ``others=False`` leaves out the characters that are nobody in particular. A character needs ``min_faces``
    kept faces. Raises `UserError` for a title that the store does not have.
    """
    known = {title for split in SPLITS for title in store.meta["splits"][split]}
    for title in titles:
        if title not in known:
            raise UserError(
                f"face store {store.path} has no title {title!r}; it has {', '.join(sorted(known))}"
            )
    table = store.table
    wanted = table["title"].isin(list(titles)) & table["row"].notna() & table["character_name"].notna()
    if not others:
        wanted &= ~table["is_other"]
    faces = table[wanted]
    counts = faces["character_id"].map(faces["character_id"].value_counts())
    faces = faces[counts >= min_faces].reset_index(drop=True)
    classes, labels = np.unique(faces["character_id"].to_numpy(dtype=object).astype(str), return_inverse=True)
    return Selection(
        rows=faces["row"].to_numpy(dtype=np.int64),
        labels=labels.astype(np.int64),
        classes=tuple(str(c) for c in classes),
        faces=faces,
    )


def page_and_frame_codes(
    faces: pd.DataFrame, *, once: bool = False
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """What the constraints of one title need: page numbers (n,) and frame codes (n,), -1 for "no frame".

    ``once``: of a face that is boxed twice only the first box is in a frame, or it would be two people.
    """
    codes, _ = faces["frame_id"].factorize()
    if once:
        codes[doubled_boxes(faces)[:, 1]] = -1
    return faces["page_index"].to_numpy(dtype=np.int32), codes.astype(np.int32)


def doubled_boxes(faces: pd.DataFrame) -> Pairs:
    """Pairs (d, 2) of boxes on one page that are of one face: their IoU is at least `SAME_FACE`."""
    pairs = cannot_links_from_frames(faces["page_index"].to_numpy())
    a, b = (faces[["xmin", "ymin", "xmax", "ymax"]].to_numpy(dtype=np.int64)[side] for side in pairs.T)
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b))
    return pairs[(shared > 0) & (shared >= SAME_FACE * (area_a + area_b - shared))]
