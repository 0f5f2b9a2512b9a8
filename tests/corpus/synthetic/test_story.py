from __future__ import annotations

from dataclasses import replace

import pytest

from mfc.corpus.synthetic.presets import PRESETS, Preset
from mfc.corpus.synthetic.statistics import MANGA109, measure
from mfc.corpus.synthetic.story import Story, write_story
from mfc.corpus.synthetic.write import annotation

TITLES = 18


def part_of(preset: Preset, titles: int) -> Preset:
    """The preset with fewer titles, spread over the same distributions."""
    return replace(preset, train=titles, val=0, test=0, volumes=0)


def same_person_at(story: Story, distance: int) -> float:
    """Share of pairs of faces ``distance`` pages apart that show one character."""
    faces = [(page.index, f.character) for page in story.pages for f in page.figures if f.face is not None]
    pairs = [a[1] == b[1] for n, a in enumerate(faces) for b in faces[n + 1 :] if b[0] - a[0] == distance]
    return sum(pairs) / max(1, len(pairs))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_large_preset_matches_the_real_corpus(seed: int) -> None:
    """Every ratio and quantile of the real corpus is met within 15 %, by titles spread over the preset."""
    preset = part_of(PRESETS["manga109"], TITLES)
    found = measure(write_story("T", preset, seed, number) for number in range(TITLES))
    wrong = {
        name: (found[name], real) for name, real in MANGA109.items() if abs(found[name] / real - 1) > 0.15
    }
    assert not wrong


def test_the_demo_preset_keeps_what_matters_at_half_size() -> None:
    """Faces too small to use are about as rare as in the real corpus, frames hold as many faces."""
    preset = part_of(PRESETS["demo"], TITLES)
    found = measure(write_story("T", preset, 0, number) for number in range(TITLES))
    assert found["faces with a side of at most 30"] == pytest.approx(0.07, abs=0.025)
    for name in (
        "frames without face",
        "frames with 1 face",
        "frames with 2 faces",
        "face aspect p5",
        "face aspect p95",
    ):
        assert found[name] == pytest.approx(MANGA109[name], rel=0.2)


def test_neighbouring_pages_share_a_cast() -> None:
    """Two faces one page apart show one character more often than two faces twenty pages apart."""
    preset = PRESETS["demo"]
    stories = [write_story("T", preset, 0, number) for number in range(6)]
    near = sum(same_person_at(story, 1) for story in stories)
    far = sum(same_person_at(story, 20) for story in stories)
    assert near > 1.2 * far


def test_few_characters_carry_a_story() -> None:
    """The most frequent fifth of a large cast has more than half of the faces."""
    story = write_story("T", PRESETS["manga109"], 3, 0)
    faces = [f.character for page in story.pages for f in page.figures if f.face is not None]
    counts = sorted((faces.count(who) for who in range(len(story.names))), reverse=True)
    assert sum(counts[: len(counts) // 5 + 1]) > 0.5 * len(faces)


def test_what_is_rare_in_the_real_corpus_is_there() -> None:
    """Empty pages, pages without frames, faces outside frames, colour pages and Others all occur."""
    pages = [page for number in range(12) for page in write_story("T", PRESETS["demo"], 0, number).pages]
    assert any(not page.frames for page in pages)
    assert any(page.frames and not page.framed for page in pages)
    assert any(figure.frame == -1 for page in pages if page.framed for figure in page.figures)
    assert any(page.colour for page in pages)
    assert any(figure.stranger >= 0 for page in pages for figure in page.figures)


def test_a_plan_is_the_same_every_time() -> None:
    """Two plans with the same arguments are equal; another number gives another story."""
    preset = PRESETS["tiny"]
    assert write_story("T", preset, 5, 1) == write_story("T", preset, 5, 1)
    assert write_story("T", preset, 5, 1).pages != write_story("T", preset, 5, 2).pages


def test_annotations_do_not_depend_on_what_people_look_like() -> None:
    """With the genes of the cast exchanged, the annotation file is the same, byte for byte."""
    preset = PRESETS["demo"]
    story = write_story("T", preset, 0, 0)
    exchanged = replace(story, cast=story.cast[::-1], strangers=story.strangers[::-1])
    assert annotation(story, 0, 0, preset) == annotation(exchanged, 0, 0, preset)
