"""The one exception that means "the user can mend this": shown as a sentence, exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. The message is one sentence that names the file, line, id or value, and the remedy."""


def reason_of(error: BaseException) -> str:
    """What an error of somebody else's code says, in a line; some say nothing at all."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
