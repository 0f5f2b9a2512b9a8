"""Boxes of faces and frames from a file: COCO JSON, or a table. Each kind of box is told, none is guessed."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfc.corpus.names import printable
from mfc.corpus.pictures import Size
from mfc.corpus.reading import read_json
from mfc.corpus.sheets import Line, read_csv
from mfc.errors import UserError

FACE_KINDS = ("face", "faces", "head")
FRAME_KINDS = ("frame", "frames", "panel", "panels")
CHARACTER = "character"
"""The supercategory of what `mfc cluster` exports: each category is a character, its boxes are faces."""

PAGE_COLUMNS = ("page", "image", "file", "file_name", "filename", "image_path", "img")
CORNERS, SIDES = ("xmin", "ymin", "xmax", "ymax"), ("x", "y", "width", "height")
ID_COLUMNS = ("face_id", "id")
KIND_COLUMNS = ("kind", "category", "class", "label", "type", "name", "class_name", "category_name", "object")
SIZE_COLUMNS = (("image_width", "image_height"), ("page_width", "page_height"), ("width", "height"))
OWN_COLUMN = "made_cluster"
"""In a table that `mfc cluster` wrote; its ``name`` is a character's."""


@dataclass(frozen=True)
class BoxRow:
    """One box, as the file gives it."""

    where: str
    """File and line or id, for messages."""
    page: str
    kind: str
    """``face``, ``frame``, another word in small letters, or empty when the file does not say."""
    box: tuple[float, float, float, float]
    """xmin, ymin, xmax, ymax in pixels of the page."""
    face_id: str
    """Empty when the file has none."""
    page_size: Size | None
    """Of the page that the box was drawn on, when the file says it."""


@dataclass(frozen=True)
class BoxFile:
    """The boxes of faces and frames in a file."""

    rows: tuple[BoxRow, ...]
    pages: tuple[str, ...]
    """Every page that the file names, also those without a box."""
    notes: tuple[str, ...]
    """Sentences about what was left out."""


def read_boxes(path: Path, default: str) -> BoxFile:
    """Read a file of boxes.

    Args:
        default: ``face`` or ``frame``: what boxes of a single kind, by another name or none, are of.

    Raises:
        UserError: naming the file and the line, column, entry or id that is wrong.
    """
    if path.suffix.lower() == ".json":
        rows, pages = _coco_rows(path)
    else:
        rows = _csv_rows(path)
        pages = [row.page for row in rows]
    kinds = Counter(row.kind for row in rows)
    if rows and default not in kinds:
        if len(kinds) > 1 or kinds.keys() & {"face", "frame"}:
            raise UserError(
                f"{path}: none of its kinds of boxes ({_some(sorted(kinds))}) is called {default!r}; rename "
                "the one that is, or the column if it tells something else"
            )
        return BoxFile(tuple(dataclasses.replace(row, kind=default) for row in rows), tuple(pages), ())
    used = tuple(row for row in rows if row.kind in ("face", "frame"))
    others = _some([f"{n} {kind}" for kind, n in kinds.items() if kind not in ("face", "frame")])
    notes = (f"{path}: boxes of other kinds than face and frame are left out: {others}",) if others else ()
    return BoxFile(used, tuple(pages), notes)


def _some(words: Sequence[str]) -> str:
    return ", ".join([*words[:8], *["…"] * (len(words) > 8)])


def _kind(word: str) -> str:
    folded = _short(" ".join(word.lower().split()))
    return "face" if folded in FACE_KINDS else "frame" if folded in FRAME_KINDS else folded


def _csv_rows(path: Path) -> list[BoxRow]:
    lines = read_csv(path, [PAGE_COLUMNS, *zip(CORNERS, SIDES, strict=True)])
    if not lines:
        return []
    have = lines[0].cells
    sides = SIDES if set(SIDES) <= set(have) else CORNERS
    for column in sides:
        if column not in have:
            raise UserError(
                f"{path}: has no column {column}; boxes need {', '.join(CORNERS)} or {', '.join(SIDES)}"
            )
    kind = _kind_column(path, lines)
    page = next(name for name in PAGE_COLUMNS if name in have)
    face_id = next((name for name in ID_COLUMNS if name in have), "")
    size = next((pair for pair in SIZE_COLUMNS if set(pair) <= set(have) - set(sides)), None)
    for column in sides:
        _refuse_thousands(path, lines, column)
    rows = []
    for line in lines:
        where = f"{path}, line {line.number}"
        a, b, c, d = (_pixels(line.cells[column], f"{where}, column {column}") for column in sides)
        box = (a, b, a + c, b + d) if sides is SIDES else (a, b, c, d)
        name = line.cells[page]
        if not name:
            raise UserError(f"{where}, column {page}: is empty; name the picture")
        if kind and not line.cells[kind]:
            raise UserError(f"{where}, column {kind}: is empty; write face, or what the box is of")
        page_size = _size(*(line.cells[side] for side in size), where=where) if size else None
        if page_size and abs(page_size[0] - box[2] + box[0]) < 2 and abs(page_size[1] - box[3] + box[1]) < 2:
            page_size = None  # that of the box, written beside its corners
        given = _face_id(line.cells.get(face_id, ""), where)
        rows.append(BoxRow(where, name, _kind(line.cells.get(kind, "")), box, given, page_size))
    return rows


def _kind_column(path: Path, lines: Sequence[Line]) -> str:
    """The column that tells what a box is of; empty when there is none."""
    known = {*PAGE_COLUMNS, *CORNERS, *SIDES, *ID_COLUMNS, *(name for pair in SIZE_COLUMNS for name in pair)}
    words = {
        name: {_kind(line.cells[name]) for line in lines} - {""}
        for name in lines[0].cells
        if name not in known
    }
    if words.get("kind") or OWN_COLUMN in words:
        return "kind" if words.get("kind") else ""
    telling = [name for name in (*KIND_COLUMNS, *words) if words.get(name, set()) & {"face", "frame"}]
    return next((name for name in (*telling, *KIND_COLUMNS) if words.get(name)), "")


def _refuse_thousands(path: Path, lines: Sequence[Line], column: str) -> None:
    """1.030 beside 300 is a thousand and thirty, where the same program writes 1.03 beside 300.5."""
    if any(re.fullmatch(r"\d{3,}", line.cells[column]) for line in lines):
        for line in lines:
            if re.fullmatch(r"[1-9]\d?\.\d{3}", line.cells[column]):
                raise _thousands(line.cells[column], f"{path}, line {line.number}, column {column}")


def _coco_rows(path: Path) -> tuple[list[BoxRow], list[str]]:
    """The boxes, and the names of all images."""
    content = read_json(path)
    if not isinstance(content, dict):
        content = {}
    images = _by_id(path, content, "images", "file_name")
    declared = _by_id(path, content, "categories", "name") if content.get("categories") else {}
    kinds = {
        number: "face" if entry.get("supercategory") == CHARACTER else _kind(entry["name"])
        for number, entry in declared.items()
    }
    rows = []
    for i, annotation in enumerate(_entries(path, content, "annotations")):
        number = _field(annotation, "id", f"{path}: annotations[{i}]")
        where = f"{path}: annotation {_short(number)}"
        image = images.get(_field(annotation, "image_id", where))
        if image is None:
            raise UserError(
                f"{where}: image_id {_short(annotation['image_id'])!r} is not among the images; add it there "
                "or mend it"
            )
        size = _size(image.get("width"), image.get("height"), where=f"{path}: image {_short(image['id'])}")
        given = annotation.get("face_id")  # a face of an export of ours keeps its id
        face_id = _face_id(number if given is None else given, where)
        kind, box = _coco_kind(annotation, kinds, where), _coco_box(annotation, where)
        rows.append(BoxRow(where, image["file_name"], kind, box, face_id, size))
    return rows, [image["file_name"] for image in images.values()]


def _coco_kind(annotation: Mapping[str, Any], kinds: Mapping[Any, str], where: str) -> str:
    """The kind of a box; in a file that declares no categories, those without one are of one kind."""
    if not kinds and "category_id" not in annotation:
        return ""
    category = _field(annotation, "category_id", where)
    if not kinds:
        return f"category {_short(category)}"
    if category not in kinds:
        raise UserError(
            f"{where}: category_id {_short(category)!r} is not among the categories; declare it there or "
            "mend it"
        )
    return kinds[category]


def _coco_box(annotation: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    box = annotation.get("bbox")
    if box is None:
        raise UserError(f"{where}: has no bbox; add it")
    if not isinstance(box, list) or len(box) != 4:
        raise UserError(f"{where}: bbox is not [x, y, width, height]; mend it")
    x, y, width, height = (_pixels(side, f"{where}, bbox") for side in box)
    return x, y, x + width, y + height


def _by_id(path: Path, content: Mapping[str, Any], name: str, label: str) -> dict[Any, dict[str, Any]]:
    """The entries of a list by their ids; one that is there twice must be the same twice."""
    found: dict[Any, dict[str, Any]] = {}
    for i, entry in enumerate(_entries(path, content, name)):
        number = _field(entry, "id", f"{path}: {name}[{i}]")
        _field(entry, label, f"{path}: {name}[{i}]", (str,))
        other = found.setdefault(number, entry)
        if other != entry:
            raise UserError(
                f"{path}: {name} has id {_short(number)} twice, for {printable(other[label])!r} and for "
                f"{printable(entry[label])!r}; give each its own"
            )
    return found


def _entries(path: Path, content: Mapping[str, Any], name: str) -> list[Any]:
    entries = content.get(name)
    if not isinstance(entries, list):
        raise UserError(f"{path}: has no list {name!r}; give boxes in COCO format, or a .csv file")
    return entries


def _field(entry: Any, name: str, where: str, kinds: tuple[type, ...] = (int, float, str)) -> Any:
    """A value of a COCO entry that has to be there; an id is a number or a text."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if value is None:
        raise UserError(f"{where}: has no {name}; add it")
    if not isinstance(value, kinds) or isinstance(value, bool):
        words = "a text" if kinds == (str,) else "a number or a text"
        raise UserError(f"{where}: {name} {_short(value)} is not {words}; mend it")
    return value


def _short(value: Any) -> str:
    text = printable(str(value))
    return text if len(text) <= 40 else f"{text[:40]}…"


def _face_id(value: Any, where: str) -> str:
    text = str(value).strip() if isinstance(value, int | float | str) else "…"
    if len(text) > 128 or not text.isprintable() or text == "…":
        raise UserError(f"{where}: {_short(value)!r} is no id of a face; use up to 128 letters and digits")
    return text


def _size(width: Any, height: Any, *, where: str) -> Size | None:
    """The size of a page; None where it is empty or zero, which many tools write for "not known"."""
    if not (width and height):
        return None
    sides = [round(_pixels(side, f"{where}, size")) for side in (width, height)]
    if min(sides) < 0:
        raise UserError(f"{where}: size {width}x{height} is negative; mend it")
    return (sides[0], sides[1]) if min(sides) else None


def _pixels(value: Any, where: str) -> float:
    """A number of pixels, with a point or a comma before its decimals; never one with thousands marked."""
    text = "" if isinstance(value, bool | None) else str(value).strip()
    if not text and not isinstance(value, bool | None):
        raise UserError(f"{where}: is empty; write the number of pixels")
    if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text):
        raise _thousands(text, where)
    plain = re.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d{1,3})?", text, flags=re.IGNORECASE)
    number = float(text.replace(",", ".")) if plain else float("nan")
    if not abs(number) < 1e9:
        raise UserError(f"{where}: {_short(value)!r} is not a number of pixels; mend it")
    return number


def _thousands(text: str, where: str) -> UserError:
    whole, decimal = re.sub("[.,]", "", text), text.replace(",", ".")
    return UserError(f"{where}: {text!r} may be {whole} or {decimal}; write {whole}, or {decimal}0")
