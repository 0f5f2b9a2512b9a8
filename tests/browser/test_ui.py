"""What a researcher sees in the MLflow UI, looked at with a real browser."""

from __future__ import annotations

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.chrome import PHONE, errors, look
from tests.browser.conftest import ACCURACY, EVIL, Site
from tests.browser.ui import charts_page, metric_page, run_page, text, visit, wait

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.slow]

OF_MLFLOW = ("/ajax-api/2.0/mlflow/users/current", "/static-files/static/js/", "/favicon.ico")
"""Its code's own complaints; and it asks every server for its users: one without accounts answers 404."""


@pytest.fixture(autouse=True)
def _no_errors(browser: webdriver.Chrome) -> None:
    look(browser)
    errors(browser)


def own_errors(browser: webdriver.Chrome) -> list[str]:
    return [m for m in errors(browser) if not any(place in m for place in OF_MLFLOW)]


def test_both_runs_stand_on_the_metric_page(browser: webdriver.Chrome, site: Site) -> None:
    """The accuracy of each is shown to the last digit, and a drawing beside it."""
    visit(browser, site.url, metric_page(site.experiment_id, site.runs, "test/accuracy"))
    wait(browser, lambda d: all(f"{value!r} (step=0)" in text(d) for value in ACCURACY), "exact accuracies")
    wait(browser, lambda d: d.find_elements(By.CSS_SELECTOR, ".js-plotly-plot"), "a drawing")
    assert own_errors(browser) == []


def test_the_curves_of_both_runs_are_drawn(browser: webdriver.Chrome, site: Site) -> None:
    """The loss of each run is a line of five points, at the training steps."""
    visit(browser, site.url, metric_page(site.experiment_id, site.runs, "train/loss"))
    curves = wait(
        browser,
        lambda d: d.execute_script(
            "const lines = document.querySelector('.js-plotly-plot')?.data ?? [];"
            "return lines.length && Object.fromEntries(lines.map(l => [l.name, [[...l.x], [...l.y]]]))"
        ),
        "curves",
    )
    steps = list(range(0, 50, 10))
    losses = {f"main {number}": [(2 - number) / (1 + step) for step in steps] for number in (0, 1)}
    assert curves == {name: [steps, values] for name, values in losses.items()}
    assert own_errors(browser) == []


def test_the_runs_are_charts(browser: webdriver.Chrome, site: Site) -> None:
    """The chart view of the experiment has a panel for each curve and metric, and the watched clusters."""
    visit(browser, site.url, charts_page(site.experiment_id))
    wanted = ("main 0", "main 1", "test/accuracy", "figures/watched_clusters", "2 matching runs")
    wait(browser, lambda d: all(words in text(d) for words in wanted), "charts")
    assert own_errors(browser) == []


def test_a_run_explains_itself(browser: webdriver.Chrome, site: Site) -> None:
    """Its description stands on its page, as Markdown."""
    visit(browser, site.url, run_page(site.experiment_id, site.runs[0]))
    bold = wait(browser, lambda d: d.find_elements(By.XPATH, "//strong[text()='Result']"), "a description")
    assert bold
    assert own_errors(browser) == []


def test_the_table_shows_each_face(browser: webdriver.Chrome, site: Site) -> None:
    """Thumbnails are loaded in front of the rows; a character's name with markup is text."""
    visit(browser, site.url, run_page(site.experiment_id, site.runs[0], "artifacts/clusters.json"))
    loaded = "const faces = [...document.images].filter(i => i.src.includes('table_images'));"
    loaded += "return faces.filter(i => i.naturalWidth === 16).length"
    assert wait(browser, lambda d: d.execute_script(loaded), "thumbnails") >= 2
    assert "character_name" in text(browser)
    assert own_errors(browser) == []


def test_the_report_opens_in_the_artifact_view(browser: webdriver.Chrome, site: Site) -> None:
    """With its gallery, every picture of it decoded, and what looks like a script in a name shown as text."""
    visit(browser, site.url, run_page(site.experiment_id, site.runs[0], "artifacts/report.html"))
    frame = wait(browser, lambda d: d.find_elements(By.CSS_SELECTOR, "iframe[src^='blob:']"), "the report")[0]
    browser.switch_to.frame(frame)
    try:
        wait(browser, lambda d: d.find_elements(By.CSS_SELECTOR, ".faces img"), "a gallery")
        assert len(browser.find_elements(By.CSS_SELECTOR, ".faces img")) == 12
        assert len(browser.find_elements(By.CSS_SELECTOR, ".faces .wrong")) == 2
        browser.execute_script("document.querySelectorAll('img').forEach(i => { i.loading = 'eager' })")
        decoded = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"
        wait(browser, lambda d: d.execute_script(decoded), "decoded pictures")
        assert EVIL in text(browser)
        assert browser.find_elements(By.CSS_SELECTOR, "svg line.must")
    finally:
        browser.switch_to.default_content()
    assert own_errors(browser) == []


@pytest.fixture
def report_on_disk(browser: webdriver.Chrome, tmp_path_factory: pytest.TempPathFactory) -> str:
    from mfc.report.html import render
    from tests.report.test_html import page_of

    path = tmp_path_factory.mktemp("disk") / "report.html"
    path.write_text(render(page_of(name=EVIL)), encoding="utf-8")
    return path.as_uri()


def test_the_report_fits_a_phone(browser: webdriver.Chrome, report_on_disk: str) -> None:
    """Opened from disk on a narrow screen, nothing is wider than it, and no word stands letter by letter."""
    look(browser, PHONE)
    browser.get(report_on_disk)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    narrow = (
        "return [...document.querySelectorAll('th, td, dd, p, li')].filter(e => e.innerText && e.clientWidth"
    )
    narrow += " && e.clientWidth < 40).map(e => e.innerText)"
    assert browser.execute_script(narrow) == []
    assert errors(browser) == []


def test_the_report_is_dark_in_a_dark_system(browser: webdriver.Chrome, report_on_disk: str) -> None:
    """Light letters on a dark ground, and the other way round in a light system."""
    brightness = {}
    for dark in (False, True):
        look(browser, dark=dark)
        browser.get(report_on_disk)
        style = browser.execute_script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        )
        brightness[dark] = [int(colour.split("(")[1].split(",")[0]) for colour in style]
    assert brightness[False][0] < 60 < 240 < brightness[False][1]
    assert brightness[True][1] < 60 < 220 < brightness[True][0]


def test_the_report_is_read_by_keyboard(browser: webdriver.Chrome, report_on_disk: str) -> None:
    """The first key press reaches a link past the head of the page; a title folds and unfolds by Enter."""
    browser.get(report_on_disk)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.get_attribute("class") == "skip"
    assert skip.is_displayed()
    skip.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "main"
    title = browser.find_element(By.CSS_SELECTOR, "details.title")
    assert title.get_attribute("open")
    title.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert not title.get_attribute("open")
