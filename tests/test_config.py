"""One parameter list: what a field says is what the command line, YAML and MLflow get."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc.config import STAGES, Finetune, Pretrain, Where, build, convert, load_experiment, parse_seeds
from mfc.errors import UserError

EXPERIMENTS = sorted((Path(__file__).parent.parent / "experiments").glob("*.yaml"))
assert EXPERIMENTS, "the tests below would run on nothing"


@pytest.mark.parametrize("config", [*STAGES.values(), Where], ids=lambda c: c.__name__)
def test_defaults_are_valid_and_explained(config: type) -> None:
    """Every default passes its own check, every field has a help text of whole sentences."""
    assert dataclasses.fields(config)
    for field in dataclasses.fields(config):
        assert convert(config, field.name, field.default) == field.default
        assert re.fullmatch(r"\S.*\w\S*\.", field.metadata["help"]), field.name


@pytest.mark.parametrize("config", STAGES.values(), ids=lambda c: c.__name__)
def test_values_survive_the_way_through_strings(config: type) -> None:
    """`mlflow run` makes every value a string; reading it back gives the value."""
    for field in dataclasses.fields(config):
        text = "" if field.default is None else str(field.default)
        assert convert(config, field.name, text) == field.default


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("epochs", "x", "'x' is not a whole number"),
        ("epochs", "1.5", "'1.5' is not a whole number"),
        ("epochs", True, "True is not a whole number"),
        ("epochs", 0, "below the smallest allowed value, 1"),
        ("epochs", [3], "[3] is not a whole number"),
        ("lr", "nan", "'nan' is not a number"),
        ("lr", "inf", "'inf' is not a number"),
        ("momentum", 1.5, "above the largest allowed value, 1"),
        ("register", "perhaps", "'perhaps' is not true or false"),
        ("backbone", "vgg16", "'vgg16' is not one of resnet18"),
        ("epocs", 3, "unknown key 'epocs'; the keys are store, backbone"),
    ],
)
def test_bad_values_are_named(key: str, value: object, complaint: str) -> None:
    """The sentence names where the value came from, the key, the value and what is allowed."""
    with pytest.raises(UserError) as caught:
        build(Pretrain, {key: value}, source="my.yaml: pretrain")
    assert str(caught.value).startswith("my.yaml: pretrain: ")
    assert complaint in str(caught.value)


def test_numbers_that_yaml_reads_as_text() -> None:
    """PyYAML reads 1e-3 as a string; it is the number all the same."""
    assert build(Pretrain, {"lr": "1e-3"}, source="x").lr == 0.001


def test_an_empty_optional_means_none() -> None:
    """`-P title_idx=` (as MLflow passes an empty value) means all titles."""
    assert build(Finetune, {"title_idx": ""}, source="x").title_idx is None
    assert build(Finetune, {"title_idx": "3"}, source="x").title_idx == 3


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True))
def test_seeds_read_back(seeds: list[int]) -> None:
    """A list of seeds is what was written."""
    assert parse_seeds(",".join(map(str, seeds))) == tuple(seeds)


@pytest.mark.parametrize("text", ["", "a", "1,,2", "1,1", "-1", "1.5"])
def test_bad_seeds_are_refused(text: str) -> None:
    """Anything but different whole numbers is an error that shows the text."""
    with pytest.raises(UserError, match="is not a list of different whole numbers"):
        parse_seeds(text)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_experiment_files_are_valid_and_say_only_what_differs(path: Path) -> None:
    """Each file loads, opens with the command that runs it, and repeats no default."""
    experiment = load_experiment(str(path))
    command = path.read_text(encoding="utf-8").splitlines()[0]
    assert re.match(rf"# .*(make |--experiment |experiment=){path.stem}\b", command), command
    assert experiment.about
    for stage, section in experiment.sections.items():
        for key, value in section.items():
            default = next(f.default for f in dataclasses.fields(STAGES[stage]) if f.name == key)
            assert convert(STAGES[stage], key, value) != default, f"{stage}.{key} repeats the default"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pretrian: {epochs: 3}", "unknown key 'pretrian'; the keys are about, synthesize"),
        ("pretrain: {epoch: 3}", "pretrain: unknown key 'epoch'"),
        ("pretrain: {epochs: many}", "pretrain: epochs: 'many' is not a whole number"),
        ("pretrain: 3", "pretrain: expected `key: value` lines, got 3"),
        ("- a", "expected stages"),
        ("pretrain: {", "not valid YAML"),
    ],
)
def test_a_bad_experiment_file_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    """Misspelt stages and keys are errors that name the file."""
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_experiment(str(path))
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


def test_an_unknown_experiment_lists_the_known_ones() -> None:
    """The remedy is in the sentence."""
    with pytest.raises(UserError, match=r"'nope' not found; known ones: .*demo.*paper"):
        load_experiment("nope")
