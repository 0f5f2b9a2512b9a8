"""evaluate_clustering: how well unknown numbers of characters are found, on labelled titles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from mfc.clusters.counting import Calibration, constrained_tree, density_clusters, silhouette_clusters
from mfc.clusters.kmeans import kmeans
from mfc.clusters.metrics import METRICS, clustering_metrics
from mfc.clusters.protocol import TitleView
from mfc.config import EvaluateClustering, Intervals
from mfc.encoders.device import Compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import Encoder
from mfc.errors import UserError
from mfc.faces.store import FaceStore
from mfc.log import Log, progress
from mfc.report.tables import estimators, interval_text, markdown_table

RESTARTS = 100
"""Of k-means with the true number of characters, the yardstick."""
SCORES = ("ami", "bcubed_f")
"""The metrics that stay fair when the number of clusters is not the true one."""


def evaluate_clustering(
    config: EvaluateClustering,
    intervals: Intervals,
    store: FaceStore,
    encoder: Encoder,
    calibration: Calibration,
    adapted: Callable[[str], Encoder] | None,
    compute: Compute,
    log: Log,
) -> str:
    """Score clusterings with estimated numbers of characters on the titles of ``config.split``.

    Per title, of the faces of named characters: AMI, B-cubed F, and the number of clusters over that of
    characters, for each way of estimating and for k-means with the true number. On validation titles, the cut
    is the one of the other validation titles. Metrics: ``<split>/auto_k/<features>/<method>/<metric>``.

    Args:
        adapted: title → the encoder adapted to it; None: without.

    Returns:
        The table of the means with their intervals, in Markdown.
    """
    titles = store.titles(config.split)
    if not titles:
        raise UserError(f"{store.path}: the {config.split} split has no titles")
    rows: list[dict[str, object]] = []
    for title in progress(titles, label=f"cluster: {config.split} titles"):
        view = TitleView.of(store, title)
        threshold = calibration.threshold(without=title)
        guessed = 0
        for kind, used in (("pretrained", encoder), ("adapted", adapted(title) if adapted else None)):
            if used is None:
                continue
            features = embed(
                used, store.crops, view.plain.rows, batch_size=config.batch_size, compute=compute
            )
            tree = constrained_tree(features, view)
            truth = view.plain.labels
            characters = len(view.plain.classes)
            guessed = guessed or len(np.unique(tree.cut(threshold)))
            found = {
                "k-means, true K": kmeans(features, characters, n_init=RESTARTS, seed=config.seed).labels,
                "agglomerative, true K": tree.cut_into(characters),
                "agglomerative": tree.cut_into(guessed),
                "hdbscan": density_clusters(features),
                "silhouette": silhouette_clusters(features, config.seed),
            }
            rows += [
                {"title": title, "features": kind, "method": method, **_scores(truth, labels)}
                for method, labels in found.items()
            ]
    table = pd.DataFrame(rows)
    log.table("auto_k", table)
    return _summary(table, intervals, config.split, log)


def _scores(truth: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    scores = dict(clustering_metrics(truth, labels))
    clusters, characters = len(np.unique(labels)), len(np.unique(truth))
    return {
        **{name: scores[name] for name in SCORES},
        "k_ratio": clusters / characters,
        "clusters": float(clusters),
        "characters": float(characters),
    }


def _summary(table: pd.DataFrame, intervals: Intervals, split: str, log: Log) -> str:
    interval, _ = estimators(intervals)
    rows = []
    for (kind, method), part in table.groupby(["features", "method"], sort=False):
        cells = []
        for score in (*SCORES, "k_ratio"):
            mean, low, high = interval(part[[score]].to_numpy(dtype=np.float64))
            key = str(method).replace(", ", "_").replace(" ", "_").replace("-", "")
            log.metrics({f"{split}/auto_k/{kind}/{key}/{score}": mean})
            # One title leaves nothing to estimate an error from.
            cells.append(f"{mean:.3f}" + (f" ({interval_text(low, high)})" if low == low else ""))
        rows.append([f"{kind}: {method}", *cells])
    head = [f"{table['title'].nunique()} {split} titles", *(METRICS[name].label for name in SCORES)]
    markdown = markdown_table([*head, "K found / true"], rows)
    log.text("auto_k.md", markdown)
    return markdown
