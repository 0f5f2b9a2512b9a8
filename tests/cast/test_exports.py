"""What is exported can be read: by our own readers, and by the ones of others."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from mfc.cast.exports import as_coco, as_manga109, picture_names, with_page_sizes
from mfc.cast.table import ClusteredFace
from mfc.corpus.comics import Comic
from mfc.corpus.manga109 import UNKNOWN, Book, Character, Face, Frame, Page, open_corpus

NAME = 'Aki "the <Fox>" & 狐, 明\u0007'
BOOK = Book(
    "A & B's",
    (Character(UNKNOWN, ""),),
    (
        Page(
            3,
            200,
            100,
            (Frame("3-0", (0, 0, 100, 100)),),
            (
                Face("0000abcd", UNKNOWN, (10, 20, 50, 70)),
                Face("x.png", UNKNOWN, (60, 20, 90, 70)),
                Face("tiny", UNKNOWN, (0, 0, 5, 5)),
            ),
        ),
        Page(4, 0, 0, (), ()),
    ),
)
FACES = [
    ClusteredFace("0000abcd", 3, (10, 20, 50, 70), 12, NAME, True, 0.25, False),
    ClusteredFace("x.png", 3, (60, 20, 90, 70), 2, "", False, 0.0, True),
]
PAGES = {3: "p, 3.png", 4: "p4.png"}


def test_coco() -> None:
    """Boxes as x, y, width, height; a category a cluster."""
    content = json.loads(as_coco(FACES, BOOK, PAGES))
    assert content["images"][0] == {"id": 3, "file_name": "p, 3.png", "width": 200, "height": 100}
    assert content["categories"] == [
        {"id": 2, "name": "Cluster 2", "supercategory": "character"},
        {"id": 12, "name": NAME, "supercategory": "character"},
    ]
    assert [(a["image_id"], a["category_id"], a["bbox"], a["area"]) for a in content["annotations"]] == [
        (3, 12, [10, 20, 40, 50], 2000),
        (3, 2, [60, 20, 30, 50], 1500),
    ]


def test_the_annotation_file_is_one_of_manga109(tmp_path: Path) -> None:
    """Our strict reader, and manga109api inside it, read it back: boxes, frames, characters."""
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "books.txt").write_text("T\n")
    (tmp_path / "annotations" / "T.xml").write_text(as_manga109(FACES, BOOK), encoding="utf-8")
    book = open_corpus(tmp_path, "annotations").read_book("T")
    assert [(c.character_id, c.name) for c in book.characters] == [
        ("00000002", "Cluster 2"),
        ("0000000c", NAME.replace("\u0007", " ")),
        ("00000000", "Other"),
    ]
    page = book.pages[0]
    assert [(f.character_id, f.box) for f in page.faces] == [
        ("0000000c", (10, 20, 50, 70)),
        ("00000002", (60, 20, 90, 70)),
        ("00000000", (0, 0, 5, 5)),
    ]
    assert page.faces[0].face_id == "0000abcd"
    assert [f.box for f in page.frames] == [(0, 0, 100, 100)]
    assert [(p.index, p.width) for p in book.pages] == [(3, 200), (4, 0)]


def test_ids_that_are_made_up_are_nobody_elses(tmp_path: Path) -> None:
    """The first made-up id, 00000001, is that of a face that has its own."""
    faces = (Face("a.png", UNKNOWN, (0, 0, 40, 40)), Face("00000001", UNKNOWN, (50, 0, 90, 40)))
    book = Book("T", (), (Page(0, 100, 50, (Frame("0-0", (0, 0, 100, 50)),), faces),))
    text = as_manga109([], book)
    assert [part.split('"')[1] for part in text.split(" id=")[1:]] == [
        "00000000",
        "00000002",
        "00000003",
        "00000001",
    ]


def test_every_page_is_exported_in_its_size(tmp_path: Path) -> None:
    """Its picture's where none is known, else what its boxes need; a page without either is left out."""
    Image.new("L", (60, 40)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"broken")
    box = Face("a", UNKNOWN, (5, 5, 35, 45))
    pages = (
        Page(0, 9, 8, (), ()),
        Page(1, 0, 0, (), ()),
        Page(2, 0, 0, (), (box,)),
        Page(3, 0, 0, (), ()),
    )
    names = {i: f"{i}.png" for i in range(4)}
    comic = Comic(Book("T", (), pages), {i: tmp_path / name for i, name in names.items()}, names, True)
    book = with_page_sizes(comic)
    assert [(p.index, p.width, p.height) for p in book.pages] == [(0, 9, 8), (1, 60, 40), (2, 35, 45)]
    assert [i["file_name"] for i in json.loads(as_coco([], book, picture_names(comic)))["images"]] == [
        "0.png",
        "1.png",
        "2.png",
    ]


def test_pages_that_are_called_by_numbers_are_exported_by_their_files() -> None:
    """As in Manga109; pages in folders keep those."""
    comic = Comic(
        Book("T", (), ()),
        {7: Path("root/images/T/007.jpg"), 8: Path("pages/ch2/001.jpg")},
        {7: "7", 8: "ch2/001.jpg"},
        True,
    )
    assert picture_names(comic) == {7: "T/007.jpg", 8: "ch2/001.jpg"}
