"""Nothing but the drawing may tell who somebody is."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, cross_val_score

from mfc.corpus.synthetic.draw_page import Studio
from mfc.corpus.synthetic.presets import PRESETS
from mfc.corpus.synthetic.story import Page, Story, write_story
from mfc.corpus.synthetic.write import annotation

SHUFFLES = 6


@dataclass(frozen=True)
class Table:
    """Faces of one title: what is known of each besides its pixels, its page, and who it is."""

    features: NDArray[np.float64]
    pages: NDArray[np.int64]
    who: NDArray[np.str_]


def faces_of(story: Story, seed: int, number: int) -> Table:
    """What the annotation file says of each face: box, place, order in the file, number of its id."""
    text = annotation(story, number, seed, PRESETS["manga109"])
    rows, pages, who = [], [], []
    for page in ElementTree.fromstring(text).iter("page"):
        width, height = int(page.attrib["width"]), int(page.attrib["height"])
        faces = list(page.iter("face"))
        for order, face in enumerate(faces):
            x0, y0, x1, y1 = (int(face.attrib[key]) for key in ("xmin", "ymin", "xmax", "ymax"))
            w, h = x1 - x0, y1 - y0
            place = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, x0 % 2, y0 % 2)
            key = int(face.attrib["id"], 16)
            rows.append([*place, w, h, w / h, order, order / len(faces), key % 2, key % 64, key])
            pages.append(int(page.attrib["index"]))
            who.append(face.attrib["character"])
    return Table(np.array(rows, dtype=float), np.array(pages), np.array(who))


def accuracy(features: NDArray[np.float64], table: Table) -> float:
    """How often a forest names the character, trained and tried on different pages."""
    forest = RandomForestClassifier(30, min_samples_leaf=3, random_state=0)
    folds = GroupKFold(4).split(features, table.who, table.pages)
    return float(cross_val_score(forest, features, table.who, cv=folds).mean())


def excess(features: NDArray[np.float64], table: Table) -> tuple[float, float]:
    """Accuracy beyond that on identities shuffled within each page, and the shuffles' standard deviation.

    Within a page, scenes and fame say nothing, so that an excess is a leak.
    """
    rng = np.random.default_rng(0)
    chance = []
    for _ in range(SHUFFLES):
        who = table.who.copy()
        for page in np.unique(table.pages):
            rows = np.flatnonzero(table.pages == page)
            who[rows] = who[rng.permutation(rows)]
        chance.append(accuracy(features, replace(table, who=who)))
    return accuracy(features, table) - float(np.mean(chance)), float(np.std(chance))


@pytest.fixture(scope="module")
def table() -> Table:
    return faces_of(write_story("T", PRESETS["manga109"], 0, 4), 0, 4)


@pytest.mark.slow
def test_boxes_ids_and_order_tell_nothing(table: Table) -> None:
    """Place, size and shape of the box, order in the file and id name a character as often as by chance."""
    gain, spread = excess(table.features, table)
    assert gain < 0.02 + 3 * spread


@pytest.mark.slow
def test_the_leak_test_sees_a_leak(table: Table) -> None:
    """If the shape of a box went with the character, or its id, the test above would fail."""
    own = np.unique(table.who, return_inverse=True)[1] * 7919 % 13
    for column, leak in ((6, table.features[:, 6] + 0.12 * own), (-2, own * 4.0)):
        leaky = table.features.copy()
        leaky[:, column] = leak
        gain, spread = excess(leaky, table)
        assert gain > 0.02 + 3 * spread


def drawn(story: Story, page: Page, studio: Studio) -> NDArray[np.uint8]:
    return np.asarray(studio.draw(page).convert("L"))


def test_exchanging_people_changes_figures_and_nothing_else() -> None:
    """With the cast exchanged, pixels change where figures are, and not one outside the frames."""
    preset = PRESETS["demo"]
    story = write_story("T", preset, 0, 0)
    other = replace(story, cast=story.cast[1:] + story.cast[:1])
    studios = Studio(story, preset, 0), Studio(other, preset, 0)
    pages = [p for p in story.pages if p.framed and p.figures and all(f.frame >= 0 for f in p.figures)]
    assert len(pages) > 5
    for page in pages[:6]:
        before, after = (drawn(story, page, studio).astype(int) for studio in studios)
        outside = np.ones_like(before, bool)
        for frame in page.frames:
            x0, y0, x1, y1 = (round(v) for v in frame.box)
            outside[max(0, y0 - 3) : y1 + 4, max(0, x0 - 3) : x1 + 4] = False
        assert outside.any()
        np.testing.assert_array_equal(before[outside], after[outside])
        assert (before != after).any()


def test_margins_and_file_sizes_tell_nothing() -> None:
    """Grey and grain of a page's margins, and its file's size, name the page's leading character by chance.

    Pages are compared with the same pages in another order: who leads a page depends on the scene only.
    """
    preset = PRESETS["demo"]
    rows: list[list[float]] = []
    lead: list[int] = []
    for number in range(3):
        story = write_story("T", preset, 0, number)
        studio = Studio(story, preset, 0)
        for page in story.pages:
            seen = [f.character for f in page.figures if f.face is not None]
            if not seen:
                continue
            image = studio.draw(page).convert("L")
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=story.style.quality)
            pixels = np.asarray(image)[:, 4:-4]
            strips = (pixels[:8], pixels[-8:], pixels[:, :8], pixels[:, -8:])
            rows.append(
                [*(s.mean() for s in strips), *(s.std() for s in strips), buffer.tell() / len(seen), number]
            )
            lead.append(100 * number + max(set(seen), key=seen.count))
    features, who = np.array(rows), np.array(lead)
    rng = np.random.default_rng(0)
    table = Table(features, np.arange(len(who)), who.astype(str))
    shuffled = []
    for _ in range(SHUFFLES):
        order = np.arange(len(who))
        for number in range(3):
            rows_here = np.flatnonzero(features[:, -1] == number)
            order[rows_here] = rng.permutation(rows_here)
        shuffled.append(accuracy(features[order], table))
    assert accuracy(features, table) < np.mean(shuffled) + 3 * np.std(shuffled) + 0.05
