"""The one way to adapt: what `paper` trains, what its key holds, and that it goes on where it was killed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mfc.adapt import adapt as room
from mfc.adapt.adapt import Adapted, Round, adapt
from mfc.adapt.constraints import Constraints
from mfc.adapt.losses import LOSSES, Indices, Loss, contrastive_loss
from mfc.adapt.mining import Mining, mine
from mfc.config import Finetune
from mfc.encoders.device import Compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import WEIGHTS_NAME, Encoder, EncoderConfig, load_encoder, new_encoder, save_encoder
from mfc.encoders.training import Plan, Task, fit
from mfc.errors import UserError
from mfc.faces.pairs import NO_PAIRS
from mfc.faces.selection import page_and_frame_codes, select
from mfc.faces.store import FaceStore
from mfc.log import PrintLog
from tests.adapt.titles import small_store

CPU = Compute(torch.device("cpu"), torch.float32)
PAPER = Finetune(epochs=3, batch_size=8, lr=0.01, eval_every=1, checkpoint_every=1)
CUSTOM = dataclasses.replace(
    PAPER,
    recipe="custom",
    mining="mutual",
    frame_mates="exclude",
    sampling="linked",
    loss="supervised_contrastive",
    top_n=2,
    epochs=4,
    rounds=2,
)


class Recorder(PrintLog):
    """Remembers what was said and logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.points: list[tuple[int | None, dict[str, float]]] = []

    def say(self, message: str) -> None:
        self.lines.append(message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.points.append((step, dict(values)))

    def curve(self, name: str) -> list[tuple[int | None, float]]:
        return [(step, values[name]) for step, values in self.points if name in values]


Go = Callable[..., Adapted]


@pytest.fixture
def store(tmp_path: Path) -> FaceStore:
    return small_store(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_encoder(
        new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=3), tmp_path / "model"
    )
    return tmp_path / "model"


@pytest.fixture
def go(store: FaceStore, model: Path, tmp_path: Path) -> Go:
    """Adapt as the keyword arguments say; what they do not say is this file's."""

    def call(
        config: Finetune = PAPER, out: str = "out", log: Recorder | None = None, **more: object
    ) -> Adapted:
        usual = {"store": store, "model": model, "title": "Small", "seed": 0, "compute": CPU}
        return adapt(config, out=tmp_path / out, log=log or Recorder(), **{**usual, **more})  # type: ignore[arg-type]

    return call


@pytest.fixture
def names(go: Go, model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, ...]]:
    """The folders' names that a call would give its rounds; nothing is trained."""
    monkeypatch.setattr(room, "fit", lambda encoder, *_, **__: encoder)
    monkeypatch.setattr(room, "load_encoder", lambda *_: load_encoder(model))
    return lambda *args, **more: tuple(now.folder.name for now in go(*args, **more).rounds)


def weights(folder: Path) -> bytes:
    return (folder / WEIGHTS_NAME).read_bytes()


def dying(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let every loss raise `Killed` after so many steps."""
    taken = 0

    def after(name: str) -> Callable[[Tensor, Indices, Loss], Tensor]:
        def loss(embeddings: Tensor, indices: Indices, settings: Loss) -> Tensor:
            nonlocal taken
            taken += 1
            if taken > steps:
                raise Killed
            return LOSSES[name](embeddings, indices, settings)

        return loss

    monkeypatch.setattr(room, "LOSSES", {name: after(name) for name in LOSSES})


class Killed(Exception):
    pass


def test_the_papers_weights_are_those_of_its_plain_loop(
    go: Go, store: FaceStore, model: Path, tmp_path: Path
) -> None:
    """To the bit: pairs gathered in row-major order, torch's own random order, no pieces and no switches."""
    encoder, selection = load_encoder(model), select(store, ["Small"], others=True)
    features = embed(encoder, store.crops, selection.rows, batch_size=8, compute=CPU)
    found = mine(features, *page_and_frame_codes(selection.faces), Mining(page_range=2))

    def loss(encoder: Encoder, images: Tensor, positions: np.ndarray) -> Tensor:
        x = encoder.features(images)
        i, j, same = map(torch.from_numpy, found.pairs_in(positions))
        return contrastive_loss(x[i], x[j], same, 1.3) if len(i) else x.sum() * 0

    task = Task(store.crops, selection.rows, loss, lambda *_: {}, "plain", "plain")
    config = dataclasses.replace(PAPER, page_range=2, tau=1.3)
    plan = Plan.of(config, gamma=1.0, seed=5)
    fit(encoder, task, plan, CPU, tmp_path / "plain", Recorder())
    ours = go(config, seed=5)
    assert len(ours.rounds) == 1
    assert weights(ours.last.folder) == weights(tmp_path / "plain")
    assert weights(ours.last.folder) != weights(model)
    assert len(found.must_link) > 0
    assert len(found.cannot_link) > 0


def test_what_is_returned_is_what_lies_there(go: Go) -> None:
    """Of the last round, in evaluation mode; each round has its own folder."""
    adapted = go(CUSTOM)
    assert not adapted.encoder.training
    saved = load_encoder(adapted.last.folder).state_dict()
    assert all(torch.equal(ours, saved[name]) for name, ours in adapted.encoder.state_dict().items())
    assert len({now.folder for now in adapted.rounds}) == 2


def test_a_later_round_mines_with_what_was_learnt(go: Go, store: FaceStore) -> None:
    """Its features are those of the encoder before it, and its pairs those of these features."""
    first, second = go(CUSTOM).rounds
    rows = np.arange(20)
    before = embed(load_encoder(first.folder), store.crops, rows, batch_size=8, compute=CPU)
    np.testing.assert_array_equal(second.features, before)
    assert not np.allclose(first.features, before)
    found = mine(before, rows // 4, rows // 2, Mining("mutual", 1, 2, "exclude"))
    assert second.constraints.must_link.tolist() == found.must_link.tolist()
    assert second.constraints.cannot_link.tolist() == found.cannot_link.tolist()


@pytest.mark.parametrize("steps", [4, 7, 10])
def test_a_killed_adaptation_goes_on_to_the_same_result(
    go: Go, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Two rounds of two epochs of three steps: killed in the second, third and last epoch."""
    log, resumed = Recorder(), Recorder()
    whole = go(CUSTOM, out="whole", log=log)
    with monkeypatch.context() as patch:
        dying(patch, steps)
        with pytest.raises(Killed):
            go(CUSTOM, out="killed")
    again = go(CUSTOM, out="killed", log=resumed)
    for ours, expected in zip(again.rounds, whole.rounds, strict=True):
        assert weights(ours.folder) == weights(expected.folder)
    assert resumed.curve("train/loss") == log.curve("train/loss")


def test_a_finished_adaptation_is_loaded_and_anew_trains_again(
    go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds of three steps each: none at first, all six anew, and the same weights."""
    short = dataclasses.replace(CUSTOM, epochs=2)
    before = [weights(now.folder) for now in go(short).rounds]
    with monkeypatch.context() as patch:
        dying(patch, 0)
        go(short)
    with monkeypatch.context() as patch:
        dying(patch, 5)
        with pytest.raises(Killed):
            go(short, anew=True)
    assert [weights(now.folder) for now in go(short, anew=True).rounds] == before


def test_anew_does_not_go_on_from_a_checkpoint(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of three steps, killed in the second one: anew, the sixth step is taken once more."""
    two = dataclasses.replace(PAPER, epochs=2)
    for steps, anew in ((4, False), (5, True)):
        dying(monkeypatch, steps)
        with pytest.raises(Killed):
            go(two, anew=anew)


def test_every_piece_and_all_else_that_matters_is_in_the_name(
    names: Callable[..., tuple[str, ...]], store: FaceStore, tmp_path: Path
) -> None:
    """Each change alone gives another folder, in each round."""
    custom = dataclasses.replace(PAPER, recipe="custom", epochs=6)
    other = dataclasses.replace(store, meta={**store.meta, "corpus": "other"})
    save_encoder(
        new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=4), tmp_path / "other"
    )
    changes = {
        "mining": "mutual",
        "page_range": 2,
        "top_n": 2,
        "frame_mates": "exclude",
        "sampling": "linked",
        "loss": "supervised_contrastive",
        "tau": 1.3,
        "temperature": 0.2,
        "epochs": 7,
        "lr": 0.1,
        "batch_size": 9,
        "momentum": 0.8,
        "weight_decay": 0.1,
    }
    configs = [dataclasses.replace(custom, **{name: value}) for name, value in changes.items()]  # type: ignore[arg-type]
    made = [names(config) for config in [custom, *configs]]
    made += [names(custom, seed=1), names(custom, store=other), names(custom, model=tmp_path / "other")]
    made += [names(dataclasses.replace(custom, rounds=rounds)) for rounds in (2, 3, 4)]
    flat = [name for rounds in made for name in rounds]
    assert len(set(flat)) == len(flat) == len(changes) + 4 + 9


def test_what_does_not_matter_is_not_in_the_name(names: Callable[..., tuple[str, ...]]) -> None:
    """Nor the word for a recipe: custom with the paper's pieces is the paper's."""
    others = dataclasses.replace(
        PAPER, recipe="custom", n_init=3, register=False, figures=False, seeds="1", title_idx=0, split="val"
    )
    assert names(others) == names(PAPER)


def test_titles_have_results_of_their_own(names: Callable[..., tuple[str, ...]], store: FaceStore) -> None:
    table = store.table.assign(title="None")
    assert names(title="None", store=dataclasses.replace(store, table=table)) != names()


def test_the_curves_of_rounds_follow_one_another(go: Go) -> None:
    """Two rounds of two epochs of three steps; the second one begins where the first one ended."""
    seen: list[tuple[int, int]] = []

    def watch(encoder: Encoder, step: int, now: Round) -> dict[str, float]:
        assert not encoder.training
        seen.append((now.start, step))
        return {"seen": float(len(seen))}

    log = Recorder()
    go(CUSTOM, log=log, watch=watch)
    assert seen == [(0, 0), (0, 3), (0, 6), (6, 6), (6, 9), (6, 12)]
    assert log.curve("seen") == [(step, i + 1) for i, (_, step) in enumerate(seen)]
    assert [step for step, _ in log.curve("train/loss")] == [3, 6, 9, 12]
    assert [line.split(":")[0] for line in log.lines] == [
        "adapt to Small, round 1 of 2",
        "adapt to Small, round 2 of 2",
    ]
    again = Recorder()
    go(CUSTOM, log=again, watch=watch)
    assert len(seen) == 6
    assert again.points == log.points


def test_a_result_with_curves_serves_without_them_but_not_the_other_way_round(
    go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches sees the curves, even if somebody adapted before without watching."""

    def watch(*_: object) -> dict[str, float]:
        return {"seen": 1.0}

    blind, log = go(), Recorder()
    watched = go(log=log, watch=watch)
    assert len(log.curve("seen")) == 4
    assert weights(watched.last.folder) == weights(blind.last.folder)
    first = go(out="other", watch=watch)
    dying(monkeypatch, 0)
    assert go(out="other").last.folder == first.last.folder


def test_changed_pairs_are_what_is_learnt_from_and_have_their_own_name(go: Go, model: Path) -> None:
    """Without any pair only the weight decay moves the weights."""

    def without(found: Constraints) -> Constraints:
        return Constraints(found.n, NO_PAIRS, NO_PAIRS)

    usual, bare, log = go(), go(change=without), Recorder()
    start = dict(load_encoder(model).named_parameters())
    assert bare.last.folder != usual.last.folder
    assert len(bare.last.constraints.must_link) == len(bare.last.constraints.cannot_link) == 0
    still = dataclasses.replace(PAPER, weight_decay=0.0)
    resting = go(still, change=without, log=log)
    assert {loss for _, loss in log.curve("train/loss")} == {0}
    for name, value in load_encoder(resting.last.folder).named_parameters():
        assert torch.equal(value, start[name])


def test_what_cannot_be_adapted_to_is_refused(go: Go, store: FaceStore) -> None:
    """In one sentence; the encoder is not read before the title and the recipe are known to be good."""
    single = dataclasses.replace(store, table=store.table[:1])
    for where in ({"model": Path("nowhere"), "store": single}, {"model": Path("nowhere"), "title": "None"}):
        with pytest.raises(UserError, match="usable faces are too few to adapt to"):
            go(**where)
    with pytest.raises(UserError, match="nowhere: no encoder there"):
        go(model=Path("nowhere"))
    with pytest.raises(UserError, match="sampling: recipe paper has shuffled"):
        go(dataclasses.replace(PAPER, sampling="linked"), model=Path("nowhere"))
