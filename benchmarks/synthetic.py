"""The synthetic corpus: how fast it is drawn, and how hard it is.

``python -m benchmarks.synthetic``                      faces drawn a second on one core
``python -m benchmarks.synthetic --difficulty WORK``    the difficulty table; corpora and encoders go to WORK
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness import Measured
from mfc.corpus.synthetic.draw_page import Studio
from mfc.corpus.synthetic.presets import PRESETS
from mfc.corpus.synthetic.story import write_story
from mfc.corpus.synthetic.write import titles_of
from mfc.files import write_json

if TYPE_CHECKING:
    from mfc.clusters.protocol import TitleScore, TitleView

MEASURES = ("accuracy", "nmi", "window", "global")
"""Of a title's score: accuracy, NMI, precision of the nearest neighbour within a page, and anywhere."""


def run(quick: bool = False) -> Iterator[Measured]:
    """The row of this file: time to plan, draw and encode whole titles of the demo preset."""
    preset, seconds, faces = PRESETS["demo"], [], 0
    titles = titles_of(preset, 0)
    for number in range(2 if quick else 6):
        start = time.process_time()
        story = write_story(titles[number], preset, 0, number)
        studio = Studio(story, preset, 0)
        for page in story.pages:
            studio.save(studio.draw(page), Path("/dev/null"))
            faces += sum(figure.face is not None for figure in page.figures)
        seconds.append(time.process_time() - start)
    rate = faces / sum(seconds)
    note = f"{rate:.0f} faces a second of processor time, pages included (goal: 150)"
    yield Measured(
        "drawing demo pages, a core", faces, "faces", "", (), (sum(seconds),), "≥ 150 faces/s", note
    )


def difficulty(
    work: Path, corpus_seeds: Iterable[int], training_seeds: int, adapt: bool, experiment: str
) -> None:
    """Measure and print; every score goes to ``work/scores.json`` at once, and is not measured again."""
    from mfc.config import Evaluate, Finetune, Preprocess, Pretrain, Synthesize, build, load_experiment
    from mfc.encoders.device import pick_compute
    from mfc.encoders.network import EncoderConfig, load_encoder, new_encoder, save_encoder
    from mfc.log import PrintLog
    from mfc.stages import finetune, pretrain, synthesize
    from mfc.stages.preprocess import preprocess

    log, stages = PrintLog(), load_experiment(experiment)
    evaluation = build(Evaluate, stages.stage("evaluate"), source=experiment)
    tuning = build(
        Finetune,
        {**stages.stage("finetune"), "eval_every": 0, "checkpoint_every": 10**6, "figures": False},
        source=experiment,
    )
    path = work / "scores.json"
    scores: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    compute = pick_compute(evaluation.device, evaluation.precision)
    for corpus_seed in corpus_seeds:
        folder = work / f"corpus-{corpus_seed}"
        root = synthesize.run(Synthesize(seed=corpus_seed), folder / "corpus", log)
        cutting = build(Preprocess, stages.stage("preprocess"), source=experiment)
        store = preprocess(cutting, root, folder / "faces", log)
        for seed in range(training_seeds):
            values = {**stages.stage("pretrain"), "seed": seed, "eval_every": 0}
            training = build(Pretrain, values, source=experiment)
            trained = pretrain.run(training, store, folder / "pretrain", log)
            blank = folder / f"random-{seed}"
            config = EncoderConfig(
                training.backbone, load_encoder(trained).config.classes, training.image_size
            )
            save_encoder(new_encoder(config, init="random", seed=seed), blank)
            for title in store.titles("test"):
                for kind, model in (("random", blank), ("pretrained", trained)):
                    key = f"{corpus_seed}/{seed}/{title}/{kind}"
                    if key not in scores:
                        scores[key] = _score(store, load_encoder(model), title, evaluation, seed, compute)
                key = f"{corpus_seed}/{seed}/{title}/adapted"
                if adapt and key not in scores:
                    score, _ = finetune.run(tuning, store, trained, title, seed, folder / "finetune", log)
                    scores[key] = {name: score.metrics[name] for name in ("accuracy", "nmi")}
                write_json(path, scores)
            print(table(scores), flush=True)


def _score(store, encoder, title, evaluation, seed, compute) -> dict[str, float]:  # type: ignore[no-untyped-def]
    from mfc.clusters.protocol import TitleView, score_title

    view = TitleView.of(store, title)
    score = score_title(
        encoder, view, n_init=evaluation.n_init, seed=seed, batch_size=evaluation.batch_size, compute=compute
    )
    result = {name: score.metrics[name] for name in ("accuracy", "nmi")}
    faces = view.with_others
    result |= {name: neighbours_right(score, view, reach) for name, reach in (("window", 1), ("global", -1))}
    pages = faces.faces["page_index"].to_numpy()
    # How often a face picked blindly from the window would be the same person.
    near = np.abs(pages[:, None] - pages[None, :]) <= 1
    np.fill_diagonal(near, False)
    same = faces.labels[:, None] == faces.labels[None, :]
    result["chance in window"] = float((near & same).sum() / near.sum())
    return result


def neighbours_right(score: TitleScore, view: TitleView, page_range: int) -> float:
    """How often the nearest face at most so many pages away (-1: anywhere) is the same person."""
    from mfc.adapt.constraints import nearest_neighbours

    faces = view.with_others
    i, j, _ = nearest_neighbours(score.features, faces.faces["page_index"].to_numpy(), page_range=page_range)
    return float((faces.labels[i] == faces.labels[j]).mean())


def table(scores: dict[str, dict[str, float]]) -> str:
    """Mean over titles and seeds with a 95 % interval from a bootstrap over titles; below it, differences."""
    columns = (*MEASURES, "chance in window")
    lines = [
        "| | accuracy | NMI | nearest in window | nearest anywhere | chance in window |",
        "|---|---|---|---|---|---|",
    ]
    for kind in ("random", "pretrained", "adapted"):
        cells = [mean_and_interval(_values(scores, kind, measure)) for measure in columns]
        if set(cells) != {"–"}:
            lines.append(f"| {kind} | {' | '.join(cells)} |")
    lines += ["", "| paired difference | mean |", "|---|---|"]
    for measure in ("accuracy", "nmi"):
        gain = _values(scores, "adapted", measure) - _values(scores, "pretrained", measure)
        lines.append(f"| adapted − pretrained, {measure} | {mean_and_interval(gain)} |")
    nearer = _values(scores, "pretrained", "window") - _values(scores, "pretrained", "global")
    lines.append(f"| pretrained, nearest in window − anywhere | {mean_and_interval(nearer)} |")
    return "\n".join(lines)


def _values(scores: dict[str, dict[str, float]], kind: str, measure: str) -> np.ndarray:
    """(titles, seeds) of all titles scored; NaN where not measured."""
    titles = sorted({(key.split("/")[0], key.split("/", 3)[2]) for key in scores})
    seeds = sorted({key.split("/")[1] for key in scores})
    return np.array(
        [
            [scores.get(f"{corpus}/{seed}/{title}/{kind}", {}).get(measure, np.nan) for seed in seeds]
            for corpus, title in titles
        ]
    )


def mean_and_interval(values: np.ndarray) -> str:
    """Of (titles, seeds), NaN where not measured; signed where the interval reaches below zero."""
    from mfc.clusters.intervals import bootstrap_interval

    measured = values[~np.isnan(values).all(axis=1)]
    if not len(measured):
        return "–"
    mean, low, high = bootstrap_interval(measured)
    return f"{mean:.3f} ({low:.3f}–{high:.3f})" if low >= 0 else f"{mean:+.3f} ({low:+.3f} … {high:+.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthetic", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--difficulty", type=Path, metavar="WORK")
    parser.add_argument("--corpus_seeds", type=int, default=3, help="how many; default: %(default)s")
    parser.add_argument("--first_corpus_seed", type=int, default=0, help="to share the work among machines")
    parser.add_argument("--training_seeds", type=int, default=3)
    parser.add_argument("--adapt", choices=("true", "false"), default="true")
    parser.add_argument("--experiment", default="demo")
    options = parser.parse_args()
    if options.difficulty is None:
        for row in run(options.quick):
            print(f"{row.name}: {row.note}")
    else:
        difficulty(
            options.difficulty,
            range(options.first_corpus_seed, options.first_corpus_seed + options.corpus_seeds),
            options.training_seeds,
            options.adapt == "true",
            options.experiment,
        )


if __name__ == "__main__":
    main()
