"""Whatever stands in a file that strangers made: the documented error or a result, never a crash.

``MFC_FUZZ_EXAMPLES`` sets how many inputs each reader is given (CI: some hundreds, about a minute in all).
"""

from __future__ import annotations

import base64
import copy
import io
import json
import os
import re
import resource
import signal
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mfc.cast.decisions import decisions
from mfc.cast.result import RECORD, other_comic
from mfc.cast.table import read_sheet
from mfc.clusters.counting import CALIBRATION, read_calibration
from mfc.clusters.linkage import THRESHOLDS
from mfc.clusters.protocol import TitleScore
from mfc.config import load_experiment
from mfc.corpus.comics import read_comic
from mfc.corpus.manga109 import open_corpus
from mfc.corpus.openmantra import _read_record, read_import
from mfc.corpus.pictures import PictureError, decode, picture_size, read_page
from mfc.corpus.splits import resolve_splits
from mfc.encoders.network import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    EncoderConfig,
    import_torchvision,
    load_encoder,
    new_encoder,
    read_state_dict,
    save_encoder,
)
from mfc.encoders.training import FINISHED, _finished, last_validation
from mfc.errors import UserError
from mfc.faces.store import open_store
from mfc.log import PrintLog
from mfc.workflow.encoders import current_encoder
from mfc.workflow.scorebook import Scorebook, Variant
from mfc.workspace import Workspace
from tests.small_store import small_store

if TYPE_CHECKING:
    from mfc.workflow.session import Session

EXAMPLES = int(os.environ.get("MFC_FUZZ_EXAMPLES", "60"))
MEMORY = 2 << 30
"""Bytes by which reading may enlarge this process at most."""
HANG = 60
"""Seconds after which a reader of some kilobytes is taken to hang."""

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
        nasty = copy.deepcopy(draw(st.sampled_from(NASTY)))
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


class Hang(BaseException):
    """A reader that does not come back; no `Exception`, so that none can take it for its own."""


def too_long(number: int, frame: object) -> None:
    raise Hang


def fuzz(
    good: bytes,
    read: Callable[[bytes], object],
    allowed: tuple[type[Exception], ...] = (UserError,),
    *,
    share: float = 1.0,
    ways: st.SearchStrategy[bytes] | None = None,
) -> None:
    """Give a reader many spoiled versions of a file that it reads.

    Args:
        share: of the usual number of inputs, for readers that take long.
        ways: how it is spoiled; like any file unless given.
    """
    read(good)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts, started = Counter[str](), time.process_time()
    signal.signal(signal.SIGALRM, too_long)

    @settings(
        max_examples=max(round(EXAMPLES * share), 10),
        deadline=None,
        database=None,
        derandomize="MFC_FUZZ_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(spoiled(good) if ways is None else ways)
    def run(content: bytes) -> None:
        counts["inputs"] += 1
        signal.alarm(HANG)
        try:
            read(content)
        except allowed as error:
            counts["refused"] += 1
            sentence = str(error)
            assert sentence.strip()
            assert len(sentence.splitlines()) == 1, sentence
            assert len(sentence) < 2000, sentence
            sentence.encode()
        finally:
            signal.alarm(0)

    run()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(
        f"fuzz: {counts['inputs']} inputs, {counts['refused']} refused, "
        f"{time.process_time() - started:.1f} s of processor time, {grown >> 20} MiB more"
    )
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


@pytest.mark.parametrize(("name", "good"), [("boxes.json", COCO), ("boxes.csv", TABLE)], ids=["coco", "csv"])
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
    meta = json.loads((store / "store.json").read_text())

    def read(content: bytes) -> object:
        (store / name).write_bytes(content)
        if name != "store.json":  # with the right length noted, or nothing else would be looked at
            meta["files"][name]["bytes"] = len(content)
            (store / "store.json").write_text(json.dumps(meta))
        opened = open_store(store)
        return opened.titles("test"), opened.fingerprint, np.asarray(opened.crops[:1]).sum()

    fuzz((store / name).read_bytes(), read)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder, whose record has no checksum of its weights: spoiled ones come to the reader."""
    folder = tmp_path_factory.mktemp("encoder")
    save_encoder(new_encoder(EncoderConfig("resnet18", ("a",), 32), init="random", seed=0), folder)
    saved = json.loads((folder / CONFIG_NAME).read_text())
    saved.pop("weights_sha256")
    (folder / CONFIG_NAME).write_text(json.dumps(saved))
    return folder


def test_encoders(encoder: Path) -> None:
    """What an encoder is rebuilt from."""
    good = (encoder / CONFIG_NAME).read_bytes()

    def read(content: bytes) -> object:
        (encoder / CONFIG_NAME).write_bytes(content)
        return load_encoder(encoder)

    fuzz(good, read, share=0.5)
    (encoder / CONFIG_NAME).write_bytes(good)


def test_weights(encoder: Path) -> None:
    """The head of the file of weights: names, shapes, and the first numbers."""
    path = encoder / WEIGHTS_NAME
    whole = path.read_bytes()
    good = whole[:20_000]

    def read(content: bytes) -> object:
        path.write_bytes(content + whole[len(good) :])
        return load_encoder(encoder)

    fuzz(good, read, share=0.2)
    path.write_bytes(whole)


@pytest.mark.parametrize("archive", [True, False])
def test_state_dicts(tmp_path: Path, archive: bool) -> None:
    """A .pth file: the archive of today, and the pickle of before."""
    path = tmp_path / "model.pth"
    state = {"module.fc.weight": torch.ones(2, 4), "module.fc.bias": torch.zeros(2)}
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=archive)

    longest = path.stat().st_size + 5_000

    def read(content: bytes) -> object:
        # torch takes time by the square of a name's length in such a file: a minute for 70,000 letters.
        path.write_bytes(content[:longest])
        state = read_state_dict(path)
        # These weights are of no ResNet; what is spoiled in them must be refused, too, and in a sentence.
        with pytest.raises(UserError):
            import_torchvision(path, backbone="resnet18", n_classes=2)
        return state

    fuzz(path.read_bytes(), read)


def encoded(form: str, mode: str, **options: Any) -> bytes:
    """A small picture with noise in it."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 4), dtype=np.uint8)
    image = (
        Image.fromarray(noise.view(np.uint16)[..., 0])
        if mode == "I;16"
        else Image.fromarray(noise).convert(mode)
    )
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 6  # turned
PICTURES = {
    "jpeg": encoded("JPEG", "RGB", exif=EXIF),
    "jpeg progressive": encoded("JPEG", "L", progressive=True),
    "jpeg cmyk": encoded("JPEG", "CMYK"),
    "png": encoded("PNG", "RGBA"),
    "png 16 bit": encoded("PNG", "I;16"),
    "png palette": encoded("PNG", "P", transparency=3),
    "gif": encoded("GIF", "P"),
    "webp": encoded("WEBP", "RGB"),
    "webp lossless": encoded("WEBP", "RGBA", lossless=True, exif=EXIF),
    "bmp": encoded("BMP", "RGB"),
    "bmp palette": encoded("BMP", "P"),
    "tiff": encoded("TIFF", "RGB", exif=EXIF),
    "tiff lzw": encoded("TIFF", "L", compression="tiff_lzw"),
    "tiff 16 bit": encoded("TIFF", "I;16"),
}


def with_checksums(png: bytes) -> bytes:
    """A spoiled PNG whose parts have the right checksums, so that more than these are looked at."""
    content, place = bytearray(png), 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4])
        end = place + 8 + length
        content[end : end + 4] = zlib.crc32(content[place + 4 : end]).to_bytes(4)
        place = end + 4
    return bytes(content)


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures(tmp_path: Path, kind: str) -> None:
    """A picture or a reason; and what the head says of its size is what comes of it."""
    path = tmp_path / "picture"
    good = PICTURES[kind]

    def read(content: bytes) -> object:
        path.write_bytes(content)
        shown = decode(content)
        assert shown.mode in ("L", "RGB")
        assert read_page(path).tobytes() == shown.tobytes()
        assert picture_size(path) == shown.size
        return shown

    ways = spoiled_bytes(good)
    fuzz(
        good,
        read,
        (PictureError,),
        share=0.5,
        ways=st.one_of(ways, ways.map(with_checksums)) if kind.startswith("png") else ways,
    )


@pytest.fixture(scope="module")
def served(encoder: Path) -> Any:
    """The served model, without a server around it."""
    from mfc.tracking.serving import FaceEncoder

    model = FaceEncoder()
    model.load_context(SimpleNamespace(artifacts={"encoder": str(encoder)}))
    return model


PAGE = base64.b64encode(encoded("PNG", "RGB")).decode()


def test_served_images(served: Any) -> None:
    """Texts that are to be pictures, and values in their place."""
    from mfc.tracking.serving import BadRequest

    fuzz(
        PAGE.encode(),
        lambda content: served.predict(None, [content.decode("utf-8", "surrogateescape")]),
        (BadRequest,),
        share=0.5,
    )
    for good, of in (
        ({"image": [PAGE, PAGE]}, lambda value: value),
        ([PAGE, PAGE], lambda value: pd.DataFrame({"image": pd.Series([value], dtype=object)})),
    ):
        text = json.dumps(good).encode()

        def predict(content: bytes, of: Callable[[Any], Any] = of) -> object:
            return served.predict(None, of(json.loads(content)))

        fuzz(text, predict, (BadRequest,), share=0.5, ways=spoiled_json(text))


@pytest.mark.parametrize(
    ("name", "good"),
    [("boxes", b"[[[1, 1, 9, 9], [2, 0, 14, 12]], []]"), ("n_clusters", b"2")],
    ids=["boxes", "n_clusters"],
)
def test_served_params(served: Any, name: str, good: bytes) -> None:
    """The texts beside the pictures."""
    from mfc.tracking.serving import BadRequest

    def read(content: bytes) -> object:
        params = {name: content.decode("utf-8", "surrogateescape")}
        return served.predict(None, [PAGE, PAGE], params)

    fuzz(good, read, (BadRequest,), share=0.5)


def test_own_records(tmp_path: Path) -> None:
    """What mfc itself has written, damaged: calibration, pointer, end of a training, result of a comic."""
    threshold = {"T": [0.5] * len(THRESHOLDS)}
    calibration = {"store": "s", "weights": "", "dtype": "float32", "threshold": 0.5, "curves": threshold}
    training = {"key": "k", "epochs": 2, "curves": [[0, {"val/ami": 0.5}], [4, {"val/ami": 0.6}]]}
    workspace = Workspace(tmp_path, "mine")
    session = cast("Session", SimpleNamespace(workspace=workspace))
    source = tmp_path / "comic"
    cases: list[tuple[str, Any, Callable[[Path], object]]] = [
        (CALIBRATION, calibration, lambda path: _cut_of(path.parent)),
        (
            FINISHED,
            training,
            lambda path: (_finished(path.parent, "train", PrintLog()), last_validation(path.parent)),
        ),
        (RECORD, {"input": "a", "title": "T"}, lambda path: other_comic(path.parent, source, "T")),
        ("pretrain/current.json", {"folder": "abc"}, lambda path: current_encoder(session)),
    ]
    for name, content, read in cases:
        path = workspace.root / name
        path.parent.mkdir(parents=True, exist_ok=True)

        def read_it(content: bytes, path: Path = path, read: Callable[[Path], object] = read) -> object:
            path.write_bytes(content)
            return read(path)

        fuzz(json.dumps(content).encode(), read_it)


def _cut_of(folder: Path) -> object:
    from mfc.tracking.serving import _calibrated_cut

    found = read_calibration(folder)
    return _calibrated_cut(folder), found and found.threshold(without="T")


def test_scores(tmp_path: Path) -> None:
    """A kept score, and what its variant is."""
    book = Scorebook(tmp_path)
    variant = Variant("evaluate", {"lr": 0.1}, "faces", "weights", "float32")
    clusters = pd.DataFrame({"face_id": ["a"], "cluster": [0]})
    nothing = np.zeros((0, 2), np.float32)
    book.keep(variant, "test", TitleScore("T", 0, {"ami": 0.5}, clusters, nothing, np.zeros(0, bool), None))
    for path in sorted((tmp_path / variant.id).glob("*.json")):
        good = path.read_bytes()

        def read(content: bytes, path: Path = path) -> object:
            path.write_bytes(content)
            return book.rows(variant.id), [one.differences(variant) for one in book.variants()]

        fuzz(good, read)
        path.write_bytes(good)


@pytest.fixture(scope="module")
def openmantra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset with one book of one page, and a table of its faces."""
    root = tmp_path_factory.mktemp("openmantra")
    (root / "images").mkdir()
    (root / "faces").mkdir()
    Image.new("L", (200, 100), 200).save(root / "images" / "0.jpg")
    box = {"x": 5, "y": 5, "w": 90, "h": 90}
    page = {"image_paths": {"ja": "images/0.jpg"}, "frame": [box], "text": [{**box, "text_ja": "はい"}]}
    (root / "annotation.json").write_text(json.dumps([{"book_title": "T", "pages": [page]}]))
    (root / "faces" / "T.csv").write_text("page,xmin,ymin,xmax,ymax,character\n0,10,20,60,80,Aki\n")
    return root


@pytest.mark.parametrize("name", ["annotation.json", "faces/T.csv"])
def test_openmantra(openmantra: Path, name: str) -> None:
    """The dataset as others publish it, and tables of faces."""
    path = openmantra / name
    good = path.read_bytes()

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return read_import(openmantra, openmantra / "faces")

    fuzz(good, read)
    path.write_bytes(good)


def test_openmantra_record(tmp_path: Path) -> None:
    """What an earlier import has noted."""
    path = tmp_path / "out" / "openmantra.json"
    path.parent.mkdir()

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return _read_record(path.parent)

    fuzz(json.dumps({"finished": True, "files": {"images/T/000.jpg": "0" * 64}}).encode(), read)
