"""Writing files so that each appears whole or not at all, and fingerprints of what was written."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place when the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    # A long name would be too long with more around it.
    handle, name = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name[:100]}.{os.getpid()}.", suffix=".tmp"
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(target: Path) -> None:
    """Remove what processes that were killed left behind when they wrote this file."""
    for left in target.parent.glob(f".{glob.escape(target.name[:100])}.*.tmp"):
        if is_gone(left.name.split(".")[-3]):
            left.unlink(missing_ok=True)


def is_gone(process: str) -> bool:
    """Whether this is the number of a process that has ended."""
    import psutil  # type: ignore[import-untyped]

    return process.isdigit() and not psutil.pid_exists(int(process))


def write_text(target: Path, text: str) -> None:
    with replacing(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: Path, content: Any) -> None:
    write_text(target, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def value_digest(content: Any) -> str:
    """SHA-256 of a JSON-able value, independent of the order of keys; the first 12 hex digits."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
