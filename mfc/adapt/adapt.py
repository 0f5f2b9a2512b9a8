"""Adapting an encoder to one title from pairs that the comic gives away: one way, for all who do it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mfc.adapt.constraints import Constraints
from mfc.adapt.losses import LOSSES, Loss
from mfc.adapt.mining import mine
from mfc.adapt.recipe import recipe_of
from mfc.adapt.rounds import later, plans_of
from mfc.adapt.sampling import SAMPLERS
from mfc.config import Finetune
from mfc.encoders.device import Compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import WEIGHTS_NAME, Encoder, load_encoder
from mfc.encoders.training import FINISHED, Plan, Task, fit, task_key
from mfc.errors import UserError
from mfc.faces.selection import page_and_frame_codes, select
from mfc.faces.store import FaceStore
from mfc.files import file_digest, value_digest
from mfc.log import Log


@dataclass(frozen=True, eq=False)
class Round:
    """What a round of an adaptation begins with."""

    start: int
    """Training steps of the rounds before it."""
    features: np.ndarray
    """(n, d) float32, what the encoder gave for the faces of the title."""
    constraints: Constraints
    folder: Path
    """Where its encoder goes."""


@dataclass(frozen=True, eq=False)
class Adapted:
    """An adapted encoder, and the rounds that made it; it lies in the last one's folder."""

    encoder: Encoder
    rounds: tuple[Round, ...]

    @property
    def last(self) -> Round:
        return self.rounds[-1]


Watch = Callable[[Encoder, int, Round], Mapping[str, float]]
"""(encoder, training step, its round) → values for the curves; nothing is chosen by them. A round begins with
a call at its ``start``, where that of the round before ended."""
Change = Callable[[Constraints], Constraints]


def adapt(
    config: Finetune,
    store: FaceStore,
    model: Path,
    title: str,
    seed: int,
    out: Path,
    compute: Compute,
    log: Log,
    *,
    anew: bool = False,
    watch: Watch | None = None,
    change: Change | None = None,
) -> Adapted:
    """Adapt the encoder in ``model`` to a title, or load what was adapted before; no label has a part in it.

    Each round is a training of its own, with its own checkpoints: a killed adaptation goes on where it was.

    Args:
        out: parent folder; each round's encoder goes to a subfolder named after all that it depends on.
        anew: train again, even if a finished or begun result is there.
        watch: called at each validation.
        change: other pairs instead of those that were mined.

    Raises:
        UserError: for a recipe that does not fit together, or a title of fewer than two faces.
    """
    recipe = recipe_of(config)
    selection = select(store, [title], others=True)
    if len(selection.rows) < 2:
        raise UserError(f"{title}: {len(selection.rows)} usable faces are too few to adapt to")
    pages, frames = page_and_frame_codes(selection.faces, once=True)
    encoder = load_encoder(model, compute.device)
    weights = file_digest(model / WEIGHTS_NAME)
    depends_on: list[object] = [store.fingerprint, title, weights, dataclasses.asdict(recipe), config.epochs]

    rounds: list[Round] = []
    start = 0
    plans = plans_of(Plan.of(config, gamma=1.0, seed=seed), recipe.rounds)
    for number, plan in enumerate(plans, 1):
        if rounds:  # from the disk, as a resumed adaptation has it
            encoder = load_encoder(rounds[-1].folder, compute.device)
        features = embed(encoder, store.crops, selection.rows, batch_size=config.batch_size, compute=compute)
        constraints = mine(features, pages, frames, recipe.mining)
        if change is not None:
            constraints = change(constraints)
            depends_on += [constraints.must_link.tolist(), constraints.cannot_link.tolist()]
        label = f"adapt to {title}" + (f", round {number} of {len(plans)}" if len(plans) > 1 else "")
        log.say(
            f"{label}: {len(selection.rows):,} faces, {len(constraints.must_link):,} must-links, "
            f"{len(constraints.cannot_link):,} cannot-links, on {compute}"
        )
        task = Task(
            crops=store.crops,
            rows=selection.rows,
            loss=partial(_loss, constraints, recipe.loss),
            validate=lambda *_: {},
            label=label,
            fingerprint="",
            order=partial(SAMPLERS[recipe.sampling.sampling], constraints, plan.batch_size),
        )
        # Curves are kept with the weights: a result with them is another, which serves without them too.
        tasks = [
            dataclasses.replace(task, fingerprint=value_digest([*depends_on, number, watched]))
            for watched in (watch is not None, True)
        ]
        folders = [out / task_key(task, plan, encoder, compute) for task in tasks]
        which = int(not anew and (folders[1] / FINISHED).is_file())
        task, now = tasks[which], Round(start, features, constraints, folders[which])
        if watch is not None:
            task = dataclasses.replace(task, validate=partial(_validate, watch, now))
        encoder = fit(
            encoder,
            task,
            plan,
            compute,
            now.folder,
            later(log, start),
            checkpoint_every=config.checkpoint_every,
            anew=anew,
        )
        rounds.append(now)
        start += plan.epochs * math.ceil(len(selection.rows) / plan.batch_size)
    return Adapted(encoder, tuple(rounds))


def _loss(
    constraints: Constraints, settings: Loss, encoder: Encoder, images: Tensor, positions: np.ndarray
) -> Tensor:
    embeddings = encoder.features(images)
    a1, p, a2, n = (torch.from_numpy(x).to(images.device) for x in constraints.indices_tuple(positions))
    return LOSSES[settings.loss](embeddings, (a1, p, a2, n), settings)


def _validate(watch: Watch, now: Round, encoder: Encoder, step: int) -> Mapping[str, float]:
    return watch(encoder, now.start + step, now)
