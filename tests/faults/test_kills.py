"""`kill -9` at any moment of any stage: the repeat gives the uninterrupted run's bytes and curves.

``MFC_KILLS`` sets how many moments each stage is killed at.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mfc.config import Cluster, Finetune, Preprocess, Pretrain, Synthesize
from mfc.encoders.network import EncoderConfig, new_encoder, save_encoder
from mfc.faces.store import open_store
from tests.golden.conftest import OWN
from tests.recorder import Recorder
from tests.small_store import small_store

KILLS = int(os.environ.get("MFC_KILLS", "5"))
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["mfc.stages.cluster", "mfc.stages.finetune", "mfc.stages.pretrain"])
TRAINING = {"epochs": 6, "batch_size": 8, "device": "cpu", "precision": "float32", "eval_every": 2}


def synthesize_(folder: Path) -> None:
    from mfc.stages.synthesize import synthesize

    synthesize(Synthesize(preset="tiny", jobs=1), folder / "corpus", Recorder())


def preprocess_(folder: Path) -> None:
    from mfc.stages.preprocess import preprocess

    config = Preprocess(size=64, jobs=1, splits=str(folder / "splits.json"))
    preprocess(config, OWN / "corpus", folder / "faces", Recorder())


def pretrain_(folder: Path) -> None:
    from mfc.stages.pretrain import pretrain

    config = Pretrain(backbone="resnet18", init="random", image_size=32, **TRAINING)  # type: ignore[arg-type]
    log = Recorder()
    pretrain(config, open_store(folder / "faces"), folder / "out", log)
    keep_curves(log, folder)


def finetune_(folder: Path) -> None:
    from mfc.stages.finetune import finetune_title

    config = Finetune(n_init=2, figures=False, checkpoint_every=1, **TRAINING)  # type: ignore[arg-type]
    log = Recorder()
    store = open_store(folder / "faces")
    finetune_title(config, store, folder / "model", "A", 0, folder / "out", log)
    keep_curves(log, folder)


def cluster_(folder: Path) -> None:
    from mfc.cast.job import open_job
    from mfc.stages.cluster import cluster_comic
    from mfc.workspace import Workspace

    config = Cluster(
        input=str(OWN / "corpus"), title="Neko-Michi", n_clusters="3", adapt=False, out=str(folder / "cast"),
        device="cpu", precision="float32",
    )  # fmt: skip
    workspace = Workspace(folder / "work", "x")
    job = open_job(config, workspace.cast, False)
    cutting = Preprocess(size=37, jobs=1)
    cluster_comic(job, cutting, Finetune(), folder / "model", lambda *_: 0.5, workspace, Recorder())


def keep_curves(log: Recorder, folder: Path) -> None:
    timed = "train/images_per_s"
    points = [(s, {k: v for k, v in values.items() if k != timed}) for s, values in log.points]
    (folder / "curves.json").write_text(json.dumps(points))


def prepare(folder: Path) -> None:
    """What the stages begin with."""
    folder.mkdir()
    splits = {"train": ["Neko-Michi"], "val": [], "test": ["HoshiNoFune"]}
    (folder / "splits.json").write_text(json.dumps(splits))
    small_store(folder / "faces", size=37)
    save_encoder(new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=1), folder / "model")


def contents(folder: Path) -> dict[str, str]:
    """Every file of a result with its digest; hidden leftovers too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("training.json",) and not path.name.endswith(".lock")
    }


def run(work: Callable[[Path], None], folder: Path, kill_after: float | None = None) -> float:
    """Do the work in a process; kill it after so many seconds, unless it was faster; seconds that it took."""
    process = CONTEXT.Process(target=work, args=(folder,))
    began = time.perf_counter()
    process.start()
    process.join(kill_after)
    if process.is_alive() and process.pid:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    if kill_after is None:
        assert process.exitcode == 0
    return time.perf_counter() - began


@pytest.mark.parametrize(
    "work", [synthesize_, preprocess_, pretrain_, finetune_, cluster_], ids=lambda w: w.__name__
)
def test_killed_anywhere(tmp_path: Path, work: Callable[[Path], None]) -> None:
    """Killed once or twice in a row at random moments, then repeated: the same files, byte for byte."""
    prepare(tmp_path / "whole")
    if work is preprocess_:
        (tmp_path / "whole" / "faces").rename(tmp_path / "whole" / "other")
    duration = run(work, tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    moments = random.Random(work.__name__)
    for number in range(KILLS):
        folder = tmp_path / str(number)
        prepare(folder)
        if work is preprocess_:
            (folder / "faces").rename(folder / "other")
        for _ in range(moments.choice([1, 2])):
            run(work, folder, kill_after=duration * moments.uniform(0.05, 1.0))
        run(work, folder)
        found = contents(folder)
        assert found == expected, sorted(set(found.items()) ^ set(expected.items()))[:6]
