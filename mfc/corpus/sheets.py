"""Tables that people edit: CSV as spreadsheets write it, with the number of each line for messages."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mfc.corpus.reading import read_text
from mfc.errors import UserError

_FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")
"""How a cell begins that a spreadsheet would compute, or whose mark against that has to be told from it."""
HEADING_WITHIN = 10
"""A title, a ``sep=;`` and blank lines may stand above the heading, in so many first lines."""


@dataclass(frozen=True)
class Line:
    """One line of a table: its number in the file, and column → text without blanks around it."""

    number: int
    cells: dict[str, str]


def formula_safe(text: str) -> str:
    """A text as the cell of a table that no spreadsheet computes; `read_csv` gives the text back."""
    return f"'{text}" if _FORMULA.match(text) else text


def _text_of(cell: str) -> str:
    cell = cell.strip()
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def read_csv(path: Path, columns: Sequence[Sequence[str]]) -> list[Line]:
    """Read a CSV file with a heading; commas, semicolons or tabs, with or without a byte order mark.

    Columns without a name are left out when they are empty; cells that a spreadsheet left out at the end of
    a line are empty.

    Args:
        columns: what has to be there, each with the names that it may have; all names become lower case.

    Raises:
        UserError: naming the file and the line or column, when it is missing, no text or not a full table.
    """
    rows = io.StringIO(read_text(path, "“CSV UTF-8” in the spreadsheet"), newline="").readlines()
    first, heading, delimiter = _heading(path, rows, columns)
    names = [name for name in heading if name]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}, line {first}: column {twice!r} is there twice; cut one")
    reader = csv.reader(rows[first:], delimiter=delimiter, strict=True, skipinitialspace=True)
    lines = []
    try:
        for row in reader:
            where = f"{path}, line {first + reader.line_num}"
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if any(cells[len(heading) :]):
                raise UserError(
                    f"{where}: has {len(row)} cells under {len(heading)} columns; quote a text that holds "
                    "the separator, or name the columns"
                )
            cells += [""] * (len(heading) - len(cells))
            nameless = [cell for name, cell in zip(heading, cells, strict=False) if cell and not name]
            if nameless:
                raise UserError(f"{where}: {nameless[0]!r} stands in a column without a name; name it")
            named = {name: _text_of(cell) for name, cell in zip(heading, cells, strict=False) if name}
            lines.append(Line(first + reader.line_num, named))
    except csv.Error as error:
        where = f"{path}, line {first + reader.line_num}"
        raise UserError(f"{where}: not valid CSV ({error}); mend it") from None
    return lines


def _heading(path: Path, rows: Sequence[str], columns: Sequence[Sequence[str]]) -> tuple[int, list[str], str]:
    """Number of the first line with all columns, its names, and the delimiter."""
    most, best = -1, (1, [""])
    for number, row in enumerate(rows[:HEADING_WITHIN], start=1):
        delimiter = max(",;\t", key=row.count)
        try:
            heading = [
                name.strip().lower()
                for name in next(csv.reader([row], delimiter=delimiter, skipinitialspace=True))
            ]
        except (csv.Error, StopIteration):
            continue
        found = sum(bool(set(names) & set(heading)) for names in columns)
        if found == len(columns):
            return number, heading, delimiter
        if found > most and any(heading):
            most, best = found, (number, heading)
    number, heading = best
    names = next(names for names in columns if not set(names) & set(heading))
    raise UserError(
        f"{path}, line {number}: has no column {' or '.join(names)}; its columns are "
        f"{', '.join(filter(None, heading)) or 'none'}"
    )
