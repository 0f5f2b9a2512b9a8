"""The import as a person meets it, and the two real books where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mfc.config import ImportOpenMantra, Preprocess
from mfc.corpus.manga109 import open_corpus
from mfc.corpus.validate import corpus_problems
from mfc.errors import UserError
from mfc.log import PrintLog
from mfc.stages.import_openmantra import import_openmantra
from mfc.stages.preprocess import preprocess
from tests.corpus.test_openmantra import dataset  # noqa: F401

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("MFC_OPENMANTRA") or ROOT.parent / "shared" / "openmantra")
CAST = {
    "tojime_no_siora": {"Lene": 69, "Siora": 59, "Don": 27, "Bill": 17, "Other": 30},
    "balloon_dream": {"Jin": 67, "Mizuki": 60, "Teacher": 6, "Jin_child": 5, "Father": 3, "Other": 3},
}
PAGES = {"tojime_no_siora": 46, "balloon_dream": 38}


class Lines(PrintLog):
    """A log that keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def test_the_person_is_told_what_there_is_and_what_was_left_out(dataset: Path, tmp_path: Path) -> None:  # noqa: F811
    """Counts, books left out, changed boxes and the licence; the second time that all is up to date."""
    config, log = ImportOpenMantra(input=str(dataset), out=str(tmp_path / "corpus")), Lines()
    assert import_openmantra(config, log) == tmp_path / "corpus"
    told = "\n".join(log.lines)
    assert "has now 2 books, 6 pages, 6 frames, 6 texts, 4 faces, 3 characters" in told
    assert "1 book left out" in told
    assert "faces cut off at the edge of the page: 1" in told
    assert "CC BY-NC 4.0" in told
    import_openmantra(config, log)
    assert any("is up to date with 2 books" in line for line in log.lines)


@pytest.mark.parametrize(("given", "missing"), [({"out": "x"}, "--input"), ({"input": "x"}, "--out")])
def test_both_folders_have_to_be_given(given: dict[str, str], missing: str) -> None:
    with pytest.raises(UserError, match=f"by {missing}"):
        import_openmantra(ImportOpenMantra(**given), Lines())


def test_nothing_is_written_when_the_input_is_bad(dataset: Path, tmp_path: Path) -> None:  # noqa: F811
    """The last picture of the last book is damaged: no folder is made."""
    (dataset / "images/umi_no_uta/ja/002.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=r"002\.jpg: not a readable picture"):
        import_openmantra(ImportOpenMantra(input=str(dataset), out=str(tmp_path / "corpus")), Lines())
    assert not (tmp_path / "corpus").exists()


def test_an_imported_corpus_becomes_a_face_store(dataset: Path, tmp_path: Path) -> None:  # noqa: F811
    """Every face is cut; nothing about the corpus is a problem."""
    root = import_openmantra(ImportOpenMantra(input=str(dataset), out=str(tmp_path / "corpus")), Lines())
    store = preprocess(Preprocess(size=32, jobs=1), root, tmp_path / "faces", Lines())
    assert store.meta["problems"] == []
    assert store.titles("test") == ["hoshi", "umi_no_uta"]
    assert len(store.crops) == 4
    assert store.table["frame_id"].notna().tolist() == [True, True, True, False]
    assert store.table["is_other"].tolist() == [False, True, False, False]


@pytest.mark.skipif(
    not (REAL / "annotation.json").is_file(),
    reason=f"the OpenMantra dataset is not at {REAL}; download it and name its folder in MFC_OPENMANTRA",
)
def test_the_real_books_with_the_faces_that_mfc_brings(tmp_path: Path) -> None:
    """Pages, cast and sizes are those of the README of the boxes; the layout's rules hold; all can be cut."""
    root = import_openmantra(ImportOpenMantra(input=str(REAL), out=str(tmp_path / "corpus")), Lines())
    assert list(corpus_problems(root)) == []
    corpus = open_corpus(root)
    assert set(corpus.titles) == set(CAST)
    for title in corpus.titles:
        book = corpus.read_book(title)
        names = {c.character_id: c.name for c in book.characters}
        found = [names[face.character_id] for page in book.pages for face in page.faces]
        assert {name: found.count(name) for name in names.values()} == CAST[title]
        assert len(book.pages) == PAGES[title]
    store = preprocess(Preprocess(size=32, jobs=1), root, tmp_path / "faces", Lines())
    assert store.meta["problems"] == []
    assert (len(store.table), len(store.crops)) == (346, 337)
    assert store.table["frame_id"].notna().mean() > 0.9
