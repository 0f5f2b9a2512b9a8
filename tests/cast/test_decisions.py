"""A person's edits of a clusters.csv become constraints that hold, and cluster numbers last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfc.cast.decisions import decisions, hard_pairs
from mfc.cast.numbering import number_clusters
from mfc.cast.table import Row, Sheet
from mfc.errors import UserError


def sheet(*rows: str) -> Sheet:
    """Rows ``face cluster name decided distance made_cluster made_name``, a dash for an empty cell."""
    made = []
    for line, text in enumerate(rows, start=2):
        face, cluster, name, decided, distance, made_cluster, made_name = (
            "" if cell == "-" else cell for cell in text.split()
        )
        row = Row(
            line, face, int(cluster), name, bool(decided), float(distance), int(made_cluster), made_name
        )
        made.append(row)
    return Sheet(Path("edited.csv"), tuple(made))


def test_an_untouched_sheet_decides_nothing() -> None:
    """Names that the program spread over a cluster are not the person's."""
    plain = sheet("a 1 - - 0.1 1 -", "b 1 - - 0.2 1 -")
    assert decisions(plain) == {}
    assert not plain.touched
    spread = sheet("a 1 Aki - 0.1 1 Aki", "b 1 Aki - 0.2 1 Aki")
    assert decisions(spread) == {}
    assert spread.touched, "a name that a person gave is worth keeping"


def test_a_name_decides_its_row_only() -> None:
    """The rest of the cluster goes on being clustered."""
    assert decisions(sheet("a 1 Aki - 0.1 1 -", "b 1 - - 0.2 1 -")) == {"a": ("Aki", 0)}


def test_one_name_in_two_clusters_joins_and_two_names_part() -> None:
    """The pairs that the clustering gets."""
    labels = decisions(sheet("a 1 Aki - 0.1 1 -", "b 2 Aki - 0.2 2 -", "c 2 Ben - 0.2 2 -"))
    must, cannot = hard_pairs(["c", "a", "x", "b"], labels)
    assert must.tolist() == [[1, 3]]
    assert cannot.tolist() == [[0, 1]]


def test_a_move_is_with_some_and_away_from_others() -> None:
    """The face nearest to the centre stands for each of the two clusters."""
    labels = decisions(
        sheet("a 1 - - 0.3 1 -", "b 1 - - 0.1 1 -", "c 2 - - 0.4 1 -", "d 2 - - 0.2 2 -", "e 2 - - 0.3 2 -")
    )
    assert labels == {"c": ("", 2), "d": ("", 2), "b": ("", 1)}


def test_a_move_takes_the_name_of_the_new_cluster() -> None:
    """The name in the moved row's cell is what the old cluster had left there."""
    labels = decisions(sheet("a 1 Aki yes 0.3 1 Aki", "b 2 Aki - 0.1 1 Aki", "c 2 Ben - 0.1 2 Ben"))
    assert labels == {"a": ("Aki", 0), "b": ("Ben", 0), "c": ("Ben", 0)}


def test_moving_all_of_a_cluster_merges_it() -> None:
    """Nobody is left behind to be kept apart from."""
    labels = decisions(sheet("a 2 - - 0.3 1 -", "b 2 - - 0.1 1 -", "c 2 - - 0.1 2 -"))
    assert set(labels.values()) == {("", 2)}


def test_a_new_number_is_a_new_cluster() -> None:
    """Named there or not."""
    labels = decisions(sheet("a 9 Zoe - 0.3 1 -", "b 9 - - 0.1 1 -", "c 1 - - 0.1 1 -"))
    assert labels == {"a": ("Zoe", 0), "b": ("Zoe", 0), "c": ("", 1)}


def test_correcting_one_face_of_a_named_cluster_parts_it_from_the_rest() -> None:
    """Also when no face of the cluster was decided before."""
    labels = decisions(sheet("a 1 Ben - 0.3 1 Aki", "b 1 Aki - 0.1 1 Aki"))
    assert labels == {"a": ("Ben", 0), "b": ("Aki", 0)}


def test_renaming_the_face_that_gave_the_name_renames_the_cluster() -> None:
    """A spelling is mended in one row."""
    assert decisions(sheet("a 1 Akio yes 0.3 1 Aki", "b 1 Aki - 0.1 1 Aki")) == {"a": ("Akio", 0)}


def test_an_emptied_name_takes_the_decision_back() -> None:
    """The face is the clustering's again."""
    assert decisions(sheet("a 1 - yes 0.3 1 Aki", "b 1 - - 0.1 1 -")) == {}


def test_contradictions_name_faces_and_lines() -> None:
    """A name against a move, and a move between two names."""
    with pytest.raises(UserError, match=r"edited.csv, line 2: face a is named 'Aki' .* face b \(line 3\)"):
        decisions(sheet("a 2 Aki - 0.3 1 -", "b 2 Ben yes 0.1 2 Ben"))
    with pytest.raises(UserError, match=r"line 2: face a .* face b \(line 3\) .* face c \(line 4\) 'Cyd'"):
        decisions(sheet("a 2 - - 0.3 1 -", "b 2 Ben - 0.1 2 -", "c 2 Cyd - 0.1 2 -"))


def test_numbers_and_names_follow_the_faces() -> None:
    """New clusters get new numbers; the larger part of a split keeps the old one."""
    before = sheet("a 4 Aki - 0.3 4 Aki", "b 4 Aki - 0.1 4 Aki", "c 4 Aki - 0 4 Aki", "d 7 - - 0 7 -")
    numbers, names = number_clusters(np.array([5, 5, 3, 3, 1]), ["a", "b", "c", "d", "new"], before)
    assert numbers.tolist() == [4, 4, 7, 7, 8]
    assert names == {4: "Aki"}


def test_without_a_previous_result_larger_clusters_come_first() -> None:
    """Equal ones by their first id, whatever the order of the faces."""
    assert number_clusters(np.array([3, 0, 0, 2]), ["b", "x", "y", "a"])[0].tolist() == [3, 1, 1, 2]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=15), st.integers(0, 1000))
@settings(deadline=None)
def test_numbers_do_not_depend_on_the_order_of_the_faces(clusters: list[int], seed: int) -> None:
    """The same faces in another order get the same numbers."""
    face_ids = [f"f{i:02d}" for i in range(len(clusters))]
    order = np.random.default_rng(seed).permutation(len(clusters))
    numbers, _ = number_clusters(np.array(clusters), face_ids)
    shuffled, _ = number_clusters(np.array(clusters)[order], [face_ids[i] for i in order])
    assert (numbers[order] == shuffled).all()
