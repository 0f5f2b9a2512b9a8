"""Addresses of the MLflow UI's pages, and a visit to one as somebody who has been there before."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import quote

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.support.ui import WebDriverWait

T = TypeVar("T")

SEEN_BEFORE = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
}
"""Local storage of a browser that is past the first visit's overview and assistant."""
PATIENCE = 60


def metric_page(experiment: str, runs: Sequence[str], metric: str) -> str:
    """The page that shows a metric of several runs in full precision, with its curve."""
    query = {"runs": list(runs), "metric": metric, "experiments": [experiment], "plot_metric_keys": [metric]}
    parts = [f"{key}={quote(json.dumps(value))}" for key, value in query.items()]
    return f"/#/metric?{'&'.join(parts)}&x_axis=step"


def charts_page(experiment: str) -> str:
    return f"/#/experiments/{experiment}/runs?compareRunsMode=CHART"


def runs_page(experiment: str) -> str:
    return f"/#/experiments/{experiment}/runs"


def run_page(experiment: str, run: str, tab: str = "") -> str:
    """``tab``: `model-metrics`, `artifacts/PATH` and so on; empty: the overview."""
    return f"/#/experiments/{experiment}/runs/{run}" + (f"/{tab}" if tab else "")


def get_past_the_welcome(driver: webdriver.Chrome, url: str) -> None:
    """Make the server at ``url`` take this browser for one that has been there."""
    driver.get(f"{url}/health")
    for key, value in SEEN_BEFORE.items():
        driver.execute_script("localStorage.setItem(arguments[0], arguments[1])", key, value)


def visit(driver: webdriver.Chrome, url: str, page: str) -> None:
    """Load a page of the server at ``url`` anew."""
    driver.get("about:blank")  # another page of the same document would not be loaded anew
    driver.get(url + page)


def wait(driver: webdriver.Chrome, condition: Callable[[webdriver.Chrome], T], what: str) -> T:
    """Until ``condition`` gives something; the page is drawn piece by piece."""
    waiting = WebDriverWait(driver, PATIENCE, ignored_exceptions=(WebDriverException,))
    return waiting.until(condition, what)


def text(driver: webdriver.Chrome) -> str:
    """All that can be read on the page."""
    return str(driver.execute_script("return document.body.innerText"))
