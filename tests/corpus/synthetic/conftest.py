from __future__ import annotations

from pathlib import Path

import pytest

from mfc.corpus.synthetic.write import write_corpus


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `tiny` preset with seed 0, drawn by two processes."""
    return write_corpus(tmp_path_factory.mktemp("synthetic") / "corpus", "tiny", 0, jobs=2, preview=True)
