"""A disk that gets full at any write of any stage: told, the run FAILED, the repeat succeeds."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.faults.conftest import COMMANDS, Cli


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "here/it.is")


WRITES: dict[str, tuple[Any, str]] = {
    "open_memmap": (np.lib.format, "open_memmap"),
    "write_text": (Path, "write_text"),
    "parquet": (pd.DataFrame, "to_parquet"),
    "rename": (Path, "replace"),
    "folder": (Path, "rename"),
}
CASES = [
    ("synthesize", "write_text"),
    ("synthesize", "rename"),
    ("preprocess", "open_memmap"),
    ("preprocess", "parquet"),
    ("preprocess", "folder"),
    ("pretrain", "write_text"),
    ("pretrain", "rename"),
    ("evaluate", "parquet"),
    ("evaluate", "write_text"),
    ("finetune", "rename"),
    ("finetune", "parquet"),
    ("cluster", "write_text"),
    ("cluster", "rename"),
    ("cluster", "open_memmap"),
]


def sentence(text: str) -> str:
    """The last line that was printed; no stack trace before it."""
    assert "Traceback" not in text
    return text.strip().splitlines()[-1]


@pytest.mark.parametrize(("stage", "write"), CASES)
def test_each_stage_tells_a_full_disk(
    cli: Cli,
    statuses: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    write: str,
) -> None:
    """Exit code 2, what to do, the run ends as FAILED; with room again, the same call succeeds."""
    where, name = WRITES[write]
    with monkeypatch.context() as disk:
        disk.setattr(where, name, full)
        code, text = cli(*COMMANDS[stage])
    told = sentence(text)
    assert code == 2, text
    assert "No space left on device" in told
    assert "room" in told or "free some space" in told
    assert "RUNNING" not in statuses()
    assert "FAILED" in statuses() or statuses() == []
    code, text = cli(*COMMANDS[stage])
    assert code == 0, text
    assert statuses()[0] == "FINISHED"
