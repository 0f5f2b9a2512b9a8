"""What a stage may tell the world while it runs. Stages know this protocol and nothing of MLflow."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL.Image import Image

T = TypeVar("T")


class Log(Protocol):
    """The edge (`mfc.tracking`) implements this against MLflow; `PrintLog` needs no server."""

    def say(self, message: str) -> None:
        """Print one line for the person who watches."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, e.g. ``{"train/loss": 0.3}``, at a training step."""

    def table(self, name: str, table: pd.DataFrame, thumbnails: np.ndarray | None = None) -> None:
        """Record a table as an artifact; ``name`` has no ending, e.g. ``"clusters/AkaiTori"``.

        ``thumbnails``: (rows, s, s, C) uint8, comic artwork to show in front of each row.
        """

    def figure(self, name: str, figure: Figure) -> None:
        """Record a plot without comic artwork; ``name`` has no ending."""

    def picture(self, name: str, picture: Image, step: int | None = None) -> None:
        """Record a picture that shows comic artwork: the edge applies the copyright rule."""

    def text(self, name: str, text: str) -> None:
        """Record a text artifact; ``name`` has its ending, e.g. ``"report.md"``."""

    def file(self, path: Path, folder: str = "", *, artwork: bool = False) -> None:
        """Record a file or folder as an artifact; ``artwork=True`` puts it under the copyright rule."""


class PrintLog:
    """A log without a server: lines go to standard error, everything else is dropped."""

    def say(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        del values, step

    def table(self, name: str, table: pd.DataFrame, thumbnails: np.ndarray | None = None) -> None:
        del name, table, thumbnails

    def figure(self, name: str, figure: Figure) -> None:
        del name, figure

    def picture(self, name: str, picture: Image, step: int | None = None) -> None:
        del name, picture, step

    def text(self, name: str, text: str) -> None:
        del name, text

    def file(self, path: Path, folder: str = "", *, artwork: bool = False) -> None:
        del path, folder, artwork


def escape_what_cannot_be_shown() -> None:
    r"""Let what is printed hold ``\u82b1`` for what its console cannot show, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def progress(items: Iterable[T], *, label: str, total: int | None = None) -> Iterable[T]:
    """Wrap ``items`` in a progress bar on standard error; nothing is shown when it is not a terminal."""
    from tqdm import tqdm

    bar: Iterable[T] = tqdm(items, desc=label, total=total, disable=None, leave=False, delay=1.0)
    return bar
