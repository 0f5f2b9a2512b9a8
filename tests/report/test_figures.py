"""Figures draw what the data say, for every size of title, and survive any name."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from mfc.report.figures import (
    MAP_FACES,
    cluster_sizes,
    confusion,
    embedding_map,
    face_grid,
    paired_titles,
    project,
    thumbnails,
)


def clusters(n: int, characters: int, seed: int = 0) -> pd.DataFrame:
    """A title whose faces are in the right cluster, but for each third one, which is in the next."""
    true = np.arange(n) % characters
    found = np.where(np.arange(n) % 3 == 2, (true + 1) % characters, true)
    names = np.array(["Anna", "漫画 太郎", "$x_1$", "<b>", *[f"c{i}" for i in range(characters)]])
    return pd.DataFrame(
        {
            "character_id": [f"{c:08x}" for c in true],
            "character_name": names[true],
            "cluster": found,
            "matched": [f"{c:08x}" for c in found],
            "matched_name": names[found],
            "correct": found == true,
            "distance": np.random.default_rng(seed).random(n),
        }
    )


def features(n: int, characters: int) -> np.ndarray:
    random = np.random.default_rng(1)
    centres = random.normal(size=(characters, 16))
    made = centres[np.arange(n) % characters] + 0.1 * random.normal(size=(n, 16))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("n", "characters"), [(1, 1), (3, 2), (60, 4), (90, 45)])
def test_every_size_of_title_is_drawn(n: int, characters: int) -> None:
    """From one face of one character to more characters than colours; names with $, < and Japanese."""
    table = clusters(n, characters)
    for figure in (embedding_map(features(n, characters), table), confusion(table), cluster_sizes(table)):
        figure.canvas.draw()
        assert figure.axes


def test_the_map_keeps_apart_what_is_apart() -> None:
    """Faces of a character lie nearer to each other than to those of another; the same seed, the same map."""
    x = features(80, 4)
    place = project(x)
    np.testing.assert_array_equal(place, project(x))
    distance = np.linalg.norm(place[:, None] - place[None], axis=2)
    same = (np.arange(80) % 4)[:, None] == (np.arange(80) % 4)[None]
    assert distance[same].mean() < 0.5 * distance[~same].mean()


def test_equal_faces_have_a_map_too() -> None:
    """A broken encoder that gives one vector for all still gets its figures."""
    x = np.ones((20, 8), np.float32) / np.sqrt(8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(project(x)).all()


def test_a_large_title_is_drawn_by_a_choice_of_its_faces() -> None:
    """The map shows at most `MAP_FACES` faces."""
    n = MAP_FACES + 40
    figure = embedding_map(features(n, 3), clusters(n, 3))
    shown = sum(len(points.get_offsets()) for points in figure.axes[0].collections)  # type: ignore[arg-type]
    assert shown == MAP_FACES


def test_the_confusion_counts_faces() -> None:
    """The numbers in the cells add up to the faces, and matched pairs stand on the diagonal."""
    table = clusters(60, 4)
    axis = confusion(table).axes[0]
    cells = {tuple(int(v) for v in t.get_position()): int(t.get_text()) for t in axis.texts}
    assert sum(cells.values()) == 60
    assert sum(count for (x, y), count in cells.items() if x == y) == int(table["correct"].sum())


def test_bars_are_as_high_as_the_clusters() -> None:
    """Right and wrong faces stacked give the sizes of the clusters, largest first."""
    table = clusters(61, 4)
    bars = cluster_sizes(table).axes[0].patches
    right, wrong = bars[: len(bars) // 2], bars[len(bars) // 2 :]
    heights = [a.get_height() + b.get_height() for a, b in zip(right, wrong, strict=True)]  # type: ignore[attr-defined]
    assert heights == table["cluster"].value_counts().tolist()


def test_thumbnails_are_the_faces() -> None:
    """In the order asked for, of the size asked for, grey and colour alike."""
    crops = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (10, 200)])
    small = thumbnails(crops, np.array([1, 0, 1]), 8)
    assert small.shape == (3, 8, 8, 3)
    assert small[:, 0, 0, 0].tolist() == [200, 10, 200]
    assert thumbnails(crops[..., :1], np.array([0]), 8).shape == (1, 8, 8, 1)


def test_only_wrong_faces_are_marked() -> None:
    """The frame of a wrong face has the colour of wrong ones; a right one has none; too many are cut off."""
    faces = [np.full((3, 8, 8, 1), 255, np.uint8)]
    picture = face_grid(faces, [np.array([False, True, False])], columns=2)
    assert picture.width == 2 * 12 + 12
    pixels = np.asarray(picture)
    assert (pixels == (0xD1, 0x49, 0x5B)).all(axis=2).any()
    plain = np.asarray(face_grid(faces, [np.zeros(3, bool)], columns=2))
    assert not (plain == (0xD1, 0x49, 0x5B)).all(axis=2).any()


@pytest.mark.parametrize("metrics", [1, 2, 3, 4])
def test_each_metric_has_a_panel(metrics: int) -> None:
    """Two a line, an empty place not shown; means as lines, those of the paper where there are any."""
    names = ["A", "B", "C", "D"][:metrics]
    before, after = ({name: np.array([0.25, value]) for name in names} for value in (0.75, 0.25))
    figure = paired_titles(["t", "u"], before, after, {"A": (0.125, 0.5)})
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in shown] == names
    drawn = [[line.get_xdata()[0] for line in axis.lines] for axis in shown]  # type: ignore[index]
    assert drawn == [[0.5, 0.25, 0.125, 0.5], *[[0.5, 0.25]] * (metrics - 1)]
    assert ["paper" in axis.get_xlabel() for axis in shown] == [name == "A" for name in names]
    figure.canvas.draw()


def test_what_lies_below_zero_and_what_is_missing_is_drawn() -> None:
    """AMI below 0 stays within the panel; a title without a value is left out of the means."""
    before, after = {"AMI": np.array([-0.1, np.nan, 0.5])}, {"AMI": np.array([0.3, np.nan, 0.5])}
    axis = paired_titles(["t", "u", "v"], before, after, {}).axes[0]
    assert axis.get_xlim()[0] < -0.1
    assert [line.get_xdata()[0] for line in axis.lines] == pytest.approx([0.2, 0.4])  # type: ignore[index]
    nothing = {"AMI": np.full(3, np.nan)}
    paired_titles(["t", "u", "v"], nothing, nothing, {}).canvas.draw()
