"""From stages to runs: what a stage needs is made first, as `make` would; each step becomes a run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfc.config import (
    STAGES,
    Cluster,
    Evaluate,
    Finetune,
    ImportCheckpoint,
    Preprocess,
    Pretrain,
    Promote,
    Report,
    Synthesize,
    parse_seeds,
)
from mfc.errors import UserError
from mfc.files import file_digest, replacing, value_digest, write_json, write_text
from mfc.workflow.session import Session, command_of, describe, describe_command, escaped, stage_params

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL.Image import Image

    from mfc.clusters.counting import Calibration
    from mfc.clusters.protocol import TitleScore
    from mfc.encoders.device import Compute
    from mfc.encoders.network import Encoder
    from mfc.faces.store import FaceStore
    from mfc.report.tables import Summary
    from mfc.tracking import Run

Row = dict[str, Any]
"""Title, seed and metrics of one scored title."""

PER_CALL = (".title_idx", ".seeds", ".device", ".register", ".figures")
"""Parameters that do not make scores incomparable."""

SHOWN: Mapping[str, str] = {"accuracy": "accuracy", "nmi": "NMI", "ami": "AMI", "bcubed_f": "B-cubed F"}
"""Metrics that the description of a run shows."""

CURRENT = "current.json"
"""Beside the pre-trained encoders: which one was made last."""


def synthesize(session: Session, run: Run) -> Path:
    from mfc.stages import synthesize as stage

    config = session.config(Synthesize)
    out = Path(config.out) if config.out else session.paths.corpus
    describe(session, run, "synthesize", f"Draws a synthetic corpus (preset {config.preset}).")
    return stage.run(config, out, run, session.where.overwrite)


def preprocess(session: Session, run: Run) -> FaceStore:
    from mfc.stages.preprocess import preprocess as make_store

    config = session.config(Preprocess)
    store = make_store(
        config, _corpus(session, run), _store_path(session, config.store), run, session.where.overwrite
    )
    _log_dataset(run, store, "preprocess")
    run.tags({"corpus": store.fingerprint})
    describe(session, run, "preprocess", "Cuts the faces of a corpus into a face store.", _data(store))
    return store


def statistics(session: Session, run: Run) -> pd.DataFrame:
    from mfc.stages import statistics as stage

    store = _store(session, run)
    describe(session, run, "statistics", "Counts faces and characters per title and split.", _data(store))
    return stage.run(store, run)


def pretrain(session: Session, run: Run) -> Path:
    from mfc.encoders.training import last_validation
    from mfc.stages import pretrain as stage

    config = session.config(Pretrain)
    store = _store(session, run, config.store)
    _log_dataset(run, store, "training")
    run.tags({"recipe": "none", "seed": str(config.seed), "corpus": store.fingerprint})
    about = "Pre-trained on the characters of the train titles."
    describe(session, run, "pretrain", about, _data(store, titles=store.titles("train")))
    folder = stage.run(config, store, session.paths.pretrained, run)
    with contextlib.suppress(UserError):  # without validation titles, `cluster` will say what it lacks
        _calibrate(store, folder, config, run)
    tags = {name: f"{value:.6f}" for name, value in last_validation(folder).items()}
    tags |= {"corpus": store.fingerprint}
    _adopt(session, run, folder, about, config.register, tags, store.crops[:2])
    return folder


def _calibrate(store: FaceStore, model: Path, config: Pretrain, run: Run) -> None:
    """Leave beside a new encoder what `cluster` needs to find numbers of characters with it anywhere."""
    from mfc.clusters.counting import calibrate, read_calibration
    from mfc.encoders.device import pick_compute
    from mfc.encoders.network import load_encoder

    if read_calibration(model) is None:
        compute = pick_compute(config.device, config.precision)
        calibrate(load_encoder(model, compute.device), model, store, config.batch_size, compute, run)


def import_checkpoint(session: Session, run: Run, config: ImportCheckpoint, file: Path) -> Path:
    """Make a torchvision state_dict the pre-trained encoder of an experiment."""
    from mfc.encoders.network import import_torchvision, save_encoder

    encoder = import_torchvision(file, backbone=config.backbone, n_classes=config.classes)
    digest = file_digest(file)
    folder = session.paths.pretrained / f"import-{digest[:12]}"
    save_encoder(encoder, folder)
    about = f"Imported from {file.name} ({config.backbone}, {config.classes} classes)."
    provenance = {"source_file": file.name, "source_sha256": digest, "corpus": "unknown"}
    run.tags(provenance)
    _adopt(session, run, folder, about, config.register, provenance, None)
    return folder


def _adopt(
    session: Session,
    run: Run,
    folder: Path,
    about: str,
    register: bool,
    tags: Mapping[str, str],
    example: np.ndarray | None,
) -> None:
    """Make ``folder`` the experiment's pre-trained encoder, here and in the registry."""
    from mfc import tracking

    write_json(session.paths.pretrained / CURRENT, {"folder": folder.name})
    run.file(folder, "encoder")
    if register:
        alias = tracking.PRETRAINED_ALIAS
        version = tracking.register_encoder(
            run, folder, alias=alias, tags={**tags, "title": ""}, description=about, example=example
        )
        run.say(f"registered {tracking.REGISTERED_MODEL} version {version}, alias {alias}")


def evaluate(
    session: Session, run: Run, *, nested: bool = False, version: int | None = None
) -> list[TitleScore]:
    """Score the encoder that the session names; ``version``: a registered one, not this experiment's own."""
    from mfc.encoders.network import load_encoder
    from mfc.stages import evaluate as stage

    config = session.config(Evaluate)
    store = _store(session, run, config.store)
    encoder: Encoder = load_encoder(_model(session, run, config.model))

    def one(title: str, seed: int, child: Run) -> TitleScore:
        _log_dataset(child, store, "evaluation", title)
        return stage.run(config, store, encoder, title, seed, child)

    return _per_title(session, run, config, store, one, nested=nested, version=version)


def finetune(session: Session, run: Run, *, nested: bool = False) -> list[TitleScore]:
    from mfc import tracking
    from mfc.stages import finetune as stage

    config = session.config(Finetune)
    store = _store(session, run, config.store)
    _titles(store, config)
    model = _model(session, run, config.model)

    def one(title: str, seed: int, child: Run) -> TitleScore:
        _log_dataset(child, store, "adaptation", title)
        score, folder = stage.run(config, store, model, title, seed, session.paths.adapted(title), child)
        child.file(folder, "encoder")
        if config.register:
            alias = tracking.alias_for_title(title)
            about = f"Adapted to {title} without its labels (recipe {config.recipe}, seed {seed})."
            tags = {"corpus": store.fingerprint, "title": title}
            tags |= {name: f"{score.metrics[name]:.6f}" for name in ("accuracy", "nmi")}
            version = tracking.register_encoder(
                child, folder, alias=alias, tags=tags, description=about, example=store.crops[:2]
            )
            child.say(f"registered {tracking.REGISTERED_MODEL} version {version}, alias {alias}")
        return score

    return _per_title(session, run, config, store, one, nested=nested)


def cluster(session: Session, run: Run) -> str:
    """Cluster a comic without labels, and return where; or say how well numbers of characters are found."""
    from mfc.stages import cluster as stage

    config = session.config(Cluster)
    if config.evaluate:
        return _evaluate_auto_k(session, run, config)
    home = session.paths.root / "cluster"
    job = stage.open_job(config, lambda name: home / name, session.where.overwrite)
    model = _model_for_anybody(session, run, config.model)
    out = stage.run(
        job,
        session.config(Preprocess),
        _adaptation(session, config),
        model,
        lambda encoder, compute: _calibration(session, run, config, model, encoder, compute).threshold(),
        home / ".work",
        run,
    )
    title, found = job.comic.book.title, stage.describe(out)["counts"]
    run.tags({"title": title, "seed": str(config.seed)})
    result = f"**{found['clusters']}** clusters, {found['singletons']} of them a single face"
    data = f"{found['faces']:,} faces"
    describe(session, run, "cluster", f"The cast of {escaped(title)}, without labels.", data, result)
    return str(out)


def _adaptation(session: Session, config: Cluster) -> Finetune:
    """How this experiment's finetune adapts, with what `cluster` says otherwise."""
    usual = session.config(Finetune)
    return dataclasses.replace(
        usual, epochs=config.epochs or usual.epochs, device=config.device, precision=config.precision
    )


def _model_for_anybody(session: Session, run: Run, given: str) -> Path:
    """`_model`, but the registry's champion or pre-trained one before it would be trained or refused."""
    from mfc import tracking

    if not given and not (session.paths.pretrained / CURRENT).is_file():
        for alias in (tracking.CHAMPION_ALIAS, tracking.PRETRAINED_ALIAS):
            uri = f"models:/{tracking.REGISTERED_MODEL}@{alias}"
            with contextlib.suppress(UserError):
                found = _model(session, run, uri)
                run.say(f"cluster: this experiment has no pre-trained encoder; using {uri}")
                return found
    return _model(session, run, given)


def _calibration(
    session: Session, run: Run, config: Cluster, model: Path, encoder: Encoder, compute: Compute
) -> Calibration:
    """What is kept beside the encoder; else made from the validation titles of this experiment's faces."""
    from mfc.clusters.counting import calibrate, read_calibration
    from mfc.faces.store import open_store

    kept = read_calibration(model)
    if kept is not None:
        return kept
    if not (session.paths.store / "store.json").is_file():
        raise UserError(
            f"{model}: nobody has learnt on labelled titles yet where to cut its tree; give --n_clusters "
            "NUMBER, --threshold 0.4 or the like, --method silhouette, or an --experiment with faces"
        )
    return calibrate(encoder, model, open_store(session.paths.store), config.batch_size, compute, run)


def promote(session: Session, run: Run) -> str:
    """Make a registered encoder the champion if it is better on a split's titles; returns the verdict."""
    from mfc import tracking
    from mfc.report.tables import titles_by_seeds
    from mfc.stages import promote as stage

    config = session.config(Promote)
    split, metric = stage.metric_of(config)
    model = f"models:/{tracking.REGISTERED_MODEL}"
    uri = config.candidate or f"{model}@{tracking.PRETRAINED_ALIAS}"
    candidate = tracking.find_version(uri)
    if candidate is None:
        raise UserError(f"{uri}: no encoder is registered under this alias; run `mfc pretrain` first")
    champion = tracking.find_version(f"{model}@{tracking.CHAMPION_ALIAS}")
    what = f"May version {candidate} of `{tracking.REGISTERED_MODEL}` take the champion's place?"
    if champion is None or champion == candidate:
        if champion is None:
            tracking.promote_version(candidate, {"promoted_by": "being the first"}, run.say)
        result = f"version {candidate} is {'now the first' if champion is None else 'already the'} champion"
        run.tags({"promoted": str(champion is None).lower()})
        describe(session, run, "promote", what, result=result)
        return result
    if split == "test":
        run.say("promote: a champion chosen by test titles makes later figures on these titles too good")
    store = _store(session, run, config.store)
    titles = store.titles(split)
    old, new = (
        titles_by_seeds(_scores_of_version(session, run, version), titles, metric)
        for version in (champion, candidate)
    )
    verdict = stage.decide(config, session.config(Report), titles, old, new, run)
    if verdict.better:
        by = {"promoted_by": verdict.sentence, "promoted_over": champion}
        tracking.promote_version(candidate, by, run.say)
    takes = "takes" if verdict.better else "does not take"
    result = f"version {candidate} {takes} the place of version {champion}: {verdict.sentence}"
    run.tags({"promoted": str(verdict.better).lower(), "corpus": store.fingerprint})
    run.text("promotion.md", verdict.markdown)
    data = _data(store, titles)
    describe(session, run, "promote", what, data, f"{result}\n\n{verdict.markdown}")
    return f"{verdict.markdown}\n{result}"


def _scores_of_version(session: Session, run: Run, version: int) -> pd.DataFrame:
    """Rows (title, seed, metrics…) of a registered version on the titles to choose by."""
    import pandas as pd

    from mfc import tracking

    config = session.config(Promote)
    values = {
        "store": config.store,
        "model": f"models:/{tracking.REGISTERED_MODEL}/{version}",
        "split": config.metric.partition("/")[0],
        "title_idx": None,
        "seeds": config.seeds,
    }
    asked = dataclasses.replace(session, typed={**session.typed, "evaluate": values})
    return pd.DataFrame([_row(score) for score in evaluate(asked, run, nested=True, version=version)])


def _evaluate_auto_k(session: Session, run: Run, config: Cluster) -> str:
    from mfc.encoders.device import pick_compute
    from mfc.encoders.network import load_encoder
    from mfc.stages import cluster as stage
    from mfc.stages import evaluate_clustering

    store = _store(session, run)
    model = _model(session, run, config.model)
    compute = pick_compute(config.device, config.precision)
    encoder = load_encoder(model, compute.device)
    calibration = _calibration(session, run, config, model, encoder, compute)
    adaptation = _adaptation(session, config)

    def adapted(title: str) -> Encoder:
        folders = [session.paths.adapted(title), session.paths.root / "cluster" / ".work" / "adapted"]
        return stage.adapt_to(title, adaptation, store, model, config.seed, folders, compute, run)

    how = adapted if config.adapt else None
    markdown = evaluate_clustering.run(
        config, session.config(Report), store, encoder, calibration, how, compute, run
    )
    what = f"How well the number of characters is found on the {config.evaluate} titles."
    describe(session, run, "cluster", what, _data(store, store.titles(config.evaluate)), "\n\n" + markdown)
    return markdown


def report(session: Session, run: Run) -> Summary:
    """The table of the scores that `evaluate` and `finetune` left behind."""
    split = session.config(Finetune).split
    before, after = (_kept_scores(session, name, split, run) for name in ("evaluate", "finetune"))
    return _report(session, run, "report", before, after)


def _report(session: Session, run: Run, stage_name: str, before: list[Row], after: list[Row]) -> Summary:
    import pandas as pd

    from mfc.stages import report as stage

    caption = f"{session.experiment.name}, {session.config(Finetune).split} titles"
    summary = stage.run(session.config(Report), pd.DataFrame(before), pd.DataFrame(after), caption, run)
    what = (
        f"The whole pipeline. {session.experiment.about}" if stage_name == "main" else "The compared table."
    )
    describe(session, run, stage_name, what, result=f"{summary.sentence}\n\n{summary.markdown}\n")
    _write_page(session, run, stage_name, summary)
    return summary


def _write_page(session: Session, run: Run, stage_name: str, summary: Summary) -> None:
    """Write report.html beside the outputs, with pictures, and log it by the rule for comic artwork."""
    from mfc import tracking
    from mfc.faces.store import open_store
    from mfc.report import html as html_report
    from mfc.report import tables

    split = session.config(Finetune).split
    path = _store_path(session, session.config(Finetune).store)
    store = open_store(path) if (path / "store.json").is_file() else None
    facts = {"experiment": session.experiment.name}
    if store is not None:
        facts |= {"data": _data(store, titles=store.titles(split)), "faces": store.fingerprint}
    facts |= {"command": command_of(session, stage_name), "commit": tracking.code_version(), "run": run.id}
    page = html_report.ReportPage(
        name=session.experiment.name,
        about=session.experiment.about,
        facts={key: value for key, value in facts.items() if value},
        table=summary.table,
        intervals=summary.intervals,
        confidence=session.config(Report).confidence,
        metrics=tables.METRICS,
        published=tables.PUBLISHED,
        titles=[],
        parameters={k: v for name in STAGES for k, v in stage_params(session, name).items()},
    )
    target = session.paths.root / "report.html"
    kept = _details_of(session, "finetune", split, list(summary.table["title"][:-1])) if store else {}

    def rendered(*, pictures: bool) -> str:
        parts = [
            html_report.title_part(
                store,
                title,
                clusters,
                links,
                functools.partial(_page_picture, session, title),
                pictures=pictures,
            )
            for title, (clusters, links) in kept.items()
            if store is not None
        ]
        return html_report.render(dataclasses.replace(page, titles=parts))

    write_text(target, rendered(pictures=True))
    if run.artwork_allowed:
        run.file(target, artwork=True)
    else:
        run.text("report.html", rendered(pictures=False))
    run.say(f"report: {target}")


def _page_picture(session: Session, title: str, index: int) -> Image | None:
    """A page of the corpus, where it can still be read."""
    from mfc.corpus.manga109 import open_corpus
    from mfc.corpus.pictures import read_page

    made = session.config(Synthesize).out or str(session.paths.corpus)
    try:
        corpus = open_corpus(
            Path(session.where.manga109_root or made), session.config(Preprocess).annotations
        )
        return read_page(corpus.image_path(title, index))
    except (UserError, OSError):
        return None


def _details_path(session: Session, stage: str, split: str, title: str) -> Path:
    return session.paths.root / "scored" / f"{stage}-{split}" / title


def _keep_details(session: Session, stage: str, split: str, score: TitleScore) -> None:
    """Remember the clusters and constraints of a score for `report`; one seed replaces another."""
    folder = _details_path(session, stage, split, score.title)
    for name, table in (("clusters", score.clusters), ("links", score.links)):
        if table is not None:
            with replacing(folder / f"{name}.parquet") as path:
                table.to_parquet(path, index=False)


def _details_of(
    session: Session, stage: str, split: str, titles: list[str]
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame | None]]:
    """Title → its clusters and constraints, where they were kept."""
    import pandas as pd

    found: dict[str, tuple[pd.DataFrame, pd.DataFrame | None]] = {}
    for title in titles:
        folder = _details_path(session, stage, split, title)
        if (folder / "clusters.parquet").is_file():
            links = folder / "links.parquet"
            found[title] = (
                pd.read_parquet(folder / "clusters.parquet"),
                pd.read_parquet(links) if links.is_file() else None,
            )
    return found


def _describe_score(
    session: Session, run: Run, store: FaceStore, config: Evaluate | Finetune, score: TitleScore
) -> None:
    if isinstance(config, Finetune):
        what = f"The encoder, adapted to {escaped(score.title)} without its labels: recipe {config.recipe}"
        what += f", seed {score.seed}."
    else:
        encoder = escaped(config.model) or "the pre-trained encoder"
        what = f"{escaped(score.title)}, clustered with {encoder}; seed {score.seed}."
    result = ", ".join(f"{label} **{score.metrics[name]:.3f}**" for name, label in SHOWN.items())
    place = store.titles(config.split).index(score.title)
    stage = type(config).__name__.lower()
    command = command_of(session, stage, {"title_idx": place, "seeds": score.seed})
    data = f"{score.metrics['faces']:.0f} faces of {score.metrics['characters']:.0f} named characters, "
    data += f"{config.split} title {place}, faces `{store.fingerprint}`"
    describe_command(run, what, data, result, command)


def _data(store: FaceStore, titles: list[str] | None = None) -> str:
    table = store.table if titles is None else store.table[store.table["title"].isin(titles)]
    kept = table["row"].notna().sum()
    characters, n = table["character_id"].nunique(), table["title"].nunique()
    return f"{kept:,} faces of {characters:,} characters in {n} titles"


def compare(session: Session, run: Run) -> str:
    """The paired difference of two runs, as `--compare` names them."""
    from mfc import tracking
    from mfc.report import tables

    config = session.config(Report)
    names = [name.strip() for name in config.compare.split(",")]
    if len(names) != 2 or "" in names or names[0] == names[1]:
        raise UserError(f"compare: {config.compare!r} is not two MLflow run ids, RUN_A,RUN_B")
    table = tables.compare(config, {name: tracking.child_metrics(name) for name in names})
    markdown = tables.comparison_markdown(table, names, config.confidence)
    run.text("comparison.md", markdown)
    run.table("comparison", table)
    return markdown


def main(session: Session, run: Run) -> Summary:
    """All stages in order, each as a child run."""
    if session.is_synthetic:
        with _step(session, run, "synthesize") as child:
            synthesize(session, child)
    with _step(session, run, "preprocess") as child:
        preprocess(session, child)
    with _step(session, run, "statistics") as child:
        statistics(session, child)
    with _step(session, run, "pretrain") as child:
        pretrain(session, child)
    before, after = evaluate(session, run, nested=True), finetune(session, run, nested=True)
    return _report(session, run, "main", [_row(score) for score in before], [_row(score) for score in after])


def _step(session: Session, run: Run, stage: str) -> AbstractContextManager[Run]:
    run.say(f"— {stage}")
    return run.child(stage, stage=stage, tags={}, params=stage_params(session, stage))


def _corpus(session: Session, run: Run) -> Path:
    if session.where.manga109_root:
        return Path(session.where.manga109_root)
    if not session.is_synthetic:
        raise UserError(
            f"experiment {session.experiment.name} needs Manga109: give --manga109_root DIR or set "
            "MANGA109_ROOT (see the README), or use --experiment demo"
        )
    if not (session.paths.corpus / "synthetic.json").is_file() and not session.config(Synthesize).out:
        run.say("No corpus yet: running `mfc synthesize` first.")
        with run.child(
            "synthesize", stage="synthesize", tags={}, params=stage_params(session, "synthesize")
        ) as c:
            return synthesize(session, c)
    return synthesize(session, run)


def _store(session: Session, run: Run, given: str = "") -> FaceStore:
    from mfc.faces.store import open_store

    path = _store_path(session, given)
    if given or (path / "store.json").is_file():
        return open_store(path)
    run.say("No face store yet: running `mfc preprocess` first.")
    with run.child(
        "preprocess", stage="preprocess", tags={}, params=stage_params(session, "preprocess")
    ) as child:
        return preprocess(session, child)


def _store_path(session: Session, given: str) -> Path:
    return Path(given) if given else session.paths.store


def _model(session: Session, run: Run, given: str) -> Path:
    from mfc import tracking

    if given.startswith("models:/"):
        return tracking.fetch_encoder(given, session.paths.root / "fetched")
    if given:
        return Path(given)
    pointer = session.paths.pretrained / CURRENT
    if pointer.is_file():
        return pointer.parent / json.loads(pointer.read_text(encoding="utf-8"))["folder"]
    if not session.is_synthetic:
        name = session.experiment.name
        raise UserError(
            f"no pre-trained model for experiment {name}: run `mfc pretrain --experiment {name}` "
            "(or `mlflow run . -e pretrain`), `mfc import_checkpoint FILE.pth`, or give --model"
        )
    run.say("No pre-trained model yet: running `mfc pretrain` first.")
    with run.child("pretrain", stage="pretrain", tags={}, params=stage_params(session, "pretrain")) as child:
        return pretrain(session, child)


def _titles(store: FaceStore, config: Evaluate | Finetune) -> list[str]:
    titles = store.titles(config.split)
    if not titles:
        raise UserError(f"{store.path}: the {config.split} split has no titles")
    if config.title_idx is None:
        return titles
    if config.title_idx >= len(titles):
        raise UserError(
            f"title_idx {config.title_idx} is out of range: the {config.split} split has {len(titles)} "
            f"titles, 0 to {len(titles) - 1}"
        )
    return [titles[config.title_idx]]


def _per_title(
    session: Session,
    run: Run,
    config: Evaluate | Finetune,
    store: FaceStore,
    one: Callable[[str, int, Run], TitleScore],
    *,
    nested: bool,
    version: int | None = None,
) -> list[TitleScore]:
    """Score each title and seed in a child run; a single one in the run itself.

    Scores are kept for `report`, unless they are those of a registered ``version``.
    """
    stage = type(config).__name__.lower()
    titles, seeds = _titles(store, config), parse_seeds(config.seeds)
    recipe = config.recipe if isinstance(config, Finetune) else "none"
    single = len(titles) * len(seeds) == 1 and not nested
    scores: list[TitleScore] = []
    for title in titles:
        for seed in seeds:
            tags = {"title": title, "split": config.split, "recipe": recipe, "seed": str(seed)}
            tags["corpus"] = store.fingerprint
            tags |= {} if version is None else {"model_version": str(version)}
            if single:
                run.tags(tags)
                score = one(title, seed, run)
                _describe_score(session, run, store, config, score)
            else:
                of_version = "" if version is None else f" v{version}"
                name = f"{stage}{of_version} {title}" + (f" seed {seed}" if len(seeds) > 1 else "")
                params = stage_params(session, stage)
                with run.child(name, stage=stage, tags=tags, params=params) as child:
                    score = one(title, seed, child)
                    _describe_score(session, child, store, config, score)
            run.say(
                f"{stage} {title}: accuracy {score.metrics['accuracy']:.3f}, NMI {score.metrics['nmi']:.3f}"
            )
            scores.append(score)
            if version is None:
                _keep_score(session, stage, config.split, score)
                _keep_details(session, stage, config.split, score)
    if len(scores) > 1 and not nested:
        means = {m: sum(s.metrics[m] for s in scores) / len(scores) for m in ("accuracy", "nmi")}
        run.metrics({f"mean/{name}": value for name, value in means.items()})
        run.say(f"{stage}: mean accuracy {means['accuracy']:.3f}, mean NMI {means['nmi']:.3f}")
    return scores


def _log_dataset(run: Run, store: FaceStore, context: str, title: str = "") -> None:
    table = store.table if not title else store.table[store.table["title"] == title]
    name = f"faces-{store.fingerprint[:8]}" + (f"-{title}" if title else "")
    run.dataset(table, name=name, source=str(store.path), targets="character_id", context=context)


def _scores_path(session: Session, stage: str, split: str) -> Path:
    return session.paths.root / f"{stage}-{split}.json"


def _row(score: TitleScore) -> Row:
    return {"title": score.title, "seed": score.seed, **score.metrics}


def _keep_score(session: Session, stage: str, split: str, score: TitleScore) -> None:
    """Remember a score for `report`; a title and seed scored again replaces what was there."""
    path = _scores_path(session, stage, split)
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    rows = [row for row in rows if (row["title"], row["seed"]) != (score.title, score.seed)]
    parameters = {k: v for k, v in stage_params(session, stage).items() if not k.endswith(PER_CALL)}
    write_json(path, [*rows, {**_row(score), "parameters": value_digest(parameters)}])


def _kept_scores(session: Session, stage: str, split: str, run: Run) -> list[Row]:
    path = _scores_path(session, stage, split)
    if not path.is_file():
        raise UserError(f"no {stage} scores of the {split} titles yet: run `mfc {stage}` or `mfc main` first")
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))
    if len({row["parameters"] for row in rows}) > 1:
        run.say(f"report: the {stage} scores in {path} were made with different parameters")
    return rows
