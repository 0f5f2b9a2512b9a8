"""Scores of clusterings and embeddings against the truth.

Evaluators yield ``(name, value)``; who calls them decides where the numbers go.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.int64]

SIMILARITIES_AT_ONCE = 1 << 22
"""Similarities held by `embedding_metrics` at a time."""


def clustering_metrics(y_true: ArrayLike, y_pred: ArrayLike) -> Iterator[tuple[str, float]]:
    """Every score of one clustering, as ``(name, value)``; see the function of each name.

    `accuracy`, `nmi`, `purity`, `pairwise_…` and `bcubed_…` are functions of this module. From scikit-learn:
    `ami`, mutual information adjusted for chance, arithmetic mean (Vinh, Epps and Bailey, JMLR 2010);
    `ari`, adjusted Rand index (Hubert and Arabie, 1985); `homogeneity`, `completeness` and `v_measure`, their
    harmonic mean, which equals the NMI (Rosenberg and Hirschberg, EMNLP 2007); `fowlkes_mallows`, geometric
    mean of pairwise precision and recall, 0 when either has no pair (Fowlkes and Mallows, 1983).

    Args:
        y_true, y_pred: (n,) integers or texts; the names of labels and clusters do not matter.

    Raises:
        ValueError: when there is no item or the lengths differ.
    """
    from sklearn import metrics

    true, pred = _codes(y_true, y_pred)
    with warnings.catch_warnings():
        # scikit-learn wonders whether many different labels are a regression target.
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
        homogeneity, completeness, v_measure = metrics.homogeneity_completeness_v_measure(true, pred)
        ami = metrics.adjusted_mutual_info_score(true, pred)
        ari = metrics.adjusted_rand_score(true, pred)
        fowlkes_mallows = metrics.fowlkes_mallows_score(true, pred)
    yield "accuracy", cluster_accuracy(true, pred)
    yield "nmi", nmi(true, pred)
    yield "ami", float(ami)
    yield "ari", float(ari)
    yield "homogeneity", float(homogeneity)
    yield "completeness", float(completeness)
    yield "v_measure", float(v_measure)
    yield "fowlkes_mallows", float(fowlkes_mallows)
    for prefix, scores in (("pairwise", pairwise_scores(true, pred)), ("bcubed", bcubed_scores(true, pred))):
        for name, value in zip(("precision", "recall", "f"), scores, strict=True):
            yield f"{prefix}_{name}", value
    yield "purity", purity(true, pred)


def cluster_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Share of items on the best one-to-one assignment of clusters to labels; surplus ones stay unassigned.

    The Hungarian method, from SciPy's `linear_sum_assignment` (Kuhn, 1955; as a measure of clustering: Yang
    et al., "Image clustering using local discriminant models and global integration", 2010).

    Raises:
        ValueError: when there is no item or the lengths differ.
    """
    table = _contingency(*_codes(y_true, y_pred))
    return float(table[_assign(table)].sum() / table.sum())


def match_clusters(y_true: ArrayLike, y_pred: ArrayLike) -> Labels:
    """The label of each item's cluster under the assignment of `cluster_accuracy`; -1 for a surplus cluster.

    Args:
        y_true: (n,) integers, none of them -1.
        y_pred: (n,) integers or texts.

    Returns:
        (n,) int64. Where it equals ``y_true`` the item counts as correct.
    """
    true, pred = _codes(y_true, y_pred)
    rows, columns = _assign(_contingency(true, pred))
    label_of = np.full(pred.max() + 1, -1, np.int64)
    label_of[columns] = np.unique(np.asarray(y_true))[rows]
    return label_of[pred]


def nmi(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Normalised mutual information, 2·MI / (H(true) + H(pred)), from scikit-learn (arithmetic mean).

    One label in one cluster is 0/0; as the clustering is then perfect, the value is 1 (the reference fails).
    Source: Strehl and Ghosh, JMLR 2002; Vinh, Epps and Bailey, JMLR 2010, table 2.
    """
    from sklearn.metrics import normalized_mutual_info_score

    true, pred = _codes(y_true, y_pred)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
        return float(normalized_mutual_info_score(true, pred, average_method="arithmetic"))


def purity(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Share of items that carry their cluster's most frequent label: cluster purities weighted by size.

    Many small clusters are pure for nothing, so it says little without their number (Manning, Raghavan and
    Schütze, "Introduction to Information Retrieval", section 16.3).
    """
    table = _contingency(*_codes(y_true, y_pred))
    return float(table.max(axis=0).sum() / table.sum())


def pairwise_scores(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[float, float, float]:
    """Precision, recall and F of "these two are in one cluster" against "these two have one label".

    Where no pair is claimed (or none exists), nothing is wrong (or missed): precision (or recall) is 1.
    Source: Manning, Raghavan and Schütze, "Introduction to Information Retrieval", section 16.3.
    """
    table = _contingency(*_codes(y_true, y_pred))
    both, claimed, existing = (
        _pairs(counts).sum() for counts in (table, table.sum(axis=0), table.sum(axis=1))
    )
    precision = float(both / claimed) if claimed else 1.0
    recall = float(both / existing) if existing else 1.0
    return precision, recall, _harmonic_mean(precision, recall)


def bcubed_scores(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[float, float, float]:
    """B-cubed precision, recall and F.

    The precision of an item is the share of its cluster that has its label, itself included, its recall the
    share of its label that is in its cluster; both are averaged over items (Bagga and Baldwin, COLING-ACL
    1998; Amigó et al., Information Retrieval 2009).
    """
    table = _contingency(*_codes(y_true, y_pred)).astype(np.float64)
    squared = table**2
    precision = float((squared / table.sum(axis=0, keepdims=True)).sum() / table.sum())
    recall = float((squared / table.sum(axis=1, keepdims=True)).sum() / table.sum())
    return precision, recall, _harmonic_mean(precision, recall)


def embedding_metrics(features: NDArray[np.float32], labels: ArrayLike) -> Iterator[tuple[str, float]]:
    """How well near neighbours share a label; needs no clustering and no K.

    Each item asks for the others, ordered by dot product (ties by index). With R the number of others with
    its label, the mean over the items with R > 0 of

    - `precision_at_1`: whether the first has its label;
    - `r_precision`: share of its label among the first R;
    - `map_at_r`: sum over the ranks i ≤ R that have its label of the precision at i, over R;
    - `mrr`: one over the rank of the first that has its label.

    Source: Musgrave, Belongie and Lim, "A metric learning reality check", ECCV 2020, section 3.2; `mrr`:
    Voorhees, TREC-8, 1999. Nothing is yielded when all labels are different.

    Args:
        features: (n, d) floating point, rows of length 1.
        labels: (n,) integers or texts.

    Raises:
        ValueError: when there is no item or the lengths differ.
    """
    if len(features) != len(np.asarray(labels)):
        raise ValueError(f"{len(features)} features but {len(np.asarray(labels))} labels")
    codes, _ = _codes(labels, labels)
    relevant_others = np.bincount(codes)[codes] - 1
    queries = np.flatnonzero(relevant_others)
    if not len(queries):
        return
    sums = np.zeros(4)
    block = max(1, SIMILARITIES_AT_ONCE // len(codes))
    for start in range(0, len(queries), block):
        rows = queries[start : start + block]
        similarity = features[rows] @ features.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
        hits = codes[order] == codes[rows, None]
        ranks = np.arange(1, hits.shape[1] + 1)
        wanted = relevant_others[rows]
        hits_to_r = hits & (ranks <= wanted[:, None])
        precision_at = np.cumsum(hits, axis=1) / ranks
        sums += (
            hits[:, 0].sum(),
            (hits_to_r.sum(axis=1) / wanted).sum(),
            ((precision_at * hits_to_r).sum(axis=1) / wanted).sum(),
            (1 / (1 + hits.argmax(axis=1))).sum(),
        )
    for name, total in zip(("precision_at_1", "r_precision", "map_at_r", "mrr"), sums, strict=True):
        yield name, float(total / len(queries))


def _codes(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Labels, Labels]:
    """Labels and clusters renamed to 0, 1, …, in sorted order of their names."""
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    if true.ndim != 1 or true.shape != pred.shape:
        raise ValueError(f"labels of shape {true.shape} against clusters of shape {pred.shape}")
    if not len(true):
        raise ValueError("no item to score")
    return np.unique(true, return_inverse=True)[1], np.unique(pred, return_inverse=True)[1]


def _contingency(true: Labels, pred: Labels) -> NDArray[np.int64]:
    """(labels, clusters): how many items have the label and are in the cluster."""
    shape = (int(true.max()) + 1, int(pred.max()) + 1)
    return np.bincount(true * shape[1] + pred, minlength=shape[0] * shape[1]).reshape(shape)


def _assign(table: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(table, maximize=True)
    return rows, columns


def _pairs(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unordered pairs within groups of these sizes."""
    return counts * (counts - 1) // 2


def _harmonic_mean(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
