"""Readers of comics without labels: every layout, and each mistake as one sentence that names its place."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mfc.corpus.comics import Comic, lasting_id, read_comic
from mfc.errors import UserError
from tests.golden.conftest import GOLDEN

ANNOTATIONS = "annotations.v2018.05.31"


def read(folder: Path, **options: Any) -> Comic:
    return read_comic(folder, **{"annotations": ANNOTATIONS, **options})


def refusal(folder: Path, **options: Any) -> str:
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
    labelled = read(root, title="HoshiNoFune", strict=False)
    text = re.sub(r' character="\w+"', "", xml.read_text(encoding="utf-8"))
    xml.write_text(re.sub(r"<characters>.*</characters>", "", text, flags=re.S), encoding="utf-8")
    assert read(root, title="HoshiNoFune", strict=False) == labelled
    assert {f.character_id for p in labelled.book.pages for f in p.faces} == {"unknown"}
    assert "choose one by --title: " in refusal(root)
    (root / "books.txt").write_text("HoshiNoFune\n")
    assert read(root, strict=False) == labelled
    assert "009.jpg: the boxes are for a page of 900x640 pixels, but 009.jpg has 827x585" in refusal(root)


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
        ("page,xmin,ymin,xmax,ymax,page\n", ["line 1", "'page' is there twice"]),
        ("", ["line 1", "columns are none"]),
        (HEAD, ["no face box"]),
        (HEAD + "p1.jpg,1,1,50\n", ["line 2, column ymax", "is empty"]),
        (HEAD + "p1.jpg,1,1,50,60,70\n", ["line 2", "6 cells under 5 columns"]),
        (HEAD + ",1,1,50,60\n", ["line 2, column page", "is empty"]),
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
        ({"images": []}, "annotation 11: image_id '7' is not among"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 1}]}, "annotation 1: has no bbox"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3]}]}, "bbox is not"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, None]}]}, "None"),
        ({"annotations": ["x"]}, "annotations[0]: has no id"),
        (
            {"categories": [{"id": n, "name": name} for n, name in ((1, "dog"), (2, "cow"), (3, "cat"))]},
            "none of its kinds of boxes (cat, cow, dog) is called 'face'",
        ),
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
        (make_unreadable, "p1.jpg: cannot be read (neither JPEG, PNG"),
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
    assert "holds no picture" in refusal(tmp_path / "empty")
    (tmp_path / "half" / "images").mkdir(parents=True)
    assert "books.txt" in refusal(tmp_path / "half")
    assert "--boxes" in refusal(pages, frames="frames.csv")


def faces(comic: Comic) -> dict[str, list[tuple[int, int, int, int]]]:
    """Page name → boxes of its faces."""
    return {comic.names[p.index]: [f.box for f in p.faces] for p in comic.book.pages}


def box_of(number: int, image: Any, category: Any = 1, box: Any = (10, 20, 40, 50)) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(box)}


TWO = [{"id": 7, "file_name": "p2.png"}, {"id": 7, "file_name": "p1.jpg"}]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"images": TWO}, "images has id 7 twice, for 'p2.png' and for 'p1.jpg'"),
        (
            {"images": [{**TWO[0], "width": 200, "height": 100}, {**TWO[0], "width": 400, "height": 200}]},
            "images has id 7 twice",
        ),
        (
            {"categories": [{"id": 1, "name": "face"}, {"id": 1, "name": "frame"}]},
            "categories has id 1 twice",
        ),
        ({"annotations": [box_of(5, 7), box_of(5, 7, box=[90, 20, 40, 50])]}, "face id '5' is there already"),
    ],
)
def test_an_id_that_is_there_twice_is_refused(pages: Path, changes: dict[str, Any], complaint: str) -> None:
    """The last one must not win: each pair is named."""
    assert complaint in refusal(pages, boxes=coco(pages, **changes))


def test_an_entry_that_is_there_twice_letter_for_letter_passes(pages: Path) -> None:
    """Nothing can be meant by it but one image."""
    comic = read(pages, boxes=coco(pages, images=[TWO[0], TWO[0]]))
    assert faces(comic)["p2.png"] == [(10, 20, 50, 70)]


def test_a_key_that_is_there_twice_in_one_object_is_refused(pages: Path) -> None:
    """JSON itself lets the last one win: half of the boxes would be gone."""
    path = Path(coco(pages))
    path.write_text(path.read_text()[:-1] + ', "annotations": []}')
    assert "key 'annotations' is there twice" in refusal(pages, boxes=str(path))


@pytest.mark.parametrize(
    ("category", "complaint"),
    [
        (9, "annotation 2: category_id '9' is not among the categories"),
        ("1", "annotation 2: category_id '1' is not among the categories"),
        (None, "annotation 2: has no category_id"),
        ([1], "annotation 2: category_id [1] is not a number or a text"),
        ({"id": 1}, "annotation 2: category_id {'id': 1} is not a number or a text"),
        (True, "annotation 2: category_id True is not a number or a text"),
    ],
)
def test_a_box_of_an_unknown_kind_is_refused(pages: Path, category: object, complaint: str) -> None:
    """Undeclared, null, of another type: none vanishes."""
    boxes = [box_of(1, 7), box_of(2, 7, category)]
    assert complaint in refusal(pages, boxes=coco(pages, annotations=boxes))
    missing = {key: value for key, value in boxes[1].items() if key != "category_id"}
    assert "annotation 2: has no category_id" in refusal(
        pages, boxes=coco(pages, annotations=[boxes[0], missing])
    )


def test_boxes_of_other_kinds_are_left_out_and_counted(pages: Path) -> None:
    """A declared kind that is neither face nor frame, in either format."""
    comic = read(pages, boxes=coco(pages))
    assert len(comic.notes) == 1
    assert "boxes of other kinds than face and frame are left out: 1 text" in comic.notes[0]
    rows = "p1.jpg,face,1,1,50,60\np1.jpg,fase,1,1,50,70\np1.jpg,fase,1,1,50,80\np1.jpg,text,1,1,9,9\n"
    comic = read(pages, boxes=csv(pages, "page,kind,xmin,ymin,xmax,ymax\n" + rows))
    assert "left out: 2 fase, 1 text" in comic.notes[0]


def test_without_any_categories_all_boxes_are_faces(pages: Path) -> None:
    """The option says what they are; two numbers without names say nothing."""
    annotation = {"id": 1, "image_id": 7, "bbox": [10, 20, 40, 50]}
    assert faces(read(pages, boxes=coco(pages, categories=[], annotations=[annotation])))["p2.png"]
    one = [{**annotation, "category_id": 4}]
    assert faces(read(pages, boxes=coco(pages, categories=None, annotations=one)))["p2.png"]
    two = [*one, {**annotation, "id": 2, "category_id": 5}]
    assert "(category 4, category 5) is called 'face'" in refusal(
        pages, boxes=coco(pages, categories=None, annotations=two)
    )


def test_what_mfc_exports_is_read_again(pages: Path) -> None:
    """Categories are characters, whatever their names: all boxes are faces."""
    characters = [
        {"id": 1, "name": "Cluster 1", "supercategory": "character"},
        {"id": 2, "name": "Frame", "supercategory": "character"},
    ]
    boxes = [{**box_of(1, 7), "face_id": "0000aaaa"}, {**box_of(2, 7, 2, (90, 20, 40, 50)), "face_id": "b"}]
    page = read(pages, boxes=coco(pages, categories=characters, annotations=boxes)).book.pages[1]
    assert [face.face_id for face in page.faces] == ["0000aaaa", "b"]
    assert not page.frames
    table = "face_id,page,xmin,ymin,xmax,ymax,cluster,name,decided,made_cluster,made_name\n"
    table += "a,p1.jpg,1,1,50,60,1,Head,,1,Head\nb,p1.jpg,90,1,150,60,2,Ben,,2,\n"
    page = read(pages, boxes=csv(pages, table)).book.pages[0]
    assert [face.face_id for face in page.faces] == ["a", "b"]


KINDS = "page,{},xmin,ymin,xmax,ymax\np1.jpg,{},1,1,50,60\np1.jpg,{},0,0,100,90\np1.jpg,{},120,1,150,60\n"


@pytest.mark.parametrize("column", ["kind", "class", "label", "type", "name", "category", "What"])
def test_the_kind_may_stand_in_any_column(pages: Path, column: str) -> None:
    """A frame is a frame and a text is nothing, whatever the column is called."""
    page = read(pages, boxes=csv(pages, KINDS.format(column, "Face", "panel", "text"))).book.pages[0]
    assert [face.box for face in page.faces] == [(1, 1, 50, 60)]
    assert [frame.box for frame in page.frames] == [(0, 0, 100, 90)]


def test_odd_words_stay_in_one_line(pages: Path) -> None:
    """Of many kinds some are shown, long ones shortened; half a character is refused."""
    rows = "".join(f'p1.jpg,"kind\n{i}",{i},1,50,60\n' for i in range(20))
    message = refusal(pages, boxes=csv(pages, "page,kind,xmin,ymin,xmax,ymax\n" + rows))
    assert "(kind 0, kind 1, kind 10, kind 11, kind 12, kind 13, kind 14, kind 15, …) is called" in message
    strange = [{"id": 1, "name": "face"}, {"id": 2, "name": "x" * 300}]
    boxes = [box_of(1, 7), box_of(2, 7, 2)]
    note = read(pages, boxes=coco(pages, categories=strange, annotations=boxes)).notes[0]
    assert len(note) < 300
    half = [{"id": 1, "name": "face"}, {"id": 2, "name": "\ud800"}]
    message = refusal(pages, boxes=coco(pages, categories=half, annotations=boxes))
    assert "half a surrogate pair" in message


@pytest.mark.parametrize("column", ["kind", "class", "label", "type", "name"])
@pytest.mark.parametrize("words", [("顔", "コマ", "文"), ("0", "1", "2"), ("aki", "ben", "cyd")])
def test_words_that_nobody_knows_make_no_faces(pages: Path, column: str, words: tuple[str, ...]) -> None:
    """Mixed unknown words are refused; one word alone is what the option says."""
    message = refusal(pages, boxes=csv(pages, KINDS.format(column, *words)))
    assert f"({', '.join(sorted(words))}) is called 'face'" in message
    alone = KINDS.format(column, *[words[0]] * 3)
    assert len(read(pages, boxes=csv(pages, alone)).book.pages[0].faces) == 3


def test_the_words_of_a_detector_beat_its_numbers(pages: Path) -> None:
    """``class`` holds numbers and ``name`` their words, as some detectors write it."""
    rows = "p1.jpg,0,face,1,1,50,60\np1.jpg,1,frame,0,0,100,90\n"
    page = read(pages, boxes=csv(pages, "page,class,name,xmin,ymin,xmax,ymax\n" + rows)).book.pages[0]
    assert (len(page.faces), len(page.frames)) == (1, 1)


def test_a_kind_that_was_left_blank_is_refused_with_its_line(pages: Path) -> None:
    """Only the first row of a block was filled in: the others may be anything."""
    rows = "p1.jpg,face,1,1,50,60\np1.jpg,,120,1,150,60\n"
    message = refusal(pages, boxes=csv(pages, "page,kind,xmin,ymin,xmax,ymax\n" + rows))
    assert "line 3, column kind: is empty" in message
    blank = "page,kind,xmin,ymin,xmax,ymax\n" + rows.replace("face", "")
    assert len(read(pages, boxes=csv(pages, blank)).book.pages[0].faces) == 2


@pytest.mark.parametrize(
    "cell", ["1,030", "12,345", "-1,030", "1.030,5", "1,030.5", "1.030.000", "1 030", "1'030"]
)
def test_marks_of_thousands_are_never_decimals(pages: Path, cell: str) -> None:
    """1,030 is not 1.03: the cell is named."""
    text = f'page;x;y;width;height\np1.jpg;"{cell}";1;50;60\n'
    assert "line 2, column x" in refusal(pages, boxes=csv(pages, text))


def test_a_point_among_whole_hundreds_marks_thousands(pages: Path) -> None:
    """1.030 beside 300 is a thousand and thirty; beside 300.5, or with 103.512, it is a decimal."""
    text = "page;x;y;width;height\np1.jpg;1.030;1;50;60\np1.jpg;{};1;50;60\n"
    assert "line 2, column x: '1.030' may be 1030 or 1.030" in refusal(
        pages, boxes=csv(pages, text.format(100))
    )
    assert faces(read(pages, boxes=csv(pages, text.format("100.5"))))["p1.jpg"][0] == (1, 1, 51, 61)


@pytest.mark.parametrize(
    ("cell", "left"), [("30,0", 30), ("30.25", 30), ("3e1", 30), ("３０", 30), ("0,125", 0)]
)
def test_decimals_after_a_point_or_a_comma(pages: Path, cell: str, left: int) -> None:
    """As people's programs write them."""
    text = f"page;x;y;width;height\np1.jpg;{cell};1;50;60\n"
    assert faces(read(pages, boxes=csv(pages, text)))["p1.jpg"][0][0] == left


@pytest.fixture
def chapters(tmp_path: Path) -> Path:
    """Two chapters whose pages have the same names."""
    for name in ("ch1/001.jpg", "ch1/002.jpg", "ch2/001.jpg", "ch10/001.jpg"):
        (tmp_path / "pages" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (200, 100), 255).save(tmp_path / "pages" / name)
    return tmp_path / "pages"


def test_pages_in_chapters_are_told_by_their_paths(chapters: Path) -> None:
    """Each box is cut from the page that its path ends like; chapter 2 stands before chapter 10."""
    rows = "ch2/001.jpg,1,1,50,60\nch1\\001.jpg,2,1,50,60\nscans/pages/ch10/001.jpg,3,1,50,60\n"
    comic = read(chapters, boxes=csv(chapters, HEAD + rows + "./ch2/001.jpg,4,1,50,60\n"))
    assert list(comic.names.values()) == ["ch1/001.jpg", "ch1/002.jpg", "ch2/001.jpg", "ch10/001.jpg"]
    assert faces(comic) == {
        "ch1/001.jpg": [(2, 1, 50, 60)],
        "ch1/002.jpg": [],
        "ch2/001.jpg": [(1, 1, 50, 60), (4, 1, 50, 60)],
        "ch10/001.jpg": [(3, 1, 50, 60)],
    }
    assert comic.pictures[2] == chapters / "ch2" / "001.jpg"


@pytest.mark.parametrize(
    ("folder", "names", "complaint"),
    [
        (".", ["001.jpg"], "line 2: page '001.jpg' may be ch1/001.jpg or ch2/001.jpg; write which"),
        (".", ["ch3/001.jpg"], "page 'ch3/001.jpg' is not in"),
        (".", ["other/ch2/001.jpg", "mine/ch2/001.jpg"], "would both be ch2/001.jpg"),
        ("ch1", ["ch1/001.jpg", "ch2/001.jpg"], "'ch1/001.jpg' and 'ch2/001.jpg' would both be 001.jpg"),
        ("ch1", ["ch2/001.jpg", "ch1/001.jpg"], "would both be 001.jpg"),
    ],
)
def test_two_paths_are_never_one_page(chapters: Path, folder: str, names: list[str], complaint: str) -> None:
    """The last part of a path alone tells no page, when there are several or when paths disagree."""
    rows = "".join(f"{name},{i},1,50,60\n" for i, name in enumerate(names))
    assert complaint in refusal(chapters / folder, boxes=csv(chapters, HEAD + rows))


def test_images_without_boxes_count_too(chapters: Path) -> None:
    """The file tells of two chapters, so its ch2/001.jpg is not the page of chapter 1 that was given."""
    images = [{"id": 1, "file_name": "ch1/001.jpg"}, {"id": 2, "file_name": "ch2/001.jpg"}]
    boxes = coco(chapters, images=images, annotations=[box_of(1, 2)])
    assert "would both be 001.jpg" in refusal(chapters / "ch1", boxes=boxes)


def test_two_files_may_spell_paths_differently(pages: Path) -> None:
    """Boxes and frames come from different programs."""
    boxes = csv(pages, HEAD + "images/p1.jpg,1,1,50,60\n")
    frames = csv(pages, HEAD + "C:\\scans\\p1.jpg,0,0,100,90\n", "frames.csv")
    page = read(pages, boxes=boxes, frames=frames).book.pages[0]
    assert (len(page.faces), len(page.frames)) == (1, 1)


def test_frames_of_the_boxes_file_are_left_out_with_a_word(pages: Path) -> None:
    """When frames come from a file of their own."""
    kinds = KINDS.format("kind", "face", "frame", "text")
    frames = csv(pages, HEAD + "p1.jpg,0,0,70,70\n", "frames.csv")
    comic = read(pages, boxes=csv(pages, kinds), frames=frames)
    assert [frame.box for frame in comic.book.pages[0].frames] == [(0, 0, 70, 70)]
    assert any("1 boxes of a frame are left out" in note for note in comic.notes)


SIZED = [{"id": 7, "file_name": "p2.png"}]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((200, 100), (10, 20, 50, 70)),
        ((201, 100), (10, 20, 50, 70)),
        ((100, 50), (20, 40, 100, 100)),
        ((400, 200), (5, 10, 25, 35)),
        ((133, 67), (15, 30, 75, 100)),
        ((0, 0), (10, 20, 50, 70)),
        ((None, None), (10, 20, 50, 70)),
    ],
)
def test_boxes_for_resized_pages_are_scaled_and_it_is_said(
    pages: Path, size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    """By hand; one pixel of rounding is no other size, and neither is one that is not known."""
    images = [{"id": 7, "file_name": "p2.png", "width": size[0], "height": size[1]}]
    comic = read(pages, boxes=coco(pages, images=images))
    assert faces(comic)["p2.png"] == [expected]
    said = [note for note in comic.notes if "are scaled to the pictures" in note]
    assert len(said) == (expected != (10, 20, 50, 70))
    assert all(f"for {size[0]}x{size[1]} pixels where p2.png has 200x100" in note for note in said)


@pytest.mark.parametrize("size", [(100, 200), (200, 120), (300, 100)])
def test_boxes_for_pages_of_another_shape_are_refused(pages: Path, size: tuple[int, int]) -> None:
    """Never cut from the wrong place: both sizes are named."""
    images = [{"id": 7, "file_name": "p2.png", "width": size[0], "height": size[1]}]
    message = refusal(pages, boxes=coco(pages, images=images), strict=False)
    assert (
        f"annotation 11: the boxes are for a page of {size[0]}x{size[1]} pixels, but p2.png has 200x100"
        in message
    )


def test_page_sizes_in_a_table(pages: Path) -> None:
    """Beside corners, width and height are the page's; beside x and y the box's, or image_width tells."""
    corners = "filename,width,height,class,xmin,ymin,xmax,ymax\np1.jpg,100,50,face,5,5,30,30\n"
    assert faces(read(pages, boxes=csv(pages, corners)))["p1.jpg"] == [(10, 10, 60, 60)]
    sides = "image,x,y,width,height,image_width,image_height\np1.jpg,5,5,25,25,100,50\n"
    assert faces(read(pages, boxes=csv(pages, sides)))["p1.jpg"] == [(10, 10, 60, 60)]
    both = "page,xmin,ymin,xmax,ymax,width,height\np1.jpg,5,5,30,35,25,30\n"
    assert faces(read(pages, boxes=csv(pages, both)))["p1.jpg"] == [(5, 5, 30, 35)]


def test_a_picture_turned_by_exif_has_the_size_that_one_sees(pages: Path) -> None:
    """Boxes are drawn on what a viewer shows: they stay where they are."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (100, 200), 255).save(pages / "p1.jpg", exif=exif)
    images = [{"id": 7, "file_name": "p1.jpg", "width": 200, "height": 100}]
    comic = read(pages, boxes=coco(pages, images=images))
    assert faces(comic)["p1.jpg"] == [(10, 20, 50, 70)]
    assert not any("scaled" in note for note in comic.notes)


@pytest.mark.parametrize(("most", "scale"), [(1, 0.005), (100, 0.5003)])
def test_shares_of_the_page_are_no_pixels(pages: Path, most: int, scale: float) -> None:
    """Boxes in 0..1 or in percent are refused, not cut from the corner."""
    rows = [[side * scale for side in (10 + 7 * i, 10, 40 + 7 * i, 90)] for i in range(5)]
    text = "".join(f"p1.jpg,{','.join(f'{side:.4f}' for side in row)}\n" for row in rows)
    assert f"within 0..{most}" in refusal(pages, boxes=csv(pages, HEAD + text))


def manga109(root: Path, page: str, size: tuple[int, int], name: str = "000.jpg") -> Path:
    """A corpus of one title and page."""
    (root / ANNOTATIONS).mkdir(parents=True)
    (root / "images" / "T").mkdir(parents=True)
    (root / "books.txt").write_text("T\n")
    (root / ANNOTATIONS / "T.xml").write_text(f"<book title='T'><pages>{page}</pages></book>")
    Image.new("L", size, 255).save(root / "images" / "T" / name)
    return root


PAGE = (
    '<page index="0" width="400" height="200"><frame id="f" xmin="0" ymin="0" xmax="200" ymax="100"/>'
    '<face id="a" xmin="20" ymin="40" xmax="100" ymax="140"/></page>'
)


@pytest.mark.parametrize("size", [(200, 100), (800, 400)])
def test_an_annotation_for_pictures_of_another_size_is_scaled(tmp_path: Path, size: tuple[int, int]) -> None:
    """Faces and frames alike, to smaller and to larger pictures, and it is said."""
    comic = read(manga109(tmp_path, PAGE, size))
    page, factor = comic.book.pages[0], size[0] / 400
    assert page.faces[0].box == tuple(factor * side for side in (20, 40, 100, 140))
    assert page.frames[0].box == tuple(factor * side for side in (0, 0, 200, 100))
    assert (page.width, page.height) == size
    assert "scaled to the pictures" in comic.notes[0]


def test_an_annotation_for_pictures_of_another_shape_needs_a_word(tmp_path: Path) -> None:
    """Refused; with strict false they are cut as the reference cuts them, and it is said."""
    root = manga109(tmp_path, PAGE, (390, 200))
    assert "a page of 400x200 pixels, but 000.jpg has 390x200" in refusal(root)
    comic = read(root, strict=False)
    assert comic.book.pages[0].faces[0].box == (20, 40, 100, 140)
    assert "used as they are" in comic.notes[0]


@pytest.mark.parametrize("name", ["000.png", "000.JPG", "0000.jpg", "0.webp", "00.tif"])
def test_a_page_of_manga109_may_have_another_ending(tmp_path: Path, name: str) -> None:
    """Its number tells the picture; two with one number are refused."""
    root = manga109(tmp_path, PAGE, (400, 200), name)
    assert read(root).pictures[0].name == name
    Image.new("L", (400, 200)).save(root / "images" / "T" / "00000.bmp")
    assert "are both page 0" in refusal(root)


def test_pictures_that_cannot_be_read_are_counted_when_it_is_not_strict(pages: Path) -> None:
    """The others go on; nothing is left when all are lost."""
    (pages / "p1.jpg").write_bytes(b"<html>")
    (pages / "p10.png").write_bytes(b"")
    rows = HEAD + "p1.jpg,1,1,50,60\np1.jpg,60,1,90,60\np2.png,1,1,50,60\n"
    assert "p1.jpg: cannot be read (neither JPEG" in refusal(pages, boxes=csv(pages, rows))
    comic = read(pages, boxes=csv(pages, rows), strict=False)
    assert faces(comic) == {"p1.jpg": [], "p2.png": [(1, 1, 50, 60)], "p10.png": []}
    assert (
        "2 pictures cannot be read, and 2 faces on them are left out: p1.jpg (neither JPEG" in comic.notes[0]
    )
    cut = read(pages, strict=False)
    assert faces(cut) == {"p2.png": [(0, 0, 200, 100)]}
    assert "2 pictures cannot be read, and 2 faces" in cut.notes[0]
    (pages / "p2.png").unlink()
    assert "nothing to cluster" in refusal(pages, strict=False)


def test_a_page_without_a_box_need_not_be_readable(pages: Path) -> None:
    """Strictly too; but it is said."""
    (pages / "p10.png").write_bytes(b"")
    comic = read(pages, boxes=csv(pages, HEAD + "p1.jpg,1,1,50,60\n"))
    assert "1 pictures cannot be read, and 0 faces" in comic.notes[0]
    assert [(p.width, p.height) for p in comic.book.pages] == [(200, 100), (200, 100), (0, 0)]


def test_other_formats_and_folders_below_are_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    """WebP, GIF, BMP and TIFF, also with a wrong ending; what is passed over is told by its ending."""
    face = Image.new("RGB", (40, 50), (9, 99, 9))
    for name in ("a.png", "b.webp", "c.gif", "d.bmp", "e.tif", "below/f.JPEG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        face.save(tmp_path / name)
    (tmp_path / "b.webp").rename(tmp_path / "b.jpg")
    for name in ("g.heic", "h.heic", "notes.txt", "README", ".DS_Store", "._a.png"):
        (tmp_path / name).write_bytes(b"x")
    comic = read(tmp_path)
    assert list(faces(comic)) == ["a.png", "b.jpg", "below/f.JPEG", "c.gif", "d.bmp", "e.tif"]
    assert comic.notes[0].endswith("is passed over: 2 .heic, 1 .txt, 1 without an ending")


DECOMPOSED = unicodedata.normalize("NFD", "ガ{}.png")
TITLES = [unicodedata.normalize(form, "ガンバ") for form in ("NFC", "NFD")]


def test_page_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    """macOS wrote one file and a keyboard the other; names stay as the file system has them."""
    composed, decomposed = "ガ1.png", DECOMPOSED.format(2)
    folder = tmp_path / "pages"
    folder.mkdir()
    for name in (composed, decomposed):
        Image.new("L", (200, 100)).save(folder / name)
    rows = f"{DECOMPOSED.format(1)},1,1,50,60\nガ2.png,2,1,50,60\n"
    comic = read(folder, boxes=csv(folder, HEAD + rows))
    assert faces(comic) == {composed: [(1, 1, 50, 60)], decomposed: [(2, 1, 50, 60)]}


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("asked", ["", *TITLES])
def test_titles_are_compared_in_one_unicode_form(tmp_path: Path, title: str, asked: str) -> None:
    """books.txt, the XML, the folder of images and --title may each be in another form."""
    root = manga109(tmp_path, PAGE, (400, 200))
    (root / ANNOTATIONS / "T.xml").rename(root / ANNOTATIONS / f"{TITLES[0]}.xml")
    (root / "images" / "T").rename(root / "images" / TITLES[1])
    (root / "books.txt").write_text(f"{title}\n", encoding="utf-8")
    comic = read(root, title=asked)
    assert comic.book.title == title
    assert comic.pictures[0].is_file()


def test_page_numbers_in_full_width_digits_are_numbers(tmp_path: Path) -> None:
    """Page 2 before page 10, in any digits."""
    names = ["第１頁.png", "第2頁.png", "第９頁.png", "第１０頁.png", "第11頁.png"]
    for name in reversed(names):
        Image.new("L", (40, 50)).save(tmp_path / name)
    assert list(read(tmp_path).names.values()) == names


SHIFT_JIS = "第１話_1.jpg".encode("shift-jis")


def test_names_that_are_not_utf8_are_refused_with_the_remedy(tmp_path: Path) -> None:
    """Shown escaped, whichever part of the path it is."""
    picture = tmp_path / "a.jpg"
    Image.new("L", (40, 50)).save(picture)
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + SHIFT_JIS))
    folder.mkdir()
    shutil.copy(picture, folder / "a.jpg")
    shutil.copy(picture, Path(os.fsdecode(os.fsencode(tmp_path) + b"/b_" + SHIFT_JIS)))
    table = csv(tmp_path / "x", HEAD + "nowhere.jpg,1,1,9,9\n")
    for message in (refusal(folder), refusal(tmp_path), refusal(tmp_path, boxes=table)):
        assert r"\udc91\udce6" in message
        assert "not UTF-8; rename it, e.g. by convmv" in message
        message.encode()
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    assert "not UTF-8" in refusal(tmp_path / "link")


@pytest.mark.parametrize(
    ("path", "complaint"),
    [("x" * 300, "too long"), ("x/" * 3000, "too long"), ("a\0b", "holds a NUL character")],
)
def test_paths_that_no_file_can_have_are_refused(pages: Path, path: str, complaint: str) -> None:
    """As the folder, the boxes and the frames; a stack trace never."""
    boxes = csv(pages, HEAD + "p1.jpg,1,1,50,60\n")
    assert complaint in refusal(Path(path))
    assert complaint in refusal(pages, boxes=path)
    assert complaint in refusal(pages, boxes=boxes, frames=path)
    name = csv(pages, HEAD + f"{path},1,1,50,60\n")
    assert "line 2" in refusal(pages, boxes=name)


def test_what_is_no_regular_file_is_never_opened(pages: Path) -> None:
    """Reading a FIFO would wait for ever: as a page, as a cut-out face, as the table."""
    os.mkfifo(pages / "p3.png")
    comic = read(pages, boxes=csv(pages, HEAD + "p1.jpg,1,1,50,60\n"))
    assert "passed over: 1 no regular files" in comic.notes[0]
    os.mkfifo(pages.parent / "boxes.json")
    assert "boxes.json: is no file" in refusal(pages, boxes=str(pages.parent / "boxes.json"))
    root = manga109(pages.parent / "corpus", PAGE, (400, 200))
    (root / "images/T/000.jpg").unlink()
    os.mkfifo(root / "images/T/000.jpg")
    assert "000.jpg: cannot be read (no regular file)" in refusal(root)


def test_one_box_in_two_lines_is_refused_as_a_box(pages: Path) -> None:
    """Nobody gave ids, so the sentence speaks of the box and of both lines."""
    message = refusal(pages, boxes=csv(pages, HEAD + "p1.jpg,1,1,9,9\np1.jpg,1,1,9,9\n"))
    assert "line 3: box 1,1,9,9 on page p1.jpg is there already" in message
    assert "line 2" in message
    assert "id" not in message.split("boxes.csv", 1)[1].replace("is there", "")


def test_made_ids_do_not_look_like_numbers(tmp_path: Path) -> None:
    """Spreadsheets turn 00000123 and 1e000005 into numbers; each made id has a letter that prevents it."""
    Image.new("L", (2000, 2000)).save(tmp_path / "p.png")
    rows = "".join(f"p.png,{x},{y},{x + 50},{y + 50}\n" for x in range(0, 900, 9) for y in range(0, 90, 9))
    ids = [f.face_id for f in read(tmp_path, boxes=csv(tmp_path / "x", HEAD + rows)).book.pages[0].faces]
    assert len(set(ids)) == 1000
    assert not [i for i in ids if re.fullmatch(r"[0-9]+(e[0-9]+)?", i)]
    assert sum(i[0] == "f" for i in ids) > 62, "some had to be changed"
    assert [lasting_id(i) for i in ("00000123", "1e000005", "765273e5", "123", "0000012a", "e0000001")] == [
        "f0000123",
        "fe000005",
        "f65273e5",
        "123",
        "0000012a",
        "e0000001",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"images": ' + "[" * 100_000, "nested too deeply"),
        ('{"images": [{"id": ' + "9" * 5000 + "}]}", "not valid JSON"),
        ("{}\n{}", "line 2: not valid JSON"),
        ("[]", "has no list 'images'"),
        ("null", "has no list 'images'"),
        ("", "line 1: not valid JSON"),
        (json.dumps({"images": [], "annotations": [], "categories": 7}), "has no list 'categories'"),
        (json.dumps({"images": {"1": "a"}, "annotations": []}), "has no list 'images'"),
        (json.dumps({"images": [None], "annotations": []}), "images[0]: has no id"),
        (
            json.dumps({"images": [{"id": {}, "file_name": "a"}], "annotations": []}),
            "images[0]: id {} is not a",
        ),
        (json.dumps({"images": [{"id": 1, "file_name": 5}], "annotations": []}), "file_name 5 is not a text"),
    ],
)
def test_json_that_is_no_coco_is_one_sentence(pages: Path, text: str, complaint: str) -> None:
    """Deep, huge, of other types: never a stack trace."""
    assert complaint in refusal(pages, boxes=csv(pages, text, "boxes.json"))


def test_other_encodings_are_refused(pages: Path) -> None:
    """UTF-16 and Shift-JIS, as JSON and as a table."""
    path = pages.parent / "boxes.json"
    for encoding in ("utf-16", "shift-jis"):
        path.write_bytes('{"images": "日本"}'.encode(encoding))
        assert "not UTF-8 text" in refusal(pages, boxes=str(path))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["images", "annotations", "categories"]),
    st.integers(0, 1),
    st.sampled_from(["id", "file_name", "width", "image_id", "category_id", "bbox", "name", "face_id", ""]),
    json_values,
)
def test_any_value_in_any_place_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, part: str, entry: int, key: str, value: Any
) -> None:
    """No type of JSON leads to a stack trace, and no face is gone without a word."""
    folder = tmp_path_factory.mktemp("any") / "pages"
    folder.mkdir()
    Image.new("L", (200, 100)).save(folder / "p1.jpg")
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "p1.jpg"}, {"id": 2, "file_name": "p2.jpg"}],
        "categories": [{"id": 1, "name": "face"}, {"id": 2, "name": "frame"}],
        "annotations": [box_of(1, 1), box_of(2, 1, box=(90, 20, 40, 50))],
    }
    content[part][entry] = {**content[part][entry], key: value} if key else value
    with contextlib.suppress(UserError):
        comic = read(folder, boxes=csv(folder, json.dumps(content), "boxes.json"))
        page = comic.book.pages[0]
        assert len(page.faces) + len(page.frames) == 2 or "1 " in str(comic.notes)


def test_the_fingerprint_is_that_of_the_contents_with_faces(pages: Path) -> None:
    """Other pixels of the same size and time change it; a page without faces, a copy and a touch do not."""
    boxes = csv(pages, HEAD + "p1.jpg,1,1,50,60\n")
    cache = pages.parent / "digests.json"
    first = read(pages, boxes=boxes).fingerprint(cache)
    assert read(pages, boxes=boxes).fingerprint() == first
    Image.new("L", (200, 100), 9).save(pages / "p10.png")
    copy = shutil.copytree(pages, pages.parent / "elsewhere" / pages.name)
    assert read(copy, boxes=boxes).fingerprint() == first
    before = (pages / "p1.jpg").stat()
    content = bytearray((pages / "p1.jpg").read_bytes())
    content[-3] ^= 1
    (pages / "p1.jpg").write_bytes(content)
    os.utime(pages / "p1.jpg", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (pages / "p1.jpg").stat().st_size == before.st_size
    assert read(pages, boxes=boxes).fingerprint(cache) != first
