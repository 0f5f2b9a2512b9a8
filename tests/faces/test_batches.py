"""Batches of faces for the network: choices, transforms, reading."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mfc.errors import UserError
from mfc.faces import batches as module
from mfc.faces.batches import (
    Choices,
    batches,
    centre_choices,
    draw_choices,
    gamma_exponent,
    resized_side,
    transform,
)
from tests.faces.stores import make_store

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_random_choices_cover_their_whole_range_and_repeat_with_the_seed() -> None:
    """Both margins included, half of the faces mirrored, exponents between 1/gamma and gamma."""
    first = draw_choices(4000, margin=4, gamma=2.0, generator=torch.Generator().manual_seed(5))
    again = draw_choices(4000, margin=4, gamma=2.0, generator=torch.Generator().manual_seed(5))
    for name in ("top", "left", "flip", "exponent"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert first.exponent is not None
    for place in (first.top, first.left):
        assert torch.bincount(place).tolist() == pytest.approx([800] * 5, abs=120)
    assert not torch.equal(first.top, first.left)
    assert int(first.flip.sum()) == pytest.approx(2000, abs=150)
    assert 0.5 <= float(first.exponent.min()) < 0.51
    assert 1.99 < float(first.exponent.max()) <= 2.0
    assert float(first.exponent.mean()) == pytest.approx(1.25, abs=0.03)
    assert draw_choices(3, margin=4, gamma=1.0, generator=torch.Generator()).exponent is None


def test_gamma_exponents_run_from_the_reciprocal_to_gamma() -> None:
    """By hand: u = 0 gives 1/2, u = 1 gives 2, the middle 1.25."""
    assert gamma_exponent(torch.tensor([0.0, 0.5, 1.0]), 2.0).tolist() == [0.5, 1.25, 2.0]


def by_pillow(
    crop: np.ndarray, top: int, left: int, flip: bool, exponent: float, image_size: int
) -> np.ndarray:
    """One face by the library's slow and plain operations."""
    side = resized_side(image_size)
    image = Image.fromarray(crop[..., 0] if crop.shape[2] == 1 else crop).convert("RGB")
    image = image.resize((side, side), Image.Resampling.BILINEAR)
    image = image.crop((left, top, left + image_size, top + image_size))
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    values = (np.asarray(image) / 255.0) ** exponent
    return ((values - MEAN) / STD).transpose(2, 0, 1)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 5),
    channels=st.sampled_from([1, 3]),
    sizes=st.sampled_from([(32, 28), (64, 56), (64, 28), (30, 28)]),
    gamma=st.sampled_from([1.0, 2.0]),
    seed=st.integers(0, 1000),
)
def test_batches_are_transformed_as_pillow_would_each_face(
    n: int, channels: int, sizes: tuple[int, int], gamma: float, seed: int
) -> None:
    """Each face by its own choices; exact where nothing is stretched, within one level where it is."""
    stored, image_size = sizes
    crops = np.random.default_rng(seed).integers(0, 256, (n, stored, stored, channels), dtype=np.uint8)
    margin = resized_side(image_size) - image_size
    choices = draw_choices(n, margin=margin, gamma=gamma, generator=torch.Generator().manual_seed(seed))
    result = transform(torch.from_numpy(crops), choices, image_size=image_size, mean=MEAN, std=STD)
    assert result.shape == (n, 3, image_size, image_size)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    for i in range(n):
        exponent = 1.0 if choices.exponent is None else float(choices.exponent[i])
        where = int(choices.top[i]), int(choices.left[i]), bool(choices.flip[i])
        expected = by_pillow(crops[i], *where, exponent, image_size)
        if stored == resized_side(image_size):
            np.testing.assert_allclose(result[i].numpy(), expected, atol=1e-5)
        else:
            level = (
                (np.asarray(result[i]).transpose(1, 2, 0) * STD + MEAN).clip(0, 1) ** (1 / exponent)
            ) * 255
            wanted = ((expected.transpose(1, 2, 0) * STD + MEAN).clip(0, 1) ** (1 / exponent)) * 255
            assert np.abs(level - wanted).max() < 1.01


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 5),
    channels=st.sampled_from([1, 3]),
    gamma=st.sampled_from([1.0, 2.0]),
    seed=st.integers(0, 1000),
)
def test_the_device_path_equals_the_cpu_path(n: int, channels: int, gamma: float, seed: int) -> None:
    """Two ways for two kinds of machine, one result."""
    generator = torch.Generator().manual_seed(seed)
    crops = torch.randint(0, 256, (n, 32, 32, channels), dtype=torch.uint8, generator=generator)
    choices = draw_choices(n, margin=4, gamma=gamma, generator=generator)
    fast = transform(crops, choices, image_size=28, mean=MEAN, std=STD)
    whole = module._transform_whole_batch(crops, choices, 28, MEAN, STD).permute(0, 3, 1, 2)
    torch.testing.assert_close(whole.expand(n, 3, 28, 28), fast, atol=1e-6, rtol=1e-6)


def test_evaluation_takes_the_centre() -> None:
    """By hand: of 32 pixels, 28 from number 2 on; nothing mirrored, no gamma."""
    choices = centre_choices(2, 4)
    assert (choices.top.tolist(), choices.left.tolist(), choices.flip.tolist()) == (
        [2, 2],
        [2, 2],
        [False] * 2,
    )
    assert choices.exponent is None
    crops = torch.arange(32, dtype=torch.uint8).repeat(2, 32, 1)[..., None]
    result = transform(crops, choices, image_size=28, mean=(0, 0, 0), std=(1, 1, 1))
    assert (result[1, 2, 5] * 255).round().tolist() == list(range(2, 30))


def test_choices_of_one_face_do_not_touch_another() -> None:
    """Mirroring the second face alone leaves the first one as it was."""
    crops = torch.arange(32, dtype=torch.uint8).repeat(2, 32, 1)[..., None]
    place = torch.zeros(2, dtype=torch.int64)
    choices = Choices(place, place, torch.tensor([False, True]), None)
    rows = transform(crops, choices, image_size=28, mean=(0,) * 3, std=(1,) * 3)[:, 0, 0] * 255
    assert rows.round().tolist() == [list(range(28)), list(range(27, -1, -1))]


def reader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "mfc-batches"]


@pytest.mark.parametrize(("n", "batch_size"), [(0, 4), (3, 4), (8, 4), (9, 4), (5, 1)])
def test_batches_follow_the_order_of_the_rows(tmp_path: Path, n: int, batch_size: int) -> None:
    """Every row once, in order, the last batch short; no thread stays behind."""
    store = make_store(tmp_path / "faces")
    rows = np.random.default_rng(0).integers(0, 7, n)
    got = list(batches(store.crops, rows, batch_size=batch_size, device="cpu"))
    assert [len(positions) for positions, _ in got] == [
        min(batch_size, n - s) for s in range(0, n, batch_size)
    ]
    assert [p for positions, _ in got for p in positions.tolist()] == list(range(n))
    assert [int(v) for _, batch in got for v in batch[:, 3, 2, 1]] == rows.tolist()
    assert all(batch.dtype == torch.uint8 and batch.shape[1:] == (16, 16, 3) for _, batch in got)
    assert not reader_threads()


def test_an_abandoned_iterator_ends_its_thread(tmp_path: Path) -> None:
    """Leaving the loop early, by break or by an error, must not leave a reader that waits for ever."""
    store = make_store(tmp_path / "faces")
    rows = np.zeros(1000, np.int64)
    stream = batches(store.crops, rows, batch_size=1, device="cpu")
    next(stream)
    assert len(reader_threads()) == 1
    stream.close()
    assert not reader_threads()

    def fail_on_first() -> None:
        for _ in batches(store.crops, rows, batch_size=1, device="cpu"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_on_first()
    deadline = time.monotonic() + 10
    while reader_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not reader_threads()


def test_a_reader_that_fails_raises_where_the_batches_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad rows are refused up front; an error while reading is not swallowed by the thread."""
    store = make_store(tmp_path / "faces")
    with pytest.raises(IndexError, match=r"0\.\.6"):
        list(batches(store.crops, np.array([0, 7]), batch_size=1, device="cpu"))
    with pytest.raises(IndexError):
        list(batches(store.crops, np.array([-1]), batch_size=1, device="cpu"))

    def disk_gone(*args: object, **more: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(module.np, "take", disk_gone)
    with pytest.raises(OSError, match="the disk is gone"):
        list(batches(store.crops, np.array([0]), batch_size=1, device="cpu"))
    assert not reader_threads()


def test_a_store_that_is_cut_off_while_it_is_read_is_told(tmp_path: Path) -> None:
    """A sentence in place of a bus error, which no handler survives."""
    store = make_store(tmp_path / "faces")
    stream = batches(store.crops, np.arange(7), batch_size=1, device="cpu", prefetch=1)
    next(stream)
    with (store.path / "crops.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(UserError, match=r"crops\.npy was cut off while it was in use"):
        list(stream)
