"""The measure of encoders on real manga, on hand-made features and on pages made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks import real
from mfc.clusters.protocol import TitleScore, TitleView
from mfc.config import Finetune
from mfc.corpus.openmantra import read_import, write_import
from mfc.faces.selection import Selection
from tests.corpus.test_openmantra import HEADING, write_dataset


def selection(pages: list[int], frames: list[str | None], labels: list[int]) -> Selection:
    boxes = dict.fromkeys(("xmin", "ymin", "xmax", "ymax"), 0)
    faces = pd.DataFrame({"page_index": pages, "frame_id": frames, **boxes})
    return Selection(np.arange(len(labels)), np.array(labels), tuple("abc"[: max(labels) + 1]), faces)


def test_measures_of_a_hand_made_title() -> None:
    """Features on a circle: a at 0°, 8°, 18°; b at 22°, 60°, 69°; somebody nameless at 61°.

    The faces at 18° and 22° share a frame: kept apart, the tree has a and b (else 22° would be with a, 5/6).
    Neighbours within a page: 0° and 8° choose one another, 60° and 69° too, 18° and 22° wrongly: 4 of 6.
    Must-links: 0°–8° and, by way of the nameless one, 60°–69°; and wrongly 60°–61° and 69°–61°: 2 of 4.
    """
    pages, frames, labels = [0, 0, 5, 5, 9, 10], ["f", "g", "h", "h", "i", "j"], [0, 0, 0, 1, 1, 1]
    plain = selection(pages, frames, labels)
    everyone = selection([*pages, 9], [*frames, None], [*labels, 2])
    angles = np.deg2rad([0, 8, 18, 22, 60, 69, 61])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    scored = {"accuracy": 0.1, "nmi": 0.2, "ami": 0.3, "bcubed_f": 0.4, "purity": 0.5}
    named = np.array([True] * 6 + [False])
    score = TitleScore("T", 0, scored, pd.DataFrame(), features, named)
    view = TitleView("T", np.zeros((7, 1, 1, 1), np.uint8), plain, everyone)
    assert real.measure(score, view, Finetune()) == {
        "k-means/accuracy": 0.1,
        "k-means/nmi": 0.2,
        "k-means/ami": 0.3,
        "k-means/bcubed_f": 0.4,
        "linkage/accuracy": 1.0,
        "linkage/nmi": pytest.approx(1.0),
        "linkage/ami": pytest.approx(1.0),
        "linkage/bcubed_f": 1.0,
        "window": pytest.approx(4 / 6),
        "must-links": 0.5,
    }


def measured(accuracy: float, links: float = 0.5) -> dict[str, float]:
    names = [f"{key}/{name}" for key in real.CLUSTERINGS for name in real.METRICS]
    return {**dict.fromkeys(names, accuracy), "window": 0.7, "must-links": links}


def test_tables_hold_means_over_titles_with_an_interval_where_there_are_several_values() -> None:
    """Seeds are averaged within a title first; what no title has is a dash."""
    nan = float("nan")
    one = {"A": [measured(0.25, nan)]}
    two = {"A": [measured(0.2), measured(0.4)], "B": [measured(0.6), measured(0.6)]}
    clusters, pairs = real.tables({"x": one, "y": two}).strip().split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in clusters.splitlines()]
    assert rows[0] == ["features", "clusters by", "accuracy", "NMI", "AMI", "B-cubed F"]
    assert rows[2] == ["x", "k-means", *["0.250"] * 4]
    assert rows[4][:2] == ["y", "k-means"]
    assert rows[5][2].startswith("0.450 (0.")
    assert [line.split(" | ")[2] for line in pairs.splitlines()[2:]] == ["– |", "0.500 (0.500 … 0.500) |"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two books of three pages of noise, two people with three faces each, cut from the same places."""
    dataset = write_dataset(tmp_path / "dataset")
    rng = np.random.default_rng(0)
    for picture in dataset.rglob("*.jpg"):
        Image.fromarray(rng.integers(0, 255, (300, 200), np.uint8)).save(picture)
    faces = tmp_path / "tables"
    faces.mkdir()
    lines = [f"{page},10,20,60,80,Aki\n{page},110,20,160,80,Haru\n" for page in range(3)]
    for title in ("hoshi", "kaze"):
        (faces / f"{title}.csv").write_text(HEADING + "".join(lines))
    write_import(read_import(dataset, faces), tmp_path / "corpus")
    return tmp_path / "corpus"


def test_the_command_measures_before_and_after_adaptation(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two rows an encoder in both tables; a saved encoder gives what it gave; every score is in the file."""
    work = tmp_path / "work"
    quick = ["--image_size", "32", "--n_init", "2", "--work", str(work)]
    real.main([str(corpus), *quick, "--epochs", "1", "--lr", "0.1"])
    printed = capsys.readouterr().out
    assert printed.count("| random |") == 3
    assert printed.count("| random, adapted |") == 3
    report = json.loads((work / "scores.json").read_text(encoding="utf-8"))
    assert set(report["scores"]) == {"random", "random, adapted"}
    assert set(report["scores"]["random"]) == {"hoshi", "kaze"}
    assert report["options"]["epochs"] == "1"
    saved = work / "random-resnet18-32"
    real.main([str(corpus), *quick, "--epochs", "0", "--models", f"random,mine={saved}"])
    again = json.loads((work / "scores.json").read_text(encoding="utf-8"))["scores"]
    assert again == {"random": report["scores"]["random"], "mine": report["scores"]["random"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models", "random,nowhere"], "nowhere: no encoder there"),
        (["--models", "random,random=a/b"], "two encoders are called 'random'"),
        (["--seeds", "a"], "seeds: 'a' is not a list"),
        (["--lr", "-1"], "lr: -1.0 is below"),
        (["--experiment", "nothing"], "experiment 'nothing' not found"),
    ],
)
def test_bad_options_are_told_in_a_sentence(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        real.main([str(corpus), "--work", str(tmp_path / "work"), *options])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
