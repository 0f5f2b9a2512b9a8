"""Recipes: what the options ask for, as a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from mfc.adapt.losses import LOSSES, Loss
from mfc.adapt.mining import MINERS, Mining
from mfc.adapt.recipe import PAPER, Recipe, recipe_of
from mfc.adapt.rounds import Rounds
from mfc.adapt.sampling import SAMPLERS, Sampling
from mfc.config import Finetune
from mfc.errors import UserError


def test_the_defaults_are_the_papers() -> None:
    """Those of the options and those of the pieces, and the published numbers."""
    assert recipe_of(Finetune()) == PAPER == recipe_of(Finetune(recipe="custom"))
    assert (
        Recipe(
            Mining("nearest", page_range=1, top_n=1, frame_mates="keep"),
            Sampling("shuffled"),
            Loss("contrastive", tau=1.4, temperature=0.1),
            Rounds(1),
        )
        == PAPER
    )


def test_the_papers_numbers_may_be_varied() -> None:
    varied = recipe_of(Finetune(tau=1.2, page_range=3, top_n=2))
    assert (varied.loss.tau, varied.mining.page_range, varied.mining.top_n) == (1.2, 3, 2)


OTHERS = {
    "mining": "mutual",
    "frame_mates": "exclude",
    "sampling": "linked",
    "loss": "supervised_contrastive",
    "temperature": 0.5,
    "rounds": 2,
}


@pytest.mark.parametrize(("name", "value"), OTHERS.items())
def test_a_piece_that_is_not_the_papers_needs_another_recipe(name: str, value: object) -> None:
    """The option is named, with what the paper has; custom takes it, and nothing else changes."""
    with pytest.raises(UserError, match=f"^{name}: recipe paper has .*, not {value}; give --recipe custom"):
        recipe_of(dataclasses.replace(Finetune(), **{name: value}))
    custom = recipe_of(dataclasses.replace(Finetune(recipe="custom"), **{name: value}))
    flat = [{**vars(r.mining), **vars(r.sampling), **vars(r.loss), **vars(r.rounds)} for r in (custom, PAPER)]
    assert flat[0] == flat[1] | {name: value}


def test_more_rounds_than_epochs_are_refused() -> None:
    with pytest.raises(UserError, match="rounds: 3 rounds cannot share 2 epochs"):
        recipe_of(Finetune(recipe="custom", epochs=2, rounds=3))


@pytest.mark.parametrize(("option", "switch"), [("mining", MINERS), ("sampling", SAMPLERS), ("loss", LOSSES)])
def test_what_may_be_chosen_is_what_there_is(option: str, switch: Mapping[str, object]) -> None:
    """The words of the option are those of the switch."""
    field = next(f for f in dataclasses.fields(Finetune) if f.name == option)
    assert set(field.metadata["choices"]) == set(switch)
