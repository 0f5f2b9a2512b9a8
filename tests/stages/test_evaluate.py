"""Titles at the edge of what can be clustered are scored, drawn and counted like any other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mfc.clusters.counting import Calibration
from mfc.clusters.linkage import THRESHOLDS
from mfc.config import Evaluate, EvaluateClustering, Report
from mfc.stages.evaluate import evaluate_title
from mfc.stages.evaluate_clustering import evaluate_clustering
from tests.clusters.test_protocol import CPU, ENCODER, store_of
from tests.recorder import Recorder


@pytest.mark.parametrize(
    ("characters", "corners", "right", "ratio"),
    [
        pytest.param("A", [0], 1, 1, id="one face"),
        pytest.param("AAAAA", [0, 1, 2, 3, 4], 1, 1, id="one character"),
        pytest.param("AAAAA", [0] * 5, 1, 1, id="one character, identical vectors"),
        pytest.param("ABC", [0, 1, 2], 1, 1, id="a face a character"),
        pytest.param("AAABC", [0] * 5, 3 / 5, 1 / 3, id="identical vectors"),
        pytest.param("AB", [0, 0], 1 / 2, 1 / 2, id="two identical faces"),
    ],
)
def test_edges(
    monkeypatch: pytest.MonkeyPatch, characters: str, corners: list[int], right: float, ratio: float
) -> None:
    """The share that is right with the true K, and the clusters that k-means can fill of it, by hand."""
    features = np.eye(8, dtype=np.float32)[corners]
    for module in ("mfc.clusters.protocol", "mfc.stages.evaluate_clustering"):
        monkeypatch.setattr(f"{module}.embed", lambda *_, **__: features)
    store = dataclasses.replace(
        store_of(list(characters)),
        path=Path("faces"),
        meta={"splits": {"train": [], "val": [], "test": ["T"]}},
    )
    log = Recorder()
    score = evaluate_title(Evaluate(device="cpu", n_init=3), store, ENCODER, "T", 0, log)
    assert log.values["test/accuracy"] == pytest.approx(right)
    assert score.clusters["correct"].mean() == pytest.approx(right)
    assert list(log.figures) == ["figures/embedding_map", "figures/confusion", "figures/cluster_sizes"]

    calibration = Calibration({"T": np.linspace(0, 1, len(THRESHOLDS))}, "")
    config = EvaluateClustering(split="test", device="cpu")
    evaluate_clustering(config, Report(resamples=100), store, ENCODER, calibration, None, CPU, log)
    found = log.tables["auto_k"].set_index("method")
    assert found.loc["k-means, true K", "k_ratio"] == pytest.approx(ratio)
    assert len(found) == 5
    assert np.isfinite(found[["ami", "bcubed_f", "k_ratio"]].to_numpy(dtype=float)).all()
