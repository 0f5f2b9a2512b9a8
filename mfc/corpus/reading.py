"""Text files from people: whole, in UTF-8 and of a size to be read at once, or refused in a sentence."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from mfc.corpus.names import printable
from mfc.errors import UserError

MAX_BYTES = 256 * 2**20


def read_text(path: Path, save_as: str = "UTF-8") -> str:
    """The text of a file, without its byte order mark.

    Args:
        save_as: how a person saves it, for the message about one in another encoding.

    Raises:
        UserError: when it is not there, no regular file, larger than `MAX_BYTES` or not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a FIFO would wait for ever
            raise UserError(f"{path}: is no file; mend the path")
        if status.st_size > MAX_BYTES:
            raise UserError(f"{path} is larger than {MAX_BYTES >> 20} MiB, too large to be read; split it")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as {save_as}") from None
    except (OSError, ValueError) as error:  # a name with a NUL character is a ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{printable(str(path))}: cannot be read ({reason}); mend the path") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: also for an object with one key twice, because one would be lost, and for a text with half
            a surrogate pair, because it can be written nowhere.
    """
    return parse_json(path, read_text(path))


def parse_json(path: Path, text: str) -> Any:
    """`read_json` of a file whose text was read already."""
    try:
        content = json.loads(text, object_pairs_hook=_object)
        if re.search(r"\\u[dD][89a-fA-F]", text):  # halves must come in pairs
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}); mend it") from None
    except RecursionError:
        raise UserError(f"{path}: not valid JSON (nested too deeply); mend it") from None
    except UnicodeEncodeError:
        raise UserError(f"{path}: not valid JSON (a text with half a surrogate pair); mend it") from None
    except ValueError as error:  # a key twice, or a number of thousands of digits
        raise UserError(f"{path}: not valid JSON ({str(error).split(';')[0]}); mend it") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return content
