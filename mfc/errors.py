"""The one exception that means "the user can mend this": shown as a sentence, exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. The message is one sentence that names the file, line, id or value, and the remedy."""
