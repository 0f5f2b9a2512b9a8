"""A recipe: how an encoder is adapted to a title, as a value made of pieces."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

from mfc.adapt.losses import Loss
from mfc.adapt.mining import Mining
from mfc.adapt.rounds import Rounds
from mfc.adapt.sampling import Sampling
from mfc.config import Finetune
from mfc.errors import UserError

Piece = TypeVar("Piece", Mining, Sampling, Loss, Rounds)


@dataclass(frozen=True)
class Recipe:
    """All that the result of an adaptation depends on, beside its data and the plan of the optimiser."""

    mining: Mining
    sampling: Sampling
    loss: Loss
    rounds: Rounds


PAPER = Recipe(Mining(), Sampling(), Loss(), Rounds())
"""Tsubota, Ogawa, Yamasaki and Aizawa, "Adaptation of manga face representation for accurate clustering",
SIGGRAPH Asia 2018 Posters."""
NUMBERS = ("page_range", "top_n", "tau")
"""What may be given with ``recipe=paper``: its numbers, but not its pieces."""


def recipe_of(config: Finetune) -> Recipe:
    """The recipe that the options ask for; a field of a piece is the option of the same name.

    Raises:
        UserError: for a piece that is not the paper's with ``recipe=paper``, or more rounds than epochs.
    """
    if config.rounds > config.epochs:
        raise UserError(
            f"rounds: {config.rounds} rounds cannot share {config.epochs} epochs; give at most as many rounds"
        )
    return Recipe(
        _piece(PAPER.mining, config),
        _piece(PAPER.sampling, config),
        _piece(PAPER.loss, config),
        _piece(PAPER.rounds, config),
    )


def _piece(published: Piece, config: Finetune) -> Piece:
    values = {name: getattr(config, name) for name in dataclasses.asdict(published)}
    for name, value in values.items():
        papers = getattr(published, name)
        if config.recipe == "paper" and name not in NUMBERS and value != papers:
            raise UserError(f"{name}: recipe paper has {papers}, not {value}; give --recipe custom as well")
    return dataclasses.replace(published, **values)
