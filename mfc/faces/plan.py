"""Which faces of some books are cut, from which pages, and what is wrong with the books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfc.config import Preprocess
from mfc.corpus.manga109 import Book, Box, Page, assign_frame, is_other
from mfc.faces.cut import SWAPPED, TOO_SMALL, PageTask
from mfc.faces.store import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

Problem = dict[str, Any]
"""What is wrong with a corpus: ``kind``, ``title``, ``page`` (or None) and ``detail``, a sentence."""


@dataclass
class Plan:
    """Filled book by book with `add`; rows of the crops are counted in the order of the faces."""

    config: Preprocess
    image_path: Callable[[str, int], Path]
    expand: bool
    lines: list[tuple[Any, ...]] = field(default_factory=list)
    """Of the table, with a row number for each face that is large enough."""
    tasks: list[PageTask] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    kept: int = 0
    face_ids: set[str] = field(default_factory=set)

    def add(self, book: Book, split: str) -> None:
        """Plan all faces of a book: its lines of the table, its pages to cut, and what is wrong with it."""
        names: dict[str, str] = {}
        for character in book.characters:
            names.setdefault(character.character_id, character.name)
        others = {c.character_id for c in book.characters if is_other(c.name, self.config.others)}
        undeclared: Counter[str] = Counter()
        for page in book.pages:
            first, cut = self.kept, []
            for face in page.faces:
                reason = self._drop_reason(face.box)
                frame = assign_frame(face.box, page.frames, reference_quirks=self.config.reference_quirks)
                name, other = names.get(face.character_id), face.character_id in others
                who = (face.face_id, book.title, split, page.index, frame, face.character_id, name, other)
                row = None if reason else self.kept
                self.lines.append((*who, *face.box, *(None,) * 4, row, reason))
                undeclared[face.character_id] += name is None
                if reason is None:
                    cut.append(face)
                    self.kept += 1
            if cut:
                self.tasks.append(
                    PageTask(
                        book.title,
                        page.index,
                        self.image_path(book.title, page.index),
                        (page.width, page.height),
                        tuple(range(first, self.kept)),
                        tuple(face.box for face in cut),
                        tuple(f"{face.character_id}/{face.face_id}.png" for face in cut),
                        self.expand,
                    )
                )
            self._note_swapped(book.title, page)
        for character_id, count in (+undeclared).items():
            detail = f"character {character_id} ({count} faces) is not declared"
            self._note("undeclared character", book.title, detail)
        self._note_twins(book)

    def table(self) -> pd.DataFrame:
        """Columns of objects until the store is written, so that None stays None."""
        import pandas as pd

        return pd.DataFrame(self.lines, columns=list(COLUMNS), dtype=object)

    def _drop_reason(self, box: Box) -> str | None:
        width, height = box[2] - box[0], box[3] - box[1]
        if min(width, height) < 0:
            return SWAPPED
        return TOO_SMALL if min(width, height) <= self.config.min_side else None

    def _note_swapped(self, title: str, page: Page) -> None:
        boxes = [("face", face.face_id, face.box) for face in page.faces]
        boxes += [("frame", frame.frame_id, frame.box) for frame in page.frames]
        for what, number, box in boxes:
            if box[2] < box[0] or box[3] < box[1]:
                detail = f"page {page.index}: the corners of {what} {number} are swapped"
                self._note(SWAPPED, title, detail, page.index)

    def _note_twins(self, book: Book) -> None:
        """Ids of faces are unique over all books, ids of frames within one."""
        frames: set[str] = set()
        for page in book.pages:
            numbers = [("face", face.face_id, self.face_ids) for face in page.faces]
            numbers += [("frame", frame.frame_id, frames) for frame in page.frames]
            for what, number, seen in numbers:
                if number in seen:
                    detail = f"the id of {what} {number} is used more than once"
                    self._note("id used twice", book.title, detail)
                seen.add(number)

    def _note(self, kind: str, title: str, detail: str, page: int | None = None) -> None:
        self.problems.append({"kind": kind, "title": title, "page": page, "detail": f"{title}: {detail}"})
