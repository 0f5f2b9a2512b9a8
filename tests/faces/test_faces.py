"""The face store, the labelled selections from it, and batches of faces for the network."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mfc.errors import UserError
from mfc.faces import batches as batches_module
from mfc.faces import store as module
from mfc.faces.batches import (
    Choices,
    batches,
    centre_choices,
    draw_choices,
    gamma_exponent,
    resized_side,
    transform,
)
from mfc.faces.cut import stretch
from mfc.faces.selection import doubled_boxes, page_and_frame_codes, select
from mfc.faces.store import COLUMNS, FaceStore, finish_store, new_crops, new_store, open_store

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def line(face: int, title: str, character: str, **more: object) -> dict[str, object]:
    """One line of the table, kept unless ``more`` says otherwise."""
    values: dict[str, object] = dict.fromkeys(COLUMNS, 0)
    values |= {"face_id": f"{face:08x}", "title": title, "split": "test", "character_id": character}
    values |= {"character_name": f"name of {character}", "is_other": False, "frame_id": None, "row": face}
    return values | {"drop_reason": None} | more


TABLE = pd.DataFrame(
    [
        line(0, "B", "000000bb", page_index=4, frame_id="f2"),
        line(1, "B", "000000aa", page_index=4, frame_id="f1"),
        line(2, "B", "000000bb", page_index=5, frame_id="f2"),
        line(3, "B", "000000cc", is_other=True),
        line(4, "B", "000000dd", character_name=None),
        line(5, "B", "000000aa", row=None, drop_reason="too small"),
        line(6, "A", "000000ab", row=5),
        line(7, "A", "000000bb", row=6),
    ]
)
SPLITS = {"train": [], "val": [], "test": ["B", "A"]}


def make_store(path: Path, table: pd.DataFrame = TABLE, size: int = 16, channels: int = 3) -> FaceStore:
    """A store whose i-th crop is filled with i."""
    with new_store(path) as folder:
        n = int(table["row"].notna().sum())
        crops = new_crops(folder, n, size, channels)
        crops[:] = np.arange(n, dtype=np.uint8)[:, None, None, None]
        finish_store(folder, table, {"splits": SPLITS})
    return open_store(path)


def test_a_store_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Missing values stay missing, ids stay texts, crops are mapped and not loaded."""
    store = make_store(tmp_path / "faces")
    assert list(store.table.columns) == list(COLUMNS)
    assert store.table["face_id"].tolist() == [f"{i:08x}" for i in range(8)]
    assert store.table["row"].isna().tolist() == [False] * 5 + [True, False, False]
    assert store.table["frame_id"].isna().tolist() == [False] * 3 + [True] * 5
    assert store.table["character_name"].isna().sum() == 1
    assert isinstance(store.crops, np.memmap)
    assert store.crops.shape == (7, 16, 16, 3)
    assert store.titles("test") == ["B", "A"]
    with pytest.raises(UserError, match="split 'dev' is not one of train, val, test"):
        store.titles("dev")


def test_a_store_without_faces_can_be_opened(tmp_path: Path) -> None:
    """An empty crops.npy is a store with nothing kept, not a crash of mmap."""
    store = make_store(tmp_path / "faces", TABLE[TABLE["row"].isna()])
    assert store.crops.shape == (0, 16, 16, 3)
    assert len(select(store, ["B"], others=True).rows) == 0


def test_a_store_that_is_not_there_or_damaged_is_explained(tmp_path: Path) -> None:
    """Each way of being unusable names the path and the command that mends it."""
    with pytest.raises(UserError, match="none is not there; make it by `mfc preprocess`"):
        open_store(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="incomplete"):
        open_store(tmp_path / "empty")
    path = make_store(tmp_path / "faces").path
    good = (path / "store.json").read_text()
    for text, reason in [
        ("{", "damaged"),
        ("[]", "another schema"),
        (good.replace('"test"', '"test\\ud800"'), "damaged"),
        ('{"schema": 0}', "another schema than 2"),
    ]:
        (path / "store.json").write_text(text)
        with pytest.raises(UserError, match=reason):
            open_store(path)
    (path / "store.json").write_text(good)
    for name in ("faces.parquet", "crops.npy"):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match="is damaged"):
            open_store(path)
        (path / name).write_bytes(b"")
        with pytest.raises(UserError, match="is damaged"):
            open_store(path)
        (path / name).write_bytes(content)
    np.save(path / "crops.npy", np.zeros((3, 16, 16, 3), np.uint8))
    length = (path / "crops.npy").stat().st_size
    meta = json.loads(good)
    meta["files"]["crops.npy"]["bytes"] = length
    (path / "store.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="table and crops disagree"):
        open_store(path)


@pytest.mark.parametrize(
    ("name", "found", "instead"),
    [("crops.npy", b"(", b"["), ("crops.npy", b"}", b"#"), ("faces.parquet", b"\x15\x04", b"\xff\xff")],
)
def test_a_store_with_a_flipped_byte_is_told_in_a_line(
    tmp_path: Path, name: str, found: bytes, instead: bytes
) -> None:
    """Its files have the right length; what reads them stumbles in many ways, and in many lines."""
    path = make_store(tmp_path / "faces").path / name
    path.write_bytes(path.read_bytes().replace(found, instead))
    with pytest.raises(UserError, match=r"^[^\n]*is damaged \([^\n]+\); make it by[^\n]*$"):
        open_store(path.parent)


def test_a_pickle_in_place_of_the_crops_is_not_opened(tmp_path: Path) -> None:
    """crops.npy may come from somebody else: nothing in it is ever unpickled."""
    path = make_store(tmp_path / "faces").path
    np.save(path / "crops.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="damaged"):
        open_store(path)


def test_a_failed_store_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    """Whatever happens while a store is made, what was there stays, and no temporary folder is left."""
    make_store(tmp_path / "faces")
    before = (tmp_path / "faces" / "store.json").read_text()

    def interrupted() -> None:
        with new_store(tmp_path / "faces") as folder:
            new_crops(folder, 3, 16, 3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(RuntimeError, match="finish_store"), new_store(tmp_path / "faces"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["faces"]
    assert (tmp_path / "faces" / "store.json").read_text() == before
    make_store(tmp_path / "faces", TABLE[:2])
    assert [p.name for p in tmp_path.iterdir()] == ["faces"]
    assert len(open_store(tmp_path / "faces").crops) == 2


def test_the_remains_of_a_killed_run_are_cleared_away(tmp_path: Path) -> None:
    """A killed run leaves gigabytes; the next one removes them, but not those of a run that goes on."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for process in (dead.pid, 1):
        (tmp_path / f".faces.{process}.part").mkdir()
        (tmp_path / f".faces.{process}.part" / "crops.npy").write_bytes(b"x")
    make_store(tmp_path / "faces")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".faces.1.part", "faces"]


def test_the_selection_holds_declared_kept_faces_with_sorted_classes(tmp_path: Path) -> None:
    """Others by choice, undeclared and dropped ones never; labels follow the sorted ids."""
    store = make_store(tmp_path / "faces")
    chosen = select(store, ["B"], others=False)
    assert chosen.classes == ("000000aa", "000000bb")
    assert chosen.rows.tolist() == [0, 1, 2]
    assert chosen.labels.tolist() == [1, 0, 1]
    assert chosen.faces["face_id"].tolist() == ["00000000", "00000001", "00000002"]
    assert (chosen.rows.dtype, chosen.labels.dtype) == (np.int64, np.int64)
    everybody = select(store, ["A", "B"], others=True)
    assert everybody.classes == ("000000aa", "000000ab", "000000bb", "000000cc")
    assert everybody.rows.tolist() == [0, 1, 2, 3, 5, 6]


def test_min_faces_counts_kept_faces_and_the_limit_itself_is_enough(tmp_path: Path) -> None:
    """000000aa has two annotated faces but one kept one."""
    store = make_store(tmp_path / "faces")
    assert select(store, ["B"], others=False, min_faces=2).classes == ("000000bb",)
    assert select(store, ["B"], others=False, min_faces=3).classes == ()
    assert select(store, ["B", "A"], others=False, min_faces=3).classes == ("000000bb",)


def test_an_unknown_title_is_refused(tmp_path: Path) -> None:
    """A misspelt title must not look like an empty one."""
    with pytest.raises(UserError, match="has no title 'C'; it has A, B"):
        select(make_store(tmp_path / "faces"), ["C"], others=True)


def test_frame_codes_agree_where_frames_agree(tmp_path: Path) -> None:
    """Only equality of codes means anything; -1 is nobody's frame."""
    pages, frames = page_and_frame_codes(select(make_store(tmp_path / "faces"), ["B"], others=True).faces)
    assert pages.tolist() == [4, 4, 5, 0]
    assert frames[0] == frames[2] != frames[1]
    assert frames[3] == -1
    assert pages.dtype == frames.dtype == np.int32


def test_two_boxes_of_one_face_are_found(tmp_path: Path) -> None:
    """On one page, with nearly the same corners; only the first is in the frame where that is asked for."""
    boxes = [
        (0, 30, 30, 110, 120),
        (0, 32, 31, 111, 122),
        (0, 30, 30, 110, 75),
        (1, 30, 30, 110, 120),
        (0, 200, 30, 280, 120),
        (0, 31, 30, 110, 119),
        (0, 9, 9, 9, 9),
        (0, 9, 9, 9, 9),
    ]
    faces = pd.DataFrame(boxes, columns=["page_index", "xmin", "ymin", "xmax", "ymax"])
    faces["frame_id"] = ["f", "f", "f", "g", "f", "f", None, None]
    assert doubled_boxes(faces).tolist() == [[0, 1], [0, 5], [1, 5]]
    assert page_and_frame_codes(faces)[1].tolist() == [0, 0, 0, 1, 0, 0, -1, -1]
    assert page_and_frame_codes(faces, once=True)[1].tolist() == [0, -1, 0, 1, 0, -1, -1, -1]


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
    whole = batches_module._transform_whole_batch(crops, choices, 28, MEAN, STD).permute(0, 3, 1, 2)
    torch.testing.assert_close(whole.expand(n, 3, 28, 28), fast, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK", "grey RGB"])
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


def test_importing_the_module_does_not_import_torch_or_pandas() -> None:
    """Processes that cut pages start in a fraction of a second because of this."""
    code = "import sys, mfc.faces; print(sorted({'torch', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []


def test_a_store_that_is_cut_off_while_it_is_read_is_told(tmp_path: Path) -> None:
    """A sentence in place of a bus error, which no handler survives."""
    store = make_store(tmp_path / "faces")
    stream = batches(store.crops, np.arange(7), batch_size=1, device="cpu", prefetch=1)
    next(stream)
    with (store.path / "crops.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(UserError, match=r"crops\.npy was cut off while it was in use"):
        list(stream)
