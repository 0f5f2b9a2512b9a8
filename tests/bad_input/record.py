"""Write the sentences of the catalogue of bad input anew: ``python -m tests.bad_input.record``."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from click.testing import CliRunner

from mfc.cli import main
from tests.bad_input.cases import CASES, Case, lay_out

MESSAGES = Path(__file__).parent / "messages.json"


def call(case: Case, folder: Path) -> tuple[int, str]:
    """(exit code, the sentence); the folder is written as DIR in it."""
    result = CliRunner().invoke(main, list(case.arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    said = result.stderr.rpartition("Error: ")[2].strip()
    for path in {str(folder), str(folder.resolve())}:
        said = said.replace(path, "DIR")
    said = said.replace(os.environ["MLFLOW_TRACKING_URI"], "STORE")
    return result.exit_code, said


def record() -> None:
    messages: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as store:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{store}/mlflow.db"
        for case in CASES:
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                lay_out(case, Path(folder))
                try:
                    code, said = call(case, Path(folder))
                except Exception as error:
                    code, said = -1, f"CRASH {type(error).__name__}: {error}"
                messages[case.name] = said
                print(code, case.name, "|", said)
                os.chdir(store)
    MESSAGES.write_text(
        json.dumps(messages, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    record()
