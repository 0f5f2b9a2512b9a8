"""`mfc.tracking.spool`: nothing that was appended is lost, and it is delivered in order."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfc.tracking.spool import PAGE, Busy, Sender, Spool, Waiting, spools


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
