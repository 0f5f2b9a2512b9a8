"""From a corpus folder to a face store, and everything that can be wrong with a corpus."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mfc.config import Preprocess
from mfc.errors import UserError
from mfc.faces import build
from mfc.faces.build import EXPORT_FOLDER
from mfc.faces.store import FaceStore, store_lock
from mfc.stages.preprocess import preprocess
from tests.recorder import Recorder

Box = tuple[int, int, int, int]
SMALL = Preprocess(size=16, jobs=1)


def page_xml(
    index: int, boxes: Sequence[Box], *, size: tuple[int, int] = (200, 100), who: str = "000000aa"
) -> str:
    """A page whose faces are numbered from 100 * index on, with one frame over all of it."""
    faces = "".join(
        f'<face id="{100 * index + i:08x}" character="{who}" '
        f'xmin="{b[0]}" ymin="{b[1]}" xmax="{b[2]}" ymax="{b[3]}"/>'
        for i, b in enumerate(boxes)
    )
    frame = f'<frame id="{index:08x}" xmin="0" ymin="0" xmax="{size[0]}" ymax="{size[1]}"/>'
    return f'<page index="{index}" width="{size[0]}" height="{size[1]}">{frame}{faces}</page>'


def write_corpus(root: Path, pages: str, pictures: dict[int, Image.Image], title: str = "AoiSora") -> Path:
    """A corpus of one title."""
    (root / "annotations.v2018.05.31").mkdir(parents=True)
    (root / "images" / title).mkdir(parents=True)
    (root / "books.txt").write_text(f"{title}\n", encoding="utf-8")
    names = '<character id="000000aa" name="Aoi"/><character id="000000bb" name="Other"/>'
    xml = f'<book title="{title}"><characters>{names}</characters><pages>{pages}</pages></book>'
    (root / "annotations.v2018.05.31" / f"{title}.xml").write_text(xml, encoding="utf-8")
    for index, picture in pictures.items():
        picture.save(root / "images" / title / f"{index:03d}.jpg", quality=95)
    return root


def noise(width: int = 200, height: int = 100, mode: str = "L", seed: int = 0) -> Image.Image:
    """A smooth random picture, so that JPEG keeps it nearly as it is."""
    shape = (height // 10, width // 10) + ((3,) if mode == "RGB" else ())
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


def made_in(folder: Path) -> list[str]:
    """What lies in a folder, but for the locks of stores, which stay."""
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def make(
    root: Path, store: Path, config: Preprocess = SMALL, overwrite: bool = False
) -> tuple[FaceStore, Recorder]:
    log = Recorder()
    return preprocess(config, root, store, log, overwrite), log


def test_a_face_is_cut_with_its_margin_and_stretched(tmp_path: Path) -> None:
    """By hand: box 20..60 x 10..50 grows by 20 a side; the crop is Pillow's bilinear stretch of that cut."""
    root = write_corpus(tmp_path / "c", page_xml(3, [(20, 10, 60, 50)]), {3: noise()})
    store, _ = make(root, tmp_path / "s")
    face = store.table.iloc[0]
    assert face[["crop_xmin", "crop_ymin", "crop_xmax", "crop_ymax"]].tolist() == [0, 0, 80, 70]
    assert (face["row"], face["page_index"], face["split"], face["frame_id"]) == (0, 3, "test", "00000003")
    page = Image.open(root / "images/AoiSora/003.jpg")
    expected = page.crop((0, 0, 80, 70)).convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(store.crops[0], np.asarray(expected))


def test_colour_stays_colour_and_one_channel_is_luma(tmp_path: Path) -> None:
    """Red stays red (not blue); color=False stores what Pillow calls L."""
    root = write_corpus(
        tmp_path / "c", page_xml(0, [(0, 0, 40, 40)]), {0: Image.new("RGB", (200, 100), (250, 20, 30))}
    )
    colour, _ = make(root, tmp_path / "rgb")
    assert colour.crops.shape == (1, 16, 16, 3)
    assert np.abs(colour.crops[0, 8, 8].astype(int) - (250, 20, 30)).max() <= 3
    grey, _ = make(root, tmp_path / "l", replace(SMALL, color=False))
    assert grey.crops.shape == (1, 16, 16, 1)
    assert int(grey.crops[0, 8, 8, 0]) == pytest.approx(0.299 * 250 + 0.587 * 20 + 0.114 * 30, abs=3)


def test_small_faces_are_dropped_at_exactly_the_limit(tmp_path: Path) -> None:
    """30 is too small in either direction, 31 is not."""
    boxes = [(0, 0, 30, 50), (0, 0, 31, 31), (0, 0, 50, 30), (50, 20, 50, 20), (90, 90, 10, 10)]
    store, _ = make(write_corpus(tmp_path / "c", page_xml(0, boxes), {0: noise()}), tmp_path / "s")
    assert store.table["row"].isna().tolist() == [True, False, True, True, True]
    reasons = ["too small", "", "too small", "too small", "corners swapped"]
    assert store.table["drop_reason"].fillna("").tolist() == reasons
    assert store.table["crop_xmin"].isna().tolist() == [True, False, True, True, True]


@pytest.mark.parametrize("box", [(90, 10, 10, 50), (10, 50, 90, 10), (90, 50, 10, 10), (50, 9, 49, 90)])
def test_swapped_corners_have_a_reason_of_their_own(tmp_path: Path, box: Box) -> None:
    """Such a face is not small: it is listed by its id, and strictly refused; a frame too."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(0, 0, 40, 40), box]), {0: noise()})
    store, log = make(root, tmp_path / "s")
    assert store.table["drop_reason"].fillna("").tolist() == ["", "corners swapped"]
    detail = "AoiSora: page 0: the corners of face 00000001 are swapped"
    assert [(p["kind"], p["page"], p["detail"]) for p in store.meta["problems"]] == [
        ("corners swapped", 0, detail)
    ]
    assert any("1 problems (1 corners swapped)" in line and detail in line for line in log.lines)
    with pytest.raises(UserError, match=f"{detail}; mend it"):
        make(root, tmp_path / "t", replace(SMALL, strict=True))
    xml = root / "annotations.v2018.05.31/AoiSora.xml"
    xml.write_text(xml.read_text().replace('xmin="0" ymin="0" xmax="200"', 'xmin="200" ymin="0" xmax="0"'))
    found = [p["detail"] for p in make(root, tmp_path / "u")[0].meta["problems"]]
    assert found == [detail, "AoiSora: page 0: the corners of frame 00000000 are swapped"]


def test_pictures_that_cannot_be_used_cost_their_faces_and_no_more(tmp_path: Path) -> None:
    """Missing, truncated, no picture at all, huge: each listed; the others' rows follow without gaps."""
    boxes: list[Box] = [(0, 0, 40, 40), (50, 0, 90, 40)]
    root = write_corpus(
        tmp_path / "c",
        "".join(page_xml(i, boxes) for i in range(6)),
        {i: noise(seed=i) for i in (0, 2, 3, 5)},
    )
    folder = root / "images/AoiSora"
    content = (folder / "002.jpg").read_bytes()
    (folder / "002.jpg").write_bytes(content[: len(content) // 2])
    (folder / "003.jpg").write_text("<html>404</html>")
    Image.new("1", (20_000, 20_000)).save(folder / "004.png")
    (folder / "004.png").rename(folder / "004.jpg")
    store, log = make(root, tmp_path / "s")
    crops = (store.path / "crops.npy").read_bytes()
    assert store.meta["files"]["crops.npy"]["sha256"] == hashlib.sha256(crops).hexdigest()
    reasons = store.table.groupby("page_index")["drop_reason"].first().tolist()
    assert [r if isinstance(r, str) else None for r in reasons] == [
        None,
        "missing image",
        *["unreadable image"] * 3,
        None,
    ]
    assert store.table["row"].dropna().tolist() == [0, 1, 2, 3]
    assert sorted(p.name for p in store.path.iterdir()) == ["crops.npy", "faces.parquet", "store.json"]
    page = Image.open(folder / "005.jpg").convert("RGB")
    expected = page.crop((30, 0, 110, 60)).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(store.crops[3], np.asarray(expected))
    problems = store.meta["problems"]
    assert [p["page"] for p in problems] == [1, 2, 3, 4]
    assert problems[0]["detail"] == "images/AoiSora/001.jpg is missing"
    assert "more than 89,478,485 pixels" in problems[3]["detail"]
    assert any("4 problems (1 missing image, 3 unreadable image)" in line for line in log.lines)
    with pytest.raises(
        UserError, match=r"001\.jpg is missing; mend it, or go on without it by --strict false"
    ):
        make(root, tmp_path / "s2", replace(SMALL, strict=True))
    with pytest.raises(UserError, match="missing; mend"):
        make(root, tmp_path / "s", replace(SMALL, strict=True))
    assert made_in(tmp_path) == ["c", "s"]


def test_a_picture_smaller_than_its_xml_ends_the_cut_at_its_edge(tmp_path: Path) -> None:
    """The box is clipped to the XML's size, the cut to the picture; a face outside of it is dropped."""
    xml = page_xml(0, [(60, 30, 100, 70), (150, 30, 190, 70)], size=(200, 100))
    root = write_corpus(tmp_path / "c", xml, {0: noise(100, 80)})
    store, _ = make(root, tmp_path / "s")
    first, second = store.table.iloc[0], store.table.iloc[1]
    assert first[["crop_xmin", "crop_ymin", "crop_xmax", "crop_ymax"]].tolist() == [40, 10, 120, 90]
    page = Image.open(root / "images/AoiSora/000.jpg").convert("RGB").crop((40, 10, 100, 80))
    np.testing.assert_array_equal(
        store.crops[0], np.asarray(page.resize((16, 16), Image.Resampling.BILINEAR))
    )
    assert second["drop_reason"] == "outside image"
    details = [p["detail"] for p in store.meta["problems"]]
    assert details == [
        "images/AoiSora/000.jpg has 100x80 pixels, not 200x100",
        "images/AoiSora/000.jpg: 1 faces lie outside of the picture",
    ]


@pytest.mark.parametrize(("size", "factor"), [((400, 200), 0.5), ((100, 50), 2)])
def test_boxes_for_pictures_of_another_size_are_scaled(
    tmp_path: Path, size: tuple[int, int], factor: float
) -> None:
    """The pictures were resized after they were annotated: the same crop, and it is listed."""
    box = (20, 10, 60, 50)
    for_xml = tuple(round(side / factor) for side in box)
    same = write_corpus(tmp_path / "c", page_xml(0, [box]), {0: noise()})
    xml = page_xml(0, [(for_xml[0], for_xml[1], for_xml[2], for_xml[3])], size=size)
    resized = write_corpus(tmp_path / "d", xml, {0: noise()})
    config = replace(SMALL, min_side=10)
    expected, _ = make(same, tmp_path / "s", config)
    store, _ = make(resized, tmp_path / "t", config)
    np.testing.assert_array_equal(store.crops, expected.crops)
    crop_box = store.table.iloc[0][["crop_xmin", "crop_ymin", "crop_xmax", "crop_ymax"]].tolist()
    assert crop_box == [round(side / factor) for side in (0, 0, 80, 70)], "as the XML counts pixels"
    [problem] = store.meta["problems"]
    assert problem["kind"] == "page size"
    assert problem["detail"].endswith(
        f"000.jpg has 200x100 pixels, not {size[0]}x{size[1]}; the boxes are scaled to it"
    )


@pytest.mark.parametrize("size", [(201, 100), (199, 99), (180, 100)])
def test_a_picture_of_another_shape_is_cut_as_the_reference_does_and_listed(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """Larger pictures too; one pixel more or less is no other scale."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(20, 10, 60, 50)], size=size), {0: noise()})
    store, _ = make(root, tmp_path / "s")
    page = Image.open(root / "images/AoiSora/000.jpg").convert("RGB").crop((0, 0, 80, 70))
    expected = page.resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(store.crops[0], np.asarray(expected))
    assert [p["detail"] for p in store.meta["problems"]] == [
        f"images/AoiSora/000.jpg has 200x100 pixels, not {size[0]}x{size[1]}"
    ]


@pytest.mark.parametrize("name", ["000.png", "0000.JPG", "0.webp"])
def test_pictures_with_other_endings_are_found(tmp_path: Path, name: str) -> None:
    """By their numbers; a FIFO is no picture and is not opened."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(20, 10, 60, 50)]), {})
    noise().save(root / "images/AoiSora" / name)
    assert len(make(root, tmp_path / "s")[0].crops) == 1
    (root / "images/AoiSora" / name).unlink()
    os.mkfifo(root / "images/AoiSora/000.jpg")
    with pytest.raises(UserError, match=r"000\.jpg cannot be used: no regular file"):
        make(root, tmp_path / "t")


def test_a_page_of_size_zero_takes_the_size_of_its_picture(tmp_path: Path) -> None:
    """Such pages exist in the real corpus; clipping to nothing would lose their faces."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(160, 60, 200, 100)], size=(0, 0)), {0: noise()})
    store, _ = make(root, tmp_path / "s")
    box = store.table.iloc[0][["crop_xmin", "crop_ymin", "crop_xmax", "crop_ymax"]].tolist()
    assert box == [140, 40, 200, 100]
    assert "page of size 0x0" in store.meta["problems"][0]["detail"]


def test_a_picture_is_turned_as_its_exif_data_says(tmp_path: Path) -> None:
    """The reference's decoder turns pictures, so boxes are meant for the turned one."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(10, 10, 50, 50)], size=(100, 200)), {0: noise()})
    exif = Image.Exif()
    exif[0x0112] = 6
    path = root / "images/AoiSora/000.jpg"
    noise().save(path, quality=95, exif=exif)
    store, _ = make(root, tmp_path / "s")
    upright = Image.open(path).transpose(Image.Transpose.ROTATE_270).convert("RGB").crop((0, 0, 70, 70))
    np.testing.assert_array_equal(
        store.crops[0], np.asarray(upright.resize((16, 16), Image.Resampling.BILINEAR))
    )
    assert store.meta["problems"] == []


def test_undeclared_characters_and_doubled_ids_are_listed(tmp_path: Path) -> None:
    """Their faces are cropped; a name that is missing says that nothing is known of the character."""
    second = page_xml(1, [(0, 0, 40, 40)], who="000000bb").replace('face id="00000064"', 'face id="00000000"')
    pages = page_xml(0, [(0, 0, 40, 40)], who="0000cafe") + second
    store, _ = make(write_corpus(tmp_path / "c", pages, {0: noise(), 1: noise()}), tmp_path / "s")
    assert store.table["character_name"].isna().tolist() == [True, False]
    assert store.table["is_other"].tolist() == [False, True]
    assert store.table["row"].tolist() == [0, 1]
    details = [p["detail"] for p in store.meta["problems"]]
    assert details == [
        "AoiSora: character 0000cafe (1 faces) is not declared",
        "AoiSora: the id of face 00000000 is used more than once",
    ]


def test_an_id_of_two_frames_is_listed(tmp_path: Path) -> None:
    """Faces of two pages would be taken for people in one frame."""
    pages = page_xml(0, [(0, 0, 40, 40)]) + page_xml(1, [(0, 0, 40, 40)]).replace(
        'frame id="00000001"', 'frame id="00000000"'
    )
    store, _ = make(write_corpus(tmp_path / "c", pages, {0: noise(), 1: noise()}), tmp_path / "s")
    assert [p["detail"] for p in store.meta["problems"]] == [
        "AoiSora: the id of frame 00000000 is used more than once"
    ]


def test_a_character_declared_twice_is_other_if_either_name_says_so(tmp_path: Path) -> None:
    """The reference's list holds ids, so one matching declaration is enough."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(0, 0, 40, 40)]), {0: noise()})
    xml = root / "annotations.v2018.05.31/AoiSora.xml"
    xml.write_text(xml.read_text().replace('id="000000bb"', 'id="000000aa"'))
    store, _ = make(root, tmp_path / "s")
    assert store.table["is_other"].tolist() == [True]
    assert store.table["character_name"].tolist() == ["Aoi"]


def test_the_extended_rule_knows_later_spellings(tmp_path: Path) -> None:
    """`_Other` is a person to the paper's list."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(0, 0, 40, 40)], who="000000bb"), {0: noise()})
    xml = root / "annotations.v2018.05.31/AoiSora.xml"
    xml.write_text(xml.read_text().replace('"Other"', '"_Other"'))
    assert make(root, tmp_path / "a")[0].table["is_other"].tolist() == [False]
    extended = replace(SMALL, others="extended")
    assert make(root, tmp_path / "b", extended)[0].table["is_other"].tolist() == [True]


def test_a_store_is_made_once(tmp_path: Path) -> None:
    """The same parameters find it; other ones are refused by name; overwrite remakes it only then."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(0, 0, 40, 40)]), {0: noise()})
    first, _ = make(root, tmp_path / "s")
    made = (first.path / "store.json").stat().st_mtime_ns
    again, log = make(root, tmp_path / "s", replace(SMALL, jobs=2), overwrite=True)
    assert (again.path / "store.json").stat().st_mtime_ns == made
    assert "up to date" in log.lines[-1]
    other = replace(SMALL, size=24, color=False)
    with pytest.raises(
        UserError, match=r"made with size 16, not 24; color true, not false: pass --overwrite true"
    ):
        make(root, tmp_path / "s", other)
    remade, _ = make(root, tmp_path / "s", other, overwrite=True)
    assert remade.crops.shape == (1, 24, 24, 1)
    assert remade.fingerprint != first.fingerprint
    noise(seed=9).save(root / "images/AoiSora/000.jpg", quality=50)
    with pytest.raises(UserError, match="another corpus, or this one before it was changed"):
        make(root, tmp_path / "s", other)
    (root / "splits.json").write_text(json.dumps({"train": ["AoiSora"]}))
    with pytest.raises(UserError, match="other splits"):
        make(root, tmp_path / "s", other)


def test_pictures_that_changed_without_changing_size_are_noticed(tmp_path: Path) -> None:
    """With the digests remembered and without; a corpus that was only touched is up to date."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(0, 0, 40, 40)]), {0: noise()})
    path, cache = root / "images/AoiSora/000.jpg", tmp_path / "digests.json"
    preprocess(SMALL, root, tmp_path / "s", Recorder(), cache=cache)
    os.utime(path)
    for digests in (None, cache):
        log = Recorder()
        preprocess(SMALL, root, tmp_path / "s", log, cache=digests)
        assert "up to date" in log.lines[-1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for digests in (None, cache):
        with pytest.raises(UserError, match="another corpus, or this one before it was changed"):
            preprocess(SMALL, root, tmp_path / "s", Recorder(), cache=digests)


def test_a_store_of_an_earlier_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """Its fingerprint meant something else; overwrite remakes it."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(0, 0, 40, 40)]), {0: noise()})
    store, _ = make(root, tmp_path / "s")
    meta = store.path / "store.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "schema": 1}))
    with pytest.raises(UserError, match=r"another schema than 2.*--overwrite true"):
        make(root, tmp_path / "s")
    assert make(root, tmp_path / "s", overwrite=True)[0].meta["schema"] == 2


def test_a_store_that_another_process_made_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It appears after the first look and before the lock: nothing is made twice."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(0, 0, 40, 40)]), {0: noise()})
    lock = store_lock

    def late(path: Path, say: Any) -> Any:
        monkeypatch.setattr("mfc.stages.preprocess.store_lock", lock)
        make(root, path)
        return lock(path, say)

    monkeypatch.setattr("mfc.stages.preprocess.store_lock", late)
    store, log = make(root, tmp_path / "s")
    assert log.lines == [f"preprocess: {store.path} is up to date with 1 faces; nothing to do"]


def test_what_is_no_store_is_never_replaced(tmp_path: Path) -> None:
    """--overwrite true must not delete somebody's folder; a damaged store may be remade."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(0, 0, 40, 40)]), {0: noise()})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is no face store"):
        make(root, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"
    (tmp_path / "empty").mkdir()
    assert len(make(root, tmp_path / "empty")[0].crops) == 1
    store, _ = make(root, tmp_path / "s")
    (store.path / "crops.npy").unlink()
    with pytest.raises(UserError, match="damaged"):
        make(root, tmp_path / "s")
    assert len(make(root, tmp_path / "s", overwrite=True)[0].crops) == 1


def test_a_corpus_without_a_usable_face_makes_no_store(tmp_path: Path) -> None:
    """The message leads to the first reason."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(0, 0, 40, 40)]), {})
    with pytest.raises(
        UserError, match=r"none of 1 faces could be cut; the first reason: images/AoiSora/000\.jpg is"
    ):
        make(root, tmp_path / "s")
    assert made_in(tmp_path) == ["c"]
    root = write_corpus(tmp_path / "no faces", page_xml(0, []), {})
    with pytest.raises(UserError, match="no page of the titles in use has a face"):
        make(root, tmp_path / "s")


def test_a_full_disk_is_noticed_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is known when the annotations are read."""
    root = write_corpus(tmp_path / "c", page_xml(0, [(0, 0, 40, 40)]), {0: noise()})
    usage = type("Usage", (), {"free": 5})
    monkeypatch.setattr(build.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"needs 0\.0 GB .*--color false"):
        make(root, tmp_path / "s")
    assert made_in(tmp_path) == ["c"]


def test_processes_give_the_same_store_as_one(tmp_path: Path) -> None:
    """60 pages by two spawned processes, byte for byte what one process makes; one page is missing."""
    pages = "".join(page_xml(i, [(5, 5, 45, 45), (60, 10, 110, 60)]) for i in range(60))
    root = write_corpus(tmp_path / "c", pages, {i: noise(seed=i) for i in range(60) if i != 7})
    one, _ = make(root, tmp_path / "one")
    two, _ = make(root, tmp_path / "two", replace(SMALL, jobs=2))
    assert one.table.equals(two.table)
    assert (one.path / "crops.npy").read_bytes() == (two.path / "crops.npy").read_bytes()
    assert len(two.crops) == 118
    (root / "images/AoiSora/007.jpg").write_bytes((root / "images/AoiSora/006.jpg").read_bytes())
    for jobs in (1, 2):
        store, _ = make(root, tmp_path / f"whole{jobs}", replace(SMALL, jobs=jobs))
        crops = (store.path / "crops.npy").read_bytes()
        assert store.meta["files"]["crops.npy"]["sha256"] == hashlib.sha256(crops).hexdigest()
        assert len(store.crops) == 120


def test_exported_crops_lie_in_folders_of_their_characters(tmp_path: Path) -> None:
    """As cut, without loss; as in the reference, a character with nothing kept has an empty folder."""
    pages = page_xml(0, [(20, 10, 60, 50)]) + page_xml(1, [(0, 0, 9, 9)], who="000000bb")
    root = write_corpus(tmp_path / "c", pages, {0: noise(), 1: noise()})
    store, _ = make(root, tmp_path / "s", replace(SMALL, export_crops=True))
    folder = store.path / EXPORT_FOLDER
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) == [
        "000000aa",
        "000000aa/00000000.png",
        "000000bb",
    ]
    exported = Image.open(folder / "000000aa/00000000.png")
    page = Image.open(root / "images/AoiSora/000.jpg").crop((0, 0, 80, 70))
    np.testing.assert_array_equal(np.asarray(exported), np.asarray(page))
    assert "up to date" in make(root, tmp_path / "s")[1].lines[-1]
    make(root, tmp_path / "plain")
    with pytest.raises(UserError, match="export_crops false, not true"):
        make(root, tmp_path / "plain", replace(SMALL, export_crops=True))


def test_worker_processes_load_neither_torch_nor_pandas() -> None:
    """What a spawned process imports decides how soon it starts."""
    code = (
        "import sys, mfc.stages.preprocess; print(sorted({'torch', 'pandas', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
