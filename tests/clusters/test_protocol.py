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


@pytest.fixture
def store() -> FaceStore:
    """Thirty faces of one title: two frequent people, a rare one, and Others."""
    n = len(CHARACTERS)
    table = pd.DataFrame({column: [None] * n for column in COLUMNS})
    table["face_id"] = [f"{i:08x}" for i in range(n)]
    table["title"], table["split"], table["page_index"] = "T", "test", 1
    table["character_id"] = table["character_name"] = CHARACTERS
    table["is_other"] = [name == "Other" for name in CHARACTERS]
    table["row"] = np.arange(n)
    meta = {"splits": {"train": [], "val": [], "test": ["T", "Empty"]}}
    return FaceStore(Path("nowhere"), table, np.zeros((n, 8, 8, 1), np.uint8), meta)


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
