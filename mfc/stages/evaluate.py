"""evaluate: cluster one title with an encoder, and score the clusters against the truth."""

from __future__ import annotations

from mfc.clusters.protocol import TitleScore, TitleView, score_title
from mfc.config import Evaluate
from mfc.encoders.device import pick_compute
from mfc.encoders.network import Encoder
from mfc.faces.store import FaceStore
from mfc.log import Log
from mfc.report.scores import log_score


def evaluate_title(
    config: Evaluate, store: FaceStore, encoder: Encoder, title: str, seed: int, log: Log
) -> TitleScore:
    """Score ``title``; its metrics and the cluster of every face go to ``log``."""
    view = TitleView.of(store, title)
    score = score_title(
        encoder,
        view,
        n_init=config.n_init,
        seed=seed,
        batch_size=config.batch_size,
        compute=pick_compute(config.device, config.precision),
    )
    log_score(score, log, config.split, view if config.figures else None)
    return score
