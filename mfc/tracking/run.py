"""A run: what the log protocol of `mfc.log` becomes in MLflow, and how runs begin and end."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import mlflow
import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]
from mlflow.entities import Run as MlflowRun
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from mlflow.tracking import MlflowClient

from mfc.errors import UserError
from mfc.log import PrintLog
from mfc.tracking.delivery import METRICS_A_CALL, Courier, spool_root
from mfc.tracking.names import LONGEST_TAG, chunks, clean_tags, safe_key, safe_path, shortened
from mfc.tracking.search import children
from mfc.tracking.spool import Busy, Sender, Spool, spools
from mfc.tracking.store import connect, first_line, insist, patience

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

PARAMS_A_CALL = 100
LONGEST_PARAM = 6000
STAND_IN_MARK = "THIS-IS-NOT-CONDA.md"
"""The file that tells the stand-in of activate.sh from a real conda."""
_PACKAGE = Path(__file__).parent.parent


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
        self._sender = Sender(self._spool, Courier(self.id, uri, self.say), self.say, name=label)
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
        for chunk in chunks(fresh, METRICS_A_CALL):
            self._spool.append({"kind": "metrics", "time": now, "step": step or 0, "values": chunk})

    def params(self, values: Mapping[str, Any], prefix: str = "") -> None:
        """Record parameters as ``prefix.key``; those that the run already has stay as they are."""
        named = {safe_key(f"{prefix}.{key}" if prefix else key): value for key, value in values.items()}
        fresh = {key: shortened(value, LONGEST_PARAM) for key, value in named.items()}
        fresh = {key: value for key, value in fresh.items() if key not in self._known_params}
        self._known_params.update(fresh)
        for chunk in chunks(fresh, PARAMS_A_CALL):
            self._spool.append({"kind": "params", "values": chunk})

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; None is passed over."""
        clean = {safe_key(k): shortened(v, LONGEST_TAG) for k, v in values.items() if v is not None}
        for chunk in chunks(clean, PARAMS_A_CALL):
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
        told_tags = clean_tags({"stage": stage, **(tags or {})})
        existing = self._unfinished_child(client, name, told_tags) if self._joined else None
        own_tags = {**_context_tags(), **told_tags, "mlflow.parentRunId": self.id}
        opened = insist(
            lambda: (
                existing
                or client.create_run(
                    self._experiment_id, tags=own_tags, run_name=shortened(name, LONGEST_TAG)
                )
            ),
            doing=f"opening the run {name!r}",
            say=self.say,
        )
        if existing:
            insist(
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
        for run in children(client, self._experiment_id, self.id):
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
    own_tags = {**_context_tags(), **clean_tags({"stage": stage, **(tags or {})})}
    joined_id = os.environ.get("MLFLOW_RUN_ID", "")
    if joined_id:
        opened = _join(client, joined_id, name, own_tags)
    else:
        opened = client.create_run(
            _experiment_id(client, experiment), tags=own_tags, run_name=shortened(name, LONGEST_TAG)
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
            f"MLFLOW_RUN_ID={run_id}: no such run in {client.tracking_uri} ({first_line(error)}); "
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
