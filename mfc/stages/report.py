"""report: per title and mean, pre-trained against adapted, beside the rows that the paper published."""

from __future__ import annotations

import math

import pandas as pd

from mfc.clusters.metrics import PAPER, headline
from mfc.config import Report
from mfc.corpus.sheets import formula_safe
from mfc.log import Log
from mfc.report.figures import paired_titles
from mfc.report.tables import Summary, summarise


def report_scores(
    config: Report, pretrained: pd.DataFrame, adapted: pd.DataFrame, corpus: str, log: Log
) -> Summary:
    """Compare scores; the table goes to ``log`` as Markdown, CSV, metrics and a figure.

    Args:
        pretrained, adapted: rows (title, seed, metrics…) as `mfc.stages.evaluate` and `finetune` made them.
        corpus: name of the data, for the caption.
    """
    summary = summarise(config, pretrained, adapted, corpus)
    titles = summary.table["title"][:-1].tolist()
    before, after = (
        {m.label: summary.table[f"{m.name}_{kind}"].to_numpy()[:-1] for m in headline()}
        for kind in ("pretrained", "adapted")
    )
    published = {m.label: m.published[PAPER] for m in headline() if PAPER in m.published}
    log.text("report.md", summary.markdown)
    safe = summary.table.assign(title=summary.table["title"].map(formula_safe))
    log.text("report.csv", safe.to_csv(index=False, float_format="%.6f"))
    log.figure("report", paired_titles(titles, before, after, published))
    log.metrics(
        {
            f"{kind}/{metric}": mean
            for (metric, _, kind), mean in ((k.rpartition("_"), v[0]) for k, v in summary.intervals.items())
            if math.isfinite(mean)
        }
    )
    return summary
