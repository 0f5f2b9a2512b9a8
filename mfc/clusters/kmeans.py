"""k-means, best of many restarts, fast at the size of a title: the protocol that compares encoders."""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mfc.errors import UserError
from mfc.log import progress

if TYPE_CHECKING:
    import torch

MAX_ITERATIONS = 300
FINISHED = 5
"""So many of the best restarts are finished in full dimension."""
BATCH_BYTES = 1 << 22
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


def kmeans(
    features: NDArray[np.float32],
    n_clusters: int,
    *,
    n_init: int = 1000,
    seed: int = 0,
    device: str = "cpu",
) -> KMeansResult:
    """The least inertia that many runs of Lloyd's algorithm find, each from a greedy k-means++ start.

    The algorithms are scikit-learn's (`KMeans`; Lloyd, 1982; Arthur and Vassilvitskii, SODA 2007), computed
    another way. A centre is the mean of its points, so with D the squared distances of all points, the
    squared distance of point i to the centre of a cluster C is Σ_{j∈C} D_ij / |C| - Σ_{j,k∈C} D_jk / 2|C|²:
    exact, without coordinates. D is computed once; an iteration adds up its rows, for many restarts at once.

    At last scikit-learn finishes the best few in full dimension.

    With fewer different points than clusters, equal points share a cluster and the surplus clusters stay
    empty: identical vectors are all in one.

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
        return _polish(features, n_clusters, "k-means++", n_init, seed)
    finished = [
        _polish(features, n_clusters, _centres(features, labels, n_clusters), 1, seed)
        for labels in _best_restarts(features, n_clusters, n_init, seed, device)
    ]
    return min(finished, key=lambda result: result.inertia)


def import_ahead() -> None:
    """Begin to import scikit-learn, which takes half a second, while a network computes."""
    # No daemon: an interpreter that ends amid an import may crash.
    threading.Thread(target=importlib.import_module, args=("sklearn.cluster",)).start()


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
    return KMeansResult(labels, inertia, centres)


def _centres(features: NDArray[np.float32], labels: NDArray[np.int64], k: int) -> NDArray[np.float32]:
    """Means of the clusters; one without points sits on the point that is farthest from its own centre."""
    centres = np.zeros((k, features.shape[1]), np.float32)
    used = np.unique(labels)
    for cluster in used:
        centres[cluster] = features[labels == cluster].mean(axis=0, dtype=np.float64)
    empty = np.setdiff1d(np.arange(k), used)
    if len(empty):
        away = np.square(features - centres[labels]).sum(axis=1)
        centres[empty] = features[np.argsort(-away, kind="stable")[: len(empty)]]
    return centres


def _best_restarts(
    features: NDArray[np.float32], k: int, n_init: int, seed: int, device: str
) -> list[NDArray[np.int64]]:
    """Labels (n,) of the few restarts with the least inertia."""
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
        best = torch.from_numpy(np.argsort(every, kind="stable")[:FINISHED]).to(device)
        return list(torch.cat(labels)[best].cpu().numpy())


def _squared_distances(points: torch.Tensor) -> torch.Tensor:
    """(n, n) squared Euclidean distances."""
    # Centred, the products are smaller and so is their rounding.
    points = points - points.mean(dim=0)
    squared = points.square().sum(dim=1)
    distances = (points @ points.T).mul_(-2).add_(squared[:, None]).add_(squared).clamp_(min=0)
    return distances.fill_diagonal_(0)


def _greedy_start(distances: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Nearest of k centres: points, drawn one after the other by their squared distance to the ones before.

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
        # Squared distance to a centre: sums · factor + offset; to a cluster without points, infinite.
        factor = (1 / counts).nan_to_num(posinf=0).float()
        offset = (-within / counts.square()).nan_to_num(nan=torch.inf).float()
        nearest, cluster = torch.addcmul(offset[:, :, None], sums, factor[:, :, None]).min(dim=1)
        now = torch.addcmul(offset.gather(1, labels), own, factor.gather(1, labels))
        moves = nearest < now - tolerance
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
