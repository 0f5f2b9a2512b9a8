from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mfc.adapt import constraints
from mfc.adapt.constraints import (
    Constraints,
    build_constraints,
    nearest_must_links,
    nearest_neighbours,
    propagate,
)
from mfc.faces.pairs import cannot_links_from_frames

UNKNOWN, DIFFERENT, SAME = -10, 0, 1


def slow_frames(frames: NDArray[np.int32]) -> NDArray[np.int8]:
    """Faces × faces: 0 where two faces share a frame, -10 elsewhere."""
    n = len(frames)
    matrix = np.full((n, n), UNKNOWN, np.int8)
    for i in range(n):
        for j in range(n):
            if i != j and frames[i] >= 0 and frames[i] == frames[j]:
                matrix[i, j] = DIFFERENT
    return matrix


def slow_links(
    features: NDArray[np.float32],
    pages: NDArray[np.int32],
    page_range: int,
    top_n: int,
    exclude: frozenset[frozenset[int]] = frozenset(),
) -> NDArray[np.bool_]:
    """Faces × faces: whether one is among the nearest of the other; ties go to the first in page order."""
    n = len(features)
    links = np.zeros((n, n), bool)
    similarity = features @ features.T
    for i in range(n):
        candidates = [
            j
            for j in range(n)
            if j != i
            and (page_range == -1 or abs(int(pages[i]) - int(pages[j])) <= page_range)
            and frozenset((i, j)) not in exclude
        ]
        for j in sorted(candidates, key=lambda j: (-similarity[i, j], pages[j], j))[:top_n]:
            links[i, j] = links[j, i] = True
    return links


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


def as_matrix(found: Constraints) -> NDArray[np.int8]:
    matrix = np.full((found.n, found.n), UNKNOWN, np.int8)
    for pairs, value in ((found.must_link, SAME), (found.cannot_link, DIFFERENT)):
        assert pairs.dtype == np.int64
        assert (pairs[:, 0] < pairs[:, 1]).all()
        assert pairs.tolist() == sorted(map(list, set(map(tuple, pairs.tolist()))))
        matrix[pairs[:, 0], pairs[:, 1]] = matrix[pairs[:, 1], pairs[:, 0]] = value
    return matrix


@st.composite
def titles(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Features, pages and frames of a small title; whole numbers make products exact and ties common."""
    n = draw(st.integers(0, 14))
    numbers = st.integers(-3, 3)
    features = draw(st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=n, max_size=n))
    pages = draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    frames = [draw(st.integers(-1, 1)) for _ in pages]
    of_page = [3 * page + frame if frame >= 0 else -1 for page, frame in zip(pages, frames, strict=True)]
    return (
        np.array(features, np.float32).reshape(n, 2),
        np.array(pages, np.int32),
        np.array(of_page, np.int32),
    )


@settings(max_examples=300, deadline=None)
@given(titles(), st.integers(-1, 3), st.integers(1, 4), st.sampled_from([1, 3, 48]))
def test_equals_the_slow_version(
    title: tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]],
    page_range: int,
    top_n: int,
    block_rows: int,
) -> None:
    """Every rule, with ties, pages in any order, faces without frames or candidates, and any block size."""
    features, pages, frames = title
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraints, "BLOCK_ROWS", block_rows)
        found = build_constraints(features, pages, frames, page_range=page_range, top_n=top_n)
    negatives = slow_frames(frames) == DIFFERENT
    links = slow_links(features, pages, page_range, top_n)
    np.testing.assert_array_equal(as_matrix(found), slow_propagate(negatives, links))


@settings(deadline=None)
@given(titles(), st.integers(-1, 2), st.integers(1, 3))
def test_excluded_pairs_are_never_neighbours(
    title: tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]], page_range: int, top_n: int
) -> None:
    features, pages, frames = title
    exclude = cannot_links_from_frames(frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraints, "BLOCK_ROWS", 4)
        links = nearest_must_links(features, pages, page_range=page_range, top_n=top_n, exclude=exclude)
    never = frozenset(frozenset(pair) for pair in exclude.tolist())
    slow = slow_links(features, pages, page_range, top_n, never)
    assert links.tolist() == np.argwhere(np.triu(slow)).tolist()


@given(titles(), st.randoms(use_true_random=False))
def test_pairs_in_a_batch_equal_the_matrix_of_the_batch(
    title: tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]], random: np.random.Generator
) -> None:
    """Row-major positions and values of the batch's part of the matrix, for batches of any size and order."""
    found = build_constraints(*title)
    faces = list(range(found.n))
    random.shuffle(faces)
    index = np.array(faces[: len(faces) * 2 // 3], np.int64)
    part = as_matrix(found)[np.ix_(index, index)]
    expected = np.argwhere(np.triu(part != UNKNOWN, 1))
    i, j, same = found.pairs_in(index)
    assert np.stack([i, j], axis=1).tolist() == expected.tolist()
    assert same.tolist() == [bool(part[a, b] == SAME) for a, b in expected]
    a1, p, a2, n = found.indices_tuple(index)
    assert (part[a1, p] == SAME).all()
    assert (part[a2, n] == DIFFERENT).all()
    assert len(a1) + len(a2) == len(expected)


def test_hand_worked_propagation() -> None:
    """0≠1, 1=2, 2=3, 3=4: the negative moves to 2 and no further; 1=3 and 2=4 follow, 1=4 does not."""
    found = propagate(5, np.array([[0, 1]]), np.array([[1, 2], [2, 3], [3, 4]]))
    assert found.cannot_link.tolist() == [[0, 1], [0, 2]]
    assert found.must_link.tolist() == [[1, 2], [1, 3], [2, 3], [2, 4], [3, 4]]
    a1, p, a2, n = found.indices_tuple()
    assert list(zip(a1, p, strict=True)) == [(1, 2), (1, 3), (2, 3), (2, 4), (3, 4)]
    assert list(zip(a2, n, strict=True)) == [(0, 1), (0, 2)]


def test_negative_wins_over_a_direct_link() -> None:
    """0 and 2 share a frame, both linked with 1: the chain says one person, the frame two; all end as two."""
    found = propagate(3, np.array([[0, 2]]), np.array([[0, 1], [1, 2]]))
    assert found.must_link.tolist() == []
    assert found.cannot_link.tolist() == [[0, 1], [0, 2], [1, 2]]


def test_window_counts_page_numbers_and_a_lonely_face_gets_no_link() -> None:
    """Pages 1, 2 and 9: the third face looks like the first and is out of reach of both."""
    features = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    pages = np.array([1, 2, 9])
    assert nearest_must_links(features, pages).tolist() == [[0, 1]]
    assert nearest_must_links(features, pages, page_range=0).tolist() == []
    assert nearest_must_links(features, pages, page_range=-1).tolist() == [[0, 1], [0, 2]]
    assert nearest_must_links(features, pages, top_n=5).tolist() == [[0, 1]]


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
        build_constraints(features, codes[:2], codes)
    with pytest.raises(ValueError, match="page_range -2"):
        nearest_must_links(features, codes, page_range=-2)
    with pytest.raises(ValueError, match="top_n 0"):
        nearest_must_links(features, codes, top_n=0)
    features[1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        nearest_must_links(features, codes)
    with pytest.raises(ValueError, match="twice"):
        build_constraints(np.eye(3, dtype=np.float32), codes, codes).pairs_in(np.array([0, 2, 0]))


def test_large_title_needs_no_faces_by_faces_memory() -> None:
    """20,000 faces anywhere in the title: a matrix of their similarities alone would take 1.6 GB."""
    import tracemalloc

    rng = np.random.default_rng(0)
    n = 20_000
    features = rng.normal(size=(n, 4)).astype(np.float32)
    pages = np.sort(rng.integers(0, 1700, n))
    frames = pages * 6 + rng.integers(0, 6, n)
    tracemalloc.start()
    found = build_constraints(features, pages, frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.must_link) > n / 2
    assert peak < 50e6
