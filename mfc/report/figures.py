"""Figures and pictures. Each function takes data and returns what it drew; none shows or saves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ParamSpec

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL.Image import Image

P = ParamSpec("P")

BEFORE, AFTER, REFERENCE = "#8c8c8c", "#0b6e99", "#b5482a"
RIGHT, WRONG = "#0b6e99", "#d1495b"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a400", "#5a4a9c")
"""Told apart with any kind of colour vision (Okabe and Ito, 2008; the last two added)."""
MARKERS = ("o", "s", "^", "D")
REST = "#c4c4c4"
"""The characters for which colours and markers do not suffice."""
MOST_NAMES = 24
"""Characters that a figure names; the others are there without a name."""
MAP_FACES = 1500
"""A map of more faces shows a random choice of so many."""
JAPANESE_FONTS = ("Noto Sans CJK JP", "IPAexGothic", "IPAGothic", "VL Gothic", "Hiragino Sans", "Yu Gothic")


def _written(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a figure be drawn with fonts that have the letters of its names."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        import matplotlib  # not above: a third of a second that training would wait for

        with matplotlib.rc_context({"font.family": _fonts()[0]}):
            return draw(*args, **kwargs)

    return drawn


def _new_figure(width: float, height: float) -> Figure:
    """An empty one, inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


@_written
def paired_titles(
    titles: Sequence[str],
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    published: Mapping[str, tuple[float, float]],
) -> Figure:
    """Per title and metric, the pre-trained value and the adapted one, joined by a line.

    Args:
        titles: (t,) names, drawn from top to bottom.
        before, after: metric name → (t,) values up to 1; NaN where there is none.
        published: metric name → (before, after) means of the paper, drawn as dashed lines, where there are.
    """
    lines = -(-len(before) // 2)
    figure = _new_figure(10.8, lines * (0.36 * len(titles) + 1.9))
    axes = figure.subplots(lines, 2, sharey=True, squeeze=False)
    rows = np.arange(len(titles))
    for axis in axes.flat[len(before) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, before, strict=False):
        axis.hlines(rows, before[name], after[name], color="#c9c9c9", linewidth=2, zorder=1)
        axis.scatter(before[name], rows, color=BEFORE, s=42, zorder=2, label="pre-trained")
        axis.scatter(after[name], rows, color=AFTER, s=42, zorder=3, label="adapted")
        paired = np.isfinite(before[name]) & np.isfinite(after[name])
        for values, colour in ((before[name][paired], BEFORE), (after[name][paired], AFTER)):
            if len(values):
                axis.axvline(values.mean(), color=colour, linewidth=1.2, zorder=0)
        for value in published.get(name, ()):
            axis.axvline(value, color=REFERENCE, linewidth=1, linestyle=(0, (4, 4)), zorder=0)
        words = "solid: means here" + (" · dashed: paper, on Manga109" if name in published else "")
        least = np.append(before[name][paired], after[name][paired]).min(initial=0)
        axis.set(title=name, xlim=(least - 0.02 if least < 0 else 0, 1), xlabel=words)
        axis.grid(axis="x", color="#eeeeee")
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(rows, titles)
    axes[0, 0].invert_yaxis()
    axes[0, 0].legend(loc="lower left", frameon=False, fontsize="small")
    return figure


@_written
def embedding_map(features: np.ndarray, clusters: pd.DataFrame, *, seed: int = 0) -> Figure:
    """The faces of a title on a plane by t-SNE (van der Maaten and Hinton, JMLR 2008), drawn twice.

    Left with the colour of the true character, right with that of the character that the face's cluster was
    matched with: a cross there is a face in a wrong cluster.

    Args:
        features: (n, d) floating point, rows of length 1.
        clusters: a row a face, as `mfc.clusters.protocol` makes it.
        seed: of the choice among more than `MAP_FACES` faces.
    """
    if len(features) > MAP_FACES:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(features))[:MAP_FACES])
        features, clusters = features[chosen], clusters.iloc[chosen]
    place = project(features, seed=seed)
    names = _names(clusters)
    figure = _new_figure(10.5, 4.6)
    truth, found = figure.subplots(1, 2, sharex=True, sharey=True)
    correct = clusters["correct"].to_numpy(dtype=bool)
    size = float(np.clip(4500 / max(len(features), 1), 6, 40))
    for rank, (character, name) in enumerate(names.items()):
        style = _style(rank)
        is_it = (clusters["character_id"] == character).to_numpy()
        label = f"{name} ({is_it.sum()})" if rank < MOST_NAMES else None
        truth.scatter(*place[is_it].T, s=size, linewidths=0.4, edgecolors="white", label=label, **style)
        same = (clusters["matched"] == character).to_numpy() & correct
        found.scatter(*place[same].T, s=size, linewidths=0.4, edgecolors="white", **style)
        wrong = (clusters["matched"] == character).to_numpy() & ~correct
        found.scatter(*place[wrong].T, s=size, linewidths=1.3, marker="x", color=style["color"])
    lost = (clusters["matched"] == "").to_numpy()
    found.scatter(*place[lost].T, s=size, linewidths=1.3, marker="x", color=REST)
    truth.set_title("true characters")
    found.set_title(f"clusters, in their character's colour; × wrong: {(~correct).sum()} of {len(correct)}")
    for axis in (truth, found):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color("#dddddd")
    if names:
        figure.legend(loc="outside right center", frameon=False, fontsize="small", markerscale=1.2)
    return figure


def project(features: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """(n, d) → (n, 2) by t-SNE from the principal components; fewer than four faces: just these."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    n, d = features.shape
    if n < 4:
        return np.pad(features[:, :2], ((0, 0), (0, max(0, 2 - d)))).astype(np.float64)
    if not np.ptp(features, axis=0).max() > 1e-9:  # equal faces have no directions
        return np.zeros((n, 2))
    # Its threads wait for each other actively: on a busy machine two take twenty times as long as one.
    with threadpool_limits(1):
        reduced = PCA(min(50, n - 1, d), svd_solver="covariance_eigh" if d < n else "full").fit_transform(
            features
        )
        model = TSNE(init="pca", perplexity=min(30.0, (n - 1) / 3), max_iter=300, random_state=seed)
        return np.asarray(model.fit_transform(reduced), np.float64)


@_written
def confusion(clusters: pd.DataFrame) -> Figure:
    """How the faces of each character (rows) fall to the clusters (columns); matched pairs on the diagonal.

    Args:
        clusters: a row a face, as `mfc.clusters.protocol` makes it.
    """
    names = _names(clusters)
    rank = {character: place for place, character in enumerate(names)}
    matched = clusters.groupby("cluster")["matched"].first()
    columns = sorted(matched.index, key=lambda c: (rank.get(matched[c], len(rank)), c))
    counts = np.zeros((len(names), len(columns)), int)
    place = {cluster: i for i, cluster in enumerate(columns)}
    np.add.at(counts, (clusters["character_id"].map(rank), clusters["cluster"].map(place)), 1)
    side = float(np.clip(0.34 * max(counts.shape), 3.2, 14))
    figure = _new_figure(side + 2.6, side + 1.1)
    axis = figure.subplots()
    share = counts / counts.sum(axis=1, keepdims=True)
    shown = axis.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    if max(counts.shape) <= 40:
        for i, j in zip(*counts.nonzero(), strict=True):
            colour = "white" if share[i, j] > 0.55 else "#333333"
            axis.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=7, color=colour)
    axis.set_yticks(range(len(names)), list(names.values()), fontsize=8)
    axis.set_xticks(range(len(columns)), [str(c) for c in columns], fontsize=7, rotation=90)
    axis.set(xlabel="cluster, in the order of the character it was matched with", ylabel="true character")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    figure.colorbar(shown, ax=axis, shrink=0.6, label="share of the character's faces")
    return figure


@_written
def cluster_sizes(clusters: pd.DataFrame) -> Figure:
    """Sizes of the clusters, largest first, what is wrong in them, and the sizes that the truth has.

    Args:
        clusters: a row a face, as `mfc.clusters.protocol` makes it.
    """
    counted = clusters.groupby("cluster")["correct"].agg(["size", "sum"]).sort_values("size", ascending=False)
    truth = clusters["character_id"].value_counts().to_numpy()
    figure = _new_figure(max(5.0, 0.24 * max(len(truth), len(counted)) + 1.6), 3.4)
    axis = figure.subplots()
    places = np.arange(len(counted))
    axis.bar(places, counted["sum"], color=RIGHT, label="faces of the cluster's character")
    wrong = counted["size"] - counted["sum"]
    axis.bar(
        places, wrong, bottom=counted["sum"], color=WRONG, hatch="///", edgecolor="white", label="others"
    )
    axis.step(np.arange(len(truth)), truth, where="mid", color="#333333", label="true characters, by size")
    axis.set_xticks(places, [str(c) for c in counted.index], fontsize=7, rotation=90)
    axis.set(xlabel="cluster", ylabel="faces")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize="small")
    return figure


def thumbnails(crops: np.ndarray, rows: np.ndarray, side: int) -> np.ndarray:
    """Faces made small: ``crops`` (faces, S, S, C) uint8 → (n, side, side, C) for ``rows`` (n,)."""
    from PIL import Image

    small = np.empty((len(rows), side, side, crops.shape[3]), np.uint8)
    for i, row in enumerate(rows):
        image = Image.fromarray(crops[row].squeeze()).resize((side, side), Image.Resampling.BOX)
        small[i] = np.asarray(image).reshape(small.shape[1:])
    return small


def face_grid(faces: Sequence[np.ndarray], wrong: Sequence[np.ndarray], columns: int) -> Image:
    """Rows of faces, the first of each set apart; wrong ones are framed and struck through at a corner.

    Args:
        faces: per row (k, s, s, C) uint8; those after the first ``columns`` are left out.
        wrong: per row (k,) bool.
    """
    from PIL import Image, ImageDraw

    side, gap = faces[0].shape[1], 4
    step = side + gap
    picture = Image.new("RGB", (columns * step + 3 * gap, len(faces) * step + gap), "white")
    pen = ImageDraw.Draw(picture)
    for row, (images, marks) in enumerate(zip(faces, wrong, strict=True)):
        for column, (image, mark) in enumerate(zip(images[:columns], marks, strict=False)):
            x, y = gap + column * step + (2 * gap if column else 0), gap + row * step
            picture.paste(Image.fromarray(image.squeeze()), (x, y))
            if mark:
                pen.rectangle((x - 2, y - 2, x + side + 1, y + side + 1), outline=WRONG, width=3)
                corner = side // 4
                pen.line((x, y + corner, x + corner, y), fill=WRONG, width=3)
            elif not column:
                pen.rectangle((x - 2, y - 2, x + side + 1, y + side + 1), outline="#333333", width=2)
    return picture


def _style(rank: int) -> dict[str, str]:
    """Colour and marker of the character with the ``rank``-th most faces."""
    if rank >= len(COLOURS) * len(MARKERS):
        return {"color": REST, "marker": "o"}
    return {"color": COLOURS[rank % len(COLOURS)], "marker": MARKERS[rank // len(COLOURS)]}


def _names(clusters: pd.DataFrame) -> dict[str, str]:
    """Character id → what to write for it, most faces first: its name, or the id where no font has it."""
    counts = clusters["character_id"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    names = clusters.drop_duplicates("character_id").set_index("character_id")["character_name"]
    return {
        str(character): str(names[character]) if _has_glyphs(str(names[character])) else str(character)
        for character in counts.index
    }


def _has_glyphs(text: str) -> bool:
    return "$" not in text and all(ord(letter) in _fonts()[1] for letter in text)


@functools.cache
def _fonts() -> tuple[list[str], frozenset[int]]:
    """The font families to use, with Japanese where the machine has such a font, and all they can write."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *[name for name in JAPANESE_FONTS if name in installed][:1]]
    letters: set[int] = set()
    for name in families:
        letters |= font_manager.get_font(font_manager.findfont(name)).get_charmap().keys()
    return families, frozenset(letters)
