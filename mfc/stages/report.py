"""report: per title and mean, pre-trained against adapted, beside the rows that the paper published."""

from __future__ import annotations

import pandas as pd

from mfc.config import Report
from mfc.log import Log
from mfc.report.figures import paired_titles
from mfc.report.tables import METRICS, PAPER, Summary, summarise


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
