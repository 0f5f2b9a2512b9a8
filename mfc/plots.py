"""Figures. Each function takes data and returns a matplotlib Figure; none shows or saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

BEFORE, AFTER, REFERENCE = "#8c8c8c", "#0b6e99", "#b5482a"


def paired_titles(
    titles: Sequence[str],
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    published: Mapping[str, tuple[float, float]],
) -> Figure:
    """Per title and metric, the pre-trained value and the adapted one, joined by a line.

    Args:
        titles: (t,) names, drawn from top to bottom.
        before, after: metric name → (t,) values in 0..1.
        published: metric name → (before, after) means of the paper, drawn as dashed lines.
    """
    figure = Figure(figsize=(4.6 * len(before) + 1.6, 0.36 * len(titles) + 1.9), layout="constrained")
    axes = figure.subplots(1, len(before), sharey=True, squeeze=False)[0]
    rows = np.arange(len(titles))
    for axis, name in zip(axes, before, strict=True):
        axis.hlines(rows, before[name], after[name], color="#c9c9c9", linewidth=2, zorder=1)
        axis.scatter(before[name], rows, color=BEFORE, s=42, zorder=2, label="pre-trained")
        axis.scatter(after[name], rows, color=AFTER, s=42, zorder=3, label="adapted")
        for value, colour in ((before[name].mean(), BEFORE), (after[name].mean(), AFTER)):
            axis.axvline(value, color=colour, linewidth=1.2, zorder=0)
        for value in published[name]:
            axis.axvline(value, color=REFERENCE, linewidth=1, linestyle=(0, (4, 4)), zorder=0)
        axis.set(title=name, xlim=(0, 1), xlabel="solid: means here · dashed: paper, on Manga109")
        axis.grid(axis="x", color="#eeeeee")
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(rows, titles)
    axes[0].invert_yaxis()
    axes[0].legend(loc="lower left", frameon=False, fontsize="small")
    return figure
