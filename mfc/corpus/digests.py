"""Digests of many files' contents, remembered as long as the files are not touched."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mfc.corpus.names import printable
from mfc.files import file_digest, write_json
from mfc.processes import available_cores

NO_FILE = "no file"
"""In place of the digest of what is not there, cannot be read, or is no regular file."""

State = list[int]
"""What tells that a file was not touched: size, mtime and ctime in ns, inode."""


def content_digests(paths: Iterable[Path], cache: Path | None = None) -> list[str]:
    """SHA-256 of each file, 64 hex digits, or `NO_FILE`.

    Args:
        cache: a file that remembers digests; what has not changed since is not read again. One that is
            damaged is ignored. None: nothing is remembered.
    """
    names = [os.path.abspath(path) for path in paths]  # noqa: PTH100 (a link may change where it leads)
    known = _read(cache) if cache else {}
    states = {name: _state(name) for name in names}
    started = time.time_ns()
    missing = [name for name, state in states.items() if state and known.get(name, ([], ""))[0] != state]
    with ThreadPoolExecutor(available_cores()) as pool:  # hashing needs no interpreter lock
        digests = dict(zip(missing, pool.map(_digest, missing), strict=True))
    found = {name: digests.get(name) or known[name][1] if states[name] else NO_FILE for name in states}
    lasting = {
        name: (state, found[name])
        for name, state in states.items()
        if state and found[name] != NO_FILE and _settled(state, started) and printable(name) == name
    }
    if cache and any(known.get(name) != entry for name, entry in lasting.items()):
        with contextlib.suppress(OSError):  # without a cache it only takes longer
            write_json(cache, {"files": {**known, **lasting}})
    return [found[name] for name in names]


def _state(name: str) -> State | None:
    with contextlib.suppress(OSError, ValueError):
        status = Path(name).stat()
        if stat.S_ISREG(status.st_mode):
            return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    return None


def _digest(name: str) -> str:
    with contextlib.suppress(OSError):
        return file_digest(Path(name))
    return NO_FILE


def _settled(state: State, now: int) -> bool:
    """Whether a later change must show in the times: clocks of file systems tick slowly, some by seconds."""
    tick = 2 * 10**9 if state[1] % 10**9 == 0 and state[2] % 10**9 == 0 else 2 * 10**7
    return all(abs(now - changed) > tick for changed in state[1:3])


def _read(cache: Path) -> dict[str, tuple[State, str]]:
    """What was remembered; nothing where the file is missing or not as it was written."""
    with contextlib.suppress(OSError, ValueError, OverflowError, TypeError, AttributeError, RecursionError):
        entries = json.loads(cache.read_text(encoding="utf-8"))["files"].items()
        known = {name: (list(map(int, state)), digest) for name, (state, digest) in entries}
        if all(isinstance(digest, str) and len(digest) == 64 for _, digest in known.values()):
            return known
    return {}
