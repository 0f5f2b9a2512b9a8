"""The report's numbers are means and differences that a reader can redo by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mfc.config import Report
from mfc.errors import UserError
from mfc.report.tables import compare, comparison_markdown, summarise
from mfc.stages.report import run
from tests.recorder import Recorder

CONFIG = Report(resamples=200)


def scores(rows: list[tuple[str, int, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["title", "seed", "accuracy", "nmi"])


BEFORE = scores([("That'sYuki", 0, 0.4, 0.6), ("Neko|Michi", 0, 0.6, 0.8), ("Alone", 0, 0.1, 0.1)])
AFTER = scores([("That'sYuki", 0, 0.5, 0.6), ("That'sYuki", 1, 0.7, 0.8), ("Neko|Michi", 0, 0.6, 0.7)])


def test_hand_worked_table() -> None:
    """Means over seeds first, then over the titles that both sides have."""
    summary = summarise(CONFIG, BEFORE, AFTER, "test")
    table = summary.table.set_index("title")
    assert table.index.tolist() == ["That'sYuki", "Neko|Michi", "mean"]
    assert table["accuracy_pretrained"].tolist() == pytest.approx([0.4, 0.6, 0.5])
    assert table["accuracy_adapted"].tolist() == pytest.approx([0.6, 0.6, 0.6])
    assert table["accuracy_difference"].tolist() == pytest.approx([0.2, 0.0, 0.1])
    assert table["nmi_difference"].tolist() == pytest.approx([0.1, -0.1, 0.0])
    assert np.isnan(table["accuracy_pretrained_sd"]).all()
    assert table["accuracy_adapted_sd"].tolist() == pytest.approx([0.2 / 2**0.5, np.nan, np.nan], nan_ok=True)
    mean, low, high = summary.intervals["accuracy_difference"]
    assert mean == pytest.approx(0.1)
    assert low <= mean <= high


def test_markdown_shows_every_title_and_the_paper() -> None:
    """One line a title, the mean in bold, the published rows marked as Manga109 and not run here."""
    lines = summarise(CONFIG, BEFORE, AFTER, "test").markdown.splitlines()
    # Two seeds, 0.5 and 0.7: their standard deviation is 0.1·√2.
    assert "| That'sYuki | 0.400 | 0.600 ± 0.141 | +0.200 | 0.600 | 0.700 ± 0.141 | +0.100 |" in lines
    assert any(line.startswith("| **mean** | **0.500** | **0.600** | **+0.100** |") for line in lines)
    paper = next(line for line in lines if "the paper" in line)
    assert "Manga109" in paper
    assert "not run here" in paper
    assert paper.endswith("| 0.480 | 0.640 | +0.160 | 0.630 | 0.710 | +0.080 |")


def test_a_title_cannot_break_the_table() -> None:
    """A vertical bar in a title is escaped: every row has as many cells."""
    lines = summarise(CONFIG, BEFORE, AFTER, "a|b").markdown.splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_what_is_logged() -> None:
    """Table as Markdown and CSV, a figure, and the means as metrics named kind/metric."""
    log = Recorder()
    run(CONFIG, BEFORE, AFTER, "test", log)
    assert {"report.md", "report.csv"} <= set(log.texts)
    assert "report" in log.figures
    assert log.values["pretrained/accuracy"] == pytest.approx(0.5)
    assert log.values["adapted/nmi"] == pytest.approx(0.7)
    assert log.values["difference/accuracy"] == pytest.approx(0.1)


def test_no_common_title_is_an_error() -> None:
    """The sentence says what to run."""
    with pytest.raises(UserError, match="no title has both"):
        summarise(CONFIG, BEFORE, AFTER.assign(title="other"), "test")


def runs(values: np.ndarray, stage: str = "finetune") -> pd.DataFrame:
    """(titles, seeds) → rows as the runs of MLflow give them, with a parent that has no title."""
    rows = [
        {"stage": stage, "title": f"t{i}", "seed": str(j), "test/accuracy": value}
        for (i, j), value in np.ndenumerate(values)
    ]
    return pd.DataFrame([{"stage": "main", "title": None, "seed": None, "test/accuracy": 0.0}, *rows])


def test_a_clear_gain_is_told_from_noise() -> None:
    """Ten titles that all gain a tenth: better. The same scores in another order of seeds: not told apart."""
    random = np.random.default_rng(0)
    base = random.uniform(0.3, 0.7, (10, 1)) + random.normal(0, 0.01, (10, 3))
    table = compare(CONFIG, {"a": runs(base), "b": runs(base + 0.1)})
    [row] = table.itertuples()
    assert (row.stage, row.metric, row.titles, row.verdict) == ("finetune", "test/accuracy", 10, "better")
    assert row.difference == pytest.approx(0.1)
    assert row.low < 0.1 < row.high
    assert compare(CONFIG, {"a": runs(base + 0.1), "b": runs(base)})["verdict"].tolist() == ["worse"]
    assert compare(CONFIG, {"a": runs(base), "b": runs(base[:, ::-1])})["verdict"].tolist() == [
        "not told apart"
    ]
    text = comparison_markdown(table, ["a", "b"], 0.95)
    assert "| finetune | test/accuracy | 10 | 3, 3 |" in text
    assert "| +0.100 |" in text


def test_pairing_uses_common_titles_only() -> None:
    """Titles that one side lacks do not count."""
    table = compare(CONFIG, {"a": runs(np.full((4, 1), 0.5)), "b": runs(np.full((3, 2), 0.6))})
    assert table[["titles", "A", "B"]].iloc[0].tolist() == pytest.approx([3, 0.5, 0.6])


def test_nothing_to_compare_is_an_error() -> None:
    """Runs without scored titles are named."""
    empty = runs(np.full((2, 1), 0.5)).head(1)
    with pytest.raises(UserError, match="runs a and b have no scored title in common"):
        compare(CONFIG, {"a": empty, "b": empty})


def test_one_title_has_no_interval() -> None:
    """A single value gives a dash, not `nan`."""
    summary = summarise(CONFIG, BEFORE.head(1), AFTER.head(1), "test")
    assert "nan" not in summary.markdown
    assert "interval over titles and seeds | – |" in summary.markdown
