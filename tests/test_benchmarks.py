from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import benchmarks.__main__ as command
from benchmarks import harness, numerics
from benchmarks.harness import Measured

ROW = Measured("sorting", 1000, "items", "bubble sort", (2.0, 3.0, 2.5), (0.010, 0.012, 0.011), "≥ 100×")
ALONE = Measured("sorting", 10**6, "items", "–", (), (1.5,))


def test_ratio_is_that_of_the_medians_and_missing_without_a_baseline() -> None:
    assert ROW.ratio == pytest.approx(2.5 / 0.011)
    assert np.isnan(ALONE.ratio)
    assert harness.cells(ROW)[3:6] == ("2.5 s ± 20 %", "11 ms ± 9 %", "227×")
    assert harness.cells(ALONE)[3:6] == ("–", "1.5 s ± 0 %", "–")


def test_both_ways_are_timed_in_turns_after_one_round_that_does_not_count() -> None:
    order: list[str] = []
    baseline, ours = harness.in_turns(lambda: order.append("a"), lambda: order.append("b"), repeats=2)
    assert order == ["a", "b"] * 3
    assert len(baseline) == len(ours) == 2


def test_command_prints_each_row_and_writes_valid_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(quick: bool, whole: bool) -> Iterator[Measured]:
        assert quick
        assert not whole
        yield ROW
        yield ALONE

    monkeypatch.setattr(command, "rows", rows)
    command.main(["--quick", "--json", str(tmp_path / "out" / "b.json")])
    printed = capsys.readouterr().out
    assert "| sorting | 1,000 | bubble sort | 2.5 s ± 20 % | 11 ms ± 9 % | 227× | ≥ 100× |  |" in printed
    text = (tmp_path / "out" / "b.json").read_text(encoding="utf-8")
    report = json.loads(text, parse_constant=pytest.fail)
    assert [row["ratio"] for row in report["rows"]] == [pytest.approx(ROW.ratio), None]
    assert report["rows"][0]["baseline_s"] == [2.0, 3.0, 2.5]
    assert report["machine"]["processor"]
    assert report["versions"]["numpy"] == np.__version__


def test_constraint_row_compares_the_pairs() -> None:
    """The note says so if the loops and the engine disagree."""
    assert numerics.constraints(40).note == "same pairs"


def test_kmeans_row_compares_the_inertia_and_scales_only_the_time_of_the_baseline() -> None:
    row = numerics.kmeans_protocol("isotropic", 60, baseline_restarts=1, seeds=range(2))
    assert len(row.baseline_s) == len(row.ours_s) == 2
    assert row.baseline.endswith("1 restarts × 1000")
    assert row.note.startswith("1 restarts: inertia ")
    ours, theirs, exchanged = (float(row.note.split()[place].strip(",")) for place in (3, 5, 8))
    assert exchanged <= ours < 1.1 * theirs
