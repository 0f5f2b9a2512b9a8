"""Losses on pairs: by hand, against loops, and the order in which the paper's sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mfc.adapt.constraints import Constraints
from mfc.adapt.losses import (
    LOSSES,
    Indices,
    Loss,
    contrastive,
    contrastive_loss,
    supervised_contrastive,
)

NONE = torch.zeros(0, dtype=torch.int64)


def pairs(must: list[list[int]], cannot: list[list[int]]) -> Indices:
    """(a1, p, a2, n) of lists of pairs."""
    a1, p = torch.tensor(must, dtype=torch.int64).reshape(-1, 2).T
    a2, n = torch.tensor(cannot, dtype=torch.int64).reshape(-1, 2).T
    return a1, p, a2, n


def random_constraints(n: int, density: float, rng: np.random.Generator) -> Constraints:
    """Each pair of n faces is a must-link or a cannot-link with this probability."""
    all_pairs = np.argwhere(np.triu(np.ones((n, n), bool), 1))
    known = all_pairs[rng.random(len(all_pairs)) < density]
    same = rng.random(len(known)) < 0.5
    return Constraints(n, known[same], known[~same])


def tensors(constraints: Constraints, index: np.ndarray) -> Indices:
    a1, p, a2, n = map(torch.from_numpy, constraints.indices_tuple(index))
    return a1, p, a2, n


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


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 4, generator=generator, dtype=torch.float64).div(2).requires_grad_()
    indices, settings = pairs([[0, 3], [0, 1]], [[1, 4], [2, 5], [0, 2]]), Loss(temperature=0.5)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, indices, settings), x)


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


@given(st.integers(2, 40), st.floats(0, 1), st.integers(0, 10**6))
def test_the_paper_sums_row_by_row_of_the_batch(b: int, density: float, seed: int) -> None:
    """Value and gradient equal, to the bit, the loss of the pairs in the order of `pairs_in`."""
    rng = np.random.default_rng(seed)
    constraints, index = random_constraints(50, density, rng), rng.permutation(50)[:b]
    x = torch.from_numpy(rng.normal(size=(b, 16)).astype(np.float32))
    x = torch.nn.functional.normalize(x).requires_grad_()
    ours = contrastive(x, tensors(constraints, index), Loss(tau=1.3))
    (gradient,) = torch.autograd.grad(ours, x)
    i, j, same = map(torch.from_numpy, constraints.pairs_in(index))
    plain = contrastive_loss(x[i], x[j], same, 1.3) if len(i) else x.sum() * 0
    (expected,) = torch.autograd.grad(plain, x)
    assert ours.item() == plain.item()
    assert torch.equal(gradient, expected)


def test_hand_worked_supervised_contrast() -> None:
    """Faces at 0°, 60°, 180° and 90°: 0 = 1, 0 ≠ 2, 1 ≠ 3; 2 and 3 have no positive, temperature 1/2.

    Dot products: 0·1 = 1/2, 0·2 = -1, 1·3 = cos 30° = √3/2. Face 0: log(1 + e^(-2 - 1)); face 1:
    log(1 + e^(√3 - 1)); the loss is their mean.
    """
    indices = pairs([[0, 1]], [[0, 2], [1, 3]])
    loss = supervised_contrastive(on_circle(0, 60, 180, 90), indices, Loss(temperature=0.5))
    expected = (math.log1p(math.exp(-3)) + math.log1p(math.exp(math.sqrt(3) - 1))) / 2
    assert loss.item() == pytest.approx(expected)


@given(st.integers(2, 12), st.floats(0, 1), st.floats(0.05, 2), st.integers(0, 10**6))
def test_supervised_contrast_equals_loops(b: int, density: float, temperature: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    constraints = random_constraints(b, density, rng)
    x = rng.normal(size=(b, 3))
    terms = []
    for i in range(b):
        same = [*constraints.must_link[constraints.must_link[:, 0] == i, 1]]
        same += [*constraints.must_link[constraints.must_link[:, 1] == i, 0]]
        other = [*constraints.cannot_link[constraints.cannot_link[:, 0] == i, 1]]
        other += [*constraints.cannot_link[constraints.cannot_link[:, 1] == i, 0]]
        known = np.array([x[i] @ x[k] / temperature for k in same + other])
        if same:
            whole = known.max() + math.log(sum(np.exp(known - known.max())))
            terms.append(sum(whole - x[i] @ x[k] / temperature for k in same) / len(same))
    settings = Loss(temperature=temperature)
    loss = supervised_contrastive(torch.from_numpy(x), tensors(constraints, np.arange(b)), settings)
    assert loss.item() == pytest.approx(np.mean(terms) if terms else 0, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_pair_may_be_given_either_way_round(name: str) -> None:
    """What a loss says depends on the pairs, not on which of the two comes first, nor on their order."""
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one = LOSSES[name](x, pairs([[0, 1], [2, 3]], [[1, 4], [0, 5]]), Loss())
    other = LOSSES[name](x, pairs([[3, 2], [0, 1]], [[5, 0], [4, 1]]), Loss())
    assert one.item() == pytest.approx(other.item(), rel=1e-12)
    assert one.item() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_no_pairs_give_a_zero_that_backpropagates(name: str) -> None:
    x = torch.randn(5, 3, requires_grad=True)
    loss = LOSSES[name](x, (NONE, NONE, NONE, NONE), Loss())
    loss.backward()
    assert loss.item() == 0
    assert x.grad is not None
    assert x.grad.abs().max() == 0
    assert contrastive_loss(x[:0], x[:0], NONE).item() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_identical_faces_have_a_finite_gradient(name: str) -> None:
    x = torch.ones(4, 3).div(3**0.5).requires_grad_()
    LOSSES[name](x, pairs([[0, 1]], [[0, 2], [1, 3]]), Loss()).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_summed_in_float32(name: str) -> None:
    """Sums and products in bfloat16 would be off in the third digit; the training step asks for them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(8, 512, generator=generator)).bfloat16()
    indices = pairs([[0, 4], [2, 6]], [[1, 5], [3, 7], [0, 1], [2, 3]])
    precise = LOSSES[name](x.double(), indices, Loss()).item()
    for given_as in (x, x.float()):
        with torch.autocast("cpu", torch.bfloat16):
            loss = LOSSES[name](given_as, indices, Loss())
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(precise, rel=1e-5)
