"""Full disks, closed folders, odd folder names, senseless settings: told, and nothing left half-done."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from mlflow.tracking import MlflowClient
from sqlalchemy.engine import URL

from mfc import tracking
from mfc.encoders.network import load_encoder
from mfc.errors import UserError
from mfc.tracking.settings import patience, sampling_interval
from mfc.tracking.spool import Spool
from mfc.tracking.store import named_store
from tests.conftest import ROOT
from tests.tracking.mlflow_server import clean_environment
from tests.tracking.runs import artifacts, history, open_run, small_encoder
from tests.tracking.test_spool import FullDisk


def no_room(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full")


def runs_of(client: MlflowClient) -> list[Any]:
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))


# --- full disks and closed folders ------------------------------------------------------------------------


def run_that_fails(
    folder: Path, error: type[BaseException], match: str | None, body: Callable[[tracking.Run], object]
) -> str:
    """The id of a run whose body raises."""
    ids = []

    def work() -> None:
        with open_run(folder) as run:
            ids.append(run.id)
            body(run)

    with pytest.raises(error, match=match):
        work()
    return ids[0]


def test_a_disk_that_gets_full_fails_the_run(folder: Path, local: MlflowClient) -> None:
    """One sentence, and the run is FAILED, not RUNNING for ever; what was logged before is there."""

    def body(run: tracking.Run) -> None:
        run.metrics({"m": 1}, 0)
        FullDisk(run._spool)
        run.metrics({"m": 2}, 1)

    run_id = run_that_fails(folder, UserError, r"No space left on device\); free some space", body)
    assert local.get_run(run_id).info.status == "FAILED"
    assert history(local, run_id, "m") == [(0, 1.0)]


def test_no_room_even_for_the_end(folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the server is told without the spool."""

    def body(run: tracking.Run) -> None:
        monkeypatch.setattr(run._spool, "append", no_room)
        raise ValueError("stage")

    run_id = run_that_fails(folder, ValueError, "stage", body)
    assert local.get_run(run_id).info.status == "FAILED"


@pytest.mark.parametrize(
    "log",
    [
        lambda run, path: run.text("a.md", "x"),
        lambda run, path: run.file(path),
        lambda run, path: run.params({"a": 1}),
        lambda run, path: run.tags({"a": 1}),
    ],
)
def test_each_thing_logged_tells_a_full_disk(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch, log: Any
) -> None:
    """Also those that write or copy a file first."""
    (folder / "x").write_text("x")

    def body(run: tracking.Run) -> None:
        append = run._spool.append
        for name in ("keep", "new_file"):
            monkeypatch.setattr(run._spool, name, no_room)
        monkeypatch.setattr(
            run._spool, "append", lambda record, last=False: append(record, last=last) if last else no_room()
        )
        log(run, folder / "x")

    run_id = run_that_fails(folder, UserError, r"^/full: cannot be written \(No space left", body)
    assert local.get_run(run_id).info.status == "FAILED"


def test_no_run_is_made_without_room_for_its_records(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before the run exists."""
    monkeypatch.setattr(tempfile, "TemporaryFile", no_room)
    with pytest.raises(UserError, match="No space left on device"), open_run(folder):
        pass
    assert runs_of(local) == []


def test_a_run_whose_spool_cannot_be_made_is_failed(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk got full in between; a child likewise, and its parent with it."""
    with monkeypatch.context() as patch:
        patch.setattr("mfc.tracking.run.Spool", no_room)
        with pytest.raises(UserError, match="No space left on device"), open_run(folder):
            pass
    with open_run(folder, name="parent") as run, monkeypatch.context() as patch:
        patch.setattr("mfc.tracking.run.Spool", no_room)
        with pytest.raises(UserError, match="No space left on device"), run.child("child", stage="s"):
            pass
    assert {r.info.run_name: r.info.status for r in runs_of(local)} == {
        "main": "FAILED",
        "child": "FAILED",
        "parent": "FINISHED",
    }


@pytest.mark.parametrize("place", ["a file", "below a file", "/proc/none"])
def test_a_work_dir_that_cannot_be_written_is_told_first(
    folder: Path, local: MlflowClient, place: str
) -> None:
    """One sentence with the folder and the remedy, before any run exists."""
    (folder / "a file").write_text("x")
    work = {"below a file": folder / "a file" / "work"}.get(place, folder / place)
    with pytest.raises(UserError, match=r"cannot be written \(.*give another --work_dir") as caught:
        open_run(folder, work_dir=work).__enter__()
    assert str(work) in str(caught.value)
    assert runs_of(local) == []


def test_a_full_database_is_one_sentence(
    folder: Path, local: MlflowClient, capfd: pytest.CaptureFixture[str]
) -> None:
    """SQLite says so in an exception of MLflow, whose stack trace is not printed."""
    tracking.connect()
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON runs BEGIN SELECT RAISE(FAIL, 'disk full'); END"
        )
    with pytest.raises(UserError, match="no run can be opened there"), open_run(folder):
        pass
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_terminal_that_is_gone_ends_no_delivery(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After SIGHUP, writing to stderr fails; the run's end is delivered all the same."""

    class Gone:
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        flush = write

    def body(run: tracking.Run) -> None:
        monkeypatch.setattr(sys, "stderr", Gone())
        run.say("hello")
        raise KeyboardInterrupt

    run_id = run_that_fails(folder, KeyboardInterrupt, None, body)
    assert local.get_run(run_id).info.status == "KILLED"


# --- temporaries ------------------------------------------------------------------------------------------


def test_temporaries_of_a_killed_process_are_not_logged(
    folder: Path, local: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """90 MB of half an encoder are no artifact; said once, and the file is not touched."""
    encoder = small_encoder(folder / "encoder")
    (encoder / ".encoder.safetensors.x7k2").write_bytes(b"half")
    (encoder / "deep/.cache").mkdir(parents=True)
    (encoder / "deep/.cache/more").write_text("more")
    (encoder / "deep/table.json").write_text("{}")
    with open_run(folder) as run:
        run.file(encoder, "models")
    assert artifacts(local, run.id) == [
        "models/encoder/deep/table.json",
        "models/encoder/encoder.json",
        "models/encoder/encoder.safetensors",
    ]
    assert (
        "encoder: 2 hidden file(s) are not logged, e.g. .encoder.safetensors.x7k2" in capsys.readouterr().err
    )
    assert (encoder / ".encoder.safetensors.x7k2").exists()


def test_halves_of_downloads_go_with_the_next_one(folder: Path, local: MlflowClient) -> None:
    """A process killed while it fetched an encoder leaves a folder, which no other process can be using."""
    (folder / "work/fetched/.fetch-x7").mkdir(parents=True)
    (folder / "work/fetched/.fetch-x7/encoder.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="no model registered there"):
        tracking.fetch_encoder("models:/mfc-face-encoder@pretrained", folder / "work/fetched")
    assert [p.name for p in (folder / "work/fetched").iterdir()] == [".fetch.lock"]


# --- folders with signs of an address ---------------------------------------------------------------------

ODD = [
    "a#1",
    "what?",
    "100% %41",
    "a;b&c",
    "it's",
    "[1] {x}",
    "me@home",
    "a:b@c",
    "漫画 %3F",
    "q?x=1&y=%20#z",
]


@pytest.mark.parametrize("name", ODD)
def test_all_lies_in_the_current_folder_whatever_its_name(
    folder: Path, new_database: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Database, artifacts and models; nothing beside it, under a name that was read as an address."""
    home = folder / name
    home.mkdir()
    shutil.copy(new_database, home / "mlflow.db")
    monkeypatch.chdir(home)
    with open_run(home) as run:
        run.metrics({"m": 1})
        run.text("notes/a.md", "hello")
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    assert client.get_run(run.id).info.status == "FINISHED"
    assert Path(client.download_artifacts(run.id, "notes/a.md")).read_text() == "hello"
    assert [p.name for p in folder.iterdir()] == [name]
    assert sorted(p.name for p in home.iterdir()) == ["mlflow.db", "mlflow.db.lock", "mlruns", "work"]
    assert [p for p in (home / "mlruns").rglob("a.md") if run.id in p.parts]
    with sqlite3.connect(home / "mlflow.db") as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    again = tracking.connect()  # the address it exported means the same
    assert again == os.environ["MLFLOW_TRACKING_URI"]
    assert [p.name for p in folder.iterdir()] == [name]


@pytest.mark.parametrize(("name", "expected"), [("what?", "mlflow.db"), ("100% %41", "{home}/mlflow.db")])
def test_sqlalchemy_2_0_reads_no_codes_in_paths(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    """There a % stands for itself, and a ? can only be avoided."""

    def make_url(uri: str) -> URL:
        url = sqlalchemy.make_url(uri)
        return url.set(database=uri.partition(":///")[2].partition("?")[0])

    monkeypatch.setattr("sqlalchemy.engine.make_url", make_url)
    home = folder / name
    home.mkdir()
    monkeypatch.chdir(home)
    assert named_store() == f"sqlite:///{expected.format(home=home)}"


def test_models_and_later_readers_find_a_folder_of_odd_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder is registered and fetched, a spool replayed from elsewhere; MLflow reads its own address."""
    home = folder / "100% %41?#"
    home.mkdir()
    monkeypatch.chdir(home)
    with open_run(home) as run:
        tracking.register_encoder(run, small_encoder(home / "encoder"), alias="pretrained")
    got = load_encoder(tracking.fetch_encoder("models:/mfc-face-encoder@pretrained", home / "got"))
    assert got.dim == 512
    spool = Spool(home / "work/.spool" / run.id)
    spool.append({"kind": "metrics", "time": 1, "step": 0, "values": {"late": 1.0}})
    uri = os.environ["MLFLOW_TRACKING_URI"]
    (spool.folder / "run.json").write_text(f'{{"uri": "{uri}"}}')
    spool.close()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert tracking.replay(home / "work") == 1
    assert [p.name for p in folder.iterdir()] == [home.name]
    code = "import mlflow; mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
    code += "print(*mlflow.search_runs(search_all_experiments=True)['metrics.late'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1.0"]
    assert [p.name for p in folder.iterdir()] == [home.name]


def test_artifacts_that_mlflow_puts_elsewhere_are_told(
    folder: Path, new_database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`mlflow run` made the experiment, in a folder whose name it misreads."""
    home = folder / "100% %41"
    home.mkdir()
    monkeypatch.chdir(home)
    client = MlflowClient(tracking.connect())
    monkeypatch.setenv("MLFLOW_RUN_ID", client.create_run(client.create_experiment("made")).info.run_id)
    with open_run(home):
        pass
    assert f"the artifacts of this run go to {folder}/100% A/mlruns/" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("sqlite:///sub/x.db?timeout=5", None),
        ("sqlite+pysqlite:///sub/x.db", None),
        ("sqlite:///a%20b.db", None),
        ("sqlite://host/x.db", "no address of a database"),
        ("sqlite:x.db", "no address of a database"),
    ],
)
def test_an_address_of_a_file_is_read_as_sqlalchemy_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, uri: str, words: str | None
) -> None:
    """Made whole with its options kept, or one sentence; a second call changes nothing."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    if words:
        with pytest.raises(UserError, match=words):
            tracking.connect()
        return
    made = tracking.connect()
    assert f"{folder}/" in made
    assert made.endswith("?timeout=5") == uri.endswith("?timeout=5")
    assert tracking.connect() == made
    assert len(list(folder.rglob("*.db"))) == 1


# --- settings of the environment --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", v) for v in ("x", "-1", "0", "nan", "inf", "", "1e-9")],
        *[("MFC_TRACKING_PATIENCE", v) for v in ("x", "-1", "nan", "inf", "-inf", "")],
        *[("MLFLOW_HTTP_REQUEST_TIMEOUT", v) for v in ("x", "0", "-5", "1.5")],
        *[("MLFLOW_HTTP_REQUEST_MAX_RETRIES", v) for v in ("x", "-1", "999")],
        ("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "-1"),
        ("MLFLOW_TRACKING_INSECURE_TLS", "maybe"),
        ("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "often"),
        ("MLFLOW_EXPERIMENT_ID", "77"),
        ("MLFLOW_EXPERIMENT_ID", "x"),
        ("MLFLOW_EXPERIMENT_ID", "-1"),
        ("MLFLOW_EXPERIMENT_ID", "9" * 40),
        ("MLFLOW_RUN_ID", "../../x"),
    ],
)
def test_a_setting_without_sense_is_one_sentence(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """It names variable and value, before there is a run."""
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"^{name}={value}: ") as caught, open_run(folder):
        pass
    assert "\n" not in str(caught.value)
    assert runs_of(local) == []


def test_a_name_that_mlflow_does_not_take_is_one_sentence(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An experiment's name of 600 letters."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "x" * 600)
    with pytest.raises(UserError, match="no run can be opened there") as caught, open_run(folder):
        pass
    assert "\n" not in str(caught.value)


def test_a_deleted_experiment_of_the_environment(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its number as by its name."""
    number = local.create_experiment("old")
    local.delete_experiment(number)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    with pytest.raises(UserError, match=rf"experiment 'old' was deleted .*--experiment-id {number}"):
        open_run(folder).__enter__()


def test_settings_with_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Are taken as they are; without one, five minutes and ten seconds."""
    for name in ("MFC_TRACKING_PATIENCE", "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"):
        monkeypatch.delenv(name, raising=False)
    assert (patience(), sampling_interval()) == (300, 10)
    monkeypatch.setenv("MFC_TRACKING_PATIENCE", "0")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.5")
    assert (patience(), sampling_interval()) == (0, 0.5)


def test_a_setting_that_stops_the_import_is_one_sentence(folder: Path) -> None:
    """MLflow reads this one while it is imported."""
    code = "from mfc.errors import UserError\n"
    code += "try:\n    import mfc.tracking\nexcept UserError as error:\n    print(error)"
    env = clean_environment(PYTHONPATH=str(ROOT), MLFLOW_CONFIGURE_LOGGING="perhaps")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "MLFLOW_CONFIGURE_LOGGING" in done.stdout


# --- runs joined again ------------------------------------------------------------------------------------


def test_a_finished_run_joined_again_has_each_value_once(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a step as with one: the same values are not recorded again, infinite and missing ones too."""
    values = {"score": 0.1 + 0.2, "nan": float("nan"), "inf": float("inf"), "minus": float("-inf")}
    for _ in range(3):
        with open_run(folder) as run:
            run.metrics(values)
            run.metrics({"loss": 1}, 0)
        monkeypatch.setenv("MLFLOW_RUN_ID", run.id)
    for key in (*values, "loss"):
        assert len(history(local, run.id, key)) == 1


def test_a_value_that_changed_is_recorded(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run shows the last one, also when it goes back to what it was."""
    with open_run(folder) as run:
        run.metrics({"a": 1, "b": 1})
    monkeypatch.setenv("MLFLOW_RUN_ID", run.id)
    with open_run(folder) as again:
        again.metrics({"a": 2, "b": 2})
        again.flush()
        again.metrics({"b": 1})
    assert local.get_run(run.id).data.metrics["a"] == 2
    assert local.get_run(run.id).data.metrics["b"] == 1
    assert [value for _, value in history(local, run.id, "a")] == [1.0, 2.0]


def test_steps_that_wait_in_a_long_spool_are_not_repeated(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than are read at a time: the last step counts, not that of the first thousand records."""
    run_id = local.create_run("0").info.run_id
    spool = Spool(folder / "work/.spool" / run_id)
    for step in range(1500):
        spool.append({"kind": "metrics", "time": step, "step": step, "values": {"m": 1.0}})
    spool.close()
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with open_run(folder) as run:
        for step in range(1490, 1502):
            run.metrics({"m": 2.0}, step)
    assert [step for step, value in history(local, run_id, "m") if value == 2] == [1500, 1501]
    assert len(history(local, run_id, "m")) == 1502


def test_damaged_records_do_not_keep_a_run_from_being_joined(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are set aside by the delivery; the run goes on."""
    run_id = local.create_run("0").info.run_id
    spool = Spool(folder / "work/.spool" / run_id)
    for values in ({"m": "many"}, [1], None):
        spool.append({"kind": "metrics", "time": 1, "step": "x", "values": values})
    spool.close()
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with open_run(folder) as run:
        run.metrics({"m": 1.0}, 0)
    assert history(local, run_id, "m") == [(0, 1.0)]
    assert (folder / "work/.spool" / run_id / "refused.jsonl").read_text().count("\n") == 3


@pytest.mark.slow
def test_a_model_is_filed_under_the_experiment_of_its_run(folder: Path, local: MlflowClient) -> None:
    """Not under MLflow's "Default"."""
    with open_run(folder) as run:
        tracking.register_encoder(run, small_encoder(folder / "encoder"), alias="pretrained")
    [model] = local.search_logged_models([run._experiment_id])
    assert model.source_run_id == run.id
    assert not local.search_logged_models(["0"])
