"""Why adaptation gains what it gains: the demo's adaptation with one thing changed at a time.

``python -m benchmarks.causes WORK`` goes on from the corpora and encoders of
``python -m benchmarks.synthetic --difficulty WORK``. Only validation titles are read: those of the demo, and
some as long as Manga109's, drawn for this (the preset ``manga109``, full-size pages). Labels are used to take
wrong pairs out, which no real adaptation could do: it shows what perfect pairs would bring.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.synthetic import mean_and_interval, neighbours_right
from mfc.adapt.adaptation import find_constraints, plan_adaptation
from mfc.adapt.constraints import Constraints
from mfc.adapt.quality import constraint_quality
from mfc.clusters.kmeans import kmeans
from mfc.clusters.metrics import clustering_metrics
from mfc.clusters.protocol import HEAD_FACES, TitleScore, TitleView, score_title
from mfc.config import Evaluate, Finetune, Preprocess, Pretrain, Synthesize, build, load_experiment
from mfc.corpus.synthetic.presets import PRESETS
from mfc.corpus.synthetic.story import write_story
from mfc.corpus.synthetic.write import ANNOTATIONS, PAGES_A_TASK, annotation, draw_task, splits_of, titles_of
from mfc.encoders.device import pick_compute
from mfc.encoders.network import load_encoder
from mfc.encoders.training import fit
from mfc.faces.selection import select
from mfc.faces.store import FaceStore
from mfc.files import write_json, write_text
from mfc.log import Log, PrintLog, progress
from mfc.stages import pretrain, synthesize
from mfc.stages.preprocess import preprocess

Change = Callable[[Constraints, np.ndarray], Constraints]
"""(constraints, labels (n,)) → other constraints."""
MEASURES = ("accuracy", "nmi", "frequent accuracy", "frequent nmi", "window", "anywhere", "must-links right")
"""Of a score: as the protocol has it; of characters with ten faces alone, K of them; nearest neighbours."""


def as_found(constraints: Constraints, labels: np.ndarray) -> Constraints:
    del labels
    return constraints


def true_pairs(constraints: Constraints, labels: np.ndarray) -> Constraints:
    """Without the pairs that are wrong."""
    must, cannot = constraints.must_link, constraints.cannot_link
    must = must[labels[must[:, 0]] == labels[must[:, 1]]]
    cannot = cannot[labels[cannot[:, 0]] != labels[cannot[:, 1]]]
    return Constraints(constraints.n, must, cannot)


@dataclasses.dataclass(frozen=True)
class Variant:
    """The demo's adaptation, changed."""

    name: str
    times: int
    """How many times the demo's epochs."""
    change: Change
    long: bool = True
    """Whether it is worth its time on long titles too."""


VARIANTS = (
    Variant("as in the demo", 1, as_found),
    Variant("true pairs only", 1, true_pairs),
    Variant("four times the epochs", 4, as_found),
    Variant("four times the epochs, true pairs only", 4, true_pairs, long=False),
)


def draw_long(root: Path, seed: int, count: int) -> Path:
    """Draw the first ``count`` validation titles of the preset ``manga109`` as a corpus of their own."""
    preset = PRESETS["manga109"]
    titles = titles_of(preset, seed)
    chosen = splits_of(preset, titles)["val"][:count]
    for title in chosen:
        number = titles.index(title)
        story = write_story(title, preset, seed, number)
        write_text(root / ANNOTATIONS / f"{title}.xml", annotation(story, number, seed, preset))
        (root / "images" / title).mkdir(parents=True, exist_ok=True)
        for first in progress(range(0, len(story.pages), PAGES_A_TASK), label=f"drawing {title}"):
            draw_task(root, preset, seed, titles, (number, first))
    write_text(root / "books.txt", "".join(f"{title}\n" for title in chosen))
    write_json(root / "splits.json", {"train": [], "val": chosen, "test": []})
    return root


def measure(score: TitleScore, view: TitleView, n_init: int) -> dict[str, float]:
    """Accuracy and NMI, the same among frequent characters alone, and precision of nearest neighbours."""
    result = {name: score.metrics[name] for name in ("accuracy", "nmi")}
    labels, features = view.plain.labels, score.features[score.named]
    frequent = np.bincount(labels)[labels] >= HEAD_FACES
    if frequent.any():
        truth = labels[frequent]
        found = kmeans(features[frequent], len(np.unique(truth)), n_init=n_init, seed=score.seed).labels
        scored = dict(clustering_metrics(truth, found))
        result |= {"frequent accuracy": scored["accuracy"], "frequent nmi": scored["nmi"]}
    neighbours = (("window", 1), ("anywhere", -1))
    return result | {name: neighbours_right(score, view, reach) for name, reach in neighbours}


def study(
    store: FaceStore,
    model: Path,
    title: str,
    config: Finetune,
    evaluation: Evaluate,
    scores: dict[str, dict[str, float]],
    key: str,
    out: Path,
    adapt: bool,
    log: Log,
) -> None:
    """Score ``title`` before adaptation and, if so asked, after each variant of it, into ``scores``."""
    compute = pick_compute(config.device, config.precision)
    view, selection = TitleView.of(store, title), select(store, [title], others=True)
    n_init, batch_size = evaluation.n_init, evaluation.batch_size
    if f"{key}/before" not in scores:
        encoder = load_encoder(model, compute.device)
        score = score_title(encoder, view, n_init=n_init, seed=0, batch_size=batch_size, compute=compute)
        scores[f"{key}/before"] = measure(score, view, n_init)
    for variant in VARIANTS if adapt else ():
        if f"{key}/{variant.name}" in scores or (key.startswith("long/") and not variant.long):
            continue
        encoder = load_encoder(model, compute.device)
        found = find_constraints(config, store, encoder, selection, compute)
        pairs = variant.change(found, selection.labels)
        longer = dataclasses.replace(config, epochs=config.epochs * variant.times)
        job = plan_adaptation(
            longer, store, model, encoder, title, 0, out / variant.name, selection, pairs, lambda *_: {}
        )
        adapted = fit(encoder, job.task, job.plan, compute, job.folder, log)
        score = score_title(adapted, view, n_init=n_init, seed=0, batch_size=batch_size, compute=compute)
        quality = dict(constraint_quality(pairs.must_link, pairs.cannot_link, selection.labels))
        right = {"must-links right": quality.get("must_link_precision", np.nan)}
        scores[f"{key}/{variant.name}"] = measure(score, view, n_init) | right


def table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """A table a kind of title: means over titles with a 95 % bootstrap interval, and the gain of accuracy."""
    lines = []
    kinds = sorted({key.split("/", 1)[0] for key in scores})
    for kind in kinds:
        titles = sorted({key.rsplit("/", 1)[0] for key in scores if key.startswith(f"{kind}/")})
        lines += [
            f"{kind}: {len(titles)} titles",
            "",
            f"| | {' | '.join(MEASURES)} | window − anywhere | gain in accuracy | gain in NMI |",
        ]
        lines.append("|---" * (len(MEASURES) + 4) + "|")
        for name in ("before", *(variant.name for variant in VARIANTS)):
            rows = [scores[f"{title}/{name}"] for title in titles if f"{title}/{name}" in scores]
            if len(rows) < len(titles):
                continue
            cells = []
            for measured in MEASURES:
                values = np.array([[row.get(measured, np.nan)] for row in rows])
                cells.append(mean_and_interval(values))
            before = [scores[f"{title}/before"] for title in titles]
            cells.append(mean_and_interval(np.array([[row["window"] - row["anywhere"]] for row in rows])))
            for gained in ("accuracy", "nmi") if name != "before" else ():
                gains = [[row[gained] - old[gained]] for row, old in zip(rows, before, strict=True)]
                cells.append(mean_and_interval(np.array(gains)))
            cells += ["–"] * (len(MEASURES) + 3 - len(cells))
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.causes", description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--corpus_seeds", type=int, default=1)
    parser.add_argument("--long", type=int, default=3, help="long titles a corpus seed")
    parser.add_argument("--adapt", choices=("true", "false"), default="true")
    parser.add_argument("--experiment", default="demo")
    options = parser.parse_args()
    log, stages = PrintLog(), load_experiment(options.experiment)

    def built(kind, stage, **more):  # type: ignore[no-untyped-def]
        return build(kind, {**stages.stage(stage), **more}, source=options.experiment)

    evaluation = built(Evaluate, "evaluate")
    tuning = built(Finetune, "finetune", eval_every=0, checkpoint_every=10**6, figures=False)
    path = options.work / "causes.json"
    scores: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    for seed in range(options.corpus_seeds):
        folder = options.work / f"corpus-{seed}"
        root = synthesize.run(Synthesize(seed=seed), folder / "corpus", log)
        cutting = built(Preprocess, "preprocess")
        store = preprocess(cutting, root, folder / "faces", log)
        model = pretrain.run(built(Pretrain, "pretrain", eval_every=0), store, folder / "pretrain", log)
        drawn = draw_long(folder / "long", seed, options.long)
        long = preprocess(cutting, drawn, folder / "long-faces", log)
        for kind, source in (("demo", store), ("long", long)):
            for title in source.titles("val"):
                key = f"{kind}/{seed}-{title}"
                adapt = options.adapt == "true"
                study(source, model, title, tuning, evaluation, scores, key, folder / "causes", adapt, log)
                write_json(path, scores)
        print(table(scores), flush=True)


if __name__ == "__main__":
    main()
