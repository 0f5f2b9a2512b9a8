"""Defaults, optimiser, schedule and protocol settings equal what was recorded from the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mfc.config import Evaluate, Finetune, Preprocess, Pretrain
from mfc.encoders.network import IMAGENET_MEAN, IMAGENET_STD
from mfc.encoders.training import Plan
from mfc.faces.batches import resized_side


@pytest.fixture(scope="module")
def recorded(golden: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((golden / "schedule.json").read_text(encoding="utf-8"))
    return content


def plan(epochs: int, settings: Pretrain | Finetune) -> Plan:
    return Plan(
        epochs, settings.batch_size, settings.lr, settings.momentum, settings.weight_decay, 1, 0, 0, 1
    )


@pytest.mark.parametrize(("block", "config"), [("pre_training", Pretrain()), ("fine_tuning", Finetune())])
def test_learning_rates(recorded: dict[str, Any], block: str, config: Pretrain | Finetune) -> None:
    """Every epoch's rate, for the full length and each short length that the reference completes."""
    runs = recorded[block]["runs"]
    complete = {name: run for name, run in runs.items() if "exception" not in run}
    assert complete
    for name, run in complete.items():
        epochs = config.epochs if name == "default" else int(name)
        rates = [plan(epochs, config).lr_in(epoch) for epoch in range(epochs)]
        assert rates == pytest.approx(run["lr_per_epoch"], rel=1e-12)


@pytest.mark.parametrize("block", ["pre_training", "fine_tuning"])
def test_one_epoch_is_where_we_differ(recorded: dict[str, Any], block: str) -> None:
    """The reference divides by zero on a single epoch; here it keeps its rate."""
    failed = [int(name) for name, run in recorded[block]["runs"].items() if "exception" in run]
    for epochs in failed:
        assert epochs // 2 == 0
        assert plan(epochs, Pretrain()).lr_in(0) == recorded[block]["lr"]


@pytest.mark.parametrize(("block", "config"), [("pre_training", Pretrain()), ("fine_tuning", Finetune())])
def test_optimiser_defaults(recorded: dict[str, Any], block: str, config: Pretrain | Finetune) -> None:
    """SGD with the recorded numbers; dampening and Nesterov stay at torch's defaults, as recorded."""
    settings = recorded[block]
    assert settings["optimiser"] == "SGD"
    assert (settings["dampening"], settings["nesterov"]) == (0, False)
    for name in ("lr", "momentum", "weight_decay"):
        assert getattr(config, name) == settings[name], name
    assert config.batch_size == settings["loaders"][0]["batch_size"]
    assert settings["loaders"][0]["shuffle"]


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


def test_what_is_trained_on(recorded: dict[str, Any]) -> None:
    """Pre-training: characters with at least ten faces, without Others; fine-tuning: everybody."""
    pretraining, finetuning = (recorded[block]["datasets"][0] for block in ("pre_training", "fine_tuning"))
    assert Pretrain().min_faces == pretraining["threshold"]
    assert pretraining["exclude_others"]
    assert not finetuning["exclude_others"]
    assert finetuning["threshold"] == 0


def test_augmentation_settings(recorded: dict[str, Any]) -> None:
    """Sizes, normalisation and gamma range; gamma is for pre-training only."""
    image = recorded["image"]
    assert [Pretrain().image_size] * 2 == image["crop"]
    assert [resized_side(Pretrain().image_size)] * 2 == image["resize"] == [Preprocess().size] * 2
    assert (list(IMAGENET_MEAN), list(IMAGENET_STD)) == (image["mean"], image["std"])
    assert [1 / Pretrain().gamma, Pretrain().gamma] == image["gamma_range"]
    transforms = {
        block: recorded[block]["datasets"][0]["transform"] for block in ("pre_training", "fine_tuning")
    }
    assert "RandomGammaCorrection" in transforms["pre_training"]
    assert "RandomGammaCorrection" not in transforms["fine_tuning"]


def test_evaluation_settings(recorded: dict[str, Any]) -> None:
    """A thousand restarts; Others left out; everybody else is counted, however rare."""
    evaluation = recorded["evaluation"]
    assert Evaluate().n_init == Finetune().n_init == evaluation["kmeans_full"]["n_init"]
    assert evaluation["datasets"] == [{"exclude_others": True, "threshold": 0}]
    assert evaluation["features_unit_length"]


def test_start_weights(recorded: dict[str, Any]) -> None:
    """Pre-training starts from ImageNet."""
    assert recorded["pre_training"]["weights_start"].startswith("ImageNet")
    assert Pretrain().init == "imagenet"
