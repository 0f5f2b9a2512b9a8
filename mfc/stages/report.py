"""report: per title and mean, pre-trained against adapted, beside the rows that the paper published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mfc.config import Report
from mfc.errors import UserError
from mfc.log import Log
from mfc.metrics import bootstrap_interval
from mfc.plots import paired_titles

METRICS: Mapping[str, str] = {"accuracy": "accuracy", "nmi": "NMI"}

PAPER: Mapping[str, tuple[float, float]] = {"accuracy": (0.48, 0.64), "nmi": (0.63, 0.71)}
"""Means over the 11 test titles of Manga109, as published (Tsubota et al., SIGGRAPH Asia 2018 Posters)."""

REIMPLEMENTATION: Mapping[str, tuple[float, float]] = {"accuracy": (0.472, 0.666), "nmi": (0.615, 0.718)}
"""The same from the public re-implementation of the paper."""


@dataclass(frozen=True)
class Summary:
    """The comparison of two sets of scores."""

    table: pd.DataFrame
    """A row a title (mean over seeds), then `mean`: columns `<metric>_{pretrained,adapted,difference}`."""
    intervals: Mapping[str, tuple[float, float, float]]
    """Column of the table → (mean, low, high) over titles and seeds."""
    markdown: str


def run(config: Report, pretrained: pd.DataFrame, adapted: pd.DataFrame, corpus: str, log: Log) -> Summary:
    """Compare scores; the table goes to ``log`` as Markdown, CSV, metrics and a figure.

    Args:
        pretrained, adapted: rows (title, seed, metrics…) as `mfc.stages.evaluate` and `finetune` made them.
        corpus: name of the data, for the caption.
    """
    summary = summarise(config, pretrained, adapted, corpus)
    titles = summary.table["title"][:-1].tolist()
    columns = {
        kind: {label: summary.table[f"{m}_{kind}"].to_numpy()[:-1] for m, label in METRICS.items()}
        for kind in ("pretrained", "adapted")
    }
    published = {label: PAPER[metric] for metric, label in METRICS.items()}
    log.text("report.md", summary.markdown)
    log.text("report.csv", summary.table.to_csv(index=False, float_format="%.6f"))
    log.figure("report", paired_titles(titles, columns["pretrained"], columns["adapted"], published))
    log.metrics(
        {f"{k.rpartition('_')[2]}/{k.rpartition('_')[0]}": v[0] for k, v in summary.intervals.items()}
    )
    return summary


def summarise(config: Report, pretrained: pd.DataFrame, adapted: pd.DataFrame, corpus: str) -> Summary:
    """Put the scores of the titles that both sets have side by side."""
    titles = [t for t in dict.fromkeys(pretrained["title"]) if t in set(adapted["title"])]
    if not titles:
        raise UserError("report: no title has both pre-trained and adapted scores; run `mfc main` first")
    columns: dict[str, list[object]] = {"title": [*titles, "mean"]}
    intervals: dict[str, tuple[float, float, float]] = {}
    for metric in METRICS:
        before, after = (_titles_by_seeds(scores, titles, metric) for scores in (pretrained, adapted))
        difference = after - np.nanmean(before, axis=1, keepdims=True)
        for kind, values in (("pretrained", before), ("adapted", after), ("difference", difference)):
            intervals[f"{metric}_{kind}"] = bootstrap_interval(
                values, confidence=config.confidence, resamples=config.resamples, seed=config.seed
            )
            means = np.nanmean(values, axis=1)
            columns[f"{metric}_{kind}"] = [*means.tolist(), float(means.mean())]
    table = pd.DataFrame(columns)
    return Summary(table, intervals, _markdown(table, intervals, config.confidence, corpus))


def _titles_by_seeds(scores: pd.DataFrame, titles: Sequence[str], metric: str) -> np.ndarray:
    """(titles, seeds) float64, NaN where a seed was not run."""
    wide = scores.pivot_table(index="title", columns="seed", values=metric, aggfunc="last")
    return wide.reindex(titles).to_numpy(dtype=np.float64)


def _markdown(
    table: pd.DataFrame, intervals: Mapping[str, tuple[float, float, float]], confidence: float, corpus: str
) -> str:
    kinds = ("pretrained", "adapted", "difference")
    head = " | ".join(
        f"{label} {kind.replace('pre', 'pre-')}" for label in METRICS.values() for kind in kinds
    )
    lines = [f"| {corpus} | {head} |", "|---|" + "---:|" * (3 * len(METRICS))]
    for row in table.to_dict("records"):
        strong = "**" if row["title"] == "mean" else ""
        cells = (
            f"{row[f'{metric}_{kind}']:{'+' if kind == 'difference' else ''}.3f}"
            for metric in METRICS
            for kind in kinds
        )
        lines.append("| " + " | ".join(f"{strong}{cell}{strong}" for cell in (row["title"], *cells)) + " |")
    spans = (intervals[f"{metric}_{kind}"] for metric in METRICS for kind in kinds)
    cells = (f"{low:.3f} … {high:.3f}" for _, low, high in spans)
    lines.append(f"| {confidence:.0%} interval over titles and seeds | " + " | ".join(cells) + " |")
    for name, rows in (
        ("Manga109, the paper (published; not run here)", PAPER),
        ("Manga109, public re-implementation (published; not run here)", REIMPLEMENTATION),
    ):
        published = (
            f"{before:.3f} | {after:.3f} | {after - before:+.3f}"
            for before, after in (rows[metric] for metric in METRICS)
        )
        lines.append(f"| _{name}_ | " + " | ".join(published) + " |")
    return "\n".join(lines) + "\n"
