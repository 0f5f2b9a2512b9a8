"""Keys cannot lie: whatever a result depends on makes it anew when it changes, and nothing else does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mfc.config import AFFECTS, COMMANDS, CONTENT, ENCODER, NOTHING, Pretrain, Where, fields, option
from mfc.encoders.network import EncoderConfig, new_encoder, save_encoder
from mfc.faces.store import FaceStore
from mfc.log import PrintLog
from mfc.stages import pretrain as pretraining
from tests.small_store import small_store


@pytest.mark.parametrize("config", [*COMMANDS.values(), Where], ids=lambda config: config.__name__)
def test_each_field_says_what_depends_on_it(config: type) -> None:
    """A new field without a word about it cannot even be written with `option`."""
    for field in fields(config):
        assert field.metadata.get("affects") in AFFECTS, field.name
    with pytest.raises(TypeError, match="affects"):
        option(1, "A number.")  # type: ignore[call-arg]


def changed(config: Any, name: str, other: dict[str, Any]) -> Any:
    """The configuration with one field changed: to what ``other`` says, else to something near."""
    value = getattr(config, name)
    if name in other:
        new = other[name]
    elif isinstance(value, bool):
        new = not value
    elif isinstance(value, int | float):
        new = value + 1
    else:
        new = next(
            choice for choice in config.__dataclass_fields__[name].metadata["choices"] if choice != value
        )
    return dataclasses.replace(config, **{name: new})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FaceStore:
    return small_store(tmp_path_factory.mktemp("small") / "faces")


def encoder_in(folder: Path, seed: int) -> Path:
    save_encoder(new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=seed), folder)
    return folder


SMALL = Pretrain(
    backbone="resnet18", init="random", image_size=32, epochs=1, device="cpu", precision="float32"
)
"""Of which every field is changed once."""


class TestPretraining:
    """The folder of a training, without the training."""

    @pytest.fixture(autouse=True)
    def no_training(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pretraining, "fit", lambda *_, **__: None)

    def key(self, config: Pretrain, store: FaceStore, out: Path) -> str:
        return pretraining.pretrain(config, store, out, PrintLog()).name

    @pytest.mark.parametrize("name", [f.name for f in fields(SMALL) if f.name not in ("store", "init")])
    def test_a_field_that_counts_changes_the_key_and_no_other_does(
        self, store: FaceStore, tmp_path: Path, name: str
    ) -> None:
        """Each field changed once; precision by what it comes to."""
        other = {
            "backbone": "resnet34",
            "image_size": 40,
            "min_faces": 12,
            "momentum": 0.5,
            "precision": "bfloat16",
            "device": "cpu:0",
        }
        same = self.key(SMALL, store, tmp_path) == self.key(changed(SMALL, name, other), store, tmp_path)
        affects = SMALL.__dataclass_fields__[name].metadata["affects"]
        assert affects in (ENCODER, CONTENT, NOTHING)
        assert same == (affects == NOTHING)

    def test_start_weights_count_by_what_is_in_them(self, store: FaceStore, tmp_path: Path) -> None:
        """The same file elsewhere is the same; another file under the same name is not."""
        keys = []
        for folder, seed in (("one", 1), ("two", 1), ("one", 2)):
            init = str(encoder_in(tmp_path / folder, seed))
            keys.append(self.key(dataclasses.replace(SMALL, init=init), store, tmp_path))
        assert keys[0] == keys[1] != keys[2]

    def test_faces_count_by_what_is_in_them(self, store: FaceStore, tmp_path: Path) -> None:
        """A store of another corpus is another training; a copy of the store is not."""
        copy, other = small_store(tmp_path / "copy"), small_store(tmp_path / "other", salt="!")
        assert self.key(SMALL, store, tmp_path) == self.key(SMALL, copy, tmp_path)
        assert self.key(SMALL, store, tmp_path) != self.key(SMALL, other, tmp_path)
