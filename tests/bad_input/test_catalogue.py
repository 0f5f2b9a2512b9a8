"""Every bad input of the catalogue: exit code 2, and exactly the sentence that was agreed on.

``python -m tests.bad_input.record`` writes the sentences anew; somebody reads them before they are committed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bad_input.cases import CASES, Case, lay_out
from tests.bad_input.record import MESSAGES, call

EXPECTED: dict[str, str] = json.loads(MESSAGES.read_text(encoding="utf-8"))


def test_the_catalogue_is_whole() -> None:
    """At least 120 cases, each with its sentence, none left over, each name once."""
    names = [case.name for case in CASES]
    assert len(names) >= 120
    assert sorted(names) == sorted(EXPECTED)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One tracking store for all."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case: Case, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence on what is wrong and what to do, and no stack trace."""
    lay_out(case, tmp_path)
    monkeypatch.chdir(tmp_path)
    for key in (
        "MLFLOW_RUN_ID",
        "MLFLOW_EXPERIMENT_ID",
        "MLFLOW_EXPERIMENT_NAME",
        "MANGA109_ROOT",
        "MFC_WORK_DIR",
    ):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    code, said = call(case, tmp_path)
    assert said == EXPECTED[case.name]
    assert code == 2
