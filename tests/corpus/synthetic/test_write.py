from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from manga109api import Parser
from PIL import Image

from mfc.config import Synthesize
from mfc.corpus.synthetic.presets import PRESETS
from mfc.corpus.synthetic.write import ANNOTATIONS, splits_of, titles_of, write_corpus
from mfc.errors import UserError
from mfc.log import PrintLog
from mfc.stages.synthesize import synthesize

TAGS = ("frame", "face", "body", "text")
Box = tuple[int, int, int, int]


def box_of(element: dict[str, int]) -> Box:
    return element["@xmin"], element["@ymin"], element["@xmax"], element["@ymax"]


def inside(a: Box, b: Box) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and a[3] <= b[3]


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_corpus_is_what_a_reader_of_manga109_expects(tiny_corpus: Path) -> None:
    """manga109api reads every title; boxes lie in their page, none twice; ids are unique."""
    parser = Parser(str(tiny_corpus))
    assert len(parser.books) == 5
    ids: list[str] = []
    for book in parser.books:
        annotation = parser.get_annotation(book, annotation_type=ANNOTATIONS)
        people = [str(person["@id"]) for person in annotation["character"]]
        names = [person["@name"] for person in annotation["character"]]
        assert len(set(names)) == len(names)
        ids += people
        for page in annotation["page"]:
            with Image.open(parser.img_path(book, page["@index"])) as image:
                assert image.size == (page["@width"], page["@height"])
            for tag in TAGS:
                boxes = [box_of(element) for element in page[tag]]
                assert len(set(boxes)) == len(boxes)
                for x0, y0, x1, y1 in boxes:
                    assert 0 <= x0 < x1 <= page["@width"]
                    assert 0 <= y0 < y1 <= page["@height"]
                ids += [str(element["@id"]) for element in page[tag]]
            for element in page["face"] + page["body"]:
                assert str(element["@character"]) in people
            for a, b in itertools.permutations([box_of(face) for face in page["face"]], 2):
                assert not inside(a, b)
            assert all(text["#text"].strip() for text in page["text"])
    assert len(set(ids)) == len(ids)
    assert any(key.isdigit() for key in ids)
    assert any(not key.isdigit() for key in ids)


def test_raw_ids_have_eight_hexadecimal_digits(tiny_corpus: Path) -> None:
    """manga109api turns some into numbers; in the files all are eight hex digits."""
    for path in (tiny_corpus / ANNOTATIONS).iterdir():
        for part in path.read_text(encoding="utf-8").split('id="')[1:]:
            key = part.split('"')[0]
            assert len(key) == 8
            int(key, 16)


def test_splits_and_marker_describe_the_corpus(tiny_corpus: Path) -> None:
    """Each title is in one split, and the marker's counts are those of the files."""
    splits = json.loads((tiny_corpus / "splits.json").read_text())
    assert sorted(itertools.chain(*splits.values())) == (tiny_corpus / "books.txt").read_text().split()
    assert [len(splits[name]) for name in ("train", "val", "test")] == [2, 1, 2]
    marker = json.loads((tiny_corpus / "synthetic.json").read_text())
    assert marker["pages"] == len(list(tiny_corpus.glob("images/*/*.jpg")))
    faces = sum(path.read_text().count("<face ") for path in (tiny_corpus / ANNOTATIONS).iterdir())
    assert marker["faces"] == faces


def test_enough_faces_to_train_on(tiny_corpus: Path) -> None:
    """In every title of `tiny` at least one character, and in most two, have ten faces or more."""
    parser = Parser(str(tiny_corpus))
    famous = []
    for book in parser.books:
        pages = parser.get_annotation(book, annotation_type=ANNOTATIONS)["page"]
        who = [face["@character"] for page in pages for face in page["face"]]
        famous.append(sum(who.count(key) >= 10 for key in set(who)))
    assert min(famous) >= 1
    assert sum(famous) >= 8


def test_the_same_seed_gives_the_same_bytes(tiny_corpus: Path, tmp_path: Path) -> None:
    """One process draws what two draw, byte for byte; another seed gives other titles."""
    alone = write_corpus(tmp_path / "alone", "tiny", 0, jobs=1, preview=True)
    assert files_of(alone) == files_of(tiny_corpus)
    assert titles_of(PRESETS["tiny"], 1) != titles_of(PRESETS["tiny"], 0)


def test_previews_show_every_title(tiny_corpus: Path) -> None:
    """A contact sheet and a page with boxes for each title."""
    titles = (tiny_corpus / "books.txt").read_text().split()
    for title in titles:
        with Image.open(tiny_corpus / "preview" / f"{title}.png") as sheet:
            assert min(sheet.size) > 90
        assert (tiny_corpus / "preview" / f"{title}_page.png").is_file()


def test_an_interrupted_corpus_is_finished(tiny_corpus: Path, tmp_path: Path) -> None:
    """Without its marker and some pages the corpus is completed to the same bytes, and kept pages stay."""
    root = write_corpus(tmp_path / "corpus", "tiny", 0, jobs=2, preview=True)
    (root / "synthetic.json").rename(root / "synthetic.partial.json")
    partial = {
        "preset": "tiny",
        "seed": 0,
        "version": json.loads((root / "synthetic.partial.json").read_text())["version"],
    }
    (root / "synthetic.partial.json").write_text(json.dumps(partial))
    (root / "splits.json").unlink()
    images = sorted(root.glob("images/*/*.jpg"))
    kept = images[0].stat().st_mtime_ns
    for path in images[1::3]:
        path.unlink()
    write_corpus(root, "tiny", 0, jobs=2)
    assert files_of(root) == files_of(tiny_corpus)
    assert images[0].stat().st_mtime_ns == kept


def test_a_finished_corpus_is_used_again(tiny_corpus: Path) -> None:
    """The stage returns at once and writes nothing."""
    before = {path: path.stat().st_mtime_ns for path in tiny_corpus.rglob("*")}
    assert synthesize(Synthesize(preset="tiny"), tiny_corpus, PrintLog()) == tiny_corpus
    assert {path: path.stat().st_mtime_ns for path in tiny_corpus.rglob("*")} == before


def test_other_parameters_stop_with_the_remedy(tiny_corpus: Path) -> None:
    """A corpus with another seed is neither overwritten nor passed off as the one asked for."""
    with pytest.raises(UserError, match=r"seed=0.*another folder, or --overwrite true"):
        write_corpus(tiny_corpus, "tiny", 1)


def test_overwrite_replaces_a_corpus(tmp_path: Path) -> None:
    """With `overwrite` nothing of the old corpus is left."""
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "synthetic.json").write_text('{"preset": "demo", "seed": 7, "version": 1}')
    (root / "images" / "Old").mkdir(parents=True)
    write_corpus(root, "tiny", 0, jobs=2, overwrite=True)
    assert not (root / "images" / "Old").exists()
    assert json.loads((root / "synthetic.json").read_text())["preset"] == "tiny"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    """Somebody's files are never mixed with a corpus, not even with `overwrite`."""
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(UserError, match="is not empty and holds no synthetic corpus; give another folder"):
        write_corpus(tmp_path, "tiny", 0, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("seed", range(5))
def test_titles_are_distinct_file_names(seed: int) -> None:
    """109 titles, five volumes among them, different even without case; some with ' and some with -."""
    preset = PRESETS["manga109"]
    titles = titles_of(preset, seed)
    assert len({title.lower() for title in titles}) == len(titles) == 109
    assert sum(title.endswith("_vol01") for title in titles) == 5
    assert any("'" in title for title in titles)
    assert any("-" in title for title in titles)
    assert all(
        set(title) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'-_01") for title in titles
    )
    splits = splits_of(preset, titles)
    assert {name: len(part) for name, part in splits.items()} == {"train": 83, "val": 10, "test": 11}
