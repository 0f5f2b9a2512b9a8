"""Tables that people edit: CSV as spreadsheets write it, with the number of each line for messages."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mfc.errors import UserError

MAX_BYTES = 256 * 2**20
_FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")
"""How a cell begins that a spreadsheet would compute, or whose mark against that has to be told from it."""


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

    Args:
        columns: what has to be there, each with the names that it may have; all names become lower case.

    Raises:
        UserError: naming the file and the line or column, when it is missing, no text or not a full table.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES >> 20} MiB, too large for a table; split it")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 text (byte {error.start}); save it as “CSV UTF-8” in the spreadsheet"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend the path") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        heading = [name.strip().lower() for name in next(reader, [])]
        if len(set(heading)) < len(heading):
            twice = next(name for name in heading if heading.count(name) > 1)
            raise UserError(f"{path}, line 1: column {twice!r} is there twice; cut one")
        for names in columns:
            if not set(names) & set(heading):
                raise UserError(
                    f"{path}, line 1: has no column {' or '.join(names)}; its columns are "
                    f"{', '.join(filter(None, heading)) or 'none'}"
                )
        lines = []
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(heading):
                raise UserError(
                    f"{path}, line {reader.line_num}: has {len(row)} cells under {len(heading)} columns; "
                    "fill it up, or quote a text that holds the separator"
                )
            cells = {name: _text_of(cell) for name, cell in zip(heading, row, strict=True)}
            lines.append(Line(reader.line_num, cells))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not valid CSV ({error}); mend it") from None
    return lines
