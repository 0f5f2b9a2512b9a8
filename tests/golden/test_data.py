"""Crops, Others, splits, data sets and image transforms against recordings of the public reference.

`MFC_GOLDEN=DIR` runs the same tests on another set; nothing here knows this set's titles, ids or counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from PIL import Image

from mfc.config import SPLITS, Preprocess
from mfc.corpus.manga109 import Corpus, is_other, open_corpus
from mfc.corpus.splits import reference_split
from mfc.errors import UserError
from mfc.faces.batches import Choices, apply_gamma, centre_choices, gamma_exponent, resized_side, transform
from mfc.faces.build import EXPORT_FOLDER
from mfc.faces.cut import stretch
from mfc.faces.selection import page_and_frame_codes, select
from mfc.faces.store import FaceStore
from mfc.log import PrintLog
from mfc.stages.preprocess import preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_SIZE = 224
NO_OVERLAP = "no_frame_overlap"


def read(golden: Path, name: str) -> Any:
    return json.loads((golden / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def corpus(golden: Path) -> Corpus:
    return open_corpus(golden / "corpus")


def make_store(golden: Path, folder: Path, **parameters: Any) -> FaceStore:
    """The store of the golden corpus with its own title lists."""
    lists = folder / "lists.json"
    lists.write_text(json.dumps(read(golden, "crops.json")["title_lists"]), encoding="utf-8")
    config = Preprocess(splits=str(lists), export_crops=True, jobs=1, **parameters)
    return preprocess(config, golden / "corpus", folder / "faces", PrintLog())


@pytest.fixture(scope="module")
def store(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> FaceStore:
    return make_store(golden, tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def quirky_store(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> FaceStore:
    """With the reference's accident: a face that overlaps no frame gets the page's first frame."""
    return make_store(golden, tmp_path_factory.mktemp("quirks"), reference_quirks=True)


def listed_faces(golden: Path) -> list[dict[str, Any]]:
    """The recorded faces of the titles that are in a list; the others are never cropped."""
    crops = read(golden, "crops.json")
    titles = {title for titles in crops["title_lists"].values() for title in titles}
    return [face for face in crops["faces"] if face["book"] in titles]


def test_every_annotated_face_is_read_as_recorded(golden: Path, corpus: Corpus) -> None:
    """All titles, also those in no list: ids, boxes, page numbers and the page sizes of the XML."""
    crops = read(golden, "crops.json")
    mine = [
        (title, page.index, face.face_id, face.character_id, list(face.box), [page.width, page.height])
        for title in corpus.titles
        for page in corpus.read_book(title).pages
        for face in page.faces
    ]
    names = ("book", "page", "face", "character", "bbox", "page_size_xml")
    assert mine == [tuple(face[name] for name in names) for face in crops["faces"]]
    assert len(mine) == crops["counts"]["annotated"]


def test_the_store_has_the_recorded_faces_in_the_recorded_order(golden: Path, store: FaceStore) -> None:
    """Every annotated face of the listed titles, in book, page and XML order, with its ids as texts."""
    recorded = listed_faces(golden)
    columns = ["title", "page_index", "face_id", "character_id", "xmin", "ymin", "xmax", "ymax"]
    mine = store.table[columns].to_dict("split")["data"]
    assert mine == [[f["book"], f["page"], f["face"], f["character"], *f["bbox"]] for f in recorded]
    lists = read(golden, "crops.json")["title_lists"]
    assert {name: store.titles(name) for name in SPLITS} == {name: lists.get(name, []) for name in SPLITS}


def test_the_same_faces_are_kept_and_cut_alike(golden: Path, store: FaceStore) -> None:
    """What is dropped, the expanded box, the file's place and size, and the mean of the cut pixels."""
    folder = store.path / EXPORT_FOLDER
    boxes = store.table[["crop_xmin", "crop_ymin", "crop_xmax", "crop_ymax"]]
    recorded = listed_faces(golden)
    assert store.table["row"].notna().tolist() == [face["kept"] for face in recorded]
    assert store.table["row"].dropna().tolist() == list(range(read(golden, "crops.json")["counts"]["kept"]))
    reasons = [reason if isinstance(reason, str) else None for reason in store.table["drop_reason"]]
    assert reasons == [face.get("reason") for face in recorded]
    for face, (_, box) in zip(recorded, boxes.iterrows(), strict=True):
        path = (folder / face["character"] / face["face"]).with_suffix(".png")
        assert path.exists() == face["kept"], face
        if not face["kept"]:
            assert box.isna().all(), face
            continue
        assert box.tolist() == face["crop_box"], face
        assert path.relative_to(folder).with_suffix("") == Path(face["path"]).with_suffix("")
        with Image.open(path) as image:
            assert list(image.size) == face["saved_size_wh"], face
            mean = np.asarray(image.convert("RGB")).reshape(-1, 3).mean(0)
        np.testing.assert_allclose(mean, face["mean_rgb_before_encoding"], atol=1.0, err_msg=str(face))


def test_the_stored_crop_is_the_cut_stretched_by_pillow(store: FaceStore) -> None:
    """crops.npy holds what the reference's Resize would make of the cut without a second JPEG encoding."""
    folder = store.path / EXPORT_FOLDER
    kept = store.table[store.table["row"].notna()]
    for character, face, row in zip(kept["character_id"], kept["face_id"], kept["row"], strict=True):
        with Image.open(folder / character / f"{face}.png") as image:
            size = store.crops.shape[1]
            expected = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(store.crops[row], expected)


def test_folders_of_characters_are_made_before_the_size_test(golden: Path, store: FaceStore) -> None:
    """A character none of whose faces is kept has an empty folder."""
    crops = read(golden, "crops.json")
    folders = sorted((store.path / EXPORT_FOLDER).iterdir())
    assert [f.name for f in folders] == sorted(crops["crop_directories"])
    assert [f.name for f in folders if not any(f.iterdir())] == sorted(crops["empty_crop_directories"])


def test_others_are_the_recorded_ones(golden: Path, corpus: Corpus) -> None:
    """Name by name, and as the reference lists them in books.txt order."""
    others = read(golden, "others.json")
    mine = [
        {"book": title, "id": c.character_id, "name": c.name, "other": is_other(c.name)}
        for title in corpus.titles
        for c in corpus.read_book(title).characters
    ]
    assert mine == others["characters"]
    assert [c["id"] for c in mine if c["other"]] == others["others_file_order"]
    written = (golden / "lists" / "others_ids.txt").read_text(encoding="utf-8").split()
    assert [c["id"] for c in mine if c["other"]] == written


def test_splits_are_the_recorded_ones(golden: Path) -> None:
    """All lists with their order; where the reference fails there is one clear sentence instead."""
    for case in read(golden, "splits.json")["cases"]:
        if "error" in case["result"]:
            with pytest.raises(UserError, match="titles"):
                reference_split(case["titles"])
        else:
            mine = reference_split(case["titles"])
            assert mine == {name: case["result"][name] for name in SPLITS}, case["name"]


def canonical(faces: pd.DataFrame) -> npt.NDArray[np.intp]:
    """The order in which the recordings list items: by character id, then by file name."""
    return np.lexsort((faces["face_id"].to_numpy(str), faces["character_id"].to_numpy(str)))


def assert_same_items(store: FaceStore, case: dict[str, Any], titles: list[str]) -> pd.DataFrame:
    """Classes, labels and files; returns the faces in the recorded order."""
    mine = select(store, titles, others=not case["exclude_others"], min_faces=case["threshold"])
    order = canonical(mine.faces)
    faces = mine.faces.iloc[order]
    assert list(mine.classes) == case["classes"]
    assert mine.labels[order].tolist() == case["labels"]
    assert faces["face_id"].tolist() == [Path(name).stem for name in case["files"]]
    assert (len(mine.labels), len(mine.classes)) == (case["n_items"], case["n_classes"])
    assert mine.rows[order].tolist() == faces["row"].tolist()
    return faces


def test_labelled_data_sets_are_the_recorded_ones(golden: Path, store: FaceStore) -> None:
    """For every list of titles, with and without Others, every threshold.

    A title that is in no list is never cropped: the reference finds no files, the store does not know it.
    """
    cases = read(golden, "datasets.json")["manga_dataset"]
    assert cases
    known = {title for name in SPLITS for title in store.titles(name)}
    for case in cases:
        assert_same_items(store, case, [title for title in case["titles"] if title in known])
        for title in set(case["titles"]) - known:
            with pytest.raises(UserError, match="has no title"):
                select(store, [title], others=True)


def test_fine_tuning_sets_know_page_and_frame_as_the_reference_does(
    golden: Path, quirky_store: FaceStore
) -> None:
    """Items, and for all annotated faces, also the dropped ones, page and frame, with the accident."""
    cases = read(golden, "datasets.json")["manga_ft_dataset"]
    assert cases
    for title, case in cases.items():
        faces = assert_same_items(quirky_store, case, [case["title"]])
        assert faces["page_index"].tolist() == case["item_page"]
        assert [f if isinstance(f, str) else None for f in faces["frame_id"]] == case["item_frame"]
        everyone = quirky_store.table[quirky_store.table["title"] == title]
        assert dict(zip(everyone["face_id"], everyone["page_index"], strict=True)) == case["page_dict"]
        frames = [f if isinstance(f, str) else None for f in everyone["frame_id"]]
        assert dict(zip(everyone["face_id"], frames, strict=True)) == case["frame_dict"]


def test_codes_of_pages_and_frames_say_the_same(golden: Path, quirky_store: FaceStore) -> None:
    """What the constraints get: page numbers, and codes that agree exactly where the frames do."""
    for case in read(golden, "datasets.json")["manga_ft_dataset"].values():
        faces = assert_same_items(quirky_store, case, [case["title"]])
        pages, codes = page_and_frame_codes(faces)
        assert pages.tolist() == case["item_page"]
        frames = case["item_frame"]
        assert [code == -1 for code in codes] == [frame is None for frame in frames]
        pairs = {(code, frame) for code, frame in zip(codes.tolist(), frames, strict=True)}
        assert len(pairs) == len(set(frames)) == len(set(codes.tolist()))


def test_only_faces_that_overlap_no_frame_differ_from_the_reference(golden: Path, store: FaceStore) -> None:
    """A deliberate difference: such a face has no frame here, the page's first frame there."""
    recorded: dict[str, str | None] = {}
    for case in read(golden, "datasets.json")["manga_ft_dataset"].values():
        recorded |= case["frame_dict"]
    lonely = {f["face"] for f in listed_faces(golden) if NO_OVERLAP in (f.get("edge") or ())}
    for face_id, frame in zip(store.table["face_id"], store.table["frame_id"], strict=True):
        mine = frame if isinstance(frame, str) else None
        assert mine == (None if face_id in lonely else recorded[face_id]), face_id


@pytest.fixture(scope="module")
def transforms(golden: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(golden / "transforms.npz", allow_pickle=False) as data:
        return dict(data)


def crop_of(golden: Path, transforms: dict[str, npt.NDArray[Any]], name: str) -> npt.NDArray[np.uint8]:
    """An image's crop as the store would hold it; the recorded one where the picture itself is not given."""
    path = golden / "crops_png" / f"{name}.png"
    if path.exists():
        with Image.open(path) as image:
            return stretch(image, resized_side(IMAGE_SIZE), 3)
    return transforms[f"{name}_resized"]


def apply(
    crop: npt.NDArray[np.uint8], choices: Choices, mean: Any = MEAN, std: Any = STD
) -> npt.NDArray[np.float32]:
    batch = torch.from_numpy(np.array(crop)[None])
    result: npt.NDArray[np.float32] = transform(batch, choices, image_size=IMAGE_SIZE, mean=mean, std=std)[
        0
    ].numpy()
    return result


def at(tensor: npt.NDArray[np.float32], transforms: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """The recorded sample positions of a (3, H, W) tensor."""
    c, h, w = transforms["sample_positions_chw"].T
    return tensor[c, h, w]


def test_stretching_is_pillows(golden: Path, transforms: dict[str, npt.NDArray[Any]]) -> None:
    """Exactly, for colour and for one channel repeated to three."""
    compared = 0
    for name in transforms["names"]:
        if (golden / "crops_png" / f"{name}.png").exists():
            np.testing.assert_array_equal(crop_of(golden, transforms, name), transforms[f"{name}_resized"])
            compared += 1
    assert compared


def test_stretching_a_batch_stays_within_a_level(
    golden: Path, transforms: dict[str, npt.NDArray[Any]]
) -> None:
    """A store of another size than the network wants is stretched by torch: Pillow within a level."""
    for name in transforms["names"]:
        crop = transforms[f"{name}_resized"]
        large = np.asarray(Image.fromarray(crop).resize((400, 400), Image.Resampling.BICUBIC))
        expected = np.asarray(Image.fromarray(large).resize((256, 256), Image.Resampling.BILINEAR))
        values = apply(large, centre_choices(1, 32), mean=(0, 0, 0), std=(1, 1, 1)).transpose(1, 2, 0) * 255
        difference = np.abs(values - expected[16:240, 16:240].astype(np.float32))
        assert difference.max() < 1.01
        assert difference.mean() < 0.1


def test_the_evaluation_transform(golden: Path, transforms: dict[str, npt.NDArray[Any]]) -> None:
    """Samples, mean and standard deviation of the finished tensors."""
    for name in transforms["names"]:
        tensor = apply(crop_of(golden, transforms, name), centre_choices(1, 32))
        np.testing.assert_allclose(at(tensor, transforms), transforms[f"{name}_val_samples"], atol=1e-5)
        channels = tensor.reshape(3, -1).astype(np.float64)
        np.testing.assert_allclose(channels.mean(1), transforms[f"{name}_val_mean"], atol=1e-5)
        np.testing.assert_allclose(channels.std(1), transforms[f"{name}_val_std"], atol=1e-5)


def with_exponent(choices: Choices, exponent: float) -> Choices:
    return Choices(choices.top, choices.left, choices.flip, torch.tensor([exponent], dtype=torch.float32))


def test_gamma_raises_the_values_of_the_centre(golden: Path, transforms: dict[str, npt.NDArray[Any]]) -> None:
    """Fixed exponents on values 0..1, not normalised."""
    for name in transforms["names"]:
        crop = crop_of(golden, transforms, name)
        for i, gamma in enumerate(transforms["gammas"]):
            choices = with_exponent(centre_choices(1, 32), float(gamma))
            tensor = apply(crop, choices, mean=(0, 0, 0), std=(1, 1, 1))
            np.testing.assert_allclose(
                at(tensor, transforms), transforms[f"{name}_gamma_samples"][i], atol=1e-5
            )
            means = tensor.reshape(3, -1).mean(1, dtype=np.float64)
            np.testing.assert_allclose(means, transforms[f"{name}_gamma_mean"][i], atol=1e-5)


def test_gamma_on_the_small_array(transforms: dict[str, npt.NDArray[Any]]) -> None:
    """All exponents at once, as for a batch."""
    gammas = torch.from_numpy(transforms["gammas"]).float()
    values = torch.from_numpy(transforms["gamma_small_in"]).expand(len(gammas), 3, 8, 8)
    np.testing.assert_allclose(apply_gamma(values, gammas).numpy(), transforms["gamma_small_out"], atol=1e-6)


def test_exponents_follow_the_recorded_draws(transforms: dict[str, npt.NDArray[Any]]) -> None:
    """A uniform draw gives the recorded exponent."""
    drawn = gamma_exponent(torch.from_numpy(transforms["gamma_draw_u"]), 2.0)
    np.testing.assert_allclose(drawn.numpy(), transforms["gamma_draw_value"], atol=1e-9)


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_the_training_transforms_with_pinned_choices(
    golden: Path, transforms: dict[str, npt.NDArray[Any]], kind: str
) -> None:
    """Cut, mirrored, gamma only for pre-training, normalised: all faces of a batch at once, each its own."""
    top, left, flip, exponent = torch.from_numpy(transforms["pinned_choices"]).T
    gamma = exponent.float() if kind == "pretrain" else None
    choices = Choices(top.long(), left.long(), flip.bool(), gamma)
    recorded = transforms[f"pinned_{kind}_samples"]
    candidates = []
    for name in transforms["names"]:  # which of the images was recorded is said in words only
        crop = torch.from_numpy(np.array(crop_of(golden, transforms, name)))
        batch = crop.expand(len(top), *crop.shape)
        result = transform(batch, choices, image_size=IMAGE_SIZE, mean=MEAN, std=STD).numpy()
        distance = max(np.abs(at(t, transforms) - r).max() for t, r in zip(result, recorded, strict=True))
        candidates.append((distance, result))
    result = min(candidates, key=lambda candidate: candidate[0])[1]
    for i, tensor in enumerate(result):
        np.testing.assert_allclose(at(tensor, transforms), recorded[i], atol=1e-5)
        means = tensor.reshape(3, -1).mean(1, dtype=np.float64)
        np.testing.assert_allclose(means, transforms[f"pinned_{kind}_mean"][i], atol=1e-5)
