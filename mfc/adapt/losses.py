"""Losses on pairs of embeddings. A pair is two indices and a truth value; where it comes from is not told."""

from __future__ import annotations

import torch
from torch import Tensor


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


def pair_contrastive_loss(embeddings: Tensor, i: Tensor, j: Tensor, same: Tensor, tau: float = 1.4) -> Tensor:
    """`contrastive_loss` of the pairs ``(i, j)`` of one batch.

    Args:
        embeddings: (b, d) floating point.
        i, j: (pairs,) int64 positions in the batch.
        same: (pairs,) bool or 0/1 integers.
        tau: margin.

    Returns:
        A scalar. Without pairs it is 0 and still backpropagates: a training step needs no special case.
    """
    if len(i) == 0:
        return embeddings.sum() * 0
    return contrastive_loss(embeddings[i], embeddings[j], same, tau)
