"""The report's numbers are means and differences that a reader can redo by hand."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from mfc.clusters.metrics import METRICS, Metric, clustering_metrics, headline_means
from mfc.config import Promote, Report, build
from mfc.errors import UserError
from mfc.report.tables import compare, comparison_markdown, headline_text, markdown_table, summarise
from mfc.stages.promote import metric_of
from mfc.stages.report import report_scores
from tests.recorder import Recorder

CONFIG = Report(resamples=200)


def scores(rows: list[tuple[str, int, float, float]]) -> pd.DataFrame:
    """AMI and B-cubed F are a tenth below NMI and accuracy."""
    table = pd.DataFrame(rows, columns=["title", "seed", "accuracy", "nmi"])
    return table.assign(ami=table["nmi"] - 0.1, bcubed_f=table["accuracy"] - 0.1)


def lines_of(table: str) -> list[str]:
    """The lines of a Markdown table without the spaces that align it."""
    return re.sub(" +", " ", table).splitlines()


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
    """One line a title, mean and difference in bold, the published rows marked as Manga109 and not run here,
    with a dash where nothing was published."""
    lines = lines_of(summarise(CONFIG, BEFORE, AFTER, "test").markdown)
    assert lines[0] == "| test | accuracy | NMI | AMI | B-cubed F |"
    # Two seeds, 0.5 and 0.7: their standard deviation is 0.1·√2.
    title = (
        "| That'sYuki | 0.400 → 0.600 ± 0.141 | 0.600 → 0.700 ± 0.141 | 0.500 → 0.600 ± 0.141 | 0.300 → 0.5"
    )
    assert any(line.startswith(title) for line in lines)
    assert any(line.startswith("| **mean** | **0.500 → 0.600** | **0.700 → 0.700** |") for line in lines)
    assert any(line.startswith("| **difference** | **+0.100** |") for line in lines)
    assert "| _Manga109, the paper (not run here)_ | 0.480 → 0.640 | 0.630 → 0.710 | – | – |" in lines
    assert "| _Manga109, re-implementation (not run here)_ | 0.472 → 0.666 | 0.615 → 0.718 | – | – |" in lines


def test_markdown_shows_the_intervals() -> None:
    """Those of the summary, with their coverage in words that do not round it up to certainty."""
    summary = summarise(dataclasses.replace(CONFIG, confidence=0.999), BEFORE, AFTER, "test")
    for kind, name, sign in (("adapted", "adapted", ""), ("difference", "difference", "+")):
        _, low, high = summary.intervals[f"accuracy_{kind}"]
        row = f"| 99.9% interval: {name} | {low:{sign}.3f} … {high:{sign}.3f} |"
        assert any(line.startswith(row) for line in lines_of(summary.markdown)), row


def test_the_sentence_has_every_metric() -> None:
    """Before, after, difference and interval; a dash where one title has no interval."""
    sentence = summarise(CONFIG, BEFORE.head(1), AFTER.head(1), "test").sentence
    assert sentence == (
        "accuracy 0.400 → **0.500** (+0.100; –), NMI 0.600 → **0.600** (+0.000; –), "
        "AMI 0.500 → **0.500** (+0.000; –), B-cubed F 0.300 → **0.400** (+0.100; –)"
    )


def test_a_title_cannot_break_the_table() -> None:
    """A vertical bar in a title is escaped: every row has as many cells."""
    lines = summarise(CONFIG, BEFORE, AFTER, "a|b").markdown.splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines[:-2]}) == 1


def test_columns_stand_below_each_other() -> None:
    """In a terminal, where a Japanese letter is two columns wide: texts to the left, numbers to the right."""
    assert markdown_table(["漫画", "n"], [["abcdef", "1.5"], ["x|y", "–"]]) == (
        "| 漫画   |   n |\n"  # four columns and two spaces
        "|--------|----:|\n"
        "| abcdef | 1.5 |\n"
        "| x\\|y   |   – |\n"
    )


def test_what_is_logged() -> None:
    """Table as Markdown and CSV, a figure, and the means as metrics named kind/metric."""
    log = Recorder()
    report_scores(CONFIG, BEFORE, AFTER, "test", log)
    assert {"report.md", "report.csv"} == set(log.texts)
    assert "report" in log.figures
    assert log.values["pretrained/accuracy"] == pytest.approx(0.5)
    assert log.values["adapted/nmi"] == pytest.approx(0.7)
    assert log.values["difference/accuracy"] == pytest.approx(0.1)
    assert log.values["adapted/ami"] == pytest.approx(0.6)
    assert log.values["pretrained/bcubed_f"] == pytest.approx(0.4)
    head = log.texts["report.csv"].splitlines()[0].split(",")
    kinds = ("pretrained", "adapted", "difference", "pretrained_sd", "adapted_sd")
    assert head == ["title", *(f"{m}_{k}" for m in ("accuracy", "nmi", "ami", "bcubed_f") for k in kinds)]
    panels = [axis.get_title() for axis in log.figures["report"].axes]
    assert panels == ["accuracy", "NMI", "AMI", "B-cubed F"]


def test_a_metric_that_the_scores_lack_is_a_dash() -> None:
    """Scores kept before a metric was there make a report; where one title has none, the others count."""
    log = Recorder()
    old = BEFORE.drop(columns="ami").assign(bcubed_f=[np.nan, 0.4, 0.4])
    summary = report_scores(CONFIG, old, AFTER, "test", log)
    lines = lines_of(summary.markdown)
    assert any(line.startswith("| That'sYuki |") and line.endswith("| – | – |") for line in lines)
    assert any(
        line.startswith("| Neko\\|Michi |") and line.endswith("| – | 0.400 → 0.500 |") for line in lines
    )
    assert any(
        line.startswith("| **mean** |") and line.endswith("| **–** | **0.400 → 0.500** |") for line in lines
    )
    assert "nan" not in summary.markdown + summary.sentence
    assert log.values["difference/bcubed_f"] == pytest.approx(0.1)
    assert "difference/ami" not in log.values


def test_a_new_metric_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, label, function and direction in the table, and all surfaces have it."""
    wrong = Metric("wrong", "Wrong", lambda true, pred: 0.25, headline=True, higher_is_better=False)
    monkeypatch.setitem(METRICS, "wrong", wrong)
    assert dict(clustering_metrics([0, 1], [0, 1]))["wrong"] == 0.25
    assert metric_of(Promote(metric="val/wrong")) == ("val", "wrong")
    assert headline_means([{"wrong": 0.5}], "val") == {"val/wrong": 0.5}
    assert headline_text({"accuracy": 0.5, "wrong": 0.25}, "**") == (
        "accuracy **0.500**, NMI **–**, AMI **–**, B-cubed F **–**, Wrong **0.250**"
    )
    log = Recorder()
    report_scores(CONFIG, BEFORE.assign(wrong=0.5), AFTER.assign(wrong=0.25), "test", log)
    assert lines_of(log.texts["report.md"])[0].endswith("| B-cubed F | Wrong |")
    assert (
        "Wrong 0.500 → **0.250** (-0.250; -0.250 … -0.250)"
        in summarise(CONFIG, BEFORE.assign(wrong=0.5), AFTER.assign(wrong=0.25), "test").sentence
    )
    assert "wrong_adapted" in log.texts["report.csv"]
    assert log.values["difference/wrong"] == -0.25
    assert [axis.get_title() for axis in log.figures["report"].axes if axis.get_visible()][-1] == "Wrong"
    falling = [runs(np.full((4, 1), value), metric="wrong") for value in (0.5, 0.25)]
    assert compare(CONFIG, dict(zip("ab", falling, strict=True)))["verdict"].tolist() == ["better"]


def test_no_common_title_is_an_error() -> None:
    """The sentence says what to run."""
    with pytest.raises(UserError, match="no title has both"):
        summarise(CONFIG, BEFORE, AFTER.assign(title="other"), "test")
    with pytest.raises(UserError, match="no title has both"):
        summarise(CONFIG, pd.DataFrame(), AFTER, "test")


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("resamples", "1000000000000", "above the largest allowed value, 100000"),
        ("resamples", "0", "below the smallest allowed value, 100"),
        ("confidence", "1", "above the largest allowed value, 0.999"),
        ("confidence", "0.4", "below the smallest allowed value, 0.5"),
        ("confidence", "nan", "is not a number"),
    ],
)
def test_settings_of_the_intervals_are_checked_at_the_door(key: str, value: str, limit: str) -> None:
    """Before a bootstrap of 10¹² resamples is begun."""
    with pytest.raises(UserError, match=limit):
        build(Report, {key: value}, source="report")


def runs(values: np.ndarray, stage: str = "finetune", metric: str = "accuracy") -> pd.DataFrame:
    """(titles, seeds) → rows as the runs of MLflow give them, with a parent that has no title."""
    rows = [
        {"stage": stage, "title": f"t{i}", "seed": str(j), f"test/{metric}": value}
        for (i, j), value in np.ndenumerate(values)
    ]
    return pd.DataFrame([{"stage": "main", "title": None, "seed": None, f"test/{metric}": 0.0}, *rows])


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
    lines = lines_of(comparison_markdown(table, ["a", "b"], 0.95))
    assert "95% intervals" in lines[0]
    assert any(line.startswith("| finetune | test/accuracy | 10 | 3, 3 |") for line in lines)
    assert any("| +0.100 |" in line and line.endswith("| better |") for line in lines)


def test_pairing_uses_common_titles_only() -> None:
    """Titles that one side lacks do not count."""
    table = compare(CONFIG, {"a": runs(np.full((4, 1), 0.5)), "b": runs(np.full((3, 2), 0.6))})
    assert table[["titles", "A", "B"]].iloc[0].tolist() == pytest.approx([3, 0.5, 0.6])


def test_a_comparison_shows_the_headline_and_the_neighbours() -> None:
    """Every metric that both sides have, of those that are to be compared; another one is not shown."""
    names = ["accuracy", "nmi", "ami", "bcubed_f", "map_at_r", "purity"]
    both = runs(np.full((3, 1), 0.5)).assign(**{f"test/{name}": 0.5 for name in names})
    assert compare(CONFIG, {"a": both, "b": both})["metric"].tolist() == [f"test/{n}" for n in names[:-1]]
    fewer = both.drop(columns="test/ami")
    assert "test/ami" not in compare(CONFIG, {"a": both, "b": fewer})["metric"].tolist()


def test_nothing_to_compare_is_an_error() -> None:
    """Runs without scored titles are named."""
    empty = runs(np.full((2, 1), 0.5)).head(1)
    with pytest.raises(UserError, match="a and b have no scored title in common"):
        compare(CONFIG, {"a": empty, "b": empty})


def test_one_title_has_no_interval() -> None:
    """A single value gives a dash, not `nan`."""
    summary = summarise(CONFIG, BEFORE.head(1), AFTER.head(1), "test")
    assert "nan" not in summary.markdown
    for name in ("difference", "pre-trained", "adapted"):
        assert f"| 95% interval: {name} | – | – | – | – |" in lines_of(summary.markdown)
