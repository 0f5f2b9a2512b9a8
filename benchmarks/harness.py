"""Timing two ways of one task in turns, and the table and file that come of it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "torchvision", "pillow")


@dataclass(frozen=True)
class Measured:
    """Seconds of both ways over some repetitions, for ``n`` items. A row of the table."""

    name: str
    n: int
    unit: str
    baseline: str
    baseline_s: tuple[float, ...]
    """Empty where the baseline would take too long."""
    ours_s: tuple[float, ...]
    goal: str = ""
    """What is to be reached, e.g. ``"≥ 10×"``."""
    note: str = ""
    """What else was compared, e.g. that the results agree."""

    @property
    def ratio(self) -> float:
        """How many times as fast as the baseline, by medians; NaN without one."""
        if not self.baseline_s:
            return float("nan")
        return statistics.median(self.baseline_s) / statistics.median(self.ours_s)


def in_turns(
    baseline: Callable[[], object], ours: Callable[[], object], repeats: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Time both, one after the other, ``repeats`` times; one round before that does not count."""
    times: list[list[float]] = [[], []]
    for repeat in range(repeats + 1):
        for kept, work in zip(times, (baseline, ours), strict=True):
            seconds, _ = timed(work)
            if repeat:
                kept.append(seconds)
    return tuple(times[0]), tuple(times[1])


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that the work took, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


HEADER = ("what", "n", "baseline", "baseline", "ours", "ratio", "goal", "")


def cells(row: Measured) -> tuple[str, ...]:
    """The row as texts, in the order of `HEADER`."""
    ratio = f"{row.ratio:.3g}×" if row.baseline_s else "–"
    seconds = (spread(row.baseline_s), spread(row.ours_s))
    return (row.name, f"{row.n:,}", row.baseline, *seconds, ratio, row.goal, row.note)


def spread(seconds: tuple[float, ...]) -> str:
    """Median, and half of the distance from the fastest to the slowest: ``"4.61 ms ± 3 %"``."""
    if not seconds:
        return "–"
    median = statistics.median(seconds)
    text = f"{median:.3g} s" if median >= 1 else f"{1000 * median:.3g} ms"
    return f"{text} ± {50 * (max(seconds) - min(seconds)) / median:.0f} %"


def markdown(rows: Iterable[Measured]) -> str:
    """The table of all rows."""
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---:|---|---:|---:|---:|---|---|"]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def report(rows: Iterable[Measured]) -> dict[str, Any]:
    """All that a reader needs to judge the table: machine, commit, versions, every time that was taken."""
    return {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "commit": commit(),
        "versions": {"python": platform.python_version(), **versions()},
        # JSON has no NaN: a row without a baseline has no ratio.
        "rows": [{**asdict(row), "ratio": row.ratio if row.baseline_s else None} for row in rows],
    }


def versions() -> dict[str, str]:
    """Of those `LIBRARIES` that are installed."""
    found = {}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found


def processor() -> str:
    """Name of the processor, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """Commit of the working copy, with ``-dirty`` when tracked files differ from it; empty outside of git."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()
