"""finetune: adapt the encoder to one title without its labels, from pairs that the comic gives away.

The labels of the title are read for the curves and the final score only; nothing is chosen by them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
from PIL import Image

from mfc.adapt.adaptation import link_faces, plan_adaptation
from mfc.adapt.constraints import Constraints
from mfc.adapt.quality import constraint_quality
from mfc.clusters.kmeans import import_ahead
from mfc.clusters.protocol import TitleScore, TitleView, score_title
from mfc.config import Finetune
from mfc.encoders.device import pick_compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import Encoder, load_encoder
from mfc.encoders.training import fit
from mfc.errors import UserError
from mfc.faces.selection import Selection, select
from mfc.faces.store import FaceStore
from mfc.files import replacing, write_json
from mfc.log import Log
from mfc.report.scores import log_score, watched_clusters

QUICK_RESTARTS = 10
"""k-means restarts of the scores during training: a curve, not a result."""
WATCHED = "watched"
"""Folder of the pictures of some clusters, one a validation, beside the encoder."""


def run(
    config: Finetune, store: FaceStore, model: Path, title: str, seed: int, out: Path, log: Log
) -> tuple[TitleScore, Path]:
    """Adapt to ``title``, or load what the same parameters gave before, and score the result.

    Args:
        model: folder of the pre-trained encoder.
        out: parent folder; the encoder goes to a subfolder named after all that it depends on.
    """
    compute = pick_compute(config.device, config.precision, config.compile)
    encoder = load_encoder(model, compute.device)
    selection = select(store, [title], others=True)
    if len(selection.rows) < 2:
        raise UserError(f"{title}: {len(selection.rows)} usable faces are too few to adapt to")
    import_ahead()
    before = embed(encoder, store.crops, selection.rows, batch_size=config.batch_size, compute=compute)
    constraints = link_faces(config, before, selection)
    quality = dict(constraint_quality(constraints.must_link, constraints.cannot_link, selection.labels))
    log.say(
        f"finetune {title}: {len(selection.rows)} faces, {len(constraints.must_link)} must-links, "
        f"{len(constraints.cannot_link)} cannot-links, on {compute}"
    )
    log.metrics({f"constraints/{name}": value for name, value in quality.items()}, 0)
    view = TitleView.of(store, title)

    def validate(encoder: Encoder, step: int) -> dict[str, float]:
        score = score_title(
            encoder,
            view,
            n_init=QUICK_RESTARTS,
            seed=seed,
            batch_size=config.batch_size,
            compute=compute,
            features=before if step == 0 else None,
        )
        values = {f"curve/{name}": score.metrics[name] for name in ("accuracy", "nmi")}
        found = link_faces(config, score.features, selection)
        now = dict(constraint_quality(found.must_link, found.cannot_link, selection.labels))
        if "must_link_precision" in now:
            values["curve/must_link_precision"] = now["must_link_precision"]
        if config.figures:
            with replacing(folder / WATCHED / f"{step:08d}.png") as file:
                watched_clusters(score, view).save(file, format="PNG")
        return values

    job = plan_adaptation(config, store, model, encoder, title, seed, out, selection, constraints, validate)
    folder = job.folder
    encoder = fit(encoder, job.task, job.plan, compute, folder, log)
    for file in sorted((folder / WATCHED).glob("*.png")) if config.figures else []:
        with Image.open(file) as picture:
            log.picture("figures/watched_clusters", picture, int(file.stem))
    write_json(folder / "finetune.json", {**dataclasses.asdict(config), "title": title, "seed": seed})
    score = score_title(
        encoder, view, n_init=config.n_init, seed=seed, batch_size=config.batch_size, compute=compute
    )
    log_score(score, log, config.split, view if config.figures else None)
    links = _links_table(constraints, selection)
    log.table("links", links)
    return dataclasses.replace(score, links=links), folder


def _links_table(constraints: Constraints, selection: Selection) -> pd.DataFrame:
    """A row a pair: `face_a`, `face_b`, `kind` (must-link, cannot-link), and whether it is `true`."""
    face, label = selection.faces["face_id"].to_numpy(), selection.labels
    tables = []
    for kind, pairs in (("must-link", constraints.must_link), ("cannot-link", constraints.cannot_link)):
        i, j = pairs.T
        true = (label[i] == label[j]) == (kind == "must-link")
        tables.append(pd.DataFrame({"face_a": face[i], "face_b": face[j], "kind": kind, "true": true}))
    return pd.concat(tables, ignore_index=True)
