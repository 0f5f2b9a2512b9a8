"""Debian's chromium without a window, driven by chromedriver: for the browser tests and the pictures."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
DESKTOP, PHONE = (1280, 900), (390, 844)


def missing() -> str:
    """Why no browser can be driven here; empty when one can."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return (
        f"{' and '.join(absent)} not found; as root: apt-get install chromium chromium-driver"
        if absent
        else ""
    )


@contextmanager
def chrome() -> Iterator[webdriver.Chrome]:
    """A fresh browser with an empty profile, gone at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="mfc-chrome-", ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        try:
            look(driver)
            yield driver
        finally:
            driver.quit()


def look(driver: webdriver.Chrome, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> None:
    """Show pages as on a screen of ``size`` (CSS pixels), in a light or dark system."""
    phone = size[0] < 600
    _command(
        driver,
        "Emulation.setDeviceMetricsOverride",
        width=size[0],
        height=size[1],
        deviceScaleFactor=2 if phone else 1,
        mobile=phone,
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    _command(driver, "Emulation.setEmulatedMedia", features=[scheme])


def screenshot(driver: webdriver.Chrome, path: Path) -> None:
    """What the screen shows now, as PNG."""
    data = _command(driver, "Page.captureScreenshot", format="png")["data"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(data))


def errors(driver: webdriver.Chrome) -> list[str]:
    """What the pages since the last call complained of in the console."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def _command(driver: webdriver.Chrome, command: str, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = driver.execute_cdp_cmd(command, arguments)
    return answer
