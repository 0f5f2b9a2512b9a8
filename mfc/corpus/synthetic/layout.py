"""Double pages cut into frames, read from right to left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mfc.corpus.synthetic.presets import Preset, Quantiles
from mfc.corpus.synthetic.style import Style

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Frame:
    """A frame in final page pixels; ``corners`` runs clockwise from the top left."""

    corners: tuple[tuple[float, float], ...]
    bordered: bool = True

    @property
    def box(self) -> Box:
        xs, ys = zip(*self.corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


def quantile(table: Quantiles, u: float) -> float:
    """The value below which a share ``u`` of the distribution lies."""
    shares, values = zip(*table, strict=True)
    return float(np.interp(u, shares, values))


def draw_frames(rng: np.random.Generator, preset: Preset, style: Style) -> list[Frame]:
    """The frames of one double page in reading order: right page first, top down, right to left."""
    count = max(1, round(quantile(preset.frames, float(rng.random()))))
    width, height = preset.width, preset.height
    margin = 0.03 * height
    if count == 1:
        inset = 0.0 if rng.random() < 0.5 else margin
        return [Frame(_corners(inset, inset, width - inset, height - inset), inset > 0)]
    right = int(np.clip(round(count / 2 + rng.normal(0, 0.7)), 1, count - 1))
    fold = 0.018 * width
    half = width / 2
    frames: list[Frame] = []
    for frames_here, left in ((right, half + fold), (count - right, margin)):
        area = (left, margin, left + half - fold - margin, height - margin)
        frames += _page(rng, frames_here, area, preset, style)
    return frames


def _corners(x0: float, y0: float, x1: float, y1: float) -> tuple[tuple[float, float], ...]:
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


def _page(rng: np.random.Generator, count: int, area: Box, preset: Preset, style: Style) -> list[Frame]:
    x0, y0, x1, y1 = area
    rows = _rows(rng, count)
    heights = np.array([rng.uniform(0.75, 1.3) * (1.15 if n == 1 else 1.0) for n in rows])
    ys = y0 + (y1 - y0) * np.concatenate([[0], np.cumsum(heights / heights.sum())])
    gap_x, gap_y = style.gutter * preset.height * 0.5, style.gutter * preset.height * 0.85
    # Slanted gutters: the line between two rows falls by `tilt` from left to right.
    tilts = np.concatenate(
        [[0], rng.normal(0, style.slant * 0.5, len(rows) - 1) * (rng.random(len(rows) - 1) < 0.5), [0]]
    ) * (y1 - y0)
    frames: list[Frame] = []
    for row, columns in enumerate(rows):
        widths = rng.uniform(0.65, 1.45, columns)
        xs = x0 + (x1 - x0) * np.concatenate([[0], np.cumsum(widths / widths.sum())])
        leans = rng.normal(0, style.slant * (x1 - x0) * 0.5, columns + 1) * (rng.random(columns + 1) < 0.4)
        leans[[0, -1]] = 0

        def level(line: int, x: float) -> float:
            return float(ys[line] + tilts[line] * ((x - x0) / (x1 - x0) - 0.5))

        for column in reversed(range(columns)):
            left, right = xs[column], xs[column + 1]
            inner_left = gap_x if column else 0.0
            inner_right = gap_x if column < columns - 1 else 0.0
            corners = []
            for x, lean, shift, line, sign in (
                (left, leans[column], inner_left, row, -1),
                (right, leans[column + 1], -inner_right, row, -1),
                (right, leans[column + 1], -inner_right, row + 1, 1),
                (left, leans[column], inner_left, row + 1, 1),
            ):
                at = float(x + lean * sign * 0.5 + shift)
                edge = line in (0, len(rows))
                corners.append((at, level(line, at) - (0 if edge else sign * gap_y)))
            frames.append(Frame(tuple(corners), bool(rng.random() > 0.06)))
    return frames


def _rows(rng: np.random.Generator, count: int) -> list[int]:
    """Split ``count`` frames into rows of one to three."""
    if count <= 2:
        return [1] * count if rng.random() < 0.8 else [count]
    low, high = -(-count // 3), min(count, 4 if count < 9 else 5)
    wanted = int(np.clip(round(count / rng.uniform(1.35, 2.1)), low, high))
    rows = [1] * wanted
    for _ in range(count - wanted):
        open_rows = [i for i, n in enumerate(rows) if n < 3]
        rows[int(rng.choice(open_rows))] += 1
    return rows
