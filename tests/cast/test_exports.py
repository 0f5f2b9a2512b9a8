"""What is exported can be read: by our own readers, and by the ones of others."""

from __future__ import annotations

import json
from pathlib import Path

from mfc.cast.exports import as_coco, as_manga109
from mfc.cast.table import ClusteredFace, as_csv, read_sheet
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


def test_the_table_can_be_read_as_corrections(tmp_path: Path) -> None:
    """Nothing counts as changed but what was decided before."""
    path = tmp_path / "clusters.csv"
    path.write_text(as_csv(FACES, PAGES), encoding="utf-8")
    first, second = read_sheet(path).rows
    assert (first.face_id, first.cluster, first.name, first.decided) == ("0000abcd", 12, NAME, True)
    assert (first.moved, first.renamed, second.fixed) == (False, False, False)
    assert (second.line, second.cluster, second.name, second.distance) == (3, 2, "", 0.0)


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
