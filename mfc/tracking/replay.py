"""Sending later what interrupted runs could not: `mfc replay`."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfc.errors import UserError
from mfc.files import write_json
from mfc.log import PrintLog
from mfc.tracking.credentials import is_redacted, redacted, split_login, without_login
from mfc.tracking.delivery import Courier, spool_root
from mfc.tracking.spool import ASIDE, Busy, Gone, Spool, spools
from mfc.tracking.store import MISSING, database_file, first_line, named_store


def replay(work_dir: Path, say: Callable[[str], None] | None = None) -> int:
    """Send what earlier processes could not, below ``work_dir`` and its experiments; returns how many runs.

    A run whose process was killed is marked KILLED. Spools of processes that still live are left to them.
    What can never be delivered, because the run was deleted or a record is damaged or refused, is set aside
    in ``.spool/aside``, counted and told.

    Raises:
        UserError: when a server is still away, or a spool cannot be used; everything unsent stays for the
            next attempt, and all other spools were sent.
    """
    say = say or PrintLog().say
    here = named_store()
    mended, set_aside = 0, 0
    failed: list[str] = []
    for folder in [f for root in (work_dir, *work_dir.glob("*/")) for f in spools(spool_root(root))]:
        try:
            spool = Spool(folder)
        except Busy:
            say(f"run {folder.name}: still in use by a living process, left alone")
            continue
        except OSError as error:
            failed.append(f"run {folder.name} ({folder}: {error.strerror})")
            continue
        problem = ""
        try:
            _replay_one(spool, folder.name, here, say)
            mended += 1
        except Gone as gone:
            problem = str(gone)
        except Exception as error:  # whatever is wrong with one, the others shall be sent
            reason = str(error) if isinstance(error, UserError) else first_line(error)
            failed.append(f"run {folder.name} ({reason})")
        else:
            refused = spool.refused
            problem = f"{refused} record(s) of run {folder.name} could not be delivered" if refused else ""
        spool.close()
        if problem and folder.exists():
            set_aside += 1
            say(f"{problem}: set aside in {_set_aside(folder)}")
    if set_aside:
        say(f"{set_aside} spool(s) were set aside; nothing sends them again until they are moved back")
    if failed:
        raise UserError(
            f"{work_dir}: not everything could be sent: {'; '.join(failed)}; mend this, or start the "
            "tracking server, and repeat `mfc replay`"
        )
    return mended


def _replay_one(spool: Spool, run_id: str, here: str, say: Callable[[str], None]) -> None:
    kept = _kept_address(spool.folder)
    if not kept:
        say(f"run {run_id}: its run.json is missing or damaged; looking for it in {redacted(here)}")
    uri = _address(spool.folder, kept, here) if kept else here
    database = database_file(uri)
    if database is not None and not database.is_file():
        raise UserError(f"the database {database} is not there; bring it back, or delete {spool.folder}")
    client = MlflowClient(uri)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in MISSING:
            raise
        if not kept and not spool.empty:
            raise UserError(
                f"it is not in {redacted(uri)}; set MLFLOW_TRACKING_URI to the store that has it"
            ) from None
        raise Gone(f"there is no run {run_id} in {redacted(uri)} any more") from None
    if run.info.lifecycle_stage == "deleted":
        raise Gone(
            f"run {run_id} was deleted in MLflow (to send its records after all, `mlflow runs restore "
            f"--run-id {run_id}`, and move them back)"
        )
    courier = Courier(run_id, uri, say)
    while not spool.empty:
        courier(spool, spool.pending())
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, "KILLED")
    say(f"run {run_id}: up to date")


def _kept_address(folder: Path) -> str:
    """The address of the run's store, as its spool has it; empty when nothing can be read there."""
    try:
        return str(json.loads((folder / "run.json").read_text(encoding="utf-8"))["uri"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _address(folder: Path, kept: str, here: str) -> str:
    """The address to use for that in a spool, where the login is left out."""
    bare, user, password = split_login(kept)
    if redacted(here) in (kept, redacted(kept)):
        return here
    if is_redacted(kept):
        raise UserError(
            f"the login of {kept} is not kept on disk; set MLFLOW_TRACKING_URI to this address with its "
            "user and password"
        )
    if user is None:
        return kept
    # Version 0.1 wrote logins here; what is not in the environment is used once more, and taken out.
    is_server = bare.startswith("http")
    write_json(folder / "run.json", {"uri": bare if is_server else redacted(kept)})
    if not is_server:
        return without_login(kept)
    os.environ.setdefault("MLFLOW_TRACKING_USERNAME", user)
    os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", password or "")
    return bare


def _set_aside(folder: Path) -> Path:
    for number in itertools.count(1):
        target = folder.parent / ASIDE / (folder.name if number == 1 else f"{folder.name}-{number}")
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            return folder.rename(target)
    raise AssertionError("unreachable")
