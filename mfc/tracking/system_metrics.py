"""Samples of processor, memory, disk, network and GPU, while a run lasts."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable
from typing import Any

import psutil  # type: ignore[import-untyped]
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from mfc.tracking.settings import sampling_interval

PREFIX = "system/"


class SystemMetrics:
    """Hands samples to ``record(values, step)``, from a thread of its own.

    MLflow's own monitor asks the server at each sample and ends at the first outage.
    """

    def __init__(self, record: Callable[[dict[str, float], int], None], first_step: int) -> None:
        self._record = record
        self._step = first_step
        self._interval = min(sampling_interval(), threading.TIMEOUT_MAX)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() in ("false", "0"):
            return
        self._thread = threading.Thread(target=self._watch, name="system metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()

    def _watch(self) -> None:
        monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with contextlib.suppress(Exception):  # no GPU, no driver, or one that NVML does not know
            monitors.append(GPUMonitor())
        psutil.cpu_percent()  # the first call has nothing to compare with and returns 0
        while True:
            # The last sample is taken at the end, so that a run of two seconds has one as well.
            ended = self._stop.wait(self._interval)
            for monitor in monitors:
                with contextlib.suppress(Exception):  # a counter that this machine lacks ends no training
                    monitor.collect_metrics()
                    values = {f"{PREFIX}{k}": v for k, v in monitor.aggregate_metrics().items()}
                    monitor.clear_metrics()
                    self._record({k: v for k, v in values.items() if math.isfinite(v)}, self._step)
            self._step += 1
            if ended:
                return
