"""Average-linkage clustering that obeys must-links and cannot-links, and where to cut its tree.

Average linkage joins the two clusters whose faces are nearest on average (Sokal and Michener, 1958). A pair
that must not be joined is infinitely far apart, and so is whatever either of them joins; linkage stays
reducible by that, so the nearest-neighbour chain finds the same tree as the greedy search, in O(n²) (Müllner,
"Modern hierarchical, agglomerative clustering algorithms", 2011). Constrained agglomeration: Davidson and
Ravi, "Agglomerative hierarchical clustering with constraints", PKDD 2005.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mfc.errors import UserError
from mfc.faces.pairs import NO_PAIRS, Pairs

Labels = NDArray[np.int64]
MATRIX_BYTES = 1 << 33
"""The largest matrix of distances: 32,768 faces."""


@dataclass(frozen=True, eq=False)
class Tree:
    """What was joined with what, nearest first; a cut anywhere obeys all constraints."""

    groups: Labels
    """(n,) where each point starts: 0 … g - 1, points joined by must-links in one group."""
    merges: Pairs
    """(m, 2) groups; each merge joins the clusters that these two are in. m < g - 1 when constraints hold
    more than one cluster apart."""
    heights: NDArray[np.float64]
    """(m,) mean distance of the two clusters, not falling."""

    @property
    def fewest(self) -> int:
        """The least number of clusters that the constraints allow this tree."""
        return self.most - len(self.merges)

    @property
    def most(self) -> int:
        """The number of clusters before anything but must-links is joined."""
        return int(self.groups.max()) + 1

    def cut(self, threshold: float) -> Labels:
        """(n,) clusters 0 … k - 1 after all merges at a mean distance of at most ``threshold``."""
        return self._after(int(np.searchsorted(self.heights, threshold, side="right")))

    def cut_into(self, n_clusters: int) -> Labels:
        """(n,) clusters: ``n_clusters`` of them, or the nearest number between `fewest` and `most`."""
        return self._after(min(max(self.most - n_clusters, 0), len(self.merges)))

    def _after(self, n_merges: int) -> Labels:
        joined = components(self.most, self.merges[:n_merges])
        return joined[self.groups]


def average_linkage(
    features: NDArray[np.float32], must_link: Pairs = NO_PAIRS, cannot_link: Pairs = NO_PAIRS
) -> Tree:
    """The tree of average linkage on cosine distance, 1 - x·y; memory is 8 n² bytes.

    Args:
        features: (n, d) floating point, rows of length 1.
        must_link: (m, 2) pairs that start in one cluster, transitively.
        cannot_link: (c, 2) pairs that are never in one cluster.

    Raises:
        UserError: for more points than `MATRIX_BYTES` hold the distances of.
        ValueError: when there is no point, a feature is not finite, or must-links join a cannot-link.
    """
    n = len(features)
    if not n:
        raise ValueError("no point to cluster")
    refuse_too_many(n)
    if not np.isfinite(features).all():
        raise ValueError("a feature is not finite")
    groups = components(n, must_link)
    held = groups[cannot_link]
    broken = held[:, 0] == held[:, 1]
    if broken.any():
        a, b = cannot_link[broken][0]
        raise ValueError(f"points {a} and {b} must not be joined, but must-links join them")
    distances, sizes = _between_groups(features, groups)
    distances[held[:, 0], held[:, 1]] = np.inf
    distances[held[:, 1], held[:, 0]] = np.inf
    merges, heights = _nearest_neighbour_chain(distances, sizes)
    order = np.argsort(heights, kind="stable")
    return Tree(groups, merges[order], heights[order])


def refuse_too_many(n: int) -> None:
    """Raise `UserError` for more points than `MATRIX_BYTES` hold the distances of."""
    if 8 * n * n > MATRIX_BYTES:
        raise UserError(
            f"{n:,} faces are too many for average linkage in memory; use --method hdbscan, or cluster the "
            "comic in parts and match them by --previous"
        )


def components(n: int, pairs: Pairs) -> Labels:
    """(n,) connected components of ``pairs``, numbered 0, 1, … by their first point."""
    from scipy.sparse import csgraph

    graph = sparse.coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    labels = csgraph.connected_components(graph.tocsr(), directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def _between_groups(
    features: NDArray[np.float32], groups: Labels
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean distances between groups (g, g), infinite on the diagonal, and the groups' sizes (g,)."""
    sizes = np.bincount(groups).astype(np.float64)
    n = len(groups)
    member = sparse.csr_array((1 / sizes[groups], (groups, np.arange(n))), shape=(len(sizes), n))
    centres = member @ features.astype(np.float64)
    # The mean of dot products is the dot product of the means.
    distances = 1 - centres @ centres.T
    distances = np.maximum((distances + distances.T) / 2, 0)
    np.fill_diagonal(distances, np.inf)
    return distances, sizes


def _nearest_neighbour_chain(
    distances: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[Pairs, NDArray[np.float64]]:
    """All merges that constraints allow, in the order found; overwrites both arguments."""
    merges: list[tuple[int, int]] = []
    heights: list[float] = []
    active = np.ones(len(sizes), bool)
    chain: list[int] = []
    for start in range(len(sizes)):
        while active[start] or chain:
            if not chain:
                chain.append(start)
            here = chain[-1]
            nearest = int(distances[here].argmin())
            height = distances[here, nearest]
            if np.isinf(height):  # nothing may join it, now or later
                active[chain.pop()] = False
            elif len(chain) > 1 and distances[here, chain[-2]] <= height:
                there = chain[-2]
                del chain[-2:]
                merges.append((here, there))
                heights.append(float(distances[here, there]))
                _join(distances, sizes, here, there)
                active[here] = False
            else:
                chain.append(nearest)
    return np.array(merges, np.int64).reshape(-1, 2), np.array(heights)


def _join(distances: NDArray[np.float64], sizes: NDArray[np.float64], a: int, b: int) -> None:
    """Put cluster a into b (the update of Lance and Williams, 1967, for average linkage)."""
    total = sizes[a] + sizes[b]
    joined = (sizes[a] / total) * distances[a] + (sizes[b] / total) * distances[b]
    distances[b], distances[:, b] = joined, joined
    distances[a], distances[:, a] = np.inf, np.inf
    distances[b, b] = np.inf
    sizes[b] = total


THRESHOLDS: NDArray[np.float64] = np.round(np.arange(0.01, 1.2, 0.01), 2)
"""The cuts that a calibration tries, cosine distance."""


def threshold_curve(tree: Tree, y_true: NDArray[np.int64]) -> NDArray[np.float64]:
    """B-cubed F of the cut at each of `THRESHOLDS` against the truth (n,)."""
    from mfc.clusters.metrics import bcubed_scores

    return np.array([bcubed_scores(y_true, tree.cut(threshold))[2] for threshold in THRESHOLDS])


def best_threshold(curves: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """The middle of the cuts with the best mean of ``curves`` (one a title), and that mean."""
    mean = np.mean(np.stack(curves), axis=0)
    best = np.flatnonzero(mean >= mean.max() - 1e-12)
    return float(THRESHOLDS[best[len(best) // 2]]), float(mean.max())
