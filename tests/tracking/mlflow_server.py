"""A real `mlflow server` on loopback for tests, which can go away and come back."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without MLflow's variables and PYTHONPATH, with the environment on PATH."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_") and k != "PYTHONPATH"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", **extra}


class Process:
    """A server in a process group of its own; always stopped, with all its workers."""

    def __init__(self, command: list[str], *, url: str, cwd: Path, log: Path, env: dict[str, str]) -> None:
        self.url = url
        self._command, self._cwd, self._log, self._env = command, cwd, log, env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, health: str, seconds: float = 90) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._cwd, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(self.url + health, timeout=2):
                    return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.kill()
                    raise AssertionError(f"no server came up:\n{self._log.read_text()[-3000:]}") from None
                time.sleep(0.1)

    def kill(self) -> None:
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


class TrackingServer(Process):
    """`mlflow server` with its database and artifacts below ``folder``; the same data after a restart."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/server.db"]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        super().__init__(
            command,
            url=f"http://127.0.0.1:{port}",
            cwd=folder,
            log=folder / "server.log",
            env=clean_environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
        )

    def __enter__(self) -> TrackingServer:
        self.start("/health")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@contextlib.contextmanager
def guarded(url: str, user: str, password: str) -> Iterator[int]:
    """A proxy on loopback that lets only this login through to a server; gives its port."""
    login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Guard(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != login:
                self.answer(401, b"who are you?", {})
                return
            length = int(self.headers.get("Content-Length") or 0)
            kept = {k: v for k, v in self.headers.items() if k not in ("Authorization", "Host")}
            request = urllib.request.Request(
                url + self.path, self.rfile.read(length) or None, kept, method=self.command
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    self.answer(response.status, response.read(), response.headers)
            except urllib.error.HTTPError as error:
                self.answer(error.code, error.read(), error.headers)
            except OSError:
                self.answer(503, b"", {})

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def answer(self, status: int, body: bytes, headers: Any) -> None:
            self.send_response(status)
            self.send_header("Content-Type", headers.get("Content-Type") or "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield proxy.server_port
    finally:
        proxy.shutdown()
        proxy.server_close()
