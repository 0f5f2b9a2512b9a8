"""Worker processes: how many, started when needed, gone with their parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes that start when first used; none for one job. Spawned, because threads may run here.

    They end with this process, however it ends.
    """
    if jobs == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_parent)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, also when that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def wait() -> None:
            parent.join()  # a pipe that closes with the parent: nothing is polled
            os._exit(1)

        threading.Thread(target=wait, name="mfc-end-with-parent", daemon=True).start()


def map_in(
    function: Callable[[T], R], items: list[T], few: int, executor: ProcessPoolExecutor | None
) -> Iterable[R]:
    """``map`` in order, in the processes when there is enough to do."""
    return map(function, items) if executor is None or len(items) <= few else executor.map(function, items)
