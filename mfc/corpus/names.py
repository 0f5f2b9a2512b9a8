"""Names of titles, files and pages: which can be used, which are the same, and in which order they stand."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from mfc.errors import UserError

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4095


def composed(name: str) -> str:
    """The form in which names are compared: macOS writes ガ as カ and a mark, keyboards as one letter."""
    return unicodedata.normalize("NFC", name)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts page 2 before page 10, whatever the width of the digits."""
    parts = re.findall(r"\d+|\D+", unicodedata.normalize("NFKC", name).casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def printable(name: str) -> str:
    """The name with bytes that are no UTF-8 escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def is_plain_name(name: str, ending: str = "") -> bool:
    """Whether a name, with the ending of its file, is one component of a path that stays in its folder.

    On any system: no separators, no control characters, at most 255 bytes.
    """
    return (
        name not in ("", ".", "..")
        and not set(name) & set('/\\:*?"<>|')
        and all(unicodedata.category(c) not in ("Cc", "Cs") for c in name)
        and len((name + ending).encode()) <= MAX_NAME_BYTES
    )


def refuse_unusable_path(path: Path | str, what: str = "") -> None:
    """Raise `UserError` for a path that no file can have here, and for one that is not UTF-8.

    ``what`` stands before the path in the message, e.g. ``"--input "``.
    """
    text = str(path)
    shown = what + printable(text)
    if "\0" in text:
        raise UserError(f"{what}{text!r}: holds a NUL character; mend the path")
    if printable(text) != text:
        raise UserError(
            f"{shown}: the name is not UTF-8; rename it, e.g. by convmv -f shift-jis -t utf-8 --notest"
        )
    longest = max((len(os.fsencode(part)) for part in Path(text).parts), default=0)
    if longest > MAX_NAME_BYTES or len(os.fsencode(text)) > MAX_PATH_BYTES:
        raise UserError(f"{shown[:80]}…: the name is too long for a file system; shorten it")
