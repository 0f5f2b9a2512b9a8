"""`mfc.tracking.spool`: nothing that was appended is lost, and it is delivered in order."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfc.tracking.spool import DAMAGED, PAGE, Busy, Gone, Sender, Spool, Waiting, spools


def numbers(spool: Spool) -> list[int]:
    return [waiting.record["n"] for waiting in spool.pending()]


def test_what_is_appended_is_pending_until_done(tmp_path: Path) -> None:
    """`done` with the end of a record takes it and all before it away, also after the folder is reopened."""
    spool = Spool(tmp_path / "run")
    for n in range(3):
        spool.append({"n": n, "text": "Zeile\nmit 漫画"})
    assert numbers(spool) == [0, 1, 2]
    spool.done(spool.pending()[1].end)
    assert numbers(spool) == [2]
    spool.close()
    again = Spool(tmp_path / "run")
    assert numbers(again) == [2]
    assert again.pending()[0].record["text"] == "Zeile\nmit 漫画"
    again.close()


def test_half_a_line_left_by_a_killed_process_is_cut(tmp_path: Path) -> None:
    """The record before it stays, and one appended afterwards can be read."""
    spool = Spool(tmp_path / "run")
    spool.append({"n": 1})
    spool.close()
    with (tmp_path / "run" / "records.jsonl").open("ab") as file:
        file.write(b'{"n": 2, "tex')
    spool = Spool(tmp_path / "run")
    spool.append({"n": 3})
    assert numbers(spool) == [1, 3]
    spool.close()


def test_a_spool_has_one_owner(tmp_path: Path) -> None:
    """Opening it twice raises `Busy`; after closing it is free."""
    spool = Spool(tmp_path / "run")
    spool.append({"n": 1})
    with pytest.raises(Busy):
        Spool(tmp_path / "run")
    spool.close()
    Spool(tmp_path / "run").close()


def test_the_folder_goes_only_when_nothing_in_it_is_needed(tmp_path: Path) -> None:
    """Undelivered and refused records keep it; a delivered spool leaves nothing behind."""
    spool = Spool(tmp_path / "full")
    spool.append({"n": 1})
    spool.close()
    refused = Spool(tmp_path / "refused")
    refused.refuse({"n": 1}, "bad name")
    refused.append({"n": 1})
    refused.done(refused.pending()[0].end)
    refused.close()
    empty = Spool(tmp_path / "empty")
    empty.append({"n": 1})
    empty.done(empty.pending()[0].end)
    empty.close()
    assert [f.name for f in spools(tmp_path)] == ["full", "refused"]
    assert not (tmp_path / "empty").exists()


def test_files_are_kept_even_when_their_source_is_replaced(tmp_path: Path) -> None:
    """A kept file has the content of the moment it was handed over."""
    source = tmp_path / "table.json"
    source.write_text("old")
    spool = Spool(tmp_path / "run")
    path = spool.path(spool.keep(source))
    new = tmp_path / "new"
    new.write_text("new")
    new.replace(source)
    assert path.read_text() == "old"
    assert path.name == "table.json"
    spool.forget(path)
    assert not path.exists()
    spool.close()


def test_reading_goes_in_pages(tmp_path: Path) -> None:
    """A long outage's records are not all read into memory at once."""
    spool = Spool(tmp_path / "run")
    for n in range(PAGE + 5):
        spool.append({"n": n})
    assert len(spool.pending()) == PAGE
    spool.done(spool.pending()[-1].end)
    assert numbers(spool) == list(range(PAGE, PAGE + 5))
    spool.close()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.one_of(st.just("append"), st.just("reopen"), st.tuples(st.integers(0, 4), st.booleans()))),
)
def test_no_order_of_events_loses_or_reorders(
    events: list[str | tuple[int, bool]],
) -> None:
    """Appends, deliveries that die before they are ticked off, and crashes: the server, which knows
    duplicates, ends with every number in order."""
    with tempfile.TemporaryDirectory() as folder:
        spool, n, server = Spool(Path(folder) / "run"), 0, []
        for event in events:
            if event == "append":
                spool.append({"n": n})
                n += 1
            elif event == "reopen":
                if not spool.empty:
                    spool.close()
                    spool = Spool(Path(folder) / "run")
            else:
                count, ticked = event  # type: ignore[misc]
                batch = spool.pending()[: int(count)]
                server += [w.record["n"] for w in batch if w.record["n"] not in server]
                if ticked and batch:
                    spool.done(batch[-1].end)
        server += [w.record["n"] for w in spool.pending() if w.record["n"] not in server]
        spool.close()
    assert server == list(range(n))


def test_the_sender_outlives_failures(tmp_path: Path) -> None:
    """Records appended by several threads arrive once, although every second delivery fails."""
    arrived: list[int] = []
    said: list[str] = []
    calls = 0

    def deliver(spool: Spool, records: Sequence[Waiting]) -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise ConnectionError("server\naway")
        arrived.extend(w.record["n"] for w in records)
        spool.done(records[-1].end)

    spool = Spool(tmp_path / "run")
    sender = Sender(spool, deliver, said.append, name="demo")

    def work(first: int) -> None:
        for n in range(first, first + 100):
            spool.append({"n": n})

    threads = [threading.Thread(target=work, args=(k * 100,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sender.flush(30)
    sender.abandon()
    assert sorted(arrived) == list(range(400))
    assert "demo: the tracking server takes no records (server away)" in said[0]
    assert "is back" in said[1]
    assert not (tmp_path / "run").exists()


def test_the_sender_gives_up_when_told(tmp_path: Path) -> None:
    """`flush` returns False at its limit, and the records stay on disk."""

    def deliver(spool: Spool, records: Sequence[Waiting]) -> None:
        raise ConnectionError("away")

    spool = Spool(tmp_path / "run")
    sender = Sender(spool, deliver, lambda _: None, name="demo")
    spool.append({"n": 7})
    assert not sender.flush(0.1)
    sender.abandon()
    again = Spool(tmp_path / "run")
    assert numbers(again) == [7]
    again.close()


class FullDisk:
    """A file that takes some more bytes; room for the rest comes back when the spool gives up its reserve."""

    def __init__(self, spool: Spool, room: int = 0) -> None:
        self._file, self._folder, self._room = spool._file, spool.folder, room
        spool._file = self  # type: ignore[assignment]

    def write(self, data: bytes) -> int:
        if not (self._folder / "reserve").exists():
            return self._file.write(data)
        if not self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written, self._room = self._file.write(data[: self._room]), 0
        return written

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize("room", [0, 1, 8])
def test_a_full_disk_leaves_whole_records(tmp_path: Path, room: int) -> None:
    """What did not fit raises and leaves nothing, not even half a line; the last record has its room."""
    spool = Spool(tmp_path / "run")
    spool.append({"n": 1})
    FullDisk(spool, room)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            spool.append({"n": 2})
    assert numbers(spool) == [1]
    spool.append({"n": 3}, last=True)
    assert numbers(spool) == [1, 3]
    spool.close()
    assert (tmp_path / "run/records.jsonl").read_text() == '{"n": 1}\n{"n": 3}\n'


def test_the_reserve_is_real_bytes(tmp_path: Path) -> None:
    """A hole in a file would keep no room; it goes with the last record, and comes again with the spool."""
    spool = Spool(tmp_path / "run")
    reserve = tmp_path / "run/reserve"
    assert reserve.stat().st_blocks * 512 >= 1 << 16
    spool.append({"n": 1}, last=True)
    assert not reserve.exists()
    spool.close()
    Spool(tmp_path / "run").close()
    assert reserve.exists()


def test_a_line_that_is_no_record_is_one_of_its_own_kind(tmp_path: Path) -> None:
    """The neighbours are read, and the line can be seen in it."""
    spool = Spool(tmp_path / "run")
    spool.append({"n": 1})
    spool.close()
    with (tmp_path / "run/records.jsonl").open("ab") as file:
        file.write(b'{"n": 2, "te{"n": 3}\n\xff\n{"n": 4}\n')
    spool = Spool(tmp_path / "run")
    records = [waiting.record for waiting in spool.pending()]
    assert [record.get("n") for record in records] == [1, None, None, 4]
    assert records[1] == {"kind": DAMAGED, "line": '{"n": 2, "te{"n": 3}\n'}
    assert records[2]["line"] == "\\xff\n"
    spool.done(spool.pending()[-1].end)
    spool.close()


def test_records_that_were_cut_off_outside_end_the_delivery(tmp_path: Path) -> None:
    """Somebody empties the file under a living process: nothing is waited for that is not there."""
    spool = Spool(tmp_path / "run")
    for n in range(3):
        spool.append({"n": n})
    os.truncate(tmp_path / "run/records.jsonl", len('{"n": 0}\n'))
    assert numbers(spool) == [0]
    spool.done(spool.pending()[-1].end)
    assert spool.pending() == []
    assert spool.empty
    spool.close()


def test_halves_of_files_go_when_the_spool_is_opened(tmp_path: Path) -> None:
    """A process killed while it noted the offset leaves a temporary; the lock says that nobody writes it."""
    Spool(tmp_path / "run").close()
    spool = Spool(tmp_path / "run")
    (tmp_path / "run/.offset.x7").write_text("1")
    with pytest.raises(Busy):
        Spool(tmp_path / "run")
    assert (tmp_path / "run/.offset.x7").exists()
    spool.append({"n": 1})
    spool.close()
    Spool(tmp_path / "run").close()
    assert not (tmp_path / "run/.offset.x7").exists()


@pytest.mark.parametrize("kept", ["../x", "x", "/etc/passwd", "a/../b", "../../a/b", "a/b/c", ""])
def test_a_kept_file_lies_in_the_spool(tmp_path: Path, kept: str) -> None:
    """A name in a damaged record leads nowhere else."""
    spool = Spool(tmp_path / "run")
    with pytest.raises(ValueError, match=f"^{re.escape(kept)}$|to unpack"):
        spool.path(kept)
    spool.close()


def test_the_sender_stops_when_the_run_is_gone(tmp_path: Path) -> None:
    """No second try, `flush` does not wait out its time, and the records stay."""
    said: list[str] = []

    def deliver(spool: Spool, records: Sequence[Waiting]) -> None:
        raise Gone("the run was deleted")

    spool = Spool(tmp_path / "run")
    sender = Sender(spool, deliver, said.append, name="demo")
    spool.append({"n": 7})
    assert not sender.flush(600)
    assert said == ["demo: the run was deleted; work goes on, its records are kept on disk"]
    sender.abandon()
    assert (tmp_path / "run/records.jsonl").read_text() == '{"n": 7}\n'


def test_an_error_told_has_no_password(tmp_path: Path) -> None:
    """Also when the address is so long that it would be cut before its end."""
    said: list[str] = []

    def deliver(spool: Spool, records: Sequence[Waiting]) -> None:
        raise ConnectionError(f"{'x' * 90} http://me:secret{'x' * 400}@host is away")

    spool = Spool(tmp_path / "run")
    sender = Sender(spool, deliver, said.append, name="demo")
    spool.append({"n": 7})
    assert not sender.flush(3)
    sender.abandon()
    assert "secret" not in f"{said} {sender.last_error}"
