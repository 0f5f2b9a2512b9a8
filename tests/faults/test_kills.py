"""`kill -9` at any moment of any stage: the repeat gives the uninterrupted run's bytes and curves.

``MFC_KILLS`` sets how many moments each stage is killed at. Files that take their place by a rename are
killed right before and right after each rename too.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.faults.works import (
    CONTEXT,
    STAGES,
    Work,
    again,
    contents,
    differences,
    evaluate_,
    prepare,
)

KILLS = int(os.environ.get("MFC_KILLS", "1"))


def run(work: Work, folder: Path, kill_after: float | None = None) -> tuple[float, bool]:
    """Do the work in a process; kill it so many seconds after it began, unless it was faster.

    Returns:
        Seconds from its begin to its end, and whether it was killed (by us, or by itself).
    """
    told, tell = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=begin, args=(work, folder, tell))
    process.start()
    tell.close()
    told.recv()
    began = time.perf_counter()
    process.join(kill_after)
    if process.is_alive() and process.pid:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), "it failed, see what it printed"
    return time.perf_counter() - began, process.exitcode != 0


def begin(work: Work, folder: Path, tell: Connection) -> None:
    tell.send("go")
    work(folder)


@pytest.mark.parametrize("work", STAGES, ids=lambda work: work.__name__)
def test_killed_anywhere(tmp_path: Path, work: Work) -> None:
    """Killed once or twice in a row at random moments, then repeated: the same files, byte for byte."""
    prepare(tmp_path / "begun")
    again(tmp_path / "begun", tmp_path / "whole")
    duration, _ = run(work, tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    moments = random.Random(work.__name__)
    hits = tries = 0
    while hits < KILLS:
        tries += 1
        folder = again(tmp_path / "begun", tmp_path / str(tries))
        for _ in range(moments.choice([1, 2])):
            took, killed = run(work, folder, kill_after=duration * moments.uniform(0, 0.95))
            hits += killed
            duration = duration if killed else min(duration, took)  # other work slowed the first one down
        took, killed = run(work, folder)
        assert not killed
        assert differences(contents(folder), expected) == []
        shutil.rmtree(folder)
    print(
        f"{work.__name__}: {hits} kills within {duration:.1f} s, all repeated to the same bytes", flush=True
    )


def die_at(work: Work, number: int, after: bool, folder: Path) -> None:
    """Do the work, and die as by kill -9 at the n-th rename, before or after it is done."""
    count = 0

    def dying(rename: Any) -> Any:
        def replacement(*args: Any, **more: Any) -> None:
            nonlocal count
            count += 1
            if count == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*args, **more)
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

        return replacement

    os.replace, os.rename = dying(os.replace), dying(os.rename)  # type: ignore[assignment]
    work(folder)


def store_again(folder: Path) -> None:
    """Another store in the place of one."""
    from mfc.config import Preprocess
    from mfc.stages.preprocess import preprocess
    from tests.golden.conftest import OWN
    from tests.recorder import Recorder

    config = Preprocess(size=32, jobs=1, splits=str(folder / "splits.json"))
    preprocess(config, OWN / "corpus", folder / "faces", Recorder(), overwrite=True)


def publish_(folder: Path) -> None:
    """A result of `cluster` in the place of one."""
    from mfc.cast.result import FILES, publish

    for text in ("before", "now"):
        publish(dict.fromkeys(FILES, text), folder / "cast")


def encoder_(folder: Path) -> None:
    """An encoder, and the record of its training, in the place of another."""
    import torch

    from mfc.config import Pretrain
    from mfc.encoders.device import pick_compute
    from mfc.encoders.network import EncoderConfig, new_encoder
    from mfc.encoders.training import Plan, Task, fit
    from mfc.faces.store import open_store
    from tests.recorder import Recorder

    store = open_store(folder / "faces")
    task = Task(
        crops=store.crops,
        rows=store.table["row"].to_numpy()[:8].astype("int64"),
        loss=lambda encoder, images, _: encoder(images).square().mean(),
        validate=lambda *_: {},
        label="test",
        fingerprint="x",
    )
    config = Pretrain(epochs=2, batch_size=8, image_size=32)
    encoder = new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=0)
    torch.manual_seed(0)
    plan = Plan.of(config, gamma=1.0, seed=0)
    fit(encoder, task, plan, pick_compute("cpu", "float32"), folder / "out", Recorder())


@pytest.mark.parametrize("work", [store_again, publish_, encoder_, evaluate_], ids=lambda w: w.__name__)
def test_killed_at_every_rename(tmp_path: Path, work: Work) -> None:
    """Before and after each one, and the repeat makes good."""
    prepare(tmp_path / "begun")
    again(tmp_path / "begun", tmp_path / "whole")
    run(work, tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    number, killed = 0, True
    while killed:
        number += 1
        for after in (False, True):
            folder = again(tmp_path / "begun", tmp_path / f"{number} {after}")
            _, killed = run(partial(die_at, work, number, after), folder)
            run(work, folder)
            assert differences(contents(folder), expected) == [], (number, after)
            shutil.rmtree(folder)
    assert number > 2
    print(f"{work.__name__}: {2 * (number - 1)} kills at renames", flush=True)
