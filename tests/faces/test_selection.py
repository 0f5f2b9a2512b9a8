"""The labelled selections from a face store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mfc.errors import UserError
from mfc.faces.selection import page_and_frame_codes, select
from tests.faces.stores import make_store


def test_the_selection_holds_declared_kept_faces_with_sorted_classes(tmp_path: Path) -> None:
    """Others by choice, undeclared and dropped ones never; labels follow the sorted ids."""
    store = make_store(tmp_path / "faces")
    chosen = select(store, ["B"], others=False)
    assert chosen.classes == ("000000aa", "000000bb")
    assert chosen.rows.tolist() == [0, 1, 2]
    assert chosen.labels.tolist() == [1, 0, 1]
    assert chosen.faces["face_id"].tolist() == ["00000000", "00000001", "00000002"]
    assert (chosen.rows.dtype, chosen.labels.dtype) == (np.int64, np.int64)
    everybody = select(store, ["A", "B"], others=True)
    assert everybody.classes == ("000000aa", "000000ab", "000000bb", "000000cc")
    assert everybody.rows.tolist() == [0, 1, 2, 3, 5, 6]


def test_min_faces_counts_kept_faces_and_the_limit_itself_is_enough(tmp_path: Path) -> None:
    """000000aa has two annotated faces but one kept one."""
    store = make_store(tmp_path / "faces")
    assert select(store, ["B"], others=False, min_faces=2).classes == ("000000bb",)
    assert select(store, ["B"], others=False, min_faces=3).classes == ()
    assert select(store, ["B", "A"], others=False, min_faces=3).classes == ("000000bb",)


def test_an_unknown_title_is_refused(tmp_path: Path) -> None:
    """A misspelt title must not look like an empty one."""
    with pytest.raises(UserError, match="has no title 'C'; it has A, B"):
        select(make_store(tmp_path / "faces"), ["C"], others=True)


def test_frame_codes_agree_where_frames_agree(tmp_path: Path) -> None:
    """Only equality of codes means anything; -1 is nobody's frame."""
    pages, frames = page_and_frame_codes(select(make_store(tmp_path / "faces"), ["B"], others=True).faces)
    assert pages.tolist() == [4, 4, 5, 0]
    assert frames[0] == frames[2] != frames[1]
    assert frames[3] == -1
    assert pages.dtype == frames.dtype == np.int32
