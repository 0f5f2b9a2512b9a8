"""Read a comic without labels: in Manga109 layout, as pages with boxes (COCO, CSV), or as cut-out faces.

Whatever it was, it becomes a `Book` whose faces all belong to one character without a name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mfc.corpus.boxes import BoxRow, read_boxes
from mfc.corpus.digests import content_digests
from mfc.corpus.folders import PageFinder, PictureFolder, find_pictures
from mfc.corpus.manga109 import UNKNOWN, Book, Box, Character, Face, Frame, Page, open_corpus
from mfc.corpus.names import composed, refuse_unusable_path
from mfc.corpus.pictures import PictureError, Size, picture_size, scale_to_picture
from mfc.errors import UserError
from mfc.files import value_digest

INSIDE = 0.5
"""A box that sticks out of its page is clipped when at least this share of it is inside."""
LAYOUTS = (
    "give a folder in Manga109 layout (books.txt, images, annotations…), a folder of pages with --boxes, or "
    "a folder of cut-out faces"
)


@dataclass(frozen=True)
class Comic:
    """A comic without labels."""

    book: Book
    pictures: Mapping[int, Path]
    """Page index → picture."""
    names: Mapping[int, str]
    """Page index → how its owner calls the page: the picture's file name, or the number in Manga109."""
    pages_known: bool
    """False for cut-out faces: nothing is known of pages, and boxes are the whole pictures."""
    notes: tuple[str, ...] = ()
    """Sentences about what was left out or changed, for the person who gave the comic."""

    def fingerprint(self, cache: Path | None = None) -> str:
        """Changes with the boxes, and with names and contents of the pictures that have faces.

        Args:
            cache: where digests of pictures are remembered, see `mfc.corpus.digests`.
        """
        pictures = [self.pictures[page.index] for page in self.book.pages if page.faces]
        contents = list(zip([p.name for p in pictures], content_digests(pictures, cache), strict=True))
        return value_digest([dataclasses.asdict(self.book), contents, self.pages_known])


def read_comic(
    folder: Path,
    *,
    title: str = "",
    boxes: str = "",
    frames: str = "",
    annotations: str,
    strict: bool = True,
) -> Comic:
    """Read the comic in ``folder``; see `mfc.config.Cluster` for the other arguments.

    Raises:
        UserError: naming the file and the line, column or id that is wrong; with ``strict`` also for a
            picture that cannot be read, whose faces are left out otherwise.
    """
    for what, path in (("--input ", str(folder)), ("--boxes ", boxes), ("--frames ", frames)):
        refuse_unusable_path(path, what)
    if not folder.is_dir():
        raise UserError(f"--input {folder}: there is no such folder; {LAYOUTS}")
    refuse_unusable_path(folder.resolve(), "--input ")
    if boxes:
        return _pages_with_boxes(folder, Path(boxes), Path(frames) if frames else None, strict)
    if frames:
        raise UserError(f"--frames {frames}: frames need faces; give their boxes by --boxes")
    if (folder / "books.txt").is_file():
        return _manga109(folder, title, annotations, strict)
    if (folder / "images").is_dir():
        raise UserError(f"--input {folder} has images but no books.txt; write the titles into it, one a line")
    return _cut_faces(folder, strict)


def _manga109(folder: Path, title: str, annotations: str, strict: bool) -> Comic:
    corpus = open_corpus(folder, annotations)
    if not title and len(corpus.titles) > 1:
        shown = ", ".join(corpus.titles[:8]) + (", …" if len(corpus.titles) > 8 else "")
        raise UserError(f"--input {folder} has {len(corpus.titles)} titles; choose one by --title: {shown}")
    title = corpus.title(title or corpus.titles[0])
    book = corpus.read_book(title, labels=False)
    _refuse_twins(book)
    pictures = {page.index: corpus.image_path(title, page.index) for page in book.pages}
    sizes = _Sizes(strict)
    pages = [
        _page_of_picture(page, pictures[page.index], sizes)
        if page.faces and pictures[page.index].exists()
        else page
        for page in book.pages
    ]
    names = {page.index: str(page.index) for page in pages}
    comic = Comic(dataclasses.replace(book, pages=tuple(pages)), pictures, names, True, sizes.notes())
    return _checked(comic, folder)


def _page_of_picture(page: Page, path: Path, sizes: _Sizes) -> Page:
    """A page of an annotation in the size of its picture, its boxes with it; as it was without one."""
    size = sizes.of(path, path.name, len(page.faces))
    if size is None or size == (page.width, page.height):
        return page
    annotated = (page.width, page.height) if page.width and page.height else size
    scale = sizes.scale(annotated, size, path.name, str(path), "; or cut them as they are by --strict false")
    if scale is None:
        return page
    x, y = scale

    def scaled(box: Box) -> Box:
        return round(box[0] * x), round(box[1] * y), round(box[2] * x), round(box[3] * y)

    return Page(
        page.index,
        *size,
        tuple(Frame(frame.frame_id, scaled(frame.box)) for frame in page.frames),
        tuple(Face(face.face_id, face.character_id, scaled(face.box)) for face in page.faces),
    )


class _Sizes:
    """Sizes of pictures, and what there is to say about them: unreadable ones, and boxes that are scaled."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._unreadable: list[str] = []
        self._lost = 0
        self._scaled: dict[str, str] = {}
        self._unfit: dict[str, str] = {}

    def of(self, path: Path, name: str, faces: int) -> Size | None:
        """The size of a picture; None, and noted, if it cannot be read and is not needed or not strictly."""
        try:
            return picture_size(path)
        except OSError as error:
            reason = str(error) if isinstance(error, PictureError) else error.strerror
            if faces and self._strict:
                raise UserError(
                    f"{path}: cannot be read ({reason}); mend it, take it out, or go on without it by "
                    "--strict false"
                ) from None
            self._unreadable.append(f"{name} ({reason})")
            self._lost += faces
            return None

    def scale(
        self, annotated: Size, size: Size, name: str, where: str, or_else: str = ""
    ) -> tuple[float, float] | None:
        """What boxes for a page of one size are multiplied by for its picture of another.

        None, and noted, when the two differ in shape, it is not strictly, and there is something ``or_else``.
        """
        if abs(annotated[0] - size[0]) <= 1 and abs(annotated[1] - size[1]) <= 1:
            return 1.0, 1.0
        scale = scale_to_picture(annotated, size)
        if scale is None and (self._strict or not or_else):
            raise UserError(
                f"{where}: the boxes are for a page of {annotated[0]}x{annotated[1]} pixels, but {name} has "
                f"{size[0]}x{size[1]}; give the picture that they were drawn on{or_else}"
            )
        found = self._scaled if scale else self._unfit
        found.setdefault(
            name, f"for {annotated[0]}x{annotated[1]} pixels where {name} has {size[0]}x{size[1]}"
        )
        return scale

    def notes(self) -> tuple[str, ...]:
        result = []
        for pages, what in ((self._scaled, "scaled to the pictures"), (self._unfit, "used as they are")):
            if pages:
                first = next(iter(pages.values()))
                result.append(f"the boxes of {len(pages)} pages are for other sizes, {first}, and are {what}")
        if self._unreadable:
            names = "; ".join(self._unreadable[:8]) + "; …" * (len(self._unreadable) > 8)
            result.append(
                f"{len(self._unreadable)} pictures cannot be read, and {self._lost} faces on them are left "
                f"out: {names}"
            )
        return tuple(result)


def _some_pictures(folder: Path) -> PictureFolder:
    found = find_pictures(folder)
    if not found.paths:
        passed_over = f" ({found.passed_over})" if found.passed_over else ""
        raise UserError(f"--input {folder} holds no picture (.jpg, .png, .webp, …){passed_over}; {LAYOUTS}")
    return found


def _cut_faces(folder: Path, strict: bool) -> Comic:
    found, sizes = _some_pictures(folder), _Sizes(strict)
    pages, pictures, names = [], {}, {}
    for index, (path, name) in enumerate(zip(found.paths, found.names, strict=True)):
        size = sizes.of(path, name, 1)
        if size is not None:
            face = Face(name, UNKNOWN, (0, 0, *size))
            pages.append(Page(index, *size, (), (face,)))
            pictures[index], names[index] = path, name
    notes = (*filter(None, [found.passed_over]), *sizes.notes())
    return _checked(Comic(_book(folder, pages), pictures, names, False, notes), folder)


def _pages_with_boxes(folder: Path, boxes: Path, frames: Path | None, strict: bool) -> Comic:
    found = _some_pictures(folder)
    rows, notes = _rows(found, boxes, frames)
    _refuse_shares(boxes, [row.box for _, row in rows])
    faces: dict[int, list[Face]] = {index: [] for index in range(len(found.paths))}
    panels: dict[int, list[Frame]] = {index: [] for index in range(len(found.paths))}
    on_page: dict[int, list[BoxRow]] = {index: [] for index in range(len(found.paths))}
    for index, row in rows:
        on_page[index].append(row)
    sizes, pages = _Sizes(strict), []
    seen: dict[str, BoxRow] = {}
    for index, (path, name) in enumerate(zip(found.paths, found.names, strict=True)):
        size = sizes.of(path, name, sum(row.kind == "face" for row in on_page[index]))
        for row in on_page[index]:
            if size is None:
                continue
            scale = sizes.scale(row.page_size or size, size, name, row.where) or (1.0, 1.0)
            box = _clipped(row, size, scale)
            if row.kind == "frame":
                panels[index].append(Frame(f"{index}-{len(panels[index])}", box))
            else:
                faces[index].append(Face(_new_id(row, name, box, seen), UNKNOWN, box))
        pages.append(Page(index, *(size or (0, 0)), tuple(panels[index]), tuple(faces[index])))
    notes += [*filter(None, [found.passed_over]), *sizes.notes()]
    pictures, names = dict(enumerate(found.paths)), dict(enumerate(found.names))
    return _checked(Comic(_book(folder, pages), pictures, names, True, tuple(notes)), boxes)


def _rows(
    folder: PictureFolder, boxes: Path, frames: Path | None
) -> tuple[list[tuple[int, BoxRow]], list[str]]:
    """Every box with the index of its page, and what was left out."""
    files = [read_boxes(boxes, "face"), *([read_boxes(frames, "frame")] if frames else [])]
    rows: list[tuple[int, BoxRow]] = []
    notes = [note for file in files for note in file.notes]
    for number, (file, path) in enumerate(zip(files, (boxes, frames), strict=False)):
        finder = PageFinder(folder)
        for name in file.pages:
            finder.claim(name, f"{path}")
        wanted = ("face", "frame") if frames is None else ("face",) if number == 0 else ("frame",)
        rows += [(finder.page_of(row.page, row.where), row) for row in file.rows if row.kind in wanted]
        left = [row.kind for row in file.rows if row.kind not in wanted]
        if left:
            notes.append(
                f"{path}: {len(left)} boxes of a {left[0]} are left out, because both files are given"
            )
    return rows, notes


def _refuse_shares(path: Path, boxes: Sequence[tuple[float, ...]]) -> None:
    """Refuse boxes that look like shares of the page: all in 0..1, or several with fractions in 0..100."""
    sides = [side for box in boxes for side in box]
    fractions = sum(side != round(side) for side in sides)
    for most, looks in ((1, bool(sides)), (100, len(boxes) >= 4 and 2 * fractions > len(sides))):
        if looks and min(sides) >= 0 and max(sides) <= most:
            raise UserError(
                f"{path}: all boxes lie within 0..{most}, as shares of the page do; give them in pixels"
            )


def _new_id(row: BoxRow, page: str, box: Box, seen: dict[str, BoxRow]) -> str:
    """The id that the file gives a face, or one made of page and box; remembered in ``seen``."""
    face_id = row.face_id or _id_of(page, box)
    other = seen.setdefault(face_id, row)
    if other is not row and row.face_id:
        raise UserError(
            f"{row.where}: face id {face_id!r} is there already ({other.where}); give each its own"
        )
    if other is not row:
        raise UserError(
            f"{row.where}: box {_shown(row.box)} on page {row.page} is there already ({other.where}); cut one"
        )
    return face_id


def _id_of(page: str, box: Box) -> str:
    """An id for a face that has none: the same whenever the same box on the same page is read."""
    return lasting_id(hashlib.sha256(f"{composed(page)} {box}".encode()).hexdigest()[:8])


def lasting_id(made: str) -> str:
    """An id of eight hex digits, with a letter first if a spreadsheet would make a number of it.

    Version 0.1 made ids such as 00000123 and 1e000005: this is what they are called now.
    """
    return f"f{made[1:]}" if re.fullmatch(r"(?=.{8}$)\d+(e\d+)?", made) else made


def _refuse_twins(book: Book) -> None:
    seen: dict[str, int] = {}
    for page in book.pages:
        for face in page.faces:
            if face.face_id in seen:
                raise UserError(
                    f"{book.title}, page {page.index}: face id {face.face_id!r} is there already (page "
                    f"{seen[face.face_id]}); give each its own"
                )
            seen[face.face_id] = page.index


def _shown(box: Iterable[float]) -> str:
    return ",".join(f"{side:g}" for side in box)


def _clipped(row: BoxRow, size: Size, scale: tuple[float, float]) -> Box:
    """The box of a row in pixels of its picture, inside of it."""
    if row.box[2] <= row.box[0] or row.box[3] <= row.box[1]:
        raise UserError(
            f"{row.where}: box {_shown(row.box)} (xmin,ymin,xmax,ymax) is empty; mend its corners"
        )
    xmin, ymin, xmax, ymax = (side * scale[i % 2] for i, side in enumerate(row.box))
    box = (
        max(round(xmin), 0),
        max(round(ymin), 0),
        min(round(xmax), size[0]),
        min(round(ymax), size[1]),
    )
    inside = max(box[2] - box[0], 0) * max(box[3] - box[1], 0)
    # Half a pixel of rounding on each side is no sign of a wrong page.
    if inside < INSIDE * (xmax - xmin - 1) * (ymax - ymin - 1) or not inside:
        raise UserError(
            f"{row.where}: box {_shown(row.box)} (xmin,ymin,xmax,ymax) lies outside of page {row.page}, "
            f"{size[0]}x{size[1]} pixels; mend the box or the page"
        )
    return box


def _checked(comic: Comic, source: Path) -> Comic:
    if not any(page.faces for page in comic.book.pages):
        said = f" ({'; '.join(comic.notes)})" if comic.notes else ""
        raise UserError(f"{source}: has no face box{said}; there is nothing to cluster")
    return comic


def _book(folder: Path, pages: list[Page]) -> Book:
    return Book(folder.resolve().name or "comic", (Character(UNKNOWN, ""),), tuple(pages))
