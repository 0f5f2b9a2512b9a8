"""evaluate: cluster one title with an encoder, and score the clusters against the truth."""

from __future__ import annotations

from mfc.config import Evaluate
from mfc.device import pick_compute
from mfc.encoder import Encoder
from mfc.evaluation import TitleScore, TitleView, score_title
from mfc.faces import FaceStore
from mfc.log import Log


def run(config: Evaluate, store: FaceStore, encoder: Encoder, title: str, seed: int, log: Log) -> TitleScore:
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
    score.send(log, config.split, view if config.figures else None)
    return score
