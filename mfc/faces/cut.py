"""Cut faces out of pages: the rule of the reference, and what a worker process does with a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from mfc.corpus.pictures import Size, read_page, scale_to_picture

if TYPE_CHECKING:
    from PIL.Image import Image

    from mfc.corpus.manga109 import Box

TOO_SMALL, SWAPPED = "too small", "corners swapped"
MISSING, UNREADABLE, OUTSIDE = "missing image", "unreadable image", "outside image"
"""The values of ``drop_reason``: what the annotation tells, and what the picture."""


def expand_box(box: Sequence[int], page_size: Sequence[int]) -> tuple[int, int, int, int]:
    """The box grown by half its width (rounded down) to left and right, by half its height up and down.

    ``box`` and the result: xmin, ymin, xmax, ymax in page pixels, the maxima exclusive; the result is clipped
    to ``page_size``, width and height (rule of the reference).
    """
    dx, dy = (box[2] - box[0]) // 2, (box[3] - box[1]) // 2
    left, top = max(box[0] - dx, 0), max(box[1] - dy, 0)
    return left, top, min(box[2] + dx, page_size[0]), min(box[3] + dy, page_size[1])


def stretch(image: Image, size: int, channels: int) -> npt.NDArray[np.uint8]:
    """An image of mode L or RGB as a crop of the store: (size, size, channels) uint8.

    Both sides are stretched, bilinear with antialiasing.
    """
    from PIL import Image as images

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


@dataclass(frozen=True)
class PageTask:
    """A page to decode and what to cut from it: rows of the crops, face boxes, and names for the export."""

    title: str
    index: int
    path: Path
    size: tuple[int, int]
    rows: tuple[int, ...]
    boxes: tuple[Box, ...]
    exports: tuple[str, ...]
    expand: bool = True

    @property
    def name(self) -> str:
        """The picture as problems name it."""
        return "/".join(self.path.parts[-3:])


@dataclass(frozen=True)
class PageDone:
    """What came of a page: per face the expanded box or None, why faces are lost, what is odd about it."""

    task: PageTask
    crop_boxes: tuple[Box | None, ...]
    drop_reason: str | None
    problem: str | None


@dataclass(frozen=True)
class Target:
    """Where the workers write."""

    crops: Path
    offset: int
    """Bytes before the first crop."""
    size: int
    channels: int
    exports: Path | None


def cut_pages(work: tuple[list[PageTask], Target]) -> list[PageDone]:
    """Cut some pages into the crops file."""
    tasks, target = work
    # Plain writes: mapped pages would each be zeroed and faulted in before they are overwritten.
    with target.crops.open("r+b") as file:
        return [_cut_page(task, file, target) for task in tasks]


def _cut_page(task: PageTask, file: BinaryIO, target: Target) -> PageDone:
    """Decode a page and write its faces to their rows of the crops."""
    nothing = (None,) * len(task.boxes)
    try:
        page = read_page(task.path)
    except FileNotFoundError:
        return PageDone(task, nothing, MISSING, f"{task.name} is missing")
    except OSError as error:
        return PageDone(task, nothing, UNREADABLE, f"{task.name} cannot be used: {error}")
    size, scale, problem = _fit(task, page.size)
    crop_boxes: list[Box | None] = []
    for row, box, export in zip(task.rows, task.boxes, task.exports, strict=True):
        crop_box = expand_box(box, size) if task.expand else box
        left, top, right, bottom = (round(side * scale[i % 2]) for i, side in enumerate(crop_box))
        right, bottom = min(right, page.width), min(bottom, page.height)
        if left >= right or top >= bottom:
            crop_boxes.append(None)
            continue
        cut = page.crop((left, top, right, bottom))
        crop = stretch(cut, target.size, target.channels)
        file.seek(target.offset + row * crop.nbytes)
        file.write(crop.data)
        if target.exports:
            cut.save(target.exports / export, compress_level=1)
        crop_boxes.append(crop_box)
    return PageDone(task, tuple(crop_boxes), OUTSIDE if None in crop_boxes else None, problem)


def _fit(task: PageTask, picture: Size) -> tuple[Size, tuple[float, float], str | None]:
    """The size to which boxes are clipped, what they are multiplied by for the picture, and what is odd."""
    if min(task.size) <= 0:
        size = f"{task.size[0]}x{task.size[1]}"
        return picture, (1, 1), f"{task.name}: page of size {size}; the picture's size is used"
    if task.size == picture:
        return picture, (1, 1), None
    problem = f"{task.name} has {picture[0]}x{picture[1]} pixels, not {task.size[0]}x{task.size[1]}"
    scale = scale_to_picture(task.size, picture)
    if scale is None or max(abs(a - b) for a, b in zip(task.size, picture, strict=True)) <= 1:
        return task.size, (1, 1), problem  # as the reference does: where the picture ends, so does the cut
    return task.size, scale, f"{problem}; the boxes are scaled to it"
