"""Losses on pairs of embeddings. All take pairs in the form of pytorch-metric-learning's losses.

``(a1, p, a2, n)``: (pairs,) int64 positions in the batch; ``a1[k], p[k]`` are one person, ``a2[k], n[k]`` are
two. Each pair comes once, so a loss that looks at pairs from one of the two takes both ways itself. Where the
pairs come from is not told.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Indices = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Loss:
    """What is learnt from pairs; the defaults are the paper's."""

    loss: str = "contrastive"
    """Which of `LOSSES`."""
    tau: float = 1.4
    """contrastive: the margin; on vectors of length 1 distances end at 2."""
    temperature: float = 0.1
    """supervised_contrastive: what similarities are divided by."""


def contrastive(embeddings: Tensor, indices: Indices, settings: Loss) -> Tensor:
    """`contrastive_loss` of the pairs of one batch.

    Args:
        embeddings: (b, d) floating point.
        indices: (a1, p, a2, n), see above.

    Returns:
        A scalar. Without pairs it is 0 and still backpropagates: a training step needs no special case.
    """
    a1, p, a2, n = indices
    i, j = torch.cat([a1, a2]), torch.cat([p, n])
    if len(i) == 0:
        return embeddings.sum() * 0
    # Both kinds mixed, row by row of the batch: the order in which the reference sums.
    order = (i * len(embeddings) + j).argsort()
    same = (torch.arange(len(i), device=i.device) < len(a1))[order]
    return contrastive_loss(embeddings[i[order]], embeddings[j[order]], same, settings.tau)


def contrastive_loss(x0: Tensor, x1: Tensor, same: Tensor, tau: float = 1.4) -> Tensor:
    """Pull pairs of one person together, push others apart up to a margin; mean over the pairs.

    With d the Euclidean distance of a pair: ``d² / 2`` where ``same``, else ``max(0, tau - d)² / 2``
    (Hadsell, Chopra and LeCun, "Dimensionality reduction by learning an invariant mapping", CVPR 2006,
    eq. 4).

    Two identical vectors have a gradient of zero, never NaN: for ``same`` this is the derivative; otherwise
    there is none, every direction leads apart equally well, and none is taken.

    Args:
        x0, x1: (pairs, d) floating point; half precision is computed in float32.
        same: (pairs,) bool or 0/1 integers.
        tau: margin; on vectors of length 1 distances end at 2.

    Returns:
        A scalar. Without pairs it is 0 and still backpropagates (zeros).
    """
    if len(x0) == 0:
        return (x0.sum() + x1.sum()) * 0
    # torch knows both kinds of half precision by their two bytes; float64 stays as it is.
    precise = torch.float32 if x0.element_size() < 4 else x0.dtype
    squared = (x0.to(precise) - x1.to(precise)).square().sum(dim=1)
    # The root's derivative at 0 is infinite, so it is taken elsewhere and replaced by a constant 0.
    coincide = squared == 0
    distance = squared.masked_fill(coincide, 1.0).sqrt().masked_fill(coincide, 0.0)
    apart = (tau - distance).clamp(min=0).square()
    return torch.where(same.bool(), squared, apart).mean() / 2


def supervised_contrastive(embeddings: Tensor, indices: Indices, settings: Loss) -> Tensor:
    """Each face tells those of its person from those of others; mean over the faces that have a positive.

    With s the dot product over the temperature, P the positives of face i and A all that is known of it:
    ``- mean over p in P of log(exp s(i, p) / sum over a in A of exp s(i, a))`` (Khosla et al., "Supervised
    contrastive learning", NeurIPS 2020, eq. 2, where A is the whole batch: here the rest of it is unknown).

    Args, Returns: see `contrastive`; cannot-links of faces without a must-link in the batch count for
        nothing.
    """
    a1, p, a2, n = indices
    if len(a1) == 0:
        return embeddings.sum() * 0
    size = (len(embeddings), len(embeddings))
    positive = torch.zeros(size, dtype=torch.bool, device=embeddings.device)
    positive[a1, p] = positive[p, a1] = True
    known = positive.clone()
    known[a2, n] = known[n, a2] = True
    anchors = positive.any(dim=1)
    positive, known = positive[anchors], known[anchors]
    with torch.autocast(embeddings.device.type, enabled=False):  # which would round the products
        x = embeddings.float() if embeddings.element_size() < 4 else embeddings
        similarity = x[anchors] @ x.T / settings.temperature
    unlike = similarity.masked_fill(~known, -torch.inf).logsumexp(dim=1, keepdim=True) - similarity
    return (unlike.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)).mean()


LOSSES: Mapping[str, Callable[[Tensor, Indices, Loss], Tensor]] = types.MappingProxyType(
    {"contrastive": contrastive, "supervised_contrastive": supervised_contrastive}
)
"""(embeddings (b, d), (a1, p, a2, n), settings) → scalar."""
