"""Draw the pictures of docs/synthetic-corpus.md: ``python -m mfc.corpus.synthetic FOLDER``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

from mfc.corpus.synthetic.presets import PRESETS
from mfc.corpus.synthetic.preview import contact_sheet, page_with_boxes, pose_sheet, style_sheet
from mfc.corpus.synthetic.story import write_story
from mfc.corpus.synthetic.write import PAGES_A_TASK, draw_task, titles_of

SHOWN = (14, 20)
"""Numbers of the demo titles that are shown."""


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    style_sheet().save(folder / "synthetic-styles.png", optimize=True)
    pose_sheet().save(folder / "synthetic-poses.png", optimize=True)
    preset, titles = PRESETS["demo"], titles_of(PRESETS["demo"], 0)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for place, number in enumerate(SHOWN, start=1):
            story = write_story(titles[number], preset, 0, number)
            (root / "images" / story.title).mkdir(parents=True)
            for first in range(0, len(story.pages), PAGES_A_TASK):
                draw_task(root, preset, 0, titles, (number, first))
            images = root / "images" / story.title
            sheet = contact_sheet(story, images, columns=14, rows=8, side=80).quantize(
                24, dither=Image.Dither.NONE
            )
            sheet.save(folder / f"synthetic-sheet-{place}.png", optimize=True)
            page = page_with_boxes(story, images).quantize(24, dither=Image.Dither.NONE)
            page.save(folder / f"synthetic-page-{place}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
