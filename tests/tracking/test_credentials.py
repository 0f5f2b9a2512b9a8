"""Passwords in the address of a store are used, and neither printed nor kept on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient
from sqlalchemy.engine import make_url

from mfc import tracking
from mfc.errors import UserError
from mfc.tracking.credentials import is_redacted, redacted, split_login, without_login
from mfc.tracking.spool import Spool
from tests.conftest import ROOT
from tests.tracking.mlflow_server import TrackingServer, clean_environment, free_port, guarded
from tests.tracking.runs import history, open_run

passwords = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF, blacklist_categories=["Z", "C"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:secret@host:5000 is away", "http://***@host:5000 is away"),
        ("http://me:p@ss/w@rd@host:5000/mlflow", "http://***@host:5000/mlflow"),
        ("HTTPS://me:secret@host", "HTTPS://***@host"),
        ("https://token@host", "https://***@host"),
        ("postgresql+psycopg2://me:a/b@db/mlflow?x=1", "postgresql+psycopg2://***@db/mlflow?x=1"),
        (
            "postgresql://db/mlflow?user=me&password=p@ss&x=1",
            "postgresql://db/mlflow?user=me&password=***&x=1",
        ),
        ("mssql+pyodbc://?odbc_connect=PWD%3Dsecret", "mssql+pyodbc://?odbc_connect=***"),
        ("from 'http://a:b@c' to http://d:e@f", "from 'http://***@c' to http://***@f"),
        ("unsupported URI 'me:secret@host:5000'", "unsupported URI '***@host:5000'"),
        ("http://127.0.0.1:5000/#/experiments/1", "http://127.0.0.1:5000/#/experiments/1"),
        ("sqlite:////home/me@corp/mlflow.db", "sqlite:////home/me@corp/mlflow.db"),
        ("sqlite+pysqlite:////home/a:b@c/mlflow.db", "sqlite+pysqlite:////home/a:b@c/mlflow.db"),
        ("models:/mfc-face-encoder@pretrained: none", "models:/mfc-face-encoder@pretrained: none"),
        ("git@github.com:me/mfc.git", "git@github.com:me/mfc.git"),
        ("sqlite://me:secret@host/mlflow.db", "sqlite://***@host/mlflow.db"),
        ("file://me:secret@host/x", "file://***@host/x"),
        ("no address at all", "no address at all"),
    ],
)
def test_what_is_told_of_an_address(text: str, expected: str) -> None:
    """Login and password go, also with @ and / in them; paths, aliases and plain addresses stay."""
    assert redacted(text) == expected
    assert redacted(expected) == expected


@given(passwords.filter(lambda p: len(p) > 3 and p not in "http://***@host.example.org:5000/mlflow"))
def test_no_password_is_told(password: str) -> None:
    """Whatever is in it, as it is or encoded; and of the whole address nothing else is lost."""
    for written in (password, quote(password, safe="")):
        for scheme in ("http", "postgresql"):
            told = redacted(f"{scheme}://me:{written}@host.example.org:5000/mlflow")
            assert told == f"{scheme}://***@host.example.org:5000/mlflow"
            assert is_redacted(told)


@given(passwords)
def test_an_encoded_login_is_taken_apart(password: str) -> None:
    """User and password come back as they were, for MLflow and for SQLAlchemy alike."""
    uri = f"postgresql://m%40e:{quote(password, safe='')}@host:5432/mlflow"
    assert split_login(uri) == ("postgresql://host:5432/mlflow", "m@e", password)
    url = make_url(without_login(uri))
    assert (url.username, url.password or "", url.host, url.database) == ("m@e", password, "host", "mlflow")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://me:p@ss/w@rd@host:5000", ("http://host:5000", "me", "p@ss/w@rd")),
        ("http://me:a:b@host", ("http://host", "me", "a:b")),
        ("http://me:a?b#c@host", ("http://host", "me", "a?b#c")),
        ("http://me@host", ("http://host", "me", None)),
        ("http://me:@host", ("http://host", "me", "")),
        ("http://host:5000/a@b", ("http://host:5000/a@b", None, None)),
        ("http://[::1]:5000/a@b", ("http://[::1]:5000/a@b", None, None)),
        ("http://me:pw@[::1]:5000", ("http://[::1]:5000", "me", "pw")),
        ("http://me:p@ss?w@host", ("http://host", "me", "p@ss?w")),
        ("sqlite://me:secret@host/x.db", ("sqlite://host/x.db", "me", "secret")),
        ("postgresql://me:pw@db/x?options=a@b", ("postgresql://db/x?options=a@b", "me", "pw")),
        ("sqlite:////home/me:x@corp/a.db", ("sqlite:////home/me:x@corp/a.db", None, None)),
        ("models:/x@y", ("models:/x@y", None, None)),
    ],
)
def test_a_login_as_people_type_it(uri: str, expected: tuple[str, str | None, str | None]) -> None:
    """Not encoded: the last @ before a query ends the password; one in a path is no login."""
    assert split_login(uri) == expected


def test_a_database_gets_its_password_encoded() -> None:
    """As typed, SQLAlchemy would look for the host "ss"."""
    uri = without_login("postgresql://me:p@ss/w@rd@127.0.0.1:5432/mlflow")
    assert uri == "postgresql://me:p%40ss%2Fw%40rd@127.0.0.1:5432/mlflow"
    assert make_url(uri).password == "p@ss/w@rd"
    assert without_login(uri) == uri


def test_one_login_for_two_servers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow would send the registry's password to the tracking server; refused, and not told."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret1@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://me:secret2@127.0.0.1:2")
    with pytest.raises(UserError, match="one login for both servers") as caught:
        tracking.connect()
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://me:secret1@127.0.0.1:2")
    with pytest.raises(UserError, match="no tracking server answers"):
        tracking.connect()
    assert os.environ["MLFLOW_REGISTRY_URI"] == "http://127.0.0.1:2"


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:sec@ret/pass@127.0.0.1:{port}",
        "postgresql://me:sec@ret/pass@127.0.0.1:{port}/mlflow",
        "mysql+nosuchdriver://me:secret@127.0.0.1:{port}/mlflow",
        "postgres://me:secret@127.0.0.1:{port}/mlflow",
        "me:secret@127.0.0.1:{port}",
        "me:secret@127.0.0.1",
        "file://me:secret@127.0.0.1/x",
        "http://me:12/secret@127.0.0.1:{port}",
        "http://me:secret%00@127.0.0.1:{port}",
        "http://127.0.0.1:{port}/?token=secret",
    ],
)
def test_an_address_that_fails_tells_no_password(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], uri: str
) -> None:
    """Nobody listens, no such driver, no scheme, a wrong scheme: neither sentence nor screen has it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=free_port()))
    with pytest.raises(UserError) as caught, open_run(folder):
        pass
    told = str(caught.value) + "".join(capfd.readouterr())
    for part in ("sec", "ret/pass", "secret"):
        assert part not in told
    assert "\n" not in str(caught.value)


CODE = """
    import sys, time
    from pathlib import Path
    from mfc import tracking
    from mfc.log import PrintLog
    with tracking.open_run(experiment="e", name="x", stage="s", work_dir=Path("work")) as run:
        print(run.id, flush=True)
        with run.child("c", stage="s") as child:
            child.metrics({"m": 1}, 0)
            child.flush()
        sys.stdin.readline()
        run.metrics({"m": 2}, 1)
        print("logged", flush=True)
        sys.stdin.readline()
"""


@pytest.mark.slow
def test_a_password_is_used_and_nowhere_seen(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guarded server that goes away: not on the screen, not in a file; `replay` needs it again."""
    user, password = "a user", "p@ss/w:rd%?"
    with TrackingServer(tmp_path / "server") as server, guarded(server.url, user, password) as port:
        raw = f"http://{user}:{password}@127.0.0.1:{port}".replace(" ", "%20").replace("rd%?", "rd%25?")
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CODE)],
            cwd=folder,
            env=clean_environment(
                PYTHONPATH=str(ROOT),
                MLFLOW_TRACKING_URI=raw,
                MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
                MFC_TRACKING_PATIENCE="3",
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdin
        assert process.stdout
        seen = [process.stdout.readline()]
        run_id = seen[0].strip()
        while "View experiment" not in seen[-1]:  # the child has ended
            seen.append(process.stdout.readline())
            assert seen[-1], "".join(seen)
        server.kill()
        process.stdin.write("\n")
        process.stdin.flush()
        while seen[-1].strip() != "logged":
            seen.append(process.stdout.readline())
            assert seen[-1], "".join(seen)
        rest, _ = process.communicate("\n", timeout=120)
        screen = "".join(seen) + rest
        assert process.returncode == 0, screen
        assert f"View run c at: http://127.0.0.1:{port}/#/" in screen
        assert f"http://127.0.0.1:{port}: not everything could be sent" in screen
        files = [path for path in (folder / "work").rglob("*") if path.is_file()]
        assert json.loads((folder / f"work/.spool/{run_id}/run.json").read_text()) == {
            "uri": f"http://127.0.0.1:{port}"
        }
        for part in (password, quote(password, safe=""), "p@ss", "w:rd", "p%40ss"):
            assert part not in screen
            assert not [path for path in files if part.encode() in path.read_bytes()]
        server.start("/health")
        with pytest.raises(UserError, match=r"not everything could be sent: run .*401"):
            tracking.replay(folder / "work")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", raw)
        assert tracking.replay(folder / "work") in (1, 2)  # the child's end may have been cut off too
        assert history(MlflowClient(server.url), run_id, "m") == [(1, 2.0)]


def waiting_spool(folder: Path, run_id: str, uri: str) -> Spool:
    """A spool with one number, as a process that was killed leaves it."""
    spool = Spool(folder / "work/.spool" / run_id)
    spool.append({"kind": "metrics", "time": 1, "step": 0, "values": {"m": 5.0}})
    (spool.folder / "run.json").write_text(json.dumps({"uri": uri}))
    spool.close()
    return spool


def test_the_login_of_a_database_is_asked_for(folder: Path) -> None:
    """It is not in the spool, and without it in the environment one sentence says what to set."""
    waiting_spool(folder, "0" * 32, "postgresql://***@127.0.0.1:1/mlflow")
    with pytest.raises(
        UserError, match=r"login of postgresql://\*\*\*@127.0.0.1:1/mlflow .*MLFLOW_TRACKING_URI"
    ):
        tracking.replay(folder / "work")
    assert (folder / "work/.spool" / ("0" * 32) / "records.jsonl").is_file()


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_spools_of_an_earlier_version_lose_their_password(folder: Path, scheme: str) -> None:
    """Version 0.1 wrote it into run.json: used once more, told nowhere, and taken out."""
    spool = waiting_spool(folder, "0" * 32, f"{scheme}://me:secret@127.0.0.1:{free_port()}/mlflow")
    with pytest.raises(UserError, match="not everything could be sent") as caught:
        tracking.replay(folder / "work")
    assert "secret" not in str(caught.value)
    assert "secret" not in (spool.folder / "run.json").read_text()
    assert os.environ.get("MLFLOW_TRACKING_PASSWORD") == ("secret" if scheme == "http" else None)


def test_an_address_of_git_with_a_token_is_mended(
    folder: Path, local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mlflow run` notes the origin of the code as git has it; the joined run shows it without the token."""
    url = "https://me:ghp_secret@github.com/me/mfc"
    run_id = local.create_run("0", tags={"mlflow.source.git.repoURL": url}).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    with open_run(folder):
        pass
    assert local.get_run(run_id).data.tags["mlflow.source.git.repoURL"] == "https://***@github.com/me/mfc"
