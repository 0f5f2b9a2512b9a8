"""finetune: adapt the encoder to one title without its labels, from pairs that the comic gives away.

The labels of the title are read for the curves and the final score only; nothing is chosen by them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
from PIL import Image

from mfc.adapt.adapt import Round, adapt
from mfc.adapt.constraints import Constraints
from mfc.adapt.mining import mine
from mfc.adapt.quality import constraint_quality
from mfc.adapt.recipe import recipe_of
from mfc.clusters.kmeans import import_ahead
from mfc.clusters.metrics import headline_means
from mfc.clusters.protocol import TitleScore, TitleView, score_title
from mfc.config import Finetune
from mfc.encoders.device import pick_compute
from mfc.encoders.network import Encoder
from mfc.faces.selection import Selection, page_and_frame_codes
from mfc.faces.store import FaceStore
from mfc.files import replacing, write_json
from mfc.log import Log
from mfc.report.scores import log_score, watched_clusters

QUICK_RESTARTS = 10
"""k-means restarts of the scores during training: a curve, not a result."""
WATCHED = "watched"
"""Folder of the pictures of some clusters, one a validation, beside the encoder."""


def finetune_title(
    config: Finetune,
    store: FaceStore,
    model: Path,
    title: str,
    seed: int,
    out: Path,
    log: Log,
    anew: bool = False,
) -> tuple[TitleScore, Path]:
    """Adapt to ``title``, or load what the same parameters gave before, and score the result.

    Args:
        model: folder of the pre-trained encoder.
        out: parent folder; the encoder goes to a subfolder named after all that it depends on.
        anew: adapt again, whatever is there.

    Returns:
        The score, and the folder of the adapted encoder.
    """
    compute = pick_compute(config.device, config.precision, config.compile)
    mining, view = recipe_of(config).mining, TitleView.of(store, title)
    faces = view.with_others
    import_ahead()

    def watch(encoder: Encoder, step: int, now: Round) -> dict[str, float]:
        values: dict[str, float] = {}
        if step == now.start:
            quality = constraint_quality(now.constraints.must_link, now.constraints.cannot_link, faces.labels)
            values |= {f"constraints/{name}": value for name, value in quality}
            if step > 0:
                return values  # the round before ended here, with a point of the curves
        score = score_title(
            encoder,
            view,
            n_init=QUICK_RESTARTS,
            seed=seed,
            batch_size=config.batch_size,
            compute=compute,
            features=now.features if step == now.start else None,
        )
        values |= headline_means([score.metrics], "curve")
        found = mine(score.features, *page_and_frame_codes(faces.faces, once=True), mining)
        found_quality = dict(constraint_quality(found.must_link, found.cannot_link, faces.labels))
        if "must_link_precision" in found_quality:
            values["curve/must_link_precision"] = found_quality["must_link_precision"]
        if config.figures:
            with replacing(now.folder / WATCHED / f"{step:08d}.png") as file:
                watched_clusters(score, view).save(file, format="PNG")
        return values

    adapted = adapt(config, store, model, title, seed, out, compute, log, anew=anew, watch=watch)
    for now in adapted.rounds if config.figures else ():
        for file in sorted((now.folder / WATCHED).glob("*.png")):
            with Image.open(file) as picture:
                log.picture("figures/watched_clusters", picture, int(file.stem))
    folder = adapted.last.folder
    write_json(folder / "finetune.json", {**dataclasses.asdict(config), "title": title, "seed": seed})
    score = score_title(
        adapted.encoder, view, n_init=config.n_init, seed=seed, batch_size=config.batch_size, compute=compute
    )
    log_score(score, log, config.split, view if config.figures else None)
    links = _links_table(adapted.last.constraints, faces)
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
