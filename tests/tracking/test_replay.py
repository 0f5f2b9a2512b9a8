"""`mfc replay` sends what it can, whatever is wrong with one spool, and says what it cannot send."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from mfc import tracking
from mfc.errors import UserError
from mfc.tracking.spool import Spool
from tests.tracking.mlflow_server import free_port
from tests.tracking.runs import history, open_run


@pytest.fixture
def root(folder: Path) -> Path:
    return folder / "work/.spool"


@pytest.fixture
def said() -> list[str]:
    return []


def killed(client: MlflowClient, root: Path, values: int = 3) -> str:
    """A run whose process was killed before anything was sent: metric m is 0, 1, 2, … at these steps."""
    run_id = str(client.create_run("0").info.run_id)
    spool = Spool(root / run_id)
    for step in range(values):
        spool.append({"kind": "metrics", "time": 1, "step": step, "values": {"m": float(step)}})
    (spool.folder / "run.json").write_text(json.dumps({"uri": client.tracking_uri}))
    spool.close()
    return run_id


def all_there(client: MlflowClient, run_id: str, values: int = 3) -> bool:
    known = history(client, run_id, "m") == [(step, float(step)) for step in range(values)]
    return known and client.get_run(run_id).info.status == "KILLED"


BAD: dict[str, Callable[[Path], object]] = {
    "server away": lambda f: (f / "run.json").write_text(
        json.dumps({"uri": f"http://127.0.0.1:{free_port()}"})
    ),
    "no such store": lambda f: (f / "run.json").write_text('{"uri": "nonsense://x"}'),
    "database away": lambda f: (f / "run.json").write_text('{"uri": "sqlite:////nowhere/at/all.db"}'),
    "lock is a folder": lambda f: ((f / "lock").unlink(), (f / "lock").mkdir()),
    "records are a folder": lambda f: ((f / "records.jsonl").unlink(), (f / "records.jsonl").mkdir()),
}


@pytest.mark.parametrize("problem", BAD)
def test_one_bad_spool_does_not_hold_up_the_others(
    root: Path, local: MlflowClient, said: list[str], problem: str
) -> None:
    """Those before and behind it are sent; the sentence names the bad one, which stays."""
    runs = [killed(local, root) for _ in range(3)]
    BAD[problem](root / runs[1])
    with pytest.raises(UserError, match=runs[1]) as caught:
        tracking.replay(root.parent, said.append)
    assert "\n" not in str(caught.value)
    assert runs[0] not in str(caught.value)
    assert all_there(local, runs[0])
    assert all_there(local, runs[2])
    assert [path.name for path in root.iterdir()] == [runs[1]]


def test_a_store_that_is_away_is_not_made_anew(root: Path, local: MlflowClient, folder: Path) -> None:
    """Opening an SQLite file that is not there would make an empty one."""
    run_id = killed(local, root)
    (root / run_id / "run.json").write_text(json.dumps({"uri": f"sqlite:///{folder}/gone.db"}))
    with pytest.raises(UserError, match=r"gone\.db is not there; bring it back, or delete"):
        tracking.replay(root.parent)
    assert not (folder / "gone.db").exists()


def test_a_deleted_run_is_set_aside(root: Path, local: MlflowClient, said: list[str]) -> None:
    """Said and counted; the next replay has nothing to do; restored and moved back, its records arrive."""
    deleted, other = killed(local, root), killed(local, root)
    local.delete_run(deleted)
    assert tracking.replay(root.parent, said.append) == 1
    told = "\n".join(said)
    assert f"run {deleted} was deleted in MLflow" in told
    assert f"`mlflow runs restore --run-id {deleted}`" in told
    assert f"set aside in {root}/aside/{deleted}" in told
    assert "1 spool(s) were set aside" in told
    assert all_there(local, other)
    assert tracking.replay(root.parent) == 0
    local.restore_run(deleted)
    (root / "aside" / deleted).rename(root / deleted)
    assert tracking.replay(root.parent) == 1
    assert all_there(local, deleted)


def test_a_run_that_is_gone_for_good_is_set_aside(root: Path, local: MlflowClient, said: list[str]) -> None:
    """Its records stay readable in a folder that no replay looks into; a second one of its name fits too."""
    run_id = killed(local, root)
    (root / run_id).rename(root / ("f" * 32))
    assert tracking.replay(root.parent, said.append) == 0
    assert f"there is no run {'f' * 32}" in said[0]
    assert (root / "aside" / ("f" * 32) / "records.jsonl").read_text().count("\n") == 3
    (root / killed(local, root)).rename(root / ("f" * 32))
    assert tracking.replay(root.parent, said.append) == 0
    assert len(list((root / "aside").iterdir())) == 2


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b'{"uri": ', b'{"url": "x"}', b"\xff\xfe", b"[" * 9999]
)
def test_a_lost_address_is_found_again(
    root: Path, local: MlflowClient, said: list[str], content: bytes | None
) -> None:
    """Without a run.json that can be read, the store of the environment is asked, and that is said."""
    run_id = killed(local, root)
    if content is None:
        (root / run_id / "run.json").unlink()
    else:
        (root / run_id / "run.json").write_bytes(content)
    assert tracking.replay(root.parent, said.append) == 1
    assert said[0] == (
        f"run {run_id}: its run.json is missing or damaged; looking for it in {local.tracking_uri}"
    )
    assert all_there(local, run_id)


def test_a_lost_address_of_another_store_keeps_the_spool(root: Path, local: MlflowClient) -> None:
    """Where the run is not in the current store, one sentence says what to set; nothing is set aside."""
    run_id = killed(local, root)
    (root / run_id / "run.json").unlink()
    (root / run_id).rename(root / ("f" * 32))
    with pytest.raises(
        UserError, match=r"is not in sqlite.*set MLFLOW_TRACKING_URI to the store that has it"
    ):
        tracking.replay(root.parent)
    assert (root / ("f" * 32) / "records.jsonl").is_file()


def test_a_spool_without_records_is_no_obstacle(root: Path, local: MlflowClient) -> None:
    """A process killed at once leaves an empty folder: its run is marked KILLED, and the folder goes."""
    run_id = str(local.create_run("0").info.run_id)
    (root / run_id).mkdir(parents=True)
    assert tracking.replay(root.parent) == 1
    assert local.get_run(run_id).info.status == "KILLED"
    assert not (root / run_id).exists()


@pytest.mark.parametrize("offset", ["", "x", "-5", "7", "9999999", "1e3", "\0\0", "9" * 400])
def test_a_damaged_offset_costs_nothing(root: Path, local: MlflowClient, offset: str) -> None:
    """Everything is delivered again; no value is lost and none is there twice."""
    run_id = killed(local, root)
    (root / run_id / "offset").write_text(offset)
    assert tracking.replay(root.parent) == 1
    assert all_there(local, run_id)


def test_damaged_lines_are_set_aside_and_counted(root: Path, local: MlflowClient, said: list[str]) -> None:
    """Torn, empty, of zeros, of another shape: their neighbours arrive, and each is kept with a reason."""
    run_id = killed(local, root)
    path = root / run_id / "records.jsonl"
    first, *others = path.read_bytes().splitlines(keepends=True)
    bad = [
        first[:20] + others[0][9:],
        b"\n",
        b"\0" * 512 + b"\n",
        b"\xff\xfe\n",
        b"[1, 2]\n",
        b"{}\n",
        b'{"kind": "magic"}\n',
        b'{"kind": "metrics"}\n',
        b'{"kind": "metrics", "time": 1, "step": 0, "values": {"m": "many"}}\n',
        b'{"kind": "metrics", "time": 1, "step": 0, "values": [1]}\n',
        b'{"kind": "artifact", "file": "../../../mlflow.db", "folder": ""}\n',
        b'{"kind": "artifact", "file": 7, "folder": ""}\n',
        b'{"kind": "end", "status": "TIRED", "time": 1}\n',
        b'{"kind": "input", "context": "c", "dataset": {"colour": "red"}}\n',
    ]
    path.write_bytes(first + b"".join(bad) + b"".join(others))
    assert tracking.replay(root.parent, said.append) == 1
    assert all_there(local, run_id)
    kept = [json.loads(line) for line in (root / "aside" / run_id / "refused.jsonl").read_text().splitlines()]
    assert len(kept) == len(bad)
    assert all(entry["reason"] for entry in kept)
    assert "a damaged line" in kept[0]["reason"]
    told = "\n".join(said)
    assert f"{len(bad)} record(s) of run {run_id} could not be delivered: set aside in" in told
    assert len(said) == 4  # once for the first record, up to date, set aside, how many in all
    assert (root.parent.parent / "mlflow.db").is_file()


def test_a_damaged_picture_holds_up_nothing(root: Path, local: MlflowClient) -> None:
    """It is refused like a damaged line, and the number behind it arrives."""
    run_id = killed(local, root, values=0)
    spool = Spool(root / run_id)
    kept, path = spool.new_file("picture.png")
    path.write_bytes(b"\x89PNG\r\n\x1a\n half of it")
    spool.append({"kind": "image", "file": kept, "key": "k", "step": 0, "time": 1})
    spool.append({"kind": "metrics", "time": 1, "step": 0, "values": {"m": 0.0}})
    spool.close()
    assert tracking.replay(root.parent) == 1
    assert all_there(local, run_id, values=1)
    assert "its picture is damaged" in (root / "aside" / run_id / "refused.jsonl").read_text()


def test_a_run_deleted_while_it_lasts_ends_the_command_soon(
    folder: Path, root: Path, local: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Work goes on, the end does not wait for minutes, and its numbers are kept."""
    with open_run(folder) as run:
        run.metrics({"m": 0}, 0)
        run.flush()
        local.delete_run(run.id)
        run.metrics({"m": 1}, 1)
    told = capsys.readouterr().err
    assert f"the run {run.id} was deleted in MLflow" in told
    assert "records of 1 run(s) wait in" in told
    assert '"m": 1.0' in (root / run.id / "records.jsonl").read_text()
    local.restore_run(run.id)
    assert tracking.replay(root.parent) == 1
    assert history(local, run.id, "m") == [(0, 0.0), (1, 1.0)]
    assert local.get_run(run.id).info.status == "FINISHED"
