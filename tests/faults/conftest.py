"""Commands as a person types them, in this process, with a workspace of a few kilobytes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from mfc.cli import main
from tests.faults.works import OWN, prepare

SMALL = """
synthesize: {preset: tiny, jobs: 1}
preprocess: {size: 32, jobs: 1}
pretrain:
  {backbone: resnet18, init: random, image_size: 32, min_faces: 2, epochs: 2, eval_every: 0, device: cpu,
   register: false}
evaluate: {n_init: 1, device: cpu}
finetune: {n_init: 1, epochs: 2, eval_every: 0, figures: false, device: cpu, register: false}
report: {resamples: 100}
"""
Cli = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face store, an encoder, and an empty tracking database, to be copied."""
    folder = tmp_path_factory.mktemp("begun") / "all"
    prepare(folder)
    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    (folder / "small.yaml").write_text(SMALL)
    return folder


@pytest.fixture
def place(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder of the commands."""
    for key in [key for key in os.environ if key.startswith(("MLFLOW_", "MFC_"))]:
        monkeypatch.delenv(key)
    folder = tmp_path / "place"
    shutil.copytree(begun, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    yield folder
    mlflow.set_tracking_uri(None)


@pytest.fixture
def cli(place: Path) -> Cli:
    """`mfc ARGUMENTS` of the small experiment: exit code, and all that was printed."""

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, [*arguments, "--experiment", "small.yaml"])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError(f"{arguments}: {result.output}") from result.exception
        return result.exit_code, result.output

    return call


@pytest.fixture
def statuses(place: Path) -> Callable[[], list[str]]:
    """How the runs ended, the last one first."""

    def read() -> list[str]:
        client = MlflowClient(f"sqlite:///{place}/mlflow.db")
        everywhere = [e.experiment_id for e in client.search_experiments()]
        return [run.info.status for run in client.search_runs(everywhere)]

    return read


COMMANDS = {
    "synthesize": ("synthesize",),
    "preprocess": ("preprocess", "--manga109_root", str(OWN / "corpus"), "--splits", "splits.json"),
    "pretrain": ("pretrain", "--store", "faces"),
    "evaluate": ("evaluate", "--store", "faces", "--model", "model"),
    "finetune": ("finetune", "--store", "faces", "--model", "model", "--title_idx", "0"),
    "cluster": (
        "cluster", "--model", "model", "--input", str(OWN / "corpus"), "--title", "Neko-Michi",
        "--n_clusters", "3", "--epochs", "1", "--device", "cpu",
    ),
}  # fmt: skip
"""Each stage, as small as it gets."""
