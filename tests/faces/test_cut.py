"""How a face is cut out of its page."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mfc.faces.cut import expand_box, stretch


@pytest.mark.parametrize("mode", ["L", "RGB", "grey RGB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_stretching_equals_converting_first(mode: str, channels: int) -> None:
    """The short way for grey pictures gives what Pillow gives for three equal channels."""
    values = np.random.default_rng(0).integers(0, 256, (50, 41, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    image = image.convert("L").convert("RGB") if mode == "grey RGB" else image.convert(mode)
    expected = image if channels == 1 and mode == "L" else image.convert("RGB")
    expected = expected.convert("L") if channels == 1 else expected
    result = stretch(image, 32, channels)
    assert result.shape == (32, 32, channels)
    wanted = np.asarray(expected.resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(result, wanted.reshape(32, 32, channels))


def test_a_box_grows_by_half_its_sides_within_the_page() -> None:
    """By hand: half of 41 is 20, half of 30 is 15; the page of 100x60 ends the growth."""
    assert expand_box((30, 20, 71, 50), (100, 60)) == (10, 5, 91, 60)
    assert expand_box((0, 0, 100, 60), (100, 60)) == (0, 0, 100, 60)


sides = st.integers(0, 300)


@given(sides, sides, sides, sides)
def test_a_grown_box_holds_the_box_and_stays_on_the_page(
    left: int, top: int, width: int, height: int
) -> None:
    """Whatever lies on the page."""
    page = left + width + 5, top + height + 5
    box = left, top, left + width, top + height
    grown = expand_box(box, page)
    assert grown[0] <= box[0]
    assert grown[1] <= box[1]
    assert box[2] <= grown[2] <= page[0]
    assert box[3] <= grown[3] <= page[1]
    assert min(grown) >= 0
