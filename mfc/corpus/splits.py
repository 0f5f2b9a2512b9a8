"""Which titles train, validate and test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mfc.config import SPLITS
from mfc.corpus.names import composed
from mfc.corpus.reading import read_json
from mfc.errors import UserError

Splits = dict[str, list[str]]
"""Title lists under ``train``, ``val`` and ``test``; ``title_idx`` counts in their order."""

MIN_TITLES = 44
FIRST_VOLUME = "_vol01"


def reference_split(titles: Sequence[str]) -> Splits:
    """The published split: drop first volumes, sort by code point, first ten and number 43 (from 0) are test.

    The next ten are val, what is left is train. Raises `UserError` for fewer than 44 titles.
    """
    ordered = sorted(title for title in titles if FIRST_VOLUME not in title)
    if len(ordered) < MIN_TITLES:
        raise UserError(
            f"the published split needs at least {MIN_TITLES} titles without {FIRST_VOLUME} in their name, "
            f"not {len(ordered)}; give your own lists by --splits FILE"
        )
    test = [*ordered[:10], ordered[MIN_TITLES - 1]]
    val = ordered[10:20]
    others = {*test, *val}
    return {"train": [t for t in ordered if t not in others], "val": val, "test": test}


def resolve_splits(corpus_root: Path, titles: Sequence[str], splits_file: str = "") -> Splits:
    """The title lists of a corpus with these ``titles`` (``books.txt`` order).

    In this order: ``splits_file``; ``splits.json`` at the root; the published rule, when there are enough
    titles for it; everything is test. A title that is in no list is not used.
    """
    own = Path(corpus_root) / "splits.json"
    if splits_file:
        return _read(Path(splits_file), titles, corpus_root)
    if own.is_file():
        return _read(own, titles, corpus_root)
    if sum(FIRST_VOLUME not in title for title in titles) >= MIN_TITLES:
        return reference_split(titles)
    return {"train": [], "val": [], "test": list(titles)}


def _read(path: Path, titles: Sequence[str], corpus_root: Path) -> Splits:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f'{path}: expected {{"train": [...], "val": [...], "test": [...]}}')
    for name in content:
        if name not in SPLITS:
            raise UserError(f"{path}: unknown split {name!r}; the splits are {', '.join(SPLITS)}")
    title_of = {composed(title): title for title in titles}
    result: Splits = {name: [] for name in SPLITS}
    seen: dict[str, str] = {}
    for name in SPLITS:
        listed = content.get(name, [])
        if not isinstance(listed, list) or not all(isinstance(title, str) for title in listed):
            raise UserError(f"{path}: {name} is not a list of titles; write it as one")
        for title in map(composed, listed):
            if title in seen:
                raise UserError(f"{path}: title {title!r} is in {seen[title]} and in {name}; keep one")
            if title not in title_of:
                raise UserError(
                    f"{path}: title {title!r} is missing from {Path(corpus_root) / 'books.txt'}; mend either"
                )
            seen[title] = name
            result[name].append(title_of[title])
    if not seen:
        raise UserError(f"{path}: lists no title; write one at least")
    return result
