"""OpenMantra as a Manga109-layout corpus, on pages drawn here; and the rules of that layout."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mfc.corpus import openmantra
from mfc.corpus.manga109 import DEFAULT_ANNOTATIONS, is_other, open_corpus
from mfc.corpus.openmantra import Import, read_import, write_import
from mfc.corpus.splits import resolve_splits
from mfc.corpus.validate import corpus_problems
from mfc.errors import UserError

SIZE = (200, 300)
HEADING = "page,xmin,ymin,xmax,ymax,character\n"
FACES = {
    "hoshi": "0,10,20,60,80,Aki\n0,110,20,160,80,Other\n2,10,20,60,80,Aki\n",
    "umi_no_uta": "1,100,200,200,300,Natsu\n",
}
"""The face of Natsu ends at the edge of its page."""


def write_dataset(root: Path) -> Path:
    """Three books of three pages; `kaze` is in no table of faces."""
    books = []
    for title in ("hoshi", "umi_no_uta", "kaze"):
        pages = []
        for number in range(3):
            name = f"images/{title}/ja/{number:03d}.jpg"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", SIZE, 40 * number).save(root / name)
            frame = {"x": 5, "y": 5, "w": 190, "h": 140}
            text = {"x": 70, "y": 20, "w": 20, "h": 60, "text_ja": f"{title}・{number}", "text_en": "…"}
            # In the dataset numbers begin at 1, and need not follow one another.
            page = {
                "page_index": 2 * number + 1,
                "image_paths": {"ja": name},
                "frame": [frame],
                "text": [text],
            }
            pages.append(page)
        books.append({"book_title": title, "pages": pages})
    write_json(root, books)
    (root / "LICENSE.md").write_text("CC BY-NC\n")
    return root


def write_json(root: Path, books: Any) -> None:
    (root / "annotation.json").write_text(json.dumps(books))


def edited(root: Path, edit: Callable[[Any], object]) -> None:
    """Change the books of a dataset in place."""
    books = json.loads((root / "annotation.json").read_text(encoding="utf-8"))
    edit(books)
    write_json(root, books)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset, with tables of faces of two of its books in place of those that mfc brings."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for title, lines in FACES.items():
        (shipped / f"{title}.csv").write_text(HEADING + lines)
    monkeypatch.setattr(openmantra, "FACES", shipped)
    return write_dataset(tmp_path / "open mantra")


def faces_of(tmp_path: Path, title: str, lines: str, heading: str = HEADING) -> Path:
    """A folder with one more table."""
    folder = tmp_path / "faces"
    folder.mkdir(exist_ok=True)
    (folder / f"{title}.csv").write_text(heading + lines, encoding="utf-8")
    return folder


def written(plan: Import, root: Path) -> Path:
    assert write_import(plan, root)
    return root


def refusal(act: Callable[[], object]) -> str:
    """What a person is told: one sentence."""
    with pytest.raises(UserError) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message
    return message


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_the_corpus_is_what_the_dataset_and_the_tables_say(dataset: Path, tmp_path: Path) -> None:
    """Pages count from 0 in list order; frames, texts and faces are there with their boxes; all is test."""
    root = written(read_import(dataset), tmp_path / "corpus")
    corpus = open_corpus(root)
    assert corpus.titles == ("hoshi", "umi_no_uta")
    assert resolve_splits(root, corpus.titles) == {"train": [], "val": [], "test": ["hoshi", "umi_no_uta"]}
    book = corpus.read_book("hoshi")
    names = {c.character_id: c.name for c in book.characters}
    assert sorted(names.values()) == ["Aki", "Other"]
    assert [(p.index, p.width, p.height) for p in book.pages] == [(0, *SIZE), (1, *SIZE), (2, *SIZE)]
    assert [frame.box for page in book.pages for frame in page.frames] == [(5, 5, 195, 145)] * 3
    found = [(p.index, names[f.character_id], f.box) for p in book.pages for f in p.faces]
    assert found == [
        (0, "Aki", (10, 20, 60, 80)),
        (0, "Other", (110, 20, 160, 80)),
        (2, "Aki", (10, 20, 60, 80)),
    ]
    assert [is_other(name) for name in ("Aki", "Other")] == [False, True]
    xml = (root / DEFAULT_ANNOTATIONS / "hoshi.xml").read_text(encoding="utf-8")
    assert re.search(r'<text id="\w{8}" xmin="70" ymin="20" xmax="90" ymax="80">hoshi・2</text>', xml)


def test_pictures_are_copied_byte_for_byte_and_attributed(dataset: Path, tmp_path: Path) -> None:
    root = written(read_import(dataset), tmp_path / "corpus")
    for number in range(3):
        source = dataset / f"images/hoshi/ja/{number:03d}.jpg"
        assert (root / f"images/hoshi/{number:03d}.jpg").read_bytes() == source.read_bytes()
    assert (root / "LICENSE.md").read_text() == "CC BY-NC\n"
    attribution = (root / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "hoshi, umi_no_uta" in attribution
    assert "NonCommercial" in attribution
    assert not list(root.rglob("*kaze*"))


def test_the_corpus_keeps_the_rules_of_the_layout(dataset: Path, tmp_path: Path) -> None:
    """What manga109tools asks for, on the same corpus that some boxes of reach the edges of their pages."""
    edited(
        dataset, lambda books: books[0]["pages"][0]["frame"].append({"x": -5, "y": 150, "w": 300, "h": 150})
    )
    plan = read_import(dataset)
    assert list(corpus_problems(written(plan, tmp_path / "corpus"))) == []
    assert len(plan.changes) == 2, "the frame, and the face of Natsu"


def test_ids_stay_when_the_tables_grow(dataset: Path, tmp_path: Path) -> None:
    """An id depends on its own box: a face before it, a corrected name and another book leave it alone."""

    def ids(plan: Import, title: str) -> dict[tuple[str, ...], str]:
        xml = plan.files[f"{DEFAULT_ANNOTATIONS}/{title}.xml"]
        assert isinstance(xml, str)
        found = re.findall(r'<face id="(\w{8})" xmin="(\d+)" ymin="(\d+)"', xml)
        return {tuple(place): key for key, *place in found}

    before = ids(read_import(dataset), "hoshi")
    more = "0,5,100,25,130,Fuyu\n" + FACES["hoshi"].replace("Other", "Haru")
    folder = faces_of(tmp_path, "hoshi", more)
    faces_of(tmp_path, "kaze", "0,10,20,60,80,Aki\n")
    after = ids(read_import(dataset, folder), "hoshi")
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()


def test_no_id_is_used_twice_nor_made_a_number_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash without letters, or one that is taken, is drawn again."""
    digests = iter(["12345678", "0a000000", "0a000000", "0b000000"])

    class Hash:
        def hexdigest(self) -> str:
            return next(digests)

    monkeypatch.setattr(openmantra.hashlib, "sha256", lambda _: Hash())
    used: set[str] = set()
    assert [openmantra._new_id(used, "a"), openmantra._new_id(used, "a")] == ["0a000000", "0b000000"]


def test_own_tables_add_books_and_go_before_ours(dataset: Path, tmp_path: Path) -> None:
    """``--faces``: a book more, and another table for one of ours, which is said."""
    folder = faces_of(tmp_path, "kaze", "0,10,20,60,80,Fuyu\n1,10,20,60,80,Fuyu\n")
    faces_of(tmp_path, "hoshi", "1,10,20,60,80,Haru\n")
    plan = read_import(dataset, folder)
    assert plan.counts == {"book": 3, "page": 9, "frame": 9, "text": 9, "face": 4, "character": 3}
    assert any("faces of hoshi are those of" in remark for remark in plan.remarks)
    assert not any("left out" in remark for remark in plan.remarks)


def test_books_without_faces_and_tables_without_book_are_counted(dataset: Path) -> None:
    edited(dataset, lambda books: books.pop(1))
    remarks = read_import(dataset).remarks
    assert [r for r in remarks if r.startswith("1 book left out") and r.endswith(": kaze")]
    assert [r for r in remarks if r.startswith("1 book not in the dataset") and r.endswith(": umi_no_uta")]


def test_what_is_changed_or_left_out_is_counted_and_listed(dataset: Path, tmp_path: Path) -> None:
    """Boxes beside or beyond the page, empty ones, twins, empty texts, characters that XML cannot hold."""

    def spoil(books: Any) -> None:
        page = books[0]["pages"][1]
        box = {"x": 5, "y": 5, "w": 190, "h": 140}
        page["frame"] += [
            {**box, "x": 500},  # beside the page
            {**box, "w": 0},
            {**box, "h": 139.6},  # the first frame again, up to a pixel
            {**box, "y": 150, "h": 200},  # three quarters of it are on the page
            {**box, "x": 100, "y": 10, "w": 300, "h": 100},  # a third of it
        ]
        text = {"x": 10, "y": 200, "w": 20, "h": 60}
        page["text"] += [{**text, "text_ja": " \n"}, {**text, "text_ja": "a\r\nb\x07\ud800<&>"}]

    edited(dataset, spoil)
    plan = read_import(dataset)
    assert [r.split(";")[0] for r in plan.remarks if "lists them" in r] == [
        "frames left out: 4",
        "frames cut off at the edge of the page: 1",
        "texts left out: 1",
        "texts with characters replaced: 1",
        "faces cut off at the edge of the page: 1",
    ]
    root = written(plan, tmp_path / "corpus")
    assert json.loads((root / "openmantra.json").read_text(encoding="utf-8"))["changes"] == list(plan.changes)
    frames = open_corpus(root).read_book("hoshi").pages[1].frames
    assert [frame.box for frame in frames] == [(5, 5, 195, 145), (5, 150, 195, 299)]
    xml = (root / DEFAULT_ANNOTATIONS / "hoshi.xml").read_text(encoding="utf-8")
    assert ">a\nb\ufffd\ufffd&lt;&amp;&gt;</text>" in xml
    assert list(corpus_problems(root)) == []


@given(st.tuples(*[st.integers(-60, 60)] * 4), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_a_clipped_box_lies_strictly_inside_and_is_most_of_the_box(
    box: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    """Against a count of pixels."""
    pixels = {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}
    on_page = {(x, y) for x, y in pixels if 0 <= x < size[0] and 0 <= y < size[1]}
    clipped = openmantra._clip(box, size)
    if clipped is None:
        inner = {(x, y) for x, y in on_page if x < size[0] - 1 and y < size[1] - 1}
        assert not inner or 2 * len(on_page) < len(pixels)
    else:
        assert 0 <= clipped[0] < clipped[2] < size[0]
        assert 0 <= clipped[1] < clipped[3] < size[1]
        kept = {(x, y) for x in range(clipped[0], clipped[2]) for y in range(clipped[1], clipped[3])}
        assert kept == {(x, y) for x, y in on_page if x < size[0] - 1 and y < size[1] - 1}
        assert 2 * len(on_page) >= len(pixels)


def test_the_same_import_again_writes_nothing(dataset: Path, tmp_path: Path) -> None:
    root = written(read_import(dataset), tmp_path / "corpus")
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert not write_import(read_import(dataset), root)
    assert not write_import(read_import(dataset), root, overwrite=True)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before


@pytest.mark.parametrize("stop_after", range(12))
def test_an_import_that_was_killed_is_finished_by_its_repeat(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    """With some files, or half a picture, no reader takes it for a corpus; the repeat gives the same."""
    whole = tree(written(read_import(dataset), tmp_path / "whole"))
    files = 0

    def dying(path: Path, digest: str) -> bool:
        nonlocal files
        files += 1
        if files > stop_after:
            if path.suffix == ".jpg":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"half")
            raise KeyboardInterrupt
        return False

    root = tmp_path / "corpus"
    root.mkdir()
    (root / ".openmantra.json.abc").write_text("left by another kill")
    plan = read_import(dataset)
    with monkeypatch.context() as patched:
        patched.setattr(openmantra, "_is", dying)
        with pytest.raises(KeyboardInterrupt):
            write_import(plan, root)
    with pytest.raises(UserError, match=r"has no books\.txt"):
        open_corpus(root)
    assert write_import(read_import(dataset), root)
    (root / ".openmantra.json.abc").unlink()
    assert tree(root) == whole


def test_another_import_needs_overwrite_and_leaves_nothing_behind(dataset: Path, tmp_path: Path) -> None:
    """Only what the import wrote is replaced; a file of somebody else stays."""
    root = written(read_import(dataset), tmp_path / "corpus")
    (root / "notes.txt").write_text("mine")
    edited(dataset, lambda books: books.pop(0))
    plan = read_import(dataset)
    assert "it has other books or boxes" in refusal(lambda: write_import(plan, root))
    assert write_import(plan, root, overwrite=True)
    assert open_corpus(root).titles == ("umi_no_uta",)
    assert not list(root.rglob("*hoshi*.xml"))
    assert not list((root / "images").rglob("hoshi/*"))
    assert (root / "notes.txt").read_text() == "mine"
    fresh = tree(written(plan, tmp_path / "fresh"))
    assert tree(root) == {**fresh, "notes.txt": b"mine"}


@pytest.mark.parametrize("damage", ["edit", "delete"])
def test_work_by_hand_is_not_overwritten_without_a_word(dataset: Path, tmp_path: Path, damage: str) -> None:
    plan = read_import(dataset)
    root = written(plan, tmp_path / "corpus")
    xml = root / DEFAULT_ANNOTATIONS / "hoshi.xml"
    whole = xml.read_bytes()
    xml.write_bytes(whole.replace(b"Aki", b"Ema")) if damage == "edit" else xml.unlink()
    assert f"{DEFAULT_ANNOTATIONS}/hoshi.xml in it was changed" in refusal(lambda: write_import(plan, root))
    assert write_import(plan, root, overwrite=True)
    assert xml.read_bytes() == whole


@pytest.mark.parametrize(
    "record", [None, "{", "[]", '{"files": 3, "finished": true}', '{"files": {}}', "[" * 100_000]
)
def test_a_folder_of_something_else_is_left_alone(dataset: Path, tmp_path: Path, record: str | None) -> None:
    """Also with ``--overwrite true``, also when a record in it is none."""
    root = tmp_path / "thesis"
    root.mkdir()
    (root / "thesis.tex").write_text("years of work")
    if record is not None:
        (root / "openmantra.json").write_text(record)
    before = tree(root)
    assert "holds no OpenMantra corpus" in refusal(lambda: write_import(read_import(dataset), root, True))
    assert "is a file" in refusal(lambda: write_import(read_import(dataset), root / "thesis.tex", True))
    assert tree(root) == before


@pytest.mark.parametrize("name", ["../precious.txt", "/precious.txt", "images/../../precious.txt"])
def test_a_forged_record_deletes_nothing_outside(dataset: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious.txt").write_text("keep me")
    name = str(tmp_path / "precious.txt") if name.startswith("/") else name
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "openmantra.json").write_text(json.dumps({"finished": False, "files": {name: "0"}}))
    written(read_import(dataset), root)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_a_folder_that_cannot_be_written_is_told(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = refusal(lambda: write_import(read_import(dataset), tmp_path / "file" / "corpus"))
    assert "cannot be written (Not a directory)" in message
    message = refusal(lambda: write_import(read_import(dataset), tmp_path / ("a" * 300)))
    assert "cannot be written (File name too long)" in message


BAD_DATASETS: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (lambda d: (d / "annotation.json").unlink(), "has no annotation.json"),
    "a folder": (
        lambda d: ((d / "annotation.json").unlink(), (d / "annotation.json").mkdir()),
        "has no annotation.json",
    ),
    "cut off": (
        lambda d: (d / "annotation.json").write_text('[\n{"book_'),
        r"annotation\.json, line 2: not valid",
    ),
    "not text": (lambda d: (d / "annotation.json").write_bytes(b"\xff\xfe["), "not valid JSON in UTF-8"),
    "too deep": (lambda d: (d / "annotation.json").write_text("[" * 100_000), "not valid JSON"),
    "a huge number": (lambda d: (d / "annotation.json").write_text("[" + "9" * 5000 + "]"), "not valid JSON"),
    "an object": (lambda d: write_json(d, {"hoshi": []}), "is no list of books"),
    "empty": (lambda d: write_json(d, []), "is no list of books"),
    "no titles": (lambda d: write_json(d, [{}]), "book 1: has no text 'book_title'"),
    "a book that is none": (lambda d: write_json(d, [3]), "book 1: has no text 'book_title'"),
    "twice": (lambda d: edited(d, lambda b: b.append(b[0])), "book 4: 'hoshi' is there twice"),
    "no pages": (lambda d: edited(d, lambda b: b[0].pop("pages")), "hoshi: has no list 'pages'"),
    "an older dataset without frames": (
        lambda d: edited(d, lambda b: b[0]["pages"][2].pop("frame")),
        "hoshi, page 2: has no list 'frame'",
    ),
    "a frame without width": (
        lambda d: edited(d, lambda b: b[0]["pages"][2]["frame"][0].pop("w")),
        "hoshi, page 2, frame 0: has no number of pixels 'w'",
    ),
    "a frame of NaN": (
        lambda d: edited(d, lambda b: b[0]["pages"][2]["frame"][0].update(w=float("nan"))),
        "has no number of pixels 'w'",
    ),
    "a frame that is true": (
        lambda d: edited(d, lambda b: b[0]["pages"][2]["frame"][0].update(w=True)),
        "has no number of pixels 'w'",
    ),
    "a text without its language": (
        lambda d: edited(d, lambda b: b[0]["pages"][0]["text"][0].pop("text_ja")),
        "page 0, text 0: has no text 'text_ja'",
    ),
    "no picture of the language": (
        lambda d: edited(d, lambda b: b[0]["pages"][0].update(image_paths={"en": "x.jpg"})),
        "page 0: has no text 'ja'",
    ),
    "missing pictures": (
        lambda d: [p.unlink() for p in (d / "images/hoshi/ja").glob("*")],
        r"images/hoshi/ja/000\.jpg is missing, 3 pictures in all",
    ),
    "a damaged picture": (
        lambda d: (d / "images/hoshi/ja/001.jpg").write_bytes(
            (d / "images/hoshi/ja/001.jpg").read_bytes()[:300]
        ),
        r"001\.jpg: not a readable picture",
    ),
    "a picture that is none": (
        lambda d: (d / "images/hoshi/ja/001.jpg").write_text("404: not found"),
        r"001\.jpg: not a readable picture",
    ),
    "another size": (
        lambda d: Image.new("L", (100, 150)).save(d / "images/umi_no_uta/ja/001.jpg"),
        r"umi_no_uta\.csv, line 2: box 100,200,200,300 .* does not lie on its page of 100x150 pixels",
    ),
    "books that nobody boxed": (
        lambda d: edited(d, lambda b: b.__delitem__(slice(0, 2))),
        r"the faces of none of its books \(kaze\) are in a table",
    ),
}


@pytest.mark.parametrize("kind", BAD_DATASETS)
def test_a_bad_dataset_gets_one_sentence(dataset: Path, kind: str) -> None:
    """It names the file, and the page, line or picture."""
    spoil, message = BAD_DATASETS[kind]
    spoil(dataset)
    assert re.search(message, refusal(lambda: read_import(dataset)))


@pytest.mark.parametrize(
    "name",
    [
        "../x.jpg",
        "/etc/passwd",
        "images/../../x.jpg",
        "",
        "a\\..\\x.jpg",
        "C:/x.jpg",
        "a\0b",
        ".",
        "a" * 300,
        "\ud800",
    ],
)
def test_a_picture_cannot_be_outside_of_the_dataset(dataset: Path, name: str) -> None:
    """annotation.json comes from somewhere else: its paths are not trusted."""
    edited(dataset, lambda books: books[0]["pages"][1]["image_paths"].update(ja=name))
    message = refusal(lambda: read_import(dataset))
    assert "hoshi, page 1: picture" in message or "has no" in message


@pytest.mark.parametrize(
    "title",
    ["", "..", "a/b", "a\\b", "../x", ".x", "a.", "a ", "x" * 201, "星" * 67, "a\nb", "\ud800", "a\0"],
)
def test_a_title_cannot_lead_out_of_its_folder(dataset: Path, title: str) -> None:
    edited(dataset, lambda books: books[2].update(book_title=title))
    assert "book 3: " in refusal(lambda: read_import(dataset))


@pytest.mark.parametrize("title", ["That's Izumiko", "星の舟", "B-BOY_2", "Dr.Hime", "A", "星" * 66])
def test_titles_of_other_books_are_taken(dataset: Path, tmp_path: Path, title: str) -> None:
    edited(dataset, lambda books: books[2].update(book_title=title))
    folder = faces_of(tmp_path, title, "0,10,20,60,80,Fuyu\n")
    plan = read_import(dataset, folder)
    root = written(plan, tmp_path / "corpus")
    assert open_corpus(root).titles == ("hoshi", "umi_no_uta", title)
    assert list(corpus_problems(root)) == []
    assert not write_import(plan, root)


BAD_TABLES: dict[str, tuple[str, str]] = {
    "no column": ("page,xmin,ymin,xmax,ymax\n0,1,1,9,9\n", "line 1: has no column character"),
    "no face": (HEADING, "has no face"),
    "page beyond": (HEADING + "3,10,20,60,80,Aki\n", "line 2: page 3 is none of the book's, 0 to 2"),
    "page before": (HEADING + "-1,10,20,60,80,Aki\n", "line 2: page -1 is none"),
    "no number": (HEADING + "0,10,20,6o,80,Aki\n", "line 2, column xmax: '6o' is not a whole number"),
    "a fraction": (HEADING + "0,10.5,20,60,80,Aki\n", "line 2, column xmin: '10.5' is not"),
    "no name": (HEADING + "0,10,20,60,80,\n", "line 2: the character has no name"),
    "a strange name": (HEADING + "0,10,20,60,80,A\x07\n", "line 2: the character has no name"),
    "beside the page": (HEADING + "0,250,20,280,80,Aki\n", "line 2: box 250,20,280,80 .* does not lie on"),
    "mostly beside": (HEADING + "0,150,20,280,80,Aki\n", "line 2: box 150,20,280,80 .* does not lie on"),
    "corners exchanged": (HEADING + "0,60,20,10,80,Aki\n", "line 2: box 60,20,10,80 .* does not lie on"),
    "twice": (
        HEADING + "0,10,20,60,80,Aki\n1,10,20,60,80,Aki\n0,10,20,60,80,Haru\n",
        r"line 4: box 10,20,60,80 .* is that of .*, line 2 again",
    ),
    "of another scan": (
        HEADING.strip() + ",page_width,page_height\n0,10,20,60,80,Aki,400,600\n",
        r"line 2: boxed on a page of 400x600 pixels, but .*000\.jpg has 200x300",
    ),
    "too many cells": (HEADING + "0,10,20,60,80,Aki,1\n", "line 2: has 7 cells under 6 columns"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_bad_table_of_faces_gets_one_sentence(dataset: Path, tmp_path: Path, kind: str) -> None:
    """It names the file and the line."""
    text, message = BAD_TABLES[kind]
    folder = faces_of(tmp_path, "hoshi", text, heading="")
    found = refusal(lambda: read_import(dataset, folder))
    assert "hoshi.csv" in found
    assert re.search(message, found)


def test_a_bad_folder_of_tables_gets_one_sentence(dataset: Path, tmp_path: Path) -> None:
    """None, an empty one, and one of a book that the dataset does not have."""
    folder = tmp_path / "faces"
    assert "there is no such folder" in refusal(lambda: read_import(dataset, folder))
    folder.mkdir()
    assert "has no .csv file" in refusal(lambda: read_import(dataset, folder))
    faces_of(tmp_path, "hosi", "0,10,20,60,80,Aki\n")
    message = refusal(lambda: read_import(dataset, folder))
    assert "hosi.csv" in message
    assert message.endswith("has no book 'hosi'; it has hoshi, umi_no_uta, kaze")


RULES = {
    "index": ('<page index="0"', '<page index="1"', "page 1: should have index 0"),
    "gap": ('<page index="1"', '<page index="2"', "page 2: should have index 1"),
    "right edge": ('xmax="195"', 'xmax="200"', r"box 5,5,200,145 is not strictly inside of 200x300"),
    "lower edge": ('ymax="80"', 'ymax="300"', "is not strictly inside"),
    "before 0": ('xmin="5"', 'xmin="-1"', "is not strictly inside"),
    "no area": ('xmin="10"', 'xmin="60"', "is not strictly inside"),
    "no number": ('xmin="10"', 'xmin="ten"', "box ten,20,60,80 is not strictly inside"),
    "short id": ('<frame id="', '<frame id="a', "is not eight hex digits"),
    "a number": (r'<frame id="\w{8}', '<frame id="12345678', "id '12345678' is not eight hex"),
    "name twice": ('name="Other"', 'name="Aki"', "2 characters have the name 'Aki'"),
    "no name": ('name="Other"', "", "1 characters have no name"),
    "undeclared": (r'character="\w{8}"', 'character="000000ab"', "character 000000ab is not declared"),
    "unknown element": (r"<frame (.*?) />", r"<panel \1 />", "is none of frame, face, body, text"),
    "empty text": (">hoshi・1<", "> <", "is empty"),
    "other title": ('title="hoshi"', 'title="Hoshi"', "is called 'Hoshi', not 'hoshi'"),
    "same place": (
        r"(<face .*? />)",
        r'\1<face id="000000ab" xmin="10" ymin="20" xmax="60" ymax="80" />',
        "same place",
    ),
    "face in face": (
        r'<face id="(\w{8})" (.*?) character="(\w{8})" />',
        r'<face id="\1" \2 character="\3" />'
        r'<face id="000000ab" xmin="20" ymin="30" xmax="60" ymax="70" character="\3" />',
        "of one character, and one holds the other",
    ),
    "line ends": ("\n", "\r\n", "line ends other than LF"),
    "an entity": ("<book ", '<!DOCTYPE a [<!ENTITY b "c">]><book ', "cannot be read"),
    "broken": ("</book>", "", "cannot be read"),
    "extra part": ("<pages>", "<parts /><pages>", "has <characters> and <pages>, nothing else"),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_of_the_layout_is_noticed(dataset: Path, tmp_path: Path, rule: str) -> None:
    """A good corpus with one thing made wrong has problems, and each names the file."""
    pattern, replacement, problem = RULES[rule]
    root = written(read_import(dataset), tmp_path / "corpus")
    path = root / DEFAULT_ANNOTATIONS / "hoshi.xml"
    text = path.read_text(encoding="utf-8")
    spoilt = re.sub(pattern, replacement, text, count=1)
    assert spoilt != text
    path.write_text(spoilt, encoding="utf-8", newline="")
    problems = list(corpus_problems(root))
    assert any(re.search(problem, found) for found in problems), problems
    assert all("hoshi.xml" in found for found in problems)


def test_an_id_must_be_new_in_the_whole_corpus(dataset: Path, tmp_path: Path) -> None:
    """Not only in its book; and a listed title needs its file."""
    root = written(read_import(dataset), tmp_path / "corpus")
    first, second = (root / DEFAULT_ANNOTATIONS / f"{title}.xml" for title in ("hoshi", "umi_no_uta"))
    key = re.findall(r'<text id="(\w{8})', first.read_text(encoding="utf-8"))[0]
    text = second.read_text(encoding="utf-8")
    second.write_text(re.sub(r'<text id="\w{8}', f'<text id="{key}', text, count=1), encoding="utf-8")
    (found,) = corpus_problems(root)
    assert f"id '{key}' is used before ({first}" in found
    second.unlink()
    (found,) = corpus_problems(root)
    assert "umi_no_uta.xml: cannot be read" in found
