"""The table of faces and characters, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mfc.faces.store import COLUMNS, FaceStore, finish_store, new_crops, new_store, open_store
from mfc.stages.statistics import TOTAL, count_faces, format_table
from tests.recorder import Recorder


def faces(n: int, title: str, character: str, name: str | None = "Aoi", **more: Any) -> list[dict[str, Any]]:
    """``n`` alike faces."""
    line = dict.fromkeys(COLUMNS, 0) | {
        "title": title,
        "split": "-",
        "character_id": character,
        "face_id": "f",
    }
    line |= {"character_name": name, "is_other": False, "frame_id": "x", "drop_reason": None, "row": 0}
    return [line | more for _ in range(n)]


def make_store(path: Path, lines: list[dict[str, Any]], splits: dict[str, list[str]]) -> FaceStore:
    table = pd.DataFrame(lines)
    kept = table["row"].notna()
    table["row"] = kept.cumsum().sub(1).where(kept)
    with new_store(path) as folder:
        new_crops(folder, int(kept.sum()), 16, 1)
        pages = {title: 7 for titles in splits.values() for title in titles}
        finish_store(folder, table, {"splits": splits, "pages": pages})
    return open_store(path)


@pytest.fixture
def store(tmp_path: Path) -> FaceStore:
    lines = [
        *faces(10, "A", "a1"),
        *faces(2, "A", "a1", row=None, drop_reason="too small"),
        *faces(9, "A", "a2", frame_id=None),
        *faces(1, "A", "a2", row=None, drop_reason="too small"),
        *faces(3, "A", "a3", "Other", is_other=True),
        *faces(4, "B", "b1", "_Other"),
        *faces(1, "B", "b2", None),
        *faces(1, "B", "b3", row=None, drop_reason="missing image"),
    ]
    return make_store(tmp_path / "s", lines, {"train": ["A"], "val": [], "test": ["B"]})


def test_every_count_by_hand(store: FaceStore) -> None:
    """Ten kept faces make a character of the head, nine and a dropped one do not."""
    table = count_faces(store, Recorder()).set_index(["split", "title"])
    expected = {
        ("train", "A"): (7, 25, 22, 3, 19, 3, 0, 9, 3, 2, 1, 10),
        ("test", "B"): (7, 6, 5, 1, 4, 0, 1, 0, 1, 1, 0, 0),
        ("train", TOTAL): (7, 25, 22, 3, 19, 3, 0, 9, 3, 2, 1, 10),
        ("test", TOTAL): (7, 6, 5, 1, 4, 0, 1, 0, 1, 1, 0, 0),
        (TOTAL, TOTAL): (14, 31, 27, 4, 23, 3, 1, 9, 4, 3, 1, 10),
    }
    assert {index: tuple(row) for index, row in zip(table.index, table.to_numpy(), strict=True)} == expected


def test_the_table_and_the_sums_are_logged(store: FaceStore) -> None:
    """As an artifact, and as metrics to compare corpora by."""
    log = Recorder()
    table = count_faces(store, log)
    assert log.tables["statistics"] is table
    assert log.values == {
        "data/train_kept": 22,
        "data/train_characters_named": 2,
        "data/test_kept": 5,
        "data/test_characters_named": 1,
    }


def test_later_spellings_of_others_are_reported(store: FaceStore) -> None:
    """`_Other` is real and missed by the paper's list; whoever is in that list is not reported."""
    log = Recorder()
    count_faces(store, log)
    assert len(log.lines) == 1
    assert "'_Other' of B (4 faces); see preprocess --others extended" in log.lines[0]


def test_published_counts_are_shown_where_they_can_be_compared(tmp_path: Path) -> None:
    """For 104 titles the faces of pre-training, for BEMADER_P its faces and Others."""
    lines = [*faces(12, "T001", "c"), *faces(9, "T002", "d")]
    lines += [*faces(5, "BEMADER_P", "e"), *faces(2, "BEMADER_P", "f", "Other", is_other=True)]
    train = [f"T{i:03d}" for i in range(103)]
    log = Recorder()
    count_faces(make_store(tmp_path / "s", lines, {"train": train, "val": [], "test": ["BEMADER_P"]}), log)
    assert log.lines == [
        "statistics: faces for pre-training: 12 here; published for Manga109: 67,328 (paper), "
        "67,336 (re-implementation)",
        "statistics: BEMADER_P, faces + Others: 5 + 2 here; published: 1,105 + 82 (paper), "
        "1,111 + 82 (re-implementation)",
    ]


def test_the_printed_table_has_a_line_per_row_and_two_rules(store: FaceStore) -> None:
    """Headings, a rule, the titles, a rule, the sums."""
    table = count_faces(store, Recorder())
    lines = format_table(table).splitlines()
    assert [line[0] == "-" for line in lines] == [False, True, False, False, True, False, False, False]
    assert lines[0].split()[:4] == ["split", "title", "pages", "faces"]
    assert lines[2].split()[:5] == ["train", "A", "7", "25", "22"]
    assert len({len(line) for line in lines}) == 1
