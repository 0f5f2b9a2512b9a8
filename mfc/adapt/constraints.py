"""What a comic says about its faces without labels: which pairs are one person, and which are two.

Two faces in one frame are different people (cannot-link); a face and its nearest neighbour on the pages
around it are one person (must-link); both spread one step. Source: Tsubota, Ogawa, Yamasaki and Aizawa,
"Adaptation of manga face representation for accurate clustering", SIGGRAPH Asia 2018 Posters; the exact rules
are those of the public re-implementation, as recorded in ``tests/golden``.

Pairs are arrays (pairs, 2) int64 with i < j, sorted by i, then j, each pair once. Nothing is faces × faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mfc.faces.pairs import (
    Index,
    Pairs,
    cannot_links_from_frames,
    concatenated_ranges,
    pair_keys,
    pairs_of_keys,
    unique_pairs,
)

BLOCK_ROWS = 48
"""Faces compared at a time: more waste work on pages that are too far apart, fewer waste calls."""


@dataclass(frozen=True, eq=False)
class Constraints:
    """The pairs of one title whose relation is known; no pair is in both arrays."""

    n: int
    """Number of faces."""
    must_link: Pairs
    """(m, 2) int64: the same person."""
    cannot_link: Pairs
    """(c, 2) int64: two people."""

    def pairs_in(self, index: Index) -> tuple[Index, Index, NDArray[np.bool_]]:
        """The known pairs within a batch; takes time for the batch and its faces' pairs, not for all pairs.

        Args:
            index: (b,) int64, the faces of the batch, none twice.

        Returns:
            i, j: (p,) int64 positions **within the batch**, i < j, sorted by i, then j.
            same: (p,) bool, whether the two are the same person.

        Raises:
            ValueError: when a face is in the batch twice.
        """
        position = np.full(self.n, -1, np.int64)
        position[index] = np.arange(len(index))
        if (position[index] != np.arange(len(index))).any():
            raise ValueError("a batch holds a face twice")
        start, neighbours, same = self._rows
        i, entry = concatenated_ranges(start[index], start[index + 1])
        j = position[neighbours[entry]]
        inside = j > i
        i, j, entry = i[inside], j[inside], entry[inside]
        order = np.argsort(i * len(index) + j)
        return i[order], j[order], same[entry[order]]

    def indices_tuple(self, index: Index | None = None) -> tuple[Index, Index, Index, Index]:
        """The pairs as pytorch-metric-learning's losses take them: (a1, p, a2, n), each (pairs,) int64.

        ``a1[k], p[k]`` are the same person, ``a2[k], n[k]`` are two.

        Args:
            index: (b,) int64, the faces of a batch: positions are then within it. None: all faces.
        """
        if index is None:
            return (*self.must_link.T, *self.cannot_link.T)
        i, j, same = self.pairs_in(index)
        return i[same], j[same], i[~same], j[~same]

    @cached_property
    def _rows(self) -> tuple[Index, Index, NDArray[np.bool_]]:
        """Each pair in both directions, by its first face: (start (n + 1,), second face, whether same)."""
        pairs = np.concatenate([self.must_link, self.cannot_link])
        same = np.arange(len(pairs)) < len(self.must_link)
        first, second = np.concatenate([pairs, pairs[:, ::-1]]).T
        order = np.argsort(first, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(first, minlength=self.n))])
        return start, second[order], np.concatenate([same, same])[order]


def build_constraints(
    features: NDArray[np.float32],
    pages: NDArray[np.integer],
    frames: NDArray[np.integer],
    *,
    page_range: int = 1,
    top_n: int = 1,
) -> Constraints:
    """The constraints of one title, as published: frames, nearest neighbours, one step of propagation.

    Args:
        features: (n, d) float32, rows of length 1.
        pages: (n,) page numbers.
        frames: (n,) codes, equal for faces in one frame of the title; -1 for "no frame".
        page_range: a neighbour is at most this many page numbers away; -1: anywhere.
        top_n: neighbours a face.

    Raises:
        ValueError: when lengths differ, a parameter is out of range, or a feature is NaN.
    """
    if not len(features) == len(pages) == len(frames):
        raise ValueError(
            f"{len(features)} features, {len(pages)} pages and {len(frames)} frames do not match"
        )
    cannot_link = cannot_links_from_frames(frames)
    links = nearest_must_links(features, pages, page_range=page_range, top_n=top_n)
    return propagate(len(features), cannot_link, links)


def nearest_must_links(
    features: NDArray[np.float32],
    pages: NDArray[np.integer],
    *,
    page_range: int = 1,
    top_n: int = 1,
    exclude: Pairs | None = None,
) -> Pairs:
    """Each face with its nearest neighbours on the pages around it, whichever of the two chose the other.

    A face with fewer candidates than ``top_n`` links to those it has. (There the reference links to arbitrary
    faces anywhere in the title, which depend on its library, device and n, so no switch can reproduce them.)

    Args, Raises: see `nearest_neighbours`.

    Returns:
        (m, 2) int64 pairs.
    """
    i, j, _ = nearest_neighbours(features, pages, page_range=page_range, top_n=top_n, exclude=exclude)
    return unique_pairs(i, j, len(features))


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


def propagate(n: int, cannot_link: Pairs, must_link: Pairs) -> Constraints:
    """Spread constraints one step: what is known of a face holds for those it is linked with.

    i ≠ j and j = k give i ≠ k; i = j and j = k give i = k. One pass, no closure, and a cannot-link moves over
    one link, on one side. Where both kinds apply to a pair the cannot-link wins, also over a direct link.

    Args:
        n: number of faces.
        cannot_link, must_link: (…, 2) int64 pairs, before propagation; a pair may be in both.
    """
    different, same = _symmetric(n, cannot_link), _symmetric(n, must_link)
    moved, chained = (different @ same).tocoo(), (same @ same).tocoo()
    stated = [pair_keys(pairs[:, 0], pairs[:, 1], n) for pairs in (cannot_link, must_link)]
    negative = np.union1d(stated[0], pair_keys(moved.row, moved.col, n))
    positive = np.union1d(stated[1], pair_keys(chained.row, chained.col, n))
    positive = np.setdiff1d(positive, negative, assume_unique=True)
    return Constraints(n, pairs_of_keys(positive, n), pairs_of_keys(negative, n))


def _symmetric(n: int, pairs: Pairs) -> sparse.csr_array:
    """(n, n) sparse, nonzero where a pair holds, both ways."""
    i, j = np.concatenate([pairs, pairs[:, ::-1]]).T
    return sparse.csr_array((np.ones(len(i), np.int32), (i, j)), shape=(n, n))


def _by_place(pairs: Pairs, order: Index) -> Pairs:
    """Pairs of faces as pairs of places in ``order``, in both directions, sorted by the first."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    both = place[np.concatenate([pairs, pairs[:, ::-1]])]
    return both[np.argsort(both[:, 0], kind="stable")]
