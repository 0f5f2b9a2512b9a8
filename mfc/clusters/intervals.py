"""How certain a mean of scores is: bootstrap intervals over titles and seeds, also of paired differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float, float]
"""Mean, lower end, upper end."""


RESAMPLES_AT_ONCE = 1 << 22
"""Values drawn in one block of the bootstrap; bounds its memory to some 100 MB."""


def bootstrap_interval(
    values: NDArray[np.float64], *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Mean over titles, and an interval for it, from a bootstrap over titles and over the seeds of each.

    A title's score is the mean of its seeds. Each resample draws titles with replacement and, for each draw,
    as many of its seeds with replacement, which errs a little on the wide side (Davison and Hinkley,
    "Bootstrap Methods and their Application", 1997, section 3.8). The ends are percentiles, moved outwards
    so that few titles do not make the interval too narrow (the expanded percentile interval of Hesterberg,
    "What teachers should know about the bootstrap", The American Statistician 2015). With a single title it
    speaks of that title's seeds only.

    Args:
        values: (titles, seeds) floating point; NaN where a seed was not run. Titles without any are left out.
        confidence: coverage, above 0 and below 1.
        resamples: number of resamples, at least 1; as a rule 10,000.
        seed: of the draws.

    Returns:
        (mean, low, high); low and high are NaN when a single value leaves nothing to estimate an error from.

    Raises:
        ValueError: without any value, or for a number out of its bounds.
    """
    return _bootstrap([np.asarray(values, np.float64)], confidence, resamples, seed)


def paired_difference(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Mean over titles of ``b - a``, and an interval: `bootstrap_interval` with the titles kept together.

    Both sides see the same draw of titles, so what makes a title easy or hard cancels; the seeds of the two
    sides are drawn independently, because equal seeds do not make two methods alike.

    Args:
        a, b: (titles, seeds of a) and (titles, seeds of b), rows of the same titles in the same order, NaN
            where not run. Titles that one side lacks are left out.
        confidence, resamples, seed: see `bootstrap_interval`.

    Raises:
        ValueError: when the numbers of titles differ, no title has both, or a number is out of its bounds.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} titles against {len(b)}: give rows of the same titles")
    return _bootstrap([b, -a], confidence, resamples, seed)


def _bootstrap(parts: list[NDArray[np.float64]], confidence: float, resamples: int, seed: int) -> Interval:
    """Interval of the mean over titles of the sum of the parts' means over seeds."""
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"an interval of confidence {confidence} from {resamples} resamples")
    usable = np.logical_and.reduce([np.isfinite(part).any(axis=1) for part in parts])
    titles = int(usable.sum())
    if not titles:
        raise ValueError("no title has a value")
    compact = [_finite_first(part[usable]) for part in parts]
    mean = float(np.mean(sum(np.nansum(values, axis=1) / counts for values, counts in compact)))
    largest_sample = titles if titles > 1 else max(int(counts[0]) for _, counts in compact)
    if largest_sample == 1:
        return mean, float("nan"), float("nan")

    rng = np.random.default_rng(seed)
    width = sum(v.shape[1] for v, _ in compact) * titles
    block = max(1, RESAMPLES_AT_ONCE // width)
    means = []
    for start in range(0, resamples, block):
        draws = rng.integers(titles, size=(min(block, resamples - start), titles))
        total = np.zeros(draws.shape)
        for values, counts in compact:
            total += _resampled_title_means(values, counts, draws, rng)
        means.append(total.mean(axis=1))
    tail = _expanded_tail((1 - confidence) / 2, largest_sample)
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return mean, float(low), float(high)


def _finite_first(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows with their finite values moved to the left, and how many there are."""
    finite = np.isfinite(values)
    order = np.argsort(~finite, axis=1, kind="stable")
    return np.take_along_axis(np.where(finite, values, np.nan), order, axis=1), finite.sum(axis=1)


def _resampled_title_means(
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
    draws: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """For each drawn title, the mean of as many seeds as it has, with replacement: shape of ``draws``."""
    seeds = values.shape[1]
    drawn = counts[draws][..., None]
    chosen = (rng.random((*draws.shape, seeds)) * drawn).astype(np.int64)
    taken = np.arange(seeds) < drawn
    return np.where(taken, values[draws[..., None], chosen], 0.0).sum(axis=-1) / drawn[..., 0]


def _expanded_tail(tail: float, n: int) -> float:
    """Hesterberg's tail: as the t interval is wider than the normal one, and s/√(n-1) than s/√n."""
    from scipy import stats

    return float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(tail, n - 1)))
