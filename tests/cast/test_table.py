"""clusters.csv: what is written is read again, by this program and by spreadsheets."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfc.cast.table import KEPT, MOST, ClusteredFace, as_csv, read_sheet, tabulate
from mfc.errors import UserError

HEAD = ",".join(KEPT) + "\n"


def face(face_id: str, name: str, *, cluster: int = 1, decided: bool = False) -> ClusteredFace:
    return ClusteredFace(face_id, 3, (10, 20, 50, 70), cluster, name, decided, 0.25, False)


def test_what_was_written_is_read_as_unchanged(tmp_path: Path) -> None:
    """Nothing counts as changed but what was decided before."""
    path = tmp_path / "clusters.csv"
    faces = [face("0000abcd", 'Aki "the <Fox>" & 狐, 明', cluster=12, decided=True), face("x.png", "")]
    path.write_text(as_csv(faces, {3: "p, 3.png"}), encoding="utf-8")
    sheet = read_sheet(path)
    first, second = sheet.rows
    assert (first.face_id, first.cluster, first.name, first.decided) == (
        "0000abcd",
        12,
        'Aki "the <Fox>" & 狐, 明',
        True,
    )
    assert (first.moved, first.renamed, second.fixed) == (False, False, False)
    assert (second.line, second.cluster, second.name, second.distance) == (3, 1, "", 0.25)
    assert sheet.touched
    assert not sheet.edited


def test_excel_is_told_that_it_is_utf8() -> None:
    """By a byte order mark, without which Japanese names come back as gibberish."""
    assert as_csv([face("a", "ガンバ")], {3: "p"}).encode().startswith(b"\xef\xbb\xbfface_id,page,")


@given(st.text(st.sampled_from("'=+-@\t＝a "), max_size=6).map(str.strip))
@settings(max_examples=300, deadline=None)
def test_no_cell_is_a_formula_and_all_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """Names, ids and pages that begin as formulas do, with and without a mark against it."""
    text = as_csv([face(name or "a", name)], {3: name or "p"})
    for cell in text.splitlines()[1].split(","):
        assert cell.strip('"')[:1] not in ("=", "+", "-", "@", "\t", "＝")
    path = tmp_path_factory.getbasetemp() / "clusters.csv"
    path.write_text(text, encoding="utf-8")
    (row,) = read_sheet(path).rows
    assert (row.face_id, row.name, row.made_name) == (name or "a", name, name)


def test_unicode_forms_are_one_name_and_one_id(tmp_path: Path) -> None:
    """A keyboard writes the one, macOS the other; what was written first is kept."""
    nfc, nfd = (unicodedata.normalize(form, "ガンバ") for form in ("NFC", "NFD"))
    path = tmp_path / "c.csv"
    path.write_text(HEAD + f"{nfc}.png,1,{nfd},yes,0,1,{nfc}\nb,2,{nfc},,0,2,\n", encoding="utf-8")
    first, second = read_sheet(path, {f"{nfd}.png", "b"}).rows
    assert first.face_id == f"{nfd}.png"
    assert first.name == first.made_name == second.name == nfd
    assert not first.renamed
    assert second.renamed


def test_an_id_that_is_there_in_both_forms_is_the_one_that_is_written(tmp_path: Path) -> None:
    """Two files of equal looks."""
    nfc, nfd = (unicodedata.normalize(form, "ガ") for form in ("NFC", "NFD"))
    path = tmp_path / "c.csv"
    path.write_text(HEAD + f"{nfc},1,,,0,1,\n{nfd},1,,,0,1,\n", encoding="utf-8")
    assert [row.face_id for row in read_sheet(path, {nfd, nfc}).rows] == [nfc, nfd]
    with pytest.raises(UserError, match=r"line 3: face .* is in line 2 already"):
        read_sheet(path, {nfc})


def test_ids_of_earlier_versions_and_with_blanks(tmp_path: Path) -> None:
    """765273e5 looks like a number and is made f65273e5 now; a file's name may begin with a blank."""
    path = tmp_path / "c.csv"
    path.write_text(HEAD + "765273e5,1,,,0,1,\na.png,1,,,0,1,\n12345678,1,,,0,1,\n1e5,1,,,0,1,\n")
    known = {"f65273e5", " a.png", "12345678"}
    assert [row.face_id for row in read_sheet(path, known).rows] == [
        "f65273e5",
        " a.png",
        "12345678",
        "1e5",
    ]


def test_read(tmp_path: Path) -> None:
    """Other columns, spreadsheet's semicolons, decimals and mark, blank lines."""
    path = tmp_path / "c.csv"
    path.write_text("\ufeff" + HEAD.replace(",", ";") + "a; 3.0 ;Aki;;0,25;2;\n;;;;;;\n", encoding="utf-8")
    (row,) = read_sheet(path).rows
    assert (row.line, row.face_id, row.cluster, row.name, row.decided) == (2, "a", 3, "Aki", False)
    assert (row.distance, row.made_cluster, row.made_name) == (0.25, 2, "")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("face_id,cluster\n", "line 1: has no column name"),
        (HEAD, "has no line with a face"),
        (HEAD + "a,x,,,0,1,\n", "line 2, column cluster: 'x' is not a cluster"),
        (HEAD + "a,0,,,0,1,\n", "line 2, column cluster: '0'"),
        (HEAD + f"a,{MOST + 1},,,0,1,\n", f"line 2, column cluster: '{MOST + 1}'"),
        (HEAD + f"a,{'9' * 5000},,,0,1,\n", "line 2, column cluster: '999"),
        (HEAD + "a,1,,,0,,\n", "line 2, column made_cluster"),
        (HEAD + "a,1,,,z,1,\n", "line 2, column distance"),
        (HEAD + "a,1,,maybe,0,1,\n", "line 2, column decided: 'maybe'"),
        (HEAD + ",1,,,0,1,\n", "line 2: has no face_id"),
        (HEAD + "a,1,,,0,1,\na,1,,,0,1,\n", "line 3: face a is in line 2 already"),
    ],
)
def test_mistakes_in_a_sheet(tmp_path: Path, text: str, complaint: str) -> None:
    """File, line and column are told."""
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_sheet(path)
    assert f"{path}" in str(caught.value)
    assert complaint in str(caught.value)


def test_distances_to_the_centres_of_clusters_of_any_number() -> None:
    """Two faces at right angles are each 45 degrees from their centre; a number takes no memory."""
    features = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    lines = pd.DataFrame(
        {"face_id": ["a", "b", "c"], "page_index": 0, "xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}
    )
    faces = tabulate(lines, features, np.array([MOST, MOST, 7]), {7: "Aki"}, {"c"})
    assert [f.distance for f in faces] == pytest.approx([1 - 0.5**0.5, 1 - 0.5**0.5, 0])
    assert [(f.cluster, f.name, f.decided, f.singleton) for f in faces] == [
        (MOST, "", False, False),
        (MOST, "", False, False),
        (7, "Aki", True, True),
    ]
    assert faces[0].box == (1, 2, 3, 4)
