"""Read a comic without labels: in Manga109 layout, as pages with boxes (COCO, CSV), or as cut-out faces.

Whatever it was, it becomes a `Book` whose faces all belong to one character without a name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mfc.corpus.manga109 import UNKNOWN, Book, Box, Character, Face, Frame, Page, open_corpus
from mfc.corpus.sheets import read_csv
from mfc.errors import UserError
from mfc.files import value_digest

PICTURES = (".jpg", ".jpeg", ".png")
FACE_KINDS = ("face", "faces", "head")
FRAME_KINDS = ("frame", "frames", "panel", "panels")
INSIDE = 0.5
"""A box that sticks out of its page is clipped when at least this share of it is inside."""
MAX_JSON_BYTES = 256 * 2**20
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

    def fingerprint(self) -> str:
        """Changes with boxes and with names and sizes of the pictures (not with their pixels)."""
        pictures = [(p.name, p.stat().st_size if p.is_file() else -1) for p in self.pictures.values()]
        return value_digest([dataclasses.asdict(self.book), pictures, self.pages_known])


def read_comic(
    folder: Path, *, title: str = "", boxes: str = "", frames: str = "", annotations: str
) -> Comic:
    """Read the comic in ``folder``; see `mfc.config.Cluster` for the other arguments.

    Raises:
        UserError: naming the file and the line, column or id that is wrong.
    """
    if not folder.is_dir():
        raise UserError(f"--input {folder}: there is no such folder; {LAYOUTS}")
    if boxes:
        return _pages_with_boxes(folder, Path(boxes), Path(frames) if frames else None)
    if frames:
        raise UserError(f"--frames {frames}: frames need faces; give their boxes by --boxes")
    if (folder / "books.txt").is_file():
        return _manga109(folder, title, annotations)
    if (folder / "images").is_dir():
        raise UserError(f"--input {folder} has images but no books.txt; write the titles into it, one a line")
    return _cut_faces(folder)


def _manga109(folder: Path, title: str, annotations: str) -> Comic:
    corpus = open_corpus(folder, annotations)
    if not title and len(corpus.titles) > 1:
        shown = ", ".join(corpus.titles[:8]) + (", …" if len(corpus.titles) > 8 else "")
        raise UserError(f"--input {folder} has {len(corpus.titles)} titles; choose one by --title: {shown}")
    title = title or corpus.titles[0]
    book = corpus.read_book(title, labels=False)
    _refuse_twins((face.face_id, f"{title}, page {page.index}") for page in book.pages for face in page.faces)
    pages = []
    for page in book.pages:
        path = corpus.image_path(title, page.index)
        if page.faces and 0 in (page.width, page.height) and path.is_file():
            width, height = _size(path)
            page = dataclasses.replace(page, width=width, height=height)
        pages.append(page)
    pictures = {page.index: corpus.image_path(title, page.index) for page in pages}
    names = {page.index: str(page.index) for page in pages}
    return _checked(Comic(dataclasses.replace(book, pages=tuple(pages)), pictures, names, True), folder)


def _cut_faces(folder: Path) -> Comic:
    paths = _pictures(folder)
    if not paths:
        raise UserError(f"--input {folder} holds no {' or '.join(PICTURES)} file; {LAYOUTS}")
    pages = []
    for index, path in enumerate(paths):
        width, height = _size(path)
        face = Face(path.name, UNKNOWN, (0, 0, width, height))
        pages.append(Page(index, width, height, (), (face,)))
    return Comic(
        _book(folder, pages), dict(enumerate(paths)), {i: p.name for i, p in enumerate(paths)}, False
    )


@dataclass(frozen=True)
class _Row:
    """A box of a table or of a COCO file."""

    where: str
    """File and line or id, for messages."""
    page: str
    kind: str
    """What it is of; empty when the file does not say."""
    box: tuple[float, float, float, float]
    given_id: str


def _pages_with_boxes(folder: Path, boxes: Path, frames: Path | None) -> Comic:
    paths = _pictures(folder)
    if not paths:
        raise UserError(
            f"--input {folder} holds no {' or '.join(PICTURES)} file; give the folder of the pages"
        )
    index_of = {path.name: index for index, path in enumerate(paths)}
    rows = _rows(boxes, default="face")
    if frames is not None:
        rows = [row for row in rows if row.kind != "frame"]
        rows += [row for row in _rows(frames, default="frame") if row.kind == "frame"]
    sizes: dict[int, tuple[int, int]] = {}
    faces: dict[int, list[Face]] = {index: [] for index in range(len(paths))}
    panels: dict[int, list[Frame]] = {index: [] for index in range(len(paths))}
    seen: list[tuple[str, str]] = []
    for row in rows:
        index = _page_of(row, index_of, folder)
        if index not in sizes:
            sizes[index] = _size(paths[index])
        box = _clipped(row, sizes[index])
        if row.kind == "frame":
            panels[index].append(Frame(f"{index}-{len(panels[index])}", box))
        else:
            face_id = row.given_id or _id_of(paths[index].name, box)
            seen.append((face_id, row.where))
            faces[index].append(Face(face_id, UNKNOWN, box))
    _refuse_twins(seen)
    pages = [
        Page(index, *sizes.get(index, (0, 0)), tuple(panels[index]), tuple(faces[index]))
        for index in range(len(paths))
    ]
    names = {index: path.name for index, path in enumerate(paths)}
    return _checked(Comic(_book(folder, pages), dict(enumerate(paths)), names, True), boxes)


def _checked(comic: Comic, source: Path) -> Comic:
    if not any(page.faces for page in comic.book.pages):
        raise UserError(f"{source}: has no face box; there is nothing to cluster")
    return comic


def _book(folder: Path, pages: list[Page]) -> Book:
    return Book(folder.resolve().name or "comic", (Character(UNKNOWN, ""),), tuple(pages))


def _refuse_twins(ids: Any) -> None:
    seen: dict[str, str] = {}
    for face_id, where in ids:
        if face_id in seen:
            raise UserError(
                f"{where}: face id {face_id!r} is there already ({seen[face_id]}); give each its own"
            )
        seen[face_id] = where


def _id_of(page: str, box: Box) -> str:
    """An id for a face that has none: the same whenever the same box on the same page is read."""
    return hashlib.sha256(f"{page} {box}".encode()).hexdigest()[:8]


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder; page 2 stands before page 10."""

    def natural(path: Path) -> list[tuple[int, str]]:
        parts = re.findall(r"[0-9]+|[^0-9]+", path.name.lower())
        return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]

    found = (p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith("."))
    return sorted((p for p in found if p.is_file()), key=lambda path: (natural(path), path.name))


def _size(path: Path) -> tuple[int, int]:
    """Width and height as the picture will be decoded: turned as its EXIF data says. Reads its head only."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("JPEG", "PNG")) as image:
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                return (image.height, image.width) if turned else (image.width, image.height)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: not a readable picture ({reason}); mend it or take it out") from None


def _page_of(row: _Row, index_of: Mapping[str, int], folder: Path) -> int:
    for name in (row.page, re.split(r"[/\\]", row.page)[-1]):
        if name in index_of:
            return index_of[name]
    some = ", ".join(list(index_of)[:3])
    raise UserError(f"{row.where}: page {row.page!r} is not in {folder}, which has {some}, …; mend the name")


def _clipped(row: _Row, size: tuple[int, int]) -> Box:
    xmin, ymin, xmax, ymax = row.box
    shown = ",".join(f"{side:g}" for side in row.box)
    if xmax <= xmin or ymax <= ymin:
        raise UserError(f"{row.where}: box {shown} (xmin,ymin,xmax,ymax) is empty; mend its corners")
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
            f"{row.where}: box {shown} (xmin,ymin,xmax,ymax) lies outside of page {row.page}, "
            f"{size[0]}x{size[1]} pixels; mend the box or the page"
        )
    return box


def _rows(path: Path, default: str) -> list[_Row]:
    """The boxes of faces and frames in a file; ``default`` is what they are of when it does not say."""
    rows = _coco_rows(path) if path.suffix.lower() == ".json" else _csv_rows(path)
    named = [dataclasses.replace(row, kind=_kind(row.kind)) for row in rows]
    kinds = {row.kind for row in rows}
    if not any(row.kind == default for row in named):
        # A single kind of another name, or none at all, is what the option says.
        if len(kinds) == 1 and not any(row.kind in ("face", "frame") for row in named):
            return [dataclasses.replace(row, kind=default) for row in named]
        if rows:
            raise UserError(
                f"{path}: none of its kinds of boxes ({', '.join(sorted(kinds))}) is called {default!r}; "
                "rename the one that is"
            )
    return [row for row in named if row.kind in ("face", "frame")]


def _kind(name: str) -> str:
    folded = name.strip().lower()
    return "face" if folded in FACE_KINDS else "frame" if folded in FRAME_KINDS else folded


def _csv_rows(path: Path) -> list[_Row]:
    pages = ("page", "image", "file", "file_name", "filename")
    lines = read_csv(path, [pages])
    corners, sides = ("xmin", "ymin", "xmax", "ymax"), ("x", "y", "width", "height")
    rows = []
    for line in lines:
        where = f"{path}, line {line.number}"
        columns = sides if set(sides) <= set(line.cells) else corners
        for column in columns:
            if column not in line.cells:
                raise UserError(
                    f"{path}, line 1: has no column {column}; boxes need {', '.join(corners)} or "
                    f"{', '.join(sides)}"
                )
        a, b, c, d = (_number(line.cells[column], f"{where}, column {column}") for column in columns)
        rows.append(
            _Row(
                where,
                next(line.cells[name] for name in pages if name in line.cells),
                next((line.cells[n] for n in ("kind", "category") if n in line.cells), ""),
                (a, b, a + c, b + d) if columns == sides else (a, b, c, d),
                _plain_id(line.cells.get("face_id", line.cells.get("id", "")), where),
            )
        )
    return rows


def _coco_rows(path: Path) -> list[_Row]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB; split the comic")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}); mend it") from None
    except (UnicodeDecodeError, RecursionError):
        raise UserError(f"{path}: not JSON text in UTF-8; save it as such") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend the path") from None
    for name in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise UserError(f"{path}: has no list {name!r}; give boxes in COCO format, or a .csv file")
    images = {
        _field(image, "id", f"{path}: images[{i}]"): str(_field(image, "file_name", f"{path}: images[{i}]"))
        for i, image in enumerate(content["images"])
    }
    categories = {
        _field(c, "id", f"{path}: categories[{i}]"): str(_field(c, "name", f"{path}: categories[{i}]"))
        for i, c in enumerate(content.get("categories") or [])
    }
    rows = []
    for i, annotation in enumerate(content["annotations"]):
        face_id = _field(annotation, "id", f"{path}: annotations[{i}]")
        where = f"{path}: annotation {face_id}"
        image = _field(annotation, "image_id", where)
        if image not in images:
            raise UserError(f"{where}: image_id {image!r} is not among the images; add it there or mend it")
        box = _field(annotation, "bbox", where)
        if len(box) != 4:
            raise UserError(f"{where}: bbox is not [x, y, width, height]; mend it")
        x, y, width, height = (_number(side, f"{where}, bbox") for side in box)
        kind = categories.get(annotation.get("category_id"), "")
        # A face of another export of ours keeps its id.
        given = annotation.get("face_id", face_id)
        rows.append(_Row(where, images[image], kind, (x, y, x + width, y + height), _plain_id(given, where)))
    return rows


def _field(item: Any, name: str, where: str) -> Any:
    """A value of a COCO entry that has to be there: a number, a text, or the list ``bbox``."""
    value = item.get(name) if isinstance(item, dict) else None
    wanted: tuple[type, ...] = (list,) if name == "bbox" else (int, float, str)
    if not isinstance(value, wanted):
        raise UserError(f"{where}: has no {name}; add it")
    return value


def _plain_id(value: Any, where: str) -> str:
    text = str(value).strip()
    if len(text) > 128 or not text.isprintable():
        raise UserError(f"{where}: {text[:20]!r}… is no id of a face; use up to 128 letters and digits")
    return text


def _number(value: Any, where: str) -> float:
    try:
        number = float(str(value).replace(",", ".")) if not isinstance(value, bool) else float("nan")
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e9:
        raise UserError(f"{where}: {value!r} is not a number of pixels; mend it")
    return number
