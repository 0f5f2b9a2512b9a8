"""A training step, the loop around it, and how long the commands take to get there.

Run ``python -m benchmarks.training [--quick] [--precision]`` to see only these rows; ``--precision`` compares
the loss curves of bfloat16 and float32 at the size of the demo instead (minutes).
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.harness import Measured, in_turns, markdown, timed
from mfc.encoders.device import Compute, pick_compute
from mfc.encoders.network import Encoder, EncoderConfig, new_encoder, save_encoder
from mfc.encoders.training import Plan, Task, fit, training_batches
from mfc.faces.batches import resized_side
from mfc.log import PrintLog

CLASSES = tuple(f"character-{i:04d}" for i in range(100))
DEMO_TITLE = (330, 30)
"""Faces and pages of a title of the demo."""
PLAN = Plan(
    epochs=1,
    batch_size=64,
    lr=0.01,
    momentum=0.9,
    weight_decay=1e-4,
    gamma=2.0,
    seed=0,
    eval_every=0,
)
FIRST_STEP = """
import os, sys
import mfc.cli
def run_to_first_step(*arguments):
    from mfc.encoders import training
    class First(training._Meter):
        def step(self, *_):
            os._exit(0)
    training._Meter = First
    return run(*arguments)
run, mfc.cli._run = mfc.cli._run, run_to_first_step
sys.argv = ["mfc", *sys.argv[1:]]
try:
    mfc.cli.main()
except SystemExit as end:
    sys.exit(end.code or "ended without a step")
"""


def run(quick: bool = False) -> Iterator[Measured]:
    """All rows of this file."""
    repeats = 3 if quick else 7
    yield step_against_plain("resnet18", 96, 64, repeats)
    if not quick:
        yield step_against_plain("resnet50", 224, 8, repeats)
        yield compiled_against_eager("resnet18", 96, 64, pick_compute("cpu"), steps=1, repeats=repeats)
    yield loop_against_step("resnet18", 96, steps=4 if quick else 24, repeats=1 if quick else repeats)
    yield start_of_help(repeats=5)
    if not quick:
        yield start_of_finetune(repeats=5)
    yield share_of_validation(epochs=2 if quick else 10)


class Silent(PrintLog):
    """Says nothing."""

    def say(self, message: str) -> None:
        del message


def step_against_plain(backbone: str, image_size: int, batch_size: int, repeats: int) -> Measured:
    """One step as `fit` makes it, against one as torch makes it when asked for nothing."""
    compute = pick_compute("cpu")
    images = torch.randn(batch_size, 3, image_size, image_size)
    plain = new_encoder(EncoderConfig(backbone, CLASSES, image_size), init="random", seed=0).train()
    slow = torch.optim.SGD(plain.parameters(), PLAN.lr, PLAN.momentum, weight_decay=PLAN.weight_decay)
    labels = torch.arange(batch_size) % len(CLASSES)

    def baseline() -> None:
        loss = functional.cross_entropy(plain(images), labels)
        slow.zero_grad()
        loss.backward()
        slow.step()

    ours = Stepper(backbone, image_size, compute, [images])
    times = in_turns(baseline, lambda: ours.steps(1), repeats)
    name = f"training step, {backbone} at {image_size}, {compute}, {torch.get_num_threads()} threads"
    return Measured(name, batch_size, "images", "plain float32", *times, "≥ 2×")


def compiled_against_eager(
    backbone: str, image_size: int, batch_size: int, compute: Compute, *, steps: int, repeats: int
) -> Measured:
    """Our step as it is, and with `--compile true`."""
    images = [torch.randn(batch_size, 3, image_size, image_size)]
    eager = Stepper(backbone, image_size, compute, images)
    compiled = Stepper(backbone, image_size, dataclasses.replace(compute, compiled=True), images)
    first_s, _ = timed(lambda: compiled.steps(1))
    times = in_turns(lambda: eager.steps(steps), lambda: compiled.steps(steps), repeats)
    name = f"training step, {backbone} at {image_size}, {compute}, torch.compile"
    note = f"compiling took {first_s:.0f} s"
    return Measured(name, steps * batch_size, "images", "our step, not compiled", *times, "", note)


class Stepper:
    """The step of `fit` on normalised images that lie on the device: no input, no curves."""

    def __init__(self, backbone: str, image_size: int, compute: Compute, images: Sequence[Tensor]) -> None:
        config = EncoderConfig(backbone, CLASSES, image_size)
        self.compute = compute
        self.encoder = new_encoder(config, init="random", seed=0).to(compute.device)
        self.encoder = self.encoder.to(memory_format=torch.channels_last).train()
        if compute.compiled:
            self.encoder.trunk.compile()
        self.images = [i.to(compute.device).contiguous(memory_format=torch.channels_last) for i in images]
        self.labels = [torch.arange(len(i), device=compute.device) % len(CLASSES) for i in images]
        self.optimiser = torch.optim.SGD(
            self.encoder.parameters(),
            lr=PLAN.lr,
            momentum=PLAN.momentum,
            weight_decay=PLAN.weight_decay,
            fused=compute.device.type in ("cpu", "cuda"),
        )

    def steps(self, n: int) -> None:
        """Make ``n`` steps and wait for them."""
        for images, labels in islice(cycle(zip(self.images, self.labels, strict=True)), n):
            with self.compute.autocast():
                loss = functional.cross_entropy(self.encoder(images), labels)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
        self.compute.synchronize()


def seconds_of_fit(
    encoder: Encoder,
    crops: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    compute: Compute,
    batch_size: int,
    warm_up: int,
) -> float:
    """Seconds of one epoch over ``rows`` in `fit`, less the first ``warm_up`` steps."""
    labels = torch.from_numpy(rows % len(CLASSES)).to(compute.device)
    clock: list[float] = []
    steps = 0

    def tick() -> None:
        compute.synchronize()
        clock.append(time.perf_counter())

    def loss(encoder: Encoder, images: Tensor, positions: npt.NDArray[np.int64]) -> Tensor:
        nonlocal steps
        if steps == warm_up:
            tick()
        steps += 1
        return functional.cross_entropy(encoder(images), labels[positions])

    def validate(encoder: Encoder, step: int) -> Mapping[str, float]:
        del encoder
        if step:
            tick()
        return {}

    task = Task(crops, rows, loss, validate, "benchmark", "benchmark")
    plan = dataclasses.replace(PLAN, batch_size=batch_size)
    with tempfile.TemporaryDirectory() as folder:
        fit(encoder, task, plan, compute, Path(folder), Silent())
    return clock[1] - clock[0]


def loop_against_step(backbone: str, image_size: int, steps: int, repeats: int) -> Measured:
    """`fit` from a mapped file, against its step on batches that are in memory, normalised."""
    compute, batch_size, warm_up = pick_compute("cpu"), 64, 2
    side, n = resized_side(image_size), (steps + warm_up) * batch_size
    with tempfile.TemporaryDirectory() as folder:
        crops = np.lib.format.open_memmap(f"{folder}/crops.npy", "w+", np.uint8, (n, side, side, 1))
        crops[:] = np.random.default_rng(0).integers(0, 256, crops.shape, np.uint8)
        encoder = new_encoder(EncoderConfig(backbone, CLASSES, image_size), init="random", seed=0)
        stepper = Stepper(backbone, image_size, compute, normalised(crops, encoder, compute, batch_size, 2))
        rows = np.arange(n)
        baseline, ours = [], []
        for repeat in range(repeats + 1):
            stepper.steps(warm_up)
            theirs_s, _ = timed(lambda: stepper.steps(steps))
            ours_s = seconds_of_fit(encoder, crops, rows, compute, batch_size, warm_up)
            if repeat:
                baseline.append(theirs_s)
                ours.append(ours_s)
        del crops
    name = f"training loop, {backbone} at {image_size}"
    return Measured(
        name,
        steps * batch_size,
        "images",
        "its step, images in memory",
        tuple(baseline),
        tuple(ours),
        "≥ 0.9×",
    )


def normalised(
    crops: npt.NDArray[np.uint8], encoder: Encoder, compute: Compute, batch_size: int, n: int
) -> list[Tensor]:
    """The first ``n`` batches of an epoch, as `fit` gives them to the network."""
    task = Task(crops, np.arange(len(crops)), _no_loss, lambda *_: {}, "benchmark", "benchmark")
    plan = dataclasses.replace(PLAN, batch_size=batch_size)
    return [images for _, images in islice(training_batches(task, plan, encoder, compute, 0), n)]


def _no_loss(encoder: Encoder, images: Tensor, positions: npt.NDArray[np.int64]) -> Tensor:
    raise NotImplementedError


def start_of_help(repeats: int) -> Measured:
    """How long the program takes to show its help."""
    ours = _command([sys.executable, "-m", "mfc", "--help"], Path.cwd())
    times = in_turns(_command([sys.executable, "-c", "pass"], Path.cwd()), ours, repeats)
    return Measured("mfc --help", 1, "start", "python -c pass", *times, "≤ 0.5 s")


def start_of_finetune(repeats: int) -> Measured:
    """How long the command takes to make the first step of an adaptation."""
    python = [sys.executable, "-c"]
    with tempfile.TemporaryDirectory() as name:
        folder, baseline = Path(name), "import torch, mlflow"
        write_demo_title(folder)
        options = ["--store", "store", "--model", "model", "--experiment", "demo"]
        ours = _command([*python, FIRST_STEP, "finetune", *options], folder)
        times = in_turns(_command([*python, baseline], folder), ours, repeats)
    what, (faces, _) = "mfc finetune, to its first step", DEMO_TITLE
    return Measured(what, faces, "faces", f"python -c '{baseline}'", *times, "≤ 6 s")


def _command(words: list[str], folder: Path) -> Callable[[], None]:
    """Runs in ``folder``; what is printed is shown only when the command fails."""
    repository = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(repository)}

    def work() -> None:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr}")

    return work


def write_demo_title(folder: Path) -> None:
    """``store`` and ``model`` in ``folder``: a title of noise as large as the demo's, random weights."""
    import pandas as pd

    from mfc.faces.store import COLUMNS, finish_store, new_crops, new_store

    (faces, pages), rng = DEMO_TITLE, np.random.default_rng(0)
    columns: dict[str, Any] = dict.fromkeys(COLUMNS, [None] * faces)
    page = np.sort(rng.integers(pages, size=faces))
    character = [f"{i:08x}" for i in rng.integers(15, size=faces)]
    columns |= {
        "face_id": [f"{i:08x}" for i in range(faces)],
        "title": ["Demo"] * faces,
        "split": ["test"] * faces,
        "page_index": page,
        "frame_id": [f"{p}-{f}" for p, f in zip(page, rng.integers(6, size=faces), strict=True)],
        "character_id": character,
        "character_name": character,
        "is_other": [False] * faces,
        "row": np.arange(faces),
        **{name: [0] * faces for name in ("xmin", "ymin", "crop_xmin", "crop_ymin")},
        **{name: [80] * faces for name in ("xmax", "ymax", "crop_xmax", "crop_ymax")},
    }
    with new_store(folder / "store") as store:
        crops = new_crops(store, faces, 128, 1)
        crops[:] = rng.integers(0, 256, crops.shape, np.uint8)
        meta = {
            "corpus": "noise",
            "parameters": {},
            "splits": {"train": [], "val": [], "test": ["Demo"]},
            "counts": {"titles": 1, "pages": pages, "faces": faces, "kept": faces},
            "pages": {"Demo": pages},
            "problems": [],
        }
        finish_store(store, pd.DataFrame(columns, dtype=object), meta)
    save_encoder(new_encoder(EncoderConfig("resnet18", CLASSES, 96), init="random", seed=0), folder / "model")


def share_of_validation(epochs: int) -> Measured:
    """Adaptation to a title as the demo does it: the part of the time that goes into the curves."""
    from mfc.adapt.adapt import Round, adapt
    from mfc.clusters.protocol import TitleView, score_title
    from mfc.config import Finetune
    from mfc.faces.store import open_store
    from mfc.stages.finetune import QUICK_RESTARTS

    config = Finetune(epochs=epochs, lr=0.05, eval_every=max(1, epochs // 2))
    compute, seconds = pick_compute("cpu"), 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_demo_title(folder)
        store, model = open_store(folder / "store"), folder / "model"
        view = TitleView.of(store, "Demo")

        def watch(encoder: Encoder, step: int, now: Round) -> Mapping[str, float]:
            nonlocal seconds
            del step, now
            taken, score = timed(
                lambda: score_title(
                    encoder,
                    view,
                    n_init=QUICK_RESTARTS,
                    seed=0,
                    batch_size=config.batch_size,
                    compute=compute,
                )
            )
            seconds += taken
            return {"accuracy": score.metrics["accuracy"]}

        out, log = folder / "out", Silent()
        whole, _ = timed(lambda: adapt(config, store, model, "Demo", 0, out, compute, log, watch=watch))
    note = f"{100 * seconds / whole:.0f} % of {epochs} epochs with 3 validations go into them"
    return Measured(
        "adaptation's validations", DEMO_TITLE[0], "faces", "all of it", (whole,), (seconds,), "", note
    )


def curve(
    crops: npt.NDArray[np.uint8], dtype: torch.dtype, image_size: int, epochs: int, seed: int
) -> list[float]:
    """Mean loss of each epoch of `fit` on the CPU; person ``i % 10`` is on crop ``i``."""
    people, losses = 10, []
    compute = Compute(torch.device("cpu"), dtype)
    labels = torch.arange(len(crops)) % people

    def loss(encoder: Encoder, images: Tensor, positions: npt.NDArray[np.int64]) -> Tensor:
        value = functional.cross_entropy(encoder(images), labels[positions])
        losses.append(value.detach().float())
        return value

    config = EncoderConfig("resnet18", CLASSES[:people], image_size)
    encoder = new_encoder(config, init="random", seed=seed)
    task = Task(crops, np.arange(len(crops)), loss, lambda *_: {}, "curve", "curve")
    plan = dataclasses.replace(PLAN, epochs=epochs, batch_size=32, gamma=1.0, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        fit(encoder, task, plan, compute, Path(folder), Silent())
    return torch.stack(losses).view(epochs, -1).mean(dim=1).tolist()


def drawn_people(n: int, side: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """(n, side, side, 1): a blurred pattern for each of 10 people, under noise twice as strong."""
    rng = np.random.default_rng(seed)
    pattern = np.kron(rng.normal(0, 20, (10, 4, 4)), np.ones((side // 4, side // 4)))
    faces = pattern[np.arange(n) % 10] + rng.normal(0, 40, (n, side, side))
    return (128 + faces).clip(0, 255).astype(np.uint8)[..., None]


def compare_precisions(n: int, image_size: int, epochs: int, seeds: Sequence[int]) -> str:
    """A table: the loss of each epoch, mean over the seeds, in both formats, and their spread."""
    crops = drawn_people(n, resized_side(image_size) // 4 * 4)
    float32, bfloat16 = (
        np.array([curve(crops, dtype, image_size, epochs, seed) for seed in seeds])
        for dtype in (torch.float32, torch.bfloat16)
    )
    lines = ["| epoch | float32 | bfloat16 | difference | spread over seeds |", "|---:|---:|---:|---:|---:|"]
    for epoch in range(epochs):
        a, b = float32[:, epoch], bfloat16[:, epoch]
        values = f"{a.mean():.4f} | {b.mean():.4f} | {(b - a).mean():+.4f} | {np.ptp(a):.4f}"
        lines.append(f"| {epoch + 1} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if "--precision" in sys.argv[1:]:
        print(compare_precisions(640, 96, epochs=6, seeds=range(3)))
    else:
        print(markdown(run("--quick" in sys.argv[1:])))
