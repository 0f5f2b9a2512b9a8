"""finetune: adapt the encoder to one title without its labels, from pairs that the comic gives away.

The labels of the title are read for the curves and the final score only; nothing is chosen by them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mfc.config import Finetune
from mfc.constraints import Constraints, build_constraints
from mfc.device import Compute, pick_compute
from mfc.encoder import WEIGHTS_NAME, Encoder, load_encoder
from mfc.errors import UserError
from mfc.evaluation import TitleScore, TitleView, score_title
from mfc.faces import FaceStore, Selection, page_and_frame_codes, select
from mfc.files import file_digest, value_digest, write_json
from mfc.log import Log
from mfc.losses import pair_contrastive_loss
from mfc.metrics import constraint_quality
from mfc.training import Plan, Task, embed, fit, task_key

QUICK_RESTARTS = 10
"""k-means restarts of the scores during training: a curve, not a result."""


def run(
    config: Finetune, store: FaceStore, model: Path, title: str, seed: int, out: Path, log: Log
) -> tuple[TitleScore, Path]:
    """Adapt to ``title``, or load what the same parameters gave before, and score the result.

    Args:
        model: folder of the pre-trained encoder.
        out: parent folder; the encoder goes to a subfolder named after all that it depends on.
    """
    compute = pick_compute(config.device, config.precision)
    encoder = load_encoder(model, compute.device)
    selection = select(store, [title], others=True)
    if len(selection.rows) < 2:
        raise UserError(f"{title}: {len(selection.rows)} usable faces are too few to adapt to")
    constraints = find_constraints(config, store, encoder, selection, compute)
    quality = dict(constraint_quality(constraints.must_link, constraints.cannot_link, selection.labels))
    log.say(
        f"finetune {title}: {len(selection.rows)} faces, {len(constraints.must_link)} must-links, "
        f"{len(constraints.cannot_link)} cannot-links, on {compute}"
    )
    log.metrics({f"constraints/{name}": value for name, value in quality.items()}, 0)
    view = TitleView.of(store, title)

    def loss(encoder: Encoder, images: Tensor, positions: np.ndarray) -> Tensor:
        features = encoder.features(images)
        i, j, same = (torch.from_numpy(part).to(images.device) for part in constraints.pairs_in(positions))
        return pair_contrastive_loss(features, i, j, same, config.tau)

    def validate(encoder: Encoder) -> dict[str, float]:
        score = score_title(
            encoder, view, n_init=QUICK_RESTARTS, seed=seed, batch_size=config.batch_size, compute=compute
        )
        return {f"curve/{name}": score.metrics[name] for name in ("accuracy", "nmi")}

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
    plan = Plan(
        epochs=config.epochs,
        batch_size=config.batch_size,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        gamma=1.0,
        seed=seed,
        eval_every=config.eval_every,
        checkpoint_every=config.checkpoint_every,
    )
    folder = out / task_key(task, plan, encoder)
    encoder = fit(encoder, task, plan, compute, folder, log)
    write_json(folder / "finetune.json", {**dataclasses.asdict(config), "title": title, "seed": seed})
    score = score_title(
        encoder, view, n_init=config.n_init, seed=seed, batch_size=config.batch_size, compute=compute
    )
    score.send(log, config.split)
    return score, folder


def find_constraints(
    config: Finetune, store: FaceStore, encoder: Encoder, selection: Selection, compute: Compute
) -> Constraints:
    """Must-links and cannot-links among the faces of a title, from its frames, pages and features."""
    features = embed(encoder, store.crops, selection.rows, batch_size=config.batch_size, compute=compute)
    pages, frames = page_and_frame_codes(selection.faces)
    return build_constraints(features, pages, frames, page_range=config.page_range, top_n=config.top_n)
