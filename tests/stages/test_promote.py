"""The champion changes only when an interval says so."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from mfc import tracking
from mfc.clusters.metrics import METRICS
from mfc.config import Promote, Report, Where
from mfc.errors import UserError
from mfc.faces.store import open_store
from mfc.log import PrintLog
from mfc.stages.promote import Verdict, decide, metric_of
from mfc.workflow import results
from mfc.workflow.session import Session, open_session
from tests.conftest import Clone

TITLES = ["A", "B|b", "C", "D", "E", "F"]
OLD = np.array([[0.50], [0.40], [0.70], [0.60], [0.55], [0.65]])
NAME = "mfc-face-encoder"
PROMOTE = "mfc promote --experiment tiny"


def judge(new: np.ndarray, old: np.ndarray = OLD, min_gain: float = 0.0) -> Verdict:
    config = Promote(metric="val/ami", min_gain=min_gain)
    return decide(config, Report(resamples=500), TITLES[: len(old)], old, new, PrintLog())


def unpadded(table: str) -> str:
    """A Markdown table without the spaces that align it."""
    return re.sub(" +", " ", table)


def test_a_gain_in_every_title_is_better() -> None:
    """Differences 0.04 to 0.06, mean 0.05: the interval is within, above 0 and not above 0.05."""
    new = OLD + np.array([[0.04], [0.06], [0.05], [0.04], [0.06], [0.05]])
    verdict = judge(new)
    assert verdict.better
    assert verdict.gain == pytest.approx(0.05)
    assert 0.03 < verdict.low < 0.05 < verdict.high < 0.07
    assert judge(new, min_gain=0.03).better
    assert not judge(new, min_gain=0.05).better
    assert "| B\\|b | 0.400 | 0.460 | +0.060 |" in unpadded(verdict.markdown)
    assert "| **mean** | **0.567** | **0.617** | **+0.050** |" in unpadded(verdict.markdown)


def test_a_mean_gain_that_one_title_makes_is_not_better() -> None:
    """The mean rises, the interval holds zero."""
    verdict = judge(OLD + np.array([[0.4], [-0.02], [-0.03], [0.0], [-0.01], [0.02]]))
    assert verdict.gain > 0.05
    assert verdict.low < 0
    assert not verdict.better


def test_one_title_decides_nothing() -> None:
    """However large the gain: there is no interval, and that is said."""
    verdict = judge(OLD[:1] + 0.5, OLD[:1])
    assert not verdict.better
    assert "for want of titles" in verdict.sentence


def test_less_can_be_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a metric that should fall, a fall in every title is a gain, and a rise is none."""
    assert not judge(OLD - 0.1).better
    monkeypatch.setitem(METRICS, "ami", dataclasses.replace(METRICS["ami"], higher_is_better=False))
    verdict = judge(OLD - 0.1)
    assert verdict.better
    assert verdict.gain == pytest.approx(0.1)
    assert "| **mean** | **0.567** | **0.467** | **+0.100** |" in unpadded(verdict.markdown)
    assert not judge(OLD + 0.1).better


def test_titles_without_a_value_do_not_count() -> None:
    """A title whose characters have one face each has no neighbours to score: a dash. With none at all the
    choice cannot be made."""
    new, old = OLD + 0.1, OLD.copy()
    new[1] = np.nan
    verdict = judge(new, old)
    assert verdict.gain == pytest.approx(0.1)
    assert "over 5 titles" in verdict.sentence
    assert "| B\\|b | 0.400 | – | – |" in unpadded(verdict.markdown)
    assert "| **mean** | **0.600** | **0.700** | **+0.100** |" in unpadded(verdict.markdown)
    with pytest.raises(UserError, match=r"no title has val/ami of both encoders"):
        judge(np.full_like(OLD, np.nan))


@pytest.mark.parametrize("metric", ["ami", "test/", "test/loss", "dev/ami", "/ami"])
def test_a_metric_that_is_not_there_is_refused(metric: str) -> None:
    """The sentence lists what there is."""
    with pytest.raises(
        UserError, match=rf"metric: '{metric}' is not SPLIT/NAME .*accuracy, nmi, ami.*map_at_r"
    ):
        metric_of(Promote(metric=metric))


def copied(tiny: Clone, folder: Path) -> str:
    """Address of a copy of the pipeline's registry; its faces go along, since it belongs to all tests."""
    shutil.copy2(tiny.path / "mlflow.db", folder / "mlflow.db")
    shutil.copytree(tiny.path / "work/tiny/faces", folder / "work/tiny/faces")
    return f"sqlite:///{folder}/mlflow.db"


@pytest.mark.xdist_group("tiny")
def test_promotion_in_a_registry(tiny: Clone, tmp_path: Path) -> None:
    """The first becomes champion; a rival by the rule only; evaluations are runs below; `@champion` loads."""
    env = {"MLFLOW_TRACKING_URI": copied(tiny, tmp_path), "MFC_WORK_DIR": str(tmp_path / "work")}
    client = MlflowClient(env["MLFLOW_TRACKING_URI"])
    first = client.get_model_version_by_alias(NAME, "pretrained").version

    assert f"version {first} is now the first champion" in tiny.succeed(PROMOTE, env=env)
    assert client.get_model_version_by_alias(NAME, "champion").version == first
    assert f"version {first} is already the champion" in tiny.succeed(PROMOTE, env=env)

    rival = next(v.version for v in client.search_model_versions(f"name='{NAME}'") if v.version != first)
    command = f"{PROMOTE} --candidate models:/{NAME}/{rival} --metric test/ami --min_gain 0"
    printed = tiny.succeed(command, env=env)
    ids = [e.experiment_id for e in client.search_experiments()]
    run = client.search_runs(ids, "tags.stage = 'promote'", order_by=["attributes.start_time DESC"])[0]
    better = run.data.metrics["promote/low"] > 0
    assert run.data.tags["promoted"] == str(better).lower()
    assert client.get_model_version_by_alias(NAME, "champion").version == (rival if better else first)
    children = client.search_runs(ids, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    means = [
        np.mean(
            [c.data.metrics["test/ami"] for c in children if c.data.tags["model_version"] == str(version)]
        )
        for version in (first, rival)
    ]
    assert len(children) == 4
    assert run.data.metrics["promote/gain"] == pytest.approx(means[1] - means[0])
    assert f"| **mean** | **{means[0]:.3f}** | **{means[1]:.3f}** |" in unpadded(printed)

    uri = f"models:/{NAME}@champion"
    tiny.succeed(f"mfc evaluate --experiment tiny --model {uri} --title_idx 0 --figures false", env=env)
    words = tiny.refuse(f"{PROMOTE} --candidate models:/{NAME}@nobody", env=env)
    assert "no encoder is registered under this alias" in words
    words = tiny.refuse(f"{PROMOTE} --candidate other", env=env)
    assert f"give models:/{NAME}@ALIAS" in words
    words = tiny.refuse(f"{PROMOTE} --candidate models:/{NAME}/99", env=env)
    assert "no such version is registered" in words


@pytest.mark.xdist_group("tiny")
@pytest.mark.parametrize(
    ("gains", "moves"), [((0.2, 0.1), True), ((-0.2, -0.1), False), ((0.4, -0.2), False)]
)
def test_the_alias_moves_for_the_better_only(
    tiny: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gains: tuple[float, float], moves: bool
) -> None:
    """With scores given, not measured: champion, tags, the run and what is said follow from them alone."""
    address = copied(tiny, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    for key in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(key, raising=False)
    client = MlflowClient(address)
    old, new = sorted(int(v.version) for v in client.search_model_versions(f"name='{NAME}'"))[:2]
    client.set_registered_model_alias(NAME, "champion", str(old))

    def scores(session: Session, run: tracking.Run, config: Promote, version: int) -> pd.DataFrame:
        titles = open_store(tmp_path / "work/tiny/faces").titles("test")
        values = [0.4 + (gain if version == new else 0) for gain in gains]
        return pd.DataFrame({"title": titles, "seed": 0, "ami": values})

    monkeypatch.setattr(results, "_scores_of_version", scores)
    typed = {"promote": {"candidate": f"models:/{NAME}/{new}", "metric": "test/ami"}}
    session = open_session(Where(experiment="tiny", work_dir=str(tmp_path / "work")), typed, print)
    with tracking.open_run(experiment="e", name="n", stage="promote", work_dir=tmp_path / "work") as run:
        said = results.promote_command(session, run)
    assert int(client.get_model_version_by_alias(NAME, "champion").version) == (new if moves else old)
    assert f"version {new} {'takes' if moves else 'does not take'} the place of version {old}" in said
    assert client.get_run(run.id).data.tags["promoted"] == str(moves).lower()
    assert client.get_run(run.id).data.metrics["promote/gain"] == pytest.approx(sum(gains) / 2)
    tags = client.get_model_version(NAME, str(new)).tags
    assert tags.get("promoted_over") == (str(old) if moves else None)
