"""The one way to adapt: what `paper` trains, what its key holds, and that it goes on where it was killed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from mfc.adapt.adapt import Adapted, adapt
from mfc.config import Finetune
from mfc.encoders.device import Compute
from mfc.encoders.network import EncoderConfig, new_encoder, save_encoder
from mfc.faces.store import FaceStore
from mfc.log import PrintLog
from tests.adapt.titles import small_store

CPU = Compute(torch.device("cpu"), torch.float32)
PAPER = Finetune(epochs=3, batch_size=8, lr=0.01, eval_every=1, checkpoint_every=1)
CUSTOM = dataclasses.replace(
    PAPER,
    recipe="custom",
    mining="mutual",
    frame_mates="exclude",
    sampling="linked",
    loss="supervised_contrastive",
    top_n=2,
    epochs=4,
    rounds=2,
)


class Recorder(PrintLog):
    """Remembers what was said and logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.points: list[tuple[int | None, dict[str, float]]] = []

    def say(self, message: str) -> None:
        self.lines.append(message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.points.append((step, dict(values)))

    def curve(self, name: str) -> list[tuple[int | None, float]]:
        return [(step, values[name]) for step, values in self.points if name in values]


@pytest.fixture
def store(tmp_path: Path) -> FaceStore:
    return small_store(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_encoder(
        new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=3), tmp_path / "model"
    )
    return tmp_path / "model"


@pytest.fixture
def go(store: FaceStore, model: Path, tmp_path: Path) -> Go:
    def call(
        config: Finetune = PAPER, out: str = "out", log: Recorder | None = None, **more: object
    ) -> Adapted:
        seed, title = more.pop("seed", 0), more.pop("title", "Small")
        place = (more.pop("store", store), more.pop("model", model), title, seed, tmp_path / out)
        return adapt(config, *place, CPU, log or Recorder(), **more)  # type: ignore[arg-type]

    return call
