"""Comics without labels: their cast, and how well unknown numbers of characters are found."""

from __future__ import annotations

import dataclasses

from mfc.adapt.adapt import adapt
from mfc.cast.job import open_job
from mfc.cast.result import read_record
from mfc.config import Cluster, EvaluateClustering, Finetune, Preprocess, Report
from mfc.encoders.device import Compute, pick_compute
from mfc.encoders.network import Encoder, load_encoder
from mfc.stages.cluster import cluster_comic
from mfc.stages.evaluate_clustering import evaluate_clustering
from mfc.tracking import Run
from mfc.workflow.data import faces
from mfc.workflow.encoders import calibration_for, calibration_on, encoder_folder, encoder_for_anybody
from mfc.workflow.pages import describe, escaped, faces_in_words
from mfc.workflow.session import Session


def cluster_command(session: Session, run: Run) -> str:
    """Cluster a comic without labels, and return where its cast is."""
    config, workspace = session.config(Cluster), session.workspace
    job = open_job(config, workspace.cast, session.where.overwrite)
    model = encoder_for_anybody(session, run, config.model)

    def cut(encoder: Encoder, compute: Compute) -> float:
        found = calibration_for(session, run, model, encoder, config.batch_size, compute)
        return found.threshold()

    out = cluster_comic(
        job, session.config(Preprocess), _adaptation(session, config), model, cut, workspace, run
    )
    title, found = job.comic.book.title, read_record(out)["counts"]
    run.tags({"title": title, "seed": str(config.seed)})
    result = f"**{found['clusters']}** clusters, {found['singletons']} of them a single face"
    data = f"{found['faces']:,} faces"
    describe(session, run, "cluster", f"The cast of {escaped(title)}, without labels.", data, result)
    return str(out)


def evaluate_clustering_command(session: Session, run: Run) -> str:
    """Score clusterings with estimated numbers of characters; returns the table."""
    config = session.config(EvaluateClustering)
    store = faces(session, run, config.store)
    model = encoder_folder(session, run, config.model)
    compute = pick_compute(config.device, config.precision)
    encoder = load_encoder(model, compute.device)
    calibration = calibration_on(store, model, encoder, config.batch_size, compute, run)
    adaptation = _adaptation(session, config)

    def adapted(title: str) -> Encoder:
        place = session.workspace.adapted(title)
        return adapt(adaptation, store, model, title, config.seed, place, compute, run).encoder

    how = adapted if config.adapt else None
    markdown = evaluate_clustering(
        config, session.config(Report), store, encoder, calibration, how, compute, run
    )
    what = f"How well the number of characters is found on the {config.split} titles."
    data = faces_in_words(store, store.titles(config.split))
    describe(session, run, "evaluate_clustering", what, data, "\n\n" + markdown)
    return markdown


def _adaptation(session: Session, config: Cluster | EvaluateClustering) -> Finetune:
    """How this experiment's finetune adapts, with what the command says otherwise."""
    usual = session.config(Finetune)
    return dataclasses.replace(
        usual, epochs=config.epochs or usual.epochs, device=config.device, precision=config.precision
    )
