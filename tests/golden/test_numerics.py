"""Loss, metrics and constraints against the recordings of the reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from mfc.losses import contrastive_loss


def loss_cases(golden: Path) -> Iterator[SimpleNamespace]:
    with np.load(golden / "loss.npz", allow_pickle=False) as arrays:
        for i, name in enumerate(arrays["case_names"]):
            fields = ("x0", "x1", "y", "tau", "loss", "grad_x0", "grad_x1", "loss_f64")
            yield SimpleNamespace(name=str(name), **{field: arrays[f"c{i}_{field}"] for field in fields})


def test_loss_and_gradients_equal_the_reference(golden: Path) -> None:
    """Value within 1e-6 relative; gradients within 1e-5, 1e-4 where vectors nearly coincide.

    Deliberate difference: the reference's gradient rows of identical vectors are NaN, ours are 0.
    """
    cases = list(loss_cases(golden))
    assert cases
    for case in cases:
        x0, x1 = (torch.from_numpy(x).requires_grad_() for x in (case.x0, case.x1))
        y = torch.from_numpy(case.y)
        loss = contrastive_loss(x0, x1, y, float(case.tau))
        loss.backward()
        value = loss.detach().numpy()
        np.testing.assert_allclose(
            value, case.loss, rtol=1e-6, atol=1e-6 * (case.loss == 0), err_msg=case.name
        )
        precise = contrastive_loss(x0.double(), x1.double(), y, float(case.tau)).item()
        np.testing.assert_allclose(precise, case.loss_f64, rtol=1e-12, atol=1e-12, err_msg=case.name)
        distance = np.linalg.norm(case.x0.astype(np.float64) - case.x1, axis=1)
        tolerance = np.where(distance < 1e-2, 1e-4, 1e-5)[:, None]
        for ours, recorded in ((x0.grad, case.grad_x0), (x1.grad, case.grad_x1)):
            assert ours is not None
            assert (ours.numpy()[distance == 0] == 0).all(), case.name
            close = np.abs(ours.numpy() - recorded) <= tolerance
            assert close[distance > 0].all(), case.name
