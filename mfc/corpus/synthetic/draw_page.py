"""A double page from its plan: frames with scenery and figures, balloons over them, then print and scan."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mfc.corpus.synthetic.draw_figure import draw_figure
from mfc.corpus.synthetic.draw_scene import draw_effect, draw_place
from mfc.corpus.synthetic.draw_text import draw_text, glyphs
from mfc.corpus.synthetic.genes import Genes
from mfc.corpus.synthetic.look import Look, make_look
from mfc.corpus.synthetic.presets import Preset
from mfc.corpus.synthetic.raster import BLACK, WHITE, Canvas, Screen, dot_screen, line_screen, paste_polygon
from mfc.corpus.synthetic.story import Figure, Page, Story
from mfc.corpus.synthetic.style import Style, aged

GRAINS = 8
"""So many pictures of a scanner's noise are drawn, and used again and again."""


@dataclass(frozen=True)
class Kit:
    """What an author draws with: screens as large as a page, and glyphs for lettering."""

    tones: Mapping[str, Screen]
    glyphs: tuple[Image.Image, ...]


def make_kit(style: Style, preset: Preset, seed: int) -> Kit:
    times = preset.oversize
    size = (preset.width * times, preset.height * times)
    pitch = max(1.3, style.tone_pitch * preset.height / 1170) * times
    angle = ((1, 1), (2, 1), (1, 0))[style.tone_angle]
    across = ((1, 1), (1, -1), (2, 1), (0, 1))[style.hatch_angle]
    tones = {
        name: dot_screen(size, pitch, angle, cover, style.tone_ink)
        for name, cover in (("light", 0.16), ("mid", 0.36), ("dark", 0.68))
    }
    # Skin in shadow carries a finer, paler screen than cloth and hair.
    tones["skin"] = dot_screen(size, pitch * 0.75, angle, 0.2, 60 + style.tone_ink)
    tones["skin_dark"] = dot_screen(size, pitch * 0.75, angle, 0.34, 70 + style.tone_ink)
    tones["hatched"] = line_screen(size, pitch * 1.25, across, 0.24, BLACK)
    tones["grained"] = line_screen(size, pitch * 0.9, (across[1], -across[0]), 0.4, style.tone_ink)
    unit = preset.height / 1170 * 19 * (1.25 if preset.height < 900 else 1.0)
    return Kit(tones, glyphs(np.random.default_rng([seed, 3]), round(unit * times * 0.92)))


class Studio:
    """Draws the pages of one story; keeps the looks of its cast and the author's kit between pages."""

    def __init__(self, story: Story, preset: Preset, seed: int) -> None:
        self.story, self.preset = story, preset
        self.kit = make_kit(story.style, preset, seed)
        self._look = functools.lru_cache(maxsize=512)(self._make_look)
        style = story.style
        span = style.paper - style.black
        self._inks = [round(style.black + span * v / 255) for v in range(256)]
        amount = style.noise / 8
        grain = [round(128 + (v - 128) * amount) for v in range(256)]
        self._grains = [_grain(preset.width, preset.height, kind).point(grain) for kind in range(GRAINS)]

    def _make_look(
        self, character: int, stranger: int, costume: int, down: bool, chibi: bool, when: int
    ) -> Look:
        story = self.story
        genes: Genes = story.strangers[stranger] if stranger >= 0 else story.cast[character]
        # The author's hand drifts by up to a fifth towards another one over the whole story.
        return make_look(genes, aged(story.style, story.style_later, 0.05 * when), costume, down, chibi)

    def save(self, image: Image.Image, path: Path) -> None:
        """Write a page as the JPEG of this title's scanner."""
        image.save(path, "JPEG", quality=self.story.style.quality)

    def draw(self, page: Page) -> Image.Image:
        """The finished page, grey ("L") or, for colour pages, "RGB"."""
        preset, style = self.preset, self.story.style
        times = preset.oversize
        sheet = Image.new("L", (preset.width * times, preset.height * times), WHITE)
        rng = np.random.default_rng([page.seed, 1])
        for number, (frame, scenery) in enumerate(zip(page.frames, page.scenery, strict=True)):
            corners = np.array(frame.corners) * times
            x0, y0 = (int(v) for v in corners.min(axis=0))
            x1, y1 = (int(np.ceil(v)) + 1 for v in corners.max(axis=0))
            canvas = Canvas(Image.new("L", (x1 - x0, y1 - y0), WHITE), (x0, y0))
            draw_place(canvas, scenery, self.kit.tones, times)
            figures = [f for f in page.figures if f.frame == number]
            draw_effect(canvas, scenery, self.kit.tones, times, [_centre(f, times, canvas) for f in figures])
            for figure in sorted(figures, key=lambda f: f.head[3] - f.head[1]):
                self._figure(canvas, figure, page, rng)
            paste_polygon(sheet, canvas.image, (x0, y0), corners - (x0, y0))
            if frame.bordered:
                edge = [tuple(p) for p in [*corners.tolist(), corners[0].tolist()]]
                ImageDraw.Draw(sheet).line(
                    edge, fill=BLACK, width=round(style.border * times * preset.height / 900), joint="curve"
                )
        whole = Canvas(sheet, (0, 0))
        for figure in page.figures:
            if figure.frame < 0:
                self._figure(whole, figure, page, rng)
        for text in page.texts:
            draw_text(whole, text, style, self.kit.glyphs, times, rng)
        return self._print(sheet, page, rng)

    def _figure(self, canvas: Canvas, figure: Figure, page: Page, rng: np.random.Generator) -> None:
        times = self.preset.oversize
        when = int(page.time * 4)
        look = self._look(
            figure.character, figure.stranger, figure.costume, figure.hair_down, figure.pose.chibi, when
        )
        draw_figure(canvas, look, figure, self.kit.tones, times, rng)

    def _print(self, sheet: Image.Image, page: Page, rng: np.random.Generator) -> Image.Image:
        """Shrink to the final size; paper, ink spread, show-through towards the fold, grain."""
        style, preset = self.story.style, self.preset
        image = sheet.reduce(preset.oversize)
        if style.blur > 0.25:
            image = image.filter(ImageFilter.BoxBlur(style.blur))
        image = image.point(self._inks)
        image = ImageChops.add(image, self._grains[int(rng.integers(GRAINS))], 1, -128)
        image = ImageChops.multiply(image, _fold(preset.width, preset.height))
        if not page.colour:
            return image
        warm = rng.uniform(0.75, 1.0, 3)
        bands = [
            image.point([round(v * w + (255 - 255 * w) * (v / 255) ** 2) for v in range(256)]) for w in warm
        ]
        return Image.merge("RGB", bands)


def _centre(figure: Figure, times: int, canvas: Canvas) -> tuple[float, float]:
    x0, y0, x1, y1 = figure.head
    return (x0 + x1) / 2 * times - canvas.origin[0], (y0 + y1) / 2 * times - canvas.origin[1]


@functools.lru_cache(maxsize=GRAINS)
def _grain(width: int, height: int, kind: int) -> Image.Image:
    noise = np.random.default_rng([kind, 4]).normal(128, 8, (height, width))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


@functools.lru_cache(maxsize=4)
def _fold(width: int, height: int) -> Image.Image:
    """Light falls off towards the fold in the middle of a scanned double page."""
    x = np.abs(np.arange(width) - width / 2) / width
    row = 255 - 38 * np.exp(-((x / 0.012) ** 2)) - 5 * np.exp(-((x / 0.08) ** 2))
    return Image.fromarray(np.broadcast_to(row, (height, width)).astype(np.uint8).copy())
