"""Known pairs of a title: as a batch sees them, and how they spread."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc.adapt.constraints import Constraints, propagate
from mfc.adapt.mining import Mining, mine
from mfc.faces.pairs import NO_PAIRS
from tests.adapt.titles import DIFFERENT, SAME, UNKNOWN, Title, as_matrix, titles


@given(titles(), st.randoms(use_true_random=False))
def test_pairs_in_a_batch_equal_the_matrix_of_the_batch(title: Title, shuffler: random.Random) -> None:
    """Row-major positions and values of the batch's part of the matrix, for batches of any size and order."""
    found = mine(*title, Mining())
    faces = list(range(found.n))
    shuffler.shuffle(faces)
    index = np.array(faces[: len(faces) * 2 // 3], np.int64)
    part = as_matrix(found)[np.ix_(index, index)]
    expected = np.argwhere(np.triu(part != UNKNOWN, 1))
    i, j, same = found.pairs_in(index)
    assert np.stack([i, j], axis=1).tolist() == expected.tolist()
    assert same.tolist() == [bool(part[a, b] == SAME) for a, b in expected]
    a1, p, a2, n = found.indices_tuple(index)
    assert list(zip(a1, p, strict=True)) == [(a, b) for a, b in expected if part[a, b] == SAME]
    assert list(zip(a2, n, strict=True)) == [(a, b) for a, b in expected if part[a, b] == DIFFERENT]


def test_partners_of_a_face_are_all_its_pairs() -> None:
    """0=2, 1≠2, and 3 alone."""
    start, partner, same = Constraints(4, np.array([[0, 2]]), np.array([[1, 2]])).partners
    assert start.tolist() == [0, 1, 2, 4, 4]
    assert sorted(zip(partner[:2].tolist(), same[:2].tolist(), strict=True)) == [(2, False), (2, True)]
    assert sorted(zip(partner[2:].tolist(), same[2:].tolist(), strict=True)) == [(0, True), (1, False)]


def test_a_batch_holds_no_face_twice() -> None:
    found = Constraints(3, np.array([[0, 2]]), NO_PAIRS)
    with pytest.raises(ValueError, match="twice"):
        found.pairs_in(np.array([0, 2, 0]))


def test_hand_worked_propagation() -> None:
    """0≠1, 1=2, 2=3, 3=4: the negative moves to 2 and no further; 1=3 and 2=4 follow, 1=4 does not."""
    found = propagate(5, np.array([[0, 1]]), np.array([[1, 2], [2, 3], [3, 4]]))
    assert found.cannot_link.tolist() == [[0, 1], [0, 2]]
    assert found.must_link.tolist() == [[1, 2], [1, 3], [2, 3], [2, 4], [3, 4]]


def test_negative_wins_over_a_direct_link() -> None:
    """0 and 2 share a frame, both linked with 1: the chain says one person, the frame two; all end as two."""
    found = propagate(3, np.array([[0, 2]]), np.array([[0, 1], [1, 2]]))
    assert found.must_link.tolist() == []
    assert found.cannot_link.tolist() == [[0, 1], [0, 2], [1, 2]]
