"""The one log of the tests: it keeps what a stage tells, and prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL.Image import Image


class Recorder:
    """A `mfc.log.Log` that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.points: list[tuple[int | None, dict[str, float]]] = []
        self.tables: dict[str, pd.DataFrame] = {}
        self.figures: dict[str, Figure] = {}
        self.pictures: dict[tuple[str, int | None], Image] = {}
        self.texts: dict[str, str] = {}
        self.files: dict[str, tuple[Path, bool]] = {}
        """By place below the artifacts: the file, and whether it shows artwork."""

    @property
    def values(self) -> dict[str, float]:
        """The last value of each metric."""
        return {name: value for _, values in self.points for name, value in values.items()}

    def curve(self, name: str) -> list[tuple[int | None, float]]:
        """(step, value) of one metric, in the order of logging."""
        return [(step, values[name]) for step, values in self.points if name in values]

    def say(self, message: str) -> None:
        self.lines.append(message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.points.append((step, dict(values)))

    def table(self, name: str, table: pd.DataFrame, thumbnails: np.ndarray | None = None) -> None:
        self.tables[name] = table

    def figure(self, name: str, figure: Figure) -> None:
        self.figures[name] = figure

    def picture(self, name: str, picture: Image, step: int | None = None) -> None:
        self.pictures[name, step] = picture.copy()

    def text(self, name: str, text: str) -> None:
        self.texts[name] = text

    def file(self, path: Path, folder: str = "", *, artwork: bool = False) -> None:
        self.files[f"{folder}/{path.name}".lstrip("/")] = (path, artwork)
