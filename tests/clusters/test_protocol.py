"""The protocol's numbers, on features whose clusters are known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mfc.clusters.protocol import TitleView, score_title
from mfc.encoders.device import Compute
from mfc.encoders.network import EncoderConfig, new_encoder
from mfc.errors import UserError
from mfc.faces.store import COLUMNS, FaceStore

CPU = Compute(torch.device("cpu"), torch.float32)
ENCODER = new_encoder(EncoderConfig("resnet18", ("a",), 64), init="random", seed=0)
CHARACTERS = ["A"] * 12 + ["B"] * 11 + ["C"] * 3 + ["Other"] * 4


def store_of(characters: list[str]) -> FaceStore:
    """A face each of one title."""
    n = len(characters)
    table = pd.DataFrame({column: [None] * n for column in COLUMNS})
    table["face_id"] = [f"{i:08x}" for i in range(n)]
    table["title"], table["split"], table["page_index"] = "T", "test", 1
    table["character_id"] = table["character_name"] = characters
    table["is_other"] = [name == "Other" for name in characters]
    table["row"] = np.arange(n)
    table[["xmin", "ymin", "xmax", "ymax"]] = 0
    meta = {"splits": {"train": [], "val": [], "test": ["T", "Empty"]}}
    return FaceStore(Path("nowhere"), table, np.zeros((n, 8, 8, 1), np.uint8), meta)


@pytest.fixture
def store() -> FaceStore:
    """Thirty faces of one title: two frequent people, a rare one, and Others."""
    return store_of(CHARACTERS)


def score(store: FaceStore, places: list[int], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Score with features that put face i near corner ``places[i]`` of a cube."""
    features = np.eye(8, dtype=np.float32)[places]
    monkeypatch.setattr("mfc.clusters.protocol.embed", lambda *_, **__: features)
    view = TitleView.of(store, "T")
    return dict(score_title(ENCODER, view, n_init=10, seed=0, batch_size=8, compute=CPU).metrics)


def test_perfect_features_score_one(store: FaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody in a corner of their own: 1 in all measures, with Others as without."""
    metrics = score(store, [0] * 12 + [1] * 11 + [2] * 3 + [3] * 4, monkeypatch)
    for name in ("accuracy", "nmi", "ami", "bcubed_f", "map_at_r", "with_others/accuracy", "head/accuracy"):
        assert metrics[name] == pytest.approx(1), name
    assert metrics["tail/accuracy"] == 1
    assert (metrics["faces"], metrics["characters"]) == (26, 3)


def test_others_count_only_where_they_should(store: FaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others who look like A: nothing changes without them; with them four of thirty are wrong."""
    metrics = score(store, [0] * 12 + [1] * 11 + [2] * 3 + [0] * 4, monkeypatch)
    assert metrics["accuracy"] == 1
    assert metrics["with_others/accuracy"] < 1


def test_head_and_tail_share_one_clustering(store: FaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three rare faces sit with A, one alone; the frequent ones are right.

    Three corners, three clusters: {12 A + 2 C}, {11 B}, {1 C}, matched to A, B, C. 24 of 26 are right, all of
    the head's 23 and one of the tail's 3.
    """
    metrics = score(store, [0] * 12 + [1] * 11 + [0, 0, 2] + [3] * 4, monkeypatch)
    assert metrics["accuracy"] == pytest.approx(24 / 26)
    assert metrics["head/accuracy"] == 1
    assert metrics["tail/accuracy"] == pytest.approx(1 / 3)


def test_a_title_without_named_faces_is_an_error(store: FaceStore) -> None:
    """The sentence names the title."""
    with pytest.raises(UserError, match="Empty: no face of a named character"):
        TitleView.of(store, "Empty")


def test_one_face(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is its own cluster, and right; it has no neighbours, so their scores are left out."""
    metrics = score(store_of(["A"]), [0], monkeypatch)
    for name in ("accuracy", "nmi", "ami", "bcubed_f", "tail/accuracy", "tail/nmi"):
        assert metrics[name] == 1, name
    assert (metrics["faces"], metrics["characters"]) == (1, 1)
    assert not {"map_at_r", "head/accuracy", "with_others/accuracy"} & set(metrics)


@pytest.mark.parametrize("others", [0, 3])
def test_one_character(others: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """K is 1, whatever the features: all right. With Others K is 2."""
    faces = store_of(["A"] * 12 + ["Other"] * others)
    metrics = score(faces, [*range(6)] * 2 + [7] * others, monkeypatch)
    for name in ("accuracy", "nmi", "ami", "bcubed_f", "head/accuracy", "map_at_r"):
        assert metrics[name] == pytest.approx(1), name
    assert ("with_others/accuracy" in metrics) == bool(others)


def test_as_many_characters_as_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """K is the number of faces; each is alone and right; nobody has a neighbour."""
    metrics = score(store_of(list("ABCD")), [0, 1, 2, 3], monkeypatch)
    for name in ("accuracy", "nmi", "ami", "bcubed_f", "tail/accuracy"):
        assert metrics[name] == pytest.approx(1), name
    assert "map_at_r" not in metrics


def test_identical_features(store: FaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken encoder: one cluster of all 26, two empty ones. 12 are right, and nothing is known."""
    metrics = score(store, [0] * 30, monkeypatch)
    assert metrics["accuracy"] == pytest.approx(12 / 26)
    assert metrics["with_others/accuracy"] == pytest.approx(12 / 30)
    for name in ("nmi", "ami", "ari", "head/nmi", "tail/accuracy"):
        assert metrics[name] == pytest.approx(0, abs=1e-12), name
