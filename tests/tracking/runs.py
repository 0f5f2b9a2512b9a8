"""Opening runs in tests, and reading back what they logged."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from mfc import tracking
from mfc.encoders.network import EncoderConfig, new_encoder, save_encoder


def open_run(folder: Path, **options: Any) -> AbstractContextManager[tracking.Run]:
    given = {"experiment": "demo", "name": "main", "stage": "main", "work_dir": folder / "work"}
    return tracking.open_run(**{**given, **options})


def history(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in client.get_metric_history(run_id, key))


def artifacts(client: MlflowClient, run_id: str, below: str | None = None) -> list[str]:
    found: list[str] = []
    for entry in client.list_artifacts(run_id, below):
        found += artifacts(client, run_id, entry.path) if entry.is_dir else [entry.path]
    return found


def small_encoder(folder: Path, seed: int = 0) -> Path:
    config = EncoderConfig("resnet18", ("a", "b"), image_size=32)
    save_encoder(new_encoder(config, init="random", seed=seed), folder)
    return folder
