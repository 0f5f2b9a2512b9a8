"""What scores say: the report, comparisons, and which registered encoder is the champion."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from mfc.config import STAGES, Compare, Evaluate, Finetune, Preprocess, Promote, Report, parse_pair
from mfc.corpus.manga109 import open_corpus
from mfc.corpus.pictures import read_page
from mfc.errors import UserError
from mfc.faces.store import FaceStore
from mfc.files import write_text
from mfc.report import html
from mfc.report.tables import Summary, compare, comparison_markdown, titles_by_seeds
from mfc.stages.promote import decide, metric_of
from mfc.stages.report import report_scores
from mfc.tracking import (
    CHAMPION_ALIAS,
    PRETRAINED_ALIAS,
    REGISTERED_MODEL,
    Run,
    child_metrics,
    code_version,
    find_version,
    promote_version,
)
from mfc.workflow.data import corpus_root, faces
from mfc.workflow.encoders import encoder_folder
from mfc.workflow.pages import command_line, describe, escaped, faces_in_words, params_of
from mfc.workflow.scorebook import Row, Scorebook, Variant, row_of
from mfc.workflow.scores import evaluate, variant_of
from mfc.workflow.session import Session

if TYPE_CHECKING:
    from PIL.Image import Image

    from mfc.clusters.protocol import TitleScore


def report_command(session: Session, run: Run) -> str:
    return report(session, run, "report").markdown


def report(
    session: Session, run: Run, command: str, scored: tuple[Sequence[TitleScore], ...] | None = None
) -> Summary:
    """The table of pre-trained against adapted scores; what else the scorebook has is named.

    Args:
        scored: scores of `evaluate` and of `finetune`; None: all that were kept for the parameters in force.
    """
    configs = session.config(Evaluate), session.config(Finetune)
    store = faces(session, run, configs[1].store)
    split = configs[1].split
    book = Scorebook(session.workspace.scores)
    variants = [variant_of(config, store, encoder_folder(session, run, config.model)) for config in configs]
    rows = [
        [row_of(score, split) for score in scored[i]] if scored else _kept_rows(book, variant, store, split)
        for i, variant in enumerate(variants)
    ]
    caption = f"{session.experiment.name}, {split} titles"
    before, after = (pd.DataFrame(part) for part in rows)
    summary = report_scores(session.config(Report), before, after, caption, run)
    what = (
        f"The whole pipeline. {escaped(session.experiment.about)}"
        if command == "main"
        else "The compared table."
    )
    describe(session, run, command, what, result=f"{summary.sentence}\n\n{summary.markdown}\n")
    _write_page(session, run, command, summary, store, book, variants[1], rows[1])
    _tell_of_others(book, variants, run)
    return summary


def _kept_rows(book: Scorebook, variant: Variant, store: FaceStore, split: str) -> list[Row]:
    rows = book.rows(variant.id, store.titles(split))
    if not rows:
        raise UserError(
            f"no {variant.stage} scores of the {split} titles with the parameters, faces and encoder in "
            f"force (variant {variant.id}): run `mfc {variant.stage}` or `mfc main` first"
        )
    return rows


def _tell_of_others(book: Scorebook, shown: Sequence[Variant], run: Run) -> None:
    """Name the scores that the table does not show, and how they differ from those that it does."""
    for variant in book.variants():
        like = next((v for v in shown if v.stage == variant.stage), None)
        kept = book.rows(variant.id)
        if like is None or variant.id == like.id or not kept:
            continue
        scored = len({row["title"] for row in kept})
        differences = "; ".join(variant.differences(like))
        run.say(f"report: not in the table: {variant.stage} {variant.id}, {scored} titles: {differences}")
    run.say(
        f"report: shown are evaluate {shown[0].id} and finetune {shown[1].id}; compare any two of a kind by "
        "`mfc compare --runs A,B`"
    )


def _write_page(
    session: Session,
    run: Run,
    command: str,
    summary: Summary,
    store: FaceStore,
    book: Scorebook,
    variant: Variant,
    rows: Sequence[Row],
) -> None:
    """Write report.html beside the outputs, with pictures, and log it by the rule for comic artwork."""
    titles = list(dict.fromkeys(str(row["title"]) for row in rows))
    facts = {
        "experiment": session.experiment.name,
        "data": faces_in_words(store, titles),
        "faces": store.fingerprint,
        "command": command_line(session, command),
        "commit": code_version(),
        "run": run.id,
    }
    page = html.ReportPage(
        name=session.experiment.name,
        about=session.experiment.about,
        facts={key: value for key, value in facts.items() if value},
        table=summary.table,
        intervals=summary.intervals,
        confidence=session.config(Report).confidence,
        titles=[],
        parameters={k: v for name in STAGES for k, v in params_of(session, name).items()},
    )
    first = {str(row["title"]): row for row in reversed(rows)}
    tables = {title: book.tables(variant.id, first[title]) for title in titles}

    def rendered(*, pictures: bool) -> str:
        parts = [
            html.title_part(
                store,
                title,
                *tables[title],
                functools.partial(_page_picture, session, title),
                pictures=pictures,
            )
            for title in titles
        ]
        return html.render(dataclasses.replace(page, titles=parts))

    target = session.workspace.report
    write_text(target, rendered(pictures=True))
    if run.artwork_allowed:
        run.file(target, artwork=True)
    else:
        run.text("report.html", rendered(pictures=False))
    run.say(f"report: {target}")


def _page_picture(session: Session, title: str, index: int) -> Image | None:
    """A page of the corpus, where it can still be read."""
    root = corpus_root(session)
    try:
        if root is None:
            return None
        corpus = open_corpus(root, session.config(Preprocess).annotations)
        return read_page(corpus.image_path(title, index))
    except (UserError, OSError):
        return None


def compare_command(session: Session, run: Run) -> str:
    """The paired difference of two MLflow runs, or of two variants of the scorebook."""
    config = session.config(Compare)
    names = parse_pair("runs", config.runs)
    book = Scorebook(session.workspace.scores)
    known = {variant.id: variant for variant in book.variants()}
    sides = {
        name: _rows_of_variant(book, known[name]) if name in known else child_metrics(name) for name in names
    }
    table = compare(config, sides)
    markdown = comparison_markdown(table, names, config.confidence)
    run.text("comparison.md", markdown)
    run.table("comparison", table)
    result = markdown
    if all(name in known for name in names):
        differences = "; ".join(known[names[1]].differences(known[names[0]]))
        result += f"\nB differs from A by: {differences}\n"
    describe(session, run, "compare", f"Compares {names[0]} and {names[1]}.", result="\n\n" + result)
    return result


def _rows_of_variant(book: Scorebook, variant: Variant) -> pd.DataFrame:
    """As `child_metrics` gives the runs of a pipeline: stage, title, seed and ``split/metric``."""
    rows = []
    for row in book.rows(variant.id):
        split, title, seed = row.pop("split"), row.pop("title"), row.pop("seed")
        metrics = {f"{split}/{name}": value for name, value in row.items()}
        rows.append({"stage": variant.stage, "title": title, "seed": str(seed), **metrics})
    return pd.DataFrame(rows)


def promote_command(session: Session, run: Run) -> str:
    """Make a registered encoder the champion if it is better on a split's titles; returns the verdict."""
    config = session.config(Promote)
    split, metric = metric_of(config)
    model = f"models:/{REGISTERED_MODEL}"
    uri = config.candidate or f"{model}@{PRETRAINED_ALIAS}"
    candidate = find_version(uri)
    if candidate is None:
        raise UserError(f"{uri}: no encoder is registered under this alias; run `mfc pretrain` first")
    champion = find_version(f"{model}@{CHAMPION_ALIAS}")
    what = f"May version {candidate} of `{REGISTERED_MODEL}` take the champion's place?"
    if champion is None or champion == candidate:
        if champion is None:
            promote_version(candidate, {"promoted_by": "being the first"}, run.say)
        result = f"version {candidate} is {'now the first' if champion is None else 'already the'} champion"
        run.tags({"promoted": str(champion is None).lower()})
        describe(session, run, "promote", what, result=result)
        return result
    if split == "test":
        run.say("promote: a champion chosen by test titles makes later figures on these titles too good")
    store = faces(session, run, config.store)
    titles = store.titles(split)
    old, new = (
        titles_by_seeds(_scores_of_version(session, run, config, version), titles, metric)
        for version in (champion, candidate)
    )
    verdict = decide(config, session.config(Report), titles, old, new, run)
    if verdict.better:
        promote_version(candidate, {"promoted_by": verdict.sentence, "promoted_over": champion}, run.say)
    takes = "takes" if verdict.better else "does not take"
    result = f"version {candidate} {takes} the place of version {champion}: {verdict.sentence}"
    run.tags({"promoted": str(verdict.better).lower(), "corpus": store.fingerprint})
    run.text("promotion.md", verdict.markdown)
    data = faces_in_words(store, titles)
    describe(session, run, "promote", what, data, f"{result}\n\n{verdict.markdown}")
    return f"{verdict.markdown}\n{result}"


def _scores_of_version(session: Session, run: Run, config: Promote, version: int) -> pd.DataFrame:
    """Rows (title, seed, metrics…) of a registered version on the titles to choose by."""
    asked = dataclasses.replace(
        session.config(Evaluate),
        store=config.store,
        model=f"models:/{REGISTERED_MODEL}/{version}",
        split=config.metric.partition("/")[0],
        title_idx=None,
        seeds=config.seeds,
    )
    scores = evaluate(session, run, asked, nested=True, version=version)
    return pd.DataFrame([{"title": s.title, "seed": s.seed, **s.metrics} for s in scores])
