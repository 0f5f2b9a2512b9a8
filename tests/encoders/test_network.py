"""The encoder is rebuilt from its own configuration and takes only weights that fit."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

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
    saved_dim,
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


def changed(folder: Path, **values: Any) -> None:
    """Write other values into an encoder's JSON."""
    saved = json.loads((folder / CONFIG_NAME).read_text())
    (folder / CONFIG_NAME).write_text(json.dumps({**saved, **values}))


def weights_changed(folder: Path, key: str, value: float) -> None:
    """Put a value into one weight, and forget the checksum as an encoder of another program would."""
    weights = load_file(folder / WEIGHTS_NAME)
    weights[key].view(-1)[0] = value
    save_file(weights, folder / WEIGHTS_NAME)
    saved = json.loads((folder / CONFIG_NAME).read_text())
    del saved["weights_sha256"]
    (folder / CONFIG_NAME).write_text(json.dumps(saved))


def test_the_json_tells_dimension_and_checksum(encoder: Encoder, tmp_path: Path) -> None:
    """512 for a ResNet-18, and the SHA-256 of the file of weights as it lies there."""
    save_encoder(encoder, tmp_path)
    saved = json.loads((tmp_path / CONFIG_NAME).read_text())
    assert saved["dim"] == saved_dim(tmp_path) == encoder.dim == 512
    assert saved["weights_sha256"] == hashlib.sha256((tmp_path / WEIGHTS_NAME).read_bytes()).hexdigest()


def test_an_encoder_of_an_earlier_version_is_read(
    encoder: Encoder, images: torch.Tensor, tmp_path: Path
) -> None:
    """Its JSON has neither dimension nor checksum; both are found without."""
    save_encoder(encoder, tmp_path)
    saved = json.loads((tmp_path / CONFIG_NAME).read_text())
    old = {key: saved[key] for key in ("backbone", "classes", "image_size", "mean", "std")}
    (tmp_path / CONFIG_NAME).write_text(json.dumps(old))
    assert saved_dim(tmp_path) == 512
    assert torch.equal(load_encoder(tmp_path).features(images), encoder.features(images))


def test_one_flipped_bit_is_told(encoder: Encoder, tmp_path: Path) -> None:
    """A weight that is still a number, in a file that can be read: only the checksum knows."""
    save_encoder(encoder, tmp_path)
    content = bytearray((tmp_path / WEIGHTS_NAME).read_bytes())
    content[-1000] ^= 1
    (tmp_path / WEIGHTS_NAME).write_bytes(content)
    with pytest.raises(UserError, match=r"encoder\.safetensors is not the file that was saved"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("key", ["trunk.conv1.weight", "trunk.bn1.running_var", "head.bias"])
def test_weights_that_are_no_numbers_are_refused(
    encoder: Encoder, tmp_path: Path, key: str, value: float
) -> None:
    """On loading an encoder and on starting from one, whichever weight it is."""
    save_encoder(encoder, tmp_path)
    weights_changed(tmp_path, key, value)
    complaint = f"{key} holds values that are not finite numbers"
    with pytest.raises(UserError, match=complaint):
        load_encoder(tmp_path)
    with pytest.raises(UserError, match=complaint):
        new_encoder(CONFIG, init=str(tmp_path), seed=0)


def test_start_weights_of_a_file_must_be_numbers(tmp_path: Path) -> None:
    """--init FILE.pth with NaN, or with float64 numbers that float32 cannot hold."""
    for value in (torch.full((64,), float("nan")), torch.full((64,), 1e300, dtype=torch.float64)):
        torch.save(_resnet18_state(**{"bn1.weight": value}), tmp_path / "model.pth")
        with pytest.raises(UserError, match=r"model\.pth.*bn1\.weight holds values that are not finite"):
            new_encoder(CONFIG, init=str(tmp_path / "model.pth"), seed=0)


def test_weights_in_another_precision_become_float32(encoder: Encoder, tmp_path: Path) -> None:
    """A file of float16 is used as float32; one of whole numbers is refused."""
    save_encoder(encoder, tmp_path)
    changed(tmp_path, weights_sha256="")
    weights = load_file(tmp_path / WEIGHTS_NAME)
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}, tmp_path / WEIGHTS_NAME
    )
    assert load_encoder(tmp_path).head.weight.dtype == torch.float32
    save_file({k: v.to(torch.int64) for k, v in weights.items()}, tmp_path / WEIGHTS_NAME)
    with pytest.raises(UserError, match=r"trunk\.conv1\.weight is no plain tensor of torch\.float32"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"backbone": "vit_b_16"}, "backbone is 'vit_b_16', not one of resnet18"),
        ({"backbone": ["resnet18"]}, "backbone is .*, not one of"),
        ({"backbone": None}, "backbone is 'None', not one of"),
        ({"image_size": 10**8}, "image_size is '100000000', not 32 to 2048"),
        ({"image_size": -64}, "image_size is '-64', not 32"),
        ({"image_size": 0}, "image_size is '0', not 32"),
        ({"image_size": "64"}, "image_size is '64', not 32"),
        ({"image_size": 64.0}, "image_size is '64.0', not 32"),
        ({"image_size": True}, "image_size is 'True', not 32"),
        ({"classes": []}, "classes is .*, not a list of character ids"),
        ({"classes": "ab"}, "classes is 'ab', not a list"),
        ({"classes": [1, 2, 3]}, "classes is .*, not a list"),
        ({"classes": {"a": 1}}, "classes is .*, not a list"),
        ({"mean": [0.5, 0.5]}, "mean is .*, not three numbers"),
        ({"mean": [0.5, 0.5, float("nan")]}, "mean is .*, not three numbers"),
        ({"mean": ["a", "b", "c"]}, "mean is .*, not three numbers"),
        ({"mean": 0.5}, "mean is '0.5', not three numbers"),
        ({"std": [0.2, 0.0, 0.2]}, "std is .*, not three numbers above 0"),
        ({"std": [0.2, -1, 0.2]}, "std is .*, not three numbers above 0"),
        ({"std": [0.2, 10**400, 0.2]}, "std is .*, not three numbers above 0"),
        ({"dim": 2048}, "dim is 2048, a resnet18 has 512"),
        ({"dim": "wide"}, "dim is wide, a resnet18 has 512"),
        ({"weights_sha256": 7}, "is not the file that was saved"),
        ({"projection": 128}, "'projection' is not known to this version of mfc"),
    ],
)
def test_a_configuration_with_nonsense_is_one_sentence(
    encoder: Encoder, tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    """The folder, the key and what would be right; no stack trace, and no network of 10⁸ pixels."""
    save_encoder(encoder, tmp_path)
    changed(tmp_path, **values)
    with pytest.raises(UserError, match=complaint) as caught:
        load_encoder(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: not a usable encoder: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"7", b"null", b"{", b"[" * 100_000, b"\xff\xfe{", b'{"classes": ["a"]}', b"{}"]
)
def test_what_is_no_configuration_is_one_sentence(encoder: Encoder, tmp_path: Path, content: bytes) -> None:
    """Empty, cut, deep, in another encoding, of another type, without its keys."""
    save_encoder(encoder, tmp_path)
    (tmp_path / CONFIG_NAME).write_bytes(content)
    for read in (load_encoder, saved_dim):
        with pytest.raises(UserError, match=r"not a usable encoder: .") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME])
def test_a_pipe_or_folder_in_a_files_place_does_not_hang(encoder: Encoder, tmp_path: Path, name: str) -> None:
    """Neither is a file of an encoder, so it counts as missing."""
    save_encoder(encoder, tmp_path)
    (tmp_path / name).unlink()
    for put in (os.mkfifo, os.mkdir):
        put(tmp_path / name)
        with pytest.raises(UserError, match=f"no encoder there \\({name} is missing"):
            load_encoder(tmp_path)
        (os.rmdir if put is os.mkdir else os.unlink)(tmp_path / name)


def test_missing_imagenet_weights_name_the_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a network the error names the file to fetch and the other choices."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("network is down")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    with pytest.raises(UserError, match=r"resnet18-\w+\.pth into .*give --init random"):
        new_encoder(CONFIG, init="imagenet", seed=0)
