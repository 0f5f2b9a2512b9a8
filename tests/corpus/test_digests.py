"""Digests of contents: right whatever happened to the files, and read once while nothing did."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfc.corpus import digests
from mfc.corpus.digests import NO_FILE, content_digests


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in any order."""
    names: list[str] = []

    def watched(path: Path) -> str:
        names.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(digests, "file_digest", watched)
    return names


def settle() -> None:
    """Wait until a change must show in the times of a file, as `digests` sees it."""
    time.sleep(0.03)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def files(folder: Path, **contents: str) -> list[Path]:
    for name, text in contents.items():
        (folder / name).write_text(text)
    settle()
    return [folder / name for name in contents]


def test_digests_are_those_of_the_contents_in_order(tmp_path: Path) -> None:
    """SHA-256 by hand, with the cache and without; a file may be asked for twice."""
    paths = files(tmp_path, b="one", a="two")
    expected = [sha256("one"), sha256("two"), sha256("one")]
    for cache in (None, tmp_path / "cache.json", tmp_path / "cache.json"):
        assert content_digests([*paths, paths[0]], cache) == expected
    assert content_digests([]) == []


def test_the_second_time_nothing_is_read(tmp_path: Path, read: list[str]) -> None:
    """Only what changed or is new is; other comics' digests stay in the cache."""
    cache = tmp_path / "work" / "cache.json"
    paths = files(tmp_path, a="one", b="two", c="three")
    content_digests(paths[:2], cache)
    content_digests(paths[2:], cache)
    assert sorted(read) == ["a", "b", "c"]
    read.clear()
    written = cache.stat().st_mtime_ns
    assert content_digests(paths, cache) == [sha256(t) for t in ("one", "two", "three")]
    assert read == []
    assert cache.stat().st_mtime_ns == written
    files(tmp_path, b="six")
    assert content_digests(paths, cache)[1] == sha256("six")
    assert read == ["b"]


def test_a_change_of_equal_size_and_time_is_seen(tmp_path: Path, read: list[str]) -> None:
    """By the time of the change, which no program can set; a replaced file by its inode."""
    cache, [path] = tmp_path / "cache.json", files(tmp_path, a="one")
    before = path.stat()
    content_digests([path], cache)
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    settle()
    assert content_digests([path], cache) == [sha256("two")]
    (tmp_path / "new").write_text("six")
    (tmp_path / "new").replace(path)
    assert content_digests([path], cache) == [sha256("six")]


@pytest.mark.parametrize("whole_seconds", [False, True])
def test_a_file_that_just_changed_is_not_remembered(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, whole_seconds: bool
) -> None:
    """Its next change might not show in the times; where these are whole seconds, for two of them."""
    cache, [path] = tmp_path / "cache.json", files(tmp_path, a="one")
    if whole_seconds:
        state = digests._state
        monkeypatch.setattr(
            digests,
            "_state",
            lambda name: [v // 10**9 * 10**9 if v > 10**9 else v for v in state(name) or []],
        )
    else:
        path.write_text("two")
    for _ in range(2):
        content_digests([path], cache)
    assert read == ["a", "a"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"files": 7}',
        '{"files": {"NAME": 7}}',
        '{"files": {"NAME": [["x"], "y"]}}',
        '{"files": {"NAME": [STATE, "short"]}}',
        '{"files": {"NAME": [STATE, 7]}}',
        '{"files": {"NAME": [[1e400, 0, 0, 0], "y"]}}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_a_damaged_cache_is_ignored_and_made_anew(tmp_path: Path, read: list[str], text: str) -> None:
    """It can only cost time."""
    cache, [path] = tmp_path / "cache.json", files(tmp_path, a="one")
    text = text.replace("NAME", str(path)).replace("STATE", json.dumps(digests._state(str(path))))
    cache.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert content_digests([path], cache) == [sha256("one")]
    assert content_digests([path], cache) == [sha256("one")]
    assert read == ["a"]


def test_what_is_no_file_has_no_digest_and_is_not_opened(tmp_path: Path) -> None:
    """Missing, a FIFO, a folder, a device, a name that no file can have."""
    os.mkfifo(tmp_path / "fifo")
    odd = [tmp_path / "none", tmp_path / "fifo", tmp_path, Path("/dev/zero"), tmp_path / ("x" * 300)]
    cache = tmp_path / "cache.json"
    assert content_digests(odd, cache) == [NO_FILE] * 5
    (tmp_path / "none").write_text("one")
    assert content_digests(odd, cache)[0] == sha256("one")


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    """A folder in its place, a name that is not UTF-8 among the files."""
    [path] = files(tmp_path, a="one")
    (tmp_path / "cache.json").mkdir()
    odd = tmp_path / os.fsdecode(b"\x91\xe6.jpg")
    odd.write_text("two")
    settle()
    for cache in (tmp_path / "cache.json", tmp_path / "a" / "cache.json", tmp_path / "fine.json"):
        assert content_digests([path, odd], cache) == [sha256("one"), sha256("two")]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["one", "two", "", None])), max_size=12))
def test_the_cache_never_tells_a_wrong_digest(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str | None]]
) -> None:
    """Whatever is written and removed in between, at once and without waiting."""
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / name for name in "abc"]
    for name, text in changes:
        if text is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_text(text)
        expected = [sha256(path.read_text()) if path.exists() else NO_FILE for path in paths]
        assert content_digests(paths, folder / "cache.json") == expected
