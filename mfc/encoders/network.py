"""The face encoder: a torchvision ResNet whose pooled, L2-normalised feature describes a drawn face.

Source: Tsubota et al., SIGGRAPH Asia 2018 Posters (ResNet-50, 2048-d, classifier over characters).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from mfc.config import BACKBONES
from mfc.errors import UserError, reason_of
from mfc.files import file_digest, replacing, write_json

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHTS_NAME = "encoder.safetensors"
CONFIG_NAME = "encoder.json"
LARGEST_IMAGE = 2048
"""Side of a network's input that is still believed, pixels: that of the largest crops of a face store."""


@dataclass(frozen=True)
class EncoderConfig:
    """All that is needed, besides weights, to rebuild an encoder."""

    backbone: str
    classes: tuple[str, ...]
    """Character ids, in the order of the logits."""
    image_size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class Encoder(nn.Module):
    """A ResNet without its last layer (`trunk`), and that layer apart (`head`)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = torchvision.models.get_model(config.backbone, weights=None)
        self.dim: int = self.trunk.fc.in_features
        self.trunk.fc = nn.Identity()
        self.head = nn.Linear(self.dim, len(config.classes))

    def features(self, images: Tensor) -> Tensor:
        """Embed ``images (n, 3, s, s)`` float, normalised → ``(n, dim)`` float32, rows of length 1."""
        return functional.normalize(self.trunk(images).float(), dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Classify ``images (n, 3, s, s)`` float, normalised → logits ``(n, classes)``."""
        logits: Tensor = self.head(self.trunk(images))
        return logits


def new_encoder(config: EncoderConfig, *, init: str, seed: int) -> Encoder:
    """Make an encoder with start weights ``init``: ``random``, ``imagenet``, or a path.

    A path is a folder written by `save_encoder` or a torchvision ``state_dict`` in a ``.pth`` file; its head
    is dropped, since its classes are others. The global random state is left as it was.

    Raises:
        UserError: when weights cannot be downloaded, read, or do not fit the backbone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(config)
    if init == "random":
        return encoder
    if init == "imagenet":
        trunk = _imagenet_weights(config.backbone)
    elif Path(init).is_dir():
        trunk = load_encoder(Path(init)).trunk.state_dict()
    else:
        trunk, _ = split_torchvision_state(read_state_dict(Path(init)))
    _load_strictly(encoder.trunk, trunk, f"init {init!r}", config.backbone)
    return encoder


def weights_digest(encoder: Encoder) -> str:
    """12 hex digits that change with any weight: what a training began with, wherever it came from."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Write weights and configuration; each file appears whole or not at all, the configuration last.

    Beside the configuration stand ``dim``, the length of a feature, and the SHA-256 of the weights.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    with replacing(folder / WEIGHTS_NAME) as path:
        save_file(weights, path)
        digest = file_digest(path)
    more = {"dim": encoder.dim, "weights_sha256": digest}
    write_json(folder / CONFIG_NAME, {**dataclasses.asdict(encoder.config), **more})


def load_encoder(folder: Path, device: torch.device | str = "cpu") -> Encoder:
    """Rebuild an encoder from its own saved configuration and weights, in evaluation mode.

    Raises:
        UserError: when the folder is not a saved encoder, or its weights are not those that were saved or
            not finite numbers.
    """
    encoder, digest = _blueprint(folder)
    path = folder / WEIGHTS_NAME
    try:
        if digest and file_digest(path) != digest:
            raise ValueError(
                f"{WEIGHTS_NAME} is not the file that was saved (its SHA-256 is another); copy both files "
                "again, or make it anew"
            )
        expected, weights = encoder.state_dict(), load_file(path)
        problem = _misfit(expected, weights)
        if problem:
            raise ValueError(problem)
        encoder.load_state_dict({k: v.to(expected[k].dtype) for k, v in weights.items()}, assign=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _unusable(folder, error) from None
    return encoder.to(device).eval()


def saved_dim(folder: Path) -> int:
    """The length of a feature of the encoder saved in ``folder``; its weights are not read.

    Raises:
        UserError: when the folder is not a saved encoder.
    """
    return _blueprint(folder)[0].dim


def _blueprint(folder: Path) -> tuple[Encoder, str]:
    """A saved encoder without its weights (on the device "meta"), and their SHA-256 where it was noted."""
    try:
        missing = [name for name in (CONFIG_NAME, WEIGHTS_NAME) if not (folder / name).is_file()]
        if missing:
            raise UserError(
                f"{folder}: no encoder there ({missing[0]} is missing); make one with `mfc pretrain`, or "
                "import one with `mfc import_checkpoint`"
            )
        saved = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        if not isinstance(saved, dict):
            raise ValueError(f"{CONFIG_NAME} is no JSON object")
        dim, digest = saved.pop("dim", None), saved.pop("weights_sha256", "")  # earlier versions note neither
        config = _checked_config(saved)
        # No memory and no random numbers for weights that the file replaces.
        with torch.device("meta"):
            encoder = Encoder(config)
        if dim not in (None, encoder.dim):
            raise ValueError(f"{CONFIG_NAME}: dim is {str(dim)[:40]}, a {config.backbone} has {encoder.dim}")
    except (OSError, ValueError, RecursionError) as error:
        raise _unusable(folder, error) from None
    return encoder, str(digest)


def _checked_config(saved: Mapping[str, Any]) -> EncoderConfig:
    """The configuration in the JSON of an encoder, every value looked at.

    Raises:
        ValueError: naming the first key that is wrong.
    """
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "backbone": (lambda v: v in BACKBONES, f"one of {', '.join(BACKBONES)}"),
        "classes": (lambda v: _is_list(v, str) and len(v) > 0, "a list of character ids"),
        "image_size": (lambda v: type(v) is int and 32 <= v <= LARGEST_IMAGE, f"32 to {LARGEST_IMAGE}"),
        "mean": (lambda v: _is_list(v, float, int) and len(v) == 3, "three numbers"),
        "std": (lambda v: _is_list(v, float, int) and len(v) == 3 and min(v) > 0, "three numbers above 0"),
    }
    strange = [key for key in saved if key not in rules]
    if strange:
        raise ValueError(f"{CONFIG_NAME}: {strange[0]!r} is not known to this version of mfc")
    for key, (is_right, right) in rules.items():
        if key not in saved:
            raise ValueError(f"{CONFIG_NAME}: {key} is missing")
        if not is_right(saved[key]):
            raise ValueError(f"{CONFIG_NAME}: {key} is {str(saved[key])[:40]!r}, not {right}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    return EncoderConfig(**values)


def _is_list(value: Any, *types: type) -> bool:
    """Whether this is a list of such values; a number must be finite, and False is none."""
    return isinstance(value, list) and all(
        type(item) in types and (isinstance(item, str) or (abs(item) <= 1e6 and math.isfinite(item)))
        for item in value
    )


def _unusable(folder: Path, error: Exception) -> UserError:
    return UserError(f"{folder}: not a usable encoder: {reason_of(error)[:300]}")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a ``.pth`` file of weights without unpickling code; unwrap ``state_dict`` and ``module.``.

    Raises:
        UserError: when the file is missing or holds anything but tensors by name.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file or encoder folder")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = reason_of(error)
        raise UserError(
            f"{path}: cannot be read as plain weights ({reason}); save it as a state_dict"
        ) from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path}: holds no state_dict (tensors by name); save it with model.state_dict()")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def split_torchvision_state(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split a torchvision ResNet's ``state_dict`` into ours: (trunk, head)."""
    trunk = {key: value for key, value in state.items() if not key.startswith("fc.")}
    head = {key.removeprefix("fc."): value for key, value in state.items() if key.startswith("fc.")}
    return trunk, head


def import_torchvision(path: Path, *, backbone: str, n_classes: int) -> Encoder:
    """Make an encoder from a torchvision ``state_dict`` with its head, e.g. the published ``model.pth``.

    Its class order is not recorded in the file, so the classes are named by their number.

    Raises:
        UserError: when the weights are not those of ``backbone`` with ``n_classes`` outputs.
    """
    trunk, head = split_torchvision_state(read_state_dict(path))
    if set(head) != {"weight", "bias"}:
        raise UserError(f"{path}: has no last layer (fc.weight, fc.bias), so it is no trained classifier")
    if len(head["bias"]) != n_classes:
        raise UserError(
            f"{path}: its last layer has {len(head['bias'])} classes, expected {n_classes}; give "
            f"--classes {len(head['bias'])} if that is right"
        )
    encoder = Encoder(EncoderConfig(backbone, tuple(f"class-{i}" for i in range(n_classes))))
    _load_strictly(encoder.trunk, trunk, str(path), backbone)
    _load_strictly(encoder.head, head, str(path), backbone)
    return encoder.eval()


def _load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str, backbone: str) -> None:
    # Files from before batch normalisation counted its batches lack that counter; it is not used here.
    problem = _misfit(module.state_dict(), state, may_lack="num_batches_tracked")
    if problem:
        raise UserError(f"{source}: these are not the weights of a torchvision {backbone}: {problem}")
    module.load_state_dict(dict(state), strict=False)


def _misfit(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], may_lack: str = " ") -> str:
    """What first keeps ``state`` from taking the place of ``expected``; empty when nothing does."""
    for key, wanted in expected.items():
        found = state.get(key)
        if found is None:
            if not key.endswith(may_lack):
                return f"{key} is missing"
        elif found.shape != wanted.shape:
            return f"{key} has shape {tuple(found.shape)}, not {tuple(wanted.shape)}"
        elif (
            found.layout != torch.strided
            or found.is_meta
            or found.is_floating_point() != wanted.is_floating_point()
        ):
            return f"{key} is no plain tensor of {wanted.dtype}"
        elif not torch.isfinite(found.to(wanted.dtype)).all():
            return f"{key} holds values that are not finite numbers"
    strange = [key for key in state if key not in expected]
    return f"{strange[0]} is not part of it" if strange else ""


def _imagenet_weights(backbone: str) -> dict[str, Tensor]:
    weights = torchvision.models.get_model_weights(backbone)["IMAGENET1K_V1"]
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise UserError(
            f"ImageNet weights of {backbone} cannot be downloaded ({reason_of(error)}); connect to the "
            f"network, put the file {Path(weights.url).name} into {folder}, or give --init random or --init "
            "FILE.pth"
        ) from None
    return split_torchvision_state(state)[0]
