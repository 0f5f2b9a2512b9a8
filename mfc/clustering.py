"""k-means, best of many restarts, fast at the size of a title: the protocol that compares encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mfc.errors import UserError
from mfc.log import progress

if TYPE_CHECKING:
    import torch

MAX_ITERATIONS = 300
POLISHED = 5
"""So many of the best restarts are finished by scikit-learn in full dimension."""
BATCH_BYTES = 1 << 24
"""Size of the largest array of a batch of restarts; about what a processor's cache holds."""
BATCH_BYTES_CUDA = 1 << 30
MATRIX_BYTES = 1 << 30
"""With more points than these bytes hold the distances of, scikit-learn does it all."""


@dataclass(frozen=True, eq=False)
class KMeansResult:
    """The best restart."""

    labels: NDArray[np.int64]
    """(n,) cluster of each point, 0 … k - 1."""
    inertia: float
    """Sum of squared distances to the centres, in float64."""
    centres: NDArray[np.float32]
    """(k, d)."""
    n_init: int
    """Restarts that it is the best of."""


def kmeans(
    features: NDArray[np.float32], n_clusters: int, *, n_init: int = 1000, seed: int = 0, device: str = "cpu"
) -> KMeansResult:
    """Lloyd's algorithm from greedy k-means++ starts (Arthur and Vassilvitskii, SODA 2007, as scikit-learn
    does).

    Squared distances D of all points are computed once. A centre is the mean of its points, so for a cluster
    C the squared distance of point i to its centre is Σ_{j∈C} D_ij / |C| - Σ_{j,k∈C} D_jk / 2|C|²: exact,
    without coordinates. An iteration then only adds and subtracts the rows of D of the points that moved, for
    many restarts at a time. The best few are finished by scikit-learn in full dimension.

    Args:
        features: (n, d) floating point.
        n_clusters: number of clusters k.
        n_init: restarts.
        seed: equal seeds give equal results on one kind of device.
        device: of torch, e.g. ``"cpu"`` or ``"cuda"``.

    Raises:
        UserError: when there are fewer points than clusters, or a number is below 1.
        ValueError: when a feature is not finite.
    """
    features = np.ascontiguousarray(features, np.float32)
    n = len(features)
    if n_clusters < 1 or n_init < 1:
        raise UserError(f"k-means with {n_clusters} clusters and {n_init} restarts: both must be at least 1")
    if n < n_clusters:
        raise UserError(f"{n} faces cannot be put into {n_clusters} clusters; ask for at most {n}")
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise ValueError(f"the features of point {int(finite.argmin())} are not finite")
    if 4 * n * n > MATRIX_BYTES:
        best = _polish(features, n_clusters, "k-means++", n_init, seed)
    else:
        starts = _best_restarts(features, n_clusters, n_init, seed, device)
        centres = (_centres(features, labels, n_clusters) for labels in starts)
        best = min(
            (_polish(features, n_clusters, c, 1, seed) for c in centres), key=lambda result: result.inertia
        )
    return KMeansResult(best.labels, best.inertia, best.centres, n_init)


def _polish(
    features: NDArray[np.float32], k: int, init: str | NDArray[np.float32], n_init: int, seed: int
) -> KMeansResult:
    """scikit-learn's k-means, from given centres or its own."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Fewer different points than clusters: some clusters stay empty, which is all that can be done.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(k, init=init, n_init=n_init, tol=0, max_iter=MAX_ITERATIONS, random_state=seed)
        labels = model.fit_predict(features).astype(np.int64)
    centres = np.asarray(model.cluster_centers_, np.float32)
    inertia = float(np.square(features.astype(np.float64) - centres[labels]).sum())
    return KMeansResult(labels, inertia, centres, n_init)


def _centres(features: NDArray[np.float32], labels: NDArray[np.int64], k: int) -> NDArray[np.float32]:
    """Means of the clusters; one without points sits on the point that is farthest from its own centre."""
    counts = np.bincount(labels, minlength=k)
    sums = np.zeros((k, features.shape[1]))
    np.add.at(sums, labels, features)
    centres = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        away = np.square(features - centres[labels]).sum(axis=1)
        centres[empty] = features[np.argsort(-away, kind="stable")[: len(empty)]]
    return centres


def _best_restarts(
    features: NDArray[np.float32], k: int, n_init: int, seed: int, device: str
) -> NDArray[np.int64]:
    """(best few, n) labels of the restarts with the least inertia, best first."""
    import torch

    n = len(features)
    with torch.inference_mode():
        points = torch.from_numpy(features).to(device)
        distances = _squared_distances(points)
        # Gains below this are rounding; following them could go round in circles.
        tolerance = 1e-6 * float(distances.mean())
        budget = BATCH_BYTES if distances.device.type == "cpu" else BATCH_BYTES_CUDA
        trials = 2 + int(np.log(k))
        batch = max(1, min(n_init, budget // (4 * n * max(k, trials))))
        rng = np.random.default_rng(seed)
        labels, inertia = [], []
        for start in progress(range(0, n_init, batch), label="k-means"):
            restarts = min(batch, n_init - start)
            uniform = torch.from_numpy(rng.random((restarts, k, trials))).to(device)
            found = _lloyd(distances, _greedy_start(distances, uniform), k, tolerance)
            labels.append(found[0])
            inertia.append(found[1])
        every = torch.cat(inertia).cpu().numpy()
        best = np.argsort(every, kind="stable")[:POLISHED]
        return torch.cat(labels)[torch.from_numpy(best).to(device)].long().cpu().numpy()


def _squared_distances(points: torch.Tensor) -> torch.Tensor:
    """(n, n) squared Euclidean distances."""
    # Centred, the products are smaller and so is their rounding.
    points = points - points.mean(dim=0)
    squared = points.square().sum(dim=1)
    distances = (points @ points.T).mul_(-2).add_(squared[:, None]).add_(squared).clamp_(min=0)
    return distances.fill_diagonal_(0)


def _greedy_start(distances: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Nearest of k centres, which are points drawn one after the other by their squared distance to the
    others.

    Of several draws the one is kept that leaves the least inertia.

    Args:
        distances: (n, n) squared.
        uniform: (restarts, k, draws) random numbers in [0, 1).

    Returns:
        (restarts, n) int64 labels.
    """
    import torch

    n = len(distances)
    restarts, k, _ = uniform.shape
    each = torch.arange(restarts, device=distances.device)
    closest = distances[(uniform[:, 0, 0] * n).long()]
    labels = torch.zeros(restarts, n, dtype=torch.int64, device=distances.device)
    for cluster in range(1, k):
        mass = closest.cumsum(dim=1, dtype=torch.float64)
        drawn = torch.searchsorted(mass, uniform[:, cluster] * mass[:, -1:], right=True).clamp_(max=n - 1)
        after = torch.minimum(distances[drawn], closest[:, None])
        nearest = after[each, after.sum(dim=2).argmin(dim=1)]
        labels[nearest < closest] = cluster
        closest = nearest
    return labels


def _lloyd(
    distances: torch.Tensor, labels: torch.Tensor, k: int, tolerance: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run Lloyd's algorithm from ``labels`` (restarts, n) for all restarts at once.

    Returns:
        (restarts, n) labels and (restarts,) float64 inertia.
    """
    import torch

    restarts = len(labels)
    final_labels = torch.empty_like(labels)
    final_inertia = torch.empty(restarts, dtype=torch.float64, device=labels.device)
    running = torch.arange(restarts, device=labels.device)
    for iteration in range(MAX_ITERATIONS):
        counts, sums = _distance_sums(distances, labels, k)
        own = sums.gather(1, labels[:, None])[:, 0]
        within = torch.zeros_like(counts).scatter_add_(1, labels, own.double()) / 2
        # sums becomes the squared distances to the centres; where there are no points, there is no centre.
        sums.mul_((1 / counts).float()[:, :, None]).sub_((within / counts.square()).float()[:, :, None])
        sums.masked_fill_(counts[:, :, None] == 0, torch.inf)
        nearest, cluster = sums.min(dim=1)
        moves = nearest < sums.gather(1, labels[:, None])[:, 0] - tolerance
        done = ~moves.any(dim=1)
        if iteration == MAX_ITERATIONS - 1:
            done[:] = True
        final_labels[running[done]] = labels[done]
        final_inertia[running[done]] = (within / counts).nan_to_num().sum(dim=1)[done]
        running, labels = running[~done], torch.where(moves, cluster, labels)[~done]
        if not len(running):
            break
    return final_labels, final_inertia


def _distance_sums(
    distances: torch.Tensor, labels: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points a cluster, (restarts, k) float64, and the sums of their rows of D, (restarts, k, n) float32."""
    import torch

    restarts, n = labels.shape
    counts = torch.zeros(restarts, k, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(1, labels, torch.ones_like(labels))
    # An embedding bag adds up chosen rows of a table, many times faster than a product with zeros and ones.
    members = labels.argsort(dim=1, stable=True).flatten()
    start = counts.flatten().cumsum(0) - counts.flatten()
    sums = torch.nn.functional.embedding_bag(members, distances, start, mode="sum")
    return counts.double(), sums.view(restarts, k, n)
