"""Golden data: outputs of the public reference; ``MFC_GOLDEN=DIR`` takes another set of the same layout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mfc.config import Preprocess
from mfc.faces.store import FaceStore
from mfc.log import PrintLog
from mfc.stages.preprocess import preprocess

OWN = Path(__file__).parent / "data"
GOLDEN = Path(os.environ.get("MFC_GOLDEN") or OWN).resolve()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden set; its README.md says what each file holds and how to compare."""
    return GOLDEN


def read(golden: Path, name: str) -> Any:
    """The content of one of the set's JSON files."""
    return json.loads((golden / name).read_text(encoding="utf-8"))


def make_store(golden: Path, folder: Path, **parameters: Any) -> FaceStore:
    """The store of the golden corpus with its own title lists."""
    lists = folder / "lists.json"
    lists.write_text(json.dumps(read(golden, "crops.json")["title_lists"]), encoding="utf-8")
    config = Preprocess(splits=str(lists), export_crops=True, jobs=1, **parameters)
    return preprocess(config, golden / "corpus", folder / "faces", PrintLog())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """An argument ``constraint_file`` runs a test on each of the set's constraint recordings."""
    if "constraint_file" in metafunc.fixturenames:
        files = sorted(GOLDEN.glob("constraints_*.npz"))
        assert files, f"{GOLDEN} holds no constraints_*.npz"
        metafunc.parametrize("constraint_file", files, ids=[file.stem for file in files])
