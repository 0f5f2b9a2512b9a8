"""Clustering and training on a GPU at the size of the real corpus, and whether the results are the CPU's.

    python -m benchmarks.gpu            # under 8 minutes; 13 GB of temporary disk
    python -m benchmarks.gpu --small    # minutes on a CPU: shows that it runs, its figures mean nothing

Needs torch, torchvision, safetensors, scikit-learn and tqdm. The crops are noise: what they show changes no
time. Everything measured goes to a JSON file with the device, versions and commit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from benchmarks import harness
from benchmarks.baselines import scikit_learn_kmeans
from benchmarks.harness import Measured, timed
from benchmarks.numerics import CHARACTERS, drawn_features, inertia
from benchmarks.training import (
    CLASSES,
    PLAN,
    Stepper,
    compiled_against_eager,
    normalised,
    seconds_of_fit,
)
from mfc.adapt.losses import contrastive_loss
from mfc.adapt.mining import Mining, mine
from mfc.clusters.kmeans import kmeans
from mfc.encoders.device import Compute, pick_compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import Encoder, EncoderConfig, new_encoder
from mfc.faces.batches import batches, draw_choices, resized_side, transform
from mfc.files import write_json

EPOCHS = 200
"""Of the published pre-training."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    faces: int = 67_336
    side: int = 256
    image_size: int = 224
    backbone: str = "resnet50"
    batch_size: int = 64
    steps: int = 150
    rounds: int = 3
    title: int = 1111
    dim: int = 2048
    restarts: int = 1000
    baseline_restarts: int = 20
    checked: int = 32
    """Faces that the CPU computes too."""
    epoch_limit_s: float = 150.0
    """An epoch expected to take longer is extrapolated from the rounds instead of measured."""


SMALL = Scale(192, 73, 64, "resnet18", 16, 3, 2, 120, 64, 20, 4, 16)


@dataclass(frozen=True)
class Check:
    """How far a result is from the CPU's, in the unit that ``what`` names."""

    what: str
    difference: float
    allowed: float

    @property
    def passed(self) -> bool:
        """False also for NaN."""
        return self.difference <= self.allowed


def write_noise(path: Path, faces: int, side: int) -> npt.NDArray[np.uint8]:
    """(faces, side, side, 3) uint8 in a mapped file: the same noise over and over, other bits turned."""
    crops: npt.NDArray[np.uint8] = np.lib.format.open_memmap(path, "w+", np.uint8, (faces, side, side, 3))
    block = np.random.default_rng(0).integers(0, 256, (min(faces, 512), side, side, 3), np.uint8)
    for number, start in enumerate(range(0, faces, len(block))):
        part = crops[start : start + len(block)]
        np.bitwise_xor(block[: len(part)], np.uint8(number % 256), out=part)
    return crops


def checks(crops: npt.NDArray[np.uint8], compute: Compute, scale: Scale) -> Iterator[Check]:
    """Input, loss, gradient, features, constraints and clusters of the device against those of the CPU."""
    device = compute.device
    config = EncoderConfig(scale.backbone, CLASSES, scale.image_size)
    margin = resized_side(scale.image_size) - scale.image_size
    choices = draw_choices(
        scale.checked, margin=margin, gamma=2.0, generator=torch.Generator().manual_seed(0)
    )
    some = torch.from_numpy(np.array(crops[: scale.checked]))
    work = partial(transform, choices=choices, image_size=scale.image_size, mean=config.mean, std=config.std)
    images, there = work(some), work(some.to(device))
    yield Check("transform, largest difference", float((there.cpu() - images).abs().max()), 1e-4)

    exact = _loss_and_gradient(config, images.double(), torch.device("cpu"))
    single = _loss_and_gradient(config, images, device)
    yield Check("loss in float32, relative to float64", abs(single[0] / exact[0] - 1), 1e-4)
    error = (single[1] - exact[1]).norm() / exact[1].norm()
    yield Check("gradient in float32, relative to float64", float(error), 1e-2)

    generator = torch.Generator().manual_seed(1)
    x0, x1 = (functional.normalize(torch.randn(500, 64, generator=generator), dim=1) for _ in range(2))
    same = torch.rand(500, generator=generator) < 0.5
    ours = contrastive_loss(x0.to(device), x1.to(device), same.to(device))
    exactly = contrastive_loss(x0.double(), x1.double(), same)
    yield Check("contrastive loss, relative to float64", abs(float(ours) / float(exactly) - 1), 1e-5)

    encoder, rows = new_encoder(config, init="random", seed=0), np.arange(scale.checked)
    reference, features, rough = (
        embed(encoder, crops, rows, batch_size=scale.batch_size, compute=Compute(torch.device(where), dtype))
        for where, dtype in (
            ("cpu", torch.float32),
            (device, torch.float32),
            (device, torch.bfloat16),
        )
    )
    yield Check("features in float32, largest difference", float(np.abs(features - reference).max()), 1e-4)
    lost = 1 - float((rough * reference).sum(axis=1).min())
    yield Check("features in bfloat16, 1 - least cosine", lost, 1e-2)

    # Faces of noise are all alike, so neighbours are looked for among separable features, moved by as much.
    drawn, names = drawn_features("clustered", scale.title, scale.dim)
    moved = drawn + np.abs(features - reference).max() * np.random.default_rng(2).choice(
        np.array([-1, 1], np.float32), drawn.shape
    )
    pages = np.arange(scale.title, dtype=np.int32) // 12
    links, links_there = (
        mine(x, pages, pages * 8 + names.astype(np.int32) % 8, Mining()) for x in (drawn, moved)
    )
    pairs = [
        {(kind, *pair) for kind in ("must_link", "cannot_link") for pair in getattr(found, kind).tolist()}
        for found in (links, links_there)
    ]
    yield Check("constraints, share of other pairs", len(pairs[0] ^ pairs[1]) / len(pairs[0]), 2e-2)

    k = min(CHARACTERS, scale.title // 4)
    least = [
        inertia(drawn, kmeans(drawn, k, n_init=scale.restarts, seed=0, device=where).labels)
        for where in ("cpu", str(device))
    ]
    yield Check("inertia of the best restart, above the CPU's, relative", least[1] / least[0] - 1, 5e-3)


def _loss_and_gradient(
    config: EncoderConfig, images: torch.Tensor, device: torch.device
) -> tuple[float, torch.Tensor]:
    """Cross-entropy in the type of ``images`` and the gradient of the last layer and the last convolution."""
    encoder = new_encoder(config, init="random", seed=0).to(device, images.dtype).train()
    labels = torch.arange(len(images), device=device) % len(CLASSES)
    loss = functional.cross_entropy(encoder(images.to(device)), labels)
    loss.backward()
    parts = (encoder.head.weight, encoder.trunk.layer4[0].conv1.weight)
    return loss.item(), torch.cat([p.grad.flatten() for p in parts if p.grad is not None]).double().cpu()


def clustering(compute: Compute, scale: Scale) -> Iterator[Measured]:
    """Best of many restarts against scikit-learn on the processor: some of its restarts, scaled."""
    device, k = str(compute.device), min(CHARACTERS, scale.title // 4)
    for kind in ("clustered", "isotropic"):
        features, _ = drawn_features(kind, scale.title, scale.dim)
        kmeans(features, k, n_init=scale.restarts, device=device)
        times: list[tuple[float, float]] = []
        values = []
        for seed in range(scale.rounds):
            theirs_s, theirs = timed(
                partial(scikit_learn_kmeans, features, k, n_init=scale.baseline_restarts, seed=seed)
            )
            ours_s, ours = timed(
                partial(kmeans, features, k, n_init=scale.restarts, seed=seed, device=device)
            )
            times.append((theirs_s * scale.restarts / scale.baseline_restarts, ours_s))
            values.append([inertia(features, ours.labels), inertia(features, theirs)])
        name = f"k-means × {scale.restarts}, {k} clusters, {kind}"
        baseline = (
            f"scikit-learn, {scale.baseline_restarts} restarts × {scale.restarts / scale.baseline_restarts:g}"
        )
        note = "inertia {:.3f}, of scikit-learn's few {:.3f}".format(*np.mean(values, axis=0))
        theirs_all, ours_all = zip(*times, strict=True)
        yield Measured(name, scale.title, "faces", baseline, theirs_all, ours_all, "≥ 100×", note)


def training(
    crops: npt.NDArray[np.uint8], compute: Compute, scale: Scale
) -> tuple[list[Measured], dict[str, Any]]:
    """`fit` against its step on normalised images that lie on the device; and a whole epoch."""
    encoder = new_encoder(EncoderConfig(scale.backbone, CLASSES, scale.image_size), init="random", seed=0)
    images = normalised(crops, encoder, compute, scale.batch_size, 8)
    stepper = Stepper(scale.backbone, scale.image_size, compute, images)
    warm_up, rng = max(1, scale.steps // 5), np.random.default_rng(0)
    n = scale.steps * scale.batch_size
    fit_seconds = partial(seconds_of_fit, encoder, crops, compute=compute, batch_size=scale.batch_size)
    baseline, ours, reading, augmenting = [], [], [], []
    for _ in range(scale.rounds):
        # Rows in random order over the whole file, as in an epoch.
        rows = rng.permutation(len(crops))
        rows = np.resize(rows, n + warm_up * scale.batch_size)
        stepper.steps(warm_up)
        baseline.append(timed(partial(stepper.steps, scale.steps))[0])
        ours.append(fit_seconds(rows=rows, warm_up=warm_up))
        reading.append(timed(partial(_read, crops, rows[:n], compute, scale.batch_size))[0])
        augmenting.append(_seconds_of_transform(crops, encoder, compute, scale))
    what = f"{scale.backbone} at {scale.image_size}, batches of {scale.batch_size}, {compute}"
    times = (tuple(baseline), tuple(ours))
    measured = [
        Measured(f"training loop, {what}", n, "images", "its step, images on the device", *times, "≥ 0.9×"),
        Measured("reading and moving batches alone", n, "images", "–", (), tuple(reading)),
        Measured("transforming on the device alone", n, "images", "–", (), tuple(augmenting)),
    ]
    if compute.device.type == "cuda":
        size = (scale.backbone, scale.image_size, scale.batch_size)
        measured.append(compiled_against_eager(*size, compute, steps=scale.steps, repeats=scale.rounds))
    return measured, _epoch(statistics.median(ours) / n, partial(fit_seconds, warm_up=0), scale)


def _read(
    crops: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], compute: Compute, batch_size: int
) -> None:
    for _ in batches(crops, rows, batch_size=batch_size, device=compute.device):
        pass
    compute.synchronize()


def _seconds_of_transform(
    crops: npt.NDArray[np.uint8], encoder: Encoder, compute: Compute, scale: Scale
) -> float:
    """Seconds for as many faces as the rounds of training take; the crops are on the device already."""
    config, generator = encoder.config, torch.Generator().manual_seed(0)
    batch = torch.from_numpy(np.array(crops[: scale.batch_size])).to(compute.device)
    margin = resized_side(scale.image_size) - scale.image_size

    def steps(n: int) -> None:
        for _ in range(n):
            choices = draw_choices(len(batch), margin=margin, gamma=PLAN.gamma, generator=generator)
            transform(batch, choices, image_size=config.image_size, mean=config.mean, std=config.std)
        compute.synchronize()

    steps(3)
    return timed(partial(steps, scale.steps))[0]


def _epoch(seconds_an_image: float, fit_seconds: partial[float], scale: Scale) -> dict[str, Any]:
    """Time of one epoch, measured where that is affordable, and of all of them, which never is."""
    epoch_s, measured = seconds_an_image * scale.faces, False
    if epoch_s < scale.epoch_limit_s:
        epoch_s, measured = fit_seconds(rows=np.arange(scale.faces)), True
    return {
        "faces": scale.faces,
        "epoch_s": epoch_s,
        "epoch": "measured" if measured else "extrapolated from the rounds",
        "epochs": EPOCHS,
        "all_epochs_h": epoch_s * EPOCHS / 3600,
        "all_epochs": "extrapolated from one epoch",
    }


def measure(scale: Scale, compute: Compute, folder: Path) -> dict[str, Any]:
    """Everything, as it is written to the JSON file; the crops go to ``folder``."""
    began = time.perf_counter()
    crops = write_noise(folder / "crops.npy", scale.faces, scale.side)
    _say(f"wrote {crops.nbytes / 1e9:.1f} GB of crops")
    checked = []
    # TF32 would round float32's products to 10 bits.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for check in checks(crops, compute, scale):
            checked.append({**asdict(check), "passed": check.passed})
            _say(f"{check.what}: {check.difference:.2g} (allowed {check.allowed:g})")
    rows = []
    for row in clustering(compute, scale):
        rows.append(row)
        _say(" | ".join(cell for cell in harness.cells(row) if cell))
    trained, epoch = training(crops, compute, scale)
    for row in trained:
        _say(" | ".join(cell for cell in harness.cells(row) if cell))
    _say(f"an epoch of {epoch['faces']:,} faces: {epoch['epoch_s']:.1f} s ({epoch['epoch']})")
    return {
        **harness.report([*rows, *trained]),
        "device": describe(compute),
        "scale": asdict(scale),
        "threads": torch.get_num_threads(),
        "checks": checked,
        "epoch": epoch,
        "seconds": time.perf_counter() - began,
    }


def describe(compute: Compute) -> dict[str, Any]:
    """The device and what drives it."""
    found: dict[str, Any] = {"name": compute.device.type, "precision": str(compute.dtype)}
    if compute.device.type == "cuda":
        properties = torch.cuda.get_device_properties(compute.device)
        found |= {
            "name": properties.name,
            "memory_gb": round(properties.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write; ends with an error when a result is not the CPU's."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--small", action="store_true", help="little of everything")
    parser.add_argument("--device", default="auto", help="of torch; default: %(default)s")
    parser.add_argument("--faces", type=int, help="crops in the file, 196,608 bytes each")
    parser.add_argument("--folder", help="where the crops are written; default: the system's")
    parser.add_argument("--commit", help="written to the file where there is no git")
    parser.add_argument("--json", type=Path, help="default: benchmarks/results/DEVICE.json")
    options = parser.parse_args(arguments)
    scale, compute = SMALL if options.small else Scale(), pick_compute(options.device)
    if options.faces:
        scale = Scale(**{**asdict(scale), "faces": options.faces})
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = measure(scale, compute, Path(folder))
    report["commit"] = options.commit or report["commit"]
    name = "".join(c if c.isalnum() else "-" for c in report["device"]["name"].lower())
    path = (
        options.json or Path(__file__).parent / "results" / f"{name}{'-small' if options.small else ''}.json"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, report)
    _say(f"written to {path} after {report['seconds']:.0f} s")
    failed = [check["what"] for check in report["checks"] if not check["passed"]]
    if failed:
        sys.exit(f"not the CPU's result: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
