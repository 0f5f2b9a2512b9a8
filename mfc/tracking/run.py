"""A run: what the log protocol of `mfc.log` becomes in MLflow, and how it ends."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfc.errors import UserError
from mfc.files import write_json
from mfc.log import PrintLog
from mfc.tracking.context import context_tags
from mfc.tracking.credentials import redacted
from mfc.tracking.delivery import METRICS_A_CALL, Courier, spool_root
from mfc.tracking.names import LONGEST_TAG, chunks, clean_tags, safe_key, safe_path, shortened
from mfc.tracking.search import children
from mfc.tracking.settings import patience
from mfc.tracking.spool import Busy, Record, Sender, Spool, unwritable
from mfc.tracking.store import insist
from mfc.tracking.system_metrics import PREFIX, SystemMetrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

PARAMS_A_CALL = 100
LONGEST_PARAM = 6000


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
        # A joined run repeats the steps after its checkpoint, and a finished one all; none may appear twice.
        self._last_steps: dict[str, int] = {}
        self._last_values: dict[str, float] = {}
        if joined:
            self._last_steps = {m.key: m.step for m in run.data._metric_objs}
            self._last_values = dict(run.data.metrics)
        self._tables: list[dict[str, str]] = json.loads(run.data.tags.get("mlflow.loggedArtifacts", "[]"))
        self._artwork_allowed = log_images == "true" or (
            log_images == "auto" and _is_local(run.info.artifact_uri)
        )
        self._told_artwork = False
        self._unfinished: list[Sender] = []
        self._opened: set[str] = set()
        self._spool = self._open_spool()
        self._sender = Sender(self._spool, Courier(self.id, uri, self.say), self.say, name=label)
        sampled = [step for key, step in self._last_steps.items() if key.startswith(PREFIX)]
        self._system = SystemMetrics(self.metrics, max(sampled, default=-1) + 1)

    def _open_spool(self) -> Spool:
        folder = spool_root(self._work_dir) / self.id
        try:
            spool = Spool(folder)
            # The address without a password: `mfc replay` finds that in the environment again.
            write_json(folder / "run.json", {"uri": redacted(self._uri)})
        except Busy:
            raise UserError(
                f"run {self.id}: another process is writing to it; wait for it, or unset MLFLOW_RUN_ID"
            ) from None
        except OSError as error:
            with contextlib.suppress(MlflowException):
                MlflowClient(self._uri).set_terminated(self.id, "FAILED")
            raise unwritable(folder, error) from None
        for record in (waiting.record for waiting in spool.pending(sys.maxsize)):
            if record.get("kind") == "metrics":
                with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # damaged
                    for key, value in record["values"].items():
                        self._last_values[key] = float(value)
                        self._last_steps[key] = max(int(record["step"]), self._last_steps.get(key, -1))
        return spool

    @property
    def artwork_allowed(self) -> bool:
        """Whether pictures that show comic artwork may be logged (see `picture`)."""
        return self._artwork_allowed

    def say(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone ends no delivery
            PrintLog().say(message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers at a step. In a joined run, what it already has is passed over.

        That is a step up to the last one; without a step, a value that is still the same.
        """
        named = {safe_key(key): float(value) for key, value in values.items()}
        if step is None:
            fresh = {k: v for k, v in named.items() if not _same(v, self._last_values.pop(k, None))}
        else:
            fresh = {k: v for k, v in named.items() if step > self._last_steps.get(k, -1)}
        now = int(time.time() * 1000)
        for chunk in chunks(fresh, METRICS_A_CALL):
            self._append({"kind": "metrics", "time": now, "step": step or 0, "values": chunk})

    def params(self, values: Mapping[str, Any], prefix: str = "") -> None:
        """Record parameters as ``prefix.key``; those that the run already has stay as they are."""
        named = {safe_key(f"{prefix}.{key}" if prefix else key): value for key, value in values.items()}
        fresh = {key: shortened(value, LONGEST_PARAM) for key, value in named.items()}
        fresh = {key: value for key, value in fresh.items() if key not in self._known_params}
        self._known_params.update(fresh)
        for chunk in chunks(fresh, PARAMS_A_CALL):
            self._append({"kind": "params", "values": chunk})

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags; None is passed over."""
        clean = {safe_key(k): shortened(v, LONGEST_TAG) for k, v in values.items() if v is not None}
        for chunk in chunks(clean, PARAMS_A_CALL):
            self._append({"kind": "tags", "values": chunk})

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

        cells = []
        with self._writing():
            kept, folder = self._spool.new_file(Path(name).name)
            folder.mkdir()
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
        with self._writing():
            kept, path = self._spool.new_file("picture.png" if step is not None else f"{Path(key).name}.png")
            picture.save(path, format="PNG")
        if step is None:
            self._append_artifact(kept, Path(key).parent.as_posix())
        else:
            now = int(time.time() * 1000)
            self._append({"kind": "image", "file": kept, "key": key, "step": step, "time": now})

    def text(self, name: str, text: str) -> None:
        self._put(safe_path(name), lambda path: path.write_text(text, encoding="utf-8"))

    def file(self, path: Path, folder: str = "", *, artwork: bool = False) -> None:
        """Record a file, or a folder with all that is in it but hidden files, below ``folder``."""
        if artwork and not self._may_show_artwork():
            return
        sources = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        hidden = [p for p in sources if any(part.startswith(".") for part in p.relative_to(path).parts)]
        if hidden:
            self.say(
                f"{path}: {len(hidden)} hidden file(s) are not logged, e.g. {hidden[0].name}; a process that "
                "was killed leaves such temporaries, and when no other one writes there, they can be deleted"
            )
        for source in (p for p in sources if p not in hidden):
            inside = source.relative_to(path.parent).parent.as_posix()
            with self._writing():
                kept = self._spool.keep(source)
            self._append_artifact(kept, "/".join(p for p in (folder, inside) if p != "."))

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
        self._append({"kind": "input", "context": context, "dataset": entity})

    @contextlib.contextmanager
    def child(
        self,
        name: str,
        *,
        stage: str,
        tags: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Iterator[Run]:
        """A run nested below this one, for the length of the block.

        When this run was resumed, an unfinished child of the same name and tags is resumed too. The end of
        the block does not wait for a server that went away; the parent's end does.
        """
        client = MlflowClient(self._uri)
        told_tags = clean_tags({"stage": stage, **(tags or {})})
        own_tags = {**context_tags(), **told_tags, "mlflow.parentRunId": self.id}

        def open_child() -> tuple[MlflowRun, bool]:
            existing = self._unfinished_child(client, name, told_tags) if self._joined else None
            if existing is None:
                label = shortened(name, LONGEST_TAG)
                return client.create_run(self._experiment_id, tags=own_tags, run_name=label), False
            client.update_run(existing.info.run_id, status="RUNNING")
            return existing, True

        opened, joined = insist(open_child, doing=f"opening the run {name!r}", say=self.say)
        run = Run(
            opened,
            uri=self._uri,
            work_dir=self._work_dir,
            log_images=self._log_images,
            joined=joined,
            label=name,
        )
        self._opened.add(run.id)
        run._told_artwork = self._told_artwork
        with run._life(limit=min(10.0, patience()), waits_later=self._unfinished):
            run.params(params or {})
            yield run
        self._told_artwork = run._told_artwork

    def flush(self) -> None:
        """Wait until the server has everything that was logged so far.

        Raises:
            UserError: when it is away for longer than `patience`.
        """
        if not self._sender.flush(patience()):
            raise UserError(
                f"{redacted(self._uri)}: the tracking server is away ({self._sender.last_error}); start it "
                "and repeat the command: finished work is kept"
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
            ended = int(time.time() * 1000)
            try:
                self._spool.append({"kind": "end", "status": status, "time": ended}, last=True)
            except OSError as problem:  # not even the room that was kept: then without the spool
                self.say(str(unwritable(self._spool.folder, problem)))
                with contextlib.suppress(MlflowException):
                    MlflowClient(self._uri).set_terminated(self.id, status, ended)
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
            why = left[0].last_error or "no answer in time"
            self.say(
                f"{redacted(self._uri)}: not everything could be sent ({why}): records of {len(left)} run(s) "
                f"wait in {spool_root(self._work_dir)}; when that is mended, send them with "
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
        with self._writing():
            kept, path = self._spool.new_file(target.name)
            write(path)
        self._append_artifact(kept, target.parent.as_posix())

    def _append_artifact(self, kept: str, folder: str) -> None:
        clean = "" if folder in ("", ".") else safe_path(folder)
        self._append({"kind": "artifact", "file": kept, "folder": clean})

    def _append(self, record: Record) -> None:
        with self._writing():
            self._spool.append(record)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A full disk is told in a sentence."""
        try:
            yield
        except OSError as error:
            raise unwritable(self._spool.folder, error) from None

    def _may_show_artwork(self) -> bool:
        if not self._artwork_allowed and not self._told_artwork:
            self._told_artwork = True
            reason = "as asked" if self._log_images == "false" else "they would leave this machine"
            self.say(
                f"pictures that show comic artwork are not logged ({reason}); --log_images true logs them"
            )
        return self._artwork_allowed


def _same(value: float, known: float | None) -> bool:
    """Whether MLflow has this value already; a database keeps an infinite one as the largest number."""
    if known is None or math.isnan(value) or math.isnan(known):
        return known is not None and math.isnan(value) == math.isnan(known)
    largest = sys.float_info.max
    return max(-largest, min(value, largest)) == max(-largest, min(known, largest))


def _is_local(artifact_uri: str) -> bool:
    return urlsplit(artifact_uri).scheme in ("", "file")
