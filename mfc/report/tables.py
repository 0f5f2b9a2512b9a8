"""Tables of scores: per title and mean, pre-trained against adapted, beside what the paper published."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mfc.clusters.intervals import Interval, bootstrap_interval, paired_difference
from mfc.config import SPLITS, Report
from mfc.errors import UserError

METRICS: Mapping[str, str] = {"accuracy": "accuracy", "nmi": "NMI"}

PAPER: Mapping[str, tuple[float, float]] = {"accuracy": (0.48, 0.64), "nmi": (0.63, 0.71)}
"""Means over the 11 test titles of Manga109, as published (Tsubota et al., SIGGRAPH Asia 2018 Posters)."""

REIMPLEMENTATION: Mapping[str, tuple[float, float]] = {"accuracy": (0.472, 0.666), "nmi": (0.615, 0.718)}
"""The same from the public re-implementation of the paper."""

PUBLISHED: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "Manga109, the paper (published; not run here)": PAPER,
    "Manga109, public re-implementation (published; not run here)": REIMPLEMENTATION,
}


@dataclass(frozen=True)
class Summary:
    """The comparison of two sets of scores."""

    table: pd.DataFrame
    """A row a title (mean over seeds), then `mean`: columns `<metric>_{pretrained,adapted,difference}`, and
    `<metric>_{pretrained,adapted}_sd`, the standard deviation over seeds (NaN for one seed)."""
    intervals: Mapping[str, tuple[float, float, float]]
    """Column of the table → (mean, low, high) over titles and seeds."""
    markdown: str

    @property
    def sentence(self) -> str:
        """The means in one line of Markdown."""
        parts = []
        for metric, label in METRICS.items():
            before, after = (self.intervals[f"{metric}_{kind}"][0] for kind in ("pretrained", "adapted"))
            mean, low, high = self.intervals[f"{metric}_difference"]
            parts.append(f"{label} {before:.3f} → **{after:.3f}** ({mean:+.3f}; {low:+.3f} … {high:+.3f})")
        return ", ".join(parts)


def summarise(config: Report, pretrained: pd.DataFrame, adapted: pd.DataFrame, corpus: str) -> Summary:
    """Put the scores of the titles that both sets have side by side."""
    titles = [t for t in dict.fromkeys(pretrained["title"]) if t in set(adapted["title"])]
    if not titles:
        raise UserError("report: no title has both pre-trained and adapted scores; run `mfc main` first")
    interval, difference = estimators(config)
    columns: dict[str, list[object]] = {"title": [*titles, "mean"]}
    intervals: dict[str, tuple[float, float, float]] = {}
    for metric in METRICS:
        before, after = (titles_by_seeds(scores, titles, metric) for scores in (pretrained, adapted))
        intervals[f"{metric}_pretrained"] = interval(before)
        intervals[f"{metric}_adapted"] = interval(after)
        intervals[f"{metric}_difference"] = difference(before, after)
        means = {"pretrained": np.nanmean(before, axis=1), "adapted": np.nanmean(after, axis=1)}
        means["difference"] = means["adapted"] - means["pretrained"]
        for kind, values in means.items():
            columns[f"{metric}_{kind}"] = [*values.tolist(), float(values.mean())]
        for kind, scores in (("pretrained", before), ("adapted", after)):
            columns[f"{metric}_{kind}_sd"] = [*_sd(scores).tolist(), float(_sd(_complete_mean(scores))[0])]
    table = pd.DataFrame(columns)
    return Summary(table, intervals, _markdown(table, intervals, config.confidence, corpus))


def estimators(config: Report) -> tuple[Callable[..., Interval], Callable[..., Interval]]:
    """`bootstrap_interval` and `paired_difference` with the report's settings."""
    settings: dict[str, Any] = {
        "confidence": config.confidence,
        "resamples": config.resamples,
        "seed": config.seed,
    }
    return functools.partial(bootstrap_interval, **settings), functools.partial(paired_difference, **settings)


def titles_by_seeds(scores: pd.DataFrame, titles: list[str], metric: str) -> np.ndarray:
    """(titles, seeds) float64, NaN where a seed was not run."""
    wide = scores.pivot_table(index="title", columns="seed", values=metric, aggfunc="last")
    return wide.reindex(titles).to_numpy(dtype=np.float64)


def _sd(scores: np.ndarray) -> np.ndarray:
    """(titles,) standard deviation over seeds (n - 1); NaN where fewer than two seeds were run."""
    counts = np.isfinite(scores).sum(axis=1)
    centred = np.nan_to_num(scores - np.nanmean(scores, axis=1, keepdims=True))
    squares = np.square(centred).sum(axis=1)
    return np.sqrt(np.divide(squares, counts - 1, out=np.full(len(scores), np.nan), where=counts > 1))


def _complete_mean(scores: np.ndarray) -> np.ndarray:
    """(1, seeds) mean over titles of the seeds that every title was run with."""
    complete = scores[:, np.isfinite(scores).all(axis=0)]
    return complete.mean(axis=0, keepdims=True) if complete.size else np.full((1, 1), np.nan)


def _markdown(
    table: pd.DataFrame, intervals: Mapping[str, tuple[float, float, float]], confidence: float, corpus: str
) -> str:
    kinds = ("pretrained", "adapted", "difference")
    corpus = corpus.replace("|", "\\|")
    head = " | ".join(
        f"{label} {kind.replace('pre', 'pre-')}" for label in METRICS.values() for kind in kinds
    )
    lines = [f"| {corpus} | {head} |", "|---|" + "---:|" * (3 * len(METRICS))]
    for row in table.to_dict("records"):
        strong = "**" if row["title"] == "mean" else ""
        cells = (_cell(row, metric, kind) for metric in METRICS for kind in kinds)
        lines.append(
            "| "
            + " | ".join(
                f"{strong}{cell}{strong}" for cell in (str(row["title"]).replace("|", "\\|"), *cells)
            )
            + " |"
        )
    spans = (intervals[f"{metric}_{kind}"] for metric in METRICS for kind in kinds)
    cells = (interval_text(low, high, "") for _, low, high in spans)
    lines.append(f"| {confidence:.0%} interval over titles and seeds | " + " | ".join(cells) + " |")
    for name, rows in PUBLISHED.items():
        published = (
            f"{before:.3f} | {after:.3f} | {after - before:+.3f}"
            for before, after in (rows[metric] for metric in METRICS)
        )
        lines.append(f"| _{name}_ | " + " | ".join(published) + " |")
    return "\n".join(lines) + "\n"


COMPARED = ("accuracy", "nmi", "ami", "bcubed_f", "map_at_r")
"""The metrics that a comparison of two runs shows."""


def compare(config: Report, runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Two pipelines side by side: a paired difference with its interval, per stage and metric.

    Args:
        runs: name → rows (stage, title, seed, `test/accuracy`, …) of its runs, two of them.

    Returns:
        Rows (stage, metric, titles, seeds, mean of A, mean of B, difference B - A, low, high, verdict). The
        verdict is "better" or "worse" when the interval leaves out 0, else "not told apart".

    Raises:
        UserError: when the two have no title in common.
    """
    (name_a, a), (name_b, b) = runs.items()
    _, difference = estimators(config)
    rows: list[dict[str, object]] = []
    for stage in ("evaluate", "finetune"):
        for split in SPLITS:
            for metric in COMPARED:
                wide = [_scored(table, stage, f"{split}/{metric}") for table in (a, b)]
                titles = wide[0].index.intersection(wide[1].index)
                if titles.empty:
                    continue
                before, after = (table.loc[titles].to_numpy(dtype=np.float64) for table in wide)
                mean, low, high = difference(before, after)
                rows.append(
                    {
                        "stage": stage,
                        "metric": f"{split}/{metric}",
                        "titles": len(titles),
                        "seeds": f"{before.shape[1]}, {after.shape[1]}",
                        "A": np.nanmean(before, axis=1).mean(),
                        "B": np.nanmean(after, axis=1).mean(),
                        "difference": mean,
                        "low": low,
                        "high": high,
                        "verdict": "better" if low > 0 else "worse" if high < 0 else "not told apart",
                    }
                )
    if not rows:
        raise UserError(
            f"report: runs {name_a} and {name_b} have no scored title in common; give two `main` runs, "
            "or two `evaluate` or `finetune` runs of the same corpus"
        )
    return pd.DataFrame(rows)


def comparison_markdown(table: pd.DataFrame, names: Sequence[str], confidence: float) -> str:
    """The rows of `compare` as a Markdown table."""
    lines = [
        f"A = {names[0]}, B = {names[1]}; differences are paired by title, {confidence:.0%} intervals over "
        "titles and seeds",
        "",
        "| stage | metric | titles | seeds | A | B | B - A | interval | B is |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {r['stage']} | {r['metric']} | {r['titles']} | {r['seeds']} | {r['A']:.3f} | {r['B']:.3f} | "
        f"{r['difference']:+.3f} | {interval_text(r['low'], r['high'], '+')} | {r['verdict']} |"
        for r in table.to_dict("records")
    ]
    return "\n".join(lines) + "\n"


def _cell(row: Mapping[Hashable, Any], metric: str, kind: str) -> str:
    """A mean over seeds, with its standard deviation where several were run."""
    sd = row.get(f"{metric}_{kind}_sd", np.nan)
    spread = f" ± {sd:.3f}" if np.isfinite(sd) else ""
    return f"{row[f'{metric}_{kind}']:{'+' if kind == 'difference' else ''}.3f}{spread}"


def interval_text(low: float, high: float, sign: str) -> str:
    """An interval as text; a dash where one value alone leaves nothing to estimate an error from."""
    return f"{low:{sign}.3f} … {high:{sign}.3f}" if np.isfinite([low, high]).all() else "–"


def _scored(table: pd.DataFrame, stage: str, metric: str) -> pd.DataFrame:
    """(titles, seeds) of one metric; empty when the run does not have it."""
    if metric not in table.columns:
        return pd.DataFrame()
    rows = table[(table["stage"] == stage) & table["title"].notna() & table[metric].notna()]
    return rows.pivot_table(index="title", columns="seed", values=metric, aggfunc="last")
