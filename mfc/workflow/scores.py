"""Scores of titles: each title and seed is a run of its own, and its score goes into the scorebook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mfc.clusters.metrics import headline, headline_means
from mfc.clusters.protocol import TitleScore
from mfc.config import ENCODER, SCORE, Evaluate, Finetune, affecting, name_of, parse_seeds
from mfc.encoders.device import pick_compute
from mfc.encoders.network import WEIGHTS_NAME, load_encoder
from mfc.faces.store import FaceStore
from mfc.files import file_digest
from mfc.report.tables import headline_text
from mfc.stages.evaluate import evaluate_title
from mfc.stages.finetune import finetune_title
from mfc.tracking import REGISTERED_MODEL, Run, alias_for_title, register_encoder
from mfc.workflow.data import chosen_titles, faces
from mfc.workflow.encoders import encoder_folder
from mfc.workflow.pages import describe_score, log_faces, params_of
from mfc.workflow.scorebook import Scorebook, Variant
from mfc.workflow.session import Session

ScoreOne = Callable[[str, int, Run], TitleScore]
"""(title, seed, the run that it is logged to) → its score."""


def evaluate_command(session: Session, run: Run) -> None:
    evaluate(session, run, session.config(Evaluate))


def finetune_command(session: Session, run: Run) -> None:
    finetune(session, run, session.config(Finetune))


def variant_of(config: Evaluate | Finetune, store: FaceStore, model: Path) -> Variant:
    """What the scores of these parameters, faces and weights have in common."""
    return Variant(
        stage=name_of(type(config)),
        parameters={**affecting(config, ENCODER), **affecting(config, SCORE)},
        faces=store.fingerprint,
        weights=file_digest(model / WEIGHTS_NAME)[:12],
        dtype=str(pick_compute(config.device, config.precision).dtype).removeprefix("torch."),
    )


def evaluate(
    session: Session, run: Run, config: Evaluate, *, nested: bool = False, version: int | None = None
) -> list[TitleScore]:
    """Score an encoder on each title; ``version``: that of a registered one, for its runs' names and tags."""
    store = faces(session, run, config.store)
    model = encoder_folder(session, run, config.model)
    encoder = load_encoder(model)

    def one(title: str, seed: int, child: Run) -> TitleScore:
        log_faces(child, store, "evaluation", title)
        return evaluate_title(config, store, encoder, title, seed, child)

    return _score_titles(session, run, config, store, model, one, nested=nested, version=version)


def finetune(session: Session, run: Run, config: Finetune, *, nested: bool = False) -> list[TitleScore]:
    """Adapt to each title and score the result; each adapted encoder is logged and registered."""
    store = faces(session, run, config.store)
    chosen_titles(store, config)
    model = encoder_folder(session, run, config.model)

    def one(title: str, seed: int, child: Run) -> TitleScore:
        log_faces(child, store, "adaptation", title)
        place = session.workspace.adapted(title)
        score, folder = finetune_title(
            config, store, model, title, seed, place, child, anew=session.where.overwrite
        )
        child.file(folder, "encoder")
        if config.register:
            _register_adapted(config, store, score, folder, child)
        return score

    return _score_titles(session, run, config, store, model, one, nested=nested)


def _register_adapted(config: Finetune, store: FaceStore, score: TitleScore, folder: Path, run: Run) -> None:
    alias = alias_for_title(score.title)
    about = f"Adapted to {score.title} without its labels (recipe {config.recipe}, seed {score.seed})."
    tags = {"corpus": store.fingerprint, "title": score.title}
    tags |= {metric.name: f"{score.metrics[metric.name]:.6f}" for metric in headline()}
    version = register_encoder(
        run, folder, alias=alias, tags=tags, description=about, example=store.crops[:2]
    )
    run.say(f"registered {REGISTERED_MODEL} version {version}, alias {alias}")


def _score_titles(
    session: Session,
    run: Run,
    config: Evaluate | Finetune,
    store: FaceStore,
    model: Path,
    score_one: ScoreOne,
    *,
    nested: bool,
    version: int | None = None,
) -> list[TitleScore]:
    """Score each title and seed in a child run; a single one in the run itself."""
    stage = name_of(type(config))
    titles, seeds = chosen_titles(store, config), parse_seeds(config.seeds)
    variant, book = variant_of(config, store, model), Scorebook(session.workspace.scores)
    tags = {"split": config.split, "recipe": getattr(config, "recipe", "none"), "corpus": store.fingerprint}
    tags |= {"variant": variant.id} | ({} if version is None else {"model_version": str(version)})
    single = len(titles) * len(seeds) == 1 and not nested
    scores: list[TitleScore] = []
    for title in titles:
        for seed in seeds:
            own = {**tags, "title": title, "seed": str(seed)}
            if single:
                run.tags(own)
                score = score_one(title, seed, run)
                describe_score(session, run, store, config, score)
            else:
                of_version = "" if version is None else f" v{version}"
                name = f"{stage}{of_version} {title}" + (f" seed {seed}" if len(seeds) > 1 else "")
                with run.child(name, stage=stage, tags=own, params=params_of(session, stage)) as child:
                    score = score_one(title, seed, child)
                    describe_score(session, child, store, config, score)
            run.say(f"{stage} {title}: {headline_text(score.metrics)}")
            book.keep(variant, config.split, score)
            scores.append(score)
    if len(scores) > 1 and not nested:
        means = headline_means([score.metrics for score in scores], "mean")
        run.metrics(means)
        run.say(f"{stage}: mean {headline_text({k.rpartition('/')[2]: v for k, v in means.items()})}")
    return scores
