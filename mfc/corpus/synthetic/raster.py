"""Ink on paper: splines, strokes whose weight varies, and screentone, drawn larger than life and then shrunk.

Everything is drawn on an 8-bit grey image ``scale`` times the final size, so that shrinking smooths edges.
A curve is given by a few control points and follows a centripetal-like Catmull-Rom spline; sampling a spline
is one product with a cached matrix, which keeps a stroke at a few microseconds.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]
BLACK, WHITE = 0, 255


@functools.lru_cache(maxsize=256)
def spline_matrix(controls: int, samples: int, closed: bool = False) -> Points:
    """(2, samples, controls): turns control points into points and into tangents."""
    spans = controls if closed else controls - 1
    time = np.linspace(0, spans, samples, endpoint=not closed)
    span = np.minimum(time.astype(int), spans - 1)
    t = time - span
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]
    )
    slopes = 0.5 * np.stack(
        [-1 + 4 * t - 3 * t**2, -10 * t + 9 * t**2, 1 + 8 * t - 9 * t**2, -2 * t + 3 * t**2]
    )
    both = np.zeros((2, samples, controls))
    points, tangents = both
    rows = np.arange(samples)
    for offset in range(4):
        column = span + offset - 1
        for matrix, values in ((points, weights[offset]), (tangents, slopes[offset])):
            if closed:
                np.add.at(matrix, (rows, column % controls), values)
                continue
            # An open curve continues straight beyond its ends: p[-1] = 2 p[0] - p[1].
            inside = (column >= 0) & (column < controls)
            np.add.at(matrix, (rows[inside], column[inside]), values[inside])
            for outside, near, next_ in (
                (column < 0, 0, min(1, controls - 1)),
                (column >= controls, controls - 1, max(controls - 2, 0)),
            ):
                np.add.at(matrix, (rows[outside], near), 2 * values[outside])
                np.add.at(matrix, (rows[outside], next_), -values[outside])
    return both


@functools.lru_cache(maxsize=64)
def stroke_profile(samples: int, start: float, end: float) -> Points:
    """Half-width along a stroke (samples,): swells in the middle, thins towards both ends.

    ``start`` and ``end`` are the shares of the full weight at the two ends.
    """
    t = np.linspace(0, 1, samples)
    rise = start + (1 - start) * np.sin(np.minimum(t * 2, 1) * np.pi / 2)
    fall = end + (1 - end) * np.sin(np.minimum((1 - t) * 2, 1) * np.pi / 2)
    return np.asarray(np.minimum(rise, fall) * 0.5)


def curve(controls: Points, samples: int = 16, closed: bool = False) -> Points:
    """Points (samples, 2) along the spline through ``controls`` (k, 2)."""
    return spline_matrix(len(controls), samples, closed)[0] @ controls


def ellipse(x: float, y: float, rx: float, ry: float, samples: int = 20) -> Points:
    return _circle(samples) * (rx, ry) + (x, y)


@functools.lru_cache(maxsize=16)
def _circle(samples: int) -> Points:
    angle = np.linspace(0, 2 * np.pi, samples, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@dataclass(frozen=True)
class Screen:
    """A printed pattern over a whole page, larger than life: dots, lines or hatching; never black alone."""

    image: Image.Image

    def cut(self, box: tuple[int, int, int, int], origin: tuple[int, int]) -> Image.Image:
        x, y = origin
        return self.image.crop((box[0] + x, box[1] + y, box[2] + x, box[3] + y))


def dot_screen(size: tuple[int, int], pitch: float, angle: tuple[int, int], cover: float, ink: int) -> Screen:
    """Dots, ``pitch`` pixels apart on a grid turned by a rational slope, that cover a share of the paper."""
    a, b = angle
    period = max(4, round(pitch * float(np.hypot(a, b))))
    y, x = np.mgrid[0:period, 0:period] * (2 * np.pi / period)
    wave = np.cos(a * x + b * y) + np.cos(-b * x + a * y)
    return _tile(size, wave > np.quantile(wave, 1 - cover), ink)


def line_screen(
    size: tuple[int, int], pitch: float, angle: tuple[int, int], cover: float, ink: int
) -> Screen:
    """Parallel lines; ``angle`` (a, b) is the rational direction across them."""
    a, b = angle
    period = max(4, round(pitch * float(np.hypot(a, b))))
    y, x = np.mgrid[0:period, 0:period] * (2 * np.pi / period)
    wave = np.cos(a * x + b * y)
    return _tile(size, wave > np.quantile(wave, 1 - cover), ink)


def _tile(size: tuple[int, int], inked: NDArray[np.bool_], ink: int) -> Screen:
    width, height = size
    tile = np.where(inked, ink, WHITE).astype(np.uint8)
    across = np.tile(tile, -(-width // len(tile)))[:, :width]
    # Filled row by row into one block of memory, which Pillow takes as it is.
    pixels = np.empty((height, width), np.uint8)
    for y in range(0, height, len(tile)):
        pixels[y : y + len(tile)] = across[: height - y]
    return Screen(Image.fromarray(pixels))


def paste_polygon(target: Image.Image, source: Image.Image, at: tuple[int, int], corners: Points) -> None:
    """Copy ``source`` to ``at``, as far as it lies within a polygon (n, 2) in its own pixels.

    Where the polygon has four corners, clockwise from the top left, its middle is copied without a mask,
    which takes a tenth of the time.
    """
    width, height = source.size
    left, top, right, bottom = 0, 0, width, 0
    if len(corners) == 4:
        left, right = int(corners[[0, 3], 0].max()) + 2, int(corners[[1, 2], 0].min()) - 2
        top, bottom = int(corners[[0, 1], 1].max()) + 2, int(corners[[2, 3], 1].min()) - 2
    mask = Image.new("L", source.size, 0)
    Canvas(mask, at).fill(corners, 255)
    if right <= left or bottom <= top:
        target.paste(source, at, mask)
        return
    target.paste(source.crop((left, top, right, bottom)), (at[0] + left, at[1] + top))
    for box in (
        (0, 0, width, top),
        (0, bottom, width, height),
        (0, top, left, bottom),
        (right, top, width, bottom),
    ):
        target.paste(source.crop(box), (at[0] + box[0], at[1] + box[1]), mask.crop(box))


@dataclass
class Canvas:
    """A piece of a page being drawn: ``origin`` is its place on the enlarged page."""

    image: Image.Image
    origin: tuple[int, int]
    draw: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        self.draw = ImageDraw.Draw(self.image)

    @property
    def size(self) -> tuple[int, int]:
        return self.image.size

    def fill(self, points: Points, grey: int) -> None:
        """Fill the polygon through ``points`` (n, 2), canvas pixels."""
        self.draw.draw.draw_polygon(points.astype(np.float32).ravel(), grey, 1)

    def stroke(
        self, points: Points, tangents: Points, weight: float, ends: tuple[float, float], grey: int
    ) -> None:
        """A line of varying weight (canvas pixels) along ``points``."""
        length = np.sqrt(np.einsum("ij,ij->i", tangents, tangents))
        # Pillow's polygons cover the pixels under their edges, about one pixel more than asked for.
        reach = stroke_profile(len(points), *ends) * (max(weight - 0.8, 0.4) / np.maximum(length, 1e-9))
        offset = np.empty_like(points)
        np.multiply(tangents[:, 1], reach, out=offset[:, 0])
        np.multiply(tangents[:, 0], -reach, out=offset[:, 1])
        self.fill(np.concatenate([points + offset, (points - offset)[::-1]]), grey)

    def tone(self, shapes: list[Points], screen: Screen, holes: list[Points] | None = None) -> None:
        """Lay a screen over the union of ``shapes`` less ``holes``."""
        every = np.concatenate(shapes)
        low, high = every.min(axis=0), every.max(axis=0)
        x0, y0 = (max(0, int(v)) for v in low)
        x1, y1 = (min(limit, int(v) + 2) for v, limit in zip(high, self.size, strict=True))
        if x1 <= x0 or y1 <= y0:
            return
        printed = screen.cut((x0, y0, x1, y1), self.origin)
        mask = Image.new("L", printed.size, 0)
        brush = Canvas(mask, (x0, y0))
        for group, value in ((shapes, 255), (holes or [], 0)):
            for points in group:
                brush.fill(points - (x0, y0), value)
        self.image.paste(printed, (x0, y0), mask)

    def tone_all(self, screen: Screen) -> None:
        """Lay a screen over everything."""
        self.image.paste(screen.cut((0, 0, *self.size), self.origin), (0, 0))


@dataclass(frozen=True)
class Pen:
    """Draws shapes given in figure units: turned, mirrored, scaled and moved onto a canvas."""

    canvas: Canvas
    matrix: Points
    """(2, 2): figure units to canvas pixels."""
    shift: Points
    """(2,): where the figure's origin lies on the canvas."""
    weight: float
    """Ordinary line weight, canvas pixels."""

    def place(self, points: Points) -> Points:
        return points @ self.matrix + self.shift

    def curve(self, controls: Points, samples: int = 16, closed: bool = True) -> Points:
        """Spline through ``controls`` (figure units) as canvas points."""
        return curve(self.place(controls), samples, closed)

    def fill(self, controls: Points, grey: int, samples: int = 24) -> None:
        """Fill the closed spline through ``controls``."""
        self.canvas.fill(self.curve(controls, samples), grey)

    def polygon(self, points: Points, grey: int) -> None:
        """Fill straight between ``points`` (figure units)."""
        self.canvas.fill(self.place(points), grey)

    def line(
        self,
        controls: Points,
        weight: float = 1.0,
        ends: tuple[float, float] = (0.25, 0.25),
        grey: int = BLACK,
        samples: int = 14,
    ) -> None:
        """Stroke the open spline through ``controls``; ``weight`` is relative to the ordinary one."""
        placed = self.place(controls)
        points, tangents = spline_matrix(len(placed), samples) @ placed
        self.canvas.stroke(points, tangents, self.weight * weight, ends, grey)

    def ring(self, controls: Points, weight: float = 1.0, grey: int = BLACK, samples: int = 28) -> None:
        """Stroke the closed spline through ``controls`` with an even weight."""
        points, tangents = spline_matrix(len(controls), samples, True) @ self.place(controls)
        closed = np.arange(samples + 1) % samples
        self.canvas.stroke(points[closed], tangents[closed], self.weight * weight, (1.0, 1.0), grey)
