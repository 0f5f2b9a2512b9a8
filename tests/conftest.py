"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOT_INHERITED = ("MLFLOW_", "MFC_", "MANGA109_")
"""Settings of whoever runs the tests that must not reach the commands under test."""


@dataclass(frozen=True)
class Clone:
    """A checkout in a folder of its own, with the environment of the tests first on PATH."""

    path: Path

    @staticmethod
    def environment() -> dict[str, str]:
        """That of a person's shell: nothing of what whoever runs the tests, or another test, has set."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**clean, "PATH": path, "COLUMNS": "200"}

    def run(
        self, command: str, *, env: Mapping[str, str] | None = None, timeout: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line as a person would type it there; output and errors come as text."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.path,
            env={**self.environment(), **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def succeed(self, command: str, *, env: Mapping[str, str] | None = None) -> str:
        """`run`, and fail the test with all that was printed unless the exit code is 0; returns stdout."""
        done = self.run(command, env=env)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def refuse(self, command: str, *, env: Mapping[str, str] | None = None) -> str:
        """`run`, and expect a user's mistake: exit code 2, one sentence, no stack trace; returns it."""
        done = self.run(command, env=env)
        assert done.returncode == 2, f"$ {command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr.strip().splitlines()[-1]


def clone_into(folder: Path) -> Clone:
    """Copy the files that git would put into a fresh clone, as they are in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/golden/data", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return Clone(folder)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A fresh clone, in a folder whose name has a space and an apostrophe-free accent."""
    return clone_into(tmp_path / "a fresh clone")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which `mlflow run` has run the whole tiny pipeline; tests only read it."""
    made = clone_into(tmp_path_factory.mktemp("tiny") / "with a space")
    made.succeed(
        "mlflow run . --env-manager=local -P experiment=tiny > main.log 2>&1 || (cat main.log; exit 1)"
    )
    return made
