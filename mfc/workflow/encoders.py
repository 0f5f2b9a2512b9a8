"""Encoders: pre-trained, imported, fetched or the experiment's own; what a command needs is made first."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mfc.clusters.counting import Calibration, calibrate, read_calibration
from mfc.config import ImportCheckpoint, Pretrain
from mfc.corpus.reading import read_json
from mfc.encoders.device import Compute, pick_compute
from mfc.encoders.network import Encoder, import_torchvision, load_encoder, save_encoder
from mfc.encoders.training import last_validation
from mfc.errors import UserError
from mfc.faces.store import STORE_FILE, FaceStore, open_store
from mfc.files import file_digest, write_json
from mfc.stages.pretrain import pretrain
from mfc.tracking import (
    CHAMPION_ALIAS,
    PRETRAINED_ALIAS,
    REGISTERED_MODEL,
    Run,
    fetch_encoder,
    register_encoder,
)
from mfc.workflow.data import faces
from mfc.workflow.pages import describe, faces_in_words, log_faces, params_of
from mfc.workflow.session import Session


def pretrain_command(session: Session, run: Run) -> str:
    return str(pretrain_encoder(session, run))


def import_checkpoint_command(session: Session, run: Run, file: Path) -> str:
    """Make a torchvision state_dict the pre-trained encoder of an experiment."""
    config = session.config(ImportCheckpoint)
    encoder = import_torchvision(file, backbone=config.backbone, n_classes=config.classes)
    digest = file_digest(file)
    folder = session.workspace.pretrained / f"import-{digest[:12]}"
    save_encoder(encoder, folder)
    about = f"Imported from {file.name} ({config.backbone}, {config.classes} classes)."
    provenance = {"source_file": file.name, "source_sha256": digest, "corpus": "unknown"}
    run.tags(provenance)
    _adopt(session, run, folder, about, config.register, provenance, None)
    return str(folder)


def pretrain_encoder(session: Session, run: Run) -> Path:
    """Train the experiment's encoder, or find it trained; returns its folder."""
    config = session.config(Pretrain)
    store = faces(session, run, config.store)
    log_faces(run, store, "training")
    run.tags({"recipe": "none", "seed": str(config.seed), "corpus": store.fingerprint})
    about = "Pre-trained on the characters of the train titles."
    describe(session, run, "pretrain", about, faces_in_words(store, titles=store.titles("train")))
    folder = pretrain(config, store, session.workspace.pretrained, run, session.where.overwrite)
    with contextlib.suppress(UserError):  # without validation titles, `cluster` will say what it lacks
        compute = pick_compute(config.device, config.precision)
        calibration_on(store, folder, load_encoder(folder, compute.device), config.batch_size, compute, run)
    tags = {name: f"{value:.6f}" for name, value in last_validation(folder).items()}
    tags |= {"corpus": store.fingerprint}
    _adopt(session, run, folder, about, config.register, tags, store.crops[:2])
    return folder


def encoder_folder(session: Session, run: Run, given: str = "") -> Path:
    """The encoder ``given`` (a folder or models:/… URI), or the experiment's, pre-trained if need be."""
    if given.startswith("models:/"):
        return fetch_encoder(given, session.workspace.fetched)
    if given:
        return Path(given)
    current = current_encoder(session)
    if current is not None:
        return current
    if not session.draws_its_corpus:
        name = session.experiment.name
        raise UserError(
            f"no pre-trained model for experiment {name}: run `mfc pretrain --experiment {name}` "
            "(or `mlflow run . -e pretrain`), `mfc import_checkpoint FILE.pth`, or give --model"
        )
    run.say("No pre-trained model yet: running `mfc pretrain` first.")
    with run.child("pretrain", stage="pretrain", params=params_of(session, "pretrain")) as child:
        return pretrain_encoder(session, child)


def current_encoder(session: Session) -> Path | None:
    """The pre-trained encoder that the experiment made last, if there is one."""
    pointer = session.workspace.current_encoder
    if not pointer.is_file():
        return None
    try:
        return pointer.parent / str(read_json(pointer)["folder"])
    except (UserError, KeyError, TypeError):
        raise UserError(
            f"{pointer}: damaged; delete it and run `mfc pretrain`: no training is lost"
        ) from None


def encoder_for_anybody(session: Session, run: Run, given: str) -> Path:
    """`encoder_folder`, but the registry's champion or pre-trained one before one is trained or refused."""
    if not given and current_encoder(session) is None:
        for alias in (CHAMPION_ALIAS, PRETRAINED_ALIAS):
            uri = f"models:/{REGISTERED_MODEL}@{alias}"
            with contextlib.suppress(UserError):
                found = encoder_folder(session, run, uri)
                run.say(f"cluster: this experiment has no pre-trained encoder; using {uri}")
                return found
    return encoder_folder(session, run, given)


def calibration_for(
    session: Session, run: Run, model: Path, encoder: Encoder, batch_size: int, compute: Compute
) -> Calibration:
    """Where to cut this encoder's tree: learnt on this experiment's validation titles, else as it came along.

    Raises:
        UserError: when it came without, and the experiment has no faces to learn it from.
    """
    store = session.workspace.faces
    if (store / STORE_FILE).is_file():
        return calibration_on(open_store(store), model, encoder, batch_size, compute, run)
    kept = read_calibration(model)
    if kept is None:
        raise UserError(
            f"{model}: nobody has learnt on labelled titles yet where to cut its tree; give --n_clusters "
            "NUMBER, --threshold 0.4 or the like, --method silhouette, or an --experiment with faces"
        )
    return kept


def calibration_on(
    store: FaceStore, model: Path, encoder: Encoder, batch_size: int, compute: Compute, run: Run
) -> Calibration:
    """The calibration of an encoder on a store's validation titles, kept beside the encoder."""
    kept = read_calibration(model)
    if kept is not None and (kept.is_of(store, compute) or not store.titles("val")):
        return kept
    return calibrate(encoder, model, store, batch_size, compute, run)


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
    write_json(session.workspace.current_encoder, {"folder": folder.name})
    run.file(folder, "encoder")
    if register:
        version = register_encoder(
            run,
            folder,
            alias=PRETRAINED_ALIAS,
            tags={**tags, "title": ""},
            description=about,
            example=example,
        )
        run.say(f"registered {REGISTERED_MODEL} version {version}, alias {PRETRAINED_ALIAS}")
