"""Save the pictures of the README: `make pictures`, after `make demo`.

Nothing here is a test. It serves the local store on loopback, looks at it as the browser tests do, and writes
docs/pictures/*.png, for somebody to look at and commit.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Run
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.browser.chrome import DESKTOP, PHONE, chrome, look, missing, screenshot
from tests.browser.ui import charts_page, get_past_the_welcome, metric_page, run_page, runs_page, visit, wait
from tests.tracking.mlflow_server import Process, clean_environment, free_port

ROOT = Path(__file__).parent.parent.parent
FINETUNED = "tags.stage = 'finetune'"
SETTLED = 4.0
"""Seconds for a page to stop moving."""


def main(folder: Path, out: Path) -> None:
    """Take all pictures from the store in ``folder``."""
    if reason := missing():
        sys.exit(reason)
    database = folder / "mlflow.db"
    if not database.is_file():
        sys.exit(f"{database} is missing; run `make demo` first")
    port = free_port()
    store = [
        "--backend-store-uri",
        f"sqlite:///{database}",
        "--artifacts-destination",
        str(folder / "mlruns"),
    ]
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server = Process(
        [sys.executable, "-m", "mlflow", "server", *address, *store],
        url=f"http://127.0.0.1:{port}",
        cwd=folder,
        log=out / ".server.log",
        env=clean_environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
    )
    out.mkdir(parents=True, exist_ok=True)
    server.start("/health")
    try:
        with chrome() as driver:
            get_past_the_welcome(driver, server.url)
            pipeline, titles = latest_runs(MlflowClient(f"sqlite:///{database}"))
            mlflow_pages(driver, server.url, pipeline, titles, out)
            work = folder / "work" / pipeline.data.tags["experiment_file"]
            report_pages(driver, work / "report.html", out)
            cast_page(driver, cast_of(folder, work, str(titles[0].data.tags["title"])), out)
    finally:
        server.kill()
        (out / ".server.log").unlink(missing_ok=True)


def latest_runs(client: MlflowClient) -> tuple[Run, list[Run]]:
    """The newest finished pipeline, and its adaptations to each title."""
    ids = [e.experiment_id for e in client.search_experiments()]
    [pipeline] = client.search_runs(
        ids, "tags.stage = 'main' and attributes.status = 'FINISHED'", max_results=1
    )
    below = f"tags.stage = 'finetune' and tags.`mlflow.parentRunId` = '{pipeline.info.run_id}'"
    return pipeline, list(client.search_runs(ids, below))


def mlflow_pages(driver: webdriver.Chrome, url: str, pipeline: Run, titles: Sequence[Run], out: Path) -> None:
    experiment, ids = pipeline.info.experiment_id, [title.info.run_id for title in titles]
    run = ids[0]
    pages = {
        "runs": f"{runs_page(experiment)}?searchFilter={quote(FINETUNED)}",
        "charts": f"{charts_page(experiment)}&searchFilter={quote(FINETUNED)}",
        "run": run_page(experiment, run),
        "pipeline": run_page(experiment, pipeline.info.run_id),
        "curves": metric_page(experiment, ids, "curve/nmi"),
        "faces": run_page(experiment, run, "artifacts/clusters.json"),
        "map": run_page(experiment, run, "artifacts/figures/embedding_map.png"),
        "report-in-mlflow": run_page(experiment, pipeline.info.run_id, "artifacts/report.html"),
    }
    for name, page in pages.items():
        look(driver, DESKTOP)
        visit(driver, url, page)
        wait(driver, lambda d: d.find_elements(By.CSS_SELECTOR, "main, [role='tablist'], table"), name)
        time.sleep(SETTLED)
        if name == "runs":
            driver.execute_script("document.querySelector('.ag-row [aria-colindex=\"2\"] button').click()")
            time.sleep(SETTLED)
        screenshot(driver, out / f"{name}.png")


def report_pages(driver: webdriver.Chrome, report: Path, out: Path) -> None:
    places = {"report": "h1", "gallery": ".cluster", "constraints": "figure.page"}
    for suffix, size, dark in (("", DESKTOP, False), ("-dark", DESKTOP, True), ("-phone", PHONE, False)):
        look(driver, size, dark=dark)
        driver.get(report.as_uri())
        for name, selector in places.items():
            driver.execute_script(
                "document.querySelector(arguments[0]).scrollIntoView({behavior: 'instant'})", selector
            )
            time.sleep(0.5)
            screenshot(driver, out / f"{name}{suffix}.png")


def cast_of(folder: Path, work: Path, title: str) -> Path:
    """The gallery of a title that `mfc cluster` clustered without its labels, now or earlier."""
    gallery = work / "cluster" / title / "gallery.html"
    if not gallery.is_file():
        options = ["--experiment", work.name, "--input", str(work / "corpus"), "--title", title]
        subprocess.run([sys.executable, "-m", "mfc", "cluster", *options], cwd=folder, check=True)
    return gallery


def cast_page(driver: webdriver.Chrome, gallery: Path, out: Path) -> None:
    for suffix, size in (("", DESKTOP), ("-phone", PHONE)):
        look(driver, size)
        driver.get(gallery.as_uri())
        time.sleep(0.5)
        screenshot(driver, out / f"cast{suffix}.png")


if __name__ == "__main__":
    main(Path.cwd(), ROOT / "docs" / "pictures")
