"""Worker processes: they do the work in order, and end with their parent however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mfc.processes import map_in, workers

ROOT = Path(__file__).parent.parent

PARENT = """
import os, sys, time
from mfc.processes import workers

def work(seconds):
    print(os.getpid(), flush=True)
    end = time.monotonic() + seconds
    while BUSY and time.monotonic() < end:
        pass
    time.sleep(max(0, end - time.monotonic()))

BUSY = "BUSY" in os.environ
if __name__ == "__main__":
    with workers(2) as executor:
        list(executor.map(work, [600, 600]))
"""


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("busy", [False, True])
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, how: signal.Signals, busy: bool) -> None:
    """Asleep or computing, they do not go on for ten minutes for nobody."""
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"BUSY": "1"} if busy else {})}
    parent = subprocess.Popen(
        [sys.executable, "parent.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    try:
        assert len(set(pids)) == 2
        assert all(map(is_running, pids))
        parent.send_signal(how)
        parent.wait(timeout=60)
        deadline = time.monotonic() + 60
        while any(map(is_running, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(is_running, pids))
    finally:
        parent.kill()
        for pid in filter(is_running, pids):
            os.kill(pid, signal.SIGKILL)


def test_work_is_done_in_order_here_or_there() -> None:
    """One job, few pieces, or many: the same answers."""
    numbers = [str(n) for n in range(20)]
    for jobs in (1, 2):
        with workers(jobs) as executor:
            assert (executor is None) == (jobs == 1)
            assert list(map_in(int, numbers, 5, executor)) == list(range(20))
            assert list(map_in(int, numbers[:5], 5, executor)) == list(range(5))
