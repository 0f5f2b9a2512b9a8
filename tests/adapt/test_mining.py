"""Pairs from frames, pages and features: against rules written pair by pair, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mfc.adapt import mining
from mfc.adapt.mining import Mining, mine, nearest, nearest_neighbours
from tests.adapt.titles import DIFFERENT, SAME, UNKNOWN, Title, as_matrix, titles


def slow_frames(frames: NDArray[np.int32]) -> NDArray[np.int8]:
    """Faces × faces: 0 where two faces share a frame, -10 elsewhere."""
    n = len(frames)
    matrix = np.full((n, n), UNKNOWN, np.int8)
    for i in range(n):
        for j in range(n):
            if i != j and frames[i] >= 0 and frames[i] == frames[j]:
                matrix[i, j] = DIFFERENT
    return matrix


def slow_choices(
    features: NDArray[np.float32],
    pages: NDArray[np.int32],
    page_range: int,
    top_n: int,
    never: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Faces × faces: whether i chose j among its nearest; ties go to the first in page order."""
    n = len(features)
    chosen = np.zeros((n, n), bool)
    similarity = features @ features.T
    for i in range(n):
        candidates = [
            j
            for j in range(n)
            if j != i
            and (page_range == -1 or abs(int(pages[i]) - int(pages[j])) <= page_range)
            and not never[i, j]
        ]
        for j in sorted(candidates, key=lambda j: (-similarity[i, j], pages[j], j))[:top_n]:
            chosen[i, j] = True
    return chosen


def slow_propagate(negatives: NDArray[np.bool_], links: NDArray[np.bool_]) -> NDArray[np.int8]:
    """The rules, pair by pair; negatives are those before the links were written."""
    n = len(links)
    matrix = np.full((n, n), UNKNOWN, np.int8)
    for i in range(n):
        for k in range(n):
            if i == k:
                continue
            if links[i, k] or any(links[i, j] and links[j, k] for j in range(n)):
                matrix[i, k] = SAME
            one_side = any(negatives[i, j] and links[j, k] for j in range(n))
            other_side = any(links[i, j] and negatives[j, k] for j in range(n))
            if negatives[i, k] or one_side or other_side:
                matrix[i, k] = DIFFERENT
    return matrix


@settings(max_examples=300, deadline=None)
@given(
    titles(),
    st.builds(
        Mining,
        st.sampled_from(["nearest", "mutual"]),
        st.integers(-1, 3),
        st.integers(1, 4),
        st.sampled_from(["keep", "exclude"]),
    ),
    st.sampled_from([1, 3, 48]),
)
def test_equals_the_slow_version(title: Title, how: Mining, block_rows: int) -> None:
    """Every rule, with ties, pages in any order, faces without frames or candidates, any block size."""
    features, pages, frames = title
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mining, "BLOCK_ROWS", block_rows)
        found = mine(features, pages, frames, how)
    negatives = slow_frames(frames) == DIFFERENT
    never = negatives if how.frame_mates == "exclude" else np.zeros_like(negatives)
    chosen = slow_choices(features, pages, how.page_range, how.top_n, never)
    links = chosen & chosen.T if how.mining == "mutual" else chosen | chosen.T
    np.testing.assert_array_equal(as_matrix(found), slow_propagate(negatives, links))


def test_frame_mates_that_look_alike() -> None:
    """0 and 1 share a frame and look alike; 2 and 3 on the next page resemble their likes on the one after.

    Kept as candidates the two choose each other, the frame wins, and nothing links them with the pages after.
    Excluded, 0 chooses 3 and 1 chooses 2, over whom the frame's cannot-link moves.
    """
    angles = np.deg2rad([0, 10, 50, -40, 55, -45])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    pages, frames = np.array([1, 1, 2, 2, 3, 3]), np.array([0, 0, -1, -1, -1, -1])
    assert nearest(features, pages, None, Mining()).tolist() == [[0, 1], [2, 4], [3, 5]]
    kept = mine(features, pages, frames, Mining())
    assert (kept.must_link.tolist(), kept.cannot_link.tolist()) == ([[2, 4], [3, 5]], [[0, 1]])
    apart = mine(features, pages, frames, Mining(frame_mates="exclude"))
    assert apart.must_link.tolist() == [[0, 3], [0, 5], [1, 2], [1, 4], [2, 4], [3, 5]]
    assert apart.cannot_link.tolist() == [[0, 1], [0, 2], [1, 3]]


def test_window_counts_page_numbers_and_a_lonely_face_gets_no_link() -> None:
    """Pages 1, 2 and 9: the third face looks like the first and is out of reach of both."""
    features = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    pages = np.array([1, 2, 9])
    assert nearest(features, pages, None, Mining()).tolist() == [[0, 1]]
    assert nearest(features, pages, None, Mining(page_range=0)).tolist() == []
    assert nearest(features, pages, None, Mining(page_range=-1)).tolist() == [[0, 1], [0, 2]]
    assert nearest(features, pages, None, Mining(top_n=5)).tolist() == [[0, 1]]


def test_neighbours_are_directed_and_carry_their_similarity() -> None:
    """0 and 1 choose each other, 2 chooses 1 and is chosen by nobody."""
    angles = np.deg2rad([0, 20, 60])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    i, j, similarity = nearest_neighbours(features, np.zeros(3, np.int64))
    assert list(zip(i, j, strict=True)) == [(0, 1), (1, 0), (2, 1)]
    assert similarity == pytest.approx(np.cos(np.deg2rad([20, 20, 40])))


def test_impossible_input_is_refused() -> None:
    features, codes = np.eye(3, dtype=np.float32), np.arange(3)
    with pytest.raises(ValueError, match="3 features, 2 pages and 3 frames"):
        mine(features, codes[:2], codes, Mining())
    with pytest.raises(ValueError, match="page_range -2"):
        nearest(features, codes, None, Mining(page_range=-2))
    with pytest.raises(ValueError, match="top_n 0"):
        nearest(features, codes, None, Mining(top_n=0))
    features[1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        nearest(features, codes, None, Mining())


def test_large_title_needs_no_faces_by_faces_memory() -> None:
    """20,000 faces anywhere in the title: a matrix of their similarities alone would take 1.6 GB."""
    import tracemalloc

    rng = np.random.default_rng(0)
    n = 20_000
    features = rng.normal(size=(n, 4)).astype(np.float32)
    pages = np.sort(rng.integers(0, 1700, n))
    frames = pages * 6 + rng.integers(0, 6, n)
    tracemalloc.start()
    found = mine(features, pages, frames, Mining())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.must_link) > n / 2
    assert peak < 50e6
