"""`mfc verify`: everything sound is said to be; each damage is listed with file and id, all in one go."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mfc.config import DEFAULT_ANNOTATIONS
from mfc.errors import UserError
from mfc.stages.verify import verify
from tests.faults.works import OWN, prepare
from tests.recorder import Recorder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with a store, an encoder and a corpus."""
    prepare(tmp_path / "x")
    shutil.copytree(OWN / "corpus", tmp_path / "x" / "corpus")
    return tmp_path / "x"


def problems(place: Path) -> list[str]:
    return verify(place, DEFAULT_ANNOTATIONS, Recorder())[1]


def flip(path: Path, at: int) -> None:
    """One bit."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_store(place: Path) -> None:
    """One bit of a file of equal length; a file that is cut; a missing one."""
    assert verify(place / "faces", "", Recorder()) == ("1 store", [])
    flip(place / "faces" / "crops.npy", -1)
    [told] = problems(place / "faces")
    assert "crops.npy: is not what was written" in told
    flip(place / "faces" / "crops.npy", -1)
    table = place / "faces" / "faces.parquet"
    table.write_bytes(table.read_bytes()[:-7])
    [told] = problems(place / "faces")
    assert "faces.parquet has" in told
    table.unlink()
    [told] = problems(place / "faces")
    assert "faces.parquet" in told


def test_an_encoder(place: Path) -> None:
    """One bit of the weights; a configuration that is none."""
    assert verify(place / "model", "", Recorder()) == ("1 encoder", [])
    flip(place / "model" / "encoder.safetensors", -1)
    [told] = problems(place / "model")
    assert "encoder.safetensors is not the file that was saved" in told
    (place / "model" / "encoder.json").write_text("[]")
    [told] = problems(place / "model")
    assert str(place / "model") in told


def test_a_workspace(place: Path) -> None:
    """All damages of all things at once, each with its file; the corpus' also with page and id."""
    before = problems(place / "corpus")
    looked_at, told = verify(place, DEFAULT_ANNOTATIONS, Recorder())
    assert all(kind in looked_at for kind in ("1 store", "1 encoder", "1 corpus"))
    assert told == before
    flip(place / "faces" / "crops.npy", -1)
    flip(place / "model" / "encoder.safetensors", -1)
    pictures = sorted((place / "corpus" / "images").rglob("*.jpg"))
    pictures[0].unlink()
    pictures[1].write_bytes(b"no picture")
    after = "\n".join(problems(place))
    for damaged in (
        place / "faces" / "crops.npy",
        "encoder.safetensors",
        f"{pictures[0]}: is missing",
        f"{pictures[1]}: cannot be read",
    ):
        assert str(damaged) in after


def test_nothing_to_look_at(tmp_path: Path) -> None:
    """Told, not passed."""
    with pytest.raises(UserError, match="give the folder of one by --path"):
        verify(tmp_path, "", Recorder())


def test_splits_of_another_store_are_no_problem(place: Path) -> None:
    """What `store.json` says beyond its files is not judged."""
    path = place / "faces" / "store.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "corpus": "other"}))
    assert problems(place / "faces") == []
