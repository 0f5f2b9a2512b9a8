"""A message can be shown whatever it quotes."""

from __future__ import annotations

import pytest

from mfc.errors import LONGEST, UserError


def test_a_long_message_keeps_its_ends() -> None:
    """The file at its beginning, the remedy at its end; a path of any system is whole."""
    message = str(UserError(f"boxes.csv, line 1: no column {'a' * 70_000}; mend it"))
    assert message.startswith("boxes.csv, line 1: no column aaa")
    assert message.endswith("aaa; mend it")
    assert " … " in message
    assert len(message) <= LONGEST
    whole = f"{'/folder' * 180}/T.xml: is missing; add it"
    assert str(UserError(whole)) == whole


@pytest.mark.parametrize(
    ("quoted", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\r", "\\r"),
        ("\x85", "\\x85"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("星の船\u3000一\tÅ", "星の船\u3000一\\tÅ"),
    ],
)
def test_what_is_quoted_moves_no_cursor_and_can_be_written(quoted: str, shown: str) -> None:
    """Control characters and halves of surrogate pairs are escaped, letters and blanks are not."""
    message = str(UserError(f"title {quoted} is there twice; cut one"))
    assert message == f"title {shown} is there twice; cut one"
    message.encode()


def test_a_list_of_problems_keeps_its_lines() -> None:
    """`mfc verify` raises one a line; each is shown for itself."""
    assert str(UserError("2 problems:\na\x07\nb")) == "2 problems:\na\\x07\nb"
