"""Golden data: outputs of the public reference; ``MFC_GOLDEN=DIR`` takes another set of the same layout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

GOLDEN = Path(os.environ.get("MFC_GOLDEN") or Path(__file__).parent / "data").resolve()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden set; its README.md says what each file holds and how to compare."""
    return GOLDEN


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """An argument ``constraint_file`` runs a test on each of the set's constraint recordings."""
    if "constraint_file" in metafunc.fixturenames:
        files = sorted(GOLDEN.glob("constraints_*.npz"))
        assert files, f"{GOLDEN} holds no constraints_*.npz"
        metafunc.parametrize("constraint_file", files, ids=[file.stem for file in files])
