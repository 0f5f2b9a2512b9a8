"""The rules of a corpus in the Manga109 layout, as manga109tools, the validator of its makers, asks for them.

Source: github.com/manga109/manga109tools (its tests of content and of format), restated as one function.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import defusedxml.ElementTree as defused

from mfc.corpus.manga109 import DEFAULT_ANNOTATIONS, Box, open_corpus

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

TAGS = ("frame", "face", "body", "text")
SAME_PLACE = 0.98
"""Two boxes are one when their intersection is at least this share of their union."""


def corpus_problems(root: Path, annotations: str = DEFAULT_ANNOTATIONS) -> Iterator[str]:
    """What breaks a rule in the corpus at ``root``, a sentence each, with file and page or id.

    Every listed title has a file, in UTF-8 with line ends LF, and is its book's title. Page indices are 0, 1,
    2, … Ids are eight hex digits, not such that manga109api makes a number of them, and none is used twice in
    the corpus. Names of characters are unique in their book, and faces and bodies are of declared ones.
    Boxes lie strictly inside (0 <= xmin < xmax < width, y alike), no two of a kind at one place, no face in
    another one of the same character. Texts are not empty.

    Raises:
        UserError: when the folder is no corpus at all (see `open_corpus`).
    """
    corpus = open_corpus(root, annotations)
    used: dict[str, str] = {}
    for title in corpus.titles:
        path = root / annotations / f"{title}.xml"
        try:
            content = path.read_bytes()
            book = defused.fromstring(content)
        except (OSError, ValueError, SyntaxError) as error:  # what the parsers raise are kinds of these
            yield f"{path}: cannot be read ({' '.join(str(error).split()) or type(error).__name__})"
            continue
        if b"\r" in content:
            yield f"{path}: has line ends other than LF"
        if book.get("title") != title:
            yield f"{path}: the book is called {book.get('title')!r}, not {title!r}"
        if [part.tag for part in book] != ["characters", "pages"]:
            yield f"{path}: a book has <characters> and <pages>, nothing else"
            continue
        characters, pages = book
        yield from _book_problems(path, characters, pages, used)


def same_place(a: Box, b: Box) -> bool:
    """Whether two boxes are one, up to `SAME_PLACE`."""
    sides = (min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1]))
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared > 0 and shared >= SAME_PLACE * (sum(areas) - shared)


def _book_problems(path: Path, characters: Element, pages: Element, used: dict[str, str]) -> Iterator[str]:
    for character in characters:
        yield from _id_problems(character, f"{path}: a character", used)
    for name, times in Counter(character.get("name") for character in characters).items():
        if name is None or times > 1:
            yield f"{path}: {times} characters have " + ("no name" if name is None else f"the name {name!r}")
    declared = {character.get("id") for character in characters}
    for place, page in enumerate(pages):
        where = f"{path}: page {page.get('index')}"
        index, width, height = (_whole(page, name) for name in ("index", "width", "height"))
        if index != place:
            yield f"{where}: should have index {place}"
        boxes: list[tuple[Element, Box]] = []
        for element in page:
            what = f"{where}: {element.tag} {element.get('id')}"
            if element.tag not in TAGS:
                yield f"{what}: is none of {', '.join(TAGS)}"
                continue
            yield from _id_problems(element, what, used)
            if element.tag in ("face", "body") and element.get("character") not in declared:
                yield f"{what}: character {element.get('character')} is not declared"
            if element.tag == "text" and not (element.text or "").strip():
                yield f"{what}: is empty"
            sides = [_whole(element, name) for name in ("xmin", "ymin", "xmax", "ymax")]
            xmin, ymin, xmax, ymax = (-1 if side is None else side for side in sides)
            if 0 <= xmin < xmax < (width or 0) and 0 <= ymin < ymax < (height or 0):
                boxes.append((element, (xmin, ymin, xmax, ymax)))
            else:
                shown = ",".join(str(element.get(name)) for name in ("xmin", "ymin", "xmax", "ymax"))
                yield f"{what}: box {shown} is not strictly inside of {width}x{height} pixels"
        for (first, a), (second, b) in itertools.combinations(boxes, 2):
            what = f"{where}: {first.tag} {first.get('id')} and {second.get('id')}"
            if first.tag != second.tag:
                continue
            if same_place(a, b):
                yield f"{what}: are at the same place"
            elif (
                first.tag == "face"
                and first.get("character") == second.get("character")
                and (_holds(a, b) or _holds(b, a))
            ):
                yield f"{what}: are of one character, and one holds the other"


def _id_problems(element: Element, what: str, used: dict[str, str]) -> Iterator[str]:
    key = element.get("id", "")
    if not re.fullmatch("[0-9a-fA-F]{8}", key) or re.fullmatch("[1-9][0-9]{7}", key):
        yield f"{what}: id {key!r} is not eight hex digits with a letter or a leading 0"
    if key in used:
        yield f"{what}: id {key!r} is used before ({used[key]})"
    used[key] = what


def _whole(element: Element, name: str) -> int | None:
    value = element.get(name, "")
    return int(value) if re.fullmatch("[+-]?[0-9]{1,9}", value) else None


def _holds(a: Box, b: Box) -> bool:
    return a[0] <= b[0] and a[1] <= b[1] and b[2] <= a[2] and b[3] <= a[3]
