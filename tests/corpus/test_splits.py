"""The published split and where title lists come from."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc.corpus.splits import reference_split, resolve_splits
from mfc.errors import UserError

FORTY_FOUR = [f"T{i:02d}" for i in range(44)]


def test_the_published_rule_on_44_titles() -> None:
    """First ten and number 43 are test, the next ten val, the rest train; first volumes are dropped."""
    split = reference_split([*reversed(FORTY_FOUR), "A_vol01", "T00_vol01x"])
    assert split["test"] == [*FORTY_FOUR[:10], "T43"]
    assert split["val"] == FORTY_FOUR[10:20]
    assert split["train"] == FORTY_FOUR[20:43]


def test_titles_are_sorted_by_code_point_and_only_the_exact_ending_is_dropped() -> None:
    """Lower case comes after upper case, and `_Vol01` is a title like others."""
    split = reference_split([*FORTY_FOUR[:42], "aaa", "Z_Vol01", "Z_vol01"])
    assert split["test"][-1] == "aaa"
    assert "Z_Vol01" in split["train"]
    assert "Z_vol01" not in {title for titles in split.values() for title in titles}


def test_fewer_than_44_titles_are_too_few() -> None:
    """A first volume does not count."""
    with pytest.raises(UserError, match=r"at least 44 titles .* not 43"):
        reference_split([*FORTY_FOUR[:43], "A_vol01"])


@given(st.sets(st.text("abAB_-'", min_size=1, max_size=6), min_size=44, max_size=80))
def test_every_title_is_used_once(titles: set[str]) -> None:
    """The three lists are a partition whatever the names."""
    split = reference_split(list(titles))
    assert sorted(split["train"] + split["val"] + split["test"]) == sorted(titles)
    assert (len(split["val"]), len(split["test"])) == (10, 11)


def test_title_lists_come_from_the_first_source_that_is_there(tmp_path: Path) -> None:
    """--splits, splits.json at the root, the published rule, everything is test."""
    assert resolve_splits(tmp_path, ["B", "A"]) == {"train": [], "val": [], "test": ["B", "A"]}
    assert resolve_splits(tmp_path, FORTY_FOUR) == reference_split(FORTY_FOUR)
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["T05"], "val": [], "test": ["T09", "T01"]}))
    assert resolve_splits(tmp_path, FORTY_FOUR)["test"] == ["T09", "T01"]
    given_file = tmp_path / "mine.json"
    given_file.write_text(json.dumps({"test": ["T07"]}))
    expected = {"train": [], "val": [], "test": ["T07"]}
    assert resolve_splits(tmp_path, FORTY_FOUR, str(given_file)) == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"test": ["A",\n}', r"mine\.json, line 2: not valid JSON"),
        ('["A"]', "expected"),
        ('{"dev": ["A"]}', "unknown split 'dev'; the splits are train, val, test"),
        ('{"test": "A"}', "test is not a list of titles"),
        ('{"test": [1]}', "test is not a list of titles"),
        ('{"train": ["A"], "test": ["A"]}', "'A' is in train and in test"),
        ('{"test": ["Nowhere"]}', r"'Nowhere' is missing from .*books\.txt"),
        ('{"test": []}', "lists no title"),
        ('{"test": ["A"], "test": ["B"]}', "key 'test' is there twice"),
        ('{"test": ' + "[" * 100_000, "nested too deeply"),
        ('{"test": [' + "9" * 5000 + "]}", "not valid JSON"),
    ],
)
def test_a_wrong_splits_file_is_explained(tmp_path: Path, content: str, reason: str) -> None:
    """One sentence that names the file and what is wrong in it."""
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(UserError, match=reason):
        resolve_splits(tmp_path, ["A", "B"], str(path))


def test_a_missing_splits_file_is_explained(tmp_path: Path) -> None:
    """A misspelt --splits must not fall back to another source."""
    with pytest.raises(UserError, match=r"none\.json: cannot be read \(No such file"):
        resolve_splits(tmp_path, ["A"], str(tmp_path / "none.json"))
    with pytest.raises(UserError, match="is no file"):
        resolve_splits(tmp_path, ["A"], str(tmp_path))


def test_titles_of_a_splits_file_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    """They come out as books.txt spells them; both forms in one file are one title twice."""
    one, other = (unicodedata.normalize(form, "ガンバ") for form in ("NFC", "NFD"))
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"test": [one]}))
    assert resolve_splits(tmp_path, [other], str(path))["test"] == [other]
    path.write_text(json.dumps({"train": [one], "test": [other]}))
    with pytest.raises(UserError, match="is in train and in test"):
        resolve_splits(tmp_path, [other], str(path))
