"""pretrain: train the encoder to tell the characters of the train titles apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mfc.clusters.metrics import headline_means
from mfc.clusters.protocol import TitleView, score_title
from mfc.config import ENCODER, Pretrain, affecting
from mfc.encoders.device import pick_compute
from mfc.encoders.network import Encoder, EncoderConfig, new_encoder, weights_digest
from mfc.encoders.training import Plan, Task, fit, task_key
from mfc.errors import UserError
from mfc.faces.selection import select
from mfc.faces.store import FaceStore
from mfc.files import value_digest, write_json
from mfc.log import Log

QUICK_RESTARTS = 10
"""k-means restarts of the validations during training: a curve, not a result."""


def pretrain(config: Pretrain, store: FaceStore, out: Path, log: Log, overwrite: bool = False) -> Path:
    """Train, or load what the same parameters gave before.

    Args:
        overwrite: train anew, whatever is there.
        out: parent folder; the encoder goes to a subfolder named after all that it depends on.

    Returns:
        The encoder's folder, as `mfc.encoders.network.load_encoder` takes it.
    """
    compute = pick_compute(config.device, config.precision, config.compile)
    titles = store.titles("train")
    selection = select(store, titles, others=False, min_faces=config.min_faces)
    if len(selection.classes) < 2:
        raise UserError(
            f"{store.path}: {len(titles)} train titles with {len(selection.classes)} characters of at "
            f"least {config.min_faces} faces are too few to pre-train on; see `mfc statistics`"
        )
    log.say(
        f"pretrain: {len(selection.rows):,} faces of {len(selection.classes)} characters "
        f"in {len(titles)} titles, on {compute}"
    )
    encoder = new_encoder(
        EncoderConfig(config.backbone, selection.classes, config.image_size),
        init=config.init,
        seed=config.seed,
    )
    labels = torch.from_numpy(selection.labels).to(compute.device)
    watched = [TitleView.of(store, title) for title in store.titles("val")[-config.eval_titles :]]

    def loss(encoder: Encoder, images: Tensor, positions: np.ndarray) -> Tensor:
        return functional.cross_entropy(encoder(images), labels[positions])

    def validate(encoder: Encoder, step: int) -> dict[str, float]:
        del step
        scores = [
            score_title(
                encoder,
                view,
                n_init=QUICK_RESTARTS,
                seed=config.seed,
                batch_size=config.batch_size,
                compute=compute,
            )
            for view in watched
        ]
        return headline_means([score.metrics for score in scores], "val")

    task = Task(
        crops=store.crops,
        rows=selection.rows,
        loss=loss,
        validate=validate,
        label="pretrain",
        fingerprint=value_digest([store.fingerprint, weights_digest(encoder), affecting(config, ENCODER)]),
    )
    plan = Plan.of(config, gamma=config.gamma, seed=config.seed)
    folder = out / task_key(task, plan, encoder, compute)
    fit(encoder, task, plan, compute, folder, log, checkpoint_every=config.checkpoint_every, anew=overwrite)
    write_json(folder / "pretrain.json", dataclasses.asdict(config))
    return folder
