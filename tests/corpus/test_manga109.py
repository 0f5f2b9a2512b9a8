"""The reader of the Manga109 layout, above all what the real corpus and careless hands put into it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc.corpus.manga109 import OTHERS_PAPER, Box, Frame, assign_frame, is_other, open_corpus
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


@pytest.mark.parametrize("title", ["..", "../evil", "/etc", "a/b", "a\\b", "a\x00b"])
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
    xml = tmp_path / "b/annotations.v2018.05.31/AoiSora.xml"
    xml.write_text(xml.read_text().replace('"9"', '"8"'))
    edited = open_corpus(tmp_path / "b").fingerprint()
    assert len({first, picture, larger, edited}) == 4
