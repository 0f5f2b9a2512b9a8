"""Defaults, optimiser, schedule and protocol settings equal what was recorded from the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mfc.clusters.protocol import TitleView
from mfc.config import Evaluate, Finetune, Preprocess, Pretrain
from mfc.encoders import training
from mfc.encoders.device import Compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Encoder,
    EncoderConfig,
    new_encoder,
    save_encoder,
)
from mfc.encoders.training import Plan
from mfc.faces.batches import Choices, resized_side
from mfc.faces.selection import select
from mfc.faces.store import FaceStore
from mfc.log import PrintLog
from mfc.stages.finetune import finetune_title
from mfc.stages.pretrain import pretrain
from tests.golden.conftest import OWN, make_store, read

STAGES = {"pre_training": Pretrain(), "fine_tuning": Finetune()}
stages = pytest.mark.parametrize(("block", "config"), STAGES.items())


@pytest.fixture(scope="module")
def recorded(golden: Path) -> dict[str, Any]:
    content: dict[str, Any] = read(golden, "schedule.json")
    return content


def rates(config: Pretrain | Finetune, epochs: int) -> list[float]:
    plan = Plan.of(dataclasses.replace(config, epochs=epochs), gamma=1.0, seed=0)
    return [plan.lr_in(epoch) for epoch in range(epochs)]


@stages
def test_learning_rates(recorded: dict[str, Any], block: str, config: Pretrain | Finetune) -> None:
    """Every epoch's rate, for the full length and each short length that the reference completes."""
    runs = recorded[block]["runs"]
    complete = {name: run for name, run in runs.items() if "exception" not in run}
    assert complete
    for name, run in complete.items():
        epochs = config.epochs if name == "default" else int(name)
        assert rates(config, epochs) == pytest.approx(run["lr_per_epoch"], rel=1e-12)


@stages
def test_one_epoch_is_where_we_differ(
    recorded: dict[str, Any], block: str, config: Pretrain | Finetune
) -> None:
    """The reference divides by zero after a single epoch; here it ends with the rate that it began with."""
    assert rates(config, 1) == [recorded[block]["lr"]]


@dataclass
class Seen:
    """What the training loop took while a stage ran."""

    optimisers: list[torch.optim.Optimizer] = field(default_factory=list)
    orders: list[np.ndarray] = field(default_factory=list)
    """Per epoch the rows of the store, one after the other."""
    choices: list[Choices] = field(default_factory=list)


def watch(stage: Callable[[], object], optimiser: str) -> Seen:
    """Run a stage and note which optimiser of that name, which faces and which augmentation it takes."""
    seen = Seen()

    class Watched(getattr(torch.optim, optimiser)):  # type: ignore[misc]
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            seen.optimisers.append(self)

    def batches(crops: np.ndarray, rows: np.ndarray, **settings: Any) -> Any:
        seen.orders.append(rows)
        return real_batches(crops, rows, **settings)

    def draw_choices(n: int, **settings: Any) -> Choices:
        seen.choices.append(real_choices(n, **settings))
        return seen.choices[-1]

    real_batches, real_choices = training.batches, training.draw_choices
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, optimiser, Watched)
        patch.setattr(training, "batches", batches)
        patch.setattr(training, "draw_choices", draw_choices)
        stage()
    return seen


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FaceStore:
    """Always of this set's corpus: here it stands for any corpus, and its characters suffice to train on."""
    return make_store(OWN, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def seen(
    recorded: dict[str, Any], store: FaceStore, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Seen]:
    """Both stages, with their defaults but a small network and two epochs."""
    out, log = tmp_path_factory.mktemp("trained"), PrintLog()
    save_encoder(small_encoder(), out / "start")
    first = Pretrain(backbone="resnet18", image_size=32, init="random", epochs=2, device="cpu")
    second = Finetune(epochs=2, n_init=1, figures=False, device="cpu")
    (title, *_) = store.titles("test")
    runs: dict[str, Callable[[], object]] = {
        "pre_training": lambda: pretrain(first, store, out, log),
        "fine_tuning": lambda: finetune_title(second, store, out / "start", title, 0, out, log),
    }
    return {block: watch(run, recorded[block]["optimiser"]) for block, run in runs.items()}


def small_encoder() -> Encoder:
    return new_encoder(EncoderConfig("resnet18", ("a", "b"), 32), init="random", seed=0)


@stages
def test_optimiser(
    recorded: dict[str, Any], seen: dict[str, Seen], block: str, config: Pretrain | Finetune
) -> None:
    """The one that the stage makes is of the recorded kind, with the recorded numbers."""
    (optimiser,) = seen[block].optimisers
    for name in ("lr", "momentum", "dampening", "weight_decay", "nesterov"):
        assert optimiser.defaults[name] == recorded[block][name], name


@stages
def test_batches(
    recorded: dict[str, Any], seen: dict[str, Seen], block: str, config: Pretrain | Finetune
) -> None:
    """Their size; and each epoch takes all faces in an order of its own exactly if the reference does."""
    loader = recorded[block]["loaders"][0]
    assert config.batch_size == loader["batch_size"]
    first, second = seen[block].orders
    assert sorted(first) == sorted(second)
    assert (first.tolist() != second.tolist()) == loader["shuffle"]


@stages
def test_what_is_trained_on(
    recorded: dict[str, Any],
    seen: dict[str, Seen],
    store: FaceStore,
    block: str,
    config: Pretrain | Finetune,
) -> None:
    """All train titles or one test title, with or without Others and rare characters, as recorded."""
    data = recorded[block]["datasets"][0]
    titles = {"pre_training": store.titles("train"), "fine_tuning": store.titles("test")[:1]}[block]
    expected = select(store, titles, others=not data["exclude_others"], min_faces=data["threshold"])
    for order in seen[block].orders:
        assert sorted(order) == sorted(expected.rows)


@stages
def test_augmentation(
    recorded: dict[str, Any], seen: dict[str, Seen], block: str, config: Pretrain | Finetune
) -> None:
    """Cut anywhere, mirrored at random, gamma: each exactly if the recorded transform has it."""
    transform = recorded[block]["datasets"][0]["transform"]
    choices = seen[block].choices
    assert (len(torch.cat([c.top for c in choices]).unique()) > 1) == ("RandomCrop" in transform)
    assert (len(torch.cat([c.left for c in choices]).unique()) > 1) == ("RandomCrop" in transform)
    assert (len(torch.cat([c.flip for c in choices]).unique()) > 1) == ("RandomHorizontalFlip" in transform)
    for drawn in choices:
        assert (drawn.exponent is not None) == ("RandomGammaCorrection" in transform)


@pytest.mark.parametrize(("script", "config"), [("pre_training", Pretrain()), ("fine_tuning", Finetune())])
def test_command_line_defaults(recorded: dict[str, Any], script: str, config: object) -> None:
    """Each number that the reference's flags default to is our default, under our name."""
    ours = {
        "--batchsize": "batch_size",
        "--epoch": "epochs",
        "--lr": "lr",
        "--tau": "tau",
        "--title_idx": "title_idx",
    }
    compared = 0
    for argument in recorded["cli"][script]:
        name = next((ours[flag] for flag in argument["flags"] if flag in ours), None)
        if name is not None:
            assert getattr(config, name) == argument["default"], name
            compared += 1
    assert compared >= 3


def test_fine_tuning_settings(recorded: dict[str, Any]) -> None:
    """Margin, page window and links per face."""
    settings, config = recorded["fine_tuning"], Finetune()
    assert (config.tau, config.page_range, config.top_n) == (
        settings["tau"],
        settings["page_range"],
        settings["top_n"],
    )


def test_image_settings(recorded: dict[str, Any]) -> None:
    """Sizes, normalisation and gamma range."""
    image = recorded["image"]
    assert [Pretrain().image_size] * 2 == image["crop"]
    assert [resized_side(Pretrain().image_size)] * 2 == image["resize"] == [Preprocess().size] * 2
    assert (list(IMAGENET_MEAN), list(IMAGENET_STD)) == (image["mean"], image["std"])
    assert [1 / Pretrain().gamma, Pretrain().gamma] == image["gamma_range"]


def test_evaluation_settings(recorded: dict[str, Any], store: FaceStore) -> None:
    """A thousand restarts on features of length 1; without Others; everybody else counts, however rare."""
    evaluation = recorded["evaluation"]
    assert Evaluate().n_init == Finetune().n_init == evaluation["kmeans_full"]["n_init"]
    (data,) = evaluation["datasets"]
    view = TitleView.of(store, store.titles("test")[0])
    expected = select(store, [view.title], others=not data["exclude_others"], min_faces=data["threshold"])
    assert view.plain.rows.tolist() == expected.rows.tolist()
    compute = Compute(torch.device("cpu"), torch.float32)
    features = embed(small_encoder(), store.crops, view.plain.rows, batch_size=64, compute=compute)
    assert np.allclose(np.linalg.norm(features, axis=1), 1) == evaluation["features_unit_length"]


def test_start_weights(recorded: dict[str, Any]) -> None:
    """Pre-training starts from ImageNet."""
    start = recorded["pre_training"]["weights_start"]
    assert start.lower().startswith(Pretrain().init)
