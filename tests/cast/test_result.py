"""A result lies in its folder whole or not at all, and never over that of another comic or over handwork."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from mfc.cast import result
from mfc.cast.job import Job, open_job
from mfc.cast.result import FILES, GALLERY, RECORD, SCRATCH, TABLE, holds_result, publish, read_record
from mfc.cast.table import KEPT
from mfc.config import Cluster
from mfc.errors import UserError

TABLE_TEXT = ",".join(KEPT) + "\na.png,1,,,0,1,\n"
FULL = {name: TABLE_TEXT if name == TABLE else "{}" for name in FILES}


class Killed(BaseException):
    """As by kill -9: nothing after it is done."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """After so many files are moved, the call is gone with all that it holds."""

    def at(n: int) -> None:
        replace, left = Path.replace, [n]

        def replace_or_die(self: Path, target: Path) -> Path:
            if not left[0]:
                monkeypatch.setattr(result.shutil, "rmtree", lambda *_, **__: None)
                raise Killed
            left[0] -= 1
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", replace_or_die)

    return at


@pytest.mark.parametrize("moved", range(len(FILES)))
def test_a_call_that_was_killed_can_be_repeated(
    tmp_path: Path, kill: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    """Whenever it was; there is no record before all is done, and what is left over goes with time."""
    kill(moved)
    with pytest.raises(Killed):
        publish(FULL, tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / RECORD).exists()
    assert holds_result(tmp_path)
    (left,) = tmp_path.glob(f"{SCRATCH}*")
    os.utime(left, (0, 0))
    open_pictures(tmp_path / "comic", tmp_path)
    publish(FULL, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == sorted(FILES)
    assert not left.exists()


def test_a_result_that_is_being_replaced_is_not_vouched_for(
    tmp_path: Path, kill: Callable[[int], None]
) -> None:
    """The old record does not stay beside new files; other files are nobody's business."""
    (tmp_path / "notes.txt").write_text("mine")
    publish(FULL, tmp_path)
    kill(2)
    with pytest.raises(Killed):
        publish({**FULL, TABLE: "new"}, tmp_path)
    assert (tmp_path / TABLE).read_text() == "new"
    assert not (tmp_path / RECORD).exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        '{"parameters": 3}',
        "[" * 100_000,
        r'{"input": "\ud800"}',
        r'{"input": "\u0000", "title": "T"}',
    ],
)
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    """It says nothing, and stops nobody."""
    (tmp_path / RECORD).write_text(text)
    assert read_record(tmp_path).get("input") in (None, "\0")
    assert result.other_comic(tmp_path, tmp_path, "T") == ""


def open_pictures(folder: Path, out: Path | None = None, *, usual: Path | None = None, **changes: str) -> Job:
    """Open the job of a folder with one face."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 40)).save(folder / "a.png")
    config = dataclasses.replace(Cluster(input=str(folder)), **{"out": str(out or ""), **changes})
    return open_job(config, lambda title: (usual or folder) / title, False)


def finish(job: Job, table: str = TABLE_TEXT, record: Mapping[str, object] | None = None) -> Path:
    source = {"input": str(Path(job.config.input).resolve()), "title": job.comic.book.title}
    content = {**FULL, TABLE: table, RECORD: json.dumps(source if record is None else record)}
    publish(content, job.out)
    return job.out


def test_two_comics_of_one_name_have_two_folders(tmp_path: Path) -> None:
    """The second is told where it goes; each finds its own again."""
    usual = tmp_path / "results"
    outs = [finish(open_pictures(tmp_path / v / "pages", usual=usual)) for v in ("vol1", "vol2", "vol3")]
    assert [out.name for out in outs] == ["pages", "pages-2", "pages-3"]
    for volume, out in zip(("vol1", "vol2", "vol3"), outs, strict=True):
        job = open_pictures(tmp_path / volume / "pages", usual=usual)
        assert job.out == out
        assert len(job.notes) == (volume != "vol1")
    assert job.notes == (
        f"{outs[0]} holds the result of pages in {tmp_path}/vol1/pages; this one goes to {outs[2]}",
    )


def test_a_result_of_before_is_known_by_its_parameters(tmp_path: Path) -> None:
    """Its record has no input of its own."""
    usual = tmp_path / "results"
    first = open_pictures(tmp_path / "vol1" / "pages", usual=usual)
    finish(first, record={"parameters": {"input": str(tmp_path / "vol1" / "pages")}})
    assert open_pictures(tmp_path / "vol1" / "pages", usual=usual).out == first.out
    assert open_pictures(tmp_path / "vol2" / "pages", usual=usual).out != first.out


def test_a_comic_that_was_moved_keeps_its_folder_by_the_table(tmp_path: Path) -> None:
    """The table that is handed in lies there, so nothing of another comic is lost."""
    usual = tmp_path / "results"
    out = finish(open_pictures(tmp_path / "old" / "pages", usual=usual))
    job = open_pictures(tmp_path / "new" / "pages", usual=usual, corrections=str(out / TABLE))
    assert job.out == out
    assert "will be replaced" in job.notes[0]


def test_where_the_person_says_so_a_result_of_another_comic_is_replaced(tmp_path: Path) -> None:
    """And told."""
    out = finish(open_pictures(tmp_path / "vol1", tmp_path / "out"))
    job = open_pictures(tmp_path / "vol2", out)
    assert job.out == out
    assert job.notes == (f"the result in {out} is of vol1 in {tmp_path}/vol1; it will be replaced",)


def test_work_by_hand_is_not_written_over(tmp_path: Path) -> None:
    """Also when another table is handed in; what was taken over from that one is no new work."""
    edited = TABLE_TEXT.replace("a.png,1,,", "a.png,1,Aki,")
    taken_over = edited.replace(",1,\n", ",1,Aki\n")
    other = tmp_path / "other.csv"
    other.write_text(TABLE_TEXT)
    out = finish(open_pictures(tmp_path / "comic", tmp_path / "out"), edited)
    for changes in ({}, {"corrections": str(other)}, {"previous": str(other)}):
        with pytest.raises(UserError, match="holds names or moves by hand"):
            open_pictures(tmp_path / "comic", out, **changes)
    open_pictures(tmp_path / "comic", out, corrections=str(out / TABLE))
    finish(open_pictures(tmp_path / "comic", out, corrections=str(out / TABLE)), taken_over)
    open_pictures(tmp_path / "comic", out, corrections=str(other))
    with pytest.raises(UserError, match="holds names or moves by hand"):
        open_pictures(tmp_path / "comic", out)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    """A file in our name without a record; a file where a folder should be; a file above it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / GALLERY).write_text("mine")
    with pytest.raises(UserError, match=r"holds a gallery.html that is not from `mfc cluster`"):
        open_pictures(tmp_path / "comic", out)
    with pytest.raises(UserError, match="is a file; give a folder"):
        open_pictures(tmp_path / "comic", out / GALLERY)
    with pytest.raises(UserError, match="nothing can be written to"):
        open_pictures(tmp_path / "comic", out / GALLERY / "below")


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the work where it can be seen, after it where not."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"out: cannot be written \(No space left on device\)"):
        publish(FULL, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="nothing can be written to"):
        open_pictures(tmp_path / "comic", tmp_path / "new" / "out")
