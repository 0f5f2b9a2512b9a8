"""The face store: written whole, read whole, whatever kills the process that writes it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfc.errors import UserError
from mfc.faces import store as module
from mfc.faces.selection import select
from mfc.faces.store import COLUMNS, new_crops, new_store, open_store, store_lock
from tests.faces.stores import SPLITS, TABLE, make_store


def test_a_store_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Missing values stay missing, ids stay texts, crops are mapped and not loaded."""
    store = make_store(tmp_path / "faces")
    assert list(store.table.columns) == list(COLUMNS)
    assert store.table["face_id"].tolist() == [f"{i:08x}" for i in range(8)]
    assert store.table["row"].isna().tolist() == [False] * 5 + [True, False, False]
    assert store.table["frame_id"].isna().tolist() == [False] * 3 + [True] * 5
    assert store.table["character_name"].isna().sum() == 1
    assert isinstance(store.crops, np.memmap)
    assert store.crops.shape == (7, 16, 16, 3)
    assert store.titles("test") == ["B", "A"]
    with pytest.raises(UserError, match="split 'dev' is not one of train, val, test"):
        store.titles("dev")


def test_a_store_without_faces_can_be_opened(tmp_path: Path) -> None:
    """An empty crops.npy is a store with nothing kept, not a crash of mmap."""
    store = make_store(tmp_path / "faces", TABLE[TABLE["row"].isna()])
    assert store.crops.shape == (0, 16, 16, 3)
    assert len(select(store, ["B"], others=True).rows) == 0


def test_a_store_that_is_not_there_or_damaged_is_explained(tmp_path: Path) -> None:
    """Each way of being unusable names the path and the command that mends it."""
    with pytest.raises(UserError, match="none is not there; make it by `mfc preprocess`"):
        open_store(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="incomplete"):
        open_store(tmp_path / "empty")
    path = make_store(tmp_path / "faces").path
    good = json.loads((path / "store.json").read_text())
    for text, reason in [
        ("", "damaged"),
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
        ("[]", "another schema"),
        (
            '{"schema": 1}',
            "another schema than 2, which this version reads; make it by `mfc preprocess` --over",
        ),
        (json.dumps({**good, "splits": None}), "damaged"),
        (json.dumps({**good, "splits": {"train": [], "val": []}}), "damaged"),
        (json.dumps({**good, "splits": {**SPLITS, "test": "B"}}), "damaged"),
        (json.dumps({**good, "splits": {**SPLITS, "test": [1]}}), "damaged"),
        (json.dumps({**good, "files": {"crops.npy": good["files"]["crops.npy"]}}), "damaged"),
        (json.dumps({**good, "files": dict.fromkeys(good["files"], 7)}), "damaged"),
    ]:
        (path / "store.json").write_text(text)
        with pytest.raises(UserError, match=reason):
            open_store(path)
    (path / "store.json").write_text(json.dumps(good))
    for name in ("faces.parquet", "crops.npy"):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match=rf"is damaged \({name} has .* bytes, not "):
            open_store(path)
        reseal(path)
        with pytest.raises(UserError, match="is damaged"):
            open_store(path)
        (path / name).write_bytes(b"")
        reseal(path)
        with pytest.raises(UserError, match="is damaged"):
            open_store(path)
        (path / name).write_bytes(content)
        reseal(path)
    np.save(path / "crops.npy", np.zeros((3, 16, 16, 3), np.uint8))
    reseal(path)
    with pytest.raises(UserError, match="table and crops disagree"):
        open_store(path)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["crops.npy", "faces.parquet", "store.json"]),
    st.floats(0, 1),
    st.binary(max_size=5),
    st.booleans(),
)
def test_damage_anywhere_is_a_store_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, name: str, place: float, new: bytes, cut: bool
) -> None:
    """Random bytes in any of the files, also in the heads that other libraries read."""
    path = make_store(tmp_path_factory.mktemp("any") / "faces").path
    content = bytearray((path / name).read_bytes())
    start = int(place * min(len(content), 500))
    content[start : len(content) if cut else start + len(new)] = new
    (path / name).write_bytes(content)
    if name != "store.json":
        reseal(path)
    with contextlib.suppress(UserError):
        assert len(open_store(path).crops) == 7


@pytest.mark.parametrize("blank", [b"[", b"(\n", b"'"])
def test_a_head_that_is_no_python_is_damage(tmp_path: Path, blank: bytes) -> None:
    """NumPy raises an error of the tokenizer for it."""
    path = make_store(tmp_path / "faces").path
    content = (path / "crops.npy").read_bytes()
    (path / "crops.npy").write_bytes(content[:90] + blank + content[90 + len(blank) :])
    with pytest.raises(UserError, match="is damaged"):
        open_store(path)


def reseal(path: Path) -> None:
    """Write the sizes of a store's files anew, so that only their content can give them away."""
    meta = json.loads((path / "store.json").read_text())
    for name, file in meta["files"].items():
        file["bytes"] = (path / name).stat().st_size
    (path / "store.json").write_text(json.dumps(meta))


def test_a_pickle_in_place_of_the_crops_is_not_opened(tmp_path: Path) -> None:
    """crops.npy may come from somebody else: nothing in it is ever unpickled."""
    path = make_store(tmp_path / "faces").path
    np.save(path / "crops.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    reseal(path)
    with pytest.raises(UserError, match="damaged"):
        open_store(path)


def test_the_large_files_can_be_verified(tmp_path: Path) -> None:
    """store.json has their sizes and SHA-256."""
    store = make_store(tmp_path / "faces")
    for name in ("crops.npy", "faces.parquet"):
        content = (store.path / name).read_bytes()
        found = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert store.meta["files"][name] == found


def beside(folder: Path) -> list[str]:
    """What lies in a folder, but for the lock, which stays."""
    return sorted(p.name for p in folder.iterdir() if p.name != ".faces.lock")


def test_a_failed_store_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    """Whatever happens while a store is made, what was there stays, and no temporary folder is left."""
    make_store(tmp_path / "faces")
    before = (tmp_path / "faces" / "store.json").read_text()

    def interrupted() -> None:
        with new_store(tmp_path / "faces") as folder:
            new_crops(folder, 3, 16, 3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(RuntimeError, match="finish_store"), new_store(tmp_path / "faces"):
        pass
    assert beside(tmp_path) == ["faces"]
    assert (tmp_path / "faces" / "store.json").read_text() == before
    make_store(tmp_path / "faces", TABLE[:2])
    assert beside(tmp_path) == ["faces"]
    assert len(open_store(tmp_path / "faces").crops) == 2


CALLS = ("rename", "mkdir", "unlink", "rmdir")
"""Of `os`: all steps of a swap are made of these."""


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do the work in a process that is killed instead of its n-th step; False if it got through."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    steps = itertools.count(1)

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*args: Any, **more: Any) -> Any:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **more)

        return instead

    for name in CALLS:
        setattr(os, name, dying(getattr(os, name)))
    work()
    os._exit(0)


@pytest.mark.parametrize("there", [True, False])
def test_a_swap_that_was_killed_anywhere_is_finished_or_undone(tmp_path: Path, there: bool) -> None:
    """At every step in turn: readers find a whole store, the new one as soon as that was finished."""
    old, new = make_store(tmp_path / "old", TABLE[:2]).path, make_store(tmp_path / "new").path

    def swap(path: Path) -> None:
        with new_store(path) as part:
            for name in ("crops.npy", "faces.parquet", "store.json"):
                shutil.copy(new / name, part / name)

    for by_writer in (False, True):
        seen = []
        for step in itertools.count(1):
            home = tmp_path / f"{by_writer}{step}"
            home.mkdir()
            if there:
                shutil.copytree(old, home / "faces")
            killed = killed_at(step, lambda home=home: swap(home / "faces"))
            waits = (home / ".faces.part" / "store.json").exists()
            in_place = (home / "faces").exists()
            if by_writer:
                with store_lock(home / "faces"):
                    pass
            if there or waits or in_place:
                seen.append(len(open_store(home / "faces").crops))
                assert seen[-1] == 7 or not (waits and (by_writer or not in_place))
            make_store(home / "faces", TABLE[:3])
            assert beside(home) == ["faces"]
            assert len(open_store(home / "faces").crops) == 3
            if not killed:
                break
        assert seen[-1] == 7
        assert not there or 2 in seen
        assert step > 2


def test_what_lies_there_from_a_killed_process_is_no_living_one(tmp_path: Path) -> None:
    """Also of one that had the number of this process, as in containers; gigabytes are removed."""
    (tmp_path / ".faces.part").mkdir()
    (tmp_path / ".faces.part" / "crops.npy").write_bytes(b"x")
    (tmp_path / ".faces.old").mkdir()
    make_store(tmp_path / "faces")
    assert beside(tmp_path) == ["faces"]


def test_a_swap_that_fails_puts_the_old_store_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finished new one waits for the next start."""
    make_store(tmp_path / "faces", TABLE[:2])
    rename = os.rename

    def failing(source: Any, target: Any) -> None:
        if str(source).endswith(".part"):
            raise OSError("no")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        with pytest.raises(OSError, match="no"):
            make_store(tmp_path / "faces")
        assert len(open_store(tmp_path / "faces").crops) == 2
    with store_lock(tmp_path / "faces"):
        pass
    assert len(open_store(tmp_path / "faces").crops) == 7
    assert beside(tmp_path) == ["faces"]


def test_a_folder_that_somebody_put_there_is_not_replaced(tmp_path: Path) -> None:
    """Neither it nor the finished store that waits beside it is touched."""
    make_store(tmp_path / "faces").path.rename(tmp_path / ".faces.part")
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "thesis.tex").write_text("x")
    with store_lock(tmp_path / "faces"):
        pass
    assert (tmp_path / "faces" / "thesis.tex").exists()
    assert (tmp_path / ".faces.part" / "store.json").exists()


def test_one_process_at_a_time_makes_a_store(tmp_path: Path) -> None:
    """The other waits and says so; it never touches what the first is writing."""
    path = tmp_path / "faces"
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        with new_store(path) as part:
            for name in ("crops.npy", "faces.parquet", "store.json"):
                (part / name).write_bytes(b"being written")
            os.write(ready[1], b".")
            os.read(done[0], 1)
            shutil.rmtree(part)
            part.mkdir()
            (part / "store.json").write_text("{}")
        os._exit(0)
    os.read(ready[0], 1)
    said: list[str] = []

    def say(message: str) -> None:
        said.append(message)
        assert (tmp_path / ".faces.part" / "crops.npy").read_bytes() == b"being written"
        os.write(done[1], b".")

    with store_lock(path, say):
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        make_store(path)
    assert said == [f"{path} is being made by another process; waiting for it"]
    assert len(open_store(path).crops) == 7


def test_a_store_that_is_replaced_while_it_is_opened_is_never_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap comes between table and crops, of equal shapes: the newer store is given, all of it."""
    path = make_store(tmp_path / "faces").path
    other = TABLE.assign(title="C")
    plain, swaps = module._map_crops, [1]

    def swapping(crops: Path) -> Any:
        if swaps:
            swaps.pop()
            make_store(path, other, splits={**SPLITS, "test": ["C"]}, first=100)
        return plain(crops)

    monkeypatch.setattr(module, "_map_crops", swapping)
    store = open_store(path)
    assert store.titles("test") == ["C"]
    assert set(store.table["title"]) == {"C"}
    assert store.crops[:, 0, 0, 0].tolist() == list(range(100, 107))


def test_readers_find_a_whole_store_while_others_replace_it(tmp_path: Path) -> None:
    """Swap after swap by another thread: meta, table and crops always belong together."""
    make_store(tmp_path / "faces", TABLE[:2], splits={**SPLITS, "val": ["2"]})
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for n in (7, 2):
                make_store(
                    tmp_path / "faces", TABLE if n == 7 else TABLE[:n], splits={**SPLITS, "val": [str(n)]}
                )

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        found = set()
        for _ in range(150):
            store = open_store(tmp_path / "faces")
            assert store.titles("val") == [str(len(store.crops))]
            assert int(store.table["row"].notna().sum()) == len(store.crops)
            found.add(len(store.crops))
    finally:
        stop.set()
        writer.join()
    assert found == {2, 7}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """In one sentence, before any work."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"faces: cannot be made \("), store_lock(tmp_path / "file" / "faces"):
        pass


def test_importing_the_module_does_not_import_torch_or_pandas() -> None:
    """Processes that cut pages start in a fraction of a second because of this."""
    code = "import sys, mfc.faces.batches, mfc.faces.build, mfc.faces.store\n"
    code += "print(sorted({'torch', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []
