"""Rounds: pairs are mined and learnt from, then mined again with what the encoder has learnt, and so on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mfc.encoders.training import Plan
from mfc.log import Log


@dataclass(frozen=True)
class Rounds:
    """How often pairs are mined; the default is the paper's."""

    rounds: int = 1


def plans_of(plan: Plan, settings: Rounds) -> list[Plan]:
    """A plan for each round: an equal share of the epochs (the first ones take what is left over).

    Each round has a seed of its own and the whole schedule of the learning rate. One round is ``plan``.
    """
    each, left_over = divmod(plan.epochs, settings.rounds)
    seeds = [plan.seed] + [
        int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
        for number in range(1, settings.rounds)
    ]
    return [
        dataclasses.replace(plan, epochs=each + (number < left_over), seed=seed)
        for number, seed in enumerate(seeds)
    ]


def later(log: Log, steps: int) -> Log:
    """``log``, where the training step 0 of whoever writes to it is ``steps``."""
    return cast(Log, _Later(log, steps))


class _Later:
    def __init__(self, log: Log, steps: int) -> None:
        self.log, self.steps = log, steps

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.log.metrics(values, None if step is None else step + self.steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)
