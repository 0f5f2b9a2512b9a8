"""Titles with next to nothing in them: each stage gives a result, or a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mfc.config import Evaluate, Finetune
from mfc.encoders.network import EncoderConfig, load_encoder, new_encoder, save_encoder
from mfc.errors import UserError
from mfc.faces.store import COLUMNS, FaceStore, finish_store, new_crops, new_store, open_store
from mfc.stages.evaluate import evaluate_title
from mfc.stages.finetune import finetune_title
from tests.recorder import Recorder

FINETUNE = Finetune(
    epochs=1, n_init=1, batch_size=4, eval_every=1, figures=True, device="cpu", precision="float32"
)


def store_of(path: Path, who: list[int], frames: list[str | None], *, equal: bool = False) -> FaceStore:
    """A title with a face a character number and frame, three on a page."""
    lines = []
    for number, (person, frame) in enumerate(zip(who, frames, strict=True)):
        values: dict[str, object] = dict.fromkeys(COLUMNS, 0)
        values |= {"face_id": f"{number:08x}", "title": "A", "split": "test", "page_index": number // 3}
        values |= {"frame_id": frame, "character_id": f"c{person}", "character_name": f"C{person}"}
        values |= {"is_other": False, "row": number, "drop_reason": None}
        lines.append(values)
    with new_store(path) as folder:
        crops = new_crops(folder, len(lines), 37, 1)
        crops[:] = 128 if equal else np.random.default_rng(0).integers(0, 255, crops.shape)
        meta = {"splits": {"train": [], "val": [], "test": ["A"]}, "corpus": "c", "parameters": {}}
        finish_store(folder, pd.DataFrame(lines), {**meta, "pages": {"A": len(lines)}})
    return open_store(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_encoder(new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=1), folder)
    return folder


@pytest.mark.parametrize(
    ("who", "frames", "equal"),
    [
        ([0] * 6, ["a", "a", "b", "c", "d", "d"], False),
        ([0, 1], ["a", "a"], False),
        ([0, 1], ["a", "b"], False),
        ([0, 1, 0, 1, 0, 1], [None] * 6, False),
        ([0, 1, 2, 3, 4, 5], ["a"] * 6, False),
        ([0, 1, 0, 1, 0, 1], ["a", "a", "b", "b", "c", "c"], True),
        ([0, 1, 2, 3, 4, 5], list("abcdef"), False),
    ],
    ids=["one character", "two faces", "no pair", "no frames", "one frame", "equal faces", "K = N"],
)
def test_a_title_with_next_to_nothing(
    tmp_path: Path, model: Path, who: list[int], frames: list[str | None], equal: bool
) -> None:
    """Scored before and after the adaptation: every face has a cluster, every value is a number."""
    store = store_of(tmp_path / "faces", who, frames, equal=equal)
    config = Evaluate(n_init=1, batch_size=4, device="cpu", precision="float32")
    log = Recorder()
    scores = [evaluate_title(config, store, load_encoder(model), "A", 0, log)]
    scores.append(finetune_title(FINETUNE, store, model, "A", 0, tmp_path / "out", log)[0])
    for score in scores:
        assert len(score.clusters) == len(who)
        assert 0 <= score.metrics["accuracy"] <= 1
        assert all(np.isfinite(value) for value in score.metrics.values())
    _, folder = finetune_title(FINETUNE, store, model, "A", 0, tmp_path / "out", log)
    assert all(bool(np.isfinite(v.numpy()).all()) for v in load_encoder(folder).state_dict().values())


def test_one_face_is_too_few_to_adapt_to(tmp_path: Path, model: Path) -> None:
    """Told in a sentence."""
    store = store_of(tmp_path / "faces", [0], ["a"])
    with pytest.raises(UserError, match="1 usable faces are too few"):
        finetune_title(FINETUNE, store, model, "A", 0, tmp_path / "out", Recorder())
