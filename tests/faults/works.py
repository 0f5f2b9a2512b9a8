"""Each stage as a work that can be killed and repeated: small, on the CPU, in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from mfc.config import Cluster, Evaluate, Finetune, Preprocess, Pretrain, Synthesize
from mfc.encoders.network import EncoderConfig, load_encoder, new_encoder, save_encoder
from mfc.faces.store import open_store
from tests.golden.conftest import OWN
from tests.recorder import Recorder
from tests.small_store import small_store

Work = Callable[[Path], None]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.heavy"])
TRAINING = {"batch_size": 8, "device": "cpu", "precision": "float32", "eval_every": 2}
TIMED = "train/images_per_s"


def synthesize_(folder: Path, jobs: int = 1) -> None:
    from mfc.stages.synthesize import synthesize

    synthesize(Synthesize(preset="tiny", jobs=jobs), folder / "corpus", Recorder())


def preprocess_(folder: Path, jobs: int = 1) -> None:
    from mfc.stages.preprocess import preprocess

    config = Preprocess(size=64, jobs=jobs, splits=str(folder / "splits.json"))
    preprocess(config, OWN / "corpus", folder / "cut", Recorder(), cache=folder / "digests.json")


def pretrain_(folder: Path) -> None:
    from mfc.stages.pretrain import pretrain

    config = Pretrain(backbone="resnet18", init="random", image_size=32, min_faces=2, epochs=3, **TRAINING)  # type: ignore[arg-type]
    log = Recorder()
    pretrain(config, open_store(folder / "faces"), folder / "out", log)
    keep_curves(log, folder)


def finetune_(folder: Path) -> None:
    from mfc.stages.finetune import finetune_title

    config = Finetune(n_init=2, figures=True, checkpoint_every=1, epochs=3, **TRAINING)  # type: ignore[arg-type]
    log = Recorder()
    store = open_store(folder / "faces")
    score, _ = finetune_title(config, store, folder / "model", "A", 0, folder / "out", log)
    keep_curves(log, folder)
    score.clusters.to_csv(folder / "clusters.csv")


def cluster_(folder: Path) -> None:
    from mfc.cast.job import open_job
    from mfc.stages.cluster import cluster_comic
    from mfc.workspace import Workspace

    os.chdir(folder)  # the record of a result tells the folder as it was given
    config = Cluster(
        input=str(OWN / "corpus"), title="Neko-Michi", n_clusters="3", out="cast", device="cpu",
        precision="float32", batch_size=16,
    )  # fmt: skip
    workspace = Workspace(folder / "work", "x")
    job = open_job(config, workspace.cast, False)
    adaptation = Finetune(epochs=3, **TRAINING)  # type: ignore[arg-type]
    cluster_comic(
        job, Preprocess(size=37, jobs=1), adaptation, folder / "model", lambda *_: 0.5, workspace, Recorder()
    )


def evaluate_(folder: Path) -> None:
    """Both titles into one scorebook."""
    from mfc.stages.evaluate import evaluate_title
    from mfc.workflow.scorebook import Scorebook
    from mfc.workflow.scores import variant_of

    config = Evaluate(n_init=2, batch_size=8, device="cpu", precision="float32")
    store, encoder = open_store(folder / "faces"), load_encoder(folder / "model")
    variant = variant_of(config, store, folder / "model")
    for title in store.titles("test"):
        score = evaluate_title(config, store, encoder, title, 0, Recorder())
        Scorebook(folder / "scores").keep(variant, "test", score)


STAGES: tuple[Work, ...] = (synthesize_, preprocess_, pretrain_, finetune_, cluster_, evaluate_)


def keep_curves(log: Recorder, folder: Path) -> None:
    points = [(s, {k: v for k, v in values.items() if k != TIMED}) for s, values in log.points]
    (folder / "curves.json").write_text(json.dumps(points))


def prepare(folder: Path) -> None:
    """What the stages begin with."""
    folder.mkdir(parents=True)
    splits = {"train": ["Neko-Michi"], "val": [], "test": ["HoshiNoFune"]}
    (folder / "splits.json").write_text(json.dumps(splits))
    small_store(folder / "faces", faces=4, size=37)
    save_encoder(new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=1), folder / "model")


def again(begun: Path, folder: Path) -> Path:
    """The same in another folder, without a copy: mfc replaces files, never rewrites them."""
    shutil.copytree(begun, folder, copy_function=os.link)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Every file with its digest, hidden leftovers too; locks, times and remembered digests left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(".lock") or path.name == "digests.json":
            continue
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[name] = "folder"
        elif path.name == "training.json":
            saved = json.loads(path.read_text())
            for _, values in saved["curves"]:
                values.pop(TIMED, None)
            found[name] = json.dumps(saved)
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """The files that are not equal, with what they are."""
    return [
        f"{name}: {found.get(name)} instead of {expected.get(name)}"[:300]
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
