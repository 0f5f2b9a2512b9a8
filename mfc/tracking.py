"""The edge to MLflow: the only importer of it (`mfc.serving` beside it is what MLflow itself loads).

Everything that a run logs goes through a spool on disk (`mfc.spool`): a stage never waits for the server, and
neither an outage nor `kill -9` loses a number. Only three things wait for the server themselves: opening a
run, opening a child run, and the model registry; they try again for `patience()` seconds.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import io
import itertools
import json
import logging
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

# Read when mlflow is imported, so they come first; a user's own settings win.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

import mlflow
import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from mlflow.tracking import MlflowClient
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from mfc.errors import UserError
from mfc.log import PrintLog
from mfc.spool import Busy, Record, Sender, Spool, Waiting, spools

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

T = TypeVar("T")

REGISTERED_MODEL = "mfc-face-encoder"
PRETRAINED_ALIAS = "pretrained"
PROBE_SECONDS = 5
"""How long a tracking server may take to answer when a command starts."""
METRICS_A_CALL = 1000
PARAMS_A_CALL = 100
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
EXAMPLE_SIDE = 64
"""Side of the example images stored with a registered model, pixels."""
ENCODER_FILES = ("encoder.safetensors", "encoder.json")
MORE_ENCODER_FILES = ("calibration.json",)
"""What goes with an encoder when it is there."""

_PACKAGE = Path(__file__).parent
_UNSENDABLE = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "MALFORMED_REQUEST")
_FINAL = (*_UNSENDABLE, "RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED")
STAND_IN_MARK = "THIS-IS-NOT-CONDA.md"
"""The file that tells the stand-in of activate.sh from a real conda."""


def patience() -> float:
    """Seconds to wait for a server that went away, before what is unsent is left for `mfc replay`."""
    try:
        return float(os.environ.get("MFC_TRACKING_PATIENCE", "300"))
    except ValueError:
        raise UserError(
            f"MFC_TRACKING_PATIENCE: {os.environ['MFC_TRACKING_PATIENCE']!r} is not a number of seconds"
        ) from None


# --- the tracking store -----------------------------------------------------------------------------------


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
            f"{database}: not a usable tracking database ({_first_line(error)}); "
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
        return f"{safe}: the tracking store cannot be used ({_first_line(error)}); mend MLFLOW_TRACKING_URI"
    return (
        f"{safe}: no tracking server answers there within {PROBE_SECONDS} s; start it with `mlflow server`, "
        "mend MLFLOW_TRACKING_URI, or unset it to use the local ./mlflow.db"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _insist(action: Callable[[], T], *, doing: str, say: Callable[[str], None]) -> T:
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
                    f"{mlflow.get_tracking_uri()}: the tracking server is away ({_first_line(error)}), so "
                    f"{doing} failed; start it and repeat the command: finished work is kept"
                ) from None
            if not told:
                say(f"{doing}: the tracking server does not answer; trying for {patience():.0f} s")
                told = True
            time.sleep(min(10.0, 0.5 * 2**attempt))
    raise AssertionError("unreachable")


# --- names that MLflow accepts ----------------------------------------------------------------------------


def safe_key(name: str) -> str:
    """A metric, param or tag name with the characters that MLflow refuses replaced by ``_``."""
    cleaned = re.sub(r"[^\w\-. /:]", "_", name)
    return "/".join(part if part.strip(".") else "_" for part in cleaned.split("/") if part) or "_"


def safe_path(name: str) -> str:
    """An artifact path below the run's folder; it can never climb out of it."""
    return safe_key(name).replace(":", "_")


def alias_for_title(title: str) -> str:
    """The registry alias of a title: itself where MLflow allows it, else a readable form and a hash.

    Two titles never share an alias, and none is ``latest``, ``v1`` or another reserved word.

    >>> alias_for_title("AkaiTori")
    'AkaiTori'
    """
    # Case is folded by some databases; a title that ends like a hash could be another's readable form.
    reserved = {"latest", PRETRAINED_ALIAS, "champion"}
    plain = re.fullmatch(r"[A-Za-z0-9_-]{1,200}", title) is not None
    if (
        plain
        and title.lower() not in reserved
        and not re.fullmatch(r"[vV]\d+", title)
        and not re.search(r"-[0-9a-f]{12}$", title)
    ):
        return title
    readable = re.sub(r"[^A-Za-z0-9_-]", "-", title)[:200]
    return f"{readable}-{hashlib.sha256(title.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


# --- delivering a spool -----------------------------------------------------------------------------------


class _Courier:
    """Turns the records of one run's spool into calls of the tracking server, in order."""

    def __init__(self, run_id: str, uri: str, say: Callable[[str], None]) -> None:
        self._run_id = run_id
        self._client = MlflowClient(uri)
        self._say = say

    def __call__(self, spool: Spool, records: Sequence[Waiting]) -> None:
        for group in _groups(records):
            self._send_or_refuse(spool, group)

    def _send_or_refuse(self, spool: Spool, group: Sequence[Waiting]) -> None:
        try:
            self._send(spool, [waiting.record for waiting in group])
        except MlflowException as error:
            if error.error_code not in _UNSENDABLE:
                raise
            if len(group) > 1:
                for waiting in group:
                    self._send_or_refuse(spool, [waiting])
                return
            reason = _first_line(error)
            spool.refuse(group[0].record, reason)
            self._say(f"the tracking server refuses a record ({reason}); see {spool.folder}/refused.jsonl")
        spool.done(group[-1].end)

    def _send(self, spool: Spool, records: Sequence[Record]) -> None:
        """Send records of one kind; only metrics come in groups."""
        kind, first = records[0]["kind"], records[0]
        if kind == "metrics":
            metrics = [
                Metric(key, value, record["time"], record["step"])
                for record in records
                for key, value in record["values"].items()
            ]
            self._client.log_batch(self._run_id, metrics=metrics)
        elif kind == "params":
            self._client.log_batch(self._run_id, params=[Param(k, v) for k, v in first["values"].items()])
        elif kind == "tags":
            self._client.log_batch(self._run_id, tags=[RunTag(k, v) for k, v in first["values"].items()])
        elif kind == "artifact":
            self._with_file(spool, first, self._send_artifact)
        elif kind == "image":
            self._with_file(spool, first, self._send_image)
        elif kind == "input":
            tags = [InputTag("mlflow.data.context", first["context"])]
            self._client.log_inputs(self._run_id, [DatasetInput(Dataset(**first["dataset"]), tags)])
        elif kind == "end":
            self._client.set_terminated(self._run_id, first["status"], first["time"])
        elif kind != "run":
            raise ValueError(f"{spool.folder}: unknown record {kind!r}")

    def _with_file(self, spool: Spool, record: Record, send: Callable[[Path, Record], None]) -> None:
        path = spool.path(record["file"])
        # Missing means: sent just before this process was killed, and not yet ticked off.
        if path.exists():
            send(path, record)
            spool.forget(record["file"])

    def _send_artifact(self, path: Path, record: Record) -> None:
        self._client.log_artifact(self._run_id, str(path), record["folder"] or None)

    def _send_image(self, path: Path, record: Record) -> None:
        from PIL import Image

        with Image.open(path) as picture:
            self._client.log_image(
                self._run_id, picture, key=record["key"], step=record["step"], timestamp=record["time"]
            )


def _groups(records: Iterable[Waiting]) -> Iterator[list[Waiting]]:
    """Neighbouring metrics together, up to what one call may carry; everything else one by one."""
    group: list[Waiting] = []
    size = 0
    for waiting in records:
        n = len(waiting.record["values"]) if waiting.record["kind"] == "metrics" else METRICS_A_CALL
        if group and size + n > METRICS_A_CALL:
            yield group
            group, size = [], 0
        group.append(waiting)
        size += n
    if group:
        yield group


def spool_root(work_dir: Path) -> Path:
    return work_dir / ".spool"


def replay(work_dir: Path, say: Callable[[str], None] | None = None) -> int:
    """Send what earlier processes could not, below ``work_dir`` and its experiments; returns how many runs.

    A run whose process was killed is marked KILLED. Spools of processes that still live are left to them.

    Raises:
        UserError: when a server is still away; everything unsent stays for the next attempt.
    """
    say = say or PrintLog().say
    mended = 0
    failed: list[str] = []
    waiting = [f for root in (work_dir, *work_dir.glob("*/")) for f in spools(spool_root(root))]
    for folder in waiting:
        try:
            spool = Spool(folder)
        except Busy:
            say(f"run {folder.name}: still in use by a living process, left alone")
            continue
        try:
            _replay_one(spool, folder.name, say)
            mended += 1
        except (MlflowException, OSError) as error:
            failed.append(f"run {folder.name} ({_first_line(error)})")
        finally:
            spool.close()
    if failed:
        raise UserError(
            f"{work_dir}: not everything could be sent: {'; '.join(failed)}; "
            "start the tracking server and repeat `mfc replay`"
        )
    return mended


def _replay_one(spool: Spool, run_id: str, say: Callable[[str], None]) -> None:
    head = json.loads((spool.folder / "run.json").read_text(encoding="utf-8"))
    courier = _Courier(run_id, head["uri"], say)
    while not spool.empty:
        courier(spool, spool.pending())
    client = MlflowClient(head["uri"])
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, "KILLED")
    say(f"run {run_id}: up to date")


# --- a run ------------------------------------------------------------------------------------------------


class Run:
    """One MLflow run; implements `mfc.log.Log`. Made by `open_run` and `Run.child`."""

    def __init__(
        self, run: MlflowRun, *, uri: str, work_dir: Path, log_images: str, joined: bool, label: str
    ) -> None:
        self.id: str = run.info.run_id
        self._experiment_id: str = run.info.experiment_id
        self._uri = uri
        self._work_dir = work_dir
        self._log_images = log_images
        self._joined = joined
        self._known_params = set(run.data.params)
        # A resumed run repeats the steps after its checkpoint; they must not appear twice.
        self._last_steps: dict[str, int] = {}
        if joined:
            self._last_steps = {m.key: m.step for m in run.data._metric_objs}
        self._tables: list[dict[str, str]] = json.loads(run.data.tags.get("mlflow.loggedArtifacts", "[]"))
        self._artwork_allowed = log_images == "true" or (
            log_images == "auto" and _is_local(run.info.artifact_uri)
        )
        self._told_artwork = False
        self._unfinished: list[Sender] = []
        self._opened: set[str] = set()
        self._spool = self._open_spool()
        self._sender = Sender(self._spool, _Courier(self.id, uri, self.say), self.say, name=label)
        self._system = _SystemMetrics(self)

    def _open_spool(self) -> Spool:
        try:
            spool = Spool(spool_root(self._work_dir) / self.id)
        except Busy:
            raise UserError(
                f"run {self.id}: another process is writing to it; wait for it, or unset MLFLOW_RUN_ID"
            ) from None
        for waiting in spool.pending():
            if waiting.record["kind"] == "metrics":
                for key in waiting.record["values"]:
                    self._last_steps[key] = max(waiting.record["step"], self._last_steps.get(key, -1))
        (spool.folder / "run.json").write_text(json.dumps({"uri": self._uri}), encoding="utf-8")
        return spool

    @property
    def artwork_allowed(self) -> bool:
        """Whether pictures that show comic artwork may be logged (see `picture`)."""
        return self._artwork_allowed

    def say(self, message: str) -> None:
        PrintLog().say(message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers at a step. In a resumed run, steps that it already has are passed over."""
        fresh = {
            safe_key(key): float(value)
            for key, value in values.items()
            if step is None or step > self._last_steps.get(safe_key(key), -1)
        }
        now = int(time.time() * 1000)
        for chunk in _chunks(fresh, METRICS_A_CALL):
            self._spool.append({"kind": "metrics", "time": now, "step": step or 0, "values": chunk})

    def params(self, values: Mapping[str, Any], prefix: str = "") -> None:
        """Record parameters as ``prefix.key``; those that the run already has stay as they are."""
        named = {safe_key(f"{prefix}.{key}" if prefix else key): value for key, value in values.items()}
        fresh = {key: _text(value, LONGEST_PARAM) for key, value in named.items()}
        fresh = {key: value for key, value in fresh.items() if key not in self._known_params}
        self._known_params.update(fresh)
        for chunk in _chunks(fresh, PARAMS_A_CALL):
            self._spool.append({"kind": "params", "values": chunk})

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; None is passed over."""
        clean = {safe_key(k): _text(v, LONGEST_TAG) for k, v in values.items() if v is not None}
        for chunk in _chunks(clean, PARAMS_A_CALL):
            self._spool.append({"kind": "tags", "values": chunk})

    def describe(self, markdown: str) -> None:
        """Set the description that the UI shows at the top of the run's page."""
        self.tags({"mlflow.note.content": markdown})

    def table(self, name: str, table: pd.DataFrame, thumbnails: np.ndarray | None = None) -> None:
        """Record a table as JSON, the form that the UI renders and sorts.

        ``thumbnails`` (rows, s, s, C) uint8 become its first column, under the rule of `picture`.
        """
        artifact = f"{safe_path(name)}.json"
        if thumbnails is not None and self._may_show_artwork():
            table = table.copy()
            table.insert(0, "face", self._keep_thumbnails(safe_path(name), thumbnails))
        self._put(
            artifact,
            lambda path: path.write_text(
                table.to_json(orient="split", index=False, date_format="iso"), encoding="utf-8"
            ),
        )
        entry = {"path": artifact, "type": "table"}
        if entry not in self._tables and len(json.dumps([*self._tables, entry])) < LONGEST_TAG:
            self._tables.append(entry)
            self.tags({"mlflow.loggedArtifacts": json.dumps(self._tables)})

    def _keep_thumbnails(self, name: str, images: np.ndarray) -> list[dict[str, str]]:
        """Send pictures as one folder; returns the cells that the UI shows them for (as `log_table` does)."""
        from PIL import Image

        kept, folder = self._spool.new_file(Path(name).name)
        folder.mkdir()
        cells = []
        for i, image in enumerate(images):
            Image.fromarray(image.squeeze()).save(folder / f"{i}.jpg", quality=80)
            path = f"table_images/{name}/{i}.jpg"
            cells.append({"type": "image", "filepath": path, "compressed_filepath": path})
        self._append_artifact(kept, f"table_images/{Path(name).parent.as_posix()}".removesuffix("/."))
        return cells

    def figure(self, name: str, figure: Figure) -> None:
        self._put(
            f"{safe_path(name)}.png",
            lambda path: figure.savefig(path, format="png", dpi=120, bbox_inches="tight"),
        )

    def picture(self, name: str, picture: Image, step: int | None = None) -> None:
        """Record a picture that shows comic artwork: by default only where artifacts stay on this machine.

        With a step it becomes a slider in the UI; begin at step 0.
        """
        if not self._may_show_artwork():
            return
        key = re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", safe_path(name))
        kept, path = self._spool.new_file("picture.png")
        picture.save(path, format="PNG")
        if step is None:
            path.rename(path.with_name(f"{Path(key).name}.png"))
            kept = Path(kept).with_name(f"{Path(key).name}.png").as_posix()
            self._append_artifact(kept, Path(key).parent.as_posix())
        else:
            now = int(time.time() * 1000)
            self._spool.append({"kind": "image", "file": kept, "key": key, "step": step, "time": now})

    def text(self, name: str, text: str) -> None:
        self._put(safe_path(name), lambda path: path.write_text(text, encoding="utf-8"))

    def file(self, path: Path, folder: str = "", *, artwork: bool = False) -> None:
        """Record a file, or a folder with all that is in it, below ``folder``."""
        if artwork and not self._may_show_artwork():
            return
        for source in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            inside = source.relative_to(path.parent).parent.as_posix()
            self._append_artifact(self._spool.keep(source), "/".join(p for p in (folder, inside) if p != "."))

    def dataset(
        self,
        table: pd.DataFrame,
        *,
        name: str,
        source: str | Path,
        targets: str | None = None,
        context: str = "training",
    ) -> None:
        """Record which data the run used: name, source, columns, number of rows and a digest."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a hint about integer columns, meant for model signatures
            data = mlflow.data.from_pandas(table, source=str(source), targets=targets, name=name)  # type: ignore[attr-defined]
            entity = dict(data._to_mlflow_entity().to_dictionary())
        self._spool.append({"kind": "input", "context": context, "dataset": entity})

    @contextlib.contextmanager
    def child(
        self,
        name: str,
        *,
        stage: str,
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        description: str = "",
    ) -> Iterator[Run]:
        """A run nested below this one, for the length of the block.

        When this run was resumed, an unfinished child of the same name and tags is resumed too. The end of
        the block does not wait for a server that went away; the parent's end does.
        """
        client = MlflowClient(self._uri)
        told_tags = _clean_tags({"stage": stage, **(tags or {})})
        existing = self._unfinished_child(client, name, told_tags) if self._joined else None
        own_tags = {**_context_tags(), **told_tags, "mlflow.parentRunId": self.id}
        opened = _insist(
            lambda: (
                existing
                or client.create_run(self._experiment_id, tags=own_tags, run_name=_text(name, LONGEST_TAG))
            ),
            doing=f"opening the run {name!r}",
            say=self.say,
        )
        if existing:
            _insist(
                lambda: client.update_run(opened.info.run_id, status="RUNNING"),
                doing=f"resuming the run {name!r}",
                say=self.say,
            )
        run = Run(
            opened,
            uri=self._uri,
            work_dir=self._work_dir,
            log_images=self._log_images,
            joined=existing is not None,
            label=name,
        )
        self._opened.add(run.id)
        run._told_artwork = self._told_artwork
        with run._life(limit=min(10.0, patience()), waits_later=self._unfinished):
            run.params(params or {})
            if description:
                run.describe(description)
            yield run
        self._told_artwork = run._told_artwork

    def flush(self) -> None:
        """Wait until the server has everything that was logged so far.

        Raises:
            UserError: when it is away for longer than `patience`.
        """
        if not self._sender.flush(patience()):
            raise UserError(
                f"{self._uri}: the tracking server is away ({self._sender.last_error}); start it and repeat "
                "the command: finished work is kept"
            )

    @contextlib.contextmanager
    def _life(self, *, limit: float, waits_later: list[Sender] | None = None) -> Iterator[None]:
        """Run the block, then record how it ended and see that everything gets sent."""
        self._system.start()
        status = "FINISHED"
        try:
            yield
        except KeyboardInterrupt:
            status, limit = "KILLED", min(limit, 5.0)
            raise
        except BaseException as error:
            clean_exit = isinstance(error, SystemExit) and error.code in (None, 0)
            status = "FINISHED" if clean_exit else "FAILED"
            limit = min(limit, limit if clean_exit else 30.0)
            raise
        finally:
            self._system.stop()
            self._spool.append({"kind": "end", "status": status, "time": int(time.time() * 1000)})
            self._finish(limit, waits_later)

    def _finish(self, limit: float, waits_later: list[Sender] | None) -> None:
        deadline = time.monotonic() + limit
        everything = [*self._unfinished, self._sender]
        left = [s for s in everything if not s.flush(max(0.0, deadline - time.monotonic()))]
        for sender in everything:
            if sender not in left or waits_later is None:
                sender.abandon()
        if left and waits_later is not None:
            waits_later.extend(left)
        elif left:
            self.say(
                f"the tracking server {self._uri} is still away: records of {len(left)} run(s) wait in "
                f"{spool_root(self._work_dir)}; when it is back, send them with "
                f"`mfc replay --work_dir {shlex.quote(str(self._work_dir))}`"
            )

    def _unfinished_child(self, client: MlflowClient, name: str, tags: Mapping[str, str]) -> MlflowRun | None:
        """A child that an earlier process left, with the same name, stage, title, seed and so on."""
        for run in _children(client, self._experiment_id, self.id):
            same = run.info.run_name == name and tags.items() <= run.data.tags.items()
            if same and run.info.status != "FINISHED" and run.info.run_id not in self._opened:
                return run
        return None

    def _put(self, artifact: str, write: Callable[[Path], Any]) -> None:
        target = Path(artifact)
        kept, path = self._spool.new_file(target.name)
        write(path)
        self._append_artifact(kept, target.parent.as_posix())

    def _append_artifact(self, kept: str, folder: str) -> None:
        clean = "" if folder in ("", ".") else safe_path(folder)
        self._spool.append({"kind": "artifact", "file": kept, "folder": clean})

    def _may_show_artwork(self) -> bool:
        if not self._artwork_allowed and not self._told_artwork:
            self._told_artwork = True
            reason = "as asked" if self._log_images == "false" else "they would leave this machine"
            self.say(
                f"pictures that show comic artwork are not logged ({reason}); --log_images true logs them"
            )
        return self._artwork_allowed


class _SystemMetrics:
    """Samples processor, memory, disk, network and GPU into the run's own spool.

    MLflow's own monitor asks the server at each sample and ends at the first outage.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._step = max((s for k, s in run._last_steps.items() if k.startswith("system/")), default=-1) + 1
        self._interval = float(os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL") or 10)

    def start(self) -> None:
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in ("false", "0"):
            return
        self._thread = threading.Thread(target=self._watch, name="system metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()

    def _watch(self) -> None:
        monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with contextlib.suppress(Exception):  # no GPU, no driver, or one that NVML does not know
            monitors.append(GPUMonitor())
        psutil.cpu_percent()  # the first call has nothing to compare with and returns 0
        while True:
            # The last sample is taken at the end, so that a run of two seconds has one as well.
            ended = self._stop.wait(self._interval)
            for monitor in monitors:
                with contextlib.suppress(Exception):  # a counter that this machine lacks ends no training
                    monitor.collect_metrics()
                    values = {f"system/{k}": v for k, v in monitor.aggregate_metrics().items()}
                    monitor.clear_metrics()
                    self._run.metrics({k: v for k, v in values.items() if math.isfinite(v)}, self._step)
            self._step += 1
            if ended:
                return


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
    description: str = "",
) -> Iterator[Run]:
    """The run of a command, for the length of the block: FINISHED, FAILED, or KILLED by an interrupt.

    Under `mlflow run`, and to resume (``MLFLOW_RUN_ID``), the run that the environment names is joined; else
    one is made in ``MLFLOW_EXPERIMENT_NAME``, or ``experiment``. ``params`` are logged as they are named.

    Raises:
        UserError: when the store cannot be used or the named run or experiment is not there.
    """
    uri = connect()
    client = MlflowClient(uri)
    own_tags = {**_context_tags(), **_clean_tags({"stage": stage, **(tags or {})})}
    joined_id = os.environ.get("MLFLOW_RUN_ID", "")
    if joined_id:
        opened = _join(client, joined_id, name, own_tags)
    else:
        opened = client.create_run(
            _experiment_id(client, experiment), tags=own_tags, run_name=_text(name, LONGEST_TAG)
        )
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
    with run._life(limit=patience()):
        run.params(params or {})
        if description:
            run.describe(description)
        yield run


def _join(client: MlflowClient, run_id: str, name: str, tags: Mapping[str, str]) -> MlflowRun:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise UserError(
            f"MLFLOW_RUN_ID={run_id}: no such run in {client.tracking_uri} ({_first_line(error)}); "
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
    client.log_batch(run_id, tags=[RunTag(k, v) for k, v in own.items()])
    random_name = re.fullmatch(r"[a-z]+-[a-z]+-\d+", run.info.run_name or "") is not None
    client.update_run(run_id, status="RUNNING", name=name if random_name else None)
    return client.get_run(run_id)


def _experiment_id(client: MlflowClient, name: str) -> str:
    if not os.environ.get("MLFLOW_EXPERIMENT_NAME") and os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return os.environ["MLFLOW_EXPERIMENT_ID"]
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found is None or found.lifecycle_stage == "deleted":
        which = found.experiment_id if found else name
        raise UserError(
            f"experiment {name!r} was deleted in MLflow; restore it with "
            f"`mlflow experiments restore --experiment-id {which}`, or set MLFLOW_EXPERIMENT_NAME"
        )
    return str(found.experiment_id)


def _is_local(artifact_uri: str) -> bool:
    return urlsplit(artifact_uri).scheme in ("", "file")


def _text(value: Any, longest: int) -> str:
    text = str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _clean_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    return {safe_key(k): _text(v, LONGEST_TAG) for k, v in tags.items() if v is not None}


def _chunks(values: Mapping[str, T], size: int) -> Iterator[dict[str, T]]:
    items = iter(values.items())
    while chunk := dict(itertools.islice(items, size)):
        yield chunk


def _context_tags() -> dict[str, str]:
    """Who ran what, and the commit of this source tree (not of whatever repository surrounds it)."""
    import getpass

    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": Path(sys.argv[0] or "python").name}
    with contextlib.suppress(Exception):  # a user id without a name
        tags["mlflow.user"] = getpass.getuser()
    root = _PACKAGE.parent
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
        if commit:
            tags["mlflow.source.git.commit"] = commit
            tags["code"] = commit[:12] + (" and changes" if changed else "")
    return tags


def code_version() -> str:
    """The commit of this source tree, and whether it was changed since; empty outside of a repository."""
    tags = _context_tags()
    commit = tags.get("mlflow.source.git.commit", "")
    return f"{commit} and changes" if tags.get("code", "").endswith("changes") else commit


@functools.cache  # what runs is the code as it was when the process started
def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


# --- finding runs -----------------------------------------------------------------------------------------


def child_metrics(run_id: str) -> pd.DataFrame:
    """The runs below a parent (children and theirs), oldest first, with their latest metrics.

    Columns: ``run_id, name, stage, title, recipe, seed, corpus, status``, then one per metric; None or NaN
    where a run lacks it. A run without children is its own only row.

    Raises:
        UserError: when there is no such run.
    """
    client = MlflowClient(connect())
    try:
        parent = client.get_run(run_id)
    except MlflowException:
        raise UserError(
            f"run {run_id!r} is not in {client.tracking_uri}; its id is on the run's page in `mlflow ui`, or "
            "set MLFLOW_TRACKING_URI to the store that has it"
        ) from None
    below: list[MlflowRun] = []
    level = [parent]
    while level:
        level = [c for r in level for c in _children(client, r.info.experiment_id, r.info.run_id)]
        below += level
    return _as_table(sorted(below, key=lambda r: r.info.start_time) or [parent])


def find_runs(
    *,
    experiment: str | None = None,
    tags: Mapping[str, str] | None = None,
    status: str | None = "FINISHED",
    limit: int = 1000,
) -> pd.DataFrame:
    """Runs of an experiment (of all, when None) that have all ``tags``, newest first, as `child_metrics`."""
    client = MlflowClient(connect())
    if experiment is None:
        ids = [e.experiment_id for e in client.search_experiments()]
    else:
        found = client.get_experiment_by_name(experiment)
        ids = [found.experiment_id] if found else []
    runs: list[MlflowRun] = []
    token = None
    while ids and len(runs) < limit:
        page = client.search_runs(ids, order_by=["attributes.start_time DESC"], page_token=token)
        runs += [
            r
            for r in page
            if (status is None or r.info.status == status)
            and all(r.data.tags.get(k) == v for k, v in (tags or {}).items())
        ]
        token = page.token
        if not token:
            break
    return _as_table(runs[:limit])


def _children(client: MlflowClient, experiment_id: str, parent_id: str) -> list[MlflowRun]:
    runs: list[MlflowRun] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'", page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs


def _as_table(runs: Sequence[MlflowRun]) -> pd.DataFrame:
    words = ["stage", "title", "recipe", "seed", "corpus"]
    rows = [
        {
            "run_id": r.info.run_id,
            "name": r.info.run_name,
            **{word: r.data.tags.get(word) for word in words},
            "status": r.info.status,
            **r.data.metrics,
        }
        for r in runs
    ]
    return pd.DataFrame(rows, columns=None if rows else ["run_id", "name", *words, "status"])


# --- the model registry -----------------------------------------------------------------------------------


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
    run.flush()
    client = MlflowClient(run._uri)
    if example is None or not run.artwork_allowed:
        ramp = np.linspace(0, 255, EXAMPLE_SIDE).astype(np.uint8)
        example = np.stack([np.tile(ramp, (EXAMPLE_SIDE, 1)), np.tile(ramp, (EXAMPLE_SIDE, 1)).T])
    dim = _feature_dim(folder)
    signature = ModelSignature(
        # Without a name in it, the column is accepted as DataFrame, list and array alike.
        inputs=Schema([ColSpec(DataType.string)]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, dim))]),
        # Texts: "auto" or a number, and boxes of several pages, fit no other type of param.
        params=ParamSchema([ParamSpec(name, DataType.string, "") for name in ("boxes", "n_clusters")]),
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
                    flavor=mlflow.pyfunc,
                    run_id=run.id,
                    python_model=str(_PACKAGE / "serving.py"),
                    artifacts={"encoder": str(encoder)},
                    code_paths=[str(_package_copy(Path(scratch)))],
                    pip_requirements=_serving_requirements(),
                    signature=signature,
                    input_example=pd.DataFrame({"image": [_base64_png(image) for image in example[:2]]}),
                )

    info = _insist(log, doing="logging the model", say=run.say)
    version = _insist(
        lambda: _new_version(client, info.model_id, run.id, tags or {}, description),
        doing="registering the model",
        say=run.say,
    )
    _insist(
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
        tags={**_clean_tags(tags), "run": run_id},
        description=description or None,
        model_id=model_id,
    )
    link = [{"name": REGISTERED_MODEL, "version": made.version}]
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": json.dumps(link)})
    return int(made.version)


def fetch_encoder(uri: str, into: Path) -> Path:
    """Download the encoder of a registered model (``models:/NAME@ALIAS`` or ``…/VERSION``) into a folder.

    A title may stand where its alias belongs. ``into`` appears whole or not at all; an older one is replaced.

    Raises:
        UserError: when the registry has no such model or the server does not answer.
    """
    connect()
    match = re.fullmatch(r"models:/(?P<name>[^@]+)@(?P<alias>.+)", uri)
    exact = f"models:/{match['name']}@{_known_alias(match['alias'])}" if match else uri.rstrip("/")
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".fetch-") as scratch:
        try:
            with _quiet_mlflow():
                got = Path(
                    mlflow.artifacts.download_artifacts(f"{exact}/artifacts/encoder", dst_path=scratch)
                )
        except Exception as error:
            raise UserError(
                f"{uri}: no model registered there ({_first_line(error)}); register one with `mfc pretrain`, "
                "or give --model a folder with an encoder"
            ) from None
        missing = [name for name in ENCODER_FILES if not (got / name).is_file()]
        if missing:
            raise UserError(f"{uri}: has no {missing[0]}, so it is no model of mfc; give another --model")
        shutil.rmtree(into, ignore_errors=True)
        got.rename(into)
    return into


def _known_alias(alias: str) -> str:
    return alias if re.fullmatch(r"[\w-]+", alias) else alias_for_title(alias)


def _feature_dim(folder: Path) -> int:
    backbone = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))["backbone"]
    return 512 if backbone in ("resnet18", "resnet34") else 2048


def _package_copy(scratch: Path) -> Path:
    """The package without caches, for the model to carry along."""
    target = scratch / "code" / "mfc"
    if not target.exists():
        shutil.copytree(_PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return target


def _serving_requirements() -> list[str]:
    """Exact versions of what serving needs; left to itself, MLflow loads the model to find out (seconds)."""
    needed = ["mlflow", "numpy", "pandas", "pillow", "safetensors", "scipy", "torch", "torchvision"]
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in needed]


def _base64_png(image: np.ndarray) -> str:
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
