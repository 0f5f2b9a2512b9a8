"""The whole pipeline through `mlflow run`, as a user types it: runs, numbers, artifacts, the model."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from mfc.workflow.scorebook import Scorebook
from tests.conftest import Clone

pytestmark = pytest.mark.xdist_group("tiny")


@pytest.fixture(scope="module")
def client(tiny: Clone) -> MlflowClient:
    return MlflowClient(f"sqlite:///{tiny.path}/mlflow.db")


@pytest.fixture(scope="module")
def parent(client: MlflowClient) -> Run:
    """The run of `mlflow run .`; others that tests add to the same store come later."""
    ids = [e.experiment_id for e in client.search_experiments()]
    mains = client.search_runs(ids, "tags.stage = 'main'", order_by=["attributes.start_time ASC"])
    return mains[0]


@pytest.fixture(scope="module")
def runs(client: MlflowClient, parent: Run) -> dict[str, Run]:
    """Name → run: the parent and its children."""
    ids = [e.experiment_id for e in client.search_experiments()]
    children = client.search_runs(ids, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    return {run.info.run_name: run for run in [parent, *children]}


def splits(tiny: Clone) -> dict[str, list[str]]:
    content: dict[str, list[str]] = json.loads((tiny.path / "work/tiny/corpus/splits.json").read_text())
    return content


def test_one_parent_with_a_child_for_each_step(tiny: Clone, runs: dict[str, Run], parent: Run) -> None:
    """Every stage, and every test title of evaluate and finetune, is a finished child of the one parent."""
    titles = splits(tiny)["test"]
    steps = ["synthesize", "preprocess", "statistics", "pretrain"]
    steps += [f"{stage} {title}" for stage in ("evaluate", "finetune") for title in titles]
    children = {name: run for name, run in runs.items() if run is not parent}
    assert sorted(children) == sorted(steps)
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_tags_and_params(tiny: Clone, runs: dict[str, Run], parent: Run) -> None:
    """Runs can be filtered by stage, title, recipe, seed and corpus; params carry their stage."""
    title = splits(tiny)["test"][1]
    tags = runs[f"finetune {title}"].data.tags
    assert (tags["stage"], tags["title"], tags["recipe"], tags["seed"]) == ("finetune", title, "paper", "0")
    assert tags["corpus"] == runs["pretrain"].data.tags["corpus"]
    assert runs["pretrain"].data.params["pretrain.epochs"] == "2"
    assert parent.data.params["finetune.tau"] == "1.4"
    assert parent.data.params["experiment"] == "tiny"


def test_curves_have_steps(client: MlflowClient, tiny: Clone, runs: dict[str, Run]) -> None:
    """Loss, learning rate, images/s and validation NMI at growing training steps."""
    for name, curves in {
        "pretrain": ["train/loss", "train/lr", "train/images_per_s", "val/nmi"],
        f"finetune {splits(tiny)['test'][0]}": ["train/loss", "train/lr", "curve/nmi"],
    }.items():
        for key in curves:
            steps = [m.step for m in client.get_metric_history(runs[name].info.run_id, key)]
            assert len(steps) >= 2, f"{name}: {key}"
            assert steps == sorted(set(steps)), f"{name}: {key}"


def test_the_table_is_what_the_children_say(tiny: Clone, runs: dict[str, Run], parent: Run) -> None:
    """report.csv, the printed table and the parent's metrics agree with the per-title runs."""
    table = pd.read_csv(artifact(parent, "report.csv")).set_index("title")
    printed = re.sub(" +", " ", (tiny.path / "main.log").read_text())
    for title in splits(tiny)["test"]:
        for stage, kind in (("evaluate", "pretrained"), ("finetune", "adapted")):
            for metric in ("accuracy", "nmi", "ami", "bcubed_f"):
                value = runs[f"{stage} {title}"].data.metrics[f"test/{metric}"]
                assert table.loc[title, f"{metric}_{kind}"] == pytest.approx(value, abs=1e-6)
        before, after = (table.loc[title, f"accuracy_{kind}"] for kind in ("pretrained", "adapted"))
        assert f"| {title} | {before:.3f} → {after:.3f} |" in printed
    assert parent.data.metrics["adapted/nmi"] == pytest.approx(table.loc["mean", "nmi_adapted"], abs=1e-6)
    assert "| _Manga109, the paper (not run here)_ | 0.480 → 0.640 | 0.630 → 0.710 | – | – |" in printed
    with Image.open(artifact(parent, "report.png")) as picture:
        assert picture.width > 500


def test_metrics_follow_from_the_table_of_clusters(tiny: Clone, runs: dict[str, Run]) -> None:
    """Accuracy and NMI, computed again from the logged table of every face."""
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import normalized_mutual_info_score

    for title in splits(tiny)["test"]:
        run = runs[f"finetune {title}"]
        content = json.loads(artifact(run, "clusters.json").read_text())
        table = pd.DataFrame(content["data"], columns=content["columns"])
        assert len(table) == run.data.metrics["test/faces"]
        counts = pd.crosstab(table["cluster"], table["character_id"]).to_numpy()
        accuracy = counts[linear_sum_assignment(-counts)].sum() / len(table)
        assert run.data.metrics["test/accuracy"] == pytest.approx(accuracy)
        assert run.data.metrics["test/accuracy"] == pytest.approx(table["correct"].mean())
        nmi = normalized_mutual_info_score(table["character_id"], table["cluster"])
        assert run.data.metrics["test/nmi"] == pytest.approx(nmi)


def test_the_data_are_inputs(tiny: Clone, runs: dict[str, Run]) -> None:
    """The face store stands as a dataset in the runs that read it."""
    names = {name: [i.dataset.name for i in run.inputs.dataset_inputs] for name, run in runs.items()}
    assert names["pretrain"]
    title = splits(tiny)["test"][0]
    assert any(title in name for name in names[f"finetune {title}"])


def test_system_metrics_are_on(runs: dict[str, Run]) -> None:
    """The machine's load stands beside the curves."""
    assert any(key.startswith("system/") for key in runs["pretrain"].data.metrics)


PREDICT = """
import io, sys
from pathlib import Path
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
faces = [Path(name).read_bytes() for name in sys.argv[3:]]
np.save("embeddings.npy", model.predict(faces))
if sys.argv[2].endswith("@pretrained"):
    assert len(model.predict(faces, params={"n_clusters": "auto"})) == 3
"""


def test_versions_carry_scores_and_data(client: MlflowClient, tiny: Clone, runs: dict[str, Run]) -> None:
    """Validation scores of the pre-trained encoder, test scores of an adapted one, and the faces."""
    from mfc.tracking import alias_for_title

    title = splits(tiny)["test"][0]
    for alias, run, names in [
        ("pretrained", runs["pretrain"], {"val/nmi": "val/nmi", "val/accuracy": "val/accuracy"}),
        (alias_for_title(title), runs[f"finetune {title}"], {"nmi": "test/nmi", "accuracy": "test/accuracy"}),
    ]:
        version = client.get_model_version_by_alias("mfc-face-encoder", alias)
        assert version.tags["corpus"] == run.data.tags["corpus"]
        assert version.tags["run"] == version.run_id == run.info.run_id
        assert version.description
        for tag, metric in names.items():
            assert float(version.tags[tag]) == pytest.approx(run.data.metrics[metric], abs=1e-6)


@pytest.mark.parametrize("which", ["pretrained", "title"])
def test_the_registered_model_works_elsewhere(tiny: Clone, tmp_path: Path, which: str) -> None:
    """In another folder, on image bytes: unit rows, near for one picture twice, far for another."""
    alias = which if which == "pretrained" else splits(tiny)["test"][0]
    from mfc.tracking import alias_for_title

    uri = f"models:/mfc-face-encoder@{alias if which == 'pretrained' else alias_for_title(alias)}"
    random = np.random.default_rng(0)
    for name in ("one", "other"):
        Image.fromarray(random.integers(0, 255, (90, 70), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PREDICT,
            f"sqlite:///{tiny.path}/mlflow.db",
            uri,
            "one.png",
            "one.png",
            "other.png",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    embeddings = np.load(tmp_path / "embeddings.npy")
    assert embeddings.shape == (3, 512)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-5)
    assert np.linalg.norm(embeddings[0] - embeddings[2]) > 1e-3


def test_an_encoder_from_the_registry_scores_the_same(tiny: Clone, tmp_path: Path) -> None:
    """`--model models:/…@pretrained` gives the figures of the local encoder."""
    work = tmp_path / "work"
    copy_store(tiny, work)
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{tiny.path}/mlflow.db", "MLFLOW_EXPERIMENT_NAME": "elsewhere"}
    tiny.succeed(
        f"mfc evaluate --experiment tiny --work_dir '{work}' --model models:/mfc-face-encoder@pretrained",
        env=env,
    )
    assert scores(work, "evaluate") == scores(tiny.path / "work", "evaluate")


def test_the_same_pipeline_again_trains_nothing(tiny: Clone, tmp_path: Path) -> None:
    """`mfc main` on finished work loads it, and its figures are the same."""
    shutil.copytree(tiny.path / "work", tmp_path / "work")
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/again.db"}
    done = tiny.run(f"mfc main --experiment tiny --work_dir '{tmp_path}/work'", env=env)
    assert done.returncode == 0, done.stderr
    assert "pretrain: already trained" in done.stderr
    assert "up to date" in done.stderr
    assert printed_table(done.stdout) == printed_table((tiny.path / "main.log").read_text())


def test_two_pipelines_are_compared(tiny: Clone, client: MlflowClient, parent: Run) -> None:
    """`mfc compare --runs A,B` gives a paired difference with its interval."""
    out = tiny.succeed("mfc main --experiment tiny --work_dir work2 --finetune.epochs 1 --finetune.seeds 0,1")
    assert "| **mean** " in out
    ids = [e.experiment_id for e in client.search_experiments()]
    [other] = [
        run for run in client.search_runs(ids, "tags.stage = 'main'") if run.info.run_id != parent.info.run_id
    ]
    out = tiny.succeed(f"mfc compare --experiment tiny --runs {parent.info.run_id},{other.info.run_id}")
    rows = [line for line in out.splitlines() if re.match(r"\| finetune +\| test/accuracy ", line)]
    assert len(rows) == 1
    assert "1, 2" in rows[0]
    message = tiny.refuse(f"mfc compare --experiment tiny --runs {parent.info.run_id},nosuchrun")
    assert "nosuchrun" in message


def test_the_report_shows_what_is_in_force_and_names_the_rest(tiny: Clone, tmp_path: Path) -> None:
    """Two sets of parameters keep apart in one folder; the report follows the one asked for; both compare."""
    shutil.copytree(tiny.path / "work", tmp_path / "work")
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/own.db"}
    where = f"--experiment tiny --work_dir '{tmp_path}/work'"
    first = tiny.succeed(f"mfc report {where}", env=env)
    assert printed_table(first) == printed_table((tiny.path / "main.log").read_text())
    tiny.succeed(f"mfc finetune {where} --lr 0.5 --register false --figures false", env=env)
    done = tiny.run(f"mfc report {where}", env=env)
    assert printed_table(done.stdout) == printed_table(first)
    [other] = re.findall(r"not in the table: finetune (\w+), 2 titles: lr 0.5, not 0.005", done.stderr)
    [shown] = re.findall(r"and finetune (\w+); compare", done.stderr)
    told = tiny.succeed(f"mfc compare {where} --runs {shown},{other}", env=env)
    assert re.search(r"\| finetune +\| test/accuracy +\| +2 \|", told)
    assert "B differs from A by: lr 0.5, not 0.005" in told


def test_unknown_parameters_stop_mlflow_run(tiny: Clone) -> None:
    """-P with a misspelt name fails, and says which."""
    done = tiny.run("mlflow run . --env-manager=local -e statistics -P experiment=tiny -P stoer=x")
    assert done.returncode != 0
    assert "No such option" in done.stderr
    assert "--stoer" in done.stderr


def artifact(run: Run, name: str) -> Path:
    """The file of an artifact in a local store."""
    return Path(run.info.artifact_uri.removeprefix("file://").replace("%20", " ")) / name


def copy_store(tiny: Clone, work: Path) -> None:
    shutil.copytree(tiny.path / "work/tiny/faces", work / "tiny/faces")


def scores(work: Path, stage: str) -> list[dict[str, Any]]:
    """All that the scorebook has of a stage."""
    book = Scorebook(work / "tiny" / "scores")
    return [row for variant in book.variants() if variant.stage == stage for row in book.rows(variant.id)]


def printed_table(text: str) -> list[str]:
    return [line for line in io.StringIO(text).read().splitlines() if line.startswith("| ")]


def test_a_job_that_its_scheduler_ends_is_marked_killed(clone: Clone) -> None:
    """SIGTERM in the midst of a stage: the run is KILLED in MLflow, and repeating the command finishes it."""
    command = [sys.executable, "-m", "mfc", "synthesize", "--preset", "tiny", "--jobs", "1"]
    with subprocess.Popen(
        command, cwd=clone.path, env=clone.environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        assert any(line.startswith("Drawing") for line in process.stderr)
        process.terminate()
    assert process.returncode == 1
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    [killed] = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert killed.info.status == "KILLED"
    corpus = clone.path / "work/demo/corpus"
    assert not (corpus / "synthetic.json").exists()
    clone.succeed("mfc synthesize --preset tiny --jobs 1")
    assert (corpus / "synthetic.json").exists()
