"""The user's two literal commands, as they were asked for, on a fresh clone without data, conda or GPU."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from tests.conftest import ROOT, Clone


@pytest.mark.slow
@pytest.mark.xdist_group("literal")
def test_pretrain_then_finetune_title_three(clone: Clone) -> None:
    """Bare `mlflow run . -e pretrain`, then `… -e finetune -P title_idx=3`, after `source activate.sh`."""
    (clone.path / ".venv").symlink_to(ROOT / ".venv")
    # The commands are literal, the demo is shorter: all of it takes a slow machine a quarter of an hour.
    demo = clone.path / "experiments" / "demo.yaml"
    text = demo.read_text(encoding="utf-8")
    short = text.replace("  epochs: 12\n", "  epochs: 2\n").replace("  epochs: 10\n", "  epochs: 2\n")
    assert len(text) - len(short) == 2
    demo.write_text(short, encoding="utf-8")
    first = clone.run("source activate.sh && mlflow run . -e pretrain")
    assert first.returncode == 0, first.stderr
    said = first.stdout + first.stderr
    assert said.count("using the demo experiment") == 1
    assert "No face store yet: running `mfc preprocess` first." in said
    assert "No corpus yet: running `mfc synthesize` first." in said
    second = clone.run("source activate.sh && mlflow run . -e finetune -P title_idx=3")
    assert second.returncode == 0, second.stderr
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    ids = [e.experiment_id for e in client.search_experiments()]
    [pretrained] = client.search_runs(ids, "tags.stage = 'pretrain'")
    [adapted] = client.search_runs(ids, "tags.stage = 'finetune'")
    assert {pretrained.info.status, adapted.info.status} == {"FINISHED"}
    assert (
        pretrained.data.metrics["train/loss"]
        < client.get_metric_history(pretrained.info.run_id, "train/loss")[0].value
    )
    assert 0 < adapted.data.metrics["test/accuracy"] <= 1
    assert 0 < adapted.data.metrics["test/nmi"] <= 1
    titles = [t for t in (clone.path / "work/demo/finetune").iterdir() if t.is_dir()]
    assert [adapted.data.tags["title"]] == [title.name for title in titles]
    versions = client.search_model_versions("name = 'mfc-face-encoder'")
    assert len(versions) == 2
