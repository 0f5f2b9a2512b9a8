"""The clustering protocol: embed a title's faces, k-means with the true number of characters, score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mfc.clusters.kmeans import kmeans
from mfc.clusters.metrics import clustering_metrics, embedding_metrics, match_clusters, nmi
from mfc.encoders.device import Compute
from mfc.encoders.embedding import embed
from mfc.encoders.network import Encoder
from mfc.errors import UserError
from mfc.faces.selection import Selection, select
from mfc.faces.store import FaceStore

HEAD_FACES = 10
"""A character with at least this many faces belongs to the head, the others to the tail."""


@dataclass(frozen=True)
class TitleView:
    """A title as the protocol sees it: the faces of its characters without Others, and with them."""

    title: str
    crops: np.ndarray
    plain: Selection
    with_others: Selection

    @classmethod
    def of(cls, store: FaceStore, title: str) -> TitleView:
        """Select the faces of ``title``.

        Raises:
            UserError: when it has none to evaluate.
        """
        plain = select(store, [title], others=False)
        if not len(plain.rows):
            raise UserError(f"{title}: no face of a named character in {store.path}; nothing to evaluate")
        return cls(title, store.crops, plain, select(store, [title], others=True))


@dataclass(frozen=True)
class TitleScore:
    """What one clustering of one title scored."""

    title: str
    seed: int
    metrics: Mapping[str, float]
    clusters: pd.DataFrame
    """A row a face of a named character: its ids and name, `cluster`, `distance` to the cluster's centre,
    `matched` (the cluster's character) and its name, `correct`."""
    features: np.ndarray
    """(m, d) float32 of all faces, Others too, in the order of `TitleView.with_others`."""
    named: np.ndarray
    """(m,) bool: which of them are the rows of ``clusters``."""
    links: pd.DataFrame | None = None
    """The constraints that the encoder was adapted with: `face_a`, `face_b`, `kind`, `true`."""


def score_title(
    encoder: Encoder,
    view: TitleView,
    *,
    n_init: int,
    seed: int,
    batch_size: int,
    compute: Compute,
    features: np.ndarray | None = None,
) -> TitleScore:
    """Best of ``n_init`` k-means runs by inertia, K = number of true characters (protocol of the paper).

    Metrics: those of `clustering_metrics` and `embedding_metrics` without Others; ``with_others/…``: the same
    protocol when Others count as characters; ``head/…`` and ``tail/…``: the protocol's clustering, seen on
    the faces of characters with at least, or fewer than, ten faces; `faces` and `characters`, how many.

    K is never more than the faces. One character is one cluster, which is right: accuracy, NMI and AMI are 1.
    One face has no neighbours, so the scores of `embedding_metrics` are left out, as where every character
    has one face. Identical features are one cluster, and the other K - 1 stay empty.

    Args:
        features: (m, d) float32, what the encoder gives for ``view.with_others``, where it is known already.
    """
    if features is None:
        features = embed(encoder, view.crops, view.with_others.rows, batch_size=batch_size, compute=compute)
    named = np.isin(view.with_others.rows, view.plain.rows)
    y_true = view.plain.labels
    y_pred = _clusters(features[named], y_true, n_init, seed, compute)
    metrics = dict(clustering_metrics(y_true, y_pred))
    metrics |= dict(embedding_metrics(features[named], y_true))
    if not named.all():
        everyone = view.with_others.labels
        with_others = _clusters(features, everyone, n_init, seed, compute)
        metrics |= {f"with_others/{k}": v for k, v in clustering_metrics(everyone, with_others)}
    matched = match_clusters(y_true, y_pred)
    correct = matched == y_true
    head = np.bincount(y_true)[y_true] >= HEAD_FACES
    for name, part in (("head", head), ("tail", ~head)):
        if part.any():
            metrics[f"{name}/accuracy"] = float(correct[part].mean())
            metrics[f"{name}/nmi"] = nmi(y_true[part], y_pred[part])
    metrics |= {"faces": float(len(y_true)), "characters": float(len(view.plain.classes))}
    table = _table(view.plain, features[named], y_pred, matched, correct)
    return TitleScore(view.title, seed, metrics, table, features, named)


def _clusters(
    features: np.ndarray, labels: np.ndarray, n_init: int, seed: int, compute: Compute
) -> np.ndarray:
    device = str(compute.device) if compute.device.type == "cuda" else "cpu"
    return kmeans(features, len(np.unique(labels)), n_init=n_init, seed=seed, device=device).labels


def _table(
    selection: Selection, features: np.ndarray, y_pred: np.ndarray, matched: np.ndarray, correct: np.ndarray
) -> pd.DataFrame:
    faces = selection.faces.reset_index(drop=True)
    centres = pd.DataFrame(features).groupby(y_pred).transform("mean").to_numpy()
    names = faces.drop_duplicates("character_id").set_index("character_id")["character_name"]
    classes = pd.Series(np.array([*selection.classes, ""])[matched])
    table = pd.DataFrame(
        {
            "cluster": y_pred,
            "character_name": faces["character_name"],
            "correct": correct,
            "distance": np.linalg.norm(features - centres, axis=1).astype(np.float64).round(4),
            "matched_name": classes.map(names).fillna(""),
            "matched": classes,
        }
    )
    ids = ["page_index", "character_id", "face_id", "frame_id"]
    return pd.concat([table, faces[ids]], axis=1)
