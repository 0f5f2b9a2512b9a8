"""Damaged files that mfc itself wrote: told in a sentence, or made anew with a word; never a stack trace."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mfc.clusters.counting import read_calibration
from mfc.clusters.linkage import THRESHOLDS
from mfc.config import Preprocess, Synthesize
from mfc.corpus.synthetic.write import DONE
from mfc.encoders.network import load_encoder
from mfc.encoders.training import _finished
from mfc.errors import UserError
from mfc.faces.store import STORE_FILE
from mfc.stages.preprocess import preprocess
from mfc.stages.synthesize import synthesize
from mfc.workflow.encoders import current_encoder
from mfc.workflow.scorebook import Scorebook
from mfc.workspace import Workspace
from tests.faults.works import OWN, again, prepare, preprocess_
from tests.recorder import Recorder
from tests.workflow.test_scorebook import VARIANT, score

NONSENSE = ["", "{", "[]", "5", "null", '"x"', "{}", "\x00\x00", '{"folder": [1]}', "[" * 100_000]
"""Emptied, cut, of another type, without keys, zeroed, too deep."""


def keys_damaged(text: str) -> list[str]:
    """The JSON object with each of its keys gone, and with values of other types."""
    whole = json.loads(text)
    others = [{k: v for k, v in whole.items() if k != key} for key in whole]
    others += [{**whole, key: value} for key in whole for value in (None, 5, "x", [1], {"a": 1})]
    return [json.dumps(other) for other in others]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state") / "begun"
    prepare(folder)
    preprocess_(folder)
    return folder


@pytest.mark.parametrize("text", [*NONSENSE, '{"folder": "gone"}'])
def test_the_current_encoder(tmp_path: Path, text: str) -> None:
    """File and remedy; a folder that is not there is told when it is loaded."""
    workspace = Workspace(tmp_path, "x")
    workspace.pretrained.mkdir(parents=True)
    workspace.current_encoder.write_text(text)

    def load() -> None:
        folder = current_encoder(cast(Any, SimpleNamespace(workspace=workspace)))
        assert folder is not None
        load_encoder(folder)

    with pytest.raises(UserError, match=r"mfc pretrain"):
        load()


@pytest.mark.parametrize("text", NONSENSE)
def test_the_record_of_a_training(tmp_path: Path, text: str) -> None:
    """Trained anew, with a word."""
    (tmp_path / "training.json").write_text(text)
    log = Recorder()
    assert _finished(tmp_path, "pretrain", log) is None
    assert log.lines == [f"pretrain: {tmp_path / 'training.json'} is damaged; training anew"]


@pytest.mark.parametrize("name", ["row", "variant.json"])
def test_the_scorebook(tmp_path: Path, name: str) -> None:
    """Each nonsense, each key gone, each value of another type: told with the file, or read as it is."""
    book = Scorebook(tmp_path)
    book.keep(VARIANT, "test", score("A", 0, 0.5))
    files = sorted((tmp_path / VARIANT.id).glob("*.json"))
    [path] = [f for f in files if (f.name == "variant.json") == (name == "variant.json")]
    told: list[str] = []
    good = path.read_text()
    for text in NONSENSE + keys_damaged(good):
        path.write_text(text)
        try:
            book.rows(VARIANT.id)
            [variant.differences(VARIANT) for variant in book.variants()]
        except UserError as error:
            told.append(str(error))
    assert len(told) >= len(NONSENSE) + 3
    assert all(str(path) in sentence for sentence in told)


def test_the_tables_of_a_score(tmp_path: Path) -> None:
    """Emptied and cut."""
    book = Scorebook(tmp_path)
    book.keep(VARIANT, "test", score("A", 0, 0.5, links=True))
    for table in tmp_path.rglob("*.parquet"):
        good = table.read_bytes()
        for content in (b"", good[:50], b"x" * len(good)):
            table.write_bytes(content)
            with pytest.raises(UserError, match="damaged; score A again"):
                book.tables(VARIANT.id, {"title": "A", "seed": 0})
        table.write_bytes(good)


def test_the_store(begun: Path, tmp_path: Path) -> None:
    """`store.json` with each nonsense and each key damaged: a sentence with what to do, or still usable."""
    shutil.copytree(begun, tmp_path / "x")
    path = tmp_path / "x" / "cut" / STORE_FILE
    good = path.read_text()
    config = Preprocess(size=64, jobs=1, splits=str(tmp_path / "x" / "splits.json"))
    told: list[str] = []
    for text in NONSENSE + keys_damaged(good):
        path.write_text(text)
        try:
            preprocess(config, OWN / "corpus", path.parent, Recorder())
        except UserError as error:
            told.append(str(error))
    assert len(told) > len(NONSENSE) + 20
    assert all("--overwrite true" in sentence for sentence in told)
    path.write_text("{")
    made = preprocess(config, OWN / "corpus", path.parent, Recorder(), overwrite=True)
    assert (made.path / STORE_FILE).read_text() == good


def test_the_encoder(begun: Path, tmp_path: Path) -> None:
    """`encoder.json`: refused with the folder."""
    folder = again(begun, tmp_path / "x") / "model"
    good = (folder / "encoder.json").read_text()
    (folder / "encoder.json").unlink()
    for text in NONSENSE:
        (folder / "encoder.json").write_text(text)
        with pytest.raises(UserError, match="not a usable encoder"):
            load_encoder(folder)
    for text in keys_damaged(good):
        (folder / "encoder.json").write_text(text)
        with contextlib.suppress(UserError):
            load_encoder(folder)


def test_the_calibration(begun: Path, tmp_path: Path) -> None:
    """One that cannot be used is none."""
    folder = again(begun, tmp_path / "x") / "model"
    good = json.dumps({"curves": {"V": np.zeros(len(THRESHOLDS)).tolist()}, "store": "s"})
    (folder / "calibration.json").write_text(good)
    assert read_calibration(folder) is not None
    for text in NONSENSE + keys_damaged(good)[2:7]:
        (folder / "calibration.json").write_text(text)
        assert read_calibration(folder) is None


@pytest.mark.parametrize("text", NONSENSE[:5])
def test_the_record_of_a_drawn_corpus(tmp_path: Path, text: str) -> None:
    """Not taken for a finished corpus, nor for nothing."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / DONE).write_text(text)
    with pytest.raises(UserError, match="give another folder"):
        synthesize(Synthesize(preset="tiny", jobs=1), tmp_path / "corpus", Recorder())
