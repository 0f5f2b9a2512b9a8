"""Encoders on real manga, before and after adaptation: the figures of ``docs/real-manga.md``.

``mfc import_openmantra DATASET --out CORPUS`` makes the corpus; then
``python -m benchmarks.real CORPUS --models random,NAME=FOLDER`` prints the tables, of its test titles.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import harness
from mfc.adapt.mining import mine, nearest_neighbours
from mfc.adapt.quality import constraint_quality
from mfc.adapt.recipe import recipe_of
from mfc.clusters.counting import constrained_tree
from mfc.clusters.intervals import bootstrap_interval
from mfc.clusters.metrics import clustering_metrics
from mfc.clusters.protocol import TitleScore, TitleView, score_title
from mfc.config import BACKBONES, Finetune, Preprocess, build, load_experiment, parse_seeds
from mfc.encoders.device import pick_compute
from mfc.encoders.network import EncoderConfig, load_encoder, new_encoder, save_encoder
from mfc.errors import UserError
from mfc.faces.selection import page_and_frame_codes
from mfc.faces.store import FaceStore
from mfc.files import write_json
from mfc.log import Log, PrintLog
from mfc.stages.finetune import finetune_title
from mfc.stages.preprocess import preprocess

CLUSTERINGS = {"k-means": "k-means", "linkage": "linkage that obeys cannot-links"}
METRICS = {"accuracy": "accuracy", "nmi": "NMI", "ami": "AMI", "bcubed_f": "B-cubed F"}
PAIRS = {"window": "nearest neighbour within a page", "must-links": "must-links"}
Scores = dict[str, dict[str, list[dict[str, float]]]]
"""Row of the tables → title → what was measured, seed by seed."""


def measure(score: TitleScore, view: TitleView, config: Finetune) -> dict[str, float]:
    """The clusterings of a title's named faces into the true number of them, and how true its pairs are.

    ``k-means/…`` are those of ``score``; ``linkage/…``: average linkage of the same features, which keeps
    faces of one frame apart; ``window``: the share of named faces whose nearest neighbour, among the named
    ones at most one page away, is of the same character; ``must-links``: the share that is true of those that
    adaptation with ``config`` would begin with, among all faces, nameless ones counted as one character.
    """
    truth, features = view.plain.labels, score.features[score.named]
    linkage = dict(
        clustering_metrics(truth, constrained_tree(features, view).cut_into(len(view.plain.classes)))
    )
    i, j, _ = nearest_neighbours(features, view.plain.faces["page_index"].to_numpy(), page_range=1)
    faces = view.with_others
    codes = page_and_frame_codes(faces.faces, once=True)
    links = mine(score.features, *codes, recipe_of(config).mining)
    quality = dict(constraint_quality(links.must_link, links.cannot_link, faces.labels))
    return {
        **{f"k-means/{name}": score.metrics[name] for name in METRICS},
        **{f"linkage/{name}": linkage[name] for name in METRICS},
        "window": float((truth[i] == truth[j]).mean()) if len(i) else np.nan,
        "must-links": quality.get("must_link_precision", np.nan),
    }


def study(
    store: FaceStore,
    models: Mapping[str, Path],
    config: Finetune,
    seeds: Sequence[int],
    adapt: bool,
    out: Path,
    log: Log,
) -> Scores:
    """Measure every encoder on every test title, and, with ``adapt``, again after adaptation to the title."""
    compute = pick_compute(config.device, config.precision)
    scores: Scores = {}
    for name, model in models.items():
        encoder = load_encoder(model, compute.device)
        for title in store.titles("test"):
            view = TitleView.of(store, title)
            for seed in seeds:
                before = score_title(
                    encoder,
                    view,
                    n_init=config.n_init,
                    seed=seed,
                    batch_size=config.batch_size,
                    compute=compute,
                )
                rows = {name: before}
                if adapt:
                    rows[f"{name}, adapted"], _ = finetune_title(config, store, model, title, seed, out, log)
                for row, score in rows.items():
                    measured = measure(score, view, config)
                    scores.setdefault(row, {}).setdefault(title, []).append(measured)
    return scores


def tables(scores: Scores) -> str:
    """Means over titles with 95 % intervals over titles and seeds: one table of clusterings, one of pairs."""
    lines = [
        f"| features | clusters by | {' | '.join(METRICS.values())} |",
        f"|---|---|{'---|' * len(METRICS)}",
    ]
    for row, titles in scores.items():
        for key, words in CLUSTERINGS.items():
            cells = [_cell(titles, f"{key}/{name}") for name in METRICS]
            lines.append(f"| {row} | {words} | {' | '.join(cells)} |")
    lines += ["", f"| features | {' | '.join(PAIRS.values())} |", f"|---|{'---|' * len(PAIRS)}"]
    for row, titles in scores.items():
        lines.append(f"| {row} | {' | '.join(_cell(titles, name) for name in PAIRS)} |")
    return "\n".join(lines) + "\n"


def _cell(titles: Mapping[str, Sequence[Mapping[str, float]]], name: str) -> str:
    values = np.array([[measured[name] for measured in seeds] for seeds in titles.values()])
    if not np.isfinite(values).any():
        return "–"
    mean, low, high = bootstrap_interval(values)
    return f"{mean:.3f} ({low:.3f} … {high:.3f})" if low == low else f"{mean:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real", description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder in Manga109 layout; its test titles count")
    parser.add_argument(
        "--models", default="random", help="comma-separated: FOLDER of an encoder, NAME=FOLDER, or random"
    )
    parser.add_argument(
        "--backbone", default="resnet18", choices=BACKBONES, help="of random; default: %(default)s"
    )
    parser.add_argument("--image_size", type=int, default=96, help="of random; default: %(default)s")
    parser.add_argument("--experiment", default="demo", help="how faces are cut and encoders adapted")
    parser.add_argument(
        "--epochs", type=int, default=20, help="of adaptation, 0 for none; default: %(default)s"
    )
    parser.add_argument("--lr", type=float, default=0.05, help="of adaptation; default: %(default)s")
    parser.add_argument("--n_init", type=int, default=50, help="k-means restarts; default: %(default)s")
    parser.add_argument("--seeds", default="0", help="of k-means and adaptation; default: %(default)s")
    parser.add_argument("--work", type=Path, default=Path("work/real"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        scores = _scores(options, PrintLog())
    except UserError as error:
        parser.error(str(error))
    report = {name: value for name, value in harness.report([]).items() if name != "rows"}
    settings = {name: str(value) for name, value in vars(options).items()}
    write_json(options.work / "scores.json", {**report, "options": settings, "scores": scores})
    print(f"{tables(scores)}\nevery title and seed: {options.work / 'scores.json'}")


def _scores(options: argparse.Namespace, log: Log) -> Scores:
    stages, seeds = load_experiment(options.experiment), parse_seeds(options.seeds)
    given = {"n_init": options.n_init, "lr": options.lr, "epochs": max(options.epochs, 1)}
    quiet = {"eval_every": 0, "checkpoint_every": 10**6, "figures": False}
    config = build(Finetune, {**stages.stage("finetune"), **given, **quiet}, source="options")
    models: dict[str, Path] = {}
    for item in options.models.split(","):
        name, _, folder = item.rpartition("=")
        path, name = Path(folder), name or Path(folder).name
        if name in models:
            raise UserError(f"--models: two encoders are called {name!r}; name them apart by NAME=FOLDER")
        if item == "random":
            blank = EncoderConfig(options.backbone, ("nobody",), options.image_size)
            path = options.work / f"random-{options.backbone}-{options.image_size}"
            save_encoder(new_encoder(blank, init="random", seed=0), path)
        load_encoder(path)
        models[name] = path
    cutting = build(Preprocess, stages.stage("preprocess"), source=options.experiment)
    store = preprocess(cutting, options.corpus, options.work / "faces", log, overwrite=True)
    return study(store, models, config, seeds, options.epochs > 0, options.work / "adapted", log)


if __name__ == "__main__":
    main()
