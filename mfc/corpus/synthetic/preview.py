"""Pictures to judge a corpus by: a contact sheet per title, rows of characters, and a page with its boxes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageDraw

from mfc.corpus.synthetic.story import Figure, Page, Story
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
