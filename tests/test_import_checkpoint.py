"""A published checkpoint takes the place of pre-training: imported, registered, evaluated, adapted."""

from __future__ import annotations

import shutil

import pytest
import torch
import torchvision
from mlflow import MlflowClient

from tests.conftest import Clone


@pytest.mark.slow
@pytest.mark.xdist_group("tiny")
def test_a_state_dict_is_used_end_to_end(clone: Clone, tiny: Clone) -> None:
    """A ResNet-50 with 1031 classes, saved as DataParallel does, is what evaluate and finetune start from."""
    torch.manual_seed(0)
    state = torchvision.models.resnet50(num_classes=1031).state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, clone.path / "model.pth")
    shutil.copytree(tiny.path / "work/tiny/faces", clone.path / "work/tiny/faces")

    clone.succeed("mfc import_checkpoint model.pth --experiment tiny")
    clone.succeed("mfc evaluate --experiment tiny --title_idx 0")
    clone.succeed("mfc finetune --experiment tiny --title_idx 0 --epochs 1 --eval_every 0 --batch_size 16")

    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    version = client.get_model_version_by_alias("mfc-face-encoder", "pretrained")
    assert version.tags["source_file"] == "model.pth"
    assert len(version.tags["source_sha256"]) == 64
    ids = [e.experiment_id for e in client.search_experiments()]
    [adapted] = client.search_runs(ids, "tags.stage = 'finetune'")
    assert 0 < adapted.data.metrics["test/nmi"] <= 1
    assert not client.search_runs(ids, "tags.stage = 'pretrain'")


def test_anything_else_is_refused(clone: Clone) -> None:
    """Other classes, and no file at all: exit code 2 and the reason; nothing is registered."""
    torch.save(torchvision.models.resnet50(num_classes=10).state_dict(), clone.path / "ten.pth")
    assert "has 10 classes, expected 1031" in clone.refuse("mfc import_checkpoint ten.pth --experiment tiny")
    assert "does not exist" in clone.refuse("mfc import_checkpoint none.pth --experiment tiny")
    assert not (clone.path / "work/tiny/pretrain/current.json").exists()
