"""Pairs of faces as index arrays, and the pairs that frames make.

Pairs are (pairs, 2) int64 with i < j, sorted by i, then j, each pair once. Nothing is faces × faces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]
Pairs = NDArray[np.int64]

NO_PAIRS: Pairs = np.zeros((0, 2), np.int64)


def cannot_links_from_frames(frames: NDArray[np.integer]) -> Pairs:
    """All pairs of faces in one frame.

    Args:
        frames: (n,) codes; a face with -1 is in no frame and in no pair.

    Returns:
        (c, 2) int64 pairs.
    """
    framed = np.flatnonzero(frames >= 0)
    order = framed[np.argsort(frames[framed], kind="stable")]
    of_frame = frames[order]
    place = np.arange(len(order))
    end = np.searchsorted(of_frame, of_frame, side="right")
    first, second = concatenated_ranges(place + 1, end)
    return unique_pairs(order[first], order[second], len(frames))


def unique_pairs(i: Index, j: Index, n: int) -> Pairs:
    """The pairs i[k], j[k] of n faces, each once, whichever way round it was."""
    return pairs_of_keys(np.unique(pair_keys(i, j, n)), n)


def pair_keys(i: NDArray[np.integer], j: NDArray[np.integer], n: int) -> Index:
    """One number for each pair, whichever way round it is; pairs of a face with itself are left out."""
    i, j = i.astype(np.int64), j.astype(np.int64)
    keys = np.minimum(i, j) * n + np.maximum(i, j)
    return keys[i != j]


def pairs_of_keys(keys: Index, n: int) -> Pairs:
    """The pairs that `pair_keys` made these numbers of."""
    return np.stack(np.divmod(keys, max(n, 1)), axis=1)


def concatenated_ranges(start: Index, end: Index) -> tuple[Index, Index]:
    """All numbers of the ranges start[k]:end[k], one after the other, each with its k."""
    lengths = end - start
    which = np.repeat(np.arange(len(start)), lengths)
    before = np.cumsum(lengths) - lengths
    return which, np.arange(len(which)) - before[which] + start[which]
