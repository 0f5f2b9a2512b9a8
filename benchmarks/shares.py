"""Where the time of a pipeline goes: ``python -m benchmarks.shares`` after ``make demo``.

Reads the newest finished pipeline of the tracking store (``MLFLOW_TRACKING_URI``, else ``./mlflow.db``) and
prints the seconds of its stages, from the start and end times of their runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run

from mfc.tracking import connect


@dataclass(frozen=True)
class Share:
    """The runs of one stage, or what lies between all of them."""

    stage: str
    runs: int
    seconds: float


def shares(parent: Run, children: Sequence[Run]) -> list[Share]:
    """Seconds of each stage, in the order in which they began, and at last those outside of any stage."""
    found: dict[str, Share] = {}
    for run in sorted(children, key=lambda run: run.info.start_time):
        stage = str(run.data.tags.get("stage", ""))
        before = found.get(stage, Share(stage, 0, 0.0))
        found[stage] = Share(stage, before.runs + 1, before.seconds + _seconds(run))
    inside = sum(share.seconds for share in found.values())
    return [*found.values(), Share("report, and between runs", 1, _seconds(parent) - inside)]


def _seconds(run: Run) -> float:
    return float(run.info.end_time - run.info.start_time) / 1000


def markdown(parts: Sequence[Share]) -> str:
    """The table, with the sum."""
    total = sum(part.seconds for part in parts)
    lines = ["| stage | runs | seconds | share |", "|---|---:|---:|---:|"]
    lines += [f"| {p.stage} | {p.runs} | {p.seconds:.1f} | {p.seconds / total:.0%} |" for p in parts]
    return "\n".join([*lines, f"| all | | {total:.1f} | |"]) + "\n"


def main() -> None:
    """Print the table of the newest finished pipeline."""
    client = MlflowClient(connect())
    ids = [e.experiment_id for e in client.search_experiments()]
    query = "tags.stage = 'main' and attributes.status = 'FINISHED'"
    parents = client.search_runs(ids, query, max_results=1, order_by=["attributes.start_time DESC"])
    if not parents:
        raise SystemExit(f"no finished pipeline in {client.tracking_uri}; run `make demo` first")
    [parent] = parents
    children = client.search_runs(ids, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    print(markdown(shares(parent, children)))


if __name__ == "__main__":
    main()
