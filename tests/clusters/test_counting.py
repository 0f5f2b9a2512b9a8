"""How many characters: cuts learnt on validation titles only, the alternatives, and their scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mfc.clusters.counting import (
    CALIBRATION,
    Calibration,
    calibrate,
    density_clusters,
    read_calibration,
    silhouette_clusters,
)
from mfc.clusters.linkage import THRESHOLDS
from mfc.clusters.protocol import TitleView
from mfc.config import EvaluateClustering, Preprocess, Report
from mfc.encoders.device import Compute
from mfc.encoders.network import Encoder, EncoderConfig, new_encoder, save_encoder
from mfc.errors import UserError
from mfc.faces.store import FaceStore
from mfc.log import PrintLog
from mfc.stages.evaluate_clustering import evaluate_clustering
from mfc.stages.preprocess import preprocess
from tests.golden.conftest import GOLDEN
from tests.recorder import Recorder

CPU = Compute(torch.device("cpu"), torch.float32)
VAL, TEST = ["Neko-Michi", "HoshiNoFune"], ["That'sYuki"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return new_encoder(EncoderConfig("resnet18", ("a", "b"), 32), init="random", seed=3).eval()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FaceStore:
    folder = tmp_path_factory.mktemp("faces")
    splits = folder / "splits.json"
    splits.write_text(json.dumps({"train": [], "val": VAL, "test": TEST}))
    config = Preprocess(size=37, color=False, jobs=1, splits=str(splits))
    return preprocess(config, GOLDEN / "corpus", folder / "store", PrintLog())


def groups(*sizes: int, spread: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Well separated directions: features (n, 16) and which direction each is near."""
    rng = np.random.default_rng(1)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    features = np.eye(16)[truth] + spread * rng.normal(size=(len(truth), 16))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), truth


def test_hdbscan_leaves_noise_alone() -> None:
    """Two groups, and two faces far from all and from each other: four clusters, the last two of one face."""
    features, truth = groups(8, 9)
    far = np.stack([-features[0], -features[-1]])
    found = density_clusters(np.concatenate([features, far]))
    assert (np.unique(found, return_inverse=True)[1] == [*truth, 2, 3]).all()
    assert density_clusters(features[:2]).tolist() == [0, 1]


@pytest.mark.parametrize("copies", [1, 2, 3, 5])
@pytest.mark.parametrize("people", [1, 2, 4])
def test_equal_faces_are_one_cluster_to_hdbscan(copies: int, people: int) -> None:
    """However many there are, and also when there is nobody else; rounding does not count."""
    features, truth = groups(*[copies] * people, spread=1e-7)
    found = density_clusters(features)
    assert len(np.unique(found)) == people
    assert all(len(np.unique(found[truth == k])) == 1 for k in range(people))


def test_a_copy_of_a_face_in_a_dense_group_is_in_that_group() -> None:
    """The others that are alone stay so."""
    features, truth = groups(8, 9)
    far = np.stack([-features[0], -features[0], -features[-1]])
    found = density_clusters(np.concatenate([features, far, features[:1]]))
    assert (np.unique(found, return_inverse=True)[1] == [*truth, 2, 2, 3, 0]).all()


def test_silhouette_finds_the_number_of_groups() -> None:
    """Unless it is given; too few faces for any choice are one cluster."""
    features, truth = groups(8, 9, 7, 8)
    found = silhouette_clusters(features, seed=0)
    assert len(np.unique(found)) == 4
    assert all(len(np.unique(found[truth == k])) == 1 for k in range(4))
    assert len(np.unique(silhouette_clusters(features, 0, n_clusters=2))) == 2
    assert silhouette_clusters(features[:3], 0).tolist() == [0, 0, 0]


def peak(at: float) -> np.ndarray:
    return np.where(np.isclose(THRESHOLDS, at), 1.0, 0.2)


def test_a_validation_title_has_no_part_in_its_own_cut() -> None:
    """The other titles' best cut; a single title has no others."""
    calibration = Calibration({"a": peak(0.2), "b": peak(0.7), "c": peak(0.7)}, "")
    assert calibration.threshold() == 0.7
    assert calibration.threshold(without="a") == 0.7
    assert Calibration({"a": peak(0.2), "b": peak(0.7)}, "").threshold(without="b") == 0.2
    assert Calibration({"a": peak(0.2)}, "").threshold(without="a") == 0.2


def test_calibration_looks_at_validation_titles_only(
    store: FaceStore, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept beside the encoder, and read again as it was."""
    seen: list[str] = []
    original = TitleView.of
    monkeypatch.setattr(TitleView, "of", lambda store, title: seen.append(title) or original(store, title))
    save_encoder(encoder, tmp_path)
    made = calibrate(encoder, tmp_path, store, 64, CPU, PrintLog())
    assert seen == VAL
    kept = read_calibration(tmp_path)
    assert kept is not None
    assert (
        kept.threshold() == made.threshold() == json.loads((tmp_path / CALIBRATION).read_text())["threshold"]
    )
    for title in VAL:
        np.testing.assert_allclose(kept.curves[title], made.curves[title], atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"curves": {}}', '{"curves": {"a": [1, 2]}}', '{"curves": 3}', "[" * 100_000),
        json.dumps({"curves": {"a": [float("nan")] * len(THRESHOLDS)}}),
        json.dumps({"curves": {"a": [10**400] * len(THRESHOLDS)}}),
    ],
)
def test_a_calibration_that_is_none_is_made_anew(tmp_path: Path, text: str) -> None:
    """Missing, damaged, or of other thresholds."""
    assert read_calibration(tmp_path) is None
    (tmp_path / CALIBRATION).write_text(text)
    assert read_calibration(tmp_path) is None


@pytest.mark.parametrize("lacking", ["titles", "names"])
def test_without_validation_titles_the_ways_out_are_told(
    store: FaceStore, encoder: Encoder, tmp_path: Path, lacking: str
) -> None:
    """The test titles are not used instead; a title in which nobody is named does not count."""
    splits = {"val": [] if lacking == "titles" else VAL, "test": TEST}
    nobody = store.table.assign(is_other=store.table["is_other"] | (lacking == "names"))
    bare = FaceStore(store.path, nobody, store.crops, {**store.meta, "splits": {**splits, "train": []}})
    with pytest.raises(UserError, match="--n_clusters NUMBER"):
        calibrate(encoder, tmp_path, bare, 64, CPU, PrintLog())
    assert not (tmp_path / CALIBRATION).exists()


def test_evaluation(store: FaceStore, encoder: Encoder) -> None:
    """A row a title and method; the metrics are their means; with the true number the ratio is 1."""
    log = Recorder()
    calibration = Calibration({"a": peak(0.05)}, "")
    config = EvaluateClustering(split="val", device="cpu")
    text = evaluate_clustering(config, Report(resamples=100), store, encoder, calibration, None, CPU, log)
    table = log.tables["auto_k"]
    assert len(table) == 2 * 5
    assert text == log.texts["auto_k.md"]
    head = [cell.strip() for cell in text.splitlines()[0].split("|")[1:-1]]
    assert head == ["2 val titles", "AMI", "B-cubed F", "K found / true"]
    for method, part in table.groupby("method"):
        key = str(method).replace(", ", "_").replace(" ", "_").replace("-", "")
        for score in ("ami", "bcubed_f", "k_ratio"):
            assert log.values[f"val/auto_k/pretrained/{key}/{score}"] == pytest.approx(part[score].mean())
        assert (part["k_ratio"] == part["clusters"] / part["characters"]).all()
    assert (table[table["method"] == "k-means, true K"]["k_ratio"] == 1).all()
    assert table["characters"].tolist() == [
        float(len(TitleView.of(store, title).plain.classes)) for title in VAL for _ in range(5)
    ]


def test_the_number_for_adapted_features_comes_from_the_encoder_before(
    store: FaceStore, encoder: Encoder
) -> None:
    """Adapted or not: the same number of clusters, from other features."""
    log = Recorder()
    other = new_encoder(EncoderConfig("resnet18", ("a", "b"), 32), init="random", seed=9).eval()
    config = EvaluateClustering(split="test", device="cpu")
    calibration = Calibration({"a": peak(0.05)}, "")
    evaluate_clustering(
        config, Report(resamples=100), store, encoder, calibration, lambda title: other, CPU, log
    )
    table = log.tables["auto_k"].set_index(["features", "method"])
    assert (
        table.loc[("pretrained", "agglomerative"), "clusters"]
        == table.loc[("adapted", "agglomerative"), "clusters"]
    )
    assert (
        table.loc[("pretrained", "k-means, true K"), "ami"]
        != table.loc[("adapted", "k-means, true K"), "ami"]
    )
