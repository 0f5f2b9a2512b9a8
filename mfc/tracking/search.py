"""Finding runs, as tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mfc.errors import UserError
from mfc.tracking.credentials import redacted
from mfc.tracking.store import connect


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
            f"run {run_id!r} is not in {redacted(client.tracking_uri)}; its id is on the run's page in "
            "`mlflow ui`, or set MLFLOW_TRACKING_URI to the store that has it"
        ) from None
    below: list[MlflowRun] = []
    level = [parent]
    while level:
        level = [c for r in level for c in children(client, r.info.experiment_id, r.info.run_id)]
        below += level
    return _as_table(sorted(below, key=lambda r: r.info.start_time) or [parent])


def children(client: MlflowClient, experiment_id: str, parent_id: str) -> list[MlflowRun]:
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
    return pd.DataFrame(rows)
