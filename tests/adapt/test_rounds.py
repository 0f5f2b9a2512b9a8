"""Rounds: how epochs are shared, and that later ones are told from earlier ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mfc.adapt.rounds import Rounds, later, plans_of
from mfc.config import Finetune
from mfc.encoders.training import Plan
from mfc.log import PrintLog

PLAN = Plan.of(Finetune(epochs=7), gamma=1.0, seed=3)


def test_one_round_is_the_plan() -> None:
    assert plans_of(PLAN, Rounds()) == [PLAN]


def test_epochs_are_shared_out() -> None:
    """Seven among three: 3, 2, 2, nothing else changed but the seed."""
    plans = plans_of(PLAN, Rounds(3))
    assert [plan.epochs for plan in plans] == [3, 2, 2]
    assert [dataclasses.replace(plan, epochs=7, seed=3) for plan in plans] == [PLAN] * 3


def test_rounds_and_seeds_draw_differently() -> None:
    """Two seeds of three rounds: six seeds, the first one being that of one round."""
    seeds = [
        plan.seed for seed in (3, 4) for plan in plans_of(dataclasses.replace(PLAN, seed=seed), Rounds(3))
    ]
    assert len(set(seeds)) == 6
    assert seeds[0] == 3
    assert plans_of(PLAN, Rounds(2))[1].seed == seeds[1]


def test_a_later_log_counts_on() -> None:
    class Recorder(PrintLog):
        def __init__(self) -> None:
            self.points: list[tuple[int | None, Mapping[str, float]]] = []
            self.texts: list[str] = []

        def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
            self.points.append((step, values))

        def text(self, name: str, text: str) -> None:
            self.texts.append(f"{name}: {text}")

    log = Recorder()
    shifted = later(log, 10)
    shifted.metrics({"x": 1.0}, 5)
    shifted.metrics({"y": 2.0})
    shifted.text("a.md", "b")
    assert log.points == [(15, {"x": 1.0}), (None, {"y": 2.0})]
    assert log.texts == ["a.md: b"]
