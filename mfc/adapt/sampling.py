"""Sampling: in which order an epoch goes through the faces, and so which of them share a batch.

A sampler gives an order of all faces, each once; batches are its runs of ``batch_size``. It draws from the
generator of the epoch, so that a resumed training draws the same.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from mfc.adapt.constraints import Constraints
from mfc.faces.pairs import Index


@dataclass(frozen=True)
class Sampling:
    """Which faces share a batch; the default is the paper's."""

    sampling: str = "shuffled"
    """Which of `SAMPLERS`."""


def shuffled(constraints: Constraints, batch_size: int, generator: torch.Generator) -> Index:
    """(n,) int64: any order is as likely as any other."""
    del batch_size
    order: Index = torch.randperm(constraints.n, generator=generator).numpy()
    return order


def linked(constraints: Constraints, batch_size: int, generator: torch.Generator) -> Index:
    """(n,) int64: each face in turn, after it those it is linked with, then those it is held apart from.

    Turns and followers are in random order. Who was placed before is left out, and a group ends with its
    batch: who found no room there is placed later.
    """
    order = shuffled(constraints, batch_size, generator)
    rank = np.empty_like(order)
    rank[order] = np.arange(constraints.n)
    start, partner, same = constraints.partners
    owner = np.repeat(np.arange(constraints.n), np.diff(start))
    partner = partner[np.lexsort((rank[partner], ~same, owner))]
    waiting = np.ones(constraints.n, bool)
    placed: list[int] = []
    for face in order.tolist():
        if waiting[face]:
            group = np.append(face, partner[start[face] : start[face + 1]])
            group = group[waiting[group]][: batch_size - len(placed) % batch_size]
            waiting[group] = False
            placed += group.tolist()
    return np.array(placed, np.int64)


SAMPLERS: Mapping[str, Callable[[Constraints, int, torch.Generator], Index]] = types.MappingProxyType(
    {"shuffled": shuffled, "linked": linked}
)
"""(constraints, batch size, generator of the epoch) → order (n,) of all faces."""
