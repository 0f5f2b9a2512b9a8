from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from mfc.clusters import kmeans as clustering
from mfc.clusters.kmeans import kmeans
from mfc.clusters.metrics import cluster_accuracy
from mfc.errors import UserError


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
def test_as_many_clusters_as_points_and_a_single_one(k: int) -> None:
    features = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    result = kmeans(features, k, n_init=5)
    assert len(np.unique(result.labels)) == k
    assert result.inertia == pytest.approx(inertia_of(features, result.labels), abs=1e-6)


def test_fewer_different_points_than_clusters_leave_clusters_empty() -> None:
    features = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    result = kmeans(features, 5, n_init=4)
    assert result.inertia == pytest.approx(0, abs=1e-9)
    assert cluster_accuracy(np.repeat([0, 1, 2], 4), result.labels) == 1
    assert result.centres.shape == (5, 3)
    assert np.isfinite(result.centres).all()


@pytest.mark.parametrize("matrix_bytes", [1, clustering.MATRIX_BYTES])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (6, 1), (6, 2), (6, 6)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_identical_vectors_share_one_cluster(
    monkeypatch: pytest.MonkeyPatch, value: float, n: int, k: int, matrix_bytes: int
) -> None:
    """One face alone, and any number of equal ones for any K, in either way of computing: inertia 0."""
    monkeypatch.setattr(clustering, "MATRIX_BYTES", matrix_bytes)
    result = kmeans(np.full((n, 4), value, np.float32), k, n_init=3)
    assert len(set(result.labels)) == 1
    assert result.inertia == 0
    np.testing.assert_array_equal(result.centres, np.full((k, 4), value))


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
