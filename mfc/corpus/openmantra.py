"""OpenMantra, real manga that anybody may download, as a corpus in the Manga109 layout.

Hinami, Ishiwatari, Yasuda and Matsui, "Towards fully automated manga translation", AAAI 2021
(github.com/mantra-inc/open-mantra-dataset). The dataset has frames and texts of single pages; the faces, and
whose they are, come from tables of this project, one a book (``openmantra_faces``, see the README there).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from mfc.corpus.manga109 import DEFAULT_ANNOTATIONS, Box
from mfc.corpus.pictures import read_page
from mfc.corpus.reading import read_json
from mfc.corpus.sheets import read_csv
from mfc.corpus.validate import same_place
from mfc.errors import UserError, reason_of
from mfc.files import file_digest, replacing, write_json

FACES = Path(__file__).with_name("openmantra_faces")
"""The tables of face boxes of this project, ``BOOK.csv``."""
COLUMNS = ("page", "xmin", "ymin", "xmax", "ymax", "character")
PAGE_SIZE = ("page_width", "page_height")
"""Columns that a table may have: the size of the page that the box was drawn on."""
RECORD = "openmantra.json"
"""In the corpus: what was written, and whether all of it was."""
BOOKS = "books.txt"
INSIDE = 0.5
"""A box is cut off at the edges of its page when at least this share of it is inside."""
MAX_JSON_BYTES = 256 * 2**20
LONGEST_NAME = 200
"""Bytes of a title or of a picture's path; systems take 255 a name, and endings come to it."""
ATTRIBUTION = """\
# Where this corpus comes from

The pictures, the boxes of frames and the texts of these books are from the OpenMantra dataset: {titles}.

R. Hinami, S. Ishiwatari, K. Yasuda, Y. Matsui, "Towards fully automated manga translation", AAAI 2021,
<https://github.com/mantra-inc/open-mantra-dataset>, under the licence Creative Commons
Attribution-NonCommercial 4.0 International (<https://creativecommons.org/licenses/by-nc/4.0/>): whoever shows
or passes on the pages names the source, and no use of them is commercial.

`mfc import_openmantra` changed this: pictures have other file names and the same bytes; frames and texts are
written in the layout of Manga109, cut off at the edges of the pages; boxes and names of faces are from mfc,
and no part of the dataset.
"""


@dataclass(frozen=True)
class Import:
    """A corpus that has been read and found good, before anything is written."""

    files: Mapping[str, str | Path]
    """Name below the corpus' root → text, or the picture to copy."""
    counts: Mapping[str, int]
    """How many of each: book, page, frame, text, face, character."""
    changes: tuple[str, ...]
    """Every box and text that is not as in its source, a sentence each."""
    remarks: tuple[str, ...]
    """What a person should know: books that were left out, and how many changes of each kind."""


@dataclass(frozen=True)
class _Box:
    """A box of the dataset or of a table, before it is known to lie on its page."""

    where: str
    """File and line or element, for messages."""
    kind: str
    box: Box
    text: str = ""
    """What is written in a text; the name of a face's character."""
    drawn_on: tuple[int, int] | None = None
    """Width and height of the page that a face was boxed on, where its table says so."""


@dataclass(frozen=True)
class _Page:
    where: str
    picture: Path
    boxes: tuple[_Box, ...]
    """Frames, then texts."""


def read_import(dataset: Path, faces: Path | None = None) -> Import:
    """Read the dataset and the tables of faces; everything that can be wrong is found here.

    Args:
        dataset: folder with ``annotation.json`` and ``images``, as downloaded.
        faces: folder of more tables, ``BOOK.csv``; for a book, they go before those of this project.

    Raises:
        UserError: naming the file, and the line, page or element that is wrong.
    """
    books = _read_dataset(dataset)
    tables = {path.stem: path for path in sorted(FACES.glob("*.csv"))}
    remarks = []
    for path in _tables(faces) if faces else ():
        if path.stem not in books:
            raise UserError(f"{path}: {dataset} has no book {path.stem!r}; it has {', '.join(books)}")
        if path.stem in tables:
            remarks.append(f"the faces of {path.stem} are those of {path}, not those of this project")
        tables[path.stem] = path
    chosen = [title for title in books if title in tables]
    if not chosen:
        raise UserError(
            f"{dataset}: the faces of none of its books ({', '.join(books)}) are in a table; give tables "
            "BOOK.csv by --faces DIR"
        )
    for titles, why in (
        (set(books) - set(tables), "left out, because their faces are in no table (give one by --faces)"),
        (set(tables) - set(books), "not in the dataset, though there are tables of their faces"),
    ):
        if titles:
            remarks.append(f"{_many(len(titles), 'book')} {why}: {', '.join(sorted(titles))}")
    return _convert(dataset, {title: books[title] for title in chosen}, tables, remarks)


def write_import(plan: Import, root: Path, overwrite: bool = False) -> bool:
    """Write the corpus into ``root``; False when it is there already, as planned.

    An interrupted corpus is finished. Files of other names are left alone.

    Raises:
        UserError: when ``root`` holds something else, or, without ``overwrite``, another corpus of this kind.
    """
    digests = {name: _digest(content) for name, content in plan.files.items()}
    try:
        record = _read_record(root)
        old: dict[str, str] = record["files"] if record else {}
        if record and record["finished"]:
            different = [name for name in old if not _is(root / name, old[name])]
            if old == digests and not different:
                return False
            if not overwrite:
                why = f"{different[0]} in it was changed" if different else "it has other books or boxes"
                raise UserError(
                    f"{root} holds an OpenMantra corpus, but {why}: give another --out, or --overwrite true"
                )
        write_json(root / RECORD, {"finished": False, "files": {**old, **digests}})
        for name in set(old) - set(digests) | {BOOKS}:
            (root / name).unlink(missing_ok=True)
        for name, content in plan.files.items():
            target = root / name
            if not _is(target, digests[name]):
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, Path):
                    shutil.copyfile(content, target)
                else:
                    with replacing(target) as path:
                        path.write_bytes(content.encode())
        done = {"finished": True, "counts": plan.counts, "changes": plan.changes, "files": digests}
        write_json(root / RECORD, done)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--out {root}: cannot be written ({reason}); make room or choose another") from None
    return True


def _digest(content: str | Path) -> str:
    if isinstance(content, Path):
        return file_digest(content)
    return hashlib.sha256(content.encode()).hexdigest()


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and file_digest(path) == digest


def _read_record(root: Path) -> dict[str, Any] | None:
    """What was written into ``root`` before; None when it is not there or empty, hidden files apart."""
    if root.exists() and not root.is_dir():
        raise UserError(f"--out {root} is a file; give a folder")
    if not root.exists() or all(path.name.startswith(".") for path in root.iterdir()):
        return None
    try:
        content = read_json(root / RECORD)
        files = {name: str(digest) for name, digest in content["files"].items() if _stays_below(name)}
        return {"finished": bool(content["finished"]), "files": files}
    except (UserError, TypeError, KeyError, AttributeError):
        raise UserError(
            f"--out {root} is not empty and holds no OpenMantra corpus; give another folder"
        ) from None


def _read_dataset(dataset: Path) -> dict[str, tuple[_Page, ...]]:
    """The pages of every book, in the order of ``annotation.json``."""
    path = dataset / "annotation.json"
    try:
        if not path.is_file():
            raise UserError(
                f"{dataset} has no annotation.json; give the folder of the OpenMantra dataset as downloaded"
            )
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(
                f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB; give the dataset as published"
            )
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from None
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{path}{line}: not valid JSON in UTF-8; download it again") from None
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: is no list of books; give the annotation.json of the OpenMantra dataset")
    books: dict[str, tuple[_Page, ...]] = {}
    for number, book in enumerate(content, start=1):
        title = _field(book, "book_title", str, f"{path}: book {number}")
        if not re.fullmatch(r"\w([\w .'-]*[\w'-])?", title) or len(title.encode()) > LONGEST_NAME:
            raise UserError(
                f"{path}: book {number}: {title[:40]!r} cannot name a folder; use letters and digits"
            )
        if title in books:
            raise UserError(f"{path}: book {number}: {title!r} is there twice; cut one")
        pages = _field(book, "pages", list, f"{path}: {title}")
        books[title] = tuple(
            _read_page(page, dataset, f"{path}: {title}, page {place}") for place, page in enumerate(pages)
        )
    return books


def _read_page(page: Any, dataset: Path, where: str) -> _Page:
    picture = _field(_field(page, "image_paths", dict, where), "ja", str, where)
    if not _stays_below(picture) or len(picture.encode()) > LONGEST_NAME:
        raise UserError(f"{where}: picture {picture[:80]!r} is no path below the dataset's folder; mend it")
    boxes = []
    for kind in ("frame", "text"):
        for number, item in enumerate(_field(page, kind, list, where)):
            here = f"{where}, {kind} {number}"
            x, y, w, h = (_field(item, name, float, here) for name in ("x", "y", "w", "h"))
            text = _field(item, "text_ja", str, here) if kind == "text" else ""
            boxes.append(_Box(here, kind, (round(x), round(y), round(x + w), round(y + h)), text))
    return _Page(where, dataset / picture, tuple(boxes))


def _field(item: Any, name: str, kind: type, where: str) -> Any:
    """A value of the JSON that has to be there; as a number, any of less than 1e9 either way."""
    value = item.get(name) if isinstance(item, dict) else None
    if kind is float:
        good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    else:
        good = isinstance(value, kind)
    if not good:
        words = {str: "text", list: "list", dict: "object", float: "number of pixels"}
        raise UserError(f"{where}: has no {words[kind]} {name!r}; download the dataset again, or mend it")
    return value


def _stays_below(name: str) -> bool:
    """Whether a relative path, with ``/`` on any system, cannot lead out of its folder."""
    path = PurePosixPath(name)
    plain = not set(name) & set('\\:*?"<>|') and name.isprintable()
    return bool(path.parts) and plain and not path.is_absolute() and ".." not in path.parts


def _tables(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"--faces {folder}: there is no such folder; give one with a table BOOK.csv a book")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".csv" and not p.name.startswith("."))
    if not found:
        raise UserError(f"--faces {folder}: has no .csv file; write a table BOOK.csv a book")
    return found


def _read_faces(path: Path, pages: int) -> dict[int, list[_Box]]:
    """The faces in a table by the place of their page, 0 … ``pages`` - 1."""
    faces: dict[int, list[_Box]] = {}
    for line in read_csv(path, [(name,) for name in COLUMNS]):
        where = f"{path}, line {line.number}"
        page, xmin, ymin, xmax, ymax = (_whole(line.cells[name], name, where) for name in COLUMNS[:-1])
        if not 0 <= page < pages:
            raise UserError(f"{where}: page {page} is none of the book's, 0 to {pages - 1}; mend it")
        name = line.cells["character"]
        if not name or not name.isprintable():
            raise UserError(f"{where}: the character has no name; write one, or Other for somebody nameless")
        drawn_on = None
        if all(line.cells.get(column) for column in PAGE_SIZE):
            width, height = (_whole(line.cells[column], column, where) for column in PAGE_SIZE)
            drawn_on = (width, height)
        box = _Box(where, "face", (xmin, ymin, xmax, ymax), name, drawn_on)
        faces.setdefault(page, []).append(box)
    if not faces:
        raise UserError(f"{path}: has no face; add a line a face, or take the file away")
    return faces


def _whole(value: str, column: str, where: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise UserError(f"{where}, column {column}: {value[:40]!r} is not a whole number; mend it")
    return int(value)


def _convert(
    dataset: Path,
    books: Mapping[str, tuple[_Page, ...]],
    tables: Mapping[str, Path],
    remarks: Sequence[str],
) -> Import:
    """The files of the corpus. Its pictures are decoded, to know their sizes and that they are good."""
    gone = [page.picture for pages in books.values() for page in pages if not page.picture.is_file()]
    if gone:
        raise UserError(
            f"{gone[0]} is missing, {_many(len(gone), 'picture')} in all; download the dataset again"
        )
    files: dict[str, str | Path] = {}
    counts = dict.fromkeys(("book", "page", "frame", "text", "face", "character"), 0)
    changes: list[tuple[str, str]] = []
    used_ids: set[str] = set()
    for title, pages in books.items():
        faces = _read_faces(tables[title], len(pages))
        names = dict.fromkeys(face.text for boxes in faces.values() for face in boxes)
        character_ids = {name: _new_id(used_ids, title, "character", name) for name in names}
        root = ElementTree.Element("book", title=title)
        characters = ElementTree.SubElement(root, "characters")
        for name, key in character_ids.items():
            ElementTree.SubElement(characters, "character", id=key, name=name)
        listed = ElementTree.SubElement(root, "pages")
        for index, page in enumerate(pages):
            size = _size(page.picture)
            shape = {"index": str(index), "width": str(size[0]), "height": str(size[1])}
            element = ElementTree.SubElement(listed, "page", shape)
            for face in faces.get(index, ()):
                if face.drawn_on not in (None, size):
                    raise UserError(
                        f"{face.where}: boxed on a page of {_by(face.drawn_on)} pixels, but {page.picture} "
                        f"has {_by(size)}; use the pictures as published"
                    )
            for box in _kept([*page.boxes, *faces.get(index, ())], size, changes):
                key = _new_id(used_ids, title, str(index), box.kind, str(box.box))
                sides = {k: str(v) for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box.box, strict=True)}
                made = ElementTree.SubElement(element, box.kind, {"id": key, **sides})
                if box.kind == "face":
                    made.set("character", character_ids[box.text])
                elif box.kind == "text":
                    made.text = box.text
                counts[box.kind] += 1
            files[f"images/{title}/{index:03d}.jpg"] = page.picture
        for what, count in (("book", 1), ("page", len(pages)), ("character", len(names))):
            counts[what] += count
        ElementTree.indent(root)
        xml = ElementTree.tostring(root, encoding="unicode")
        files[f"{DEFAULT_ANNOTATIONS}/{title}.xml"] = f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}\n'
    files["splits.json"] = json.dumps({"train": [], "val": [], "test": list(books)}) + "\n"
    files["ATTRIBUTION.md"] = ATTRIBUTION.format(titles=", ".join(books))
    if (dataset / "LICENSE.md").is_file():
        files["LICENSE.md"] = dataset / "LICENSE.md"
    # Last: without it no reader takes the folder for a corpus.
    files[BOOKS] = "".join(f"{title}\n" for title in books)
    kinds = Counter(kind for kind, _ in changes)
    told = [f"{kind}: {count}; {RECORD} lists them" for kind, count in kinds.items()]
    return Import(files, counts, tuple(sentence for _, sentence in changes), (*remarks, *told))


def _kept(boxes: Iterable[_Box], size: tuple[int, int], changes: list[tuple[str, str]]) -> list[_Box]:
    """The boxes of a page strictly inside of it; what had to be changed is added to ``changes``, by its kind.

    Raises:
        UserError: for a face that is not on its page, or there twice.
    """
    kept: list[_Box] = []
    for box in boxes:
        clipped, text = _clip(box.box, size), _plain(box.text)
        twin = next((k for k in kept if clipped and k.kind == box.kind and same_place(k.box, clipped)), None)
        shown, problem = ",".join(map(str, box.box)), ""
        if clipped is None:
            problem = f"does not lie on its page of {_by(size)} pixels"
        elif twin:
            problem = f"is that of {twin.where} again"
        elif box.kind == "text" and not text.strip():
            problem = "has no text"
        if problem and box.kind == "face":
            raise UserError(f"{box.where}: box {shown} (xmin,ymin,xmax,ymax) {problem}; mend it")
        if clipped is None or problem:
            changes.append((f"{box.kind}s left out", f"{box.where}: box {shown} {problem}; left out"))
            continue
        if clipped != box.box:
            cut = ",".join(map(str, clipped))
            changes.append(
                (f"{box.kind}s cut off at the edge of the page", f"{box.where}: box {shown} → {cut}")
            )
        if text != box.text:
            changes.append(("texts with characters replaced", f"{box.where}: {box.text!r} → {text!r}"))
        kept.append(replace(box, box=clipped, text=text))
    return kept


def _plain(text: str) -> str:
    """The text without what XML has no place for, not even escaped: control characters, half surrogates."""
    return re.sub("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", re.sub("\r\n?", "\n", text))


def _clip(box: Box, size: tuple[int, int]) -> Box | None:
    """The box cut so that 0 <= xmin < xmax < width, y alike; None when less than `INSIDE` of it is there."""
    xmin, ymin, xmax, ymax = box
    left, top, right, bottom = max(xmin, 0), max(ymin, 0), min(xmax, size[0]), min(ymax, size[1])
    inside = max(right - left, 0) * max(bottom - top, 0)
    if xmax <= xmin or ymax <= ymin or inside < INSIDE * (xmax - xmin) * (ymax - ymin):
        return None
    right, bottom = min(right, size[0] - 1), min(bottom, size[1] - 1)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _new_id(used: set[str], *what: str) -> str:
    """Eight hex digits that stay the same while the thing does, whatever is added around it."""
    for attempt in itertools.count():
        key = hashlib.sha256("\0".join([*what, str(attempt)]).encode()).hexdigest()[:8]
        # manga109api makes a number of an id without letters.
        if key not in used and not key.isdigit():
            used.add(key)
            return key
    raise AssertionError


def _size(picture: Path) -> tuple[int, int]:
    try:
        return read_page(picture).size
    except OSError as error:
        raise UserError(
            f"{picture}: not a readable picture ({reason_of(error)}); download the dataset again"
        ) from None


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
