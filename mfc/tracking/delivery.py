"""From the spool on disk to the tracking server, now or later."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfc.errors import UserError
from mfc.log import PrintLog
from mfc.tracking.spool import Busy, Record, Spool, Waiting, spools
from mfc.tracking.store import REFUSED, first_line

METRICS_A_CALL = 1000


class Courier:
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
            if error.error_code not in REFUSED:
                raise
            if len(group) > 1:
                for waiting in group:
                    self._send_or_refuse(spool, [waiting])
                return
            reason = first_line(error)
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
            failed.append(f"run {folder.name} ({first_line(error)})")
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
    courier = Courier(run_id, head["uri"], say)
    while not spool.empty:
        courier(spool, spool.pending())
    client = MlflowClient(head["uri"])
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, "KILLED")
    say(f"run {run_id}: up to date")
