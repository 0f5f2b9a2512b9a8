from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc.adapt.quality import constraint_quality
from mfc.clusters.intervals import bootstrap_interval, paired_difference
from mfc.clusters.metrics import (
    METRICS,
    SOURCES,
    bcubed_scores,
    cluster_accuracy,
    clustering_metrics,
    embedding_metrics,
    headline,
    headline_means,
    match_clusters,
    nmi,
    pairwise_scores,
    purity,
)

# Label 0: three items in cluster "a", one in "b"; label 1: two items in "b". Contingency [[3, 1], [0, 2]].
TRUE = [0, 0, 0, 0, 1, 1]
PRED = ["a", "a", "a", "b", "b", "b"]

clusterings = st.integers(1, 14).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2)
)


def test_hand_worked_clustering() -> None:
    """Every score of the contingency table [[3, 1], [0, 2]] from its definition, on paper."""
    scores = dict(clustering_metrics(TRUE, PRED))
    entropy_true = -(4 / 6) * math.log(4 / 6) - (2 / 6) * math.log(2 / 6)
    entropy_pred = math.log(2)
    information = 3 / 6 * math.log((3 / 6) / (4 / 6 * 3 / 6)) + 1 / 6 * math.log((1 / 6) / (4 / 6 * 3 / 6))
    information += 2 / 6 * math.log((2 / 6) / (2 / 6 * 3 / 6))
    expected = {
        "accuracy": 5 / 6,
        "nmi": 2 * information / (entropy_true + entropy_pred),
        "homogeneity": information / entropy_true,
        "completeness": information / entropy_pred,
        "v_measure": 2 * information / (entropy_true + entropy_pred),
        # Pairs: 3 + 1 = 4 in both; claimed 3 + 3 = 6; existing 6 + 1 = 7; of 15 in all.
        "pairwise_precision": 4 / 6,
        "pairwise_recall": 4 / 7,
        "pairwise_f": 8 / 13,
        "fowlkes_mallows": 4 / math.sqrt(6 * 7),
        "ari": (4 - 6 * 7 / 15) / ((6 + 7) / 2 - 6 * 7 / 15),
        # Items of cluster a: 3/3 each; of b: 1/3, 2/3 twice. Items of label 0: 3/4 thrice, 1/4; of 1: 2/2.
        "bcubed_precision": (3 + 1 / 3 + 4 / 3) / 6,
        "bcubed_recall": (9 / 4 + 1 / 4 + 2) / 6,
        "purity": 5 / 6,
    }
    p, r = expected["bcubed_precision"], expected["bcubed_recall"]
    expected["bcubed_f"] = 2 * p * r / (p + r)
    assert 0 < scores.pop("ami") < scores["nmi"]
    assert scores == pytest.approx(expected, abs=1e-12)


def test_ami_of_independent_clusterings_is_zero_on_average_and_nmi_is_not() -> None:
    rng = np.random.default_rng(0)
    draws = [dict(clustering_metrics(*rng.integers(5, size=(2, 40)))) for _ in range(30)]
    assert abs(np.mean([d["ami"] for d in draws])) < 0.03
    assert abs(np.mean([d["ari"] for d in draws])) < 0.03
    assert np.mean([d["nmi"] for d in draws]) > 0.1


@given(clusterings)
def test_accuracy_is_the_best_of_all_assignments(labels: tuple[list[int], list[int]]) -> None:
    true, pred = np.array(labels) % 3
    clusters = sorted(set(pred))
    candidates = [*sorted(set(true)), *[-1] * len(clusters)]
    best = max(
        sum(assigned[clusters.index(p)] == t for t, p in zip(true, pred, strict=True))
        for assigned in set(itertools.permutations(candidates, len(clusters)))
    )
    assert cluster_accuracy(true, pred) == pytest.approx(best / len(true))
    assert (match_clusters(true, pred) == true).sum() == best


@given(clusterings)
def test_pair_and_item_scores_equal_loops(labels: tuple[list[int], list[int]]) -> None:
    true, pred = labels
    n = len(true)
    pairs = list(itertools.combinations(range(n), 2))
    claimed = [p for p in pairs if pred[p[0]] == pred[p[1]]]
    existing = [p for p in pairs if true[p[0]] == true[p[1]]]
    both = len(set(claimed) & set(existing))
    precision, recall, _ = pairwise_scores(true, pred)
    assert precision == pytest.approx(both / len(claimed) if claimed else 1)
    assert recall == pytest.approx(both / len(existing) if existing else 1)

    def mates(names: list[int], i: int) -> set[int]:
        return {j for j in range(n) if names[j] == names[i]}

    shared = [len(mates(true, i) & mates(pred, i)) for i in range(n)]
    precision, recall, _ = bcubed_scores(true, pred)
    assert precision == pytest.approx(np.mean([shared[i] / len(mates(pred, i)) for i in range(n)]))
    assert recall == pytest.approx(np.mean([shared[i] / len(mates(true, i)) for i in range(n)]))
    majority = [max(sum(true[j] == t for j in mates(pred, i)) for t in true) for i in range(n)]
    assert purity(true, pred) == pytest.approx(
        np.mean([m / len(mates(pred, i)) for i, m in enumerate(majority)])
    )


@given(clusterings)
def test_names_of_labels_and_clusters_do_not_matter(labels: tuple[list[int], list[int]]) -> None:
    true, pred = labels
    renamed = dict(clustering_metrics([f"c{4 - t}" for t in true], [7 * p - 3 for p in pred]))
    assert renamed == pytest.approx(dict(clustering_metrics(true, pred)), abs=1e-9)


def test_perfect_clustering_scores_one_even_with_one_label_or_only_single_items() -> None:
    """Where a definition is 0/0 the choice is 1; Fowlkes-Mallows without pairs is 0 (scikit-learn)."""
    for true in ([5, 5, 5], [0, 1, 2, 3], [1]):
        scores = dict(clustering_metrics(true, true))
        fowlkes_mallows = scores.pop("fowlkes_mallows")
        assert fowlkes_mallows == (1 if true == [5, 5, 5] else 0)
        assert set(scores.values()) == {1.0}
    assert nmi([3, 3, 3], [0, 1, 2]) == 0


def test_one_cluster_for_several_characters_is_worth_its_largest() -> None:
    """What identical vectors give: 3 of 5 right, no information; every pair claimed, 3 + 1 of 10 exist."""
    scores = dict(clustering_metrics([0, 0, 0, 1, 1], [7] * 5))
    for name in ("accuracy", "purity"):
        assert scores[name] == 3 / 5
    for name in ("nmi", "ami", "ari", "homogeneity", "v_measure"):
        assert scores[name] == pytest.approx(0, abs=1e-12), name
    assert (scores["completeness"], scores["pairwise_recall"], scores["bcubed_recall"]) == (1, 1, 1)
    assert scores["pairwise_precision"] == 4 / 10
    assert scores["bcubed_precision"] == pytest.approx((3 * 3 / 5 + 2 * 2 / 5) / 5)


def test_every_face_alone_is_pure_and_no_more() -> None:
    """One character cut into single faces: pure, accurate for one of them, and without information."""
    scores = dict(clustering_metrics([0] * 4, range(4)))
    assert (scores["accuracy"], scores["purity"], scores["pairwise_precision"]) == (1 / 4, 1, 1)
    for name in ("nmi", "ami", "ari", "completeness", "pairwise_recall", "pairwise_f", "fowlkes_mallows"):
        assert scores[name] == pytest.approx(0, abs=1e-12), name


def test_the_table_names_what_is_computed() -> None:
    """Each row has one function and is yielded under its name, in the table's order; the four of the report
    come first where people look; the paper's figures stand in the rows."""
    labels, features = [0, 0, 1], np.eye(3, dtype=np.float32)
    names = [name for name, _ in (*clustering_metrics(labels, labels), *embedding_metrics(features, labels))]
    assert names == list(METRICS)
    assert all(name == metric.name for name, metric in METRICS.items())
    assert all((m.of_clusters is None) != (m.of_neighbours is None) for m in METRICS.values())
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    assert [metric.label for metric in headline()] == ["accuracy", "NMI", "AMI", "B-cubed F"]
    assert all(set(metric.published) <= set(SOURCES) for metric in METRICS.values())
    paper, again = SOURCES
    assert METRICS["accuracy"].published == {paper: (0.48, 0.64), again: (0.472, 0.666)}
    assert METRICS["nmi"].published == {paper: (0.63, 0.71), again: (0.615, 0.718)}


def test_a_point_of_a_curve_is_the_mean_over_titles() -> None:
    """Of the headline metrics only, over the titles that have them."""
    scores = [{"accuracy": 0.5, "nmi": 0.25, "purity": 1.0}, {"accuracy": 0.75}]
    assert headline_means(scores, "val") == {"val/accuracy": 0.625, "val/nmi": 0.25}
    assert headline_means([], "val") == {}


def test_surplus_clusters_match_nothing() -> None:
    """Label 9 takes the cluster of three; the two others are unassigned although all their items carry it."""
    assert match_clusters([9, 9, 9, 9, 9], [0, 0, 0, 1, 2]).tolist() == [9, 9, 9, -1, -1]


@pytest.mark.parametrize(("true", "pred"), [([], []), ([0, 1], [0]), ([[0], [1]], [[0], [1]])])
def test_impossible_labels_are_refused(true: list[int], pred: list[int]) -> None:
    for score in (cluster_accuracy, nmi, purity, pairwise_scores, bcubed_scores, match_clusters):
        with pytest.raises(ValueError, match=r"no item|shape"):
            score(true, pred)
    with pytest.raises(ValueError, match=r"no item|shape"):
        list(clustering_metrics(true, pred))


def test_hand_worked_neighbours() -> None:
    """On a circle at 0°, 10°, 25° and 60° with labels x, y, x, x; y and z (at 200°) have no mate.

    From 0°: y x x z → P@1 0, R-precision 1/2, MAP@R (1/2)/2, reciprocal rank 1/2.
    From 25°: y x x z, the same. From 60°: x y x z → 1, 1/2, 1/2, 1.
    """
    angles = np.deg2rad([0, 10, 25, 60, 200])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    scores = dict(embedding_metrics(features, ["x", "y", "x", "x", "z"]))
    assert scores == pytest.approx(
        {"precision_at_1": 1 / 3, "r_precision": 1 / 2, "map_at_r": 1 / 3, "mrr": 2 / 3}
    )


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 10**6))
def test_neighbour_scores_equal_loops(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 3)).astype(np.float32)
    labels = rng.integers(k, size=n)
    rows = []
    for i in range(n):
        others = sorted((j for j in range(n) if j != i), key=lambda j: -(features[[i]] @ features.T)[0, j])
        hits = [bool(labels[j] == labels[i]) for j in others]
        r = sum(hits)
        if r:
            precisions = [sum(hits[: m + 1]) / (m + 1) * hits[m] for m in range(r)]
            rows.append((hits[0], sum(hits[:r]) / r, sum(precisions) / r, 1 / (1 + hits.index(True))))
    scores = dict(embedding_metrics(features, labels))
    assert list(scores.values()) == pytest.approx([np.mean(column) for column in zip(*rows, strict=True)])


def test_no_face_has_a_neighbour_of_its_own() -> None:
    """One face, or one a character: there is nothing to average, and nothing is yielded."""
    for n in (1, 4):
        assert not list(embedding_metrics(np.eye(4, dtype=np.float32)[:n], range(n)))


def test_identical_vectors_are_ordered_by_index() -> None:
    """Ties do not depend on chance: a b a b, all equal, find a (b) first from the other end."""
    scores = dict(embedding_metrics(np.ones((4, 2), np.float32), list("abab")))
    # From 0: b a b → first hit at rank 2; from 1: a a b → 3; from 2: a … → 1; from 3: a b … → 2.
    assert scores == {
        "precision_at_1": 1 / 4,
        "r_precision": 1 / 4,
        "map_at_r": 1 / 4,
        "mrr": pytest.approx((1 / 2 + 1 / 3 + 1 + 1 / 2) / 4),
    }


def test_hand_worked_constraints() -> None:
    """Labels a a a b b: 4 pairs of one label, 6 of two. Of 3 must-links 2 hold, of 2 cannot-links 1."""
    must = np.array([[0, 1], [1, 2], [2, 3]])
    cannot = np.array([[0, 2], [0, 4]])
    assert dict(constraint_quality(must, cannot, list("aaabb"))) == pytest.approx(
        {
            "must_link_pairs": 3,
            "must_link_precision": 2 / 3,
            "must_link_contradictions": 1,
            "must_link_coverage": 2 / 4,
            "cannot_link_pairs": 2,
            "cannot_link_precision": 1 / 2,
            "cannot_link_contradictions": 1,
            "cannot_link_coverage": 1 / 6,
            "must_link_faces": 4 / 5,
        }
    )


def test_shares_of_no_constraint_are_left_out() -> None:
    none = np.zeros((0, 2), np.int64)
    names = dict(constraint_quality(none, none, ["a", "a"]))
    assert names == {
        "must_link_pairs": 0,
        "must_link_contradictions": 0,
        "must_link_coverage": 0,
        "cannot_link_pairs": 0,
        "cannot_link_contradictions": 0,
        "must_link_faces": 0,
    }


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """400 experiments of 8 titles and 3 seeds; a plain percentile interval would cover some 88 %."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        values = 0.5 + rng.normal(0, 0.1, (8, 1)) + rng.normal(0, 0.02, (8, 3))
        _, low, high = bootstrap_interval(values, resamples=500, seed=trial)
        covered += low <= 0.5 <= high
    assert 0.91 <= covered / 400 <= 0.98


def test_interval_of_many_titles_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(0.6, 0.1, (400, 1))
    mean, low, high = bootstrap_interval(values, resamples=4000, seed=0)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=half / 10)


def test_mean_weighs_titles_equally_whatever_seeds_are_missing() -> None:
    values = np.array([[1.0, np.nan, np.nan], [np.nan, 0.0, 0.5], [np.nan, np.nan, np.nan]])
    mean, low, high = bootstrap_interval(values, resamples=200)
    assert mean == pytest.approx((1.0 + 0.25) / 2)
    assert 0 <= low <= mean <= high <= 1


def test_interval_grows_with_confidence_and_is_fixed_by_the_seed() -> None:
    values = np.random.default_rng(0).random((11, 3))
    _, low90, high90 = bootstrap_interval(values, confidence=0.9, resamples=1000, seed=3)
    _, low99, high99 = bootstrap_interval(values, confidence=0.99, resamples=1000, seed=3)
    assert low99 < low90 < high90 < high99
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


@pytest.mark.parametrize(
    "wrong", [{"confidence": 0.0}, {"confidence": 1.0}, {"confidence": math.nan}, {"resamples": 0}]
)
def test_bounds_of_an_interval(wrong: dict[str, float]) -> None:
    """Numbers without a meaning are refused by both functions."""
    values = np.array([[0.5], [0.6]])
    for estimate in (bootstrap_interval, lambda v, **more: paired_difference(v, v, **more)):
        with pytest.raises(ValueError, match="an interval of confidence"):
            estimate(values, **wrong)


def test_single_value_has_no_interval_and_single_title_that_of_its_seeds() -> None:
    mean, low, high = bootstrap_interval(np.array([[0.7]]))
    assert mean == 0.7
    assert math.isnan(low)
    assert math.isnan(high)
    _, low, high = bootstrap_interval(np.array([[0.6, 0.7, 0.8]]))
    assert 0.6 - 1e-9 <= low < 0.7 < high <= 0.8 + 1e-9
    with pytest.raises(ValueError, match="no title"):
        bootstrap_interval(np.full((3, 2), np.nan))


def test_paired_difference_cancels_what_titles_have_in_common() -> None:
    """Titles differ by 0.2, the methods by 0.05: side by side the gain is certain, apart it is not."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0.6, 0.2, (11, 1))
    a = difficulty + rng.normal(0, 0.01, (11, 3))
    b = difficulty + 0.05 + rng.normal(0, 0.01, (11, 2))
    mean, low, high = paired_difference(a, b, resamples=2000)
    assert mean == pytest.approx(b.mean() - a.mean())
    assert 0.03 < low < mean < high < 0.07
    _, low_b, _ = bootstrap_interval(b, resamples=2000)
    assert low_b < a.mean()


def test_paired_difference_leaves_out_titles_that_one_side_lacks() -> None:
    a = np.array([[0.5], [0.1], [0.4]])
    b = np.array([[0.6], [np.nan], [0.7]])
    assert paired_difference(a, b)[0] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="3 titles against 2"):
        paired_difference(a, b[:2])
