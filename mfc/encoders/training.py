"""The one training loop, with checkpoint and resume."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mfc.config import Finetune, Pretrain
from mfc.corpus.reading import read_json
from mfc.encoders.device import Compute
from mfc.encoders.embedding import images_of
from mfc.encoders.network import Encoder, load_encoder, save_encoder
from mfc.errors import UserError, reason_of
from mfc.faces.batches import batches, draw_choices, resized_side
from mfc.files import replacing, value_digest, write_json
from mfc.log import Log

Loss = Callable[[Encoder, Tensor, np.ndarray], Tensor]
"""(encoder, images (b, 3, s, s), positions (b,) int64 into the training rows) → scalar loss."""

FINISHED = "training.json"
"""Beside an encoder that was trained to the end: its key and curves."""
CHECKPOINTS = ("checkpoint.pt", "checkpoint.before.pt")
"""The last one and the one before it; gone when the training has ended."""
LOG_EVERY = 20
"""Steps between two points of a curve; the loss is read from the device only then."""
WARM_UP = 3
"""Steps that a time estimate leaves out."""


@dataclass(frozen=True)
class Plan:
    """How to optimise: SGD, its rate falling to a tenth every ``epochs // 2`` epochs as in the reference."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float
    weight_decay: float
    gamma: float
    """Largest exponent of the gamma augmentation; 1 switches it off."""
    seed: int
    eval_every: int
    """Epochs between two points of the validation curves, kept with the weights; 0: only the last."""

    @classmethod
    def of(cls, config: Pretrain | Finetune, *, gamma: float, seed: int) -> Plan:
        """The plan that a stage's configuration asks for."""
        return cls(
            epochs=config.epochs,
            batch_size=config.batch_size,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            gamma=gamma,
            seed=seed,
            eval_every=config.eval_every,
        )

    def lr_in(self, epoch: int) -> float:
        """Learning rate of ``epoch``, counted from 0. A single epoch keeps its rate (the reference fails)."""
        return self.lr * 0.1 ** (epoch // max(1, self.epochs // 2))


@dataclass(frozen=True)
class Task:
    """What to learn from: rows of a face store's crops, a loss, and a validation for the curves."""

    crops: np.ndarray
    """(faces, S, S, C) uint8, usually memory-mapped."""
    rows: np.ndarray
    """(n,) int64, the crops to train on."""
    loss: Loss
    validate: Callable[[Encoder, int], Mapping[str, float]]
    """(encoder, training step) → values of the curves at that step."""
    label: str
    fingerprint: str
    """Changes with anything else that the result depends on: data, start weights, constraints, order."""
    order: Callable[[torch.Generator], np.ndarray] | None = None
    """Generator of an epoch → (n,) int64 positions, each once: the order of its faces. None: any."""


def task_key(task: Task, plan: Plan, encoder: Encoder, compute: Compute) -> str:
    """Identifies a training result: equal keys mean equal results, up to rounding between devices."""
    return value_digest([task.fingerprint, asdict(plan), asdict(encoder.config), str(compute.dtype)])


def fit(
    encoder: Encoder,
    task: Task,
    plan: Plan,
    compute: Compute,
    folder: Path,
    log: Log,
    *,
    checkpoint_every: int = 1,
    anew: bool = False,
) -> Encoder:
    """Train ``encoder`` in place and save it in ``folder``; a finished result there is loaded instead.

    A run that was killed goes on from its last checkpoint to the result it would have had: the order and the
    augmentation of an epoch depend only on the seed and the epoch's number. Curves go to ``log`` at the
    training step; those of a resumed run from its start.

    Args:
        checkpoint_every: epochs between two checkpoints; the result does not depend on it.
        anew: train again, even if a finished or begun result is there.

    Raises:
        UserError: when ``folder`` holds a training with other parameters, or the loss stops being finite.
    """
    key = task_key(task, plan, encoder, compute)
    history = _Curves(log)
    if anew:
        for name in (FINISHED, *CHECKPOINTS):
            (folder / name).unlink(missing_ok=True)
    saved = _finished(folder, task.label, log)
    if saved is not None:
        _check_key(saved["key"], key, folder)
        log.say(f"{task.label}: already trained, loaded from {folder}")
        history.replay(saved["curves"])
        _remove_checkpoints(folder)  # a kill may have come right after the record
        return load_encoder(folder, compute.device)

    encoder.to(compute.device).to(memory_format=torch.channels_last)
    if compute.compiled:
        encoder.trunk.compile()
    optimiser = torch.optim.SGD(
        encoder.parameters(),
        lr=plan.lr,
        momentum=plan.momentum,
        weight_decay=plan.weight_decay,
        fused=compute.device.type in ("cpu", "cuda"),
    )
    start = _resume(folder, key, encoder, optimiser, history, compute, task.label, log)
    if start == 0:
        history.add(0, _validated(encoder, task, compute, 0))

    steps_per_epoch = math.ceil(len(task.rows) / plan.batch_size)
    meter = _Meter(task, plan, compute, history, log, steps_per_epoch, start)
    with meter:
        for epoch in range(start, plan.epochs):
            for group in optimiser.param_groups:
                group["lr"] = plan.lr_in(epoch)
            encoder.train()
            for positions, images in training_batches(task, plan, encoder, compute, epoch):
                with compute.autocast():
                    loss = task.loss(encoder, images, positions)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                meter.step(loss.detach(), len(positions), plan.lr_in(epoch))
            done = epoch + 1
            meter.flush()
            _refuse_damaged(encoder, task, plan, done * steps_per_epoch)
            last = done == plan.epochs
            if last or (plan.eval_every and done % plan.eval_every == 0):
                with meter.paused():
                    step = done * steps_per_epoch
                    history.add(step, _validated(encoder, task, compute, step))
            if not last and done % checkpoint_every == 0:
                with meter.paused():
                    _save_checkpoint(folder / CHECKPOINTS[0], key, encoder, optimiser, history, done)

    save_encoder(encoder, folder)
    write_json(folder / FINISHED, {"key": key, "epochs": plan.epochs, "curves": history.points})
    _remove_checkpoints(folder)
    return encoder.eval()


def last_validation(folder: Path) -> dict[str, float]:
    """The last point of the validation curves of a finished training."""
    saved = _read_finished(folder / FINISHED)
    values = saved["curves"][-1][1] if saved and saved["curves"] else {}
    return {name: value for name, value in values.items() if not name.startswith("train/")}


def training_batches(
    task: Task, plan: Plan, encoder: Encoder, compute: Compute, epoch: int
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """One epoch: (positions (b,) int64, images (b, 3, s, s) float32 normalised) in a seeded random order."""
    config = encoder.config
    generator = torch.Generator().manual_seed(_epoch_seed(plan.seed, epoch))
    order = (
        task.order(generator) if task.order else torch.randperm(len(task.rows), generator=generator).numpy()
    )
    for places, crops in batches(
        task.crops, task.rows[order], batch_size=plan.batch_size, device=compute.device
    ):
        choices = draw_choices(
            len(places),
            margin=resized_side(config.image_size) - config.image_size,
            gamma=plan.gamma,
            generator=generator,
        )
        yield order[places], images_of(crops, choices, encoder)


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _refuse_damaged(encoder: Encoder, task: Task, plan: Plan, step: int) -> None:
    """The last step may spoil the weights after its loss was taken."""
    if not all(torch.isfinite(parameter).all() for parameter in encoder.parameters()):
        raise UserError(
            f"{task.label}: the weights are no numbers any more at step {step}; lower --lr (now "
            f"{plan.lr:g}) or use --precision float32"
        )


def _validated(encoder: Encoder, task: Task, compute: Compute, step: int) -> dict[str, float]:
    encoder.eval()
    with torch.inference_mode():
        values = dict(task.validate(encoder, step))
    compute.synchronize()
    return values


class _Curves:
    """Points of the training curves: sent to the log at once, kept for the checkpoint."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.points: list[tuple[int, dict[str, float]]] = []

    def add(self, step: int, values: Mapping[str, float]) -> None:
        if values:
            self.points.append((step, dict(values)))
            self.log.metrics(values, step)

    def replay(self, points: list[tuple[int, dict[str, float]]]) -> None:
        for step, values in points:
            self.add(step, values)


class _Meter:
    """Averages the loss and the rate between two points of the curve; says how long it will take."""

    def __init__(
        self, task: Task, plan: Plan, compute: Compute, curves: _Curves, log: Log, per_epoch: int, start: int
    ) -> None:
        self.task, self.plan, self.compute, self.curves, self.log = task, plan, compute, curves, log
        self.total, self.taken = per_epoch * plan.epochs, per_epoch * start
        self.first = self.taken
        self.losses: list[Tensor] = []
        self.images, self.lr, self.seconds_paused = 0, plan.lr, 0.0

    def __enter__(self) -> None:
        self.bar = tqdm(
            total=self.total, initial=self.taken, desc=self.task.label, unit="step", disable=None, leave=False
        )
        self.clock = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def step(self, loss: Tensor, images: int, lr: float) -> None:
        self.losses.append(loss)
        self.images += images
        self.taken += 1
        self.lr = lr
        self.bar.update()
        if self.taken - self.first == WARM_UP:
            self.compute.synchronize()
            self.clock, self.images = time.perf_counter(), 0
        elif self.taken - self.first == 4 * WARM_UP:
            self._estimate()
        if len(self.losses) >= LOG_EVERY:
            self.flush()

    def flush(self) -> None:
        """Read the loss from the device and make a point of the curve."""
        if not self.losses:
            return
        loss = float(torch.stack(self.losses).float().mean())
        self.losses.clear()
        if not math.isfinite(loss):
            raise UserError(
                f"{self.task.label}: the loss is {loss} at step {self.taken}; lower --lr (now "
                f"{self.plan.lr:g}) or use --precision float32"
            )
        point = {"train/loss": loss, "train/lr": self.lr}
        seconds = time.perf_counter() - self.clock
        if self.images and seconds > 0:
            point["train/images_per_s"] = self.images / seconds
        point |= {f"train/{name}": value for name, value in self.compute.load().items()}
        self.curves.add(self.taken, point)
        self.clock, self.images = time.perf_counter(), 0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time inside does not count as training."""
        began = time.perf_counter()
        yield
        self.clock += time.perf_counter() - began

    def _estimate(self) -> None:
        self.compute.synchronize()
        rate = self.images / (time.perf_counter() - self.clock)
        minutes = (self.total - self.taken) * self.plan.batch_size / rate / 60
        if minutes > 2:
            length = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
            self.log.say(
                f"{self.task.label}: {self.plan.epochs} epochs of {len(self.task.rows):,} faces at "
                f"{rate:.0f} images/s take about {length} on this device ({self.compute}), "
                "validation not counted"
            )


def _remove_checkpoints(folder: Path) -> None:
    for name in CHECKPOINTS:
        (folder / name).unlink(missing_ok=True)


class _Damaged(Exception):
    """A checkpoint cannot be used; the text says why."""


def _save_checkpoint(
    path: Path, key: str, encoder: Encoder, optimiser: torch.optim.Optimizer, curves: _Curves, epochs: int
) -> None:
    """Write a checkpoint behind its own checksum; the one before it stays, in case this one gets damaged."""
    state = {
        "key": key,
        "epochs": epochs,
        "encoder": encoder.state_dict(),
        "optimiser": optimiser.state_dict(),
        "curves": json.dumps(curves.points),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        if path.exists():
            path.replace(path.with_name(CHECKPOINTS[1]))


def _read_checkpoint(path: Path, compute: Compute) -> dict[str, Any]:
    with path.open("rb") as file:
        checksum, content = file.read(hashlib.sha256().digest_size), file.read()
    if hashlib.sha256(content).digest() != checksum:
        raise _Damaged("its checksum does not fit its content")
    try:
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location=compute.device, weights_only=True
        )
    except Exception as error:
        raise _Damaged(reason_of(error)) from None
    return state


def _resume(
    folder: Path,
    key: str,
    encoder: Encoder,
    optimiser: torch.optim.Optimizer,
    curves: _Curves,
    compute: Compute,
    label: str,
    log: Log,
) -> int:
    """Restore the last checkpoint that is whole, if there is one; returns the number of finished epochs."""
    for path in (folder / name for name in CHECKPOINTS):
        if not path.is_file():
            continue
        try:
            state = _read_checkpoint(path, compute)
        except _Damaged as damage:
            log.say(f"{label}: {path} is damaged ({damage}) and passed over")
            continue
        _check_key(state["key"], key, folder)
        encoder.load_state_dict(state["encoder"])
        optimiser.load_state_dict(state["optimiser"])
        curves.replay(json.loads(state["curves"]))
        log.say(f"{label}: resumed after epoch {state['epochs']} from {path}")
        return int(state["epochs"])
    return 0


def _finished(folder: Path, label: str, log: Log) -> dict[str, Any] | None:
    """What was written at the end of a training, if it came to its end."""
    path = folder / FINISHED
    if not path.is_file():
        return None
    saved = _read_finished(path)
    if saved is None:
        log.say(f"{label}: {path} is damaged; training anew")
    return saved


def _read_finished(path: Path) -> dict[str, Any] | None:
    """The key and the curves of a finished training; None when they are damaged."""
    try:
        saved = read_json(path)
        curves = [(int(s), {str(k): float(x) for k, x in v.items()}) for s, v in saved["curves"]]
        return {"key": str(saved["key"]), "curves": curves}
    except (UserError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
        return None


def _check_key(found: str, wanted: str, folder: Path) -> None:
    if found != wanted:
        raise UserError(
            f"{folder}: holds a training with other parameters or data; give --overwrite true to train anew, "
            "or another --work_dir"
        )
