"""Every run of a pipeline explains itself: description, tags, figures, faces, and the report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from tests.conftest import Clone

pytestmark = pytest.mark.xdist_group("tiny")


@pytest.fixture(scope="module")
def client(tiny: Clone) -> MlflowClient:
    return MlflowClient(f"sqlite:///{tiny.path}/mlflow.db")


@pytest.fixture(scope="module")
def pipeline(client: MlflowClient) -> list[Run]:
    """The runs of the first pipeline, the parent first."""
    ids = [e.experiment_id for e in client.search_experiments()]
    *_, parent = client.search_runs(ids, "tags.stage = 'main'")
    return [parent, *client.search_runs(ids, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")]


def titles(tiny: Clone) -> list[str]:
    found: list[str] = json.loads((tiny.path / "work/tiny/corpus/splits.json").read_text())["test"]
    return found


def adapted(pipeline: list[Run], title: str) -> Run:
    tags = {"stage": "finetune", "title": title}
    [run] = [run for run in pipeline if tags.items() <= run.data.tags.items()]
    return run


def folder(run: Run) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://").replace("%20", " "))


def description(run: Run) -> str:
    return str(run.data.tags["mlflow.note.content"])


def command(run: Run) -> str:
    [found] = re.findall(r"```\n(mfc .*)\n```", description(run))
    return str(found)


def test_each_run_says_what_it_is_and_how_to_repeat_it(pipeline: list[Run]) -> None:
    """A command of its own stage, for its own experiment, and the data it used."""
    for run in pipeline:
        assert command(run).startswith(f"mfc {run.data.tags['stage']} --experiment tiny")
        assert "**Data**" in description(run) or run.data.tags["stage"] in ("main", "synthesize")
    assert pipeline[0].info.run_name == "main tiny"


def test_the_result_stands_in_the_description(tiny: Clone, pipeline: list[Run]) -> None:
    """The accuracy of a title's run, and the whole table on the page of the pipeline."""
    for title in titles(tiny):
        run = adapted(pipeline, title)
        assert f"accuracy **{run.data.metrics['test/accuracy']:.3f}**" in description(run)
        assert f"| {title} " in description(pipeline[0])


def test_the_described_command_repeats_the_result(tiny: Clone, pipeline: list[Run], tmp_path: Path) -> None:
    """Pasted into a shell, the command of an evaluation gives the same metrics."""
    title = titles(tiny)[1]
    tags = {"stage": "evaluate", "title": title}
    [run] = [run for run in pipeline if tags.items() <= run.data.tags.items()]
    store = f"sqlite:///{tmp_path}/again.db"
    tiny.succeed(command(run), env={"MLFLOW_TRACKING_URI": store})
    client = MlflowClient(store)
    [again] = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.title != ''")
    assert again.data.tags["title"] == title
    assert again.data.metrics["test/accuracy"] == run.data.metrics["test/accuracy"]
    assert again.data.metrics["test/nmi"] == pytest.approx(run.data.metrics["test/nmi"])


def test_figures_of_each_title(tiny: Clone, pipeline: list[Run]) -> None:
    """Map, confusion and sizes are pictures that can be decoded."""
    for title in titles(tiny):
        for name in ("embedding_map", "confusion", "cluster_sizes"):
            with Image.open(folder(adapted(pipeline, title)) / "figures" / f"{name}.png") as picture:
                picture.load()


def test_each_face_has_its_thumbnail(tiny: Clone, pipeline: list[Run]) -> None:
    """Each row of the table names a picture that is there, and the farthest face has the largest distance."""
    run = adapted(pipeline, titles(tiny)[0])
    content = json.loads((folder(run) / "clusters.json").read_text())
    rows = [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
    assert len(rows) == run.data.metrics["test/faces"]
    for row in rows:
        assert row["face"]["type"] == "image"
        with Image.open(folder(run) / row["face"]["filepath"]) as picture:
            assert picture.size == (64, 64)
    assert content["columns"][:4] == ["face", "cluster", "character_name", "correct"]
    assert all(0 <= row["distance"] <= 2 for row in rows)
    assert any(row["distance"] > 0 for row in rows)


def test_the_same_clusters_over_the_epochs(client: MlflowClient, tiny: Clone, pipeline: list[Run]) -> None:
    """A picture a validation, beginning with step 0, at the steps of the curves."""
    run = adapted(pipeline, titles(tiny)[0])
    steps = [m.step for m in client.get_metric_history(run.info.run_id, "curve/must_link_precision")]
    names = [p.name for p in (folder(run) / "images").glob("figures~watched_clusters*.png")]
    assert sorted(int(re.search(r"step\+(\d+)", name)[1]) for name in names) == steps  # type: ignore[index]
    assert steps[0] == 0


def test_the_report_is_logged_and_lies_beside_the_outputs(tiny: Clone, pipeline: list[Run]) -> None:
    """The same file twice, with a gallery of each title, and the end of the pipeline says where it is."""
    logged = (folder(pipeline[0]) / "report.html").read_text()
    assert logged == (tiny.path / "work/tiny/report.html").read_text()
    assert logged.count('<details class="title"') == len(titles(tiny)) + 1
    assert "data:image/jpeg" in logged
    assert str(Path("work/tiny/report.html")) in (tiny.path / "main.log").read_text()


def test_a_server_gets_a_report_without_artwork(tiny: Clone, tmp_path: Path) -> None:
    """With --log_images false the logged report has no picture; the one on disk keeps them."""
    store = f"sqlite:///{tmp_path}/report.db"
    options = "--experiment tiny --log_images false"
    tiny.succeed(f"mfc report {options}", env={"MLFLOW_TRACKING_URI": store})
    client = MlflowClient(store)
    [run] = client.search_runs([e.experiment_id for e in client.search_experiments()])
    logged = (folder(run) / "report.html").read_text()
    assert "data:image" not in logged
    assert "--log_images true" in logged
    assert "data:image/jpeg" in (tiny.path / "work/tiny/report.html").read_text()
