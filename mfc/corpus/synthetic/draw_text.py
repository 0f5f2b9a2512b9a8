"""Speech balloons and lettering that looks like text from a distance, and sound effects."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from mfc.corpus.synthetic.raster import BLACK, WHITE, Canvas, Points, curve, spline_matrix
from mfc.corpus.synthetic.story import Text
from mfc.corpus.synthetic.style import Style


def glyphs(rng: np.random.Generator, side: int, count: int = 48) -> tuple[Image.Image, ...]:
    """Masks (side x side) of invented characters: some plain as kana, some dense as kanji."""
    result = []
    for number in range(count):
        mask = Image.new("L", (side, side), 0)
        draw = ImageDraw.Draw(mask)
        width = max(1, round(side * 0.085))
        strokes = int(rng.integers(2, 4)) if number % 2 else int(rng.integers(4, 9))
        for _ in range(strokes):
            kind = rng.random()
            a = rng.uniform(0.08, 0.92, 2) * side
            if kind < 0.4:
                b = np.array([rng.uniform(0.5, 0.92) * side, a[1] + rng.normal(0, 0.03) * side])
                a[0] = rng.uniform(0.08, 0.4) * side
            elif kind < 0.7:
                b = np.array([a[0] + rng.normal(0, 0.04) * side, rng.uniform(0.55, 0.92) * side])
                a[1] = rng.uniform(0.08, 0.4) * side
            else:
                b = rng.uniform(0.08, 0.92, 2) * side
            bent = (a + b) / 2 + rng.normal(0, 0.07 if number % 2 == 0 else 0.2, 2) * side
            points = curve(np.stack([a, bent, b]), 8)
            draw.line(points.ravel().tolist(), fill=255, width=width)
        result.append(mask)
    return tuple(result)


def draw_text(
    canvas: Canvas,
    text: Text,
    style: Style,
    letters: tuple[Image.Image, ...],
    times: int,
    rng: np.random.Generator,
) -> None:
    x0, y0, x1, y1 = (v * times for v in text.box)
    if text.kind == "sound":
        _sound(canvas, (x0, y0, x1, y1), len(text.text), times, rng)
        return
    if text.kind == "caption":
        pad = 3 * times
        canvas.draw.rectangle(
            (x0 - pad, y0 - pad, x1 + pad, y1 + pad), fill=WHITE, outline=BLACK, width=max(1, times - 1)
        )
    else:
        _balloon(canvas, (x0, y0, x1, y1), text.kind, style, times, rng)
    side = letters[0].width
    step = side * 1.09
    columns = max(1, int((x1 - x0) / (side * 1.15) + 0.3))
    rows = max(1, int((y1 - y0) / step))
    left = len(text.text)
    for column in range(columns):
        x = round(x1 - (column + 1) * (x1 - x0) / columns + ((x1 - x0) / columns - side) / 2)
        for row in range(min(rows, left)):
            canvas.image.paste(BLACK, (x, round(y0 + row * step)), letters[int(rng.integers(len(letters)))])
        left -= rows
        if left <= 0:
            break


def _balloon(
    canvas: Canvas,
    box: tuple[float, float, float, float],
    kind: str,
    style: Style,
    times: int,
    rng: np.random.Generator,
) -> None:
    x0, y0, x1, y1 = box
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    rx, ry = (x1 - x0) * 0.66 + 4 * times, (y1 - y0) * 0.62 + 5 * times
    n = 36
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    radius = np.ones(n)
    if kind == "shout":
        radius = np.where(np.arange(n) % 2, 1.28 + 0.15 * rng.random(n), 0.94)
    elif kind == "thought" or style.balloon == 1:
        radius = 1.02 + 0.05 * np.cos(9 * angle + rng.uniform(0, 6))
    power = {2: 0.75, 3: 0.45}.get(style.balloon, 1.0)
    cos, sin = np.cos(angle), np.sin(angle)
    shape = np.stack(
        [
            np.sign(cos) * np.abs(cos) ** power * rx * radius,
            np.sign(sin) * np.abs(sin) ** power * ry * radius,
        ],
        axis=1,
    )
    if kind == "balloon":
        tail = int(rng.choice([7, 8, 9, 10, 11, 25, 26, 28]))
        shape[tail] *= 1.0 + 12 * times / max(rx, ry) + rng.uniform(0.05, 0.25)
    shape = shape + centre
    points: Points = shape if kind in ("shout", "balloon") else curve(shape, 72, True)
    if kind == "balloon":
        matrix = spline_matrix(n, 108, True)[0]
        points = matrix @ shape
    canvas.fill(points, WHITE)
    edge = np.concatenate([points, points[:1]])
    canvas.draw.line(edge.ravel().tolist(), fill=BLACK, width=max(2, round(1.05 * times)), joint="curve")


def _sound(
    canvas: Canvas, box: tuple[float, float, float, float], count: int, times: int, rng: np.random.Generator
) -> None:
    """Large angular strokes with a white rim."""
    x0, y0, x1, y1 = box
    count = max(1, count)
    vertical = (y1 - y0) > (x1 - x0)
    for k in range(count):
        if vertical:
            cell = (x0, y0 + (y1 - y0) * k / count, x1, y0 + (y1 - y0) * (k + 1) / count)
        else:
            cell = (x0 + (x1 - x0) * k / count, y0, x0 + (x1 - x0) * (k + 1) / count, y1)
        size = np.array([cell[2] - cell[0], cell[3] - cell[1]])
        strokes = [np.array(cell[:2]) + rng.uniform(0.08, 0.92, (3, 2)) * size for _ in range(3)]
        wide = max(2.0, 0.16 * float(size.min()))
        for grow, grey in ((2.2 * times, WHITE), (0.0, BLACK)):
            for points in strokes:
                line = points.ravel().tolist()
                canvas.draw.line(line, fill=grey, width=round(wide + grow), joint="curve")
