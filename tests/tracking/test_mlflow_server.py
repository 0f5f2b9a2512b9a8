"""docs/mlflow-server.md: its commands are run as they stand, with other ports, folders and passwords."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from mfc import tracking
from mfc.errors import UserError
from tests.conftest import ROOT
from tests.tracking.mlflow_server import Process, clean_environment, free_port

PAGE = (ROOT / "docs/mlflow-server.md").read_text(encoding="utf-8")
pytestmark = [pytest.mark.xdist_group("mlflow servers"), pytest.mark.slow]


def blocks(section: str, language: str) -> list[str]:
    """The code blocks of a language below a heading, up to the next one."""
    body = re.split(rf"^#+ {section}$", PAGE, flags=re.M)[1]
    body = re.split(
        r"^#+ ", re.sub(r"```.*?```", lambda m: m[0].replace("\n#", "\n\0#"), body, flags=re.S), flags=re.M
    )[0]
    return [b.replace("\0", "") for b in re.findall(rf"^```{language}\n(.*?)^```", body, flags=re.M | re.S)]


def fitted(text: str, changes: Mapping[str, str]) -> str:
    """A text of the page for this machine."""
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting of whoever runs the tests reaches the client."""
    for key in [key for key in os.environ if key.startswith(("MLFLOW_", "MFC_"))]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    monkeypatch.chdir(tmp_path)
    yield
    mlflow.set_tracking_uri(None)


def log_a_run(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with a curve and an artifact goes there and comes back."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    with tracking.open_run(experiment="docs", name="main", stage="main", work_dir=folder / "work") as run:
        for step in range(3):
            run.metrics({"train/loss": 1 / (1 + step)}, step)
        run.text("report.md", "hello")
    client = MlflowClient(url)
    assert client.get_run(run.id).info.status == "FINISHED"
    assert [m.value for m in client.get_metric_history(run.id, "train/loss")] == [1, 1 / 2, 1 / 3]
    assert Path(client.download_artifacts(run.id, "report.md")).read_text() == "hello"


def test_one_machine(tmp_path: Path, shell: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documented command starts a server that takes runs."""
    del shell
    port = free_port()
    start, client = blocks("One machine", "bash")
    changes = {"/srv/mlflow": str(tmp_path / "srv"), "5000": str(port)}
    server = Process(
        ["bash", "-ec", fitted(start, changes)],
        url=f"http://127.0.0.1:{port}",
        cwd=tmp_path,
        log=tmp_path / "log",
        env=clean_environment(),
    )
    server.start("/health")
    try:
        assert f"MLFLOW_TRACKING_URI={server.url}" in fitted(client, changes)
        log_a_run(server.url, tmp_path, monkeypatch)
        assert list((tmp_path / "srv/artifacts").rglob("report.md"))
    finally:
        server.kill()


def postgres_programs() -> Path | None:
    """Where Debian puts the programs of its newest PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[4]))
    return found[-1].parent if found else None


class Postgres:
    """A PostgreSQL of our own below a folder, on loopback; root lends it to the user postgres."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder, self.port = programs, folder, free_port()
        self.data = folder / "data"
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def __enter__(self) -> Postgres:
        self.folder.mkdir()
        if self._as_user:
            shutil.chown(self.folder, "postgres")
        self.run(
            "initdb", "--pgdata", str(self.data), "--username", "postgres", "--auth", "trust", "--no-sync"
        )
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if (self.data / "postmaster.pid").exists():
            self.stop()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self.run("pg_ctl", "--pgdata", str(self.data), "--wait", "--log", log, "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "--pgdata", str(self.data), "--mode", "immediate", "stop")

    def sql(self, statement: str, database: str = "postgres") -> str:
        admin = f"-h 127.0.0.1 -p {self.port} -U postgres -d {database} -Atc"
        return self.run("psql", *admin.split(), statement).strip()

    def run(self, program: str, *arguments: str) -> str:
        command = [*self._as_user, str(self.programs / program), *arguments]
        done = subprocess.run(
            command,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    import tempfile

    programs = postgres_programs()
    if programs is None:
        reason = "no PostgreSQL server; as root: apt-get install postgresql"
        if os.environ.get("MFC_REQUIRE_POSTGRES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="mfc-pg-") as folder:
        Path(folder).chmod(0o755)  # pytest's own folders are closed to the user postgres
        with Postgres(programs, Path(folder) / "pg") as running:
            yield running


def test_the_team_server(
    tmp_path: Path, shell: None, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Databases, settings and server as documented: PostgreSQL keeps the runs of those with a password."""
    del shell
    port, home = free_port(), tmp_path / "srv"
    home.mkdir()
    changes = {
        "/srv/mlflow": str(home),
        "5432": str(postgres.port),
        ":5000": f":{port}",
        "--port 5000": f"--port {port}",
        **{
            f"CHANGE-ME-{name}": secrets.token_hex(12) for name in ("DATABASE", "ADMINISTRATOR", "SECRET-KEY")
        },
        "CHANGE-ME-RESEARCHER": secrets.token_hex(12),
    }
    admin = f"-h 127.0.0.1 -p {postgres.port} -U postgres"
    [database] = blocks("The database", "bash")
    for program in ("psql", "createdb"):
        database = database.replace(f"sudo -u postgres {program}", f"'{postgres.programs / program}' {admin}")
    subprocess.run(["bash", "-ec", fitted(database, changes)], check=True, capture_output=True, timeout=60)
    [auth], [settings] = blocks("The settings", "ini"), blocks("The settings", "sh")
    (home / "auth.ini").write_text(fitted(auth, changes))
    (home / "server.env").write_text(fitted(settings, changes))
    [_, start] = blocks("The server", "bash")
    server = Process(
        ["bash", "-ec", fitted(start, changes)],
        url=f"http://127.0.0.1:{port}",
        cwd=tmp_path,
        log=tmp_path / "log",
        env=clean_environment(),
    )
    server.start("/health", seconds=180)
    try:
        [accounts], [client] = (
            blocks("Accounts and clients", "python"),
            blocks("Accounts and clients", "bash"),
        )
        site = {"https://mlflow.example.org": server.url, **changes}
        subprocess.run(
            [sys.executable, "-c", fitted(accounts, site)],
            check=True,
            timeout=120,
            env=clean_environment(
                MLFLOW_TRACKING_USERNAME="admin", MLFLOW_TRACKING_PASSWORD=changes["CHANGE-ME-ADMINISTRATOR"]
            ),
        )
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        with pytest.raises(UserError, match="refuses this user"):
            tracking.connect()
        for line in fitted(client, site).splitlines():
            if line.startswith("export "):
                key, _, value = line.removeprefix("export ").partition("=")
                monkeypatch.setenv(key, value)
        log_a_run(server.url, tmp_path, monkeypatch)
        query = "SELECT count(*) FROM metrics WHERE key = 'train/loss'"
        counted = postgres.run("psql", *admin.split(), "-d", "mlflow", "-Atc", query)
        assert counted.strip() == "3"
        assert list((home / "artifacts").rglob("report.md"))
        assert answer(server.url, {}) == 200
        assert answer(server.url, {"Origin": "https://mlflow.example.org"}) == 200
        assert answer(server.url, {"Origin": "https://evil.example"}) == 403
        assert answer(server.url, {"Host": "evil.example"}) == 403
    finally:
        server.kill()


PROGRAM = """
    import sys
    from pathlib import Path
    from mfc import tracking
    with tracking.open_run(experiment="e", name="x", stage="s", work_dir=Path("work")) as run:
        run.metrics({"m": 0}, 0)
        run.flush()
        print(run.id, flush=True)
        for line in sys.stdin:
            with_child = line.strip() == "child"
            if with_child:
                with run.child("c", stage="s") as child:
                    child.metrics({"m": 1}, 0)
            else:
                run.metrics({"m": int(line)}, int(line))
            print("done", flush=True)
"""


def test_a_database_that_goes_away_and_its_password(
    tmp_path: Path, shell: None, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL without a server between: an outage loses no number, and nobody sees the password.

    It has @ and / in it, as people type it. What the outage outlasts is sent by `replay`, which needs the
    password again and says so.
    """
    del shell
    password = "p@ss/w:rd"
    postgres.sql(f"CREATE ROLE mlflow LOGIN PASSWORD '{password}'")
    postgres.sql("CREATE DATABASE mlflow OWNER mlflow")
    rules = postgres.data / "pg_hba.conf"
    rules.write_text("host all mlflow 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    postgres.run("pg_ctl", "--pgdata", str(postgres.data), "reload")
    bare = f"127.0.0.1:{postgres.port}/mlflow"
    uri = f"postgresql+psycopg2://mlflow:{password}@{bare}"
    screen = []

    def started(patience: int) -> tuple[subprocess.Popen[str], str]:
        settings = {"MLFLOW_TRACKING_URI": uri, "MFC_TRACKING_PATIENCE": str(patience)}
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PROGRAM)],
            cwd=tmp_path,
            env=clean_environment(PYTHONPATH=str(ROOT), **settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "errors").open("a"),
            text=True,
        )
        assert process.stdout
        run_id = process.stdout.readline().strip()
        assert run_id, (tmp_path / "errors").read_text()
        return process, run_id

    def told(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        screen.append(process.stdout.readline())
        assert screen[-1] == "done\n", (tmp_path / "errors").read_text()

    process, first = started(patience=120)
    postgres.stop()
    for step in range(1, 50):
        told(process, str(step))
    postgres.start()
    told(process, "child")
    screen.append(process.communicate(timeout=150)[0])
    assert process.returncode == 0, (tmp_path / "errors").read_text()
    steps = f"SELECT count(*), count(DISTINCT step) FROM metrics WHERE run_uuid = '{first}' AND key = 'm'"
    assert postgres.sql(steps, "mlflow") == "50|50"
    states = "SELECT name, status FROM runs ORDER BY start_time"
    assert postgres.sql(states, "mlflow").split() == ["x|FINISHED", "c|FINISHED"]

    process, second = started(patience=1)
    postgres.stop()
    told(process, "1")
    screen.append(process.communicate(timeout=150)[0])
    assert process.returncode == 0, (tmp_path / "errors").read_text()
    spool = tmp_path / "work/.spool" / second
    assert json.loads((spool / "run.json").read_text()) == {"uri": f"postgresql+psycopg2://***@{bare}"}
    screen.append((tmp_path / "errors").read_text())
    assert f"postgresql+psycopg2://***@{bare}: not everything could be sent" in screen[-1]
    assert "Traceback" not in screen[-1]
    postgres.start()
    with pytest.raises(UserError, match=r"login of postgresql\+psycopg2://\*\*\*@.* set MLFLOW_TRACKING_URI"):
        tracking.replay(tmp_path / "work")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking.replay(tmp_path / "work") == 1
    assert postgres.sql(steps.replace(first, second), "mlflow") == "2|2"
    assert postgres.sql(states, "mlflow").split() == ["x|FINISHED", "c|FINISHED", "x|FINISHED"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for part in (password, "p@ss", "w:rd", "p%40ss"):
        assert part not in "".join(screen)
        assert not [path for path in files if part.encode() in path.read_bytes()]


def answer(url: str, headers: Mapping[str, str]) -> int:
    """The status of what the UI asks for first, with the credentials of the environment."""
    user = f"{os.environ['MLFLOW_TRACKING_USERNAME']}:{os.environ['MLFLOW_TRACKING_PASSWORD']}"
    login = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
    request = urllib.request.Request(
        f"{url}/ajax-api/2.0/mlflow/experiments/search",
        data=b'{"max_results": 1}',
        headers={"Content-Type": "application/json", **login, **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_page_keeps_no_secret_and_says_what_was_not_run() -> None:
    """Passwords are placeholders, and the parts without a test are named."""
    assert set(re.findall(r"mlflow:([^@]+)@", PAGE)) == {"CHANGE-ME-DATABASE"}
    assert "Not run here: Caddy, nginx, an object store, systemd." in PAGE
