"""Pictures to judge a corpus by: a contact sheet per title, rows of characters, and a page with its boxes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mfc.corpus.synthetic.draw_figure import draw_figure
from mfc.corpus.synthetic.draw_page import make_kit
from mfc.corpus.synthetic.genes import Genes, draw_genes
from mfc.corpus.synthetic.look import make_look
from mfc.corpus.synthetic.presets import PRESETS
from mfc.corpus.synthetic.raster import WHITE, Canvas
from mfc.corpus.synthetic.story import Figure, Page, Pose, Story
from mfc.corpus.synthetic.style import Style, draw_style
from mfc.files import replacing

COLOURS = {"frame": (40, 110, 230), "face": (230, 40, 40), "body": (40, 170, 70), "text": (220, 140, 0)}


def contact_sheet(
    story: Story, images: Path, *, columns: int = 16, rows: int = 12, side: int = 96
) -> Image.Image:
    """The most frequent characters, a row each, faces in story order with half a face of margin.

    Args:
        images: folder of the title's page images.
    """
    faces: dict[int, list[tuple[Page, Figure]]] = defaultdict(list)
    for page in story.pages:
        for figure in page.figures:
            if figure.face is not None:
                faces[figure.character].append((page, figure))
    shown = sorted(faces, key=lambda who: (-len(faces[who]), who))[:rows]
    sheet = Image.new("RGB", (columns * (side + 2) + 2, len(shown) * (side + 2) + 2), (255, 255, 255))
    for row, who in enumerate(shown):
        step = max(1.0, len(faces[who]) / columns)
        for column in range(min(columns, len(faces[who]))):
            page, figure = faces[who][int(column * step)]
            assert figure.face is not None
            x0, y0, x1, y1 = figure.face
            dx, dy = (x1 - x0) // 2, (y1 - y0) // 2
            with Image.open(images / f"{page.index:03d}.jpg") as picture:
                box = (
                    max(0, x0 - dx),
                    max(0, y0 - dy),
                    min(picture.width, x1 + dx),
                    min(picture.height, y1 + dy),
                )
                crop = picture.convert("RGB").crop(box).resize((side, side), Image.Resampling.BILINEAR)
            sheet.paste(crop, (2 + column * (side + 2), 2 + row * (side + 2)))
    return sheet


def page_with_boxes(story: Story, images: Path) -> Image.Image:
    """The page with most faces in the middle of the story, every annotation outlined: see `COLOURS`."""
    middle = story.pages[len(story.pages) // 4 : -(len(story.pages) // 4) or None]
    page = max(middle, key=lambda page: sum(figure.face is not None for figure in page.figures))
    with Image.open(images / f"{page.index:03d}.jpg") as picture:
        image = picture.convert("RGB")
    draw = ImageDraw.Draw(image)
    for frame in page.frames if page.framed else ():
        draw.rectangle(frame.box, outline=COLOURS["frame"], width=2)
    for figure in page.figures:
        for kind, box in (("body", figure.body), ("face", figure.face)):
            if box is not None:
                draw.rectangle(box, outline=COLOURS[kind], width=2)
    for text in page.texts:
        draw.rectangle(text.box, outline=COLOURS["text"], width=2)
    return image


def write_preview(story: Story, root: Path) -> None:
    """Write ``preview/<title>.png`` and ``preview/<title>_page.png`` below the corpus root, if not there."""
    for name, make in ((f"{story.title}.png", contact_sheet), (f"{story.title}_page.png", page_with_boxes)):
        target = root / "preview" / name
        if not target.exists():
            with replacing(target) as path:
                make(story, root / "images" / story.title).save(path, "PNG")


def portrait(genes: Genes, style: Style, pose: Pose, *, side: int = 128, costume: int = 0) -> Image.Image:
    """One person in one author's hand, (side, side) grey, without page and print."""
    times = 3
    preset = replace(PRESETS["demo"], width=side, height=side)
    canvas = Canvas(Image.new("L", (side * times, side * times), WHITE), (0, 0))
    box = (0.31 * side, 0.3 * side, 0.69 * side, 0.68 * side)
    figure = Figure(0, -1, 0, box, None, None, pose, abs(pose.yaw) > 115, costume, False, 0, "")
    kit = make_kit(replace(style, tone_pitch=style.tone_pitch * 1170 / side * 0.55), preset, 0)
    look = make_look(genes, style, costume, False, pose.chibi)
    draw_figure(canvas, look, figure, kit.tones, times, np.random.default_rng(0))
    return canvas.image.reduce(times)


def gallery(rows: list[list[Image.Image]]) -> Image.Image:
    """Pictures of one size in rows."""
    width, height = rows[0][0].size
    sheet = Image.new("L", (max(map(len, rows)) * (width + 2) + 2, len(rows) * (height + 2) + 2), WHITE)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet.paste(picture, (2 + x * (width + 2), 2 + y * (height + 2)))
    return sheet


def style_sheet(authors: int = 9, people: int = 4) -> Image.Image:
    """The same people (rows) as drawn by several authors (columns)."""
    styles = [draw_style(np.random.default_rng([1, number])) for number in range(authors)]
    cast = [draw_genes(np.random.default_rng([2, number])) for number in range(people)]
    pose = Pose(-25, 0, 3, "calm", False, (0.0, 0.0))
    return gallery([[portrait(genes, style, pose) for style in styles] for genes in cast])


def pose_sheet(people: int = 4) -> Image.Image:
    """People (rows), each by another author, from the front to the back, and with expressions."""
    poses = [
        Pose(yaw, pitch, roll, expression, False, (0.0, 0.0))
        for yaw, pitch, roll, expression in (
            (0, 0, 0, "calm"), (25, 5, -4, "smile"), (50, 0, 5, "talk"), (78, -5, 0, "shout"),
            (90, 0, 0, "calm"),
            (105, 0, 4, "calm"), (165, 0, 0, "calm"), (-30, 20, -18, "laugh"), (-15, -18, 8, "surprised"),
        )
    ]  # fmt: skip
    rows = []
    for number in range(people):
        genes = draw_genes(np.random.default_rng([2, number + 4]))
        style = draw_style(np.random.default_rng([1, number + 9]))
        rows.append([portrait(genes, style, pose) for pose in poses])
    return gallery(rows)
