"""Readers of comics without labels: every layout, and each mistake as one sentence that names its place."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mfc.corpus.comics import Comic, read_comic
from mfc.errors import UserError
from tests.golden.conftest import GOLDEN

ANNOTATIONS = "annotations.v2018.05.31"


def read(folder: Path, **options: str) -> Comic:
    return read_comic(folder, **{"annotations": ANNOTATIONS, **options})


def refusal(folder: Path, **options: str) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Three pages of 200x100, named so that the alphabet and the numbers disagree."""
    folder = tmp_path / "My Comic"
    folder.mkdir()
    for name in ("p2.png", "p10.png", "p1.jpg"):
        Image.new("L", (200, 100), 255).save(folder / name)
    return folder


def csv(pages: Path, text: str, name: str = "boxes.csv") -> str:
    path = pages.parent / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def coco(pages: Path, **changes: Any) -> str:
    content: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "pages/p2.png", "width": 200, "height": 100}],
        "categories": [{"id": 1, "name": "Face"}, {"id": 2, "name": "panel"}, {"id": 3, "name": "text"}],
        "annotations": [
            {"id": 11, "image_id": 7, "category_id": 1, "bbox": [10, 20, 40, 50]},
            {"id": 12, "image_id": 7, "category_id": 2, "bbox": [0, 0, 100.4, 100]},
            {"id": 13, "image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10]},
        ],
    }
    path = pages.parent / "boxes.json"
    path.write_text(json.dumps({**content, **changes}))
    return str(path)


def test_pages_and_a_csv(pages: Path) -> None:
    """Page 2 before page 10; corners or sides; frames told apart by their kind; own ids or made ones."""
    boxes = "page,kind,xmin,ymin,xmax,ymax,face_id\np10.png,face,1,2,41,52,A\n"
    boxes += "p2.png,frame,0,0,99,99,\np2.png,Face,5,5,60,60,\n"
    comic = read(pages, boxes=csv(pages, boxes))
    assert comic.book.title == "My Comic"
    assert list(comic.names.values()) == ["p1.jpg", "p2.png", "p10.png"]
    first, second, third = comic.book.pages
    assert not first.faces
    assert [f.box for f in second.frames] == [(0, 0, 99, 99)]
    assert [(f.box, f.character_id) for f in second.faces] == [((5, 5, 60, 60), "unknown")]
    assert [(f.face_id, f.box) for f in third.faces] == [("A", (1, 2, 41, 52))]
    assert (third.width, third.height) == (200, 100)
    sides = "image;x;y;width;height\np2.png;5;5;55;55\n"
    same = read(pages, boxes=csv(pages, "\ufeff" + sides))
    assert same.book.pages[1].faces == second.faces, "the made id depends on page and box alone"


def test_frames_from_a_file_of_their_own(pages: Path) -> None:
    """They replace those of the boxes file."""
    boxes = csv(pages, "page,xmin,ymin,xmax,ymax\np1.jpg,5,5,60,60\n")
    frames = csv(pages, "page,xmin,ymin,xmax,ymax\np1.jpg,0,0,100,100\np1.jpg,100,0,200,100\n", "frames.csv")
    page = read(pages, boxes=boxes, frames=frames).book.pages[0]
    assert (len(page.faces), len(page.frames)) == (1, 2)


def test_pages_and_coco(pages: Path) -> None:
    """Categories tell faces and frames; the others are left out; a file name may have a folder."""
    page = read(pages, boxes=coco(pages)).book.pages[1]
    assert [(f.face_id, f.box) for f in page.faces] == [("11", (10, 20, 50, 70))]
    assert [f.box for f in page.frames] == [(0, 0, 100, 100)]


def test_one_kind_of_boxes_is_what_the_option_says(pages: Path) -> None:
    """A detector's only class need not be called face."""
    one = {"categories": [{"id": 1, "name": "manga-head"}]}
    annotation = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 20, 40, 50]}
    assert len(read(pages, boxes=coco(pages, **one, annotations=[annotation])).book.pages[1].faces) == 1


def test_a_box_over_the_edge_is_clipped(pages: Path) -> None:
    """Detectors do that; beyond half of the box it is a mistake."""
    text = "page,xmin,ymin,xmax,ymax\np1.jpg,-10.4,50,60,{}\n"
    assert read(pages, boxes=csv(pages, text.format(130))).book.pages[0].faces[0].box == (0, 50, 60, 100)
    assert "line 2" in refusal(pages, boxes=csv(pages, text.format(300)))


def test_manga109_without_and_with_labels(tmp_path: Path) -> None:
    """Characters taken out of the XML, or left in: the same comic is read."""
    root = tmp_path / "corpus"
    shutil.copytree(GOLDEN / "corpus", root)
    xml = root / ANNOTATIONS / "HoshiNoFune.xml"
    labelled = read(root, title="HoshiNoFune")
    text = re.sub(r' character="\w+"', "", xml.read_text(encoding="utf-8"))
    xml.write_text(re.sub(r"<characters>.*</characters>", "", text, flags=re.S), encoding="utf-8")
    assert read(root, title="HoshiNoFune") == labelled
    assert {f.character_id for p in labelled.book.pages for f in p.faces} == {"unknown"}
    assert "choose one by --title: " in refusal(root)
    (root / "books.txt").write_text("HoshiNoFune\n")
    assert read(root) == labelled


def test_cut_out_faces(tmp_path: Path) -> None:
    """Each picture is a face as it is; nothing is known of pages."""
    for name in ("b.png", "a.JPG"):
        Image.new("RGB", (60, 80)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    comic = read(tmp_path)
    assert not comic.pages_known
    assert [(f.face_id, f.box) for p in comic.book.pages for f in p.faces] == [
        ("a.JPG", (0, 0, 60, 80)),
        ("b.png", (0, 0, 60, 80)),
    ]


def test_a_turned_photograph_has_the_size_that_one_sees(tmp_path: Path) -> None:
    """EXIF orientation 6 swaps width and height, as the decoder does."""
    image = Image.new("RGB", (60, 80))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path).book.pages[0].width == 80


HEAD = "page,xmin,ymin,xmax,ymax\n"


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("page,xmin,ymin,xmax\np1.jpg,1,1,5\n", ["line 1", "no column ymax"]),
        ("xmin,ymin,xmax,ymax\n1,1,5,5\n", ["line 1", "no column page"]),
        ("page,page\n", ["line 1", "'page' is there twice"]),
        ("", ["line 1", "columns are none"]),
        (HEAD, ["no face box"]),
        (HEAD + "p1.jpg,1,1,50\n", ["line 2", "4 cells under 5 columns"]),
        (HEAD + "p1.jpg,1,1,50,x\n", ["line 2, column ymax", "'x'"]),
        (HEAD + "p1.jpg,1,1,50,nan\n", ["line 2, column ymax", "'nan'"]),
        (HEAD + "p1.jpg,50,1,50,9\n", ["line 2", "is empty"]),
        (HEAD + "p1.jpg,1,1,9,9\np1.jpg,900,1,950,50\n", ["line 3", "outside of page p1.jpg", "200x100"]),
        (HEAD + "p7.jpg,1,1,9,9\n", ["line 2", "'p7.jpg' is not in", "p1.jpg"]),
        (HEAD + "p1.jpg,1,1,9,9\np1.jpg,1,1,9,9\n", ["line 3", "there already", "line 2"]),
        (
            HEAD.replace("page", "page,kind") + "p1.jpg,dog,1,1,9,9\np1.jpg,cat,1,1,9,9\n",
            ["cat, dog", "'face'"],
        ),
        (HEAD + 'p1.jpg,"1,1,9,9\n', ["line 2", "not valid CSV"]),
    ],
)
def test_mistakes_in_a_csv(pages: Path, text: str, complaints: list[str]) -> None:
    """Each names the file and the line or column."""
    message = refusal(pages, boxes=csv(pages, text))
    assert "boxes.csv" in message
    for complaint in complaints:
        assert complaint in message


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"images": None}, "has no list 'images'"),
        ({"images": [{"id": 7}]}, "images[0]: has no file_name"),
        ({"images": [{"id": 7, "file_name": "x.png"}]}, "annotation 11: page 'x.png' is not in"),
        ({"images": []}, "annotation 11: image_id 7 is not among"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 1}]}, "annotation 1: has no bbox"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3]}]}, "bbox is not"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, None]}]}, "None"),
        ({"annotations": ["x"]}, "annotations[0]: has no id"),
        ({"categories": [{"id": 1, "name": "dog"}, {"id": 3, "name": "cat"}]}, "is called 'face'"),
    ],
)
def test_mistakes_in_a_coco_file(pages: Path, changes: dict[str, Any], complaint: str) -> None:
    """Each names the file and the entry."""
    message = refusal(pages, boxes=coco(pages, **changes))
    assert "boxes.json" in message
    assert complaint in message


def make_unreadable(pages: Path) -> str:
    (pages / "p1.jpg").write_bytes(b"no picture")
    return csv(pages, HEAD + "p1.jpg,1,1,9,9\n")


@pytest.mark.parametrize(
    ("boxes", "complaint"),
    [
        (make_unreadable, "p1.jpg: not a readable picture"),
        (lambda pages: str(pages / "nothing.csv"), "nothing.csv: cannot be read"),
        (lambda pages: csv(pages, "{", "broken.json"), "broken.json, line 1: not valid JSON"),
    ],
)
def test_mistakes_in_files(pages: Path, boxes: Callable[[Path], str], complaint: str) -> None:
    """A picture that is none, files that are missing or broken."""
    assert complaint in refusal(pages, boxes=boxes(pages))


def test_mistakes_about_the_folder(tmp_path: Path, pages: Path) -> None:
    """Missing, empty, or half of a layout: what can be given is told."""
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no .jpg" in refusal(tmp_path / "empty")
    (tmp_path / "half" / "images").mkdir(parents=True)
    assert "books.txt" in refusal(tmp_path / "half")
    assert "--boxes" in refusal(pages, frames="frames.csv")
