"""`mfc.tracking` against a real MLflow: the embedded SQLite store and a server on loopback."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from mlflow.tracking import MlflowClient
from mlflow.utils import validation
from PIL import Image

from mfc import tracking
from mfc.encoders.network import load_encoder
from mfc.errors import UserError
from mfc.tracking.registry import base64_png
from tests.conftest import ROOT
from tests.tracking.mlflow_server import TrackingServer, clean_environment, free_port
from tests.tracking.runs import artifacts, history, open_run, small_encoder

# --- names ------------------------------------------------------------------------------------------------


@given(st.text())
def test_every_name_becomes_one_that_mlflow_takes(name: str) -> None:
    """Whatever a title or key holds, metric, param and path names made from it are valid."""
    validation._validate_metric_name(tracking.safe_key(name))
    validation._validate_param_name(tracking.safe_key(name))
    assert ".." not in Path(tracking.safe_path(name)).parts
    assert not tracking.safe_path(name).startswith("/")


def test_good_names_stay_as_they_are() -> None:
    """`train/loss` and a hyphenated title are not touched; an apostrophe is replaced."""
    assert tracking.safe_key("train/loss") == "train/loss"
    assert tracking.safe_key("clusters/ByebyeC-BOY") == "clusters/ByebyeC-BOY"
    assert tracking.safe_key("clusters/That'sIzumiko") == "clusters/That_sIzumiko"


titles = st.one_of(
    st.text(min_size=1), st.sampled_from(["latest", "LATEST", "v1", "V12", "pretrained", "a'b"])
)


@given(st.lists(titles, unique=True, max_size=8))
def test_aliases_are_valid_and_never_shared(names: list[str]) -> None:
    """Different titles get different aliases, none reserved, also not those that look like a mapped one."""
    names = list(dict.fromkeys([*names, *(tracking.alias_for_title(name) for name in names)]))
    aliases = [tracking.alias_for_title(name) for name in names]
    # A plain title is its own alias, so it may meet itself in the list once, not more.
    assert len(set(aliases)) == len(names)
    for alias in aliases:
        validation._validate_model_alias_name(alias)
        validation._validate_model_alias_name_reserved(alias)
        assert alias not in (tracking.PRETRAINED_ALIAS, "champion")


def test_aliases_of_the_real_quirks() -> None:
    """A plain title is its own alias; an apostrophe gives a readable form with a hash."""
    assert tracking.alias_for_title("AkaiTori") == "AkaiTori"
    assert tracking.alias_for_title("ByebyeC-BOY") == "ByebyeC-BOY"
    assert tracking.alias_for_title("That'sIzumiko").startswith("That-sIzumiko-")


# --- the store --------------------------------------------------------------------------------------------


def test_the_default_store_is_absolute(folder: Path) -> None:
    """Without a setting: mlflow.db and mlruns in the current folder, exported for later processes."""
    uri = tracking.connect()
    assert uri == f"sqlite:///{folder}/mlflow.db"
    assert os.environ["MLFLOW_TRACKING_URI"] == uri
    experiment = MlflowClient(uri).get_experiment("0")
    assert experiment.artifact_location == str(folder / "mlruns/0")


def test_a_relative_store_is_made_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that changes its folder keeps writing to the same database."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///deep/er.db")
    assert tracking.connect() == f"sqlite:///{folder}/deep/er.db"
    assert (folder / "deep/er.db").is_file()


def test_old_run_folders_do_not_flip_the_default(folder: Path) -> None:
    """MLflow falls back to its retired file store where it finds mlruns/0/meta.yaml; mfc does not."""
    (folder / "mlruns/0").mkdir(parents=True)
    (folder / "mlruns/0/meta.yaml").write_text("name: Default")
    assert tracking.connect().startswith("sqlite:///")


def test_many_processes_may_open_a_new_database_at_once(folder: Path) -> None:
    """Each makes its run; without the lock, migrations that ran twice spoiled the file for good."""
    code = "from mfc import tracking; from pathlib import Path\n"
    code += "with tracking.open_run(experiment='e', name='x', stage='s', work_dir=Path('w')): pass"
    env = clean_environment(PYTHONPATH=str(ROOT))
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=env) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 3


def unreachable() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (unreachable, "no tracking server answers there within 5 s; start it with `mlflow server`"),
        (lambda: "file:///tmp/x", "unset it to use ./mlflow.db"),
        (lambda: "./mlruns", "unset it to use ./mlflow.db"),
        (lambda: "sqlite:///broken.db", "not a usable tracking database"),
        (lambda: "sqlite:////proc/none/x.db", "cannot be written"),
        (lambda: "mysql+nosuchdriver://u:secret@127.0.0.1/x", "mend MLFLOW_TRACKING_URI"),
    ],
)
def test_an_unusable_store_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, uri: Callable[[], str], words: str
) -> None:
    """The sentence names the address and the remedy, and tells no password."""
    (folder / "broken.db").write_text("this is no database at all, " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri())
    with pytest.raises(UserError) as caught, open_run(folder):
        pass
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert "secret" not in message


@pytest.mark.parametrize("status", [404, 200, 401, 403])
def test_a_server_that_is_not_mlflow_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A web server that knows no such page, or answers in HTML, or wants a password, is told apart."""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{web.server_port}")
    with pytest.raises(UserError) as caught:
        tracking.connect()
    web.shutdown()
    web.server_close()
    expected = "no MLflow tracking server" if status in (404, 200) else "refuses this user"
    assert expected in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_named_run_must_be_there(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLFLOW_RUN_ID of an unknown or deleted run is an error, not a new run."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(UserError, match="no such run"), open_run(folder):
        pass
    run_id = local.create_run("0").info.run_id
    local.delete_run(run_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with pytest.raises(UserError, match="was deleted; restore it"), open_run(folder):
        pass
    assert len(local.search_runs(["0"])) == 0


def test_a_deleted_experiment_is_one_sentence(folder: Path, local: MlflowClient) -> None:
    """MLflow keeps the name of a deleted experiment; the remedy is told."""
    local.delete_experiment(local.create_experiment("demo"))
    with pytest.raises(UserError, match=r"restore it with `mlflow experiments restore --experiment-id \d+`"):
        open_run(folder).__enter__()


# --- a run ------------------------------------------------------------------------------------------------


def log_everything(folder: Path, **options: object) -> str:
    """One run with one of each that a stage may log."""
    (folder / "tree/deep").mkdir(parents=True)
    (folder / "tree/deep/leaf.txt").write_text("leaf")
    plot = Figure()
    plot.subplots().plot([0, 1])
    faces = pd.DataFrame({"face_id": ["01", "02"], "character_id": ["a", None], "page": [1, 2]})
    with open_run(folder, params={"finetune.lr": 1e-3}, tags={"seed": 3}, **options) as run:
        run.describe("**what**")
        for step in range(5):
            run.metrics({"train/loss": 1 / (1 + step)}, step)
        run.metrics({"test/accuracy": np.float32(0.5), "per title/That'sIzumiko": 1})
        run.params({"epochs": 4, "title_idx": None}, "finetune")
        run.table("clusters/That'sIzumiko", faces)
        run.figure("plots/curve", plot)
        run.picture("gallery/grid", Image.new("RGB", (8, 8), "red"), step=0)
        run.picture("pages/one", Image.new("RGB", (8, 8)))
        run.text("report.md", "# Bericht 漫画")
        run.file(folder / "tree")
        run.file(folder / "tree/deep/leaf.txt", "single")
        run.dataset(faces, name="faces", source=folder / "tree", targets="character_id", context="training")
        run.tags({"corpus": "tiny", "nothing": None})
        with run.child("finetune AkaiTori", stage="finetune", tags={"title": "AkaiTori"}) as child:
            child.metrics({"test/nmi": 0.7})
    return str(run.id)


def check_everything(client: MlflowClient, run_id: str, *, pictures: bool) -> None:
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "main"
    assert history(client, run_id, "train/loss") == [(s, 1 / (1 + s)) for s in range(5)]
    assert run.data.metrics["test/accuracy"] == 0.5
    assert run.data.metrics["per title/That_sIzumiko"] == 1
    assert run.data.metrics["system/system_memory_usage_percentage"] > 0
    assert run.data.params == {"finetune.lr": "0.001", "finetune.epochs": "4", "finetune.title_idx": "None"}
    tags = run.data.tags
    assert (tags["stage"], tags["seed"], tags["corpus"]) == ("main", "3", "tiny")
    assert tags["mlflow.note.content"] == "**what**"
    assert "nothing" not in tags
    names = artifacts(client, run_id)
    expected = ["clusters/That_sIzumiko.json", "plots/curve.png", "report.md"]
    expected += ["single/leaf.txt", "tree/deep/leaf.txt"]
    assert [n for n in names if not n.startswith(("images/", "pages/"))] == expected
    assert ("pages/one.png" in names) == pictures
    assert any(n.startswith("images/gallery~grid+step+0+") for n in names) == pictures
    table = client.load_table(run.info.experiment_id, "clusters/That_sIzumiko.json", [run_id])
    assert list(table["page"]) == [1, 2]
    used = run.inputs.dataset_inputs[0]
    assert used.dataset.name == "faces"
    assert used.tags[0].value == "training"
    assert "character_id" in used.dataset.schema
    below = tracking.child_metrics(run_id)
    assert list(below["name"]) == ["finetune AkaiTori"]
    assert list(below["title"]) == ["AkaiTori"]
    assert list(below["status"]) == ["FINISHED"]
    assert list(below["test/nmi"]) == [0.7]
    assert below["system/system_memory_usage_percentage"][0] > 0


def test_all_that_a_stage_logs_arrives_in_the_local_store(folder: Path, local: MlflowClient) -> None:
    """Curves at their steps, params, tags, table, figure, pictures, files, dataset, system metrics, child."""
    run_id = log_everything(folder)
    check_everything(local, run_id, pictures=True)
    assert not list((folder / "work/.spool").iterdir())


def test_all_that_a_stage_logs_arrives_on_a_server(
    folder: Path, remote: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with the local store, but comic artwork stays on this machine, and that is said once."""
    run_id = log_everything(folder)
    check_everything(remote, run_id, pictures=False)
    assert capsys.readouterr().err.count("--log_images true logs them") == 1


@pytest.mark.parametrize(("log_images", "expected"), [("true", True), ("false", False)])
def test_log_images_overrules_the_place(
    folder: Path, remote: MlflowClient, local: MlflowClient, log_images: str, expected: bool
) -> None:
    """`true` sends artwork to a server, `false` keeps it even from a local store."""
    if log_images == "false":
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    run_id = log_everything(folder, log_images=log_images)
    check_everything(remote if expected else local, run_id, pictures=expected)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(2), "FAILED"),
    ],
)
def test_a_run_tells_how_it_ended(
    folder: Path, local: MlflowClient, error: BaseException, status: str
) -> None:
    """Parent and child both; what was logged before is kept."""
    runs = []

    def work() -> None:
        with open_run(folder) as run, run.child("c", stage="s") as child:
            runs.extend([run.id, child.id])
            child.metrics({"m": 1}, 0)
            raise error

    with pytest.raises(type(error)):
        work()
    assert [local.get_run(run_id).info.status for run_id in runs] == [status, status]
    assert history(local, runs[1], "m") == [(0, 1.0)]


def test_a_param_is_logged_once(folder: Path, local: MlflowClient) -> None:
    """MLflow refuses to change one, so the first value stays and nothing is refused."""
    with open_run(folder) as run:
        run.params({"lr": 1}, "a")
        run.params({"lr": 2, "long": "x" * 9000, "many": 1}, "a")
        run.params({f"p{i}": i for i in range(250)})
    params = local.get_run(run.id).data.params
    assert params["a.lr"] == "1"
    assert len(params["a.long"]) == 6000
    assert len(params) == 253
    assert not list((folder / "work/.spool").iterdir())


def test_many_numbers_in_one_call(folder: Path, local: MlflowClient) -> None:
    """More than the thousand that one request may carry; NaN and infinity included."""
    with open_run(folder) as run:
        run.metrics({f"m{i}": i for i in range(2500)}, 1)
        run.metrics({"nan": float("nan"), "inf": float("inf")})
    metrics = local.get_run(run.id).data.metrics
    assert all(metrics[f"m{i}"] == i for i in range(2500))
    assert np.isnan(metrics["nan"])


def test_what_the_server_refuses_does_not_hold_up_the_rest(
    folder: Path, local: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that can never be sent is set aside in a file and told; its neighbours arrive."""
    with open_run(folder) as run:
        run.metrics({"before": 1}, 0)
        run._spool.append({"kind": "metrics", "time": 0, "step": 0, "values": {"no//good": 1.0}})
        run.metrics({"after": 2}, 0)
    assert local.get_run(run.id).data.metrics.keys() >= {"before", "after"}
    refused = (folder / "work/.spool" / run.id / "refused.jsonl").read_text().splitlines()
    assert [json.loads(line)["record"]["values"] for line in refused] == [{"no//good": 1.0}]
    assert "a record cannot be delivered" in capsys.readouterr().err


def test_the_run_of_the_environment_is_joined(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `mlflow run`, no second run appears, its own params stay, its random name becomes readable."""
    given = local.create_run(local.create_experiment("mine"))
    local.log_param(given.info.run_id, "lr", "1e-3")
    monkeypatch.setenv("MLFLOW_RUN_ID", given.info.run_id)
    with open_run(folder, params={"finetune.lr": 0.001}) as run:
        run.metrics({"m": 1}, 0)
    after = local.get_run(run.id)
    assert run.id == given.info.run_id
    assert after.data.params == {"lr": "1e-3", "finetune.lr": "0.001"}
    assert (after.info.status, after.info.run_name, after.data.tags["stage"]) == ("FINISHED", "main", "main")
    assert local.get_experiment_by_name("demo") is None
    local.update_run(run.id, name="my own name")
    with open_run(folder):
        pass
    assert local.get_run(run.id).info.run_name == "my own name"


def test_the_tag_of_the_conda_stand_in_is_corrected(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run made through activate.sh says `local`; with a real conda the tag stays."""
    for home, expected in [(ROOT / "tools/conda-stand-in", "local"), (folder, "conda")]:
        run_id = local.create_run("0", tags={"mlflow.project.env": "conda"}).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        monkeypatch.setenv("MLFLOW_CONDA_HOME", str(home))
        with open_run(folder):
            pass
        assert local.get_run(run_id).data.tags["mlflow.project.env"] == expected


def test_a_resumed_run_has_each_step_once(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps redone after a checkpoint are passed over, new ones are added; the unfinished child is the same
    run, the finished one is not opened again."""
    with contextlib.suppress(KeyboardInterrupt), open_run(folder) as run:
        with run.child("preprocess", stage="preprocess"):
            pass
        with run.child("pretrain", stage="pretrain") as first:
            for step in range(10):
                first.metrics({"train/loss": step}, step)
            first.metrics({"score": 1})
            raise KeyboardInterrupt
    monkeypatch.setenv("MLFLOW_RUN_ID", run.id)
    with open_run(folder) as again:
        with again.child("preprocess", stage="preprocess"):
            pass
        with again.child("pretrain", stage="pretrain") as second:
            for step in range(7, 14):
                second.metrics({"train/loss": step}, step)
            second.metrics({"score": 2})
    assert (again.id, second.id) == (run.id, first.id)
    assert history(local, first.id, "train/loss") == [(s, float(s)) for s in range(14)]
    assert local.get_run(first.id).data.metrics["score"] == 2
    assert local.get_run(first.id).info.status == "FINISHED"
    assert sorted(tracking.child_metrics(run.id)["name"]) == ["preprocess", "preprocess", "pretrain"]
    steps = [s for s, _ in history(local, run.id, "system/system_memory_usage_percentage")]
    assert steps == [0, 1]


def test_only_the_same_child_is_resumed(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same name but another stage or seed is another run; so is one that this process opened itself."""
    with (
        contextlib.suppress(KeyboardInterrupt),
        open_run(folder) as run,
        run.child("AkaiTori", stage="finetune", tags={"seed": 0}) as first,
    ):
        raise KeyboardInterrupt
    monkeypatch.setenv("MLFLOW_RUN_ID", run.id)
    ids = []
    with open_run(folder) as again:
        for stage, seed in [("evaluate", 0), ("finetune", 1), ("finetune", 0), ("finetune", 0)]:
            with again.child("AkaiTori", stage=stage, tags={"seed": seed}) as child:
                ids.append(child.id)
        with again.child("twin", stage="s") as one, again.child("twin", stage="s") as other:
            assert one.id != other.id
    assert [known == first.id for known in ids] == [False, False, True, False]
    assert len({*ids}) == 4


def test_two_processes_cannot_write_one_run(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one is told, instead of both mixing their curves."""
    with open_run(folder) as run:
        monkeypatch.setenv("MLFLOW_RUN_ID", run.id)
        with pytest.raises(UserError, match="another process is writing to it"), open_run(folder):
            pass


# --- a server that goes away ------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_outage_loses_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server is killed mid-run and comes back later: logging goes on, every step is there once."""
    with TrackingServer(tmp_path / "server") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        with open_run(folder) as run:
            with run.child("pretrain", stage="pretrain") as child:
                child.metrics({"train/loss": 0.0}, 0)
                child.flush()
                server.kill()
                for step in range(1, 300):
                    child.metrics({"train/loss": float(step), "train/lr": 1.0}, step)
                child.text("notes.md", "written while the server was away")
                deadline = time.monotonic() + 60
                while "takes no records" not in capsys.readouterr().err:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            # The child has ended; only now does the server come back, and the parent's end waits for it.
            server.start("/health")
        client = MlflowClient(server.url)
        assert history(client, child.id, "train/loss") == [(s, float(s)) for s in range(300)]
        assert len(history(client, child.id, "train/lr")) == 299
        assert artifacts(client, child.id) == ["notes.md"]
        assert client.get_run(child.id).info.status == "FINISHED"
        assert client.get_run(run.id).info.status == "FINISHED"
    assert not list((folder / "work/.spool").iterdir())


@pytest.mark.slow
def test_a_killed_client_and_a_lost_server_lose_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` during an outage; afterwards `replay` sends the rest and marks the run KILLED."""
    code = """
        import sys, time
        from pathlib import Path
        from mfc import tracking
        with tracking.open_run(experiment="e", name="x", stage="s", work_dir=Path("work")) as run:
            run.metrics({"m": 0}, 0)
            run.flush()
            print(run.id, flush=True)
            sys.stdin.readline()
            for step in range(1, 200):
                run.metrics({"m": step}, step)
            run.text("notes.md", "hello")
            print("logged", flush=True)
            time.sleep(60)
    """
    with TrackingServer(tmp_path / "server") as server:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=folder,
            env=clean_environment(PYTHONPATH=str(ROOT), MLFLOW_TRACKING_URI=server.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        assert process.stdout
        run_id = process.stdout.readline().strip()
        server.kill()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == "logged"
        said: list[str] = []
        assert tracking.replay(folder / "work", said.append) == 0
        assert "in use by a living process" in said[0]
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(UserError, match="repeat `mfc replay`"):
            tracking.replay(folder / "work")
        server.start("/health")
        assert tracking.replay(folder / "work") == 1
        client = MlflowClient(server.url)
        assert history(client, run_id, "m") == [(s, float(s)) for s in range(200)]
        assert artifacts(client, run_id) == ["notes.md"]
        assert client.get_run(run_id).info.status == "KILLED"
        assert tracking.replay(folder / "work") == 0


@pytest.mark.slow
def test_patience_has_an_end(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that stays away: the command ends and names the replay command; a child says what to do."""
    with TrackingServer(tmp_path / "server") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        monkeypatch.setenv("MFC_TRACKING_PATIENCE", "2")
        with open_run(folder) as run:
            server.kill()
            run.metrics({"m": 1.0}, 0)
            with (
                pytest.raises(UserError, match=r"is away .* finished work is kept"),
                run.child("pretrain", stage="pretrain"),
            ):
                pass
        told = capsys.readouterr().err
        assert f"`mfc replay --work_dir {folder}/work`" in told
        assert "Traceback" not in told
        server.start("/health")
        assert tracking.replay(folder) == 1  # also from the folder above, as `mfc replay` does
        client = MlflowClient(server.url)
        assert history(client, run.id, "m") == [(0, 1.0)]
        assert client.get_run(run.id).info.status == "FINISHED"


# --- finding runs -----------------------------------------------------------------------------------------


def test_the_runs_below_a_parent(folder: Path, local: MlflowClient) -> None:
    """Children and grandchildren with tags and latest metrics; a run without children is its own row."""
    with open_run(folder) as run, run.child("finetune", stage="finetune") as stage:
        for seed, title in enumerate(["A", "That'sIzumiko"]):
            with stage.child(title, stage="finetune", tags={"title": title, "seed": seed}) as child:
                child.metrics({"test/accuracy": 0.1}, 0)
                child.metrics({"test/accuracy": 0.5 + seed / 4}, 1)
    table = tracking.child_metrics(run.id)
    leaves = table[table["title"].notna()]
    assert list(leaves["title"]) == ["A", "That'sIzumiko"]
    assert list(leaves["seed"]) == ["0", "1"]
    assert list(leaves["test/accuracy"]) == [0.5, 0.75]
    assert list(tracking.child_metrics(child.id)["title"]) == ["That'sIzumiko"]


def test_an_unknown_run_is_one_sentence(folder: Path, local: MlflowClient) -> None:
    """The id and where it was looked for are named."""
    with pytest.raises(UserError, match=r"run 'abc' is not in sqlite.*set MLFLOW_TRACKING_URI"):
        tracking.child_metrics("abc")


# --- the registry -----------------------------------------------------------------------------------------


@pytest.fixture(params=["local", "remote"])
def client(request: pytest.FixtureRequest) -> MlflowClient:
    """Both kinds of store, one after the other."""
    found: MlflowClient = request.getfixturevalue(request.param)
    return found


def test_an_encoder_goes_into_the_registry_and_comes_back(folder: Path, client: MlflowClient) -> None:
    """Version, alias, tags, description and the run's link are there; the weights come back unchanged."""
    title = "That'sIzumiko"
    alias = tracking.alias_for_title(title)
    crops = np.random.default_rng(0).integers(0, 255, (3, 40, 40, 3), dtype=np.uint8)
    versions = []
    for seed in (0, 1):
        with open_run(folder) as run:
            run.metrics({"test/accuracy": 0.5})
            encoder = small_encoder(folder / f"encoder{seed}", seed)
            tags = {"title": title, "accuracy": 0.5}
            versions.append(
                tracking.register_encoder(
                    run, encoder, alias=alias, tags=tags, description="d", example=crops
                )
            )
    assert versions[1] == versions[0] + 1
    version = client.get_model_version_by_alias(tracking.REGISTERED_MODEL, alias)
    assert int(version.version) == versions[1]
    assert version.tags["title"] == title
    assert version.tags["run"] == version.run_id == run.id
    assert version.description == "d"
    assert len(client.get_run(run.id).outputs.model_outputs) == 1
    folders = []
    for uri, seed in [
        (f"models:/mfc-face-encoder/{versions[0]}", 0),
        (f"models:/mfc-face-encoder@{alias}", 1),
        (f"models:/mfc-face-encoder@{title}", 1),
    ]:
        folders.append(tracking.fetch_encoder(uri, folder / "got"))
        got = load_encoder(folders[-1])
        kept = load_encoder(folder / f"encoder{seed}")
        assert got.config == kept.config
        assert all(
            np.array_equal(a, b)
            for a, b in zip(got.state_dict().values(), kept.state_dict().values(), strict=True)
        )
        assert sorted(p.name for p in folders[-1].iterdir()) == sorted(tracking.ENCODER_FILES)
    # They once shared a folder, so that a title was adapted from another version than was asked for.
    assert folders[0] != folders[1] == folders[2]
    assert {p for p in (folder / "got").iterdir() if p.is_dir()} == set(folders)


def test_the_champion_is_found_once_there_is_one(folder: Path, client: MlflowClient) -> None:
    """No alias: None, also before anything is registered; a version that is not there: refused."""
    champion = f"models:/{tracking.REGISTERED_MODEL}@champion"
    assert tracking.find_version(champion) is None
    with open_run(folder) as run:
        version = tracking.register_encoder(run, small_encoder(folder / "encoder"), alias="pretrained")
    assert tracking.find_version(champion) is None
    assert tracking.find_version(f"models:/{tracking.REGISTERED_MODEL}@pretrained") == version
    assert tracking.find_version(f"models:/{tracking.REGISTERED_MODEL}/{version}") == version
    with pytest.raises(UserError, match="no such version is registered"):
        tracking.find_version(f"models:/{tracking.REGISTERED_MODEL}/{version + 1}")
    tracking.promote_version(version, {"promoted_by": "a test"}, print)
    assert tracking.find_version(champion) == version
    assert client.get_model_version(tracking.REGISTERED_MODEL, str(version)).tags["promoted_by"] == "a test"


def test_the_example_of_a_model_shows_artwork_only_on_this_machine(
    folder: Path, remote: MlflowClient, local: MlflowClient
) -> None:
    """The crops given as an example are stored with a local model, and a grey ramp with a remote one."""
    crops = np.full((2, 40, 40, 3), (200, 10, 10), np.uint8)
    examples = {}
    for where, uri in [("remote", remote.tracking_uri), ("local", f"sqlite:///{folder}/mlflow.db")]:
        os.environ["MLFLOW_TRACKING_URI"] = uri
        with open_run(folder) as run:
            tracking.register_encoder(
                run, small_encoder(folder / "encoder"), alias="pretrained", example=crops
            )
        model = mlflow.pyfunc.load_model("models:/mfc-face-encoder@pretrained")
        examples[where] = model.input_example["image"][0]
    assert examples["local"] == base64_png(crops[0])
    assert examples["remote"] != examples["local"]


@pytest.mark.parametrize(
    "uri",
    ["models:/mfc-face-encoder@pretrained", "models:/mfc-face-encoder/7", "models:/nothing", "models:/", "m"],
)
def test_no_model_registered_is_one_sentence(folder: Path, local: MlflowClient, uri: str) -> None:
    """It names the URI and the command that registers one; nothing is left half-written."""
    with pytest.raises(UserError, match=r"no model registered there .* `mfc pretrain`") as caught:
        tracking.fetch_encoder(uri, folder / "got")
    assert str(caught.value).startswith(f"{uri}: ")
    assert "\n" not in str(caught.value)
    assert {p.name for p in folder.iterdir()} <= {"mlflow.db", "mlflow.db.lock", "got"}
    assert {p.name for p in (folder / "got").iterdir()} <= {".fetch.lock"}
