"""How many characters? Where to cut the agglomerative tree, learnt on validation titles, and how good it is.

The cut is learnt from the features of the encoder as it was trained. It tells the number of characters; when
the encoder was adapted to a comic, the tree of the adapted features is cut into that number of clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mfc.clusters.kmeans import kmeans
from mfc.clusters.linkage import (
    THRESHOLDS,
    Tree,
    average_linkage,
    best_threshold,
    components,
    threshold_curve,
)
from mfc.clusters.protocol import TitleView
from mfc.corpus.reading import read_json
from mfc.encoders.device import Compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import WEIGHTS_NAME, Encoder
from mfc.errors import UserError
from mfc.faces.pairs import cannot_links_from_frames
from mfc.faces.selection import page_and_frame_codes, select
from mfc.faces.store import FaceStore
from mfc.files import file_digest, write_json
from mfc.log import Log, progress

CALIBRATION = "calibration.json"
"""Beside the encoder."""
SILHOUETTE_RESTARTS = 10
GRID = 24
"""Numbers of clusters that `silhouette` tries."""
MOST_CLUSTERS = 150
SMALLEST_CLUSTER = 3
"""Of `hdbscan`."""
EQUAL = 1e-5
"""Cosine distance of faces that are equal but for rounding."""
BLOCK_ROWS = 512


@dataclass(frozen=True)
class Calibration:
    """B-cubed F of each cut (`THRESHOLDS`) on each validation title."""

    curves: Mapping[str, np.ndarray]
    store: str
    """Fingerprint of the face store."""
    dtype: str = ""
    """Number format that the faces were embedded in; empty where an older version did not say."""

    def is_of(self, store: FaceStore, compute: Compute) -> bool:
        """Whether it was learnt on these faces, computed like this."""
        return self.store == store.fingerprint and self.dtype in ("", str(compute.dtype))

    def threshold(self, *, without: str = "") -> float:
        """The best cut, on average over the titles; ``without`` one of them, when there are others."""
        used = [curve for title, curve in self.curves.items() if title != without]
        return best_threshold(used or list(self.curves.values()))[0]


def read_calibration(model: Path) -> Calibration | None:
    """The calibration beside an encoder; None when there is none of this version, or one of other weights."""
    try:
        content = read_json(model / CALIBRATION)
        if content.get("weights", "") not in ("", file_digest(model / WEIGHTS_NAME)):
            return None
        curves = {title: np.array(curve, np.float64) for title, curve in content["curves"].items()}
    except (UserError, OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError):
        return None
    usable = curves and all(
        curve.shape == THRESHOLDS.shape and np.isfinite(curve).all() for curve in curves.values()
    )
    store, dtype = (str(content.get(name, "")) for name in ("store", "dtype"))
    return Calibration(curves, store, dtype) if usable else None


def calibrate(
    encoder: Encoder, model: Path, store: FaceStore, batch_size: int, compute: Compute, log: Log
) -> Calibration:
    """Score every cut on the validation titles of a store, and keep the result beside the encoder.

    Raises:
        UserError: when there is no validation title; the test titles are never used for this.
    """
    titles = [t for t in store.titles("val") if len(select(store, [t], others=False).rows)]
    if not titles:
        raise UserError(
            f"{store.path}: has no validation titles with named faces to learn from where to cut the "
            "tree of clusters; give --n_clusters NUMBER, --threshold 0.4 or the like, or --method silhouette"
        )
    curves = {}
    for title in progress(titles, label="calibrate"):
        view = TitleView.of(store, title)
        features = embed(encoder, store.crops, view.plain.rows, batch_size=batch_size, compute=compute)
        curves[title] = threshold_curve(constrained_tree(features, view), view.plain.labels)
    made = Calibration(curves, store.fingerprint, str(compute.dtype))
    score = best_threshold(list(curves.values()))[1]
    log.say(
        f"the best cut of the tree of clusters on {len(titles)} validation titles is {made.threshold():.2f} "
        f"(B-cubed F {score:.3f}); kept in {model / CALIBRATION}"
    )
    write_json(
        model / CALIBRATION,
        {
            "about": "B-cubed F of average linkage, cut at each threshold (cosine), per validation title",
            "store": made.store,
            "weights": file_digest(model / WEIGHTS_NAME),
            "dtype": made.dtype,
            "threshold": made.threshold(),
            "thresholds": THRESHOLDS.tolist(),
            "curves": {title: np.round(curve, 6).tolist() for title, curve in curves.items()},
        },
    )
    return made


def constrained_tree(features: np.ndarray, view: TitleView) -> Tree:
    _, frames = page_and_frame_codes(view.plain.faces, once=True)
    return average_linkage(features, cannot_link=cannot_links_from_frames(frames))


def density_clusters(features: np.ndarray) -> np.ndarray:
    """HDBSCAN of scikit-learn (Campello, Moulavi and Sander, 2013); what it calls noise stays alone.

    Equal faces are one cluster, also where there are too few of them, or no others to tell them from.

    Args:
        features: (n, d) float32, rows of length 1.

    Returns:
        (n,) int64 clusters.
    """
    from sklearn.cluster import HDBSCAN

    labels = np.full(len(features), -1, np.int64)
    if len(features) >= SMALLEST_CLUSTER:
        labels[:] = HDBSCAN(min_cluster_size=SMALLEST_CLUSTER, copy=True).fit_predict(features)
    noise = np.flatnonzero(labels < 0)
    labels[noise] = labels.max(initial=-1) + 1 + np.arange(len(noise))
    first = np.zeros(len(noise), np.int64)
    for start in range(0, len(noise), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        first[block] = (features[noise[block]] @ features.T >= 1 - EQUAL).argmax(axis=1)
    return components(len(features), np.stack([labels[noise], labels[first]], axis=1))[labels]


def silhouette_clusters(features: np.ndarray, seed: int, n_clusters: int | None = None) -> np.ndarray:
    """k-means with the number of clusters, of a grid, whose silhouette is best (Rousseeuw, 1987).

    Args:
        features: (n, d) float32, rows of length 1.
        n_clusters: this number instead of the grid.

    Returns:
        (n,) int64 clusters.
    """
    from sklearn.metrics import silhouette_score

    def labels_of(k: int) -> np.ndarray:
        return kmeans(features, k, n_init=SILHOUETTE_RESTARTS, seed=seed).labels

    if n_clusters is not None or len(features) < 4:
        return labels_of(n_clusters or 1)
    most = min(len(features) - 1, MOST_CLUSTERS)
    grid = sorted({round(k) for k in np.geomspace(2, most, GRID)})
    tried = [labels_of(k) for k in progress(grid, label="cluster: silhouette")]
    usable = [labels for labels in tried if len(np.unique(labels)) > 1] or [labels_of(1)]
    if len(usable) == 1:
        return usable[0]
    return max(usable, key=lambda labels: float(silhouette_score(features, labels, metric="cosine")))
