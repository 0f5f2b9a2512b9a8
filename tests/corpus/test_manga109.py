"""The reader of the Manga109 layout, above all what the real corpus and careless hands put into it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc.corpus.manga109 import OTHERS_PAPER, Box, Corpus, Frame, assign_frame, is_other, open_corpus
from mfc.corpus.splits import resolve_splits
from mfc.errors import UserError

BOX = 'xmin="10" ymin="20" xmax="60" ymax="80"'


def write_corpus(
    root: Path, pages: str, *, title: str = "AoiSora", characters: str = "", head: str = ""
) -> Path:
    """A corpus of one title whose XML has these pages."""
    (root / "annotations.v2018.05.31").mkdir(parents=True)
    (root / "images" / title).mkdir(parents=True)
    (root / "books.txt").write_text(f"{title}\n", encoding="utf-8")
    xml = f"{head}<book title='x'><characters>{characters}</characters><pages>{pages}</pages></book>"
    (root / "annotations.v2018.05.31" / f"{title}.xml").write_text(xml, encoding="utf-8")
    return root


@pytest.mark.parametrize("number_like", ["12345678", "00001e05", "00000042", "0000006b"])
def test_ids_that_look_like_numbers_stay_texts(tmp_path: Path, number_like: str) -> None:
    """manga109api makes an int of 12345678; every id and name must leave this door as written."""
    write_corpus(
        tmp_path,
        f'<page index="3" width="100" height="90"><frame id="{number_like}" {BOX}/>'
        f'<face id="{number_like}" character="{number_like}" {BOX}/></page>',
        characters=f'<character id="{number_like}" name="{number_like}"/>',
    )
    book = open_corpus(tmp_path).read_book("AoiSora")
    page = book.pages[0]
    assert (page.index, page.width, page.height) == (3, 100, 90)
    assert page.faces[0].face_id == page.faces[0].character_id == page.frames[0].frame_id == number_like
    assert page.faces[0].box == (10, 20, 60, 80)
    assert (book.characters[0].character_id, book.characters[0].name) == (number_like, number_like)


@pytest.mark.parametrize("title", ["That'sIzumiko", "ByebyeC-BOY", "星の舟", "Dr.Hime", "A B"])
def test_titles_with_apostrophes_hyphens_and_blanks_are_read(tmp_path: Path, title: str) -> None:
    """Titles of the real corpus are not all words; the picture's path is made of the title as it stands."""
    write_corpus(tmp_path, '<page index="0" width="0" height="0"/>', title=title)
    corpus = open_corpus(tmp_path)
    assert corpus.titles == (title,)
    page = corpus.read_book(title).pages[0]
    assert (page.width, page.height, page.faces, page.frames) == (0, 0, (), ())
    assert corpus.image_path(title, 7) == tmp_path / "images" / title / "007.jpg"
    assert corpus.image_path(title, 1234).name == "1234.jpg"


@pytest.mark.parametrize("title", ["..", "../evil", "/etc", "a/b", "a\\b", "a\x00b", "x" * 252, "花" * 84])
def test_a_title_cannot_lead_out_of_its_folder(tmp_path: Path, title: str) -> None:
    """books.txt is untrusted: a path in it is refused with its line."""
    write_corpus(tmp_path, "")
    (tmp_path / "books.txt").write_text(f"AoiSora\n{title}\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2"):
        open_corpus(tmp_path)


def test_only_listed_titles_and_natural_page_numbers_have_a_picture(tmp_path: Path) -> None:
    """`image_path` trusts neither its title nor its number."""
    corpus = open_corpus(write_corpus(tmp_path, ""))
    with pytest.raises(UserError, match=r"'\.\./x' is not in"):
        corpus.image_path("../x", 0)
    with pytest.raises(UserError, match="negative"):
        corpus.image_path("AoiSora", -1)


def test_missing_parts_of_the_layout_are_named(tmp_path: Path) -> None:
    """Each missing part gives a sentence with the path that is missing."""
    with pytest.raises(UserError, match=r"no books\.txt"):
        open_corpus(tmp_path)
    (tmp_path / "books.txt").write_text("AoiSora\n")
    with pytest.raises(UserError, match="no images"):
        open_corpus(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=r"no folder annotations\.v2018\.05\.31; give"):
        open_corpus(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations.v2020.12.18").mkdir()
    with pytest.raises(UserError, match=r"--annotations annotations\.v2020\.12\.18"):
        open_corpus(tmp_path)
    with pytest.raises(UserError, match=r"AoiSora\.xml is missing"):
        open_corpus(tmp_path, "annotations").read_book("AoiSora")
    with pytest.raises(UserError, match="not the name of a folder"):
        open_corpus(tmp_path, "../elsewhere")


@pytest.mark.parametrize(("text", "reason"), [("A\nA\n", "line 2.*twice"), ("\n\n", "lists no title")])
def test_a_useless_title_list_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """A doubled title would double its faces; an empty list is nobody's wish."""
    write_corpus(tmp_path, "")
    (tmp_path / "books.txt").write_text(text)
    with pytest.raises(UserError, match=reason):
        open_corpus(tmp_path)


def test_byte_order_mark_blank_lines_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    """A books.txt that went through a Windows editor lists the same titles."""
    write_corpus(tmp_path, "")
    (tmp_path / "books.txt").write_bytes(b"\xef\xbb\xbfAoiSora\r\n\r\n")
    assert open_corpus(tmp_path).titles == ("AoiSora",)
    assert open_corpus(tmp_path).read_book("AoiSora").title == "AoiSora"
    (tmp_path / "books.txt").write_bytes("星".encode("shift-jis"))
    with pytest.raises(UserError, match="not UTF-8"):
        open_corpus(tmp_path)


def test_malformed_xml_names_file_and_line(tmp_path: Path) -> None:
    """A truncated download is told from a programming error by file and line."""
    corpus = open_corpus(write_corpus(tmp_path, "\n\n<page index='0'>"))
    with pytest.raises(UserError, match=r"AoiSora\.xml, line 3: not well-formed XML \(mismatched tag\)"):
        corpus.read_book("AoiSora")


@pytest.mark.parametrize(
    ("pages", "reason"),
    [
        ('<page width="9" height="9"/>', "a page: has no index"),
        ('<page index="-1" width="9" height="9"/>', "index is negative"),
        ('<page index="x" width="9" height="9"/>', "index 'x' is not a whole number"),
        (
            f'<page index="1" width="9" height="9"><face {BOX} character="c"/></page>',
            "page 1: a face: has no id",
        ),
        (f'<page index="1" width="9" height="9"><face id="f" {BOX}/></page>', "face f: has no character"),
        (
            '<page index="1" width="9" height="9"><face id="f" character="c" xmin="1.5"/></page>',
            r"page 1: face f: xmin '1\.5' is not a whole number",
        ),
        (
            f'<page index="1" width="9" height="9"><face id="f" character="../c" {BOX}/></page>',
            r"face f: character '\.\./c' is not an id",
        ),
    ],
)
def test_wrong_values_name_page_and_element(tmp_path: Path, pages: str, reason: str) -> None:
    """A wrong attribute is found before anything is cut, and the message leads to it."""
    corpus = open_corpus(write_corpus(tmp_path, pages))
    with pytest.raises(UserError, match=reason):
        corpus.read_book("AoiSora")


def test_another_kind_of_xml_is_refused(tmp_path: Path) -> None:
    """Well-formed, but no annotation."""
    corpus = open_corpus(write_corpus(tmp_path, ""))
    (tmp_path / "annotations.v2018.05.31" / "AoiSora.xml").write_text("<html/>")
    with pytest.raises(UserError, match="not a Manga109 annotation"):
        corpus.read_book("AoiSora")


BOMB = (
    "<!DOCTYPE b ["
    + '<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    + "]>"
)


@pytest.mark.parametrize(
    "head",
    [
        BOMB,
        '<!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE b [<!ENTITY % x SYSTEM "http://127.0.0.1/x.dtd"> %x;]>',
        '<!DOCTYPE b [<!NOTATION n SYSTEM "n"><!ENTITY x SYSTEM "x" NDATA n>]>',
    ],
    ids=["expansion", "local file", "parameter entity", "unparsed"],
)
def test_entities_are_refused_before_they_expand(tmp_path: Path, head: str) -> None:
    """An annotation can neither blow up the memory nor fetch a file."""
    corpus = open_corpus(write_corpus(tmp_path, "&a11;" if head == BOMB else "", head=head))
    with pytest.raises(UserError, match=r"AoiSora\.xml, line 1: declares an XML entity"):
        corpus.read_book("AoiSora")


def test_the_paper_knows_exactly_ten_spellings_of_others() -> None:
    """Case, full width, brackets and blanks all count, as in the reference."""
    assert len(OTHERS_PAPER) == 10
    assert all(is_other(name) and is_other(name, "extended") for name in OTHERS_PAPER)
    for near in ("others", "The other", " Other", "Ｏｔｈｅｒｓ", "Other（スリ)", "_Other"):
        assert not is_other(near)
        assert is_other(near, "extended")
    for person in ("Mother", "Otherworld", "Other（スリ）の弟", "_", "", "(Other)", "An other"):
        assert not is_other(person, "extended")


def brute_force_frame(face: Box, frames: tuple[Frame, ...]) -> str | None:
    """The rule by counting pixels."""

    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    shares = [len(pixels(face) & pixels(frame.box)) for frame in frames]
    return frames[shares.index(max(shares))].frame_id if shares and max(shares) else None


boxes = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))


@given(boxes, st.lists(boxes, max_size=4))
def test_a_face_belongs_to_the_frame_that_covers_most_of_it(face: Box, drawn: list[Box]) -> None:
    """Equal to counting pixels, for nested, empty, reversed and equal frames alike."""
    frames = tuple(Frame(f"{i:08x}", box) for i, box in enumerate(drawn))
    assert assign_frame(face, frames) == brute_force_frame(face, frames)


def test_a_face_that_touches_no_frame_has_none() -> None:
    """The reference gives it the page's first frame; that is an accident behind a switch."""
    frames = (Frame("0000000a", (0, 0, 5, 5)), Frame("0000000b", (10, 0, 15, 5)))
    assert assign_frame((5, 0, 10, 5), frames) is None
    assert assign_frame((5, 0, 10, 5), frames, reference_quirks=True) == "0000000a"
    assert assign_frame((5, 0, 10, 5), (), reference_quirks=True) is None


def test_the_fingerprint_sees_annotations_titles_and_pictures(tmp_path: Path) -> None:
    """It changes with each of them, and not with time or place."""
    write_corpus(tmp_path / "a", '<page index="0" width="9" height="9"/>')
    first = open_corpus(tmp_path / "a").fingerprint()
    time.sleep(0.01)
    write_corpus(tmp_path / "b", '<page index="0" width="9" height="9"/>')
    assert open_corpus(tmp_path / "b").fingerprint() == first
    (tmp_path / "b/images/AoiSora/000.jpg").write_bytes(b"x")
    picture = open_corpus(tmp_path / "b").fingerprint()
    (tmp_path / "b/images/AoiSora/000.jpg").write_bytes(b"xy")
    larger = open_corpus(tmp_path / "b").fingerprint()
    (tmp_path / "b/images/AoiSora/000.jpg").write_bytes(b"yx")
    other = open_corpus(tmp_path / "b").fingerprint()
    xml = tmp_path / "b/annotations.v2018.05.31/AoiSora.xml"
    xml.write_text(xml.read_text().replace('"9"', '"8"'))
    edited = open_corpus(tmp_path / "b").fingerprint()
    assert len({first, picture, larger, other, edited}) == 5
    (tmp_path / "b/images/AoiSora/Thumbs.db").write_bytes(b"no picture")
    assert open_corpus(tmp_path / "b").fingerprint() == edited


def test_a_change_of_a_picture_without_a_change_of_size_or_time_is_seen(tmp_path: Path) -> None:
    """Also with the cache that remembers digests, which an untouched corpus is only looked at with."""
    corpus = open_corpus(write_corpus(tmp_path / "c", '<page index="0" width="9" height="9"/>'))
    pictures = [corpus.image_path("AoiSora", i) for i in range(3)]
    for i, path in enumerate(pictures):
        path.write_bytes(bytes([i]) * 10)
    time.sleep(0.03)
    cache = tmp_path / "digests.json"
    first = corpus.fingerprint(cache)
    assert len(json.loads(cache.read_text())["files"]) == 3
    assert corpus.fingerprint(cache) == corpus.fingerprint() == first
    before = pictures[1].stat()
    pictures[1].write_bytes(b"\7" * 10)
    os.utime(pictures[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert corpus.fingerprint(cache) == corpus.fingerprint() != first


def test_a_page_index_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    """The boxes of one would be cut from the picture of both."""
    page = '<page index="3" width="9" height="9"/>'
    corpus = open_corpus(write_corpus(tmp_path, page + page.replace("3", "4") + page))
    with pytest.raises(UserError, match=r"AoiSora\.xml: page 3 is there twice"):
        corpus.read_book("AoiSora")


HEAD = '<?xml version="1.0" encoding="{}"?>'


@pytest.mark.parametrize(
    ("encoding", "head", "reason"),
    [
        ("utf-16", HEAD.format("UTF-16"), r"AoiSora\.xml: not UTF-8 text \(byte 0\); save it as UTF-8"),
        ("utf-16-le", "", "not UTF-8 text"),
        ("utf-32", "", r"not UTF-8 text \(byte 0\)"),
        ("shift-jis", HEAD.format("Shift_JIS"), "not UTF-8 text"),
        ("latin-1", HEAD.format("iso-8859-1"), "not UTF-8 text"),
        ("utf-8", HEAD.format("UTF-16"), "line 1: declares the encoding UTF-16; save it as UTF-8"),
        ("utf-8", HEAD.format("utf-7"), "declares the encoding utf-7"),
        ("utf-8", HEAD.format("Shift_JIS"), "declares the encoding Shift_JIS"),
        ("utf-8", HEAD.format("X-NONE"), "declares the encoding X-NONE"),
    ],
)
def test_other_encodings_are_refused(tmp_path: Path, encoding: str, head: str, reason: str) -> None:
    """Whatever the declaration says; names would come out garbled, or a stack trace."""
    corpus = open_corpus(write_corpus(tmp_path, ""))
    name = "é" if encoding == "latin-1" else "ｱ" if encoding == "shift-jis" else "花"
    xml = f'{head}<book title="x"><characters><character id="a" name="{name}"/></characters><pages/></book>'
    (tmp_path / "annotations.v2018.05.31" / "AoiSora.xml").write_bytes(xml.encode(encoding))
    with pytest.raises(UserError, match=reason):
        corpus.read_book("AoiSora")


@pytest.mark.parametrize(
    "head", [HEAD.format("UTF-8"), HEAD.format("utf8"), HEAD.format("US-ASCII"), "\ufeff", ""]
)
def test_utf8_in_its_spellings_is_read(tmp_path: Path, head: str) -> None:
    """With a byte order mark, with any declaration of it, with none."""
    corpus = open_corpus(write_corpus(tmp_path, '<page index="0" width="9" height="9"/>', head=head))
    assert len(corpus.read_book("AoiSora").pages) == 1


@pytest.mark.parametrize("name", ["007.png", "007.JPG", "7.jpg", "0007.tiff"])
def test_the_picture_of_a_page_may_be_spelled_otherwise(tmp_path: Path, name: str) -> None:
    """By its number; the usual name goes before, and two others are refused."""
    corpus = open_corpus(write_corpus(tmp_path, ""))
    folder = tmp_path / "images" / "AoiSora"
    for other in (name, "70.jpg", "007.txt", "x007.png", "007.jpg.png"):
        (folder / other).touch()
    assert corpus.image_path("AoiSora", 7) == folder / name
    (folder / "00007.bmp").touch()
    with pytest.raises(UserError, match="are both page 7"):
        corpus.image_path("AoiSora", 7)
    (folder / "007.jpg").touch()
    assert corpus.image_path("AoiSora", 7) == folder / "007.jpg"


def test_two_hundred_thousand_titles_are_read_and_looked_up_in_linear_time(tmp_path: Path) -> None:
    """Each title is compared with none of the others: a limit on comparisons, not on time."""
    write_corpus(tmp_path, "")
    titles = [f"T{i}" for i in range(200_000)]
    (tmp_path / "books.txt").write_text("\n".join(titles))
    corpus = open_corpus(tmp_path)
    assert corpus.titles == tuple(titles)
    (tmp_path / "splits.json").write_text(json.dumps({"test": titles}))
    assert resolve_splits(tmp_path, corpus.titles)["test"] == titles

    class Counted(str):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    counted = Corpus(tmp_path, corpus.annotations, tuple(map(Counted, titles)))
    for title in titles[::100]:
        assert counted.title(title) == title
    assert Counted.compared < 10 * len(titles)
