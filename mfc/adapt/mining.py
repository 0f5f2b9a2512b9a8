"""Mining: what a comic says about its faces without labels, which pairs are one person, and which are two.

Two faces in one frame are different people (cannot-link); a face and its nearest neighbour on the pages
around it are one person (must-link); both spread one step. Source: Tsubota, Ogawa, Yamasaki and Aizawa,
"Adaptation of manga face representation for accurate clustering", SIGGRAPH Asia 2018 Posters; the exact rules
are those of the public re-implementation, as recorded in ``tests/golden``.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mfc.adapt.constraints import Constraints, propagate
from mfc.faces.pairs import Index, Pairs, cannot_links_from_frames, pair_keys, pairs_of_keys, unique_pairs

BLOCK_ROWS = 48
"""Faces compared at a time: more waste work on pages that are too far apart, fewer waste calls."""


@dataclass(frozen=True)
class Mining:
    """How pairs are found; the defaults are the paper's."""

    mining: str = "nearest"
    """Which of `MINERS`."""
    page_range: int = 1
    """A neighbour is at most this many page numbers away; -1: anywhere."""
    top_n: int = 1
    """Neighbours a face."""
    frame_mates: str = "keep"
    """exclude: faces of one frame are never candidates for a must-link."""


def mine(
    features: NDArray[np.float32],
    pages: NDArray[np.integer],
    frames: NDArray[np.integer],
    settings: Mining,
) -> Constraints:
    """The constraints of one title: frames, must-links by a miner, one step of propagation.

    Args:
        features: (n, d) float32, rows of length 1.
        pages: (n,) page numbers.
        frames: (n,) codes, equal for faces in one frame of the title; -1 for "no frame".

    Raises:
        ValueError: when lengths differ, a parameter is out of range, or a feature is NaN.
    """
    if not len(features) == len(pages) == len(frames):
        raise ValueError(
            f"{len(features)} features, {len(pages)} pages and {len(frames)} frames do not match"
        )
    cannot_link = cannot_links_from_frames(frames)
    exclude = cannot_link if settings.frame_mates == "exclude" else None
    must_link = MINERS[settings.mining](features, pages, exclude, settings)
    return propagate(len(features), cannot_link, must_link)


def nearest(
    features: NDArray[np.float32], pages: NDArray[np.integer], exclude: Pairs | None, settings: Mining
) -> Pairs:
    """Each face with its nearest neighbours on the pages around it, whichever of the two chose the other.

    A face with fewer candidates than ``top_n`` links to those it has. (There the reference links to arbitrary
    faces anywhere in the title, which depend on its library, device and n, so no switch can reproduce them.)

    Args, Raises: see `nearest_neighbours`.

    Returns:
        (m, 2) int64 pairs.
    """
    i, j, _ = nearest_neighbours(
        features, pages, page_range=settings.page_range, top_n=settings.top_n, exclude=exclude
    )
    return unique_pairs(i, j, len(features))


def mutual(
    features: NDArray[np.float32], pages: NDArray[np.integer], exclude: Pairs | None, settings: Mining
) -> Pairs:
    """As `nearest`, but only where each of the two chose the other."""
    i, j, _ = nearest_neighbours(
        features, pages, page_range=settings.page_range, top_n=settings.top_n, exclude=exclude
    )
    keys, times = np.unique(pair_keys(i, j, len(features)), return_counts=True)
    return pairs_of_keys(keys[times == 2], len(features))


Miner = Callable[[NDArray[np.float32], NDArray[np.integer], Pairs | None, Mining], Pairs]
"""(features (n, d), pages (n,), pairs that are no candidates, settings) → must-links (m, 2)."""
MINERS: Mapping[str, Miner] = types.MappingProxyType({"nearest": nearest, "mutual": mutual})


def nearest_neighbours(
    features: NDArray[np.float32],
    pages: NDArray[np.integer],
    *,
    page_range: int = 1,
    top_n: int = 1,
    exclude: Pairs | None = None,
) -> tuple[Index, Index, NDArray[np.float32]]:
    """The ``top_n`` nearest others of each face by dot product, among those at most ``page_range`` pages
    away.

    Distance is that of the page numbers, so gaps in the numbering count. Of equally near ones the first in
    page order is taken. Memory grows with the faces times those in a window, a block of faces at a time.

    Args:
        features: (n, d) float32, rows of length 1.
        pages: (n,) page numbers, in any order.
        page_range: -1: anywhere.
        top_n: neighbours a face; those with fewer candidates get as many as they have.
        exclude: (e, 2) int64 pairs that are never neighbours, e.g. those of one frame.

    Returns:
        i, j: (m,) int64, j is a neighbour of i. By rank, then in page order of i.
        similarity: (m,) float32, their dot product.

    Raises:
        ValueError: when a parameter is out of range or a feature is NaN.
    """
    if page_range < -1 or top_n < 1:
        raise ValueError(f"page_range {page_range} must be at least -1 and top_n {top_n} at least 1")
    n = len(features)
    order = np.argsort(pages, kind="stable")
    in_order = bool((order[1:] > order[:-1]).all())
    ordered = features if in_order else features[order]
    page = np.zeros(n, np.int64) if page_range == -1 else np.asarray(pages, np.int64)[order]
    reach = max(page_range, 0)
    first = np.searchsorted(page, page - reach, side="left")
    end = np.searchsorted(page, page + reach, side="right")
    excluded = _by_place(exclude, order) if exclude is not None else np.zeros((0, 2), np.int64)

    found: list[list[tuple[Index, Index, NDArray[np.float32]]]] = [[] for _ in range(top_n)]
    for start in range(0, n, BLOCK_ROWS):
        rows = np.arange(start, min(start + BLOCK_ROWS, n))
        left, right = first[rows[0]], end[rows[-1]]
        columns = np.arange(left, right)
        similarity = ordered[rows[0] : rows[-1] + 1] @ ordered[left:right].T
        if page_range != -1:
            similarity[(columns < first[rows, None]) | (columns >= end[rows, None])] = -np.inf
        similarity[rows - start, rows - left] = -np.inf
        here = excluded[slice(*np.searchsorted(excluded[:, 0], [start, rows[-1] + 1]))]
        here = here[(here[:, 1] >= left) & (here[:, 1] < right)]
        similarity[here[:, 0] - start, here[:, 1] - left] = -np.inf
        for rank in found:
            best = similarity.argmax(axis=1)
            value = similarity[rows - start, best]
            if np.isnan(value).any():
                raise ValueError(
                    f"the features of face {order[rows[np.isnan(value)][0]]} or a neighbour are NaN"
                )
            has_one = value > -np.inf
            rank.append((rows[has_one], left + best[has_one], value[has_one]))
            if not has_one.any():
                break
            similarity[rows - start, best] = -np.inf
    parts = [part for rank in found for part in rank]
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    i, j, similarity = (np.concatenate(part) for part in zip(*parts, strict=True))
    return order[i], order[j], similarity


def _by_place(pairs: Pairs, order: Index) -> Pairs:
    """Pairs of faces as pairs of places in ``order``, in both directions, sorted by the first."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    both = place[np.concatenate([pairs, pairs[:, ::-1]])]
    return both[np.argsort(both[:, 0], kind="stable")]
