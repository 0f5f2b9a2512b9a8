"""The tracking store: which one, whether it answers, and patience when it goes away."""

from __future__ import annotations

import itertools
import logging
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfc.errors import UserError
from mfc.tracking.credentials import DATABASES, redacted, split_login, without_login
from mfc.tracking.settings import check_environment, patience

T = TypeVar("T")

PROBE_SECONDS = 5
"""How long a tracking server may take to answer when a command starts."""
REFUSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "MALFORMED_REQUEST")
"""Answers that will be the same next time."""
MISSING = ("RESOURCE_DOES_NOT_EXIST",)
"""The server's own word that something is not there; a proxy that answers 404 says something else."""
_FINAL = (*REFUSED, *MISSING, "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED")
_NOISY = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "mlflow.store.db.utils": logging.CRITICAL}
"""Loggers; the last prints a stack trace for what is told in a sentence."""


def connect(folder: Path | None = None) -> str:
    """Decide on the tracking store, make sure that it answers, and return its URI.

    ``MLFLOW_TRACKING_URI`` wins; without it, ``mlflow.db`` in ``folder`` (default: the current one), which is
    also where the `mlflow` command looks. The URI is made absolute and exported, for processes started later;
    one of a server has no login any more, see `without_login`.

    Raises:
        UserError: in one sentence that names the URI, when nothing usable answers there, or for a setting in
            the environment that makes no sense.
    """
    uri = named_store(folder)
    mlflow.set_tracking_uri(uri)
    os.environ["MLFLOW_TRACKING_URI"] = uri
    database = database_file(uri)
    if database is None:
        _probe(uri)
    else:
        _open_sqlite(uri, database)
    return uri


def named_store(folder: Path | None = None) -> str:
    """The URI of the store that the environment names, as `connect` uses it; nothing is asked there yet.

    Raises:
        UserError: for an address, or another setting in the environment, that MLflow does not take.
    """
    check_environment()
    for name, level in _NOISY.items():
        logging.getLogger(name).setLevel(level)
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or "sqlite:///mlflow.db"
    scheme = urlsplit(given).scheme
    if scheme in ("", "file"):
        raise UserError(
            f"MLFLOW_TRACKING_URI={redacted(given)}: MLflow no longer keeps runs in plain folders; "
            "unset it to use ./mlflow.db, or give sqlite:///FILE.db or http://HOST:PORT"
        )
    registry = os.environ.get("MLFLOW_REGISTRY_URI", "").strip()
    if registry:
        login = split_login(registry)[1:]
        one_for_both = login in ((None, None), split_login(given)[1:])
        if not one_for_both and urlsplit(registry).scheme.startswith("http"):
            raise UserError(
                f"MLFLOW_REGISTRY_URI={redacted(registry)}: MLflow knows one login for both servers; give it "
                "as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        os.environ["MLFLOW_REGISTRY_URI"] = without_login(registry)
    return _absolute(given, folder or Path.cwd()) if scheme.startswith("sqlite") else without_login(given)


def _absolute(uri: str, folder: Path) -> str:
    """An SQLite URI of the whole path, so that it means the same after a change of the current folder."""
    path, options = _sqlite_path(uri), uri.partition("?")[2]
    if path is None:
        return uri
    full = str((folder / path).resolve())
    plain = f"sqlite:///{full}"
    # SQLAlchemy reads %41 (from 2.1 on) and ? (always) in an address as something else; and MLflow makes the
    # folder of "sqlite:///…" as it is spelled there, which is another one when it is quoted.
    quoted = f"sqlite+pysqlite:///{full.replace('%', '%25').replace('?', '%3F')}"
    relative = f"sqlite:///{os.path.relpath(full)}"
    for made in (plain, quoted, relative):
        if str(Path(_sqlite_path(made) or "").absolute()) == full:
            return f"{made}?{options}" if options else made
    raise UserError(f"{full}: no address can be made of this path; rename the folder")


def _sqlite_path(uri: str) -> str | None:
    """The path in an SQLite URI as SQLAlchemy reads it; None for a database that is not a plain file."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
        if url.host or url.username:
            raise ValueError("one slash is missing")
    except (ArgumentError, ValueError):
        raise UserError(
            f"MLFLOW_TRACKING_URI={redacted(uri)}: no address of a database; give sqlite:///FILE.db"
        ) from None
    plain = url.database and url.database != ":memory:" and "uri" not in url.query
    return url.database if plain else None


def database_file(uri: str) -> Path | None:
    """The file of an SQLite store; None for all others."""
    path = _sqlite_path(uri) if urlsplit(uri).scheme.startswith("sqlite") else None
    return None if path is None else Path(path)


def _open_sqlite(uri: str, database: Path) -> None:
    """Make the tables once: many processes at once on a new file would spoil it for good."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(database.parent / f"{database.name}.lock"):
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
        if urlsplit(uri).scheme.startswith(DATABASES):
            _knock(uri)
        MlflowClient(uri).search_experiments(max_results=1)
    except Exception as error:
        raise UserError(_why_unusable(uri, error)) from None
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _knock(uri: str) -> None:
    """Connect to a database once; MLflow would try for a minute and a half, and print each failure."""
    from sqlalchemy import create_engine

    patient = not urlsplit(uri).scheme.startswith(("postgresql", "mysql"))
    engine = create_engine(uri, connect_args={} if patient else {"connect_timeout": PROBE_SECONDS})
    engine.connect().close()
    engine.dispose()


def _why_unusable(uri: str, error: Exception) -> str:
    safe = redacted(uri)
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
    """What to say of an error: its first line, without passwords, at most 200 characters."""
    # Taken out before it is cut: half an address could not be recognised any more.
    return (redacted(str(error)).splitlines() or [type(error).__name__])[0][:200]


def insist(action: Callable[[], T], *, doing: str, say: Callable[[str], None]) -> T:
    """Do ``action``, again and again while the server is away, for at most `patience` seconds.

    Raises:
        UserError: when it is away for longer, or refuses.
    """
    deadline = time.monotonic() + patience()
    for attempt in itertools.count():
        try:
            return action()
        except (MlflowException, OSError) as error:
            uri, reason = redacted(mlflow.get_tracking_uri()), first_line(error)
            if isinstance(error, MlflowException) and error.error_code in _FINAL:
                raise UserError(f"{uri}: {doing} was refused ({reason})") from None
            if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
                raise UserError(f"{doing} failed ({reason}); mend that and repeat the command") from None
            if time.monotonic() > deadline:
                raise UserError(
                    f"{uri}: the tracking server is away ({reason}), so "
                    f"{doing} failed; start it and repeat the command: finished work is kept"
                ) from None
            if attempt == 0:
                say(f"{doing}: the tracking server does not answer; trying for {patience():.0f} s")
            time.sleep(min(10.0, 0.5 * 2**attempt))
    raise AssertionError("unreachable")
