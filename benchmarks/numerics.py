"""Constraints against loops over a matrix; the k-means protocol against scikit-learn.

Run ``python -m benchmarks.numerics [--quick] [--whole]`` to see only these rows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import dense_constraints, scikit_learn_kmeans
from benchmarks.harness import Measured, in_turns, markdown, timed
from mfc.adapt.mining import Mining, mine
from mfc.clusters.kmeans import kmeans
from mfc.clusters.metrics import cluster_accuracy

DIM = 2048
CHARACTERS = 30
RESTARTS = 1000
FACES_A_PAGE, FRAMES_A_PAGE = 12, 10
GOALS = {1193: "≤ 10 ms", 20_000: "≤ 2 s"}


def run(quick: bool = False, whole: bool = False) -> Iterator[Measured]:
    """All rows of this file; ``whole`` runs scikit-learn's 1000 restarts over 5 seeds (half an hour)."""
    for n in (298,) if quick else (298, 596, 1193):
        yield constraints(n)
    for n in (1193, 20_000) if quick else (5_000, 20_000, 80_000):
        yield constraints_alone(n)
    for kind in ("clustered", "isotropic"):
        for n in (1111,) if quick or whole else (278, 555, 1111, 2222):
            restarts = RESTARTS if whole else 10 if quick else 50
            seeds = range(5 if whole else 1 if quick else 3)
            yield kmeans_protocol(kind, n, baseline_restarts=restarts, seeds=seeds)


def constraints(n: int) -> Measured:
    """Frames, neighbours within a page and propagation, from the features of one title, against loops."""
    title = drawn_title(n, DIM)
    found = mine(*title, Mining())
    matrix = np.full((n, n), -10, np.int8)
    for pairs, value in ((found.must_link, 1), (found.cannot_link, 0)):
        matrix[pairs[:, 0], pairs[:, 1]] = matrix[pairs[:, 1], pairs[:, 0]] = value
    note = "same pairs" if (matrix == dense_constraints(*title)).all() else "PAIRS DIFFER"
    ours, baseline = partial(mine, *title, Mining()), partial(dense_constraints, *title)
    seconds = in_turns(baseline, ours, repeats=3)
    return Measured("constraints", n, "faces", "loops over a matrix", *seconds, GOALS.get(n, ""), note)


def constraints_alone(n: int) -> Measured:
    """The same at sizes where loops take minutes to days."""
    # Wide features of ever more faces would measure the memory of this machine.
    dim = DIM if n <= 20_000 else DIM // 16
    work = partial(mine, *drawn_title(n, dim), Mining())
    work()
    seconds = tuple(timed(work)[0] for _ in range(5))
    name = "constraints" if dim == DIM else f"constraints, {dim} numbers a face"
    return Measured(name, n, "faces", "–", (), seconds, GOALS.get(n, ""))


def kmeans_protocol(kind: str, n: int, *, baseline_restarts: int, seeds: Sequence[int]) -> Measured:
    """Best of 1000 restarts. Of scikit-learn's, which cost alike, some are run and their time is scaled."""
    features, names = drawn_features(kind, n, DIM)
    scale = RESTARTS / baseline_restarts
    kmeans(features, CHARACTERS, n_init=10)
    times: list[tuple[float, float]] = []
    inertias, accuracies = [], []
    for seed in seeds:
        ours_s, _ = timed(partial(kmeans, features, CHARACTERS, n_init=RESTARTS, seed=seed))
        theirs_s, theirs = timed(
            partial(scikit_learn_kmeans, features, CHARACTERS, n_init=baseline_restarts, seed=seed)
        )
        times.append((scale * theirs_s, ours_s))
        # Quality like with like: as many restarts as scikit-learn was given.
        same = kmeans(features, CHARACTERS, n_init=baseline_restarts, seed=seed).labels
        inertias.append([inertia(features, labels) for labels in (same, theirs)])
        accuracies.append([cluster_accuracy(names, labels) for labels in (same, theirs)])
    baseline = f"scikit-learn, {baseline_restarts} restarts" + (f" × {scale:.0f}" if scale > 1 else "")
    note = f"{baseline_restarts} restarts, {len(seeds)} seeds: inertia {against(inertias)}"
    if kind == "clustered":
        note += f"; accuracy {against(accuracies)}"
    theirs_all, ours_all = zip(*times, strict=True)
    name = f"k-means × {RESTARTS}, {CHARACTERS} clusters, {kind}"
    return Measured(name, n, "faces", baseline, theirs_all, ours_all, "≥ 10×", note)


def against(values: Sequence[Sequence[float]]) -> str:
    """What (ours, theirs) were over seeds: mean ± standard deviation."""
    pairs = zip(np.mean(values, axis=0), np.std(values, axis=0), strict=True)
    return " against ".join(f"{mean:.3f} ± {spread:.3f}" for mean, spread in pairs)


def drawn_title(n: int, dim: int) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Features, pages and frames of a title with as many faces and frames a page as Manga109 has."""
    features, _ = drawn_features("clustered", n, dim)
    rng = np.random.default_rng(1)
    pages = np.sort(rng.integers(max(1, n // FACES_A_PAGE), size=n)).astype(np.int32)
    frames = (pages * FRAMES_A_PAGE + rng.integers(FRAMES_A_PAGE, size=n)).astype(np.int32)
    return features, pages, frames


def drawn_features(kind: str, n: int, dim: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows of length 1 and the character of each.

    Isotropic ones have no structure. Clustered ones overlap, in clusters of size 1, 1/2, 1/3, … and in
    directions of falling weight, as the features of a trained encoder do.
    """
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, CHARACTERS + 1)
    names = rng.choice(CHARACTERS, size=n, p=share / share.sum())
    features = rng.standard_normal((n, dim), dtype=np.float32)
    if kind == "clustered":
        weight = np.arange(1, dim + 1, dtype=np.float32) ** -0.5
        centres = rng.standard_normal((CHARACTERS, dim), dtype=np.float32)
        features = (centres[names] + 1.2 * features) * weight
    return features / np.linalg.norm(features, axis=1, keepdims=True), names


def inertia(features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Sum of squared distances to the means, in float64."""
    groups = [features[labels == c].astype(np.float64) for c in np.unique(labels)]
    return float(sum(np.square(group - group.mean(axis=0)).sum() for group in groups))


if __name__ == "__main__":
    print(markdown(run(quick="--quick" in sys.argv[1:], whole="--whole" in sys.argv[1:])))
