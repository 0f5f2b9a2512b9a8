"""promote: may a registered encoder take the champion's place? Decided by a paired interval over titles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mfc.clusters.metrics import METRICS
from mfc.config import SPLITS, Intervals, Promote
from mfc.errors import UserError
from mfc.log import Log
from mfc.report.tables import estimators, interval_text, markdown_table, means_of_rows, number_text, percent


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
    if not slash or split not in SPLITS or name not in METRICS:
        raise UserError(
            f"metric: {config.metric!r} is not SPLIT/NAME with a split of {', '.join(SPLITS)} and a name of "
            f"{', '.join(METRICS)}"
        )
    return split, name


def decide(
    config: Promote,
    intervals: Intervals,
    titles: Sequence[str],
    champion: np.ndarray,
    candidate: np.ndarray,
    log: Log,
) -> Verdict:
    """Compare the scores of two encoders on the same titles.

    The gain is the mean paired difference, candidate - champion, or champion - candidate where less is
    better. The candidate is better when the whole interval of the gain lies above ``config.min_gain``. A
    single title leaves nothing to estimate an error from, so nothing is better by it.

    Args:
        champion, candidate: (titles, seeds) float64 of ``config.metric``; NaN where a title has none.

    Raises:
        UserError: when no title has a value of both encoders.
    """
    _, difference = estimators(intervals)
    _, name = metric_of(config)
    old, new = means_of_rows(champion), means_of_rows(candidate)
    paired = np.isfinite(old) & np.isfinite(new)
    if not paired.any():
        raise UserError(f"metric: no title has {config.metric} of both encoders; choose by another one")
    sides = (champion, candidate) if METRICS[name].higher_is_better else (candidate, champion)
    gain, low, high = difference(*sides)
    better = bool(low > config.min_gain)
    values = {"gain": gain, "low": low, "high": high}
    log.metrics({f"promote/{name}": value for name, value in values.items() if math.isfinite(value)})
    span = interval_text(low, high, "+") if math.isfinite(low) else "none, for want of titles"
    coverage = f"{percent(intervals.confidence)} interval"
    place = "above" if better else "not wholly above"
    sentence = (
        f"{config.metric} {gain:+.3f} ({coverage} over {paired.sum()} titles: {span}), "
        f"{place} {config.min_gain:g}"
    )
    gains = new - old if sides[1] is candidate else old - new
    rows = [
        [title, number_text(before), number_text(after), number_text(gained, "+")]
        for title, before, after, gained in zip(titles, old, new, gains, strict=True)
    ]
    means = (number_text(old[paired].mean()), number_text(new[paired].mean()), number_text(gain, "+"))
    rows += [[f"**{cell}**" for cell in ("mean", *means)], [coverage, "", "", span]]
    markdown = markdown_table([config.metric, "champion", "candidate", "gain"], rows)
    return Verdict(better, gain, low, high, sentence, markdown)
