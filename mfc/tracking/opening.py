"""How the run of a command begins: a new one, or the one that the environment names."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow.entities import Experiment, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfc.errors import UserError
from mfc.tracking.context import context_tags
from mfc.tracking.credentials import redacted
from mfc.tracking.delivery import spool_root
from mfc.tracking.names import LONGEST_TAG, clean_tags, safe_path, shortened
from mfc.tracking.run import Run
from mfc.tracking.settings import patience
from mfc.tracking.spool import RESERVE, spools, unwritable
from mfc.tracking.store import connect, database_file, first_line

STAND_IN_MARK = "THIS-IS-NOT-CONDA.md"
"""The file that tells the stand-in of activate.sh from a real conda."""
_CODE_TAGS = ("mlflow.source.name", "mlflow.gitRepoURL", "mlflow.source.git.repoURL")


@contextlib.contextmanager
def open_run(
    *,
    experiment: str,
    name: str,
    stage: str,
    tags: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    work_dir: Path,
    log_images: str = "auto",
) -> Iterator[Run]:
    """The run of a command, for the length of the block: FINISHED, FAILED, or KILLED by an interrupt.

    Under `mlflow run`, and to resume (``MLFLOW_RUN_ID``), the run that the environment names is joined; else
    one is made in ``MLFLOW_EXPERIMENT_NAME``, or ``experiment``. ``params`` are logged as they are named.

    Raises:
        UserError: when ``work_dir`` cannot be written, the store cannot be used, or the named run or
            experiment is not there; no run is made then.
    """
    uri = connect()
    _check_room(spool_root(work_dir))
    client = MlflowClient(uri)
    own_tags = {**context_tags(), **clean_tags({"stage": stage, **(tags or {})})}
    joined_id = os.environ.get("MLFLOW_RUN_ID", "")
    try:
        if joined_id:
            opened = _join(client, joined_id, name, own_tags)
        else:
            opened = client.create_run(
                _experiment_id(client, experiment), tags=own_tags, run_name=shortened(name, LONGEST_TAG)
            )
    except MlflowException as error:
        raise UserError(
            f"{redacted(uri)}: no run can be opened there ({first_line(error)}); mend that, or set "
            "MLFLOW_TRACKING_URI to another store"
        ) from None
    left = [folder for folder in spools(spool_root(work_dir)) if folder.name != opened.info.run_id]
    run = Run(
        opened,
        uri=uri,
        work_dir=work_dir,
        log_images=log_images,
        joined=bool(joined_id),
        label=name,
    )
    if left:
        run.say(
            f"records of {len(left)} other run(s) wait in {spool_root(work_dir)}; if none of them is still "
            f"running, send them with `mfc replay --work_dir {shlex.quote(str(work_dir))}`"
        )
    artifacts = opened.info.artifact_uri
    if not urlsplit(artifacts).scheme and url2pathname(artifacts) != artifacts:
        run.say(
            f"the artifacts of this run go to {url2pathname(artifacts)}, because MLflow reads % in its "
            "experiment's folder as a code; rename the folder, or use another experiment"
        )
    with run._life(limit=patience()):
        run.params(params or {})
        yield run


def _check_room(folder: Path) -> None:
    """See that a run can write there, before it exists."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(RESERVE))
            probe.flush()
    except OSError as error:
        raise unwritable(folder, error) from None


def _join(client: MlflowClient, run_id: str, name: str, tags: Mapping[str, str]) -> MlflowRun:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise UserError(
            f"MLFLOW_RUN_ID={run_id}: no such run in {redacted(client.tracking_uri)} ({first_line(error)}); "
            "unset it to start a new run"
        ) from None
    if run.info.lifecycle_stage == "deleted":
        raise UserError(
            f"MLFLOW_RUN_ID={run_id}: this run was deleted; restore it with "
            f"`mlflow runs restore --run-id {run_id}`, or unset MLFLOW_RUN_ID"
        )
    own = {k: v for k, v in tags.items() if not k.startswith("mlflow.")}
    # The stand-in of activate.sh made `mlflow run` believe in conda; the environment is the active one.
    stand_in = os.environ.get("MLFLOW_CONDA_HOME", "")
    if run.data.tags.get("mlflow.project.env") == "conda" and (Path(stand_in) / STAND_IN_MARK).is_file():
        own["mlflow.project.env"] = "local"
    # `mlflow run` notes where the code came from as git has it, with a token in the address.
    own |= {k: redacted(v) for k, v in run.data.tags.items() if k in _CODE_TAGS and v.startswith("http")}
    client.log_batch(run_id, tags=[RunTag(k, v) for k, v in own.items()])
    random_name = re.fullmatch(r"[a-z]+-[a-z]+-\d+", run.info.run_name or "") is not None
    client.update_run(run_id, status="RUNNING", name=name if random_name else None)
    return client.get_run(run_id)


def _experiment_id(client: MlflowClient, name: str) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
    given = os.environ.get("MLFLOW_EXPERIMENT_ID", "")
    found: Experiment | None
    if given and not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        try:
            found = client.get_experiment(given)
        except (MlflowException, ValueError) as error:
            raise UserError(
                f"MLFLOW_EXPERIMENT_ID={given}: no such experiment in {redacted(client.tracking_uri)} "
                f"({first_line(error)}); unset it, or set MLFLOW_EXPERIMENT_NAME"
            ) from None
    else:
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name, _artifacts_of(client.tracking_uri, name)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(name)  # another process was faster
    if found is None or found.lifecycle_stage == "deleted":
        which, name = (found.experiment_id, found.name) if found else (name, name)
        raise UserError(
            f"experiment {name!r} was deleted in MLflow; restore it with "
            f"`mlflow experiments restore --experiment-id {which}`, or set MLFLOW_EXPERIMENT_NAME"
        )
    return str(found.experiment_id)


def _artifacts_of(uri: str, experiment: str) -> str | None:
    """Where a new experiment's artifacts go: None, MLflow's choice, unless it would misread the path."""
    here = str(Path.cwd())
    if database_file(uri) is None or url2pathname(here) == here:
        return None
    return (Path.cwd() / "mlruns" / safe_path(experiment)).as_uri()
