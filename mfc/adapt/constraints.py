"""Pairs of one title whose relation is known, as a batch needs them, and how they spread by one step.

Pairs are arrays (pairs, 2) int64 with i < j, sorted by i, then j, each pair once. Nothing is faces × faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mfc.faces.pairs import Index, Pairs, concatenated_ranges, pair_keys, pairs_of_keys


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
        start, partner, same = self.partners
        i, entry = concatenated_ranges(start[index], start[index + 1])
        j = position[partner[entry]]
        inside = j > i
        i, j, entry = i[inside], j[inside], entry[inside]
        order = np.argsort(i * len(index) + j)
        return i[order], j[order], same[entry[order]]

    def indices_tuple(self, index: Index) -> tuple[Index, Index, Index, Index]:
        """The pairs within a batch as pytorch-metric-learning's losses take them: (a1, p, a2, n).

        ``a1[k], p[k]`` are the same person, ``a2[k], n[k]`` are two: (pairs,) int64 positions within the
        batch, the first below the second, each pair once, sorted. Args, Raises: see `pairs_in`.
        """
        i, j, same = self.pairs_in(index)
        return i[same], j[same], i[~same], j[~same]

    @cached_property
    def partners(self) -> tuple[Index, Index, NDArray[np.bool_]]:
        """Each pair from both sides, by face: those of face i are at ``start[i] : start[i + 1]``.

        Returns:
            start: (n + 1,) int64.
            partner: (2 × pairs,) int64.
            same: (2 × pairs,) bool, whether the two are the same person.
        """
        pairs = np.concatenate([self.must_link, self.cannot_link])
        same = np.arange(len(pairs)) < len(self.must_link)
        first, second = np.concatenate([pairs, pairs[:, ::-1]]).T
        order = np.argsort(first, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(first, minlength=self.n))])
        return start, second[order], np.concatenate([same, same])[order]


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
