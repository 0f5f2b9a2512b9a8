"""The finetune stage: what it shows of an adaptation while it runs, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mfc.clusters.protocol import TitleScore
from mfc.config import Finetune
from mfc.encoders.network import EncoderConfig, load_encoder, new_encoder, save_encoder
from mfc.errors import UserError
from mfc.log import PrintLog
from mfc.stages.finetune import finetune_title
from tests.adapt.titles import small_store

ROUNDS = Finetune(
    recipe="custom",
    sampling="linked",
    rounds=2,
    epochs=2,
    batch_size=8,
    lr=0.01,
    eval_every=1,
    n_init=5,
    device="cpu",
    precision="float32",
)


class Recorder(PrintLog):
    """Remembers metrics, pictures and tables."""

    def __init__(self) -> None:
        self.points: list[tuple[int | None, dict[str, float]]] = []
        self.pictures: list[tuple[str, int | None]] = []
        self.tables: dict[str, pd.DataFrame] = {}

    def say(self, message: str) -> None:
        del message

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.points.append((step, dict(values)))

    def picture(self, name: str, picture: Image.Image, step: int | None = None) -> None:
        del picture
        self.pictures.append((name, step))

    def table(self, name: str, table: pd.DataFrame, thumbnails: np.ndarray | None = None) -> None:
        del thumbnails
        self.tables[name] = table

    def curve(self, name: str) -> list[tuple[int | None, float]]:
        return [(step, values[name]) for step, values in self.points if name in values]


Go = Callable[..., tuple[TitleScore, Path]]


@pytest.fixture
def go(tmp_path: Path) -> Go:
    """Adapt the small title; keyword arguments change the configuration."""
    model = tmp_path / "model"
    save_encoder(new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=3), model)

    def call(log: Recorder, title: str = "Small", **changes: object) -> tuple[TitleScore, Path]:
        config = dataclasses.replace(ROUNDS, **changes)  # type: ignore[arg-type]
        return finetune_title(config, small_store(tmp_path), model, title, 0, tmp_path / "out", log)

    return call


def test_an_adaptation_can_be_watched(go: Go) -> None:
    """Pairs are judged where a round begins, features at each validation; a second call shows the same."""
    log, again = Recorder(), Recorder()
    score, folder = go(log)
    assert [step for step, _ in log.curve("constraints/must_link_precision")] == [0, 3]
    assert [step for step, _ in log.curve("constraints/cannot_link_contradictions")] == [0, 3]
    for name in ("accuracy", "nmi", "must_link_precision"):
        curve = log.curve(f"curve/{name}")
        assert [step for step, _ in curve] == [0, 3, 6]
        assert all(0 <= value <= 1 for _, value in curve)
    # What a round begins with was mined from the features of the validation before it.
    for step in (0, 3):
        assert dict(log.curve("curve/must_link_precision"))[step] == pytest.approx(
            dict(log.curve("constraints/must_link_precision"))[step]
        )
    assert [shown for shown in log.pictures if shown[0] == "figures/watched_clusters"] == [
        ("figures/watched_clusters", step) for step in (0, 3, 6)
    ]
    second, where = go(again)
    assert where == folder
    assert again.points == log.points
    assert again.pictures == log.pictures
    assert second.metrics == score.metrics


def test_what_is_left_behind(go: Go) -> None:
    """The encoder, the parameters, and the pairs of the last round with their truth."""
    log = Recorder()
    score, folder = go(log, figures=False)
    assert load_encoder(folder).config.image_size == 32
    parameters = json.loads((folder / "finetune.json").read_text(encoding="utf-8"))
    assert (parameters["title"], parameters["seed"], parameters["sampling"]) == ("Small", 0, "linked")
    assert not log.pictures
    links = score.links
    assert links is not None
    assert links.equals(log.tables["links"])
    assert links.columns.tolist() == ["face_a", "face_b", "kind", "true"]
    must = links[links["kind"] == "must-link"]
    who = {f"{i:08x}": i % 3 for i in range(20)}
    assert (must["face_a"].map(who) == must["face_b"].map(who)).equals(must["true"])
    assert must["true"].mean() == pytest.approx(log.curve("constraints/must_link_precision")[-1][1])
    cannot = links[links["kind"] == "cannot-link"]
    frame = {face: int(face, 16) // 2 for face in who}
    mates = cannot[cannot["face_a"].map(frame) == cannot["face_b"].map(frame)]
    assert len(mates) == 10
    assert mates["true"].all()


def test_refusals(go: Go) -> None:
    """In one sentence, before anything is trained."""
    with pytest.raises(UserError, match="sampling: recipe paper has shuffled, not linked"):
        go(Recorder(), recipe="paper", rounds=1)
    with pytest.raises(UserError, match="None: no face of a named character"):
        go(Recorder(), title="None")
