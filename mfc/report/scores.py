"""What a run shows of one title's score: metrics, the cluster of every face, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mfc.clusters.protocol import TitleScore, TitleView
from mfc.log import Log
from mfc.report.figures import cluster_sizes, confusion, embedding_map, face_grid, thumbnails

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL = 64
"""Side of a face in the table of clusters, pixels."""
WATCHED = (8, 12)
"""How many characters `watched_clusters` shows, and how many faces of each."""


def log_score(score: TitleScore, log: Log, split: str, view: TitleView | None = None) -> None:
    """Give the metrics (named ``split/…``) and the table of clusters to a log.

    With the ``view`` that was scored, the table gets a thumbnail a row, and figures are drawn.
    """
    log.metrics({f"{split}/{name}": value for name, value in score.metrics.items()})
    if view is None:
        log.table("clusters", score.clusters)
        return
    log.table("clusters", score.clusters, thumbnails(view.crops, view.plain.rows, THUMBNAIL))
    log.figure("figures/embedding_map", embedding_map(score.features[score.named], score.clusters))
    log.figure("figures/confusion", confusion(score.clusters))
    log.figure("figures/cluster_sizes", cluster_sizes(score.clusters))


def watched_clusters(score: TitleScore, view: TitleView) -> Image:
    """A picture to compare over epochs: the first face of each frequent character, and its cluster.

    The row of a face holds the faces of its cluster that are nearest to it; those of others are marked.
    """
    table, features = score.clusters, score.features[score.named]
    n_rows, n_columns = WATCHED
    counts = table["character_id"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    faces, wrong = [], []
    for character in counts.index[:n_rows]:
        first = int((table["character_id"] == character).to_numpy().argmax())
        members = np.flatnonzero(table["cluster"] == table["cluster"].iloc[first])
        near = np.argsort(-(features[members] @ features[first]), kind="stable")
        row = [first, *members[near][members[near] != first]][:n_columns]
        faces.append(thumbnails(view.crops, view.plain.rows[row], THUMBNAIL))
        wrong.append((table["character_id"].iloc[row] != character).to_numpy())
    return face_grid(faces, wrong, n_columns)
