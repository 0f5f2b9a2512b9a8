"""The model registry: encoders logged, registered, fetched, promoted."""

from __future__ import annotations

import base64
import contextlib
import importlib.metadata
import io
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from mfc.errors import UserError
from mfc.files import file_digest, value_digest
from mfc.log import PrintLog
from mfc.tracking.context import PACKAGE
from mfc.tracking.names import CHAMPION_ALIAS, REGISTERED_MODEL, alias_for_title, clean_tags
from mfc.tracking.run import Run
from mfc.tracking.store import connect, first_line, insist

EXAMPLE_SIDE = 64
"""Side of the example images stored with a registered model, pixels."""
ENCODER_FILES = ("encoder.safetensors", "encoder.json")
MORE_ENCODER_FILES = ("calibration.json",)
"""What goes with an encoder when it is there."""


def register_encoder(
    run: Run,
    folder: Path,
    *,
    alias: str,
    tags: Mapping[str, Any] | None = None,
    description: str = "",
    example: np.ndarray | None = None,
) -> int:
    """Log the encoder in ``folder`` as a servable model and register it; returns the version.

    ``example``: crops (n, S, S, C) uint8, shown in the UI as an example of the input. They are comic
    artwork, so a plain grey ramp takes their place where pictures are not to be logged.

    Raises:
        UserError: when the server is away for longer than `patience`.
    """
    from mfc.encoders.network import saved_dim

    run.flush()
    client = MlflowClient(run._uri)
    if example is None or not run.artwork_allowed:
        ramp = np.linspace(0, 255, EXAMPLE_SIDE).astype(np.uint8)
        example = np.stack([np.tile(ramp, (EXAMPLE_SIDE, 1)), np.tile(ramp, (EXAMPLE_SIDE, 1)).T])
    signature = ModelSignature(
        # Without a name in it, the column is accepted as DataFrame, list and array alike.
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, saved_dim(folder)))]),
        # Texts: "auto" or a number, and boxes of several pages, fit no other type of param.
        params=ParamSchema([ParamSpec(name, DataType.string, "") for name in ("boxes", "n_clusters")]),
    )

    # Made first: left to itself, MLflow puts it into the experiment "Default", anew at each attempt.
    logged = insist(
        lambda: client.create_logged_model(
            run._experiment_id, "encoder", run.id, params=client.get_run(run.id).data.params
        ),
        doing="logging the model",
        say=run.say,
    )

    def log() -> Any:
        with tempfile.TemporaryDirectory() as scratch:
            encoder = Path(scratch) / "encoder"
            encoder.mkdir()
            for name in (*ENCODER_FILES, *MORE_ENCODER_FILES):
                if name in ENCODER_FILES or (folder / name).is_file():
                    shutil.copyfile(folder / name, encoder / name)
            with warnings.catch_warnings(), _quiet_mlflow():
                warnings.simplefilter("ignore")
                return Model.log(
                    artifact_path=None,
                    name="encoder",
                    model_id=logged.model_id,
                    flavor=mlflow.pyfunc,
                    run_id=run.id,
                    python_model=str(PACKAGE / "tracking" / "serving.py"),
                    artifacts={"encoder": str(encoder)},
                    code_paths=[str(_package_copy(Path(scratch)))],
                    pip_requirements=_serving_requirements(),
                    signature=signature,
                    input_example=pd.DataFrame({"image": [base64_png(image) for image in example[:2]]}),
                )

    info = insist(log, doing="logging the model", say=run.say)
    version = insist(
        lambda: _new_version(client, info.model_id, run.id, tags or {}, description),
        doing="registering the model",
        say=run.say,
    )
    insist(
        lambda: client.set_registered_model_alias(REGISTERED_MODEL, alias, str(version)),
        doing=f"setting the alias {alias!r}",
        say=run.say,
    )
    return version


def _new_version(
    client: MlflowClient, model_id: str, run_id: str, tags: Mapping[str, Any], description: str
) -> int:
    try:
        client.create_registered_model(
            REGISTERED_MODEL, description="Embeds drawn faces: image in, vector of length 1 out."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        REGISTERED_MODEL,
        source=f"models:/{model_id}",
        run_id=run_id,
        tags={**clean_tags(tags), "run": run_id},
        description=description or None,
        model_id=model_id,
    )
    link = [{"name": REGISTERED_MODEL, "version": made.version}]
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps(link)})
    return int(made.version)


def fetch_encoder(uri: str, parent: Path) -> Path:
    """Download the encoder of a registered model (``models:/NAME@ALIAS`` or ``…/VERSION``).

    A title may stand where its alias belongs. The folder is named after what is in it, so that two versions
    never take each other's place; it appears whole or not at all.

    Raises:
        UserError: when the registry has no such model or the server does not answer.
    """
    connect()
    match = re.fullmatch(r"models:/(?P<name>[^@]+)@(?P<alias>.+)", uri)
    exact = f"models:/{match['name']}@{_known_alias(match['alias'])}" if match else uri.rstrip("/")
    parent.mkdir(parents=True, exist_ok=True)
    with (
        FileLock(parent / ".fetch.lock"),
        tempfile.TemporaryDirectory(dir=parent, prefix=".fetch-") as scratch,
    ):
        for left in parent.glob(".fetch-*"):  # by a process that was killed: the lock is ours
            if left != Path(scratch):
                shutil.rmtree(left, ignore_errors=True)
        try:
            with _quiet_mlflow():
                got = Path(
                    mlflow.artifacts.download_artifacts(f"{exact}/artifacts/encoder", dst_path=scratch)
                )
        except Exception as error:
            raise UserError(
                f"{uri}: no model registered there ({first_line(error)}); register one with `mfc pretrain`, "
                "or give --model a folder with an encoder"
            ) from None
        missing = [name for name in ENCODER_FILES if not (got / name).is_file()]
        if missing:
            raise UserError(f"{uri}: has no {missing[0]}, so it is no model of mfc; give another --model")
        content = {path.name: file_digest(path) for path in got.iterdir() if path.is_file()}
        into = parent / value_digest(content)
        if not into.exists():
            got.rename(into)
    return into


def find_version(uri: str) -> int | None:
    """The version of ``models:/mfc-face-encoder@ALIAS`` or ``…/VERSION``; None when nothing has that alias.

    A title may stand where its alias belongs.

    Raises:
        UserError: for another URI, a version that does not exist, or when the server does not answer.
    """
    match = re.fullmatch(rf"models:/{REGISTERED_MODEL}(?:@(?P<alias>.+)|/(?P<version>\d+))", uri)
    if match is None:
        raise UserError(f"{uri}: give models:/{REGISTERED_MODEL}@ALIAS or models:/{REGISTERED_MODEL}/VERSION")
    client = MlflowClient(connect())
    alias, version = match["alias"], match["version"]

    def look() -> int | None:
        try:
            if alias is not None:
                return int(client.get_model_version_by_alias(REGISTERED_MODEL, _known_alias(alias)).version)
            return int(client.get_model_version(REGISTERED_MODEL, version).version)
        except MlflowException as error:
            # A missing alias is an invalid parameter to MLflow, a missing model or version does not exist.
            missing = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
            if error.error_code not in missing:
                raise
            if alias is None:
                raise UserError(f"{uri}: no such version is registered ({first_line(error)})") from None
            return None

    return insist(look, doing=f"looking up {uri}", say=PrintLog().say)


def promote_version(version: int, tags: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Move the alias of the champion to a version, and note in its tags what spoke for it."""
    client = MlflowClient(connect())

    def move() -> None:
        for key, value in clean_tags(tags).items():
            client.set_model_version_tag(REGISTERED_MODEL, str(version), key, value)
        client.set_registered_model_alias(REGISTERED_MODEL, CHAMPION_ALIAS, str(version))

    insist(move, doing=f"setting the alias {CHAMPION_ALIAS!r}", say=say)


def _known_alias(alias: str) -> str:
    return alias if re.fullmatch(r"[\w-]+", alias) else alias_for_title(alias)


def _package_copy(scratch: Path) -> Path:
    """The package without caches, for the model to carry along."""
    target = scratch / "code" / "mfc"
    if not target.exists():
        shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return target


def _serving_requirements() -> list[str]:
    """Exact versions of what serving needs; left to itself, MLflow loads the model to find out (seconds)."""
    needed = ["mlflow", "numpy", "pandas", "pillow", "safetensors", "scipy", "torch", "torchvision"]
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in needed]


def base64_png(image: np.ndarray) -> str:
    from PIL import Image

    picture = Image.fromarray(image.squeeze()).resize((EXAMPLE_SIDE, EXAMPLE_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@contextlib.contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """Without MLflow's hints and progress bars on the terminal."""
    before = os.environ.get("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if before is None:
            del os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"]
        else:
            os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = before
