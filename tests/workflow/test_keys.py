"""Keys cannot lie: whatever a result depends on makes it anew when it changes, and nothing else does."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mfc.adapt import adapt as adaptation
from mfc.clusters.counting import CALIBRATION, calibrate, read_calibration
from mfc.config import (
    AFFECTS,
    COMMANDS,
    CONTENT,
    ENCODER,
    NOTHING,
    SCORE,
    STORE,
    Finetune,
    Preprocess,
    Pretrain,
    Where,
    fields,
    option,
)
from mfc.encoders.device import Compute
from mfc.encoders.network import Encoder, EncoderConfig, load_encoder, new_encoder, save_encoder
from mfc.faces.store import FaceStore
from mfc.stages import pretrain as pretraining
from mfc.stages.preprocess import preprocess, why_stale
from tests.golden.conftest import OWN
from tests.recorder import Recorder
from tests.small_store import small_store

CPU = Compute(torch.device("cpu"), torch.float32)


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
        return pretraining.pretrain(config, store, out, Recorder()).name

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


TUNE = Finetune(epochs=1, recipe="custom", device="cpu", precision="float32", figures=False, n_init=1)
"""Of which every field is changed once."""


class TestAdaptation:
    """The folders of an adaptation, without the training."""

    @pytest.fixture(autouse=True)
    def no_training(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def leave(encoder: Encoder, *plan: Any, **_: Any) -> Encoder:
            save_encoder(encoder, plan[3])  # where the next round finds it
            return encoder

        monkeypatch.setattr(adaptation, "fit", leave)

    def key(self, config: Finetune, store: FaceStore, model: Path, title: str = "A", seed: int = 0) -> str:
        done = adaptation.adapt(config, store, model, title, seed, model / "out", CPU, Recorder())
        return done.last.folder.name

    @pytest.mark.parametrize(
        "name",
        [f.name for f in fields(TUNE) if f.metadata["affects"] in (ENCODER, NOTHING, SCORE)],
    )
    def test_a_field_that_counts_changes_the_key_and_no_other_does(
        self, store: FaceStore, tmp_path: Path, name: str
    ) -> None:
        """Each field changed once; what only scores depend on is none of an encoder's."""
        model = encoder_in(tmp_path / "model", 0)
        usual = dataclasses.replace(TUNE, epochs=2)
        other = {"tau": 1.0, "momentum": 0.5, "device": "cpu:0", "recipe": "paper"}
        same = self.key(usual, store, model) == self.key(changed(usual, name, other), store, model)
        # A recipe that is spelled out is the same recipe.
        affects = usual.__dataclass_fields__[name].metadata["affects"]
        assert same == (affects != ENCODER or name == "recipe")

    def test_what_it_leads_to_counts(self, store: FaceStore, tmp_path: Path) -> None:
        """Title, seed, start weights and faces; not where these lie."""
        model, twin = encoder_in(tmp_path / "model", 0), encoder_in(tmp_path / "twin", 0)
        other, faces = encoder_in(tmp_path / "other", 1), small_store(tmp_path / "faces", salt="!")
        usual = self.key(TUNE, store, model)
        assert usual == self.key(TUNE, store, twin)
        changes = [
            self.key(TUNE, store, model, title="B"),
            self.key(TUNE, store, model, seed=1),
            self.key(TUNE, store, other),
            self.key(TUNE, faces, model),
        ]
        assert len({usual, *changes}) == 5


class TestFaces:
    """Whether a store is as the parameters in force ask."""

    @pytest.mark.parametrize("name", [f.name for f in fields(Preprocess) if f.name != "splits"])
    def test_a_field_that_counts_makes_a_store_stale_and_no_other_does(
        self, tmp_path: Path, name: str
    ) -> None:
        """Each field changed once."""
        usual = Preprocess(size=37, jobs=1)
        store = preprocess(usual, OWN / "corpus", tmp_path / "faces", Recorder())
        other = {"store": "x", "annotations": "annotations"}
        after = changed(usual, name, other)
        stale = why_stale(after, store, OWN / "corpus", None)
        assert bool(stale) == (after.__dataclass_fields__[name].metadata["affects"] == STORE)

    def test_a_picture_that_changed_without_its_size_is_noticed(self, tmp_path: Path) -> None:
        """One bit of one page; and other splits."""
        corpus = tmp_path / "corpus"
        shutil.copytree(OWN / "corpus", corpus)
        cache = tmp_path / "digests.json"
        usual = Preprocess(size=37, jobs=1)
        store = preprocess(usual, corpus, tmp_path / "faces", Recorder(), cache=cache)
        assert why_stale(usual, store, corpus, cache) == []
        lists = tmp_path / "splits.json"
        lists.write_text(json.dumps({"train": [], "val": [], "test": [store.titles("test")[0]]}))
        assert why_stale(dataclasses.replace(usual, splits=str(lists)), store, corpus, cache) == [
            "other splits"
        ]
        page = next(corpus.glob("images/*/*.jpg"))
        content = bytearray(page.read_bytes())
        content[-3] ^= 1
        page.write_bytes(content)
        assert why_stale(usual, store, corpus, cache) == ["another corpus, or this one before it was changed"]


def test_a_calibration_is_of_its_weights_and_faces(store: FaceStore, tmp_path: Path) -> None:
    """Beside another encoder it is none; for other faces or in another number format it is made anew."""
    model, other = encoder_in(tmp_path / "model", 0), encoder_in(tmp_path / "other", 1)
    made = calibrate(load_encoder(model), model, store, 8, CPU, Recorder())
    kept = read_calibration(model)
    assert kept is not None
    assert kept.threshold() == made.threshold()
    assert kept.is_of(store, CPU)
    assert not kept.is_of(small_store(tmp_path / "faces", salt="!"), CPU)
    assert not kept.is_of(store, Compute(CPU.device, torch.bfloat16))
    shutil.copy(model / CALIBRATION, other)
    assert read_calibration(other) is None
