"""Samplers: every face once an epoch, whatever the pairs; linked faces share a batch."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mfc.adapt.constraints import Constraints
from mfc.adapt.mining import Mining, mine
from mfc.adapt.sampling import SAMPLERS, linked, shuffled
from mfc.config import Finetune
from mfc.encoders.device import Compute
from mfc.encoders.network import EncoderConfig, new_encoder
from mfc.encoders.training import Plan, Task, _epoch_seed, training_batches
from tests.adapt.titles import Title, titles


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def share_in_batches(constraints: Constraints, order: np.ndarray, batch_size: int) -> tuple[float, float]:
    """Which part of the must-links and of the cannot-links lies within a batch."""
    batch = np.empty_like(order)
    batch[order] = np.arange(len(order)) // batch_size
    must, cannot = (batch[pairs] for pairs in (constraints.must_link, constraints.cannot_link))
    return (must[:, 0] == must[:, 1]).mean(), (cannot[:, 0] == cannot[:, 1]).mean()


@pytest.mark.parametrize("name", SAMPLERS)
@settings(deadline=None)
@given(titles(), st.integers(2, 6), st.integers(0, 99))
def test_every_face_once_an_epoch(name: str, title: Title, batch_size: int, seed: int) -> None:
    """And the same again from a generator in the same state, as a resumed training needs it."""
    constraints = mine(*title, Mining())
    order = SAMPLERS[name](constraints, batch_size, generator(seed))
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(constraints.n))
    assert order.tolist() == SAMPLERS[name](constraints, batch_size, generator(seed)).tolist()


@pytest.mark.parametrize("name", SAMPLERS)
def test_epochs_differ(name: str) -> None:
    constraints = Constraints(40, np.array([[0, 1], [2, 3]]), np.array([[0, 2]]))
    epochs = {tuple(SAMPLERS[name](constraints, 8, generator(seed))) for seed in range(5)}
    assert len(epochs) == 5


def test_shuffled_is_the_order_of_a_training_without_a_sampler() -> None:
    """One draw of torch's, so that what is drawn after it stays the same too."""
    ours, torchs = generator(3), generator(3)
    order = shuffled(Constraints(30, np.zeros((0, 2), int), np.zeros((0, 2), int)), 8, ours)
    assert order.tolist() == torch.randperm(30, generator=torchs).tolist()
    assert torch.equal(ours.get_state(), torchs.get_state())


@pytest.mark.parametrize("seed", range(10))
def test_groups_that_fit_are_never_parted(seed: int) -> None:
    """Eight groups of three, i = i + 1 ≠ i + 2, in batches of two groups: no pair is lost in any epoch."""
    must = np.array([[i, i + 1] for i in range(0, 24, 3)])
    cannot = np.array([[i + one, i + 2] for i in range(0, 24, 3) for one in (0, 1)])
    constraints = Constraints(24, must, cannot)
    assert share_in_batches(constraints, linked(constraints, 6, generator(seed)), 6) == (1, 1)


def test_must_links_come_before_cannot_links_where_room_is_short() -> None:
    """A face with two of each, in batches of three: when its turn is first, it has its own beside it."""
    constraints = Constraints(5, np.array([[0, 1], [0, 2]]), np.array([[0, 3], [0, 4]]))
    orders = [linked(constraints, 3, generator(seed)).tolist() for seed in range(50)]
    firsts = [set(order[:3]) for order in orders if order[0] == 0]
    assert len(firsts) > 3
    assert all(first == {0, 1, 2} for first in firsts)
    assert len({tuple(order[1:3]) for order in orders if order[0] == 0}) == 2


def test_linked_faces_meet_in_a_long_title() -> None:
    """1,200 faces on 100 pages, batches of 64: any order shows one link in twenty, this one most of them."""
    rng = np.random.default_rng(0)
    pages = np.sort(rng.integers(0, 100, 1200))
    frames = np.where(rng.random(1200) < 0.5, pages * 6 + rng.integers(0, 6, 1200), -1)
    features = rng.normal(size=(1200, 16)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    constraints = mine(features, pages, frames, Mining())
    blind = share_in_batches(constraints, shuffled(constraints, 64, generator(0)), 64)
    seen = share_in_batches(constraints, linked(constraints, 64, generator(0)), 64)
    assert max(blind) < 0.07
    assert min(seen) > 0.5, seen


def test_a_training_goes_through_the_faces_in_the_order_of_its_sampler() -> None:
    """Batches are runs of it, and each epoch has its own."""
    crops = np.zeros((10, 40, 40, 1), np.uint8)
    constraints = Constraints(10, np.array([[0, 9], [1, 8]]), np.array([[0, 1]]))
    order = partial(linked, constraints, 4)
    task = Task(crops, np.arange(10), lambda *_: torch.zeros(()), lambda *_: {}, "", "", order)
    plan = Plan.of(Finetune(batch_size=4), gamma=1.0, seed=1)
    encoder = new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=0)
    compute = Compute(torch.device("cpu"), torch.float32)
    for epoch in (0, 1):
        batches = [places.tolist() for places, _ in training_batches(task, plan, encoder, compute, epoch)]
        expected = order(generator(_epoch_seed(1, epoch))).tolist()
        assert batches == [expected[:4], expected[4:8], expected[8:]]
