"""The encoder is rebuilt from its own configuration and takes only weights that fit."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
import torchvision

from mfc.encoders.network import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    Encoder,
    EncoderConfig,
    import_torchvision,
    load_encoder,
    new_encoder,
    read_state_dict,
    save_encoder,
)
from mfc.errors import UserError

CONFIG = EncoderConfig("resnet18", ("0000000a", "00000012", "00001e05"), 64)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return new_encoder(CONFIG, init="random", seed=3).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_features_have_length_one(encoder: Encoder, images: torch.Tensor) -> None:
    """Rows of length 1, as wide as the pooled layer."""
    features = encoder.features(images)
    assert features.shape == (4, 512)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))


def test_logits_are_torchvisions_own(encoder: Encoder, images: torch.Tensor) -> None:
    """Trunk and head together are the torchvision network."""
    reference = torchvision.models.resnet18(num_classes=3).eval()
    state = {f"fc.{k}": v for k, v in encoder.head.state_dict().items()} | dict(encoder.trunk.state_dict())
    reference.load_state_dict(state)
    torch.testing.assert_close(encoder(images), reference(images))


def test_saved_and_loaded_is_the_same(encoder: Encoder, images: torch.Tensor, tmp_path: Path) -> None:
    """Weights to the bit, and the configuration with ids that look like numbers still strings."""
    save_encoder(encoder, tmp_path / "e")
    loaded = load_encoder(tmp_path / "e")
    assert loaded.config == CONFIG
    assert torch.equal(loaded.features(images), encoder.features(images))
    assert sorted(p.name for p in (tmp_path / "e").iterdir()) == [CONFIG_NAME, WEIGHTS_NAME]


def test_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    """Same seed, same weights; and torch's own random stream is where it was."""
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, second, other = (new_encoder(CONFIG, init="random", seed=s) for s in (5, 5, 6))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_the_trunk_can_start_from_another_encoder(encoder: Encoder, tmp_path: Path) -> None:
    """--init FOLDER takes the trunk and makes a new head for the new classes."""
    save_encoder(encoder, tmp_path)
    started = new_encoder(EncoderConfig("resnet18", ("a", "b"), 64), init=str(tmp_path), seed=0)
    assert torch.equal(started.trunk.conv1.weight, encoder.trunk.conv1.weight)
    assert started.head.weight.shape == (2, 512)


@pytest.mark.parametrize("wrapping", ["plain", "module.", "state_dict", "both"])
def test_a_torchvision_file_is_imported(wrapping: str, images: torch.Tensor, tmp_path: Path) -> None:
    """Plain, from DataParallel, or wrapped in a checkpoint: the logits are the original network's."""
    torch.manual_seed(0)
    original = torchvision.models.resnet18(num_classes=7).eval()
    state: dict[str, object] = dict(original.state_dict())
    if wrapping in ("module.", "both"):
        state = {f"module.{k}": v for k, v in state.items()}
    if wrapping in ("state_dict", "both"):
        state = {"state_dict": state, "epoch": 3}
    torch.save(state, tmp_path / "model.pth")
    imported = import_torchvision(tmp_path / "model.pth", backbone="resnet18", n_classes=7)
    torch.testing.assert_close(imported(images), original(images))


def _resnet18_state(**changes: object) -> dict[str, object]:
    return {**torchvision.models.resnet18(num_classes=7).state_dict(), **changes}


def _without(key: str) -> dict[str, object]:
    return {k: v for k, v in _resnet18_state().items() if k != key}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (lambda: torchvision.models.resnet18(num_classes=5).state_dict(), "has 5 classes, expected 7"),
        (lambda: torchvision.models.resnet34(num_classes=7).state_dict(), "is not part of it"),
        (lambda: _without("layer1.0.conv1.weight"), "layer1.0.conv1.weight is missing"),
        (lambda: _without("fc.bias"), "has no last layer"),
        (lambda: _resnet18_state(**{"bn1.weight": torch.zeros(3)}), "bn1.weight has shape"),
        (lambda: _resnet18_state(**{"bn1.weight": torch.full((64,), float("nan"))}), "not finite numbers"),
        (lambda: {"weights": [1, 2]}, "holds no state_dict"),
        (lambda: torchvision.models.resnet18(num_classes=7), "cannot be read as plain weights"),
    ],
)
def test_other_files_are_refused_with_a_reason(content: object, complaint: str, tmp_path: Path) -> None:
    """The sentence names the file and what is wrong with it."""
    torch.save(content(), tmp_path / "model.pth")  # type: ignore[operator]
    with pytest.raises(UserError) as caught:
        import_torchvision(tmp_path / "model.pth", backbone="resnet18", n_classes=7)
    assert "model.pth" in str(caught.value)
    assert complaint in str(caught.value)


def test_no_code_is_run_from_a_file(tmp_path: Path) -> None:
    """A pickle with a payload is refused, and its payload stays asleep."""
    target = tmp_path / "owned"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (target,))

    (tmp_path / "model.pth").write_bytes(pickle.dumps({"fc.weight": Payload()}))
    with pytest.raises(UserError, match="cannot be read as plain weights"):
        read_state_dict(tmp_path / "model.pth")
    assert not target.exists()


def test_a_damaged_or_missing_encoder_is_explained(encoder: Encoder, tmp_path: Path) -> None:
    """Missing files, a cut file and a wrong configuration give a sentence, not a stack trace."""
    with pytest.raises(UserError, match="no encoder there"):
        load_encoder(tmp_path)
    save_encoder(encoder, tmp_path)
    weights = (tmp_path / WEIGHTS_NAME).read_bytes()
    (tmp_path / WEIGHTS_NAME).write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="not a usable encoder"):
        load_encoder(tmp_path)
    (tmp_path / WEIGHTS_NAME).write_bytes(weights)
    config = json.loads((tmp_path / CONFIG_NAME).read_text())
    (tmp_path / CONFIG_NAME).write_text(json.dumps({**config, "backbone": "resnet34"}))
    with pytest.raises(UserError, match="not a usable encoder"):
        load_encoder(tmp_path)


def test_missing_imagenet_weights_name_the_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a network the error names the file to fetch and the other choices."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("network is down")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(UserError, match=r"resnet18-\w+\.pth into .*give --init random"):
        new_encoder(CONFIG, init="imagenet", seed=0)
