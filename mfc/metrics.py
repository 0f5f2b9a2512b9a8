"""Scores of clusterings, embeddings and constraints against the truth, and how certain a mean of scores is.

Evaluators yield ``(name, value)``; who calls them decides where the numbers go.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.int64]
Interval = tuple[float, float, float]
"""Mean, lower end, upper end."""

RESAMPLES_AT_ONCE = 1 << 22
"""Values drawn in one block of the bootstrap; bounds its memory to some 100 MB."""
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


def constraint_quality(
    must_link: NDArray[np.int64], cannot_link: NDArray[np.int64], labels: ArrayLike
) -> Iterator[tuple[str, float]]:
    """How true constraints are: a diagnosis only, never used to train.

    Per kind: `…_pairs`, their number; `…_precision`, the share that the truth confirms; `…_contradictions`,
    the number it denies; `…_coverage`, the share of all pairs of the kind (one label, or two) that are
    stated. And `must_link_faces`, the share of faces with at least one must-link. A share of nothing is not
    yielded.

    Args:
        must_link, cannot_link: (pairs, 2) int64 indices, each pair once.
        labels: (n,) integers or texts.
    """
    codes, _ = _codes(labels, labels)
    pairs_of_one_label = float(_pairs(np.bincount(codes)).sum())
    all_pairs = float(_pairs(np.array([len(codes)])).sum())
    for kind, links, existing in (
        ("must_link", must_link, pairs_of_one_label),
        ("cannot_link", cannot_link, all_pairs - pairs_of_one_label),
    ):
        same = codes[links[:, 0]] == codes[links[:, 1]]
        true = int(same.sum() if kind == "must_link" else (~same).sum())
        yield f"{kind}_pairs", float(len(links))
        yield f"{kind}_contradictions", float(len(links) - true)
        if len(links):
            yield f"{kind}_precision", true / len(links)
        if existing:
            yield f"{kind}_coverage", true / existing
    yield "must_link_faces", len(np.unique(must_link)) / len(codes)


def bootstrap_interval(
    values: NDArray[np.float64], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Mean over titles, and an interval for it, from a bootstrap over titles and over the seeds of each.

    A title's score is the mean of its seeds. Each resample draws titles with replacement and, for each draw,
    as many of its seeds with replacement, which errs a little on the wide side (Davison and Hinkley,
    "Bootstrap Methods and their Application", 1997, section 3.8). The ends are percentiles, moved outwards
    so that few titles do not make the interval too narrow (the expanded percentile interval of Hesterberg,
    "What teachers should know about the bootstrap", The American Statistician 2015). With a single title it
    speaks of that title's seeds only.

    Args:
        values: (titles, seeds) floating point; NaN where a seed was not run. Titles without any are left out.
        confidence: coverage, between 0 and 1.
        resamples: number of resamples; as a rule 10,000.
        seed: of the draws.

    Returns:
        (mean, low, high); low and high are NaN when a single value leaves nothing to estimate an error from.

    Raises:
        ValueError: without any value.
    """
    return _bootstrap([np.asarray(values, np.float64)], confidence, resamples, seed)


def paired_difference(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean over titles of ``b - a``, and an interval: `bootstrap_interval` with the titles kept together.

    Both sides see the same draw of titles, so what makes a title easy or hard cancels; the seeds of the two
    sides are drawn independently, because equal seeds do not make two methods alike.

    Args:
        a, b: (titles, seeds of a) and (titles, seeds of b), rows of the same titles in the same order, NaN
            where not run. Titles that one side lacks are left out.
        confidence, resamples, seed: see `bootstrap_interval`.

    Raises:
        ValueError: when the numbers of titles differ or no title has both.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} titles against {len(b)}: give rows of the same titles")
    return _bootstrap([b, -a], confidence, resamples, seed)


def _bootstrap(parts: list[NDArray[np.float64]], confidence: float, resamples: int, seed: int) -> Interval:
    """Interval of the mean over titles of the sum of the parts' means over seeds."""
    usable = np.logical_and.reduce([np.isfinite(part).any(axis=1) for part in parts])
    titles = int(usable.sum())
    if not titles:
        raise ValueError("no title has a value")
    compact = [_finite_first(part[usable]) for part in parts]
    mean = float(np.mean(sum(np.nansum(values, axis=1) / counts for values, counts in compact)))
    largest_sample = titles if titles > 1 else max(int(counts[0]) for _, counts in compact)
    if largest_sample == 1:
        return mean, float("nan"), float("nan")

    rng = np.random.default_rng(seed)
    width = sum(v.shape[1] for v, _ in compact) * titles
    block = max(1, RESAMPLES_AT_ONCE // width)
    means = []
    for start in range(0, resamples, block):
        draws = rng.integers(titles, size=(min(block, resamples - start), titles))
        total = np.zeros(draws.shape)
        for values, counts in compact:
            total += _resampled_title_means(values, counts, draws, rng)
        means.append(total.mean(axis=1))
    tail = _expanded_tail((1 - confidence) / 2, largest_sample)
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return mean, float(low), float(high)


def _finite_first(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows with their finite values moved to the left, and how many there are."""
    finite = np.isfinite(values)
    order = np.argsort(~finite, axis=1, kind="stable")
    return np.take_along_axis(np.where(finite, values, np.nan), order, axis=1), finite.sum(axis=1)


def _resampled_title_means(
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
    draws: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """For each drawn title, the mean of as many seeds as it has, with replacement: shape of ``draws``."""
    seeds = values.shape[1]
    drawn = counts[draws][..., None]
    chosen = (rng.random((*draws.shape, seeds)) * drawn).astype(np.int64)
    taken = np.arange(seeds) < drawn
    return np.where(taken, values[draws[..., None], chosen], 0.0).sum(axis=-1) / drawn[..., 0]


def _expanded_tail(tail: float, n: int) -> float:
    """Hesterberg's tail: as the t interval is wider than the normal one, and s/√(n-1) than s/√n."""
    from scipy import stats

    return float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(tail, n - 1)))


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
