"""Read a corpus in the Manga109 layout: ``books.txt``, ``annotations…/TITLE.xml``, ``images/TITLE/NNN.jpg``.

The XML is read with manga109api (Aizawa et al., "Building a Manga Dataset Manga109 with Annotations for
Multimedia Applications", IEEE MultiMedia 2020). What it returns is normalised at this door: it turns ids and
names that look like numbers into ints, and it expands XML entities, which is refused here beforehand.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.parsers import expat

import manga109api
from defusedxml.common import EntitiesForbidden, ExternalReferenceForbidden

from mfc.config import DEFAULT_ANNOTATIONS
from mfc.corpus.digests import content_digests
from mfc.corpus.names import composed, is_plain_name, refuse_unusable_path
from mfc.corpus.pictures import SUFFIXES
from mfc.corpus.reading import read_text
from mfc.errors import UserError

MAX_XML_BYTES = 64 * 2**20  # a real volume has about half a mebibyte

# The reference's list, letter for letter: nothing is trimmed, folded or guessed.
OTHERS_PAPER = frozenset(
    {
        "Other",
        "other",
        "Others",
        "the other",
        "Ｏｔｈｅｒ",
        "Ｏｈｔｅｒ",
        "Other（スリ）",
        "Other（役人）",
        "Other（赤穂浪士）",
        "Other(大吉屋の手下）",
    }
)
# What `is_other` compares with after folding width, case, a leading underscore and a remark in brackets.
OTHERS_EXTENDED = frozenset({"other", "others", "the other", "the others", "ohter", "ohters"})

UNKNOWN = "unknown"
"""The id of the one character of a book that was read without its labels."""

Box = tuple[int, int, int, int]
"""xmin, ymin, xmax, ymax in page pixels, origin top left; the maximum sides are exclusive."""


@dataclass(frozen=True)
class Character:
    """One declaration of a character."""

    character_id: str
    name: str


@dataclass(frozen=True)
class Frame:
    """A panel of the comic."""

    frame_id: str
    box: Box


@dataclass(frozen=True)
class Face:
    """An annotated face; its character need not be declared in the book."""

    face_id: str
    character_id: str
    box: Box


@dataclass(frozen=True)
class Page:
    """A double page as the XML describes it; a size of 0x0 means "not known"."""

    index: int
    width: int
    height: int
    frames: tuple[Frame, ...]
    faces: tuple[Face, ...]


@dataclass(frozen=True)
class Book:
    """One volume, everything in the order of the XML."""

    title: str
    characters: tuple[Character, ...]
    pages: tuple[Page, ...]


@dataclass(frozen=True)
class Corpus:
    """A folder in the Manga109 layout; make it with `open_corpus`.

    Titles are compared in one Unicode form, and their files found in whichever form the file system has them.
    """

    root: Path
    annotations: str
    titles: tuple[str, ...]

    @cached_property
    def _title_of(self) -> Mapping[str, str]:
        return {composed(title): title for title in self.titles}

    def title(self, name: str) -> str:
        """A title as ``books.txt`` spells it; `UserError` for one that is not there."""
        if composed(name) not in self._title_of:
            raise UserError(
                f"title {name!r} is not in {self.root / 'books.txt'}; add it there or mend the name"
            )
        return self._title_of[composed(name)]

    def read_book(self, title: str, *, labels: bool = True) -> Book:
        """`read_annotation` of a title."""
        return read_annotation(self.root, self.annotations, self.title(title), labels=labels)

    def image_path(self, title: str, index: int) -> Path:
        """Where the picture of a page is: ``NNN.jpg``, or what has its number and an ending of a picture.

        Title and index cannot lead out of the images folder. `UserError` when two pictures have the number.
        """
        if index < 0:
            raise UserError(f"{title}: page index {index} is negative; number pages from 0")
        folder = _as_spelled(self.root / "images" / self.title(title))
        usual = folder / f"{index:03d}.jpg"
        if usual.exists() or not folder.is_dir():
            return usual
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and re.fullmatch(rf"0*{index}", path.stem)
        )
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1].name} are both page {index}; take one out")
        return found[0] if found else usual

    def fingerprint(self, cache: Path | None = None) -> str:
        """Hash of what is annotated and of the pictures, by their content.

        Args:
            cache: where digests of pictures are remembered, see `mfc.corpus.digests`.
        """
        digest = hashlib.sha256()
        pictures: list[Path] = []
        for title in self.titles:
            xml = _xml_path(self.root, self.annotations, title).read_bytes()
            digest.update(f"{title}\0{hashlib.sha256(xml).hexdigest()}\0".encode())
            folder = _as_spelled(self.root / "images" / title)
            if folder.is_dir():
                found = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
                pictures += sorted(found, key=lambda path: path.name)
        for path, content in zip(pictures, content_digests(pictures, cache), strict=True):
            digest.update(f"{path.parent.name}\0{path.name}\0{content}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def open_corpus(root: Path, annotations: str = DEFAULT_ANNOTATIONS) -> Corpus:
    """Check the layout and read the list of titles (``books.txt`` order).

    Raises `UserError` when ``books.txt``, the images or the annotation folder is missing.
    """
    root = Path(root)
    refuse_unusable_path(root)
    books = root / "books.txt"
    if not books.is_file():
        raise UserError(f"{root} has no books.txt; give the folder of a corpus in Manga109 layout")
    if not (root / "images").is_dir():
        raise UserError(f"{root} has no images folder; give the folder of a corpus in Manga109 layout")
    if not is_plain_name(annotations):
        raise UserError(f"--annotations {annotations!r} is not the name of a folder below {root}")
    if not (root / annotations).is_dir():
        others = sorted(p.name for p in root.glob("annotations*") if p.is_dir())
        remedy = (
            f"{', '.join(others)} is there, use it by --annotations {others[-1]}"
            if others
            else "give the folder of a corpus in Manga109 layout"
        )
        raise UserError(f"{root} has no folder {annotations}; {remedy}")
    titles: dict[str, str] = {}
    for number, line in enumerate(read_text(books).split("\n"), start=1):
        title = line.removeprefix("\ufeff").rstrip()
        if not title:
            continue
        if not is_plain_name(title, ".xml"):
            shown = repr(title if len(title) <= 80 else f"{title[:80]}…")
            raise UserError(f"{books}, line {number}: {shown} cannot be the name of a folder; mend the title")
        if composed(title) in titles:
            raise UserError(f"{books}, line {number}: title {title!r} is listed twice; cut one of the lines")
        titles[composed(title)] = title
    if not titles:
        raise UserError(f"{books} lists no title; write one a line")
    return Corpus(root, annotations, tuple(titles.values()))


def read_annotation(root: Path, annotations: str, title: str, *, labels: bool = True) -> Book:
    """Read one annotation file. `UserError` names the file and the line or the element that is wrong.

    ``labels=False`` does not look at the characters: all faces are of one, `UNKNOWN`, without a name.
    """
    path = _xml_path(root, annotations, title)
    _refuse_unsafe_xml(path)
    try:
        raw = _OneBook(root, path.stem).get_annotation(path.stem, annotation_type=annotations)
    except (KeyError, TypeError):
        raise UserError(f"{path}: not a Manga109 annotation: expected <book title=…> with <pages>") from None
    if not labels:
        raw["character"] = [{"@id": UNKNOWN, "@name": ""}]
        for face in (face for page in raw["page"] for face in page["face"]):
            face["@character"] = UNKNOWN
    characters = tuple(
        Character(_id(c, "id", f"{path}: a character"), _text(c, "name", f"{path}: a character"))
        for c in raw["character"]
    )
    pages = tuple(_page(p, path) for p in raw["page"])
    seen: set[int] = set()
    for page in pages:
        if page.index in seen:
            raise UserError(f"{path}: page {page.index} is there twice; give each page an index of its own")
        seen.add(page.index)
    return Book(title, characters, pages)


class _OneBook(manga109api.Parser):
    """The parser without its constructor, which would read the list of all titles again."""

    def __init__(self, root: Path, title: str) -> None:
        self.root_dir = root
        self.books = [title]


def _xml_path(root: Path, annotations: str, title: str) -> Path:
    path = _as_spelled(root / annotations / f"{title}.xml")
    if not path.is_file():
        raise UserError(
            f"{path} is missing, but {root / 'books.txt'} lists {title!r}; add one or cut the other"
        )
    return path


def _as_spelled(path: Path) -> Path:
    """A path whose last name is in the Unicode form that the file system has it in."""
    if not path.exists() and not path.name.isascii() and path.parent.is_dir():
        wanted = composed(path.name)
        return next((other for other in path.parent.iterdir() if composed(other.name) == wanted), path)
    return path


def is_other(name: str, rule: str = "paper") -> bool:
    """Whether a character's name means "nobody in particular".

    ``paper``: one of the ten exact spellings of the reference. ``extended``: also later and misspelt ones,
    such as ``_Other``, ``Ｏｔｈｅｒｓ`` or any of them with a remark in brackets at its end.
    """
    if name in OTHERS_PAPER:
        return True
    if rule == "paper":
        return False
    folded = unicodedata.normalize("NFKC", name).strip().casefold()
    without_remark = re.sub(r"\s*\([^()]*\)$", "", folded)
    return without_remark.lstrip("_ ").strip() in OTHERS_EXTENDED


def assign_frame(face: Box, frames: tuple[Frame, ...], *, reference_quirks: bool = False) -> str | None:
    """The id of the frame that covers the largest share of the face box; the first in the XML among equals.

    None on a page without frames, and for a face that no frame overlaps; the reference gives the latter the
    page's first frame, and so does ``reference_quirks=True``.
    """
    best, best_area = None, 0
    for frame in frames:
        width = min(face[2], frame.box[2]) - max(face[0], frame.box[0])
        height = min(face[3], frame.box[3]) - max(face[1], frame.box[1])
        area = max(width, 0) * max(height, 0)
        if area > best_area:
            best, best_area = frame.frame_id, area
    if best is None and reference_quirks and frames:
        return frames[0].frame_id
    return best


def _refuse_unsafe_xml(path: Path) -> None:
    """Parse once without building anything: line of an error, and no entity that could expand or fetch.

    These are defusedxml's guarantees at the speed of expat; defusedxml's own ElementTree parser is
    written in Python and would take longer than everything else together.
    """
    if path.stat().st_size > MAX_XML_BYTES:
        raise UserError(
            f"{path} is larger than {MAX_XML_BYTES >> 20} MiB, too large for an annotation; split it"
        )

    data = path.read_bytes()

    def declared(version: str, encoding: str | None, standalone: int) -> None:
        if (encoding or "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
            raise UserError(f"{path}, line 1: declares the encoding {encoding}; save it as UTF-8")

    def forbid_entity(name: str, *rest: Any) -> None:
        raise EntitiesForbidden(name, None, None, None, None, None)

    def forbid_reference(context: str, base: str | None, system_id: str | None, public_id: str | None) -> int:
        raise ExternalReferenceForbidden(context, base, system_id, public_id)

    # manga109api decodes the file as UTF-8 whatever its declaration says: look at it in the same way.
    scanner = expat.ParserCreate("utf-8")
    scanner.XmlDeclHandler = declared
    scanner.EntityDeclHandler = forbid_entity
    scanner.UnparsedEntityDeclHandler = forbid_entity
    scanner.ExternalEntityRefHandler = forbid_reference
    try:
        data.decode("utf-8")
        if b"\0" in data:
            raise UserError(f"{path}: not UTF-8 text (byte {data.index(0)}); save it as UTF-8")
        scanner.Parse(data, True)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise UserError(
            f"{path}, line {error.lineno}: not well-formed XML ({reason}); mend or download it again"
        ) from None
    except (EntitiesForbidden, ExternalReferenceForbidden):
        line = scanner.CurrentLineNumber
        raise UserError(
            f"{path}, line {line}: declares an XML entity, which is not allowed; remove it"
        ) from None


def _page(raw: dict[str, Any], path: Path) -> Page:
    index = _whole(raw, "index", f"{path}: a page")
    where = f"{path}: page {index}"
    if index < 0:
        raise UserError(f"{where}: the index is negative; number pages from 0")
    frames = tuple(Frame(_id(f, "id", f"{where}: a frame"), _box(f, where)) for f in raw["frame"])
    faces = tuple(
        Face(
            _id(f, "id", f"{where}: a face"),
            _id(f, "character", f"{where}: face {f.get('@id')}"),
            _box(f, where),
        )
        for f in raw["face"]
    )
    return Page(index, _whole(raw, "width", where), _whole(raw, "height", where), frames, faces)


def _box(raw: dict[str, Any], where: str) -> Box:
    where = f"{where}: {raw['type']} {raw['@id']}"
    return (
        _whole(raw, "xmin", where),
        _whole(raw, "ymin", where),
        _whole(raw, "xmax", where),
        _whole(raw, "ymax", where),
    )


def _text(raw: dict[str, Any], key: str, where: str) -> str:
    value = raw.get(f"@{key}")
    if value is None:
        raise UserError(f"{where}: has no {key}; add it")
    return str(value)


def _id(raw: dict[str, Any], key: str, where: str) -> str:
    """An id as a text; it names folders when crops are exported, so only harmless characters are taken."""
    value = _text(raw, key, where)
    if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", value):
        raise UserError(f"{where}: {key} {value!r} is not an id; use eight hex digits")
    return value


def _whole(raw: dict[str, Any], key: str, where: str) -> int:
    value = _text(raw, key, where)
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", value):
        raise UserError(f"{where}: {key} {value!r} is not a whole number of pixels; mend it")
    return int(value)
