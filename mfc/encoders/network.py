"""The face encoder: a torchvision ResNet whose pooled, L2-normalised feature describes a drawn face.

Source: Tsubota et al., SIGGRAPH Asia 2018 Posters (ResNet-50, 2048-d, classifier over characters).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from mfc.errors import UserError
from mfc.files import replacing, write_json

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHTS_NAME = "encoder.safetensors"
CONFIG_NAME = "encoder.json"


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
    """Write weights and configuration; each file appears whole or not at all, the configuration last."""
    weights = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    with replacing(folder / WEIGHTS_NAME) as path:
        save_file(weights, path)
    write_json(folder / CONFIG_NAME, dataclasses.asdict(encoder.config))


def load_encoder(folder: Path, device: torch.device | str = "cpu") -> Encoder:
    """Rebuild an encoder from its own saved configuration and weights, in evaluation mode.

    Raises:
        UserError: when the folder is not a saved encoder.
    """
    try:
        saved = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        tuples = {key: tuple(saved[key]) for key in ("classes", "mean", "std")}
        # No memory and no random numbers for weights that the file replaces.
        with torch.device("meta"):
            encoder = Encoder(EncoderConfig(**{**saved, **tuples}))
        encoder.load_state_dict(load_file(folder / WEIGHTS_NAME), assign=True)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: no encoder there ({Path(error.filename or WEIGHTS_NAME).name} is missing); make one "
            "with `mfc pretrain`, or import one with `mfc import_checkpoint`"
        ) from None
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: not a usable encoder: {str(error).splitlines()[0]}") from None
    return encoder.to(device).eval()


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
        reason = str(error).splitlines()[0]
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
    bad = [name for name, value in encoder.state_dict().items() if not torch.isfinite(value).all()]
    if bad:
        raise UserError(f"{path}: weights that are not finite numbers in {bad[0]}; the file is damaged")
    return encoder.eval()


def _load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str, backbone: str) -> None:
    expected = module.state_dict()
    # Files from before batch normalisation counted its batches lack that counter; it is not used here.
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    strange = [k for k in state if k not in expected]
    shapes = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if missing or strange or shapes:
        if missing:
            what = f"{missing[0]} is missing"
        elif strange:
            what = f"{strange[0]} is not part of it"
        else:
            found, wanted = state[shapes[0]].shape, expected[shapes[0]].shape
            what = f"{shapes[0]} has shape {tuple(found)}, not {tuple(wanted)}"
        raise UserError(f"{source}: these are not the weights of a torchvision {backbone}: {what}")
    module.load_state_dict(dict(state), strict=False)


def _imagenet_weights(backbone: str) -> dict[str, Tensor]:
    weights = torchvision.models.get_model_weights(backbone)["IMAGENET1K_V1"]
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise UserError(
            f"ImageNet weights of {backbone} cannot be downloaded ({error}); connect to the network, put the "
            f"file {Path(weights.url).name} into {folder}, or give --init random or --init FILE.pth"
        ) from None
    return split_torchvision_state(state)[0]
