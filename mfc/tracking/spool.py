"""A queue on disk between a run and its tracking server: what a stage logs outlives both processes.

A spool is a folder: ``records.jsonl`` (appended, one JSON object a line), ``offset`` (bytes of it already
delivered), ``files/`` (artifacts that wait) and ``lock`` (held while a process writes or sends). Appending
costs microseconds and never waits for the server; a thread delivers. Records are removed from the folder
only once the server has them, so after `kill -9` or an outage nothing is lost but the time to send it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfc.files import write_text

Record = Mapping[str, Any]
PAGE = 1000
"""Records read at a time."""
QUIET = 1.0
"""Seconds that a sender waits for more before it delivers, so that calls come in batches."""
LONGEST_PAUSE = 15.0
"""Seconds between two attempts during an outage, at most."""


class Busy(Exception):
    """Another process holds this spool."""


@dataclass(frozen=True)
class Waiting:
    """One record and the offset at which the next one begins."""

    record: Record
    end: int


class Spool:
    """The folder of one run; safe to append to from many threads."""

    def __init__(self, folder: Path) -> None:
        """Open or make ``folder``.

        Raises:
            Busy: when another process has it open.
        """
        self.folder = folder
        (folder / "files").mkdir(parents=True, exist_ok=True)
        self._lock_file = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise Busy(folder) from None
        self._guard = threading.Lock()
        self._path = folder / "records.jsonl"
        self._file = self._path.open("ab")
        self._cut_torn_line()
        self._size = self._path.stat().st_size
        self._offset = self._read_offset()

    def append(self, record: Record) -> None:
        """Add a JSON-able record; it is in the operating system's hands when this returns."""
        line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        with self._guard:
            self._file.write(line)
            self._file.flush()
            self._size += len(line)

    def keep(self, source: Path) -> str:
        """Take a file in, as a hard link where possible (mfc replaces files, never rewrites them)."""
        name = f"{uuid.uuid4().hex}/{source.name}"
        target = self.folder / "files" / name
        target.parent.mkdir()
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
        return name

    def new_file(self, name: str) -> tuple[str, Path]:
        """A place for a file to be written into the spool: (what to put in the record, path)."""
        kept = f"{uuid.uuid4().hex}/{name}"
        path = self.folder / "files" / kept
        path.parent.mkdir()
        return kept, path

    def path(self, kept: str) -> Path:
        return self.folder / "files" / kept

    def forget(self, kept: str) -> None:
        shutil.rmtree(self.path(kept).parent, ignore_errors=True)

    @property
    def empty(self) -> bool:
        """Whether everything was delivered."""
        return self._offset >= self._size

    def pending(self) -> list[Waiting]:
        """The oldest records that were not delivered yet, at most `PAGE`."""
        with self._guard:
            size = self._size
        waiting: list[Waiting] = []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while len(waiting) < PAGE and file.tell() < size:
                line = file.readline()
                waiting.append(Waiting(json.loads(line), file.tell()))
        return waiting

    def done(self, end: int) -> None:
        """Remember that everything before ``end`` was delivered."""
        write_text(self.folder / "offset", str(end))
        self._offset = end

    def refuse(self, record: Record, reason: str) -> None:
        """Set aside a record that the server will never take, so that those behind it can pass."""
        with (self.folder / "refused.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"reason": reason, "record": record}, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Let go of the folder; remove it when nothing in it is needed any more."""
        self._file.close()
        if self.empty and not (self.folder / "refused.jsonl").exists():
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock_file.close()

    def _cut_torn_line(self) -> None:
        """A process that was killed while it wrote leaves half a line."""
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)

    def _read_offset(self) -> int:
        try:
            return min(int((self.folder / "offset").read_text()), self._size)
        except (FileNotFoundError, ValueError):
            return 0


class Sender(threading.Thread):
    """Delivers a spool in the background, and tries again for as long as the server is away."""

    def __init__(
        self,
        spool: Spool,
        deliver: Callable[[Spool, Sequence[Waiting]], None],
        say: Callable[[str], None],
        *,
        name: str,
    ) -> None:
        """``deliver(spool, records)`` sends in order and calls `Spool.done`; it raises to be called again."""
        super().__init__(name=f"send {name}", daemon=True)
        self._spool = spool
        self._deliver = deliver
        self._say = say
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._idle = threading.Event()
        self._label = name
        self.last_error = ""
        self.start()

    def flush(self, seconds: float) -> bool:
        """Wait until all that was appended so far is delivered; False when ``seconds`` were not enough."""
        deadline = time.monotonic() + seconds
        while not self._spool.empty:
            self._wake.set()
            if time.monotonic() > deadline or not self.is_alive():
                return self._spool.empty
            time.sleep(0.02)
        return True

    def finish(self, seconds: float) -> bool:
        """`flush`, then stop the thread and close the spool; False when something stays on disk."""
        sent = self.flush(seconds)
        self.abandon()
        return sent

    def abandon(self) -> None:
        """Stop without waiting for the server; what was not delivered stays on disk."""
        self._closing.set()
        self._wake.set()
        self.join(timeout=5)
        if not self.is_alive():
            self._spool.close()

    def run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            pause = QUIET if not failures else min(LONGEST_PAUSE, 0.5 * 2**failures)
            self._wake.wait(pause)
            # During an outage `flush` must not turn the pauses into a busy loop.
            if failures and not self._closing.is_set():
                self._closing.wait(min(pause, 1.0))
            self._wake.clear()
            try:
                while not self._spool.empty and not self._closing.is_set():
                    self._deliver(self._spool, self._spool.pending())
            except Exception as error:
                failures += 1
                self.last_error = " ".join(str(error).split())[:300]
                if failures == 1:
                    self._say(
                        f"{self._label}: the tracking server takes no records ({self.last_error[:120]}); "
                        "work goes on, they wait on disk"
                    )
            else:
                if failures:
                    self._say(f"{self._label}: the tracking server is back, all records were sent")
                failures = 0


def spools(root: Path) -> list[Path]:
    """Folders below ``root`` that hold a spool, oldest first."""
    found = [path.parent for path in root.glob("*/records.jsonl")]
    with contextlib.suppress(FileNotFoundError):
        found.sort(key=lambda folder: folder.stat().st_mtime)
    return found
