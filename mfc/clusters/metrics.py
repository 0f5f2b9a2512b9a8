"""Scores of clusterings and embeddings against the truth: one function each, and one table of them all.

A new metric is a function and a row of `METRICS`; every surface reads that table. Evaluators yield ``(name,
value)``; who calls them decides where the numbers go.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.int64]
Hits = NDArray[np.bool_]

SIMILARITIES_AT_ONCE = 1 << 22
"""Similarities held by `embedding_metrics` at a time."""

PAPER = "Manga109, the paper (not run here)"
REIMPLEMENTATION = "Manga109, re-implementation (not run here)"
SOURCES = (PAPER, REIMPLEMENTATION)
"""Who published means over the 11 test titles of Manga109 v2018.05.31: Tsubota et al., SIGGRAPH Asia 2018
Posters, and the public re-implementation of it."""


@dataclass(frozen=True)
class Metric:
    """A row of `METRICS`; one of the two functions is given."""

    name: str
    """As logged and typed: ``test/<name>``."""
    label: str
    """As tables, figures and sentences call it."""
    of_clusters: Callable[[Labels, Labels], float] | None = None
    """(n,) labels, (n,) clusters → the score."""
    of_neighbours: Callable[[Hits, Labels], NDArray[np.float64]] | None = None
    """(q, n - 1) whether each other item, nearest first, has the asking item's label; (q,) how many have it,
    at least 1 → (q,) scores."""
    headline: bool = False
    """Shown by tables, figures, curves, the descriptions of runs and the lines that a stage says."""
    compared: bool = False
    """Shown by the comparison of two runs, as the headline metrics are."""
    higher_is_better: bool = True
    published: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """One of `SOURCES` → (pre-trained, adapted)."""


def headline() -> list[Metric]:
    """The metrics that every surface shows, in their order."""
    return [metric for metric in METRICS.values() if metric.headline]


def headline_means(scores: Sequence[Mapping[str, float]], prefix: str) -> dict[str, float]:
    """``prefix/name`` → mean over ``scores`` of each headline metric, e.g. a point of a training curve.

    Args:
        scores: of each title, metric → value. A metric that none has is left out.
    """
    found = {metric.name: [s[metric.name] for s in scores if metric.name in s] for metric in headline()}
    return {f"{prefix}/{name}": sum(values) / len(values) for name, values in found.items() if values}


def clustering_metrics(y_true: ArrayLike, y_pred: ArrayLike) -> Iterator[tuple[str, float]]:
    """Every score of one clustering, as ``(name, value)``; see the function of each name in `METRICS`.

    Where a definition is 0/0 (one character, a single face) a perfect clustering scores 1, but for Fowlkes
    and Mallows, who give 0 where no pair exists. One cluster for several characters, as identical vectors
    give it: accuracy and purity are the share of the most frequent character, AMI, ARI and NMI are 0.

    Args:
        y_true, y_pred: (n,) integers or texts; the names of labels and clusters do not matter.

    Raises:
        ValueError: when there is no item or the lengths differ.
    """
    true, pred = _codes(y_true, y_pred)
    for metric in METRICS.values():
        if metric.of_clusters:
            yield metric.name, metric.of_clusters(true, pred)


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
    return _scikit_learn("normalized_mutual_info_score")(y_true, y_pred)


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

    Each item asks for the others, ordered by dot product (ties by index). Each score is the mean over the
    items whose label another item has. Nothing is yielded when all labels are different, as with one face.

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
    functions = {m.name: m.of_neighbours for m in METRICS.values() if m.of_neighbours}
    sums = dict.fromkeys(functions, 0.0)
    block = max(1, SIMILARITIES_AT_ONCE // len(codes))
    for start in range(0, len(queries), block):
        rows = queries[start : start + block]
        similarity = features[rows] @ features.T
        similarity[np.arange(len(rows)), rows] = -np.inf
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
        hits = codes[order] == codes[rows, None]
        for name, function in functions.items():
            sums[name] += float(function(hits, relevant_others[rows]).sum())
    for name, total in sums.items():
        yield name, total / len(queries)


def precision_at_1(hits: Hits, relevant: Labels) -> NDArray[np.float64]:
    """Whether the nearest other item has the label."""
    del relevant
    return hits[:, 0].astype(np.float64)


def r_precision(hits: Hits, relevant: Labels) -> NDArray[np.float64]:
    """Share of the label among the R nearest, R the number of others that have it (source: `map_at_r`)."""
    return _among_first(hits, relevant).sum(axis=1) / relevant


def map_at_r(hits: Hits, relevant: Labels) -> NDArray[np.float64]:
    """Sum over the ranks i ≤ R that have the label of the precision at i, over R.

    Source: Musgrave, Belongie and Lim, "A metric learning reality check", ECCV 2020, section 3.2.
    """
    precision_at = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision_at * _among_first(hits, relevant)).sum(axis=1) / relevant


def reciprocal_rank(hits: Hits, relevant: Labels) -> NDArray[np.float64]:
    """One over the rank of the first that has the label (Voorhees, TREC-8, 1999)."""
    del relevant
    return 1 / (1 + hits.argmax(axis=1))


def _among_first(hits: Hits, relevant: Labels) -> Hits:
    """The hits at the first R ranks of each row."""
    return hits & (np.arange(1, hits.shape[1] + 1) <= relevant[:, None])


def _scikit_learn(name: str) -> Callable[[ArrayLike, ArrayLike], float]:
    """A score of `sklearn.metrics`, which is imported only when it is computed."""

    def score(y_true: ArrayLike, y_pred: ArrayLike) -> float:
        from sklearn import metrics

        with warnings.catch_warnings():
            # scikit-learn wonders whether many different labels are a regression target.
            warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
            return float(getattr(metrics, name)(*_codes(y_true, y_pred)))

    return score


def _part(
    scores: Callable[[ArrayLike, ArrayLike], tuple[float, float, float]], place: int
) -> Callable[[ArrayLike, ArrayLike], float]:
    """One of the three numbers that a function gives."""
    return lambda y_true, y_pred: scores(y_true, y_pred)[place]


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


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy",
            "accuracy",
            cluster_accuracy,
            headline=True,
            published={PAPER: (0.48, 0.64), REIMPLEMENTATION: (0.472, 0.666)},
        ),
        Metric(
            "nmi",
            "NMI",
            nmi,
            headline=True,
            published={PAPER: (0.63, 0.71), REIMPLEMENTATION: (0.615, 0.718)},
        ),
        # Mutual information adjusted for chance, arithmetic mean (Vinh, Epps and Bailey, JMLR 2010).
        Metric("ami", "AMI", _scikit_learn("adjusted_mutual_info_score"), headline=True),
        # Adjusted Rand index (Hubert and Arabie, 1985).
        Metric("ari", "ARI", _scikit_learn("adjusted_rand_score")),
        # And their harmonic mean, which equals the NMI (Rosenberg and Hirschberg, EMNLP 2007).
        Metric("homogeneity", "homogeneity", _scikit_learn("homogeneity_score")),
        Metric("completeness", "completeness", _scikit_learn("completeness_score")),
        Metric("v_measure", "V-measure", _scikit_learn("v_measure_score")),
        # Geometric mean of pairwise precision and recall, 0 when either has no pair (1983).
        Metric("fowlkes_mallows", "Fowlkes-Mallows", _scikit_learn("fowlkes_mallows_score")),
        Metric("pairwise_precision", "pairwise precision", _part(pairwise_scores, 0)),
        Metric("pairwise_recall", "pairwise recall", _part(pairwise_scores, 1)),
        Metric("pairwise_f", "pairwise F", _part(pairwise_scores, 2)),
        Metric("bcubed_precision", "B-cubed precision", _part(bcubed_scores, 0)),
        Metric("bcubed_recall", "B-cubed recall", _part(bcubed_scores, 1)),
        Metric("bcubed_f", "B-cubed F", _part(bcubed_scores, 2), headline=True),
        Metric("purity", "purity", purity),
        Metric("precision_at_1", "precision at 1", of_neighbours=precision_at_1),
        Metric("r_precision", "R-precision", of_neighbours=r_precision),
        Metric("map_at_r", "MAP@R", of_neighbours=map_at_r, compared=True),
        Metric("mrr", "MRR", of_neighbours=reciprocal_rank),
    )
}
"""Name → metric, in the order in which they are computed and shown."""
