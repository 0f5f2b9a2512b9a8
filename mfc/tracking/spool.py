"""A queue on disk between a run and its tracking server: what a stage logs outlives both processes.

A spool is a folder: ``records.jsonl`` (appended, one JSON object a line), ``offset`` (bytes of it already
delivered), ``files/`` (artifacts that wait), ``reserve`` (room for the last record on a full disk) and
``lock`` (held while a process writes or sends). Appending costs microseconds and never waits for the server;
a thread delivers. Records are removed from the folder only once the server has them, so after `kill -9` or an
outage nothing is lost but the time to send it again: delivering a record twice does no harm.
"""

from __future__ import annotations

import contextlib
import errno
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

from filelock import FileLock, Timeout

from mfc.errors import UserError
from mfc.files import write_text
from mfc.tracking.credentials import redacted

Record = Mapping[str, Any]
PAGE = 1000
"""Records read at a time."""
QUIET = 1.0
"""Seconds that a sender waits for more before it delivers, so that calls come in batches."""
LONGEST_PAUSE = 15.0
"""Seconds between two attempts during an outage, at most."""
RESERVE = 1 << 16
"""Bytes kept free for the record of how a run ended."""
DAMAGED = "damaged"
"""Kind of a record that stands for a line which is no record."""
ASIDE = "aside"
"""Folder beside the spools, for those that can never be delivered."""


class Busy(Exception):
    """Another process holds this spool."""


class Gone(Exception):
    """The run was deleted: nothing can be delivered to it any more."""


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
        self._lock = FileLock(folder / "lock", thread_local=False)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise Busy(folder) from None
        try:
            for half in (path for path in folder.glob(".*") if path.is_file()):
                half.unlink()  # left by a process that was killed while it wrote: the lock is ours
            self._guard = threading.Lock()
            self._path = folder / "records.jsonl"
            # Not buffered: what a full disk did not take must not follow later, behind another record.
            self._file = self._path.open("ab", buffering=0)
            self._cut_torn_line()
            self._size = self._path.stat().st_size
            self._offset = self._read_offset()
            with contextlib.suppress(OSError):
                (folder / "reserve").write_bytes(bytes(RESERVE))
        except BaseException:
            self._lock.release()
            raise

    def append(self, record: Record, *, last: bool = False) -> None:
        """Add a JSON-able record; it is in the operating system's hands when this returns.

        The ``last`` one may take the room that was kept for it.

        Raises:
            OSError: when the disk is full; nothing of the record stays.
        """
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        with self._guard:
            if last:
                (self.folder / "reserve").unlink(missing_ok=True)
            try:
                if self._file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self._path, self._size)
                raise
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
        """Where a kept file lies.

        Raises:
            ValueError: for a name that `keep` and `new_file` do not give.
        """
        folder, name = Path(kept).parts
        if ".." in (folder, name) or Path(kept).is_absolute():
            raise ValueError(kept)
        return self.folder / "files" / folder / name

    def forget(self, path: Path) -> None:
        """Remove a file that was delivered."""
        shutil.rmtree(path.parent, ignore_errors=True)

    @property
    def empty(self) -> bool:
        """Whether everything was delivered."""
        return self._offset >= self._size

    def pending(self, most: int = PAGE) -> list[Waiting]:
        """The oldest records that were not delivered yet.

        A line that is no record becomes one of the kind `DAMAGED`.
        """
        with self._guard:
            size = self._size
        waiting: list[Waiting] = []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while len(waiting) < most and file.tell() < size:
                line = file.readline()
                if not line:  # somebody cut the file
                    with self._guard:
                        self._size = file.tell()
                    break
                waiting.append(Waiting(_record_of(line), file.tell()))
        return waiting

    def done(self, end: int) -> None:
        """Remember that everything before ``end`` was delivered."""
        with contextlib.suppress(OSError):  # on a full disk: delivered again at worst, which does no harm
            write_text(self.folder / "offset", str(end))
        self._offset = end

    def refuse(self, record: Record, reason: str) -> None:
        """Set aside a record that the server will never take, so that those behind it can pass."""
        with (self.folder / "refused.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"reason": reason, "record": record}, ensure_ascii=False) + "\n")

    @property
    def refused(self) -> int:
        """How many records were set aside, in all."""
        try:
            with (self.folder / "refused.jsonl").open("rb") as file:
                return sum(1 for _ in file)
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Let go of the folder; remove it when nothing in it is needed any more."""
        self._file.close()
        if self.empty and not self.refused:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def _cut_torn_line(self) -> None:
        """A process that was killed while it wrote leaves half a line."""
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)

    def _read_offset(self) -> int:
        """What was noted, if it is the end of a record; else everything is delivered again."""
        try:
            offset = int((self.folder / "offset").read_text())
            with self._path.open("rb") as file:
                file.seek(offset - 1)
                return offset if file.read(1) == b"\n" else 0
        except (OSError, ValueError, OverflowError):
            return 0


def _record_of(line: bytes) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        return record
    return {"kind": DAMAGED, "line": line.decode("utf-8", "backslashreplace")}


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
            except Gone as gone:
                self.last_error = str(gone)
                self._say(f"{self._label}: {gone}; work goes on, its records are kept on disk")
                return
            except Exception as error:
                failures += 1
                self.last_error = redacted(" ".join(str(error).split()))[:300]
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
    with contextlib.suppress(FileNotFoundError):
        found = [path for path in root.iterdir() if path.is_dir() and path.name != ASIDE]
        return sorted(found, key=lambda folder: folder.stat().st_mtime)
    return []


def unwritable(folder: Path, error: OSError) -> UserError:
    """What to say when a disk is full or a folder closed."""
    return UserError(
        f"{error.filename or folder}: cannot be written ({error.strerror or error}); free some space, or "
        "give another --work_dir, and repeat the command: finished work is kept"
    )
