from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mfc.corpus.synthetic.raster import (
    Canvas,
    curve,
    dot_screen,
    line_screen,
    paste_polygon,
    spline_matrix,
    stroke_profile,
)

POINTS = np.array([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0), (4.0, 4.0)])


@pytest.mark.parametrize("closed", [False, True])
def test_a_spline_passes_through_its_control_points(closed: bool) -> None:
    """With as many samples per span, the samples at whole spans are the control points themselves."""
    spans = len(POINTS) if closed else len(POINTS) - 1
    line = curve(POINTS, spans * 5 + (0 if closed else 1), closed)
    np.testing.assert_allclose(line[::5], POINTS, atol=1e-12)


def test_a_spline_through_points_on_a_straight_line_is_straight() -> None:
    """Two controls give the segment between them, ends included."""
    line = curve(np.array([(0.0, 0.0), (4.0, 2.0)]), 9)
    np.testing.assert_allclose(line[:, 0], 2 * line[:, 1], atol=1e-12)
    np.testing.assert_allclose(line[[0, -1]], [(0, 0), (4, 2)], atol=1e-12)


@pytest.mark.parametrize("closed", [False, True])
def test_tangents_are_the_derivative_of_the_points(closed: bool) -> None:
    """The second matrix agrees with central differences of the first."""
    n = 4001
    points, tangents = (matrix @ POINTS for matrix in spline_matrix(len(POINTS), n, closed))
    step = (len(POINTS) if closed else len(POINTS) - 1) / (n if closed else n - 1)
    np.testing.assert_allclose((points[2:] - points[:-2]) / (2 * step), tangents[1:-1], atol=2e-2)


def test_a_stroke_is_thickest_in_its_middle() -> None:
    """Half-widths rise from the first end's share to half the weight and fall to the other end's share."""
    profile = stroke_profile(101, 0.2, 0.6)
    assert profile[0] == pytest.approx(0.1)
    assert profile[-1] == pytest.approx(0.3)
    assert profile.argmax() == 50
    assert profile.max() == pytest.approx(0.5)


def test_a_stroke_covers_its_weight() -> None:
    """An even stroke of weight 9 over 80 pixels inks about 9 rows."""
    canvas = Canvas(Image.new("L", (100, 40), 255), (0, 0))
    points = np.stack([np.linspace(10, 90, 20), np.full(20, 20.0)], axis=1)
    canvas.stroke(points, np.tile([1.0, 0.0], (20, 1)), 9.0, (1.0, 1.0), 0)
    column = np.asarray(canvas.image)[:, 50]
    assert 8 <= (column == 0).sum() <= 10


@pytest.mark.parametrize("cover", [0.16, 0.36, 0.68])
@pytest.mark.parametrize("angle", [(1, 1), (2, 1), (1, 0)])
def test_a_screen_covers_its_share_of_the_paper(cover: float, angle: tuple[int, int]) -> None:
    """Dots and lines ink the stated share, whatever their angle, up to what whole pixels allow."""
    for screen in (dot_screen((300, 300), 9, angle, cover, 0), line_screen((300, 300), 9, angle, cover, 0)):
        assert (np.asarray(screen.image) == 0).mean() == pytest.approx(cover, abs=0.13)


def test_screens_continue_across_canvases() -> None:
    """A tone laid on two neighbouring canvases is the tone laid on one that spans both."""
    screen = dot_screen((200, 100), 7, (1, 1), 0.4, 0)
    square = np.array([(0.0, 0.0), (200.0, 0.0), (200.0, 100.0), (0.0, 100.0)])
    whole = Canvas(Image.new("L", (200, 100), 255), (0, 0))
    whole.tone([square], screen)
    right = Canvas(Image.new("L", (90, 100), 255), (110, 0))
    right.tone([square - (110, 0)], screen)
    np.testing.assert_array_equal(np.asarray(whole.image)[:, 110:], np.asarray(right.image))


def test_a_tone_over_everything_is_the_tone_of_a_shape_as_large() -> None:
    screen = dot_screen((200, 100), 7, (1, 1), 0.4, 0)
    shaped, whole = (Canvas(Image.new("L", (90, 60), 255), (30, 20)) for _ in range(2))
    shaped.tone([np.array([(0.0, 0.0), (90.0, 0.0), (90.0, 60.0), (0.0, 60.0)])], screen)
    whole.tone_all(screen)
    np.testing.assert_array_equal(np.asarray(shaped.image), np.asarray(whole.image))


_INSET = st.floats(0, 18)


@given(st.tuples(*[st.tuples(_INSET, _INSET)] * 4), st.integers(0, 4))
def test_a_frame_is_pasted_as_by_one_mask(insets: tuple[tuple[float, float], ...], extra: int) -> None:
    """Whatever its slant, and with more corners than four: equal to pasting everything through a mask."""
    noise = np.random.default_rng(0).integers(1, 256, (40, 50), dtype=np.uint8)
    (a, b), (c, d), (e, f), (g, h) = insets
    corners = np.array([(a, b), (50 - c, d), (50 - e, 40 - f), (g, 40 - h), *[(g, 40 - h)] * extra])
    source, mask = Image.fromarray(noise), Image.new("L", (50, 40), 0)
    ImageDraw.Draw(mask).polygon(corners.astype(np.float32).ravel().tolist(), fill=255)
    expected, pasted = Image.new("L", (70, 60), 0), Image.new("L", (70, 60), 0)
    expected.paste(source, (7, 9), mask)
    paste_polygon(pasted, source, (7, 9), corners)
    np.testing.assert_array_equal(np.asarray(expected), np.asarray(pasted))
