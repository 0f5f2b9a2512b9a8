"""Whatever stands in a file that strangers made: the documented error or a result, never a crash.

``MFC_FUZZ_EXAMPLES`` sets how many inputs each reader is given (CI: some hundreds, about a minute in all).
"""

from __future__ import annotations

import json
import os
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mfc.cast.decisions import decisions, read_sheet
from mfc.config import load_experiment
from mfc.corpus.comics import read_comic
from mfc.corpus.manga109 import open_corpus
from mfc.corpus.splits import resolve_splits
from mfc.encoders.network import EncoderConfig, load_encoder, new_encoder, save_encoder
from mfc.errors import UserError
from mfc.faces.store import open_store
from tests.small_store import small_store

EXAMPLES = int(os.environ.get("MFC_FUZZ_EXAMPLES", "120"))
MEMORY = 2 << 30
"""Bytes by which reading may enlarge this process at most."""

NASTY: list[Any] = [
    *(None, True, -1, 0, 1e308, -1e308, float("nan"), 10**30, "", " ", "\0", "0", "1e5", "٣", "１２"),
    *("\u00e9", "e\u0301", "\ud800", "=1+1", "../../x", "/", "a" * 300, "a" * 70_000),
    *([], {}, [[]], {"a": {}}, "nan", "-0", "1,030"),
]
"""Values in the place of those that are expected."""
TOKENS = [
    *(b"", b"\0", b"\xff\xfe", b"<", b">", b"&", b'"', b"'", b",", b";", b"\t", b"\n", b"\r", b"{"),
    *(b"[" * 5000, b"<a>" * 3000, b"-", b"99999999999999999999", b"1e400", b"NaN", b"null"),
    *(b"\xf0\x9f\x98\x80", b"&x;", b"%"),
]


@st.composite
def spoiled_bytes(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file with some places cut, doubled, or overwritten."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(content) - 1, 0)))
        end = start + draw(st.sampled_from([0, 1, 2, 5, 40, 400]))
        what = draw(st.sampled_from(["token", "cut", "double", "end", "byte"]))
        if what == "token":
            content[start:end] = draw(st.sampled_from(TOKENS))
        elif what == "cut":
            del content[start:end]
        elif what == "double":
            content[start:start] = content[start:end]
        elif what == "end":
            del content[start:]
        elif content:
            content[start] = draw(st.integers(0, 255))
    return bytes(content)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values inside a JSON value, itself included."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def spoiled_json(draw: st.DrawFn, good: bytes) -> bytes:
    """A good JSON with some values replaced, missing or doubled."""
    value = json.loads(good)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(value))))
        nasty = draw(st.sampled_from(NASTY))
        if not path:
            value = nasty if draw(st.booleans()) else value
            continue
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        what = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        if what == "replace":
            holder[path[-1]] = nasty
        elif what == "remove":
            del holder[path[-1]]
        elif isinstance(holder, list):
            holder.append(holder[path[-1]])
    return json.dumps(value).encode("utf-8", "surrogatepass")


@st.composite
def spoiled_values(draw: st.DrawFn, good: bytes) -> bytes:
    """A good text with some of its words (cells, attributes, scalars) replaced."""
    words = list(re.finditer(rb"[\w.#-]+", good))
    content = good
    for word in sorted(
        draw(st.lists(st.sampled_from(words), min_size=1, max_size=3)), key=lambda w: -w.start()
    ):
        nasty = str(draw(st.sampled_from(NASTY))).encode("utf-8", "surrogatepass")
        content = content[: word.start()] + nasty + content[word.end() :]
    return content


def spoiled(good: bytes) -> st.SearchStrategy[bytes]:
    """Bytes, words or, where it is JSON, values of a good file spoiled."""
    ways = [spoiled_bytes(good), spoiled_values(good)]
    if good[:1] in b"{[":
        ways.append(spoiled_json(good))
    return st.one_of(ways)


def fuzz(
    good: bytes, read: Callable[[bytes], object], allowed: tuple[type[Exception], ...] = (UserError,)
) -> None:
    """Give a reader many spoiled versions of a file that it reads."""
    read(good)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="MFC_FUZZ_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(spoiled(good))
    def run(content: bytes) -> None:
        try:
            read(content)
        except allowed as error:
            sentence = str(error)
            assert sentence.strip()
            assert "\n" not in sentence.strip(), sentence
            assert len(sentence) < 2000, sentence

    run()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY, f"reading took {grown >> 20} MiB"


XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<book title="T"><characters><character id="00000001" name="Aki"/></characters><pages>
<page index="0" width="200" height="100"><frame id="00000002" xmin="0" ymin="0" xmax="90" ymax="99"/>
<face id="00000003" xmin="5" ymin="5" xmax="50" ymax="60" character="00000001"/>
<text id="00000004" xmin="60" ymin="5" xmax="80" ymax="60">Hello</text></page></pages></book>"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A title with one page."""
    root = tmp_path_factory.mktemp("corpus")
    (root / "books.txt").write_text("T\n")
    (root / "images" / "T").mkdir(parents=True)
    (root / "annotations.v2018.05.31").mkdir()
    (root / "annotations.v2018.05.31" / "T.xml").write_bytes(XML)
    Image.new("L", (200, 100), 200).save(root / "images" / "T" / "000.jpg")
    return root


def test_annotations(corpus: Path) -> None:
    """The XML of a title."""

    def read(content: bytes) -> object:
        (corpus / "annotations.v2018.05.31" / "T.xml").write_bytes(content)
        return open_corpus(corpus).read_book("T")

    fuzz(XML, read)


def test_lists_of_titles(corpus: Path) -> None:
    """books.txt and splits.json."""

    def books(content: bytes) -> object:
        (corpus / "books.txt").write_bytes(content)
        return open_corpus(corpus).titles

    def splits(content: bytes) -> object:
        (corpus / "mine.json").write_bytes(content)
        return resolve_splits(corpus, ["T", "U", "V"], str(corpus / "mine.json"))

    fuzz(b"T\nAnother-Title's\n", books)
    fuzz(b'{"train": ["T"], "val": ["U"], "test": ["V"]}', splits)


COCO = json.dumps(
    {
        "images": [{"id": 1, "file_name": "000.jpg", "width": 200, "height": 100}],
        "categories": [{"id": 1, "name": "face"}, {"id": 2, "name": "frame"}],
        "annotations": [
            {"id": 7, "image_id": 1, "category_id": 1, "bbox": [5, 5, 45, 55]},
            {"id": 8, "image_id": 1, "category_id": 2, "bbox": [0, 0, 90, 99]},
        ],
    }
).encode()
TABLE = b"page,kind,xmin,ymin,xmax,ymax,face_id\n000.jpg,face,5,5,50,60,a\n000.jpg,frame,0,0,90,99,b\n"


@pytest.mark.parametrize(("name", "good"), [("boxes.json", COCO), ("boxes.csv", TABLE)])
def test_boxes(corpus: Path, tmp_path: Path, name: str, good: bytes) -> None:
    """Boxes of the faces of an unlabelled comic."""

    def read(content: bytes) -> object:
        (tmp_path / name).write_bytes(content)
        return read_comic(corpus / "images" / "T", boxes=str(tmp_path / name), annotations="annotations")

    fuzz(good, read)


SHEET = (
    b"face_id,page,xmin,ymin,xmax,ymax,cluster,name,decided,distance,singleton,made_cluster,made_name\n"
    b"a,0,1,1,9,9,1,Aki,yes,0.1,,1,Aki\nb,0,1,1,9,9,2,,,0.2,,1,\nc,1,1,1,9,9,2,,,0.3,,2,\n"
)


def test_corrections(tmp_path: Path) -> None:
    """A clusters.csv, and what its rows decide."""

    def read(content: bytes) -> object:
        (tmp_path / "clusters.csv").write_bytes(content)
        return decisions(read_sheet(tmp_path / "clusters.csv"))

    fuzz(SHEET, read)


def test_experiments(tmp_path: Path) -> None:
    """An experiment file."""

    def read(content: bytes) -> object:
        (tmp_path / "mine.yaml").write_bytes(content)
        return load_experiment(str(tmp_path / "mine.yaml"))

    fuzz(b"about: mine\npretrain: {epochs: 5, lr: 1e-3}\nfinetune:\n  seeds: '0,1'\n  title_idx: 3\n", read)


@pytest.mark.parametrize("name", ["store.json", "faces.parquet", "crops.npy"])
def test_stores(tmp_path: Path, name: str) -> None:
    """Each file of a face store."""
    store = small_store(tmp_path / "faces", faces=2, size=16).path

    def read(content: bytes) -> object:
        (store / name).write_bytes(content)
        opened = open_store(store)
        return opened.titles("test"), opened.fingerprint, np.asarray(opened.crops[:1]).sum()

    fuzz((store / name).read_bytes(), read)


def test_encoders(tmp_path: Path) -> None:
    """What an encoder is rebuilt from."""
    network = new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=0)
    save_encoder(network, tmp_path)

    def read(content: bytes) -> object:
        (tmp_path / "encoder.json").write_bytes(content)
        return load_encoder(tmp_path)

    fuzz((tmp_path / "encoder.json").read_bytes(), read)


def test_weights(tmp_path: Path) -> None:
    """The weights themselves: flipped bits too."""
    network = new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=0)
    save_encoder(network, tmp_path)
    good = (tmp_path / "encoder.safetensors").read_bytes()
    head = good[:20_000]

    def read(content: bytes) -> object:
        (tmp_path / "encoder.safetensors").write_bytes(content + good[len(head) :])
        return load_encoder(tmp_path)

    fuzz(head, read)
