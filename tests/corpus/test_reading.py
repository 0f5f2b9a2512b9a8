"""JSON of people is read whole, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfc.corpus.reading import read_json
from mfc.errors import UserError


@pytest.mark.parametrize("text", [r'"\ud83d\ude00"', r'"\uD83D\uDE00"', '"\U0001f600"'])
def test_a_surrogate_pair_is_a_letter(tmp_path: Path, text: str) -> None:
    """However it is written."""
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert read_json(tmp_path / "a.json") == "\U0001f600"


@pytest.mark.parametrize("text", [r'"\ud83d"', r'{"a": ["\uDE00\ud83d"]}', r'{"x\ud800": 1}'])
def test_half_a_surrogate_pair_is_refused(tmp_path: Path, text: str) -> None:
    """No file name, path or page can hold it; it once failed wherever it was written."""
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json: not valid JSON \(a text with half a surrogate pair\)"):
        read_json(tmp_path / "a.json")
