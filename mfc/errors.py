"""The one exception that means "the user can mend this": shown as a sentence, exit code 2."""

from __future__ import annotations

import re

LONGEST = 1500
"""Characters of a sentence: a long path, a reason and a remedy."""


class UserError(Exception):
    """Bad input. The message is one sentence that names the file, line, id or value, and the remedy."""

    def __init__(self, sentence: str) -> None:
        super().__init__("\n".join(map(showable, sentence.split("\n"))))


def showable(sentence: str) -> str:
    """A sentence that quotes strangers' files, for any terminal: control characters escaped, not too long.

    What is left out of a long one is its middle: the file stands at its beginning, the remedy at its end.
    """
    if len(sentence) > LONGEST:
        sentence = f"{sentence[: LONGEST // 2]} … {sentence[-LONGEST // 3 :]}"
    return re.sub(
        "[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]",
        lambda c: c[0].encode("unicode_escape").decode(),
        sentence,
    )


def reason_of(error: BaseException) -> str:
    """What an error of somebody else's code says, in a line; some say nothing at all."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
