"""Plain ways to the same results, for a reader to check and for a clock to compare with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dense_constraints(
    features: NDArray[np.float32],
    pages: NDArray[np.int32],
    frames: NDArray[np.int32],
    page_range: int = 1,
    top_n: int = 1,
) -> NDArray[np.int8]:
    """The constraints by loops over a matrix of faces × faces: -10 unknown, 0 different, 1 one person."""
    n = len(features)
    negative = np.zeros((n, n), bool)
    for i in range(n):
        for j in range(n):
            negative[i, j] = i != j and frames[i] >= 0 and frames[i] == frames[j]

    similarity = features @ features.T
    linked = np.zeros((n, n), bool)
    for i in range(n):
        candidates = [j for j in range(n) if j != i and abs(int(pages[i]) - int(pages[j])) <= page_range]
        for j in sorted(candidates, key=lambda j: -similarity[i, j])[:top_n]:
            linked[i, j] = linked[j, i] = True

    matrix = np.full((n, n), -10, np.int8)
    for i in range(n):
        for k in range(i):
            # For all j at once: what is known of i and j, and of j and k.
            if linked[i, k] or (linked[i] & linked[k]).any():
                matrix[i, k] = matrix[k, i] = 1
            if negative[i, k] or (negative[i] & linked[k]).any() or (linked[i] & negative[k]).any():
                matrix[i, k] = matrix[k, i] = 0
    return matrix


def scikit_learn_kmeans(
    features: NDArray[np.float32], n_clusters: int, n_init: int, seed: int
) -> NDArray[np.int64]:
    """The protocol as the reference calls it; returns the labels."""
    from sklearn.cluster import KMeans

    model = KMeans(n_clusters=n_clusters, n_init=n_init, random_state=seed)
    return np.asarray(model.fit_predict(features), np.int64)
