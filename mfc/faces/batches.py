"""Batches of faces: read, cut, mirrored and normalised for the network.

torch is imported inside the functions that use it, so that processes that only cut pages start without it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mfc.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Choices:
    """What is done to each of n faces: where to cut, whether to mirror, which exponent (None: no gamma)."""

    top: torch.Tensor
    """(n,) int64, pixels of the resized crop."""
    left: torch.Tensor
    """(n,) int64, pixels of the resized crop."""
    flip: torch.Tensor
    """(n,) bool."""
    exponent: torch.Tensor | None
    """(n,) float32, for values in 0..1."""


def resized_side(image_size: int) -> int:
    """The side to which a crop is stretched before ``image_size`` is cut from it: 256 for 224."""
    return round(image_size * 8 / 7)


def draw_choices(n: int, *, margin: int, gamma: float, generator: torch.Generator) -> Choices:
    """Random choices for n faces: place 0..margin, mirrored or not, exponent uniform in 1/gamma..gamma.

    ``margin`` is ``resized_side(image_size) - image_size``; ``gamma=1`` means no gamma.
    """
    import torch

    top = torch.randint(0, margin + 1, (n,), generator=generator)
    left = torch.randint(0, margin + 1, (n,), generator=generator)
    flip = torch.rand(n, generator=generator) < 0.5
    if gamma == 1:
        return Choices(top, left, flip, None)
    return Choices(top, left, flip, gamma_exponent(torch.rand(n, generator=generator), gamma))


def gamma_exponent(u: torch.Tensor, gamma: float) -> torch.Tensor:
    """The exponents that uniform draws in [0, 1) give."""
    return 1 / gamma + u * (gamma - 1 / gamma)


def apply_gamma(values: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """Values (n, ...) in 0..1, each item raised to its own exponent (n,)."""
    return values ** exponent.view(-1, *[1] * (values.ndim - 1))


def centre_choices(n: int, margin: int) -> Choices:
    """The choices of evaluation: the centre, not mirrored, no gamma."""
    import torch

    place = torch.full((n,), round(margin / 2))
    return Choices(place, place, torch.zeros(n, dtype=torch.bool), None)


def transform(
    crops: torch.Tensor,
    choices: Choices,
    *,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> torch.Tensor:
    """Stretch, cut, mirror, scale to 0..1, raise to the exponent, normalise: each face by its own choices.

    ``crops``: (n, S, S, C) uint8 on any device, C = 1 or 3. Returns (n, 3, image_size, image_size) float32 on
    the same device, channels_last in memory. A crop whose side is not `resized_side` of ``image_size`` is
    stretched to it first, bilinear with antialiasing, within one level of Pillow.
    """
    crops = _stretch(crops, resized_side(image_size))
    work = _transform_on_cpu if crops.is_cpu else _transform_whole_batch
    return work(crops, choices, image_size, mean, std).permute(0, 3, 1, 2)


def _stretch(crops: torch.Tensor, side: int) -> torch.Tensor:
    import torch
    from torch.nn import functional

    if crops.shape[1] == side or not len(crops):
        return crops
    if not (crops.is_cpu or crops.is_cuda):  # not every device can antialias
        return _stretch(crops.cpu(), side).to(crops.device)
    images = crops.permute(0, 3, 1, 2)
    if crops.is_cuda:  # only the CPU interpolates bytes
        images = images.float()
    images = functional.interpolate(
        images, (side, side), mode="bilinear", antialias=True, align_corners=False
    )
    return images.round().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _transform_whole_batch(
    crops: torch.Tensor, choices: Choices, image_size: int, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """(n, image_size, image_size, 3) float32 by a handful of operations on all faces at once."""
    import torch

    n, side, _, channels = crops.shape
    device = crops.device
    flip = choices.flip.to(device, non_blocking=True)[:, None]
    steps = torch.arange(image_size, device=device)
    y = choices.top.to(device, non_blocking=True)[:, None] + steps
    x = choices.left.to(device, non_blocking=True)[:, None] + torch.where(flip, steps.flip(0), steps)
    pixels = (torch.arange(n, device=device)[:, None, None] * side + y[:, :, None]) * side + x[:, None, :]
    values = crops.reshape(-1, channels)[pixels].float().div_(255)
    if choices.exponent is not None:
        values = apply_gamma(values, choices.exponent.to(device, non_blocking=True))
    centre, scale = (torch.tensor(v, dtype=torch.float32).to(device, non_blocking=True) for v in (mean, std))
    return (values - centre) / scale


def _transform_on_cpu(
    crops: torch.Tensor, choices: Choices, image_size: int, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """The same, face by face: one face stays in the cache, so this is several times as fast as whole batches.

    A byte has 256 values: everything after the cut is one look-up in a table per face and channel.
    """
    import torch

    n, _, _, channels = crops.shape
    tables = _value_tables(choices, n, channels, mean, std)
    # NumPy asks for huge pages, torch does not: touching fresh memory is what takes longest here.
    out = torch.from_numpy(np.empty((n, image_size, image_size, 3), np.float32))
    cut = torch.empty((image_size, image_size, channels), dtype=torch.uint8)
    index = torch.empty((image_size, image_size * channels), dtype=torch.int32)
    offset = (torch.arange(channels, dtype=torch.int32) * 256).repeat(image_size)
    places = zip(choices.top.tolist(), choices.left.tolist(), choices.flip.tolist(), strict=True)
    for i, (top, left, flip) in enumerate(places):
        window = crops[i, top : top + image_size, left : left + image_size]
        cut.copy_(window.flip(1) if flip else window)
        torch.add(cut.view(index.shape), offset, out=index)
        torch.index_select(tables[i], 0, index.view(-1), out=out[i].view(-1, *tables.shape[2:]))
    return out


def _value_tables(
    choices: Choices, n: int, channels: int, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """(n, 768): the three channels' values one after the other; for grey faces (n, 256, 3)."""
    import torch

    values = torch.arange(256, dtype=torch.float32).div_(255).expand(n, 256)
    if choices.exponent is not None:
        values = apply_gamma(values, choices.exponent)
    tables = (values[:, :, None] - torch.tensor(mean)) / torch.tensor(std)
    return tables if channels == 1 else tables.transpose(1, 2).reshape(n, 768)


def _refuse_cut_off(crops: npt.NDArray[np.uint8]) -> None:
    """Reading what a mapped file has no more would end the process without a word (SIGBUS)."""
    path = getattr(crops, "filename", None)
    if path is not None:
        wanted = crops.offset + crops.nbytes  # type: ignore[attr-defined]
        if Path(path).stat().st_size < wanted:
            raise UserError(
                f"{path} was cut off while it was in use; run `mfc preprocess --overwrite true`, and repeat"
            )


def batches(
    crops: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    *,
    batch_size: int,
    device: torch.device | str,
    prefetch: int = 2,
) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
    """Read ``crops[rows]`` in the order of ``rows``; yields positions in ``rows`` (b,), crops (b, S, S, C).

    A thread reads ``prefetch`` batches ahead, into pinned memory for CUDA, where the copy overlaps with
    computing. It ends with the iterator, also when that is abandoned; its errors are raised here.
    """
    import torch

    device = torch.device(device)
    ready: queue.Queue[tuple[npt.NDArray[np.int64], torch.Tensor] | BaseException | None]
    ready = queue.Queue(maxsize=max(prefetch, 1))
    stop = threading.Event()

    def put(item: tuple[npt.NDArray[np.int64], torch.Tensor] | BaseException | None) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def read() -> None:
        try:
            for start in range(0, len(rows), batch_size):
                if stop.is_set():
                    return
                _refuse_cut_off(crops)
                chosen = rows[start : start + batch_size]
                batch = torch.empty(
                    (len(chosen), *crops.shape[1:]), dtype=torch.uint8, pin_memory=device.type == "cuda"
                )
                np.take(crops, chosen, axis=0, out=batch.numpy(), mode="clip")  # "raise" would copy twice
                put((np.arange(start, start + len(chosen)), batch))
            put(None)
        except BaseException as error:
            put(error)

    if len(rows) and (rows.min() < 0 or rows.max() >= len(crops)):
        raise IndexError(f"rows must lie in 0..{len(crops) - 1}")
    reader = threading.Thread(target=read, name="mfc-batches", daemon=True)
    reader.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0], item[1].to(device, non_blocking=True)
    finally:
        stop.set()
        reader.join()
