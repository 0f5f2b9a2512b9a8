"""Same seed, same machine, same bytes: every stage, again in another folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.faults.works import (
    STAGES,
    Work,
    again,
    contents,
    differences,
    prepare,
    preprocess_,
    synthesize_,
)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("same") / "begun"
    prepare(folder)
    return folder


@pytest.mark.parametrize("work", STAGES, ids=lambda work: work.__name__)
def test_every_stage_repeats_itself(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    """All files, curves and tables; what is drawn and cut also with two processes in place of one."""
    monkeypatch.chdir(tmp_path)
    repeat = partial(work, jobs=2) if work in (synthesize_, preprocess_) else work
    work(again(begun, tmp_path / "a"))
    repeat(again(begun, tmp_path / "b" / "elsewhere"))
    made = contents(tmp_path / "a")
    assert differences(contents(tmp_path / "b" / "elsewhere"), made) == []
    assert len(made) > len(contents(begun))
