"""Who runs what, and which code it is."""

from __future__ import annotations

import contextlib
import functools
import getpass
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def context_tags() -> dict[str, str]:
    """Tags of a run: user, program, and the commit of this source tree (not of what surrounds it)."""
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": Path(sys.argv[0] or "python").name}
    with contextlib.suppress(Exception):  # a user id without a name
        tags["mlflow.user"] = getpass.getuser()
    commit, changed = _commit()
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["code"] = commit[:12] + (" and changes" if changed else "")
    return tags


def code_version() -> str:
    """The commit of this source tree, and whether it was changed since; empty outside of a repository."""
    commit, changed = _commit()
    return f"{commit} and changes" if changed else commit


@functools.cache  # what runs is the code as it was when the process started
def _commit() -> tuple[str, bool]:
    """The commit of this source tree (empty without one), and whether tracked files differ from it."""
    root = PACKAGE.parent
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else ""
    return commit, bool(commit and _git(root, "status", "--porcelain", "--untracked-files=no"))


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
