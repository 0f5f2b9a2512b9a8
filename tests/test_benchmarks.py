from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import benchmarks.__main__ as command
from benchmarks import causes, gpu, harness, numerics, shares, synthetic, training
from benchmarks.harness import Measured
from mfc.adapt.constraints import Constraints

ROW = Measured("sorting", 1000, "items", "bubble sort", (2.0, 3.0, 2.5), (0.010, 0.012, 0.011), "≥ 100×")
ALONE = Measured("sorting", 10**6, "items", "–", (), (1.5,))


def test_ratio_is_that_of_the_medians_and_missing_without_a_baseline() -> None:
    assert ROW.ratio == pytest.approx(2.5 / 0.011)
    assert np.isnan(ALONE.ratio)
    assert harness.cells(ROW)[3:6] == ("2.5 s ± 20 %", "11 ms ± 9 %", "227×")
    assert harness.cells(ALONE)[3:6] == ("–", "1.5 s ± 0 %", "–")


def test_shares_of_a_pipeline() -> None:
    """10 s of which one stage took 2, another 3 and 1 in two runs, and 4 lie between."""

    def run(stage: str, start: int, end: int) -> SimpleNamespace:
        info = SimpleNamespace(start_time=1000 * start, end_time=1000 * end)
        return SimpleNamespace(info=info, data=SimpleNamespace(tags={"stage": stage}))

    children = [run("finetune", 7, 8), run("finetune", 3, 6), run("pretrain", 0, 2)]
    found = shares.shares(run("main", 0, 10), children)  # type: ignore[arg-type]
    assert [(part.stage, part.runs, part.seconds) for part in found] == [
        ("pretrain", 1, 2.0),
        ("finetune", 2, 4.0),
        ("report, and between runs", 1, 4.0),
    ]
    assert "| finetune | 2 | 4.0 | 40% |" in shares.markdown(found)


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
    assert row.note.startswith("1 restarts, 2 seeds: inertia ")
    ours, theirs = (float(mean) for mean in re.findall(r"(\d+\.\d+) ±", row.note))
    assert ours < 1.1 * theirs


def test_kmeans_note_has_mean_and_spread_over_seeds() -> None:
    note = numerics.against([(1.0, 2.0), (3.0, 2.0)])
    assert note == "2.000 ± 1.000 against 2.000 ± 0.000"


def test_the_start_of_finetune_is_followed_to_its_first_step() -> None:
    """A command that ends without a step, or never meets the one that is watched for, is an error."""
    row = training.start_of_finetune(repeats=0)
    assert row.baseline == "python -c 'import torch, mlflow'"
    assert row.n == 330


def test_gpu_script_runs_small_and_agrees_with_the_processor(tmp_path: Path) -> None:
    """All rows, checks and the epoch are in the file, and valid JSON."""
    path = tmp_path / "results" / "cpu.json"
    gpu.main(
        ["--small", "--device", "cpu", "--commit", "abc", "--folder", str(tmp_path), "--json", str(path)]
    )
    report = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert report["commit"] == "abc"
    assert report["device"]["name"] == "cpu"
    assert len(report["checks"]) == 8
    assert all(check["passed"] for check in report["checks"])
    assert [row["name"].split()[0] for row in report["rows"]] == [
        "k-means", "k-means", "training", "reading", "transforming",
    ]  # fmt: skip
    assert report["epoch"]["epoch"] == "measured"
    assert report["epoch"]["all_epochs_h"] == pytest.approx(report["epoch"]["epoch_s"] / 18)
    assert not list(tmp_path.glob("tmp*")), "the crops are left behind"


def test_gpu_script_fails_when_a_result_is_not_the_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured is written all the same."""
    failed = {"what": "loss", "difference": 1.0, "allowed": 0.1, "passed": False}
    report = {"checks": [failed], "device": {"name": "cpu"}, "commit": "", "seconds": 1.0}
    monkeypatch.setattr(gpu, "measure", lambda *_: report)
    with pytest.raises(SystemExit, match="not the CPU's result: loss"):
        gpu.main(["--small", "--device", "cpu", "--json", str(tmp_path / "r.json")])
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["checks"] == [failed]
    assert not gpu.Check("loss", float("nan"), 0.1).passed


def test_gpu_script_needs_neither_mlflow_nor_pandas() -> None:
    """A machine with a GPU is bare: torch, torchvision, safetensors, scikit-learn and tqdm must do."""
    absent = ["mlflow", "pandas", "matplotlib", "click", "yaml", "manga109api", "psutil", "defusedxml"]
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); import benchmarks.gpu"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_noise_differs_from_face_to_face(tmp_path: Path) -> None:
    crops = gpu.write_noise(tmp_path / "crops.npy", 1030, 4)
    assert crops.shape == (1030, 4, 4, 3)
    assert len(np.unique(crops.reshape(1030, -1), axis=0)) == 1030


def test_losses_in_bfloat16_and_float32_differ_less_than_those_of_two_seeds() -> None:
    """In each epoch, by the mean over three seeds; and both formats learn."""
    crops = training.drawn_people(96, 36)
    float32, bfloat16 = (
        np.array([training.curve(crops, dtype, 32, epochs=4, seed=seed) for seed in range(3)])
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert (float32 != bfloat16).all(), "one format was measured twice"
    for losses in (float32, bfloat16):
        assert (losses[:, -1] < losses[:, 0] / 2).all()
    difference = np.abs(float32.mean(axis=0) - bfloat16.mean(axis=0))
    spread = np.ptp(float32, axis=0)
    assert (difference < spread).all(), (difference, spread)


def test_the_difficulty_is_paired_by_title() -> None:
    """Two titles of one corpus, one seed: means of each kind, and of the differences of the same title."""
    scores = {}
    for title, before, after in (("A", 0.4, 0.5), ("B", 0.6, 0.8)):
        measured = {"accuracy": before, "nmi": before, "window": 0.9, "global": 0.7, "chance in window": 0.3}
        scores[f"0/0/{title}/pretrained"] = measured
        scores[f"0/0/{title}/adapted"] = {"accuracy": after, "nmi": after}
    lines = synthetic.table(scores).splitlines()
    assert any(line.startswith("| pretrained | 0.500 (0.400–0.600) | 0.500") for line in lines)
    assert any(line.startswith("| adapted | 0.650 (0.500–0.800) |") for line in lines)
    assert "| adapted − pretrained, accuracy | 0.150 (0.100–0.200) |" in lines
    assert "| pretrained, nearest in window − anywhere | 0.200 (0.200–0.200) |" in lines
    assert not any(line.startswith("| random") for line in lines)


def test_true_pairs_are_those_that_the_labels_allow() -> None:
    """Of each kind of pair the wrong one goes."""
    found = Constraints(4, np.array([[0, 1], [1, 2]]), np.array([[0, 2], [2, 3]]))
    kept = causes.true_pairs(found, np.array([7, 7, 8, 8]))
    assert (kept.must_link.tolist(), kept.cannot_link.tolist()) == ([[0, 1]], [[0, 2]])


def test_a_cause_is_compared_with_the_same_titles_before() -> None:
    """Gains are differences of one title; a variant that lacks a title is left out."""
    measured = {"accuracy": 0.4, "nmi": 0.5, "window": 0.8, "anywhere": 0.75}
    scores = {
        "demo/0-A/before": measured,
        "demo/0-B/before": measured,
        "demo/0-A/as in the demo": {**measured, "accuracy": 0.5},
        "demo/0-B/as in the demo": {**measured, "accuracy": 0.6},
        "demo/0-A/true pairs only": measured,
    }
    rows = [line.split(" | ") for line in causes.table(scores).splitlines() if line.startswith("| ")]
    table = {row[0].strip("| "): dict(zip(rows[0], row, strict=True)) for row in rows}
    assert table["as in the demo"]["gain in accuracy"] == "0.150 (0.100–0.200)"
    assert table["as in the demo"]["window − anywhere"] == "0.050 (0.050–0.050)"
    assert table["before"]["gain in accuracy"] == "–"
    assert "true pairs only" not in table
