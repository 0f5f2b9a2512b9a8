"""What is said gets to the person whatever the console can show."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from mfc.log import escape_what_cannot_be_shown
escape_what_cannot_be_shown()
print("\\u82b1 \\xe9 \\udce8")
print("\\u5922", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("encoding", "shown"), [("cp1252", b"\\u82b1 \xe9 \\udce8"), ("ascii", b"\\u82b1 \\xe9 \\udce8")]
)
def test_what_a_console_cannot_show_is_escaped(encoding: str, shown: bytes) -> None:
    """No stack trace for a Japanese title, nor for a file name that is no text."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert done.stdout.splitlines() == [shown]
    assert done.stderr.splitlines() == [b"\\u5922"]
