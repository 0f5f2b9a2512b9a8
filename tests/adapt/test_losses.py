from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mfc.adapt.losses import contrastive_loss, pair_contrastive_loss


def on_circle(*degrees: float) -> Tensor:
    """(n, 2) float64 vectors of length 1, so that the distance of two is 2 sin(half their angle)."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def slow_loss(x0: np.ndarray, x1: np.ndarray, same: np.ndarray, tau: float) -> float:
    terms = []
    for a, b, y in zip(x0, x1, same, strict=True):
        d = math.dist(a, b)
        terms.append(d**2 / 2 if y else max(0.0, tau - d) ** 2 / 2)
    return sum(terms) / len(terms)


def test_hand_worked_pairs() -> None:
    """60° apart: d = 1. A must-link costs 1/2, a cannot-link (1.4 - 1)² / 2 = 0.08; at 180° nothing."""
    x0, x1 = on_circle(0, 0, 0), on_circle(60, 60, 180)
    assert contrastive_loss(x0[:1], x1[:1], torch.tensor([1])).item() == pytest.approx(0.5)
    assert contrastive_loss(x0[1:2], x1[1:2], torch.tensor([0])).item() == pytest.approx(0.08)
    assert contrastive_loss(x0[2:], x1[2:], torch.tensor([0])).item() == 0
    assert contrastive_loss(x0, x1, torch.tensor([1, 0, 0])).item() == pytest.approx(0.58 / 3)


@given(st.integers(1, 12), st.integers(1, 5), st.floats(0, 2), st.integers(0, 10**6))
def test_equals_a_loop_over_pairs(pairs: int, dim: int, tau: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x0, x1 = rng.normal(size=(2, pairs, dim))
    same = rng.random(pairs) < 0.5
    x1[same & (rng.random(pairs) < 0.2)] = 0.0
    fast = contrastive_loss(torch.from_numpy(x0), torch.from_numpy(x1), torch.from_numpy(same), tau)
    assert fast.item() == pytest.approx(slow_loss(x0, x1, same, tau), rel=1e-12, abs=1e-15)


def test_gradients_equal_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, generator=generator, dtype=torch.float64).div(2).requires_grad_()
    i, j = torch.tensor([0, 1, 2, 0]), torch.tensor([3, 4, 5, 1])
    same = torch.tensor([1, 0, 0, 1])
    assert torch.autograd.gradcheck(lambda x: pair_contrastive_loss(x, i, j, same, 1.4), x)


@pytest.mark.parametrize("same", [True, False])
def test_identical_vectors_have_zero_gradient_and_spare_their_neighbours(same: bool) -> None:
    """The reference gives NaN here, which destroys the network at the next step."""
    x0, x1 = on_circle(10, 0).requires_grad_(), on_circle(10, 60).requires_grad_()
    contrastive_loss(x0, x1, torch.tensor([same, True])).backward()
    assert x0.grad is not None
    assert x1.grad is not None
    assert x0.grad[0].tolist() == x1.grad[0].tolist() == [0, 0]
    torch.testing.assert_close(x0.grad[1], (x0[1] - x1[1]).detach() / 2)


def test_identical_strangers_cost_the_whole_margin() -> None:
    x = on_circle(10)
    assert contrastive_loss(x, x, torch.tensor([False])).item() == pytest.approx(1.4**2 / 2)


def test_index_pairs_equal_gathered_pairs_and_repeated_faces_add_up() -> None:
    x = on_circle(0, 30, 80, 200).requires_grad_()
    i, j = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3])
    same = torch.tensor([True, False, True])
    by_index = pair_contrastive_loss(x, i, j, same, 1.4)
    gathered = contrastive_loss(x[i], x[j], same, 1.4)
    assert by_index.item() == gathered.item()
    (gradient,) = torch.autograd.grad(by_index, x)
    parts = [
        torch.autograd.grad(pair_contrastive_loss(x, i[[k]], j[[k]], same[[k]], 1.4), x)[0] for k in range(3)
    ]
    torch.testing.assert_close(gradient, (parts[0] + parts[1] + parts[2]) / 3)


def test_no_pairs_give_a_zero_that_backpropagates() -> None:
    x = torch.randn(5, 3, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    loss = pair_contrastive_loss(x, none, none, none.bool(), 1.4)
    loss.backward()
    assert loss.item() == 0
    assert x.grad is not None
    assert x.grad.abs().max() == 0
    assert contrastive_loss(x[:0], x[:0], none).item() == 0


def test_half_precision_is_summed_in_float32() -> None:
    """A distance summed in bfloat16 would be off in its third digit."""
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(8, 512, generator=generator)).bfloat16()
    i, j, same = torch.arange(4), torch.arange(4, 8), torch.tensor([1, 0, 1, 0])
    loss = pair_contrastive_loss(x, i, j, same, 1.4)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(pair_contrastive_loss(x.double(), i, j, same, 1.4).item(), rel=1e-5)
