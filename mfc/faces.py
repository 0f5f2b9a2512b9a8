"""The face store, and batches of faces: read, cropped, flipped and normalised for the network.

A store is a folder with ``faces.parquet`` (a row per annotated face), ``crops.npy`` (the kept faces, memory
mapped) and ``store.json``, which is written last: where it is, the store is complete.
torch is imported inside the functions that use it, so that processes that only cut pages start without it.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import queue
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mfc.config import SPLITS
from mfc.errors import UserError
from mfc.files import value_digest, write_json

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from PIL.Image import Image

SCHEMA = 1
COLUMNS: Mapping[str, str] = {
    "face_id": "str",
    "title": "str",
    "split": "str",
    "page_index": "int32",
    "frame_id": "str",  # missing: the face overlaps no frame
    "character_id": "str",
    "character_name": "str",  # missing: the book does not declare the character
    "is_other": "bool",
    "xmin": "int32",
    "ymin": "int32",
    "xmax": "int32",
    "ymax": "int32",
    "crop_xmin": "Int32",  # the expanded box; missing: dropped
    "crop_ymin": "Int32",
    "crop_xmax": "Int32",
    "crop_ymax": "Int32",
    "row": "Int64",  # index into the crops; missing: dropped
    "drop_reason": "str",  # missing: kept
}


@dataclass(frozen=True, eq=False)
class FaceStore:
    """An opened store. ``crops``: (n, S, S, C) uint8, C = 1 or 3, RGB, read from the disk as it is used."""

    path: Path
    table: pd.DataFrame
    crops: npt.NDArray[np.uint8]
    meta: dict[str, Any]

    def titles(self, split: str) -> list[str]:
        """The titles of a split in their order: ``title_idx`` counts in it."""
        if split not in SPLITS:
            raise UserError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        return list(self.meta["splits"][split])

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change with the corpus, the splits and every parameter of preprocessing."""
        return value_digest({key: self.meta.get(key) for key in ("corpus", "parameters", "splits")})


def open_store(path: Path) -> FaceStore:
    """Open the store in a folder; `UserError` when it is not there, incomplete or of another schema."""
    import pandas as pd

    path = Path(path)
    remedy = "make it by `mfc preprocess`"
    try:
        meta = json.loads((path / "store.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        state = "is an incomplete face store (no store.json)" if path.is_dir() else "is not there"
        raise UserError(f"face store {path} {state}; {remedy}") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{path / 'store.json'} is damaged; {remedy} --overwrite true") from None
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        raise UserError(
            f"{path / 'store.json'} has another schema than {SCHEMA}, which this version reads; "
            f"{remedy} --overwrite true"
        )
    try:
        table = pd.read_parquet(path / "faces.parquet")
        crops = _map_crops(path / "crops.npy")
    except (OSError, ValueError) as error:
        raise UserError(f"face store {path} is damaged ({error}); {remedy} --overwrite true") from None
    if list(table.columns) != list(COLUMNS) or int(table["row"].notna().sum()) != len(crops):
        raise UserError(f"face store {path} is damaged (table and crops disagree); {remedy} --overwrite true")
    return FaceStore(path, table, crops, meta)


def _map_crops(path: Path) -> npt.NDArray[np.uint8]:
    if path.stat().st_size == 0:
        raise ValueError(f"{path.name} is empty")
    crops = np.load(path, mmap_mode="r", allow_pickle=False)
    if (
        crops.dtype != np.uint8
        or crops.ndim != 4
        or crops.shape[1] != crops.shape[2]
        or crops.shape[3] not in (1, 3)
    ):
        raise ValueError(f"{path.name} has shape {crops.shape} and type {crops.dtype}")
    return crops


def expand_box(box: Sequence[int], page_size: Sequence[int]) -> tuple[int, int, int, int]:
    """The box grown by half its width (rounded down) to left and right, by half its height up and down.

    ``box`` and the result: xmin, ymin, xmax, ymax in page pixels, the maxima exclusive; the result is clipped
    to ``page_size``, width and height (rule of the reference).
    """
    dx, dy = (box[2] - box[0]) // 2, (box[3] - box[1]) // 2
    left, top = max(box[0] - dx, 0), max(box[1] - dy, 0)
    return left, top, min(box[2] + dx, page_size[0]), min(box[3] + dy, page_size[1])


def stretch(image: Image, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """An image as a crop of the store: (size, size, channels) uint8, both sides stretched, antialiased."""
    from PIL import Image as images

    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    if image.mode == "RGB":
        red, green, blue = image.split()
        # Scans are often grey in three channels: stretching one of them gives the same.
        if red.tobytes() == green.tobytes() == blue.tobytes():
            image = red
        elif channels == 1:
            image = image.convert("L")
    image = image.resize((size, size), images.Resampling.BILINEAR)
    if image.mode == "L" and channels == 3:
        image = images.merge("RGB", (image, image, image))
    return np.asarray(image).reshape(size, size, channels)


@contextlib.contextmanager
def new_store(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well.

    The block writes ``crops.npy`` there and calls `finish_store`. A store that was at ``path`` is replaced;
    when the block fails, it is untouched and nothing is left behind.
    """
    import psutil  # type: ignore[import-untyped]

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.part"):  # of runs that were killed
        process = stale.name.split(".")[-2]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(stale, ignore_errors=True)
    folder = path.with_name(f".{path.name}.{os.getpid()}.part")
    folder.mkdir()
    try:
        yield folder
        if not (folder / "store.json").is_file():
            raise RuntimeError("the block must call finish_store")
        old = folder.with_suffix(".old")
        if path.exists():
            path.rename(old)
        folder.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def new_crops(folder: Path, n: int, size: int, channels: int) -> np.memmap:
    """``crops.npy`` for ``n`` faces, writable and memory mapped, all zero."""
    return np.lib.format.open_memmap(
        folder / "crops.npy", mode="w+", dtype=np.uint8, shape=(n, size, size, channels)
    )


def finish_store(folder: Path, table: pd.DataFrame, meta: Mapping[str, Any]) -> None:
    """Write the table and, last, ``store.json``. ``meta`` holds at least ``splits``."""
    numbers = {name: kind for name, kind in COLUMNS.items() if kind != "str"}
    ordered = table[list(COLUMNS)].astype(numbers)
    for name in COLUMNS.keys() - numbers.keys():
        # Not astype("str"): before pandas 3 that makes the text "None" of a missing value.
        ordered[name] = table[name].astype(object).where(table[name].notna(), None)
    ordered.to_parquet(folder / "faces.parquet", index=False)
    write_json(folder / "store.json", {"schema": SCHEMA, **meta})


@dataclass(frozen=True, eq=False)
class Selection:
    """Labelled faces of some titles, aligned: the i-th row, label and line of ``faces`` are one face.

    ``rows``: (n,) int64 into the store's crops. ``labels``: (n,) int64 into ``classes``, the sorted character
    ids. ``faces``: their lines of the store's table.
    """

    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    faces: pd.DataFrame


def select(store: FaceStore, titles: Sequence[str], *, others: bool, min_faces: int = 0) -> Selection:
    """The kept faces of declared characters in ``titles``, in the order of the store.

    ``others=False`` leaves out the characters that are nobody in particular. A character needs ``min_faces``
    kept faces. Raises `UserError` for a title that the store does not have.
    """
    known = {title for split in SPLITS for title in store.meta["splits"][split]}
    for title in titles:
        if title not in known:
            raise UserError(
                f"face store {store.path} has no title {title!r}; it has {', '.join(sorted(known))}"
            )
    table = store.table
    wanted = table["title"].isin(list(titles)) & table["row"].notna() & table["character_name"].notna()
    if not others:
        wanted &= ~table["is_other"]
    faces = table[wanted]
    counts = faces["character_id"].map(faces["character_id"].value_counts())
    faces = faces[counts >= min_faces].reset_index(drop=True)
    classes, labels = np.unique(faces["character_id"].to_numpy(dtype=object).astype(str), return_inverse=True)
    return Selection(
        rows=faces["row"].to_numpy(dtype=np.int64),
        labels=labels.astype(np.int64),
        classes=tuple(str(c) for c in classes),
        faces=faces,
    )


def page_and_frame_codes(faces: pd.DataFrame) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """What the constraints of one title need: page numbers (n,) and frame codes (n,), -1 for "no frame"."""
    codes, _ = faces["frame_id"].factorize()
    return faces["page_index"].to_numpy(dtype=np.int32), codes.astype(np.int32)


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
