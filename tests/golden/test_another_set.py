"""The golden tests hold on any set: they pass on a copy that has what this set has not, edited by hand.

What is added: fine-tuning cases with keys that tell more than the title, and a face of zero width that lies
within a frame which is not its page's first.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mfc.corpus.manga109 import open_corpus
from mfc.faces.store import FaceStore
from tests.golden import test_data
from tests.golden.conftest import OWN, make_store, read

FLAT = "0000f1a7"
"""The face of zero width."""


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The edited copy."""
    folder = tmp_path_factory.mktemp("another") / "set"
    shutil.copytree(OWN, folder, ignore=shutil.ignore_patterns("*.npz"))
    title, page = "Neko-Michi", 5
    box = [600, 350, 600, 430]
    annotation = folder / "corpus" / "annotations.v2018.05.31" / f"{title}.xml"
    before, start, rest = re.split(rf'(<page index="{page}".*?>)', annotation.read_text(encoding="utf-8"))
    content, end, after = rest.partition("</page>")
    first, second = re.findall(r"<frame .*?>", content)
    assert 'xmin="450" ymin="300" xmax="807" ymax="565"' in second
    sides = " ".join(f'{side}="{x}"' for side, x in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    content += f'<face id="{FLAT}" character="0009c530" {sides}/>'
    annotation.write_text(f"{before}{start}{content}{end}{after}", encoding="utf-8")

    crops = read(folder, "crops.json")
    place = max(i for i, f in enumerate(crops["faces"]) if (f["book"], f["page"]) == (title, page))
    recorded = {"book": title, "page": page, "face": FLAT, "character": "0009c530", "bbox": box}
    recorded |= {
        "page_size_xml": crops["faces"][place]["page_size_xml"],
        "kept": False,
        "reason": "too small",
    }
    crops["faces"].insert(place + 1, recorded)
    crops["counts"]["annotated"] += 1
    write(folder / "crops.json", crops)

    sets = read(folder, "datasets.json")
    cases = sets["manga_ft_dataset"]
    cases[title]["page_dict"][FLAT] = page
    cases[title]["frame_dict"][FLAT] = first.split('"')[1]
    sets["manga_ft_dataset"] = {f"{name}, threshold 0, with Others": case for name, case in cases.items()}
    write(folder / "datasets.json", sets)
    return folder


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def store(another: Path, tmp_path_factory: pytest.TempPathFactory) -> FaceStore:
    return make_store(another, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def quirky_store(another: Path, tmp_path_factory: pytest.TempPathFactory) -> FaceStore:
    return make_store(another, tmp_path_factory.mktemp("quirks"), reference_quirks=True)


def test_faces_and_crops(another: Path, store: FaceStore) -> None:
    """The added face is read, stands in its place in the store, and is dropped."""
    corpus = open_corpus(another / "corpus")
    test_data.test_every_annotated_face_is_read_as_recorded(another, corpus)
    test_data.test_the_store_has_the_recorded_faces_in_the_recorded_order(another, store)
    test_data.test_the_same_faces_are_kept_and_cut_alike(another, store)
    assert FLAT in set(store.table["face_id"])


def test_data_sets(another: Path, store: FaceStore, quirky_store: FaceStore) -> None:
    """Keys are not taken for titles."""
    test_data.test_labelled_data_sets_are_the_recorded_ones(another, store)
    test_data.test_fine_tuning_sets_know_page_and_frame_as_the_reference_does(another, quirky_store)
    test_data.test_codes_of_pages_and_frames_say_the_same(another, quirky_store)


def test_the_face_of_zero_width(another: Path, store: FaceStore) -> None:
    """No frame here, the page's first in the recording, and no other difference."""
    corpus = open_corpus(another / "corpus")
    test_data.test_only_faces_that_share_no_area_with_a_frame_differ(another, corpus, store)
    (frame,) = store.table.loc[store.table["face_id"] == FLAT, "frame_id"]
    assert not isinstance(frame, str)
