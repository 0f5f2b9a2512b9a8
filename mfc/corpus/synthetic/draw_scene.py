"""What is behind the figures: places, speed lines, focus lines, sparkle and gloom."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mfc.corpus.synthetic.raster import BLACK, WHITE, Canvas, Screen, curve, ellipse
from mfc.corpus.synthetic.story import Scenery


def draw_place(canvas: Canvas, scenery: Scenery, tones: Mapping[str, Screen], times: int) -> None:
    rng = np.random.default_rng([scenery.seed, 5])
    width, height = canvas.size
    kind = scenery.place
    thin = max(1, round(0.7 * times))
    line = canvas.draw.line
    if kind == "tone":
        canvas.tone_all(tones[str(rng.choice(["light", "light", "mid"]))])
    elif kind == "gradient":
        edge = height * rng.uniform(0.3, 0.7)
        for step, tone in enumerate(("light", "mid")):
            y = edge * (1 - 0.5 * step)
            canvas.tone(
                [np.array([(0, 0), (width, 0), (width, y * 0.9), (width / 2, y), (0, y * 1.05)])], tones[tone]
            )
    elif kind == "room":
        floor = height * rng.uniform(0.65, 0.9)
        line((0, floor, width, floor), fill=BLACK, width=thin)
        for _ in range(int(rng.integers(1, 4))):
            x, w = rng.uniform(0, 0.8) * width, rng.uniform(0.12, 0.3) * width
            y, h = rng.uniform(0.02, 0.3) * height, rng.uniform(0.2, 0.5) * height
            canvas.draw.rectangle((x, y, x + w, y + h), outline=BLACK, width=thin)
            line((x + w / 2, y, x + w / 2, y + h), fill=BLACK, width=thin)
            if rng.random() < 0.5:
                canvas.tone([np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])], tones["light"])
    elif kind == "street":
        x = -rng.uniform(0, 0.1) * width
        while x < width:
            w, top = rng.uniform(0.1, 0.26) * width, rng.uniform(0.05, 0.6) * height
            canvas.draw.rectangle((x, top, x + w, height), fill=WHITE, outline=BLACK, width=thin)
            if rng.random() < 0.45:
                canvas.tone(
                    [np.array([(x, top), (x + w, top), (x + w, height), (x, height)])],
                    tones[str(rng.choice(["light", "grained"]))],
                )
            pane = max(6.0 * times, w / 4)
            for wx in np.arange(x + pane * 0.4, x + w - pane * 0.6, pane):
                for wy in np.arange(top + pane * 0.5, height, pane * 1.5):
                    canvas.draw.rectangle(
                        (wx, wy, wx + pane * 0.5, wy + pane * 0.7),
                        fill=BLACK if rng.random() < 0.2 else WHITE,
                        outline=BLACK,
                        width=thin,
                    )
            x += w
    elif kind == "trees":
        for _ in range(int(rng.integers(3, 7))):
            cx, cy, r = (
                rng.uniform(0, 1) * width,
                rng.uniform(0.1, 0.7) * height,
                rng.uniform(0.12, 0.3) * height,
            )
            angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
            shape = np.stack(
                [
                    cx + r * np.cos(angle) * (1 + 0.1 * np.cos(8 * angle + cx)),
                    cy + 0.8 * r * np.sin(angle) * (1 + 0.1 * np.sin(9 * angle)),
                ],
                1,
            )
            line((cx, cy, cx, height), fill=BLACK, width=3 * thin)
            leaves = curve(shape, 60, True)
            canvas.fill(leaves, WHITE)
            canvas.tone([leaves], tones[str(rng.choice(["light", "mid", "hatched"]))])
            line(np.concatenate([leaves, leaves[:1]]).ravel().tolist(), fill=BLACK, width=thin)
    elif kind == "sky":
        canvas.tone_all(tones["light"])
        for _ in range(int(rng.integers(2, 5))):
            cx, cy, r = (
                rng.uniform(0, 1) * width,
                rng.uniform(0.05, 0.6) * height,
                rng.uniform(0.06, 0.16) * width,
            )
            for k in range(4):
                canvas.fill(
                    ellipse(cx + (k - 1.5) * r * 0.7, cy - (k % 2) * r * 0.2, r * 0.6, r * 0.35), WHITE
                )
    elif kind == "night":
        canvas.image.paste(BLACK, (0, 0, width, height))
        for _ in range(30):
            x, y = rng.uniform(0, width), rng.uniform(0, height)
            r = rng.uniform(0.4, 1.1) * times
            canvas.fill(ellipse(x, y, r, r, 6), WHITE)


def draw_effect(
    canvas: Canvas,
    scenery: Scenery,
    tones: Mapping[str, Screen],
    times: int,
    centres: list[tuple[float, float]],
) -> None:
    if not scenery.effect:
        return
    rng = np.random.default_rng([scenery.seed, 6])
    width, height = canvas.size
    centre = np.array(centres[0] if centres else (width / 2, height / 2))
    span = float(np.hypot(width, height))
    ink = WHITE if scenery.place == "night" else BLACK
    if scenery.effect in ("focus", "flash"):
        count = 70 if scenery.effect == "focus" else 110
        angle = np.sort(rng.uniform(0, 2 * np.pi, count))
        start = span * rng.uniform(0.22, 0.4, count) * (1.0 if scenery.effect == "focus" else 0.8)
        ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        side = ray[:, ::-1] * (-1, 1) * (span * rng.uniform(0.003, 0.014, count))[:, None]
        inner, outer = centre + ray * start[:, None], centre + ray * span
        for triangle in np.stack([inner, outer + side, outer - side], axis=1):
            canvas.fill(triangle, ink)
    elif scenery.effect == "speed":
        slope = rng.normal(0, 0.15)
        for _ in range(45):
            y, x = rng.uniform(-0.1, 1.1) * height, rng.uniform(-0.5, 0.7) * width
            length, w = rng.uniform(0.3, 0.9) * width, rng.uniform(0.3, 1.3) * times
            canvas.fill(np.array([(x, y - w), (x + length, y + slope * length), (x, y + w)]), ink)
    elif scenery.effect == "sparkle":
        for _ in range(14):
            x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(3, 12) * times
            star = np.array(
                [(0, -1), (0.16, -0.16), (1, 0), (0.16, 0.16), (0, 1), (-0.16, 0.16), (-1, 0), (-0.16, -0.16)]
            )
            canvas.fill(star * r * (0.6, 1) + (x, y), WHITE if rng.random() < 0.5 else BLACK)
    elif scenery.effect == "gloom":
        for x in np.arange(0, width, 5.0 * times):
            bottom = height * rng.uniform(0.15, 0.45)
            canvas.fill(np.array([(x - 0.5 * times, 0), (x + 0.5 * times, 0), (x, bottom)]), ink)
