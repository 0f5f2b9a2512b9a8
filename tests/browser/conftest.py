"""A tracking server with two finished runs, and a browser; shared by the browser tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from selenium import webdriver

from mfc import tracking
from mfc.report.html import render
from tests.browser.chrome import chrome, missing
from tests.browser.ui import get_past_the_welcome
from tests.report.test_html import clusters_of, page_of
from tests.tracking.mlflow_server import TrackingServer

ACCURACY = (0.6153846153846154, 0.7307692307692307)
"""Of the two runs; shown in full they cannot be mistaken for anything else."""
EVIL = "<img src=x onerror=alert(1)>"
"""Name of a character."""


@dataclass(frozen=True)
class Site:
    """A running server and what is in it."""

    url: str
    experiment_id: str
    runs: tuple[str, ...]


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    reason = missing()
    if reason and os.environ.get("MFC_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with chrome() as driver:
        yield driver


@pytest.fixture(scope="session")
def site(browser: webdriver.Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The runs are logged through `mfc.tracking`, as the stages do."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch, TrackingServer(folder / "server") as server:
        for key in [key for key in os.environ if key.startswith(("MLFLOW_", "MFC_"))]:
            patch.delenv(key)
        patch.setenv("MLFLOW_TRACKING_URI", server.url)
        patch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
        get_past_the_welcome(browser, server.url)
        yield fill(server.url, folder)


def fill(url: str, folder: Path) -> Site:
    page = folder / "report.html"
    page.write_text(render(page_of(name=EVIL)), encoding="utf-8")
    ids, experiment = [], ""
    for number, accuracy in enumerate(ACCURACY):
        with tracking.open_run(
            experiment="browser",
            name=f"main {number}",
            stage="main",
            tags={"recipe": "paper"},
            params={"finetune.tau": 1.4},
            work_dir=folder / "work",
            log_images="true",
        ) as run:
            run.describe(f"**Result**: accuracy {accuracy:.3f}")
            for step in range(0, 50, 10):
                run.metrics({"train/loss": (2 - number) / (1 + step)}, step)
            run.metrics({"test/accuracy": accuracy})
            run.file(page, artwork=True)
            faces = np.full((12, 16, 16, 1), 128, np.uint8)
            run.table("clusters", pd.DataFrame(clusters_of(EVIL)), faces)
            for step in (0, 10):
                run.picture("figures/watched_clusters", Image.new("L", (40, 30), 5 * step), step)
            experiment = run._experiment_id
        ids.append(run.id)
    return Site(url, experiment, tuple(ids))
