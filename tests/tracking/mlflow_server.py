"""A real `mlflow server` on loopback for tests, which can go away and come back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


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
