"""promote: may a registered encoder take the champion's place? Decided by a paired interval over titles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mfc.clusters.metrics import clustering_metrics, embedding_metrics
from mfc.config import SPLITS, Promote, Report
from mfc.errors import UserError
from mfc.log import Log
from mfc.report.tables import estimators, interval_text


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate is better, by how much, and the table that says why."""

    better: bool
    gain: float
    low: float
    high: float
    sentence: str
    markdown: str


def metric_of(config: Promote) -> tuple[str, str]:
    """Split and name of ``config.metric``.

    Raises:
        UserError: for anything but ``split/name`` of a metric that `evaluate` logs.
    """
    split, slash, name = config.metric.partition("/")
    pair, vectors = np.array([0, 0]), np.eye(2, dtype=np.float32)
    known = [n for n, _ in (*clustering_metrics(pair, pair), *embedding_metrics(vectors, pair))]
    if not slash or split not in SPLITS or name not in known:
        raise UserError(
            f"metric: {config.metric!r} is not SPLIT/NAME with a split of {', '.join(SPLITS)} and a name of "
            f"{', '.join(known)}"
        )
    return split, name


def decide(
    config: Promote,
    intervals: Report,
    titles: Sequence[str],
    champion: np.ndarray,
    candidate: np.ndarray,
    log: Log,
) -> Verdict:
    """Compare the scores of two encoders on the same titles.

    The candidate is better when the whole interval of the mean paired difference lies above
    ``config.min_gain``. A single title leaves nothing to estimate an error from, so nothing is better by it.

    Args:
        champion, candidate: (titles, seeds) float64 of ``config.metric``.
    """
    _, difference = estimators(intervals)
    gain, low, high = difference(champion, candidate)
    better = bool(low > config.min_gain)
    values = {"gain": gain, "low": low, "high": high}
    log.metrics({f"promote/{name}": value for name, value in values.items() if math.isfinite(value)})
    span = interval_text(low, high, "+") if math.isfinite(low) else "none, for want of titles"
    coverage = f"{intervals.confidence:.0%} interval"
    place = "above" if better else "not wholly above"
    sentence = (
        f"{config.metric} {gain:+.3f} ({coverage} over {len(titles)} titles: {span}), "
        f"{place} {config.min_gain:g}"
    )
    lines = [f"| {config.metric} | champion | candidate | difference |", "|---|---:|---:|---:|"]
    for title, old, new in zip(titles, champion.mean(axis=1), candidate.mean(axis=1), strict=True):
        name = title.replace("|", "\\|")
        lines.append(f"| {name} | {old:.3f} | {new:.3f} | {new - old:+.3f} |")
    lines.append(f"| **mean** | **{champion.mean():.3f}** | **{candidate.mean():.3f}** | **{gain:+.3f}** |")
    lines.append(f"| {coverage} | | | {span} |")
    return Verdict(better, gain, low, high, sentence, "\n".join(lines) + "\n")
