"""The command line: options come from the configuration, and mistakes are one sentence with exit code 2."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from mfc.cli import main
from mfc.config import STAGES, Where
from tests.conftest import Clone


def invoke(*arguments: str) -> tuple[int, str]:
    """(exit code, everything printed)."""
    result = CliRunner().invoke(main, arguments, terminal_width=300)
    return result.exit_code, result.output


def test_help_lists_the_pipeline_in_order() -> None:
    """A newcomer reads the flow from top to bottom."""
    code, text = invoke("--help")
    assert code == 0
    places = [text.index(f"\n  {name} ") for name in [*STAGES, "main"]]
    assert places == sorted(places)


@pytest.mark.parametrize("stage", STAGES)
def test_help_tells_every_option_and_default(stage: str) -> None:
    """Name, help and default of every field."""
    code, text = invoke(stage, "--help")
    assert code == 0
    # An option's entry begins at its name and ends where the next one begins.
    entries = {entry.split()[0]: " ".join(entry.split()) for entry in re.split(r"\n  (?=-)", text)[1:]}
    for config in (STAGES[stage], Where):
        for field in dataclasses.fields(config):
            default = "empty" if field.default in ("", None) else str(field.default)
            told = f" {field.metadata['help']} [default: {default}"
            assert re.search(re.escape(told) + r"(;|\])", entries[f"--{field.name}"]), entries


def test_main_takes_every_stages_options() -> None:
    """--stage.key, so that `mlflow run . -P finetune.epochs=5` works."""
    code, text = invoke("main", "--help")
    assert code == 0
    for stage, config in STAGES.items():
        for field in dataclasses.fields(config):
            assert f"--{stage}.{field.name} " in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["finetune", "--title_idx", "x"], "'x' is not a whole number"),
        (["finetune", "--title-idx", "-1"], "below the smallest allowed value, 0"),
        (["finetune", "--titel_idx", "1"], "No such option"),
        (["pretrain", "--device", "abacus", "--experiment", "nope"], "experiment 'nope' not found"),
        (["main", "--finetune.epocs", "1"], "No such option"),
        (["evaluate", "--seeds", "1,1"], "is not a list of different whole numbers"),
        (["nonsense"], "No such command"),
        (
            ["compare", "--runs", "onlyone", "--experiment", "tiny"],
            "is not two different run ids or variants",
        ),
        (["promote", "--metric", "val/nonsense", "--experiment", "tiny"], "is not SPLIT/NAME"),
        (
            ["main", "--finetune.title_idx", "2", "--experiment", "tiny"],
            "the test split has 2 titles, 0 to 1",
        ),
        (["finetune", "--title_idx", "11", "--experiment", "demo"], "the test split has 11 titles, 0 to 10"),
        (["main", "--finetune.seeds", "0,x", "--experiment", "tiny"], "is not a list of different whole"),
        (["cluster", "--n_clusters", "many", "--input", "x"], "is neither auto nor a whole number"),
    ],
)
def test_mistakes_on_the_command_line(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is named, with exit code 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    code, text = invoke(*arguments)
    assert code == 2, text
    assert complaint in text


@pytest.mark.xdist_group("tiny")
class TestMistakesWithData:
    """The list of bad input that the design names, on real commands."""

    def test_a_root_that_is_no_corpus(self, clone: Clone) -> None:
        """Without books.txt, and without images: the folder and what is missing."""
        (clone.path / "empty").mkdir()
        assert "books.txt" in clone.refuse("mfc preprocess --manga109_root empty")
        assert not (clone.path / "work" / "paper" / "faces").exists()

    def test_images_missing(self, clone: Clone, tiny: Clone) -> None:
        """A corpus without its images folder."""
        corpus = clone.path / "corpus"
        shutil.copytree(tiny.path / "work/tiny/corpus", corpus, ignore=shutil.ignore_patterns("images"))
        assert "images" in clone.refuse("mfc preprocess --manga109_root corpus")

    def test_title_idx_out_of_range(self, tiny: Clone) -> None:
        """The number of titles is told."""
        message = tiny.refuse("mfc finetune --experiment tiny --title_idx 11 --work_dir work")
        assert "title_idx 11 is out of range: the test split has 2 titles, 0 to 1" in message

    def test_a_store_made_with_other_parameters(self, tiny: Clone) -> None:
        """What differs and the way out are told, and the store stays as it was."""
        before = (tiny.path / "work/tiny/faces/store.json").read_bytes()
        message = tiny.refuse("mfc preprocess --experiment tiny --min_side 40")
        assert "min_side" in message
        assert "--overwrite true" in message
        assert (tiny.path / "work/tiny/faces/store.json").read_bytes() == before

    def test_a_title_missing_from_the_corpus(self, clone: Clone, tiny: Clone) -> None:
        """A split file that names a title which the corpus does not have."""
        splits = clone.path / "splits.json"
        splits.write_text(json.dumps({"train": ["NoSuchTitle"], "val": [], "test": []}))
        message = clone.refuse(
            f"mfc preprocess --manga109_root '{tiny.path}/work/tiny/corpus' --splits splits.json"
        )
        assert "NoSuchTitle" in message

    def test_no_model_registered(self, tiny: Clone) -> None:
        """An alias that is not there names the command that makes one."""
        message = tiny.refuse("mfc evaluate --experiment tiny --model models:/mfc-face-encoder@nobody")
        assert "models:/mfc-face-encoder@nobody" in message
        assert "mfc pretrain" in message

    def test_no_pretrained_model_with_manga109(self, clone: Clone, tiny: Clone) -> None:
        """With a real corpus, pre-training (hours) is not started behind one's back."""
        message = clone.refuse(f"mfc finetune --title_idx 0 --manga109_root '{tiny.path}/work/tiny/corpus'")
        assert "mfc pretrain" in message

    def test_an_unreachable_server(self, clone: Clone) -> None:
        """The address is named; nothing is written."""
        message = clone.refuse(
            "mfc synthesize --preset tiny --out corpus", env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
        )
        assert "http://127.0.0.1:9" in message
        assert not (clone.path / "corpus").exists()
