"""The tracking store: which one, whether it answers, and patience when it goes away."""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfc.errors import UserError

T = TypeVar("T")

PROBE_SECONDS = 5
"""How long a tracking server may take to answer when a command starts."""
REFUSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "MALFORMED_REQUEST")
"""Answers that will be the same next time."""
_FINAL = (*REFUSED, "RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED")


def patience() -> float:
    """Seconds to wait for a server that went away, before what is unsent is left for `mfc replay`."""
    try:
        return float(os.environ.get("MFC_TRACKING_PATIENCE", "300"))
    except ValueError:
        raise UserError(
            f"MFC_TRACKING_PATIENCE: {os.environ['MFC_TRACKING_PATIENCE']!r} is not a number of seconds"
        ) from None


def connect(folder: Path | None = None) -> str:
    """Decide on the tracking store, make sure that it answers, and return its URI.

    ``MLFLOW_TRACKING_URI`` wins; without it, ``mlflow.db`` in ``folder`` (default: the current one), which is
    also where the `mlflow` command looks. The URI is made absolute and exported, for processes started later.

    Raises:
        UserError: in one sentence that names the URI, when nothing usable answers there.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    uri = _absolute_uri(given or "sqlite:///mlflow.db", folder or Path.cwd())
    scheme = urlsplit(uri).scheme
    if scheme in ("", "file"):
        raise UserError(
            f"MLFLOW_TRACKING_URI={given}: MLflow no longer keeps runs in plain folders; "
            "unset it to use ./mlflow.db, or give sqlite:///FILE.db or http://HOST:PORT"
        )
    mlflow.set_tracking_uri(uri)
    if scheme == "sqlite":
        _open_sqlite(uri)
    else:
        _probe(uri)
    return uri


def _absolute_uri(uri: str, folder: Path) -> str:
    if not uri.startswith("sqlite:///") or uri.startswith("sqlite:////"):
        return uri
    return f"sqlite:///{(folder / uri.removeprefix('sqlite:///')).resolve()}"


def _open_sqlite(uri: str) -> None:
    """Make the tables once: many processes at once on a new file would spoil it for good."""
    database = Path(unquote(uri.removeprefix("sqlite:///")))
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with (database.parent / f"{database.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            logging.disable(logging.WARNING)  # alembic tells of each migration through its own settings
            try:
                MlflowClient(uri).search_experiments(max_results=1)
            finally:
                logging.disable(logging.NOTSET)
    except OSError as error:
        raise UserError(
            f"{database}: the tracking database cannot be written ({error.strerror}); "
            "run in a folder of your own, or set MLFLOW_TRACKING_URI"
        ) from None
    except Exception as error:
        if "out-of-date database schema" in str(error):
            raise UserError(
                f"{database}: made by another version of MLflow; back it up, then run "
                f"`mlflow db upgrade {shlex.quote(uri)}`"
            ) from None
        raise UserError(
            f"{database}: not a usable tracking database ({first_line(error)}); "
            "move it away, or set MLFLOW_TRACKING_URI to another store"
        ) from None


def _probe(uri: str) -> None:
    """One real request, without the patience that MLflow has by default (minutes)."""
    quick = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PROBE_SECONDS),
    }
    before = {key: os.environ.get(key) for key in quick}
    os.environ.update(quick)
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except Exception as error:
        raise UserError(_why_unusable(uri, error)) from None
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _why_unusable(uri: str, error: Exception) -> str:
    safe = re.sub(r"//[^/@]*@", "//", uri)  # a password in the URI is not for the screen
    code = getattr(error, "error_code", "")
    text = str(error)
    if code in ("PERMISSION_DENIED", "UNAUTHENTICATED") or " 401" in text or " 403" in text:
        return (
            f"{safe}: the tracking server refuses this user; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or ask for this host to be allowed"
        )
    if code in ("ENDPOINT_NOT_FOUND", "RESOURCE_DOES_NOT_EXIST", "NOT_FOUND") or "valid JSON" in text:
        return (
            f"{safe}: something answers there, but it is no MLflow tracking server; mend MLFLOW_TRACKING_URI"
        )
    if urlsplit(uri).scheme not in ("http", "https"):
        return f"{safe}: the tracking store cannot be used ({first_line(error)}); mend MLFLOW_TRACKING_URI"
    return (
        f"{safe}: no tracking server answers there within {PROBE_SECONDS} s; start it with `mlflow server`, "
        "mend MLFLOW_TRACKING_URI, or unset it to use the local ./mlflow.db"
    )


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def insist(action: Callable[[], T], *, doing: str, say: Callable[[str], None]) -> T:
    """Do ``action``, again and again while the server is away, for at most `patience` seconds."""
    deadline = time.monotonic() + patience()
    told = False
    for attempt in itertools.count():
        try:
            return action()
        except MlflowException as error:
            if error.error_code in _FINAL:
                raise
            if time.monotonic() > deadline:
                raise UserError(
                    f"{mlflow.get_tracking_uri()}: the tracking server is away ({first_line(error)}), so "
                    f"{doing} failed; start it and repeat the command: finished work is kept"
                ) from None
            if not told:
                say(f"{doing}: the tracking server does not answer; trying for {patience():.0f} s")
                told = True
            time.sleep(min(10.0, 0.5 * 2**attempt))
    raise AssertionError("unreachable")
