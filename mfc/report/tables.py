"""Tables of scores: per title and mean, pre-trained against adapted, beside what the paper published."""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mfc.clusters.intervals import Interval, bootstrap_interval, paired_difference
from mfc.clusters.metrics import METRICS, SOURCES, headline
from mfc.config import SPLITS, Intervals
from mfc.errors import UserError

NO_VALUE: Interval = (np.nan, np.nan, np.nan)
KINDS: Mapping[str, str] = {"pretrained": "pre-trained", "adapted": "adapted", "difference": "difference"}
"""What a report shows of a metric, and how it is called."""


@dataclass(frozen=True)
class Summary:
    """The comparison of two sets of scores."""

    table: pd.DataFrame
    """A row a title (mean over seeds), then `mean`: columns `<metric>_{pretrained,adapted,difference}`, and
    `<metric>_{pretrained,adapted}_sd`, the standard deviation over seeds (NaN for one seed)."""
    intervals: Mapping[str, Interval]
    """Column of the table → (mean, low, high) over titles and seeds; NaN where there is none."""
    markdown: str

    @property
    def sentence(self) -> str:
        """The means in one line of Markdown."""
        parts = []
        for metric in headline():
            before, after = (self.intervals[f"{metric.name}_{kind}"][0] for kind in ("pretrained", "adapted"))
            mean, low, high = self.intervals[f"{metric.name}_difference"]
            parts.append(
                f"{metric.label} {number_text(before)} → **{number_text(after)}** "
                f"({number_text(mean, '+')}; {interval_text(low, high, '+')})"
            )
        return ", ".join(parts)


def summarise(config: Intervals, pretrained: pd.DataFrame, adapted: pd.DataFrame, corpus: str) -> Summary:
    """Put the scores of the titles that both sets have side by side.

    The means of a metric are over the titles that have it on both sides; without any they are NaN, and shown
    as a dash.

    Args:
        pretrained, adapted: rows (title, seed, metrics…).
        corpus: name of the data, for the head of the table.

    Raises:
        UserError: when the two have no title in common.
    """
    there = set(adapted.get("title", ()))
    titles = [title for title in dict.fromkeys(pretrained.get("title", ())) if title in there]
    if not titles:
        raise UserError("report: no title has both pre-trained and adapted scores; run `mfc main` first")
    interval, difference = estimators(config)
    columns: dict[str, list[object]] = {"title": [*titles, "mean"]}
    intervals: dict[str, Interval] = {}
    for metric in headline():
        before, after = (titles_by_seeds(scores, titles, metric.name) for scores in (pretrained, adapted))
        paired = np.isfinite(before).any(axis=1) & np.isfinite(after).any(axis=1)
        before, after = (np.where(paired[:, None], scores, np.nan) for scores in (before, after))
        spans = [NO_VALUE] * 3
        if paired.any():
            spans = [interval(before), interval(after), difference(before, after)]
        means = [means_of_rows(before), means_of_rows(after)]
        for kind, span, values in zip(KINDS, spans, [*means, means[1] - means[0]], strict=True):
            intervals[f"{metric.name}_{kind}"] = span
            columns[f"{metric.name}_{kind}"] = [*values.tolist(), float(means_of_rows(values[None])[0])]
        for kind, scores in (("pretrained", before), ("adapted", after)):
            sd, sd_of_mean = _sd(scores), _sd(_complete_mean(scores[paired]))
            columns[f"{metric.name}_{kind}_sd"] = [*sd.tolist(), float(sd_of_mean[0])]
    table = pd.DataFrame(columns)
    return Summary(table, intervals, _markdown(table, intervals, config.confidence, corpus))


def estimators(config: Intervals) -> tuple[Callable[..., Interval], Callable[..., Interval]]:
    """`bootstrap_interval` and `paired_difference` with the report's settings."""
    settings: dict[str, Any] = {
        "confidence": config.confidence,
        "resamples": config.resamples,
        "seed": config.seed,
    }
    return functools.partial(bootstrap_interval, **settings), functools.partial(paired_difference, **settings)


def titles_by_seeds(scores: pd.DataFrame, titles: list[str], metric: str) -> np.ndarray:
    """(titles, seeds) float64, NaN where a seed was not run or has no value."""
    if metric not in scores.columns:
        return np.full((len(titles), 1), np.nan)
    wide = scores.pivot_table(index="title", columns="seed", values=metric, aggfunc="last")
    return wide.reindex(titles).to_numpy(dtype=np.float64)


def means_of_rows(scores: np.ndarray) -> np.ndarray:
    """(rows,) mean of each row's finite values; NaN where there is none."""
    counts = np.isfinite(scores).sum(axis=1)
    return np.divide(np.nansum(scores, axis=1), counts, out=np.full(len(scores), np.nan), where=counts > 0)


def _sd(scores: np.ndarray) -> np.ndarray:
    """(titles,) standard deviation over seeds (n - 1); NaN where fewer than two seeds were run."""
    counts = np.isfinite(scores).sum(axis=1)
    centred = np.nan_to_num(scores - means_of_rows(scores)[:, None])
    squares = np.square(centred).sum(axis=1)
    return np.sqrt(np.divide(squares, counts - 1, out=np.full(len(scores), np.nan), where=counts > 1))


def _complete_mean(scores: np.ndarray) -> np.ndarray:
    """(1, seeds) mean over titles of the seeds that every title was run with."""
    complete = scores[:, np.isfinite(scores).all(axis=0)]
    return complete.mean(axis=0, keepdims=True) if complete.size else np.full((1, 1), np.nan)


def _markdown(table: pd.DataFrame, intervals: Mapping[str, Interval], confidence: float, corpus: str) -> str:
    metrics = headline()
    *titles, mean = table.to_dict("records")
    rows = [[str(row["title"]), *(_before_after(row, metric.name) for metric in metrics)] for row in titles]
    rows.append(_strong(["mean", *(_before_after(mean, metric.name) for metric in metrics)]))
    differences = (number_text(mean[f"{metric.name}_difference"], "+") for metric in metrics)
    rows.append(_strong(["difference", *differences]))
    for kind, name in KINDS.items():
        sign = "+" if kind == "difference" else ""
        spans = (interval_text(*intervals[f"{metric.name}_{kind}"][1:], sign) for metric in metrics)
        rows.append([f"{percent(confidence)} interval: {name}", *spans])
    for source in SOURCES:
        published = (metric.published.get(source, (np.nan, np.nan)) for metric in metrics)
        rows.append([f"_{source}_", *(_arrow(*values) for values in published)])
    head = [corpus, *(metric.label for metric in metrics)]
    return markdown_table(head, rows) + "\nPre-trained → adapted; intervals over titles and seeds.\n"


def _before_after(row: Mapping[Hashable, Any], metric: str) -> str:
    columns = ("pretrained", "adapted", "pretrained_sd", "adapted_sd")
    return _arrow(*(row[f"{metric}_{column}"] for column in columns))


def _arrow(before: float, after: float, *sds: float) -> str:
    """Two means over seeds, each with its standard deviation where several were run; a dash without both."""
    if not np.isfinite([before, after]).all():
        return "–"
    spreads = (f" ± {sd:.3f}" if np.isfinite(sd) else "" for sd in sds or (np.nan, np.nan))
    return " → ".join(f"{mean:.3f}{spread}" for mean, spread in zip((before, after), spreads, strict=True))


def compare(config: Intervals, runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Two pipelines, or two variants of one, side by side: paired differences with intervals.

    Args:
        runs: name → rows (stage, title, seed, `test/accuracy`, …) of its scores, two of them. A metric that
            one of them lacks is left out.

    Returns:
        Rows (stage, metric, titles, seeds, mean of A, mean of B, difference B - A, low, high, verdict). The
        verdict is "better" or "worse" when the interval leaves out 0, else "not told apart".

    Raises:
        UserError: when the two have no title in common.
    """
    (name_a, a), (name_b, b) = runs.items()
    _, difference = estimators(config)
    rows: list[dict[str, object]] = []
    shown = [metric for metric in METRICS.values() if metric.headline or metric.compared]
    for stages, split, metric in itertools.product(_stages(a, b), SPLITS, shown):
        wide = [
            _scored(table, stage, f"{split}/{metric.name}")
            for table, stage in zip((a, b), stages, strict=True)
        ]
        titles = wide[0].index.intersection(wide[1].index)
        if titles.empty:
            continue
        before, after = (table.loc[titles].to_numpy(dtype=np.float64) for table in wide)
        mean, low, high = difference(before, after)
        gained = "better" if (low > 0) == metric.higher_is_better else "worse"
        rows.append(
            {
                "stage": ", ".join(dict.fromkeys(stages)),
                "metric": f"{split}/{metric.name}",
                "titles": len(titles),
                "seeds": f"{before.shape[1]}, {after.shape[1]}",
                "A": means_of_rows(before).mean(),
                "B": means_of_rows(after).mean(),
                "difference": mean,
                "low": low,
                "high": high,
                "verdict": gained if low > 0 or high < 0 else "not told apart",
            }
        )
    if not rows:
        raise UserError(
            f"compare: {name_a} and {name_b} have no scored title in common; give two `main` runs, two "
            "`evaluate` or `finetune` runs, or two variants, of the same corpus"
        )
    return pd.DataFrame(rows)


def _stages(a: pd.DataFrame, b: pd.DataFrame) -> list[tuple[str, str]]:
    """Which stage of A to compare with which of B: the same ones, or the only one that each has."""
    only = [sorted(set(table["stage"].dropna())) for table in (a, b)]
    if all(len(stages) == 1 for stages in only):
        return [(only[0][0], only[1][0])]
    return [("evaluate", "evaluate"), ("finetune", "finetune")]


def comparison_markdown(table: pd.DataFrame, names: Sequence[str], confidence: float) -> str:
    """The rows of `compare` as a Markdown table."""
    rows = [
        [
            *(str(row[key]) for key in ("stage", "metric", "titles", "seeds")),
            *(number_text(row[key]) for key in ("A", "B")),
            number_text(row["difference"], "+"),
            interval_text(row["low"], row["high"], "+"),
            str(row["verdict"]),
        ]
        for row in table.to_dict("records")
    ]
    head = ["stage", "metric", "titles", "seeds", "A", "B", "B - A", "interval", "B is"]
    return (
        f"A = {names[0]}, B = {names[1]}; differences are paired by title, {percent(confidence)} intervals "
        f"over titles and seeds\n\n{markdown_table(head, rows, texts=(0, 1, 8))}"
    )


def _scored(table: pd.DataFrame, stage: str, metric: str) -> pd.DataFrame:
    """(titles, seeds) of one metric; empty when the run does not have it."""
    if metric not in table.columns:
        return pd.DataFrame()
    rows = table[(table["stage"] == stage) & table["title"].notna() & table[metric].notna()]
    return rows.pivot_table(index="title", columns="seed", values=metric, aggfunc="last")


def headline_text(scores: Mapping[str, float], mark: str = "") -> str:
    """The headline metrics of one score in words: ``accuracy 0.590, NMI 0.595, …``.

    Args:
        scores: metric → value; one that is not there is a dash.
        mark: put before and after each number, e.g. ``**``.
    """
    values = ((metric.label, scores.get(metric.name, np.nan)) for metric in headline())
    return ", ".join(f"{label} {mark}{number_text(value)}{mark}" for label, value in values)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: Collection[int] = (0,)) -> str:
    """A Markdown table whose columns stand below each other in a terminal, too.

    Args:
        head, rows: cells, as many in each row; a vertical bar in one is escaped.
        texts: the columns that hold text, aligned to the left; numbers are aligned to the right.
    """
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    rule = "|".join("-" * (width + 1) + ("-" if i in texts else ":") for i, width in enumerate(widths))
    lines = [
        " | ".join(
            cell + " " * (width - _width(cell)) if i in texts else " " * (width - _width(cell)) + cell
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])]) + "\n"


def _width(text: str) -> int:
    """Columns that a terminal gives a text; a Chinese or Japanese letter takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _strong(cells: Iterable[str]) -> list[str]:
    return [f"**{cell}**" for cell in cells]


def percent(share: float) -> str:
    """0.95 → 95%, 0.999 → 99.9%."""
    return f"{100 * share:g}%"


def number_text(value: float, sign: str = "") -> str:
    """Three decimals; a dash for what there is not."""
    return f"{value:{sign}.3f}" if np.isfinite(value) else "–"


def interval_text(low: float, high: float, sign: str = "") -> str:
    """An interval as text; a dash where one value alone leaves nothing to estimate an error from."""
    return f"{low:{sign}.3f} … {high:{sign}.3f}" if np.isfinite([low, high]).all() else "–"
