"""Average linkage under constraints: hand-worked, against a slow greedy search, and its promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfc.clusters.linkage import (
    THRESHOLDS,
    Tree,
    average_linkage,
    best_threshold,
    components,
    threshold_curve,
)
from mfc.clusters.metrics import bcubed_scores
from mfc.errors import UserError
from mfc.faces.pairs import NO_PAIRS


def on_circle(*degrees: float) -> np.ndarray:
    """(n, 2) float32 unit vectors: cosine distances are known without a computer."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def pairs(*given: tuple[int, int]) -> np.ndarray:
    return np.array(given, np.int64).reshape(-1, 2)


def same(labels: np.ndarray) -> np.ndarray:
    """(n, n) whether two points share a cluster: a partition without its names."""
    return labels[:, None] == labels[None, :]


def slow_tree(
    features: np.ndarray, must: np.ndarray, cannot: np.ndarray
) -> tuple[list[list[set[int]]], list[float]]:
    """The greedy search, from the definition: clusters after 0, 1, … merges, and each merge's distance."""
    points = features.astype(np.float64)
    clusters = [{i} for i in range(len(points))]
    for a, b in must:
        home_a = next(c for c in clusters if a in c)
        home_b = next(c for c in clusters if b in c)
        if home_a is not home_b:
            clusters.remove(home_b)
            home_a |= home_b
    forbidden = {frozenset(map(int, pair)) for pair in cannot}
    states, heights = [[set(c) for c in clusters]], []
    while True:
        options = []
        for i, a in enumerate(clusters):
            for b in clusters[i + 1 :]:
                if not any(frozenset((x, y)) in forbidden for x in a for y in b):
                    mean = np.mean([1 - points[x] @ points[y] for x in a for y in b])
                    options.append((mean, i, clusters.index(b)))
        if not options:
            return states, heights
        mean, i, j = min(options)
        joined = clusters[i] | clusters[j]
        clusters = [c for k, c in enumerate(clusters) if k not in (i, j)] + [joined]
        states.append([set(c) for c in clusters])
        heights.append(float(mean))


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points without ties, must-links, and cannot-links that do not contradict them."""
    n = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features = rng.normal(size=(n, 4))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    index = st.integers(0, n - 1)
    drawn = st.lists(st.tuples(index, index).filter(lambda p: p[0] != p[1]), max_size=8)
    must = pairs(*draw(drawn)) if n > 1 else NO_PAIRS
    groups = components(n, must)
    cannot = pairs(*draw(drawn)) if n > 1 else NO_PAIRS
    return features, must, cannot[groups[cannot[:, 0]] != groups[cannot[:, 1]]]


def test_a_hand_worked_tree() -> None:
    """0° 10° | 60° 90°: 0-1 at 1-cos 10°, 2-3 at 1-cos 30°, then the mean of four distances."""
    tree = average_linkage(on_circle(0, 10, 60, 90))
    cos = lambda *angles: [1 - np.cos(np.deg2rad(a)) for a in angles]  # noqa: E731
    np.testing.assert_allclose(tree.heights, [*cos(10), *cos(30), np.mean(cos(60, 90, 50, 80))], atol=1e-6)
    assert tree.cut(0.1).tolist() == [0, 0, 1, 2]
    assert tree.cut_into(2).tolist() == [0, 0, 1, 1]
    assert (tree.most, tree.fewest) == (4, 1)


def test_a_cannot_link_turns_a_point_to_another_cluster() -> None:
    """10° is nearest to 0°, but may not join it, nor anything that holds it."""
    tree = average_linkage(on_circle(0, 10, 60, 90), cannot_link=pairs((0, 1)))
    assert tree.cut_into(2).tolist() == [0, 1, 1, 1]
    assert tree.fewest == 2
    assert tree.cut_into(1).tolist() == [0, 1, 1, 1], "one cluster is not to be had"


def test_must_links_come_first() -> None:
    """The two farthest points start together, and the rest joins their mean."""
    tree = average_linkage(on_circle(0, 10, 60, 180), must_link=pairs((3, 0)))
    assert tree.most == 3
    assert tree.cut(-1.0).tolist() == [0, 1, 2, 0]


def test_the_constraints_must_not_contradict_each_other() -> None:
    """Also when the must-links join the two over a third."""
    with pytest.raises(ValueError, match="points 0 and 2"):
        average_linkage(on_circle(0, 1, 2), pairs((0, 1), (1, 2)), pairs((0, 2)))


@given(problems())
@settings(max_examples=150, deadline=None)
def test_like_the_greedy_search(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Heights and every cut are those of the search that looks at all pairs each time."""
    features, must, cannot = problem
    tree = average_linkage(features, must, cannot)
    states, heights = slow_tree(features, must, cannot)
    np.testing.assert_allclose(tree.heights, heights, atol=1e-6)
    for state in states:
        expected = np.zeros(len(features), np.int64)
        for number, cluster in enumerate(state):
            expected[list(cluster)] = number
        assert (same(tree.cut_into(len(state))) == same(expected)).all()


@given(problems(), st.floats(-0.1, 2.1))
@settings(max_examples=150, deadline=None)
def test_no_cut_breaks_a_constraint(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray], threshold: float
) -> None:
    """Must-links hold and cannot-links hold at any height."""
    features, must, cannot = problem
    together = same(average_linkage(features, must, cannot).cut(threshold))
    assert together[must[:, 0], must[:, 1]].all()
    assert not together[cannot[:, 0], cannot[:, 1]].any()


@given(problems())
@settings(max_examples=80, deadline=None)
def test_the_order_of_the_points_does_not_matter(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """The same points in another order fall into the same clusters."""
    features, must, cannot = problem
    order = np.random.default_rng(len(features)).permutation(len(features))
    place = np.argsort(order)
    tree, other = (
        average_linkage(features, must, cannot),
        average_linkage(features[order], place[must], place[cannot]),
    )
    for k in range(tree.fewest, tree.most + 1):
        assert (same(tree.cut_into(k))[np.ix_(order, order)] == same(other.cut_into(k))).all()


def test_without_constraints_like_scipy() -> None:
    """SciPy's average linkage on the same distances gives the same heights and cuts, at a title's size."""
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import pdist

    rng = np.random.default_rng(5)
    features = rng.normal(size=(300, 16)) + 3 * np.eye(16)[rng.integers(16, size=300)]
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    theirs = hierarchy.linkage(pdist(features.astype(np.float64), "cosine"), "average")
    tree = average_linkage(features)
    np.testing.assert_allclose(tree.heights, theirs[:, 2], atol=1e-6)
    for k in (2, 16, 40):
        assert (same(tree.cut_into(k)) == same(hierarchy.fcluster(theirs, k, "maxclust"))).all()


def test_equal_points_end() -> None:
    """Ties everywhere: the chain neither loops nor leaves a point out."""
    tree = average_linkage(np.tile(on_circle(30), (50, 1)), cannot_link=pairs((0, 1), (2, 3)))
    assert len(np.unique(tree.cut(0.5))) == 2


def test_too_many_points_are_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence with the way out."""
    monkeypatch.setattr("mfc.clusters.linkage.MATRIX_BYTES", 8 * 3 * 3)
    assert average_linkage(on_circle(0, 1, 2)).most == 3
    with pytest.raises(UserError, match="--method hdbscan"):
        average_linkage(on_circle(0, 1, 2, 3))


@pytest.mark.parametrize("features", [np.zeros((0, 3), np.float32), np.full((2, 3), np.nan, np.float32)])
def test_what_cannot_be_clustered(features: np.ndarray) -> None:
    """No point, and points that are no numbers."""
    with pytest.raises(ValueError, match=r"no point|not finite"):
        average_linkage(features)


def test_components_are_numbered_by_their_first_point() -> None:
    """0-3, 1-4 and 2 alone."""
    assert components(5, pairs((4, 1), (3, 0))).tolist() == [0, 1, 2, 0, 1]


def test_the_curve_is_the_score_of_each_cut() -> None:
    """Two pairs at 10°, the pairs 90° apart: the truth from 1-cos 10° until they are joined."""
    tree = average_linkage(on_circle(0, 10, 90, 100))
    truth = np.array([0, 0, 1, 1])
    curve = threshold_curve(tree, truth)
    assert curve[THRESHOLDS == 0.01] == bcubed_scores(truth, [0, 1, 2, 3])[2]
    assert (curve[(THRESHOLDS > 0.02) & (THRESHOLDS < 0.98)] == 1).all()


def test_the_best_threshold_lies_in_the_middle_of_its_plateau() -> None:
    """Of equally good cuts the one farthest from falling off."""
    curve = np.where((THRESHOLDS >= 0.2) & (THRESHOLDS <= 0.4), 0.8, 0.1)
    assert best_threshold([curve]) == (pytest.approx(0.3), pytest.approx(0.8))
    other = np.where((THRESHOLDS >= 0.38) & (THRESHOLDS <= 0.6), 0.8, 0.1)
    assert best_threshold([curve, other])[0] == pytest.approx(0.39)


def test_a_tree_of_one_point() -> None:
    """Nothing to join is no mistake."""
    tree = average_linkage(on_circle(45))
    assert isinstance(tree, Tree)
    assert tree.cut(1.0).tolist() == tree.cut_into(7).tolist() == [0]
