"""Rounds of correction as a person sees them: a table, edits, and the table that comes of it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from mfc.cast.agglomeration import NO_HINTS, Held, Hints, agglomerate, hold
from mfc.cast.changes import tell_changes
from mfc.cast.decisions import Label, decisions
from mfc.cast.numbering import number_clusters
from mfc.cast.table import ClusteredFace, Row, Sheet, as_csv, read_sheet, tabulate
from mfc.errors import UserError
from mfc.faces.pairs import NO_PAIRS, cannot_links_from_frames
from mfc.log import PrintLog


@dataclass
class Round:
    """The table that a round wrote, as text and as it is read, and what was said."""

    faces: list[ClusteredFace]
    text: str
    sheet: Sheet
    held: Held
    labels: dict[str, Label]
    said: list[str]

    @property
    def cluster(self) -> dict[str, int]:
        return {face.face_id: face.cluster for face in self.faces}

    @property
    def name(self) -> dict[str, str]:
        return {face.face_id: face.name for face in self.faces}


@dataclass
class Cast:
    """Faces f0, f1, … at given angles on a circle, some of them in one frame."""

    angles: Sequence[float]
    hints: Hints = NO_HINTS

    def round(
        self,
        sheet: Sheet | None = None,
        *,
        n_clusters: int | None = None,
        cut: float = 0.1,
        everywhere: bool = True,
    ) -> Round:
        """`mfc cluster`, without its encoder."""
        angles = np.radians(np.array(self.angles, np.float64))
        features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        ids = [f"f{i}" for i in range(len(angles))]
        labels = decisions(sheet) if sheet else {}
        held = Held({})
        if sheet:
            held = hold(sheet, labels, ids, features, self.hints, everywhere=everywhere)
        clusters = agglomerate(ids, held.people, features, features, self.hints, n_clusters, cut, PrintLog())
        numbers, names = number_clusters(clusters, ids, sheet, labels, held.people)
        lines = pd.DataFrame({"face_id": ids, "page_index": 0, "xmin": 0, "ymin": 0, "xmax": 9, "ymax": 9})
        faces = tabulate(lines, features, numbers, names, labels)
        said = tell_changes(sheet, faces, held) if sheet else []
        text = as_csv(faces, {0: "p"})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clusters.csv"
            path.write_text(text, encoding="utf-8")
            read = read_sheet(path)
        return Round(faces, text, Sheet(Path("clusters.csv"), read.rows), held, labels, said)


Edit = Callable[[Row], Row]


def edited(sheet: Sheet, **cells: tuple[int | None, str | None]) -> Sheet:
    """The sheet with new (cluster, name) in the rows of some faces; None leaves a cell as it is."""
    rows = []
    for row in sheet.rows:
        cluster, name = cells.get(row.face_id, (None, None))
        rows.append(
            dataclasses.replace(
                row,
                cluster=row.cluster if cluster is None else cluster,
                name=row.name if name is None else name,
            )
        )
    return Sheet(sheet.path, tuple(rows))


THREE = Cast([0, 2, 4, 90, 92, 180, 182, 184, 186])
"""Clusters 2 (f0 f1 f2), 3 (f3 f4) and 1 (f5 f6 f7 f8)."""


def test_the_cast_is_as_the_tests_say() -> None:
    assert list(THREE.round().cluster.values()) == [2, 2, 2, 3, 3, 1, 1, 1, 1]


def test_all_rows_moved_into_a_cluster_are_a_merge() -> None:
    """The faces that were there already stay, wherever the features are."""
    now = THREE.round(edited(THREE.round().sheet, f3=(1, None), f4=(1, None)))
    assert list(now.cluster.values()) == [2, 2, 2, 1, 1, 1, 1, 1, 1]
    assert now.said == []


def test_some_rows_moved_into_a_cluster_leave_the_others() -> None:
    """Nobody else goes from either cluster."""
    now = THREE.round(edited(THREE.round().sheet, f5=(3, None)))
    assert list(now.cluster.values()) == [2, 2, 2, 3, 3, 3, 1, 1, 1]
    again = THREE.round(now.sheet)
    assert again.text == now.text


def test_one_name_in_rows_of_two_clusters_is_a_merge() -> None:
    """The larger one's number stays, and who went there is said."""
    now = THREE.round(edited(THREE.round().sheet, f0=(None, "Aki"), f6=(None, "Aki")))
    assert list(now.cluster.values()) == [1, 1, 1, 3, 3, 1, 1, 1, 1]
    assert [now.name[f"f{i}"] for i in (0, 1, 2, 5, 6, 7, 8)] == ["Aki"] * 7
    assert now.name["f3"] == ""
    assert now.said == ["3 faces of cluster 2 are in cluster 1 (Aki) now"]


def test_a_new_number_for_rows_of_two_clusters_is_a_new_person() -> None:
    """Away from both, which keep their numbers."""
    now = THREE.round(edited(THREE.round().sheet, f0=(7, None), f5=(7, None)))
    assert list(now.cluster.values()) == [7, 2, 2, 3, 3, 7, 1, 1, 1]


def test_two_names_in_one_cluster_divide_it() -> None:
    """Each of the others goes with the person who is nearer."""
    one = Cast([0, 2, 30, 40, 42]).round(n_clusters=1)
    now = Cast([0, 2, 30, 40, 42]).round(edited(one.sheet, f0=(None, "Aki"), f4=(None, "Ben")))
    assert list(now.name.values()) == ["Aki", "Aki", "Ben", "Ben", "Ben"]
    assert now.said == ["2 faces of cluster 1 are in cluster 2 (Aki) now"]


def test_a_person_is_renamed_in_one_decided_row() -> None:
    """The others of the cluster are called so too, which is said."""
    named = THREE.round(edited(THREE.round().sheet, f0=(None, "Aki")))
    now = THREE.round(edited(named.sheet, f0=(None, "Akio")))
    assert [now.name[f"f{i}"] for i in range(4)] == ["Akio", "Akio", "Akio", ""]
    assert now.said == [
        "2 faces called Aki in the table are in cluster 2 (Akio)",
        "nobody is called Aki any more",
    ]


def test_another_name_in_an_undecided_row_takes_the_face_out() -> None:
    """A cluster with a name keeps it, and its other faces; so it is with the name of another cluster."""
    named = THREE.round(edited(THREE.round().sheet, f0=(None, "Aki"), f5=(None, "Ben")))
    now = THREE.round(edited(named.sheet, f1=(None, "Cyd"), f2=(None, "Ben")))
    assert [now.name[f"f{i}"] for i in range(9)] == ["Aki", "Cyd", "Ben", "", "", *["Ben"] * 4]
    assert [now.cluster[f"f{i}"] for i in range(9)] == [2, 4, 1, 3, 3, 1, 1, 1, 1]
    assert now.said == [
        "1 face of cluster 2 is in cluster 4 (Cyd) now",
        "1 face of cluster 2 is in cluster 1 (Ben) now",
    ]


def test_a_name_goes_along_when_its_whole_cluster_is_moved() -> None:
    """Into a cluster without a name, or to a new number; into a named one it is lost, which is said."""
    named = THREE.round(edited(THREE.round().sheet, f3=(None, "Aki"), f5=(None, "Ben")))
    now = THREE.round(edited(named.sheet, f3=(2, None), f4=(2, None)))
    assert [now.name[f"f{i}"] for i in range(5)] == ["Aki"] * 5
    assert now.said == []
    now = THREE.round(edited(named.sheet, f3=(9, None), f4=(9, None)))
    assert (now.cluster["f3"], now.name["f3"], now.said) == (9, "Aki", [])
    now = THREE.round(edited(named.sheet, f3=(1, None), f4=(1, None)))
    assert now.name["f3"] == now.name["f4"] == "Ben"
    assert now.said == [
        "2 faces called Aki in the table are in cluster 1 (Ben)",
        "nobody is called Aki any more",
    ]


def test_a_name_stays_when_a_part_of_its_cluster_is_moved() -> None:
    """The moved face is told from the person of that name."""
    named = THREE.round(edited(THREE.round().sheet, f3=(None, "Aki")))
    now = THREE.round(edited(named.sheet, f4=(2, None)))
    assert [now.name[f"f{i}"] for i in range(5)] == ["", "", "", "Aki", ""]
    assert now.said == ["1 face called Aki in the table is in cluster 2"]


def test_an_emptied_name_is_told_where_the_face_stays() -> None:
    """A face leaves its cluster by a number; a person loses the name when all rows do."""
    named = THREE.round(edited(THREE.round().sheet, f0=(None, "Aki")))
    now = THREE.round(edited(named.sheet, f1=(None, "")))
    assert now.name["f1"] == "Aki"
    assert now.said == [
        "1 face whose name Aki was emptied is still in cluster 2 (Aki); write another number to take it out"
    ]
    now = THREE.round(edited(named.sheet, f0=(None, ""), f1=(None, ""), f2=(None, "")))
    assert set(now.name.values()) == {""}
    assert now.said == []
    assert not any(face.decided for face in now.faces)


FRAMED = dataclasses.replace(THREE, hints=Hints(NO_PAIRS, np.array([[0, 5], [1, 6]])))


def test_a_frame_keeps_a_follower_back_and_that_is_said() -> None:
    """Of the smaller cluster, with the others that stay behind; a decision is stronger than a frame."""
    first = FRAMED.round().sheet
    now = FRAMED.round(edited(first, f2=(None, "Aki"), f7=(None, "Aki")))
    assert list(now.cluster.values()) == [2, 2, 1, 3, 3, 1, 1, 1, 1]
    assert [now.name[f"f{i}"] for i in range(3)] == ["", "", "Aki"]
    assert now.said == [
        "2 faces of cluster 2 did not go along with the others, because each is in one frame with a face "
        "that they joined, and are in cluster 2 now (f0, f1); write the number or the name of the others "
        "into their rows to join them all the same",
        "1 face of cluster 2 is in cluster 1 (Aki) now",
    ]
    assert FRAMED.round(now.sheet).text == now.text
    now = FRAMED.round(edited(now.sheet, f0=(1, None), f1=(None, "Aki")))
    assert list(now.cluster.values()) == [1, 1, 1, 3, 3, 1, 1, 1, 1]


def test_moved_faces_are_with_those_of_their_cluster_whatever_the_frames() -> None:
    """The person put f0 and f1 where f5 and f6 are."""
    now = FRAMED.round(edited(FRAMED.round().sheet, f0=(1, None), f1=(1, None), f2=(1, None)))
    assert list(now.cluster.values()) == [1, 1, 1, 3, 3, 1, 1, 1, 1]
    assert now.said == []


def test_what_a_table_has_in_one_cluster_no_frame_parts() -> None:
    """A table of another method may hold two faces of one frame together: it is read back as it is."""
    whole = Cast(FRAMED.angles).round(n_clusters=1)
    assert FRAMED.round(whole.sheet).text == whole.text


def test_two_boxes_of_one_face_are_one_person_unless_decided_otherwise() -> None:
    """Also where another face of their frame lies between them."""
    cast = Cast([0, 40, 80, 90], Hints(np.array([[0, 2]]), np.array([[0, 1], [1, 2]])))
    now = cast.round(n_clusters=2)
    assert now.cluster["f0"] == now.cluster["f2"] != now.cluster["f1"]
    now = cast.round(edited(now.sheet, f0=(None, "Aki"), f2=(None, "Ben")))
    assert (now.name["f0"], now.name["f2"]) == ("Aki", "Ben")
    again = cast.round(now.sheet, everywhere=False)
    assert (again.name["f0"], again.name["f2"]) == ("Aki", "Ben")


def test_new_faces_are_clustered_around_the_table() -> None:
    """They join a cluster, or make new ones; the table's are neither joined nor parted by that."""
    before = THREE.round().sheet
    more = Cast([*THREE.angles, 1, 270, 272])
    now = more.round(before)
    assert list(now.cluster.values()) == [2, 2, 2, 3, 3, 1, 1, 1, 1, 2, 4, 4]
    assert len(set(more.round(before, n_clusters=1).cluster.values())) == 3
    assert len(set(more.round(before, n_clusters=5).cluster.values())) == 5


def test_a_previous_table_holds_where_it_was_changed() -> None:
    """Clusters in which nothing was changed are clustered anew."""
    sheet = edited(THREE.round().sheet, f3=(1, None), f4=(1, None))
    now = THREE.round(sheet, n_clusters=4, everywhere=False)
    assert len({now.cluster[f"f{i}"] for i in range(3, 9)}) == 1
    assert len(set(now.cluster.values())) == 4


def test_rows_and_names_that_are_not_there_are_told() -> None:
    """As after a spreadsheet read ids as numbers."""
    rows = THREE.round().sheet.rows
    sheet = Sheet(
        Path("old.csv"),
        tuple(
            dataclasses.replace(r, face_id=f"x{r.face_id}", name="Aki", made_name="Aki") if i < 5 else r
            for i, r in enumerate(rows)
        ),
    )
    now = THREE.round(sheet, everywhere=False)
    assert now.said == [
        "5 of the 9 rows of old.csv are no face of this result (line 2: xf0, line 3: xf1, line 4: xf2, "
        "line 5: xf3, line 6: xf4); if the comic has them, let the spreadsheet read the column face_id as "
        "text",
        "nobody is called Aki any more",
    ]


def test_the_largest_number_of_a_cluster(tmp_path: Path) -> None:
    """Takes no memory, and the next new number is one that can be read again."""
    largest = 10**9 - 1
    now = THREE.round(edited(THREE.round().sheet, f0=(largest, None), f1=(None, "Aki"), f2=(None, "Ben")))
    assert now.cluster["f0"] == largest
    assert set(now.cluster.values()) == {largest, 1, 2, 3, 4}


casts = st.builds(
    lambda angles, frames: Cast(
        angles, Hints(NO_PAIRS, cannot_links_from_frames(np.array(frames[: len(angles)])))
    ),
    st.lists(st.integers(0, 359), min_size=1, max_size=12),
    st.lists(st.integers(-1, 4), min_size=12, max_size=12),
)


def merged_by(sheet: Sheet, draw: st.DrawFn) -> tuple[Sheet, set[int]]:
    """Two or three clusters made one: by moving all rows of some, or by a name in a row of each."""
    numbers = sorted(sheet.clusters)
    chosen = draw(st.lists(st.sampled_from(numbers), min_size=2, max_size=3, unique=True))
    cells: dict[str, tuple[int | None, str | None]] = {}
    if draw(st.booleans()):
        for number in chosen:
            row = draw(st.sampled_from(sheet.clusters[number]))
            cells[row.face_id] = None, "Aki"
    else:
        for number in chosen[1:]:
            cells |= {row.face_id: (chosen[0], None) for row in sheet.clusters[number]}
    return edited(sheet, **cells), set(chosen)


@given(casts, st.data())
@settings(max_examples=150, deadline=None)
def test_a_merge_is_a_merge(cast: Cast, data: st.DataObject) -> None:
    """All faces of the merged clusters are in one, but for those that a frame keeps back, which are told.

    All others are where they were, and the table that comes of it is read back as it is.
    """
    before = cast.round()
    if len(before.sheet.clusters) < 2:
        return
    sheet, merged = merged_by(before.sheet, data.draw)
    now = cast.round(sheet, n_clusters=data.draw(st.sampled_from([None, 1, 4])))
    of_merged = [f for f, number in before.cluster.items() if number in merged]
    together = {now.cluster[f] for f in of_merged if f not in now.held.left}
    assert len(together) == 1
    decided = {row.face_id for row in sheet.rows if row.fixed}
    for face in now.held.left:
        i = int(face[1:])
        mates = {f"f{b if a == i else a}" for a, b in cast.hints.apart.tolist() if i in (a, b)}
        assert face not in decided
        assert any(now.cluster[mate] in together for mate in mates)
    assert len(now.held.left) == 0 or "did not go along" in now.said[0]
    for f, number in before.cluster.items():
        if number not in merged:
            assert now.cluster[f] == number
    assert cast.round(now.sheet).text == now.text


@st.composite
def edits(draw: st.DrawFn, sheet: Sheet) -> Sheet:
    """A person who moves, names and empties at random."""
    rows = []
    for row in sheet.rows:
        cluster = draw(st.sampled_from([row.cluster] * 4 + [1, 2, 9]))
        name = draw(st.sampled_from([row.name] * 4 + ["Aki", "Ben", "Cyd", ""]))
        rows.append(dataclasses.replace(row, cluster=cluster, name=name))
    return Sheet(sheet.path, tuple(rows))


@given(casts, st.data())
@settings(max_examples=150, deadline=None)
def test_nothing_decided_is_contradicted_and_nothing_changes_without_a_word(
    cast: Cast, data: st.DataObject
) -> None:
    """Over rounds of edits, by --corrections and by --previous.

    One label is one cluster under its name, two labels are two, in this round and in the next without edits;
    a typed name is borne, a moved face is not with the decided ones that it was moved away from; and whoever
    is not where the table shows it, or is called otherwise, is told.
    """
    sheet = cast.round().sheet
    for _ in range(3):
        sheet = data.draw(edits(sheet))
        everywhere = data.draw(st.booleans())
        try:
            now = cast.round(sheet, everywhere=everywhere)
        except UserError:  # contradictory: refused instead of undone
            return
        for made in (now, cast.round(now.sheet), cast.round(now.sheet, everywhere=False)):
            for a, label in now.labels.items():
                assert made.name[a] == label[0] or not label[0]
                for b, other in now.labels.items():
                    assert (made.cluster[a] == made.cluster[b]) == (label == other)
        for row in sheet.rows:
            if row.renamed:
                assert now.name[row.face_id] == row.name
        if everywhere:
            spread = {row.face_id for row in sheet.rows if not row.name and (row.moved or not row.made_name)}
            for row in sheet.rows:
                if row.cluster != now.cluster[row.face_id]:
                    assert any(f"of cluster {row.cluster} " in line for line in now.said)
                if row.name != now.name[row.face_id] and row.face_id not in spread:
                    assert any(f" {row.name or row.made_name} " in line for line in now.said)
            assert cast.round(now.sheet).text == now.text
        sheet = now.sheet
