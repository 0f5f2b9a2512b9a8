"""Write a synthetic corpus in the Manga109 layout: in parallel, resumable, the same for a seed."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from mfc.config import DEFAULT_ANNOTATIONS as ANNOTATIONS
from mfc.corpus.synthetic.draw_page import Studio
from mfc.corpus.synthetic.presets import PRESETS, VERSION, Preset
from mfc.corpus.synthetic.preview import write_preview
from mfc.corpus.synthetic.story import Page, Story, write_story
from mfc.corpus.synthetic.titles import draw_title
from mfc.errors import UserError
from mfc.files import replacing, write_json, write_text
from mfc.processes import available_cores, map_in, workers

DONE = "synthetic.json"
STARTED = "synthetic.partial.json"
PAGES_A_TASK = 16
T = TypeVar("T")
Task = tuple[int, int]
"""Number of the title and of its first page."""


def titles_of(preset: Preset, seed: int) -> list[str]:
    """The titles in order of their numbers: train, val, test, then the volumes that are in no split."""
    rng = np.random.default_rng([seed, 7])
    titles: list[str] = []
    for number in range(preset.titles):
        title = draw_title(rng, set(titles))
        titles.append(title if number < preset.titles - preset.volumes else f"{title}_vol01")
    return titles


def splits_of(preset: Preset, titles: list[str]) -> dict[str, list[str]]:
    """Title lists by split; within a split by code point."""
    ends = np.cumsum([preset.train, preset.val, preset.test])
    parts = (titles[: ends[0]], titles[ends[0] : ends[1]], titles[ends[1] : ends[2]])
    return {name: sorted(part) for name, part in zip(("train", "val", "test"), parts, strict=True)}


def annotation(story: Story, number: int, seed: int, preset: Preset) -> str:
    """The annotation file of a title; ids are unique over the whole corpus, elements in order of ids."""
    rng = np.random.default_rng([seed, number, 8])
    # Each title has a block of ids, as large as any title needs, and uses it in random order.
    free = iter(rng.permutation(1 << 16).tolist())

    def new_id() -> str:
        return f"{(number << 16) + next(free):08x}"

    people = [new_id() for _ in story.names]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<book title={quoteattr(story.title)}>",
        "  <characters>",
    ]
    lines += [
        f"    <character id={quoteattr(key)} name={quoteattr(name)}/>"
        for key, name in sorted(zip(people, story.names, strict=True))
    ]
    lines += ["  </characters>", "  <pages>"]
    for page in story.pages:
        lines.append(f'    <page index="{page.index}" width="{preset.width}" height="{preset.height}">')
        lines += [f"      {line}" for _, line in sorted(_elements(page, people, new_id, preset))]
        lines.append("    </page>")
    return "\n".join([*lines, "  </pages>", "</book>", ""])


def _elements(
    page: Page, people: list[str], new_id: Callable[[], str], preset: Preset
) -> Iterable[tuple[str, str]]:
    def box(x0: float, y0: float, x1: float, y1: float) -> str:
        x0, y0 = max(0, round(x0)), max(0, round(y0))
        x1, y1 = min(preset.width, round(x1)), min(preset.height, round(y1))
        return f'xmin="{x0}" ymin="{y0}" xmax="{x1}" ymax="{y1}"'

    for frame in page.frames if page.framed else ():
        key = new_id()
        yield key, f'<frame id="{key}" {box(*frame.box)}/>'
    for figure in page.figures:
        person = people[figure.character]
        for tag, place in (("face", figure.face), ("body", figure.body)):
            if place is not None:
                key = new_id()
                yield key, f'<{tag} id="{key}" {box(*place)} character="{person}"/>'
    for text in page.texts:
        key = new_id()
        yield key, f'<text id="{key}" {box(*text.box)}>{escape(text.text)}</text>'


def draw_task(root: Path, preset: Preset, seed: int, titles: list[str], task: Task) -> int:
    """Draw a few pages of one title, those that are not there yet; how many pages the task covers."""
    number, first = task
    story = write_story(titles[number], preset, seed, number)
    folder = root / "images" / story.title
    studio: Studio | None = None
    pages = story.pages[first : first + PAGES_A_TASK]
    for page in pages:
        target = folder / f"{page.index:03d}.jpg"
        if target.exists():
            continue
        if studio is None:
            studio = Studio(story, preset, seed + number)
        image = studio.draw(page)
        with replacing(target) as path:
            studio.save(image, path)
    return len(pages)


def write_corpus(
    root: Path,
    preset_name: str,
    seed: int,
    *,
    jobs: int = 0,
    overwrite: bool = False,
    preview: bool = False,
    say: Callable[[str], None] = lambda message: None,
    progress: Callable[[Iterable[int], int, str], Iterable[int]] = lambda items, total, label: items,
) -> Path:
    """Draw the corpus into ``root`` and return ``root``; a finished one with the same parameters is kept.

    An interrupted corpus goes on where it stopped. With ``preview``, also `mfc.corpus.synthetic.preview`.

    Raises:
        UserError: when ``root`` holds anything else, or a corpus with other parameters and not ``overwrite``.
    """
    preset = PRESETS[preset_name]
    wanted: dict[str, str | int] = {"preset": preset_name, "seed": seed, "version": VERSION}
    titles = titles_of(preset, seed)
    if _prepare(root, wanted, overwrite):
        stories = [write_story(title, preset, seed, number) for number, title in enumerate(titles)]
        counts = _count(stories)
        say(_announcement(counts, preset, root, jobs or available_cores()))
        write_text(root / "books.txt", "".join(f"{title}\n" for title in sorted(titles)))
        for number, story in enumerate(stories):
            write_text(root / ANNOTATIONS / f"{story.title}.xml", annotation(story, number, seed, preset))
            (root / "images" / story.title).mkdir(parents=True, exist_ok=True)
        tasks = [
            (number, first)
            for number, story in enumerate(stories)
            for first in range(0, len(story.pages), PAGES_A_TASK)
        ]
        _each(partial(draw_task, root, preset, seed, titles), tasks, "drawing", jobs, progress)
        write_json(root / "splits.json", splits_of(preset, titles))
        write_json(root / DONE, {**wanted, **counts})
        (root / STARTED).unlink(missing_ok=True)
    if preview:
        work = partial(preview_task, root, preset, seed, titles)
        _each(work, list(range(len(titles))), "contact sheets", jobs, progress)
        say(f"Contact sheets and pages with boxes: {root / 'preview'}")
    return root


def preview_task(root: Path, preset: Preset, seed: int, titles: list[str], number: int) -> int:
    """Write the preview pictures of title ``number``."""
    write_preview(write_story(titles[number], preset, seed, number), root)
    return 1


def _each(
    work: Callable[[T], int],
    tasks: list[T],
    label: str,
    jobs: int,
    progress: Callable[[Iterable[int], int, str], Iterable[int]],
) -> None:
    """Do all tasks, in as many processes as ``jobs`` says."""
    with workers(min(jobs or available_cores(), max(len(tasks), 1))) as executor:
        for _ in progress(map_in(work, tasks, 0, executor), len(tasks), label):
            pass


def _announcement(counts: dict[str, int], preset: Preset, root: Path, processes: int) -> str:
    """What is going to be drawn, with a rough estimate of time and disk."""
    pixels = counts["pages"] * preset.width * preset.height
    # Measured on two cores of a server of 2024; the time follows faces and enlarged pixels.
    seconds = (counts["faces"] * 0.0045 + pixels * preset.oversize**2 * 5.5e-9) / processes
    minutes = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"
    return (
        f"Drawing {counts['faces']:,} faces on {counts['pages']:,} pages of {counts['titles']} titles "
        f"into {root}: "
        f"about {minutes} with {processes} processes, {pixels * 2.1e-7:,.0f} MB"
    )


def _prepare(root: Path, wanted: dict[str, str | int], overwrite: bool) -> bool:
    """Make ``root`` ready to draw into; False when the corpus is there already."""
    done = _read(root / DONE)
    started = _read(root / STARTED)
    if done is not None and {key: done.get(key) for key in wanted} == wanted:
        return False
    if root.exists() and not root.is_dir():
        raise UserError(f"{root} is a file; give a folder for the synthetic corpus")
    ours = done is not None or started is not None
    if root.is_dir() and any(root.iterdir()) and started != wanted:
        if not ours:
            raise UserError(f"{root} is not empty and holds no synthetic corpus; give another folder")
        if not overwrite:
            have = done or started or {}
            raise UserError(
                f"{root} holds a synthetic corpus with preset={have.get('preset')} seed={have.get('seed')} "
                f"version={have.get('version')}, not {wanted}; give another folder, or --overwrite true"
            )
        for name in ("images", ANNOTATIONS, "preview"):
            shutil.rmtree(root / name, ignore_errors=True)
        for name in ("books.txt", "splits.json", DONE, STARTED):
            (root / name).unlink(missing_ok=True)
    write_json(root / STARTED, wanted)
    return True


def _read(path: Path) -> dict[str, str | int] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _count(stories: list[Story]) -> dict[str, int]:
    pages = [page for story in stories for page in story.pages]
    counts: Counter[str] = Counter(titles=len(stories), pages=len(pages))
    for page in pages:
        counts["frames"] += len(page.frames) if page.framed else 0
        counts["texts"] += len(page.texts)
        counts["faces"] += sum(figure.face is not None for figure in page.figures)
        counts["bodies"] += sum(figure.body is not None for figure in page.figures)
    return dict(counts)
