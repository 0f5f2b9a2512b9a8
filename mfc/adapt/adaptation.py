"""Adapting an encoder to one title from pairs that the comic gives away: what to learn, and where it goes.

Source: Tsubota, Ogawa, Yamasaki and Aizawa, "Adaptation of manga face representation for accurate
clustering", SIGGRAPH Asia 2018 Posters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mfc.adapt.constraints import Constraints, build_constraints
from mfc.adapt.losses import pair_contrastive_loss
from mfc.config import Finetune
from mfc.encoders.device import Compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import WEIGHTS_NAME, Encoder
from mfc.encoders.training import Plan, Task, task_key
from mfc.faces.selection import Selection, page_and_frame_codes
from mfc.faces.store import FaceStore
from mfc.files import file_digest, value_digest


@dataclass(frozen=True)
class Adaptation:
    """What `mfc.encoders.training.fit` takes, and the folder named after all that it depends on."""

    task: Task
    plan: Plan
    folder: Path


def plan_adaptation(
    config: Finetune,
    store: FaceStore,
    model: Path,
    encoder: Encoder,
    title: str,
    seed: int,
    out: Path,
    selection: Selection,
    constraints: Constraints,
    validate: Callable[[Encoder, int], Mapping[str, float]],
) -> Adaptation:
    """How to adapt ``encoder``, loaded from the folder ``model``, to a title; no label has a part in it.

    Args:
        out: parent of the encoder's folder.
        selection, constraints: the title's faces and the pairs among them.
        validate: (encoder, step) → values for the curves; nothing is chosen by them.
    """

    def loss(encoder: Encoder, images: Tensor, positions: np.ndarray) -> Tensor:
        features = encoder.features(images)
        i, j, same = (torch.from_numpy(part).to(images.device) for part in constraints.pairs_in(positions))
        return pair_contrastive_loss(features, i, j, same, config.tau)

    task = Task(
        crops=store.crops,
        rows=selection.rows,
        loss=loss,
        validate=validate,
        label=f"finetune {title}",
        fingerprint=value_digest(
            [
                store.fingerprint,
                title,
                file_digest(model / WEIGHTS_NAME),
                config.recipe,
                config.tau,
                config.page_range,
                config.top_n,
            ]
        ),
    )
    plan = Plan.of(config, gamma=1.0, seed=seed)
    return Adaptation(task, plan, out / task_key(task, plan, encoder))


def find_constraints(
    config: Finetune, store: FaceStore, encoder: Encoder, selection: Selection, compute: Compute
) -> Constraints:
    """Must-links and cannot-links among the faces of a title, from its frames, pages and features."""
    features = embed(encoder, store.crops, selection.rows, batch_size=config.batch_size, compute=compute)
    return link_faces(config, features, selection)


def link_faces(config: Finetune, features: np.ndarray, selection: Selection) -> Constraints:
    """`find_constraints` from features (n, d) float32, rows of length 1, of the selected faces."""
    pages, frames = page_and_frame_codes(selection.faces, once=True)
    return build_constraints(features, pages, frames, page_range=config.page_range, top_n=config.top_n)
