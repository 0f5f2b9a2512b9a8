from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering, KMeans

from mfc import clustering
from mfc.clustering import agglomerative, kmeans
from mfc.errors import UserError
from mfc.metrics import cluster_accuracy


def blobs(
    n: int, d: int, k: int, *, spread: float, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows of length 1 around k directions, and which direction."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    x = rng.normal(size=(k, d))[labels] + spread * rng.normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), labels


def inertia_of(features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Sum of squared distances to the means, cluster by cluster in float64."""
    parts = [features[labels == c].astype(np.float64) for c in np.unique(labels)]
    return sum(float(np.square(part - part.mean(axis=0)).sum()) for part in parts)


def test_hand_worked_line() -> None:
    """0, 1, 10, 11, 30 in three clusters: {0, 1}, {10, 11}, {30}, inertia 1/2 + 1/2."""
    result = kmeans(np.array([[0], [1], [10], [11], [30]], np.float32), 3, n_init=20)
    a, b, c, d, e = result.labels
    assert a == b
    assert c == d
    assert len({a, c, e}) == 3
    assert result.inertia == pytest.approx(1.0)
    assert sorted(result.centres[:, 0]) == pytest.approx([0.5, 10.5, 30])


def test_best_of_all_partitions_of_few_points() -> None:
    """With many restarts of eight points the best partition of all is found."""
    import itertools

    features = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    best = min(inertia_of(features, np.array(labels)) for labels in itertools.product(range(3), repeat=8))
    assert kmeans(features, 3, n_init=200).inertia == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_with_exchange_not_worse_than_scikit_learn_with_as_many_restarts(spread: float) -> None:
    features, _ = blobs(200, 40, 8, spread=spread)
    for seed in range(2):
        ours = kmeans(features, 8, n_init=30, seed=seed, exchange=True)
        theirs = KMeans(8, n_init=30, random_state=seed).fit_predict(features)
        assert ours.inertia <= inertia_of(features, theirs) * (1 + 1e-6)


def test_no_single_move_improves_the_result() -> None:
    """With ``exchange``; where Lloyd's algorithm alone is content, some move still does."""
    features, _ = blobs(80, 30, 6, spread=3.0)

    def best_move(labels: NDArray[np.int64]) -> float:
        moved = [np.where(np.arange(80) == i, c, labels) for i in range(80) for c in range(6)]
        return min(inertia_of(features, candidate) for candidate in moved)

    result = kmeans(features, 6, n_init=20, exchange=True)
    assert best_move(result.labels) >= result.inertia * (1 - 1e-6)
    lloyd = kmeans(features, 6, n_init=20)
    assert best_move(lloyd.labels) < lloyd.inertia * (1 - 1e-4)
    assert result.inertia < lloyd.inertia


def test_inertia_is_that_of_scikit_learn_on_average() -> None:
    """Both take the best of 5 Lloyd runs; over 20 seeds the means agree within their spread."""
    features, _ = blobs(120, 30, 6, spread=2.0)
    seeds = range(20)
    ours = [kmeans(features, 6, n_init=5, seed=s).inertia for s in seeds]
    theirs = [inertia_of(features, KMeans(6, n_init=5, random_state=s).fit_predict(features)) for s in seeds]
    error = np.hypot(np.std(ours), np.std(theirs)) / np.sqrt(len(seeds))
    assert abs(np.mean(ours) - np.mean(theirs)) < 3 * error + 1e-6


@pytest.mark.parametrize("spread", [0.3, 0.6])
def test_clusters_that_scikit_learn_always_finds_are_found_with_the_same_inertia(spread: float) -> None:
    features, _ = blobs(200, 40, 8, spread=spread)
    theirs = KMeans(8, n_init=30, random_state=0).fit_predict(features)
    assert kmeans(features, 8, n_init=30).inertia == pytest.approx(inertia_of(features, theirs), rel=1e-6)


def test_result_is_consistent() -> None:
    """Labels are nearest centres, centres are means, the inertia is theirs."""
    features, _ = blobs(200, 10, 6, spread=1.0)
    result = kmeans(features, 6, n_init=30)
    distance = np.linalg.norm(features[:, None] - result.centres[None], axis=2)
    np.testing.assert_array_equal(result.labels, distance.argmin(axis=1))
    for c in range(6):
        np.testing.assert_allclose(result.centres[c], features[result.labels == c].mean(axis=0), atol=1e-5)
    assert result.inertia == pytest.approx(inertia_of(features, result.labels), rel=1e-6)
    assert result.labels.dtype == np.int64
    assert result.centres.dtype == np.float32
    assert result.n_init == 30


def test_separate_clusters_are_found() -> None:
    features, labels = blobs(150, 20, 5, spread=0.1)
    assert cluster_accuracy(labels, kmeans(features, 5, n_init=10).labels) == 1


def test_equal_seeds_give_equal_results() -> None:
    features, _ = blobs(120, 10, 5, spread=3.0)
    one, two = (kmeans(features, 5, n_init=3, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one.labels, two.labels)
    assert one.inertia == two.inertia
    inertias = {kmeans(features, 5, n_init=1, seed=seed).inertia for seed in range(5)}
    assert len(inertias) > 1


def test_more_restarts_never_do_worse_in_sum() -> None:
    features, _ = blobs(120, 10, 8, spread=3.0)
    few, many = (sum(kmeans(features, 8, n_init=n, seed=s).inertia for s in range(5)) for n in (1, 50))
    assert many < few


@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("exchange", [False, True])
def test_as_many_clusters_as_points_and_a_single_one(k: int, exchange: bool) -> None:
    features = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    result = kmeans(features, k, n_init=5, exchange=exchange)
    assert len(np.unique(result.labels)) == k
    assert result.inertia == pytest.approx(inertia_of(features, result.labels), abs=1e-6)


@pytest.mark.parametrize("exchange", [False, True])
def test_fewer_different_points_than_clusters_leave_clusters_empty(exchange: bool) -> None:
    features = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    result = kmeans(features, 5, n_init=4, exchange=exchange)
    assert result.inertia == pytest.approx(0, abs=1e-9)
    assert cluster_accuracy(np.repeat([0, 1, 2], 4), result.labels) == 1
    assert result.centres.shape == (5, 3)
    assert np.isfinite(result.centres).all()


def test_without_memory_for_the_distances_the_result_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = blobs(150, 20, 5, spread=0.5)
    expected = kmeans(features, 5, n_init=20)
    monkeypatch.setattr(clustering, "MATRIX_BYTES", 1000)
    assert kmeans(features, 5, n_init=20).inertia == pytest.approx(expected.inertia, rel=1e-6)


def test_size_of_a_batch_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = blobs(100, 10, 5, spread=2.0)
    expected = kmeans(features, 5, n_init=20)
    monkeypatch.setattr(clustering, "BATCH_BYTES", 1)
    np.testing.assert_array_equal(kmeans(features, 5, n_init=20).labels, expected.labels)


@pytest.mark.parametrize(
    ("n", "k", "n_init", "message"),
    [
        (3, 4, 1, "3 faces cannot be put into 4 clusters"),
        (0, 1, 1, "0 faces"),
        (3, 0, 1, "0 clusters"),
        (3, 2, 0, "0 restarts"),
    ],
)
def test_impossible_numbers_are_refused(n: int, k: int, n_init: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kmeans(np.zeros((n, 2), np.float32), k, n_init=n_init)


def test_features_that_are_not_finite_are_refused() -> None:
    features = np.zeros((4, 2), np.float32)
    features[2, 1] = np.inf
    with pytest.raises(ValueError, match="point 2"):
        kmeans(features, 2)


def same_partition(a: NDArray[np.int64], b: NDArray[np.int64]) -> bool:
    return bool(((a[:, None] == a) == (b[:, None] == b)).all())


def slow_agglomerative(
    features: NDArray[np.float32],
    n_clusters: int,
    threshold: float,
    must_link: list[tuple[int, int]],
    cannot_link: list[tuple[int, int]],
) -> NDArray[np.int64]:
    """Clusters as sets; every mean distance from the definition, every time."""
    distance = 1 - features.astype(np.float64) @ features.T.astype(np.float64)
    clusters = [{i} for i in range(len(features))]

    def allowed(a: set[int], b: set[int]) -> bool:
        return a is not b and not any((i in a and j in b) or (i in b and j in a) for i, j in cannot_link)

    def mean(a: set[int], b: set[int]) -> float:
        return float(np.mean([distance[i, j] for i in a for j in b]))

    def merge(a: set[int], b: set[int]) -> None:
        clusters.remove(b)
        a |= b

    for i, j in sorted(must_link, key=lambda pair: distance[pair]):
        a, b = (next(c for c in clusters if face in c) for face in (i, j))
        if len(clusters) > n_clusters and allowed(a, b):
            merge(a, b)
    while len(clusters) > n_clusters:
        pairs = [(a, b) for a in clusters for b in clusters if allowed(a, b)]
        if not pairs:
            break
        a, b = min(pairs, key=lambda pair: mean(*pair))
        if mean(a, b) > threshold:
            break
        merge(a, b)
    labels = np.empty(len(features), np.int64)
    for number, cluster in enumerate(clusters):
        labels[list(cluster)] = number
    return labels


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(2, 12), st.integers(1, 4), st.sampled_from([0.3, 0.8, np.inf]))
def test_agglomerative_equals_the_slow_version(
    data: st.DataObject, n: int, n_clusters: int, threshold: float
) -> None:
    """Random directions (no ties), any constraints, also contradicting ones."""
    features, _ = blobs(n, 3, 2, spread=1.0, seed=data.draw(st.integers(0, 10**6)))
    pair = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] < p[1])
    must, cannot = (data.draw(st.lists(pair, unique=True, max_size=m)) for m in (5, 8))
    n_clusters = min(n_clusters, n)
    labels = agglomerative(
        features,
        n_clusters=n_clusters,
        threshold=threshold,
        must_link=np.array(must, np.int64).reshape(-1, 2),
        cannot_link=np.array(cannot, np.int64).reshape(-1, 2),
    )
    assert same_partition(labels, slow_agglomerative(features, n_clusters, threshold, must, cannot))
    assert all(labels[i] != labels[j] for i, j in cannot)


@pytest.mark.parametrize("k", [1, 5, 60])
def test_agglomerative_without_constraints_equals_scikit_learn(k: int) -> None:
    features, _ = blobs(60, 8, 5, spread=1.0)
    theirs = AgglomerativeClustering(n_clusters=k, metric="cosine", linkage="average").fit_predict(features)
    labels = agglomerative(features, n_clusters=k)
    assert same_partition(labels, theirs)
    assert list(dict.fromkeys(labels.tolist())) == list(range(k))


def test_agglomerative_threshold_finds_separate_clusters_without_their_number() -> None:
    features, truth = blobs(80, 64, 6, spread=0.3)
    assert same_partition(agglomerative(features, threshold=0.5), truth)


@pytest.mark.parametrize(("n_clusters", "message"), [(0, "0 clusters"), (4, "3 faces cannot")])
def test_agglomerative_refuses_impossible_numbers(n_clusters: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        agglomerative(np.eye(3, dtype=np.float32), n_clusters=n_clusters)
