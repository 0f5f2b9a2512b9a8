"""The scorebook: no score is lost, none is taken for another's."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mfc.clusters.protocol import TitleScore
from mfc.config import ENCODER, SCORE, Evaluate, Finetune, affecting, fields
from mfc.errors import UserError
from mfc.workflow.scorebook import Scorebook, Variant

VARIANT = Variant("finetune", {"lr": 0.05, "n_init": 100}, "faces0", "weights0", "float32")


def score(title: str, seed: int, accuracy: float, links: bool = False) -> TitleScore:
    clusters = pd.DataFrame({"face_id": ["a", "b"], "cluster": [seed, 1]})
    pairs = pd.DataFrame({"face_a": ["a"], "face_b": ["b"]}) if links else None
    nothing = np.zeros((0, 2), np.float32)
    return TitleScore(title, seed, {"accuracy": accuracy}, clusters, nothing, np.zeros(0, bool), pairs)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    """Rows by title in the order asked for, then by seed; the tables beside them."""
    book = Scorebook(tmp_path / "scores")
    for title, seed in [("B", 1), ("A", 0), ("B", 0)]:
        book.keep(VARIANT, "test", score(title, seed, 0.1 * seed, links=seed == 1))
    rows = book.rows(VARIANT.id, ["B", "A", "C"])
    assert [(row["title"], row["seed"], row["split"]) for row in rows] == [
        ("B", 0, "test"),
        ("B", 1, "test"),
        ("A", 0, "test"),
    ]
    assert [row["title"] for row in book.rows(VARIANT.id)] == ["A", "B", "B"]
    clusters, links = book.tables(VARIANT.id, rows[1])
    assert clusters["cluster"].tolist() == [1, 1]
    assert links is not None
    assert len(links) == 1
    assert book.tables(VARIANT.id, rows[0])[1] is None
    assert book.variants() == [VARIANT]


def test_a_title_scored_again_replaces_its_own_score_only(tmp_path: Path) -> None:
    """Same variant, title and seed: the newer one; anything else stays."""
    book = Scorebook(tmp_path)
    book.keep(VARIANT, "test", score("A", 0, 0.1))
    book.keep(VARIANT, "test", score("A", 1, 0.2))
    book.keep(VARIANT, "test", score("A", 0, 0.3))
    assert [row["accuracy"] for row in book.rows(VARIANT.id)] == [0.3, 0.2]


def test_two_variants_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """They once did: scores were kept by title and seed alone."""
    book = Scorebook(tmp_path)
    others = [
        dataclasses.replace(VARIANT, stage="evaluate"),
        dataclasses.replace(VARIANT, parameters={**VARIANT.parameters, "lr": 0.1}),
        dataclasses.replace(VARIANT, faces="faces1"),
        dataclasses.replace(VARIANT, weights="weights1"),
        dataclasses.replace(VARIANT, dtype="bfloat16"),
    ]
    for number, variant in enumerate([VARIANT, *others]):
        book.keep(variant, "test", score("A", 0, number / 10))
    assert len({variant.id for variant in [VARIANT, *others]}) == 6
    assert len(book.variants()) == 6
    for number, variant in enumerate([VARIANT, *others]):
        assert [row["accuracy"] for row in book.rows(variant.id)] == [number / 10]


def test_variants_say_how_they_differ() -> None:
    """In the words of the parameters."""
    other = dataclasses.replace(VARIANT, parameters={**VARIANT.parameters, "lr": 0.1}, dtype="bfloat16")
    assert other.differences(VARIANT) == ["lr 0.1, not 0.05", "dtype bfloat16, not float32"]
    assert VARIANT.differences(VARIANT) == []


def keep_many(folder: Path, worker: int) -> None:
    for number in range(25):
        Scorebook(folder).keep(VARIANT, "test", score(f"title {worker}", number, 0.5))
        Scorebook(folder).keep(VARIANT, "test", score("shared", number, 0.5))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Two titles at once once lost rows, by reading, changing and writing one file."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=keep_many, args=(tmp_path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    rows = Scorebook(tmp_path).rows(VARIANT.id)
    assert len(rows) == 4 * 25
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1]", '{"title": "A"}', "[" * 100_000),
        '{"title": ["A"], "seed": 0}',
        '{"title": "A", "seed": null}',
    ],
)
def test_a_damaged_score_is_named(tmp_path: Path, text: str) -> None:
    """File and remedy, no stack trace."""
    book = Scorebook(tmp_path)
    book.keep(VARIANT, "test", score("A", 0, 0.1))
    [kept] = [path for path in (tmp_path / VARIANT.id).glob("*.json") if path.name != "variant.json"]
    kept.write_text(text)
    with pytest.raises(UserError, match=r"damaged; delete it, and score its title again"):
        book.rows(VARIANT.id)


@pytest.mark.parametrize("change", [{"parameters": ""}, {"parameters": None}, {"stage": 3}, {"dtype": []}])
def test_a_damaged_variant_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    """Nonsense in place of its parameters once gave a stack trace, when it was compared."""
    book = Scorebook(tmp_path)
    book.keep(VARIANT, "test", score("A", 0, 0.1))
    kept = tmp_path / VARIANT.id / "variant.json"
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps({**content, "a later version": 1}))
    assert book.variants() == [VARIANT]
    kept.write_text(json.dumps({**content, **change}))
    with pytest.raises(UserError, match=r"variant\.json: damaged; delete it"):
        book.variants()


@pytest.mark.parametrize("config", [Evaluate, Finetune])
def test_a_score_depends_on_what_the_fields_say(config: type) -> None:
    """Each field changed once: another variant exactly when an encoder or a score depends on it."""
    usual = config()
    for field in fields(config):
        value = getattr(usual, field.name)
        changed = dataclasses.replace(usual, **{field.name: f"{value}x" if isinstance(value, str) else 77})
        same = all(affecting(usual, result) == affecting(changed, result) for result in (ENCODER, SCORE))
        assert same == (field.metadata["affects"] not in (ENCODER, SCORE)), field.name
