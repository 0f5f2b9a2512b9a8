"""Tables as spreadsheets leave them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mfc.corpus.sheets import read_csv
from mfc.errors import UserError

COLUMNS = [("page", "image"), ("x",)]


def read(tmp_path: Path, text: str | bytes) -> list[tuple[int, dict[str, str]]]:
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(line.number, line.cells) for line in read_csv(path, COLUMNS)]


GOOD = [(2, {"page": "a", "x": "1"}), (3, {"page": "b", "x": "2"})]


@pytest.mark.parametrize(
    "text",
    [
        "page,x\na,1\nb,2\n",
        "\ufeffPage;X\r\na;1\r\nb;2\r\n",
        "page\tx\ra\t1\rb\t2",
        "page,x,,,\na,1,,,\nb,2,,,\n",
        '"page", "x"\na, 1\n"b ",2\n',
        "page,x,\na,1\nb,2,\n",
    ],
    ids=["plain", "Excel", "old Mac", "empty columns", "quotes and blanks", "missing last cells"],
)
def test_one_table_in_many_spellings(tmp_path: Path, text: str) -> None:
    """Delimiter, byte order mark, line ends, empty columns and cells make no difference."""
    assert read(tmp_path, text) == GOOD


@pytest.mark.parametrize(
    "above",
    ["sep=;\n", "Faces of Hana;\n", "\n", ";;\n\n", "Page 1 to 9; all\nmade in May\n", '"not closed\n'],
)
def test_lines_above_the_heading_are_skipped(tmp_path: Path, above: str) -> None:
    """Lines are still counted from the top of the file."""
    shift = above.count("\n")
    assert read(tmp_path, f"{above}page;x\na;1\nb;2\n") == [(n + shift, cells) for n, cells in GOOD]


def test_cells_that_were_left_out_are_empty(tmp_path: Path) -> None:
    """Excel writes no separators for empty cells at the end of a line, in blocks of lines."""
    text = "page,x,name,made_name\na,1,Aki,Aki\nb,2,Ben\nc,3\n"
    assert [cells for _, cells in read(tmp_path, text)] == [
        {"page": "a", "x": "1", "name": "Aki", "made_name": "Aki"},
        {"page": "b", "x": "2", "name": "Ben", "made_name": ""},
        {"page": "c", "x": "3", "name": "", "made_name": ""},
    ]


def test_a_quoted_cell_may_hold_lines_and_separators(tmp_path: Path) -> None:
    """And the line numbers after it are those of the file."""
    assert read(tmp_path, 'page,x\n"a,\nb",1\nc,2\n') == [
        (3, {"page": "a,\nb", "x": "1"}),
        (4, {"page": "c", "x": "2"}),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: has no column page or image; its columns are none"),
        ("image,y\n", "line 1: has no column x; its columns are image, y"),
        ("title\n\npage,y\na,1\n", "line 3: has no column x; its columns are page, y"),
        ("\n" * 20 + "page,x\n", "line 1: has no column page"),
        ("page,x,x\n", "line 1: column 'x' is there twice"),
        ("page,x\na,1,2\n", "line 2: has 3 cells under 2 columns"),
        ("page,x,,z\na,1,2,3\n", "line 2: '2' stands in a column without a name"),
        ('page,x\na,"1\n', "line 2: not valid CSV"),
        ('page,x\na,"1"2\n', "line 2: not valid CSV"),
        ("page,x\n" + "a" * 200_000 + ",1\n", "line 2: not valid CSV"),
        ("page,x\n頁,1\n".encode("shift-jis"), "not UTF-8 text (byte 7); save it as “CSV UTF-8”"),
        ("page,x\n頁,1\n".encode("utf-16"), "not UTF-8 text (byte 0)"),
        (b"PK\x03\x04\x14\x00\x00\x00\xff", "not UTF-8 text"),
    ],
)
def test_mistakes_name_the_line(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    """One sentence each."""
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    assert f"table.csv{', ' if complaint.startswith('line') else ': '}{complaint}" in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Missing, a folder, a FIFO: nothing waits."""
    os.mkfifo(tmp_path / "fifo")
    for name, complaint in (("none", "cannot be read"), ("", "is no file"), ("fifo", "is no file")):
        with pytest.raises(UserError, match=complaint):
            read_csv(tmp_path / name, COLUMNS)
