"""From the spool on disk to the tracking server, now or later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfc.tracking.spool import DAMAGED, Gone, Record, Spool, Waiting
from mfc.tracking.store import MISSING, REFUSED, first_line

METRICS_A_CALL = 1000


class NoRecord(Exception):
    """A line of a spool that cannot be turned into a call of the server."""


class Courier:
    """Turns the records of one run's spool into calls of the tracking server, in order."""

    def __init__(self, run_id: str, uri: str, say: Callable[[str], None]) -> None:
        self._run_id = run_id
        self._client = MlflowClient(uri)
        self._say = say
        self._told = False

    def __call__(self, spool: Spool, records: Sequence[Waiting]) -> None:
        """Deliver; what can never be delivered is set aside, so that what is behind it can pass.

        Raises:
            Gone: when the run was deleted; nothing more is set aside then.
        """
        for group in _groups(records):
            self._send_or_refuse(spool, group)

    def _send_or_refuse(self, spool: Spool, group: Sequence[Waiting]) -> None:
        try:
            try:
                send = self._call_for(spool, [waiting.record for waiting in group])
            except (KeyError, ValueError) as error:
                raise NoRecord(f"not as it was written: {error!r}") from None
            send()
        except (NoRecord, TypeError, AttributeError, MlflowException) as error:
            if isinstance(error, MlflowException):
                if error.error_code not in (*REFUSED, *MISSING):
                    raise
                self._check_run(error)
            if len(group) > 1:
                for waiting in group:
                    self._send_or_refuse(spool, [waiting])
                return
            reason = first_line(error)
            spool.refuse(group[0].record, reason)
            if not self._told:  # once: a damaged spool may hold thousands
                self._told = True
                self._say(
                    f"a record cannot be delivered ({reason}); such ones go to {spool.folder}/refused.jsonl"
                )
        spool.done(group[-1].end)

    def _check_run(self, error: MlflowException) -> None:
        """Raise `Gone` when the run was deleted, or ``error`` when what is missing is something else."""
        restore = f"`mlflow runs restore --run-id {self._run_id}` brings it back"
        try:
            if self._client.get_run(self._run_id).info.lifecycle_stage == "deleted":
                raise Gone(f"the run {self._run_id} was deleted in MLflow ({restore})")
        except MlflowException as missing:
            if missing.error_code in MISSING:
                raise Gone(f"there is no run {self._run_id} in MLflow any more") from None
            raise
        if error.error_code in MISSING:
            raise error

    def _call_for(self, spool: Spool, records: Sequence[Record]) -> Callable[[], object]:
        """What sends records of one kind; only metrics come in groups.

        Raises:
            NoRecord, KeyError, ValueError, TypeError, AttributeError: when they are not as `Run` wrote them.
        """
        first, run_id, client = records[0], self._run_id, self._client
        kind = first["kind"]
        if kind == "metrics":
            metrics = [
                Metric(key, float(value), record["time"], record["step"])
                for record in records
                for key, value in record["values"].items()
            ]
            return lambda: client.log_batch(run_id, metrics=metrics)
        if kind == "params":
            params = [Param(key, value) for key, value in first["values"].items()]
            return lambda: client.log_batch(run_id, params=params)
        if kind == "tags":
            tags = [RunTag(key, value) for key, value in first["values"].items()]
            return lambda: client.log_batch(run_id, tags=tags)
        if kind == "artifact":
            path, folder = spool.path(first["file"]), first["folder"] or None
            return lambda: self._send_file(
                spool, path, lambda: client.log_artifact(run_id, str(path), folder)
            )
        if kind == "image":
            path, key, step, time = spool.path(first["file"]), first["key"], first["step"], first["time"]
            return lambda: self._send_file(spool, path, lambda: self._send_image(path, key, step, time))
        if kind == "input":
            context = [InputTag("mlflow.data.context", first["context"])]
            inputs = [DatasetInput(Dataset(**first["dataset"]), context)]
            return lambda: client.log_inputs(run_id, inputs)
        if kind == "end" and first["status"] in ("FINISHED", "FAILED", "KILLED"):
            return lambda: client.set_terminated(run_id, first["status"], first["time"])
        raise NoRecord("a damaged line" if kind == DAMAGED else f"a record of the kind {kind!r}")

    def _send_file(self, spool: Spool, path: Path, send: Callable[[], None]) -> None:
        # Missing means: sent just before this process was killed, and not yet ticked off.
        if path.exists():
            send()
            spool.forget(path)

    def _send_image(self, path: Path, key: str, step: int, time: int) -> None:
        from PIL import Image

        try:
            with Image.open(path) as opened:
                picture = opened.copy()
        except (OSError, SyntaxError, ValueError) as error:
            raise NoRecord(f"its picture is damaged: {error}") from None
        self._client.log_image(self._run_id, picture, key=key, step=step, timestamp=time)


def _groups(records: Iterable[Waiting]) -> Iterator[list[Waiting]]:
    """Neighbouring metrics together, up to what one call may carry; everything else one by one."""
    group: list[Waiting] = []
    size = 0
    for waiting in records:
        values = waiting.record.get("values") if waiting.record.get("kind") == "metrics" else None
        n = len(values) if isinstance(values, dict) else METRICS_A_CALL
        if group and size + n > METRICS_A_CALL:
            yield group
            group, size = [], 0
        group.append(waiting)
        size += n
    if group:
        yield group


def spool_root(work_dir: Path) -> Path:
    return work_dir / ".spool"
