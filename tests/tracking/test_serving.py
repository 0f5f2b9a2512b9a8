"""The registered model gives the encoder's embeddings, outside the repository, over HTTP."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from PIL import Image

from mfc import tracking
from mfc.corpus.pictures import read_page
from mfc.encoders.network import Encoder, EncoderConfig, new_encoder, save_encoder
from mfc.errors import UserError
from mfc.tracking.serving import FaceEncoder
from tests.tracking.mlflow_server import Process, clean_environment, free_port

SIDE = 56
"""The network's input; images are stretched to 64 first."""


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    # Fresh batch normalisation is no average over data, so its statistics are made up to be not trivial.
    config = EncoderConfig("resnet18", ("a", "b"), image_size=SIDE)
    return new_encoder(config, init="random", seed=0).eval()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Iterator[Path]:
    """A folder with a store in which the encoder is registered."""
    folder = tmp_path_factory.mktemp("home")
    save_encoder(encoder, folder / "encoder")
    with pytest.MonkeyPatch.context() as patch:
        for key in [k for k in os.environ if k.startswith("MLFLOW_")]:
            patch.delenv(key)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.chdir(folder)
        with tracking.open_run(experiment="e", name="r", stage="pretrain", work_dir=folder / "work") as run:
            tracking.register_encoder(run, folder / "encoder", alias="pretrained")
        yield folder
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def model(home: Path) -> Any:
    return mlflow.pyfunc.load_model("models:/mfc-face-encoder@pretrained")


def picture(seed: int, width: int = 70, height: int = 90, mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def png(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


def text(image: Image.Image) -> str:
    return base64.b64encode(png(image)).decode()


def by_hand(encoder: Encoder, image: Image.Image) -> npt.NDArray[np.float32]:
    """Stretch, cut the centre, normalise, embed: step by step, on one image."""
    stretched = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
    cut = stretched[4 : 4 + SIDE, 4 : 4 + SIDE] / 255
    normal = (cut - np.array(encoder.config.mean)) / np.array(encoder.config.std)
    with torch.inference_mode():
        batch = torch.from_numpy(normal.transpose(2, 0, 1)[None].astype(np.float32))
        return encoder.features(batch).numpy()[0]


def test_embeddings_are_the_encoders_own(model: Any, encoder: Encoder) -> None:
    """Images of any size give what the encoder gives for them one by one; rows have length 1."""
    images = [picture(0), picture(1, 300, 20), picture(2, 64, 64), picture(3, 1, 1)]
    found = model.predict(pd.DataFrame({"image": [text(image) for image in images]}))
    assert found.dtype == np.float32
    assert found.shape == (4, encoder.dim)
    np.testing.assert_allclose(found, [by_hand(encoder, image) for image in images], atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


FORMS: dict[str, Callable[[Path], Any]] = {
    "frame of base64": lambda p: pd.DataFrame({"image": [text(picture(7))]}),
    "frame of bytes": lambda p: pd.DataFrame({"image": [png(picture(7))]}),
    "frame of paths": lambda p: pd.DataFrame({"image": [str(p)]}),
    "frame of arrays": lambda p: pd.DataFrame({"image": [np.asarray(picture(7))]}),
    "frame with more columns": lambda p: pd.DataFrame({"image": [text(picture(7))], "note": ["x"]}),
    "list of base64": lambda p: [text(picture(7))],
    "list of data URLs": lambda p: [f"data:image/png;base64,{text(picture(7))}"],
    "list of base64 with line ends": lambda p: [base64.encodebytes(png(picture(7))).decode()],
    "list of bytes": lambda p: [png(picture(7))],
    "list of path objects": lambda p: [p],
    "array of texts": lambda p: np.array([text(picture(7))]),
    "mapping": lambda p: {"image": [text(picture(7))]},
    "one text": lambda p: text(picture(7)),
    "one image's bytes": lambda p: png(picture(7)),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_image_may_come_in_any_form(model: Any, encoder: Encoder, tmp_path: Path, form: str) -> None:
    """Base64, bytes and paths, in a frame, list, array or alone, give the same embedding."""
    path = tmp_path / "face of a hero.png"
    picture(7).save(path)
    found = model.predict(FORMS[form](path))
    assert found.shape == (1, encoder.dim)
    np.testing.assert_allclose(found[0], by_hand(encoder, picture(7)), atol=2e-5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
def test_every_colour_mode_is_read(model: Any, encoder: Encoder, mode: str, form: str) -> None:
    """Grey, transparent, palette, bitmap and CMYK images become RGB; none is an error."""
    if (form, mode) in [("PNG", "CMYK"), ("JPEG", "RGBA"), ("JPEG", "P")]:
        with pytest.raises(OSError, match="cannot write mode"):
            png(picture(1, mode=mode), form)
        return
    assert model.predict([png(picture(1, mode=mode), form)]).shape == (1, encoder.dim)


def see_through() -> Image.Image:
    """Black ink on nothing."""
    image = Image.new("RGBA", (40, 50), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (10, 10, 30, 40))
    return image


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture(5).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


DECODED: dict[str, Callable[[], Any]] = {
    "transparent": lambda: png(see_through()),
    "palette with transparency": lambda: png(see_through().quantize()),
    "16 bits": lambda: png(Image.fromarray(np.arange(0, 64_000, 32, dtype=np.uint16).reshape(40, 50))),
    "turned": turned,
    "GIF": lambda: png(see_through(), "GIF"),
}


@pytest.mark.parametrize("kind", DECODED)
def test_the_served_model_sees_what_preprocess_sees(
    model: Any, encoder: Encoder, tmp_path: Path, kind: str
) -> None:
    """One decoder: the embedding is that of the picture as pages are read."""
    (tmp_path / "face").write_bytes(DECODED[kind]())
    found = model.predict([DECODED[kind]()])[0]
    np.testing.assert_allclose(found, by_hand(encoder, read_page(tmp_path / "face")), atol=2e-5)


def test_an_array_with_alpha_is_put_on_white(model: Any, encoder: Encoder) -> None:
    """As the same picture in a file."""
    found = model.predict(pd.DataFrame({"image": [np.asarray(see_through())]}))[0]
    expected = Image.new("RGB", (40, 50), "white")
    expected.paste("black", (10, 10, 30, 40))
    np.testing.assert_allclose(found, by_hand(encoder, expected), atol=2e-5)


def test_a_path_that_is_no_file_is_not_opened(model: Any, tmp_path: Path) -> None:
    """Reading a FIFO would wait for ever."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(MlflowException, match=r"image 0: .*fifo is no regular file"):
        model.predict([tmp_path / "fifo"])


def test_long_inputs_go_in_batches_of_equal_result(model: Any) -> None:
    """An image's embedding does not depend on how many come with it; none gives an empty array."""
    images = [text(picture(i, 20, 20)) for i in range(70)]
    together = model.predict(images)
    np.testing.assert_allclose(together[65:], model.predict(images[65:]), atol=2e-5)
    assert model.predict(pd.DataFrame({"image": pd.Series([], dtype=str)})).shape == (0, 512)


def bomb(side: int) -> bytes:
    """A PNG of a few bytes whose header promises side × side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


BAD = [
    ("not base64!", "neither base64 text nor the path of a file: 'not base64!'"),
    (base64.b64encode(b"plain text").decode(), "cannot be used: neither JPEG, PNG, WebP, GIF, BMP nor TIFF"),
    (b"", "cannot be used: neither JPEG"),
    ("", "cannot be used: neither JPEG"),
    (png(picture(0))[:60], "cannot be used: damaged picture: "),
    (bomb(100_000), "cannot be used: more than 89,478,485 pixels"),
    (bomb(9_460), "cannot be used: more than 89,478,485 pixels"),
    (bomb(9_459), "cannot be used: damaged picture: "),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot be used: neither JPEG"),
    (b"%!PS-Adobe-3.0 EPSF-3.0", "cannot be used: neither JPEG"),
    (None, "a NoneType; give base64 text, bytes or a path"),
    (Path("/no/such.png"), "/no/such.png cannot be read (No such file or directory)"),
    (Path("/dev/zero"), "/dev/zero is no regular file"),
    (Path("a\0b"), "cannot be read (embedded null byte)"),
    (Path("x" * 300), "cannot be read (File name too long)"),
    (b"\xff" * (32 * 2**20 + 1), "is larger than 32 MiB"),
    (np.zeros((4, 4), np.int32), "no image array: int32, shape (4, 4)"),
    (np.zeros((4, 4), np.complex64), "no image array: complex64, shape (4, 4)"),
]


@pytest.mark.parametrize(("image", "words"), BAD)
def test_a_bad_image_is_named_in_one_line(model: Any, image: Any, words: str) -> None:
    """The row and the reason; nothing is decoded beyond the limits."""
    frame = pd.DataFrame({"image": pd.Series([png(picture(0)), image], dtype=object)})
    with pytest.raises(MlflowException) as caught:
        model.predict(frame)
    assert str(caught.value).startswith("image 1: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


PAGE_BOXES = [[10, 20, 50, 80], [100, 5, 160, 65], [150, 90, 300, 300]]
"""The last one sticks out of the page of 200 × 150 pixels."""


def test_faces_of_a_page_are_cut_as_preprocess_cuts_them(model: Any, encoder: Encoder) -> None:
    """Each box grows by half its side, is clipped to the page, and gives the embedding of what it cuts."""
    page, other = picture(3, 200, 150), picture(4, 90, 80)
    cuts = [page.crop(box) for box in [(0, 0, 70, 110), (70, 0, 190, 95), (75, 0, 200, 150)]]
    cuts.append(other.crop((0, 0, 60, 60)))
    params = {"boxes": json.dumps([PAGE_BOXES, [], [[0, 0, 40, 40]]])}
    found = model.predict([text(page), text(picture(9)), text(other)], params=params)
    np.testing.assert_allclose(found, [by_hand(encoder, cut) for cut in cuts], atol=2e-5)


def test_clusters_instead_of_embeddings(model: Any) -> None:
    """A number of clusters, numbered by their first face; the partition is that of scikit-learn's linkage."""
    from sklearn.cluster import AgglomerativeClustering

    images = [text(picture(i // 3, 60 + i, 60)) for i in (0, 3, 1, 4, 6, 2, 7, 5)]
    for k in ("1", "3", "8"):
        found = model.predict(images, params={"n_clusters": k})
        assert found.dtype == np.int64
        reference = AgglomerativeClustering(int(k), metric="cosine", linkage="average")
        expected = reference.fit_predict(model.predict(images))
        _, first, inverse = np.unique(expected, return_index=True, return_inverse=True)
        np.testing.assert_array_equal(found, np.argsort(np.argsort(first))[inverse])
    assert model.predict(pd.DataFrame({"image": pd.Series([], dtype=str)}), params={"boxes": "[]"}).size == 0


def test_auto_uses_the_cut_that_was_learnt(home: Path, encoder: Encoder, tmp_path: Path) -> None:
    """The registered calibration decides: cut at 0 keeps all apart, at 2 joins all."""
    from mfc.tracking.serving import FaceEncoder

    class Context:
        artifacts: ClassVar = {"encoder": str(tmp_path)}

    images = [text(picture(i)) for i in range(4)]
    save_encoder(encoder, tmp_path)
    for cut, expected in ((0.0, [0, 1, 2, 3]), (2.0, [0, 0, 0, 0])):
        (tmp_path / "calibration.json").write_text(json.dumps({"threshold": cut}))
        loaded = FaceEncoder()
        loaded.load_context(Context())
        assert loaded.predict(None, images, {"n_clusters": "auto"}).tolist() == expected


@pytest.mark.parametrize("cut", ["null", '"high"', "NaN", "-1", "1e400", "9" * 400, "[" * 100_000])
def test_a_damaged_cut_is_none(tmp_path: Path, cut: str) -> None:
    """The encoder loads all the same, and says that it was not calibrated when it is asked to use the cut."""
    from mfc.tracking.serving import _calibrated_cut

    (tmp_path / "calibration.json").write_text(f'{{"threshold": {cut}}}')
    assert _calibrated_cut(tmp_path) is None


BAD_PARAMS = [
    ({"n_clusters": "auto"}, "n_clusters: this encoder was not calibrated"),
    ({"n_clusters": "0"}, "n_clusters: '0' is neither auto nor a whole number"),
    ({"n_clusters": "2.5"}, "n_clusters: '2.5' is neither auto nor a whole number"),
    ({"n_clusters": "3"}, "n_clusters: 3 is more than the 2 faces given"),
    ({"n_clusters": "9" * 70_000}, "n_clusters: '9999"),
    # Refused before any face is cut, or the first box would be named.
    (
        {"n_clusters": "2", "boxes": json.dumps([[[900, 900, 901, 901]] * 10_001, []])},
        "n_clusters: more than 10,000 faces; use `mfc cluster`",
    ),
    ({"boxes": "[[1, 2"}, "boxes: not JSON of a list per image"),
    ({"boxes": "[" * 100_000}, "boxes: not JSON of a list per image"),
    ({"boxes": "[[[1, 2, 3]], []]"}, "boxes: not JSON of a list per image"),
    ({"boxes": "[[[5, 2, 3, 4]], []]"}, "boxes: not JSON of a list per image"),
    ({"boxes": '[["1234"], []]'}, "boxes: not JSON of a list per image"),
    ({"boxes": "[[[0, 0, true, 9]], []]"}, "boxes: not JSON of a list per image"),
    ({"boxes": "[[[0, 0, 5, 5]]]"}, "boxes: 1 lists for 2 images"),
    (
        {"boxes": "[[], [[70, 0, 80, 9]]]"},
        "image 1: box 0, [70, 0, 80, 9], lies outside of the page of 70x90",
    ),
]


@pytest.mark.parametrize(("params", "words"), BAD_PARAMS)
def test_bad_params_are_named_in_one_line(model: Any, params: dict[str, str], words: str) -> None:
    """What is wrong with which param."""
    with pytest.raises(MlflowException) as caught:
        model.predict([text(picture(0)), text(picture(1))], params=params)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("nothing", [None, 3, {}, {"image": None}, {"picture": "a"}, pd.DataFrame()])
def test_a_request_without_images_is_told(nothing: object) -> None:
    """Whatever container should have held them."""
    from mfc.tracking.serving import BadRequest, FaceEncoder

    with pytest.raises(BadRequest, match=r"^no images in a .*; give them in a column, a list, or one alone$"):
        FaceEncoder().predict(None, nothing)


def test_it_loads_in_another_folder_without_the_repository(
    home: Path, encoder: Encoder, tmp_path: Path
) -> None:
    """The model brings its own code, and no pickle is needed to load it."""
    code = f"""
import sys, json, mlflow
mlflow.set_tracking_uri("sqlite:///{home}/mlflow.db")
vectors = mlflow.pyfunc.load_model("models:/mfc-face-encoder@pretrained").predict([sys.argv[1]])
import mfc
print(json.dumps({{"code": mfc.__file__, "vectors": vectors.tolist(), "loaded": sorted(sys.modules)}}))
"""
    picture(5).save(tmp_path / "face.png")
    done = subprocess.run(
        [sys.executable, "-c", code, "face.png"],
        cwd=tmp_path,
        env=clean_environment(MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["code"]).is_relative_to(home / "mlruns")
    np.testing.assert_allclose(found["vectors"][0], by_hand(encoder, picture(5)), atol=2e-5)
    assert not {"mfc.tracking", "mfc.cli", "mfc.encoders.training", "manga109api", "matplotlib.pyplot"} & set(
        found["loaded"]
    )


def test_the_model_tells_what_it_needs_and_takes(model: Any) -> None:
    """Exact requirements without a local suffix, a signature, an example, and no caches among its code."""
    path = Path(mlflow.artifacts.download_artifacts("models:/mfc-face-encoder@pretrained"))
    requirements = (path / "requirements.txt").read_text()
    assert f"torch=={torch.__version__.split('+')[0]}\n" in requirements
    assert "+" not in requirements
    assert model.metadata.signature.outputs.inputs[0].shape == (-1, 512)
    assert model.predict(model.input_example).shape == (2, 512)
    assert not list((path / "code").rglob("__pycache__"))
    assert sorted(p.name for p in (path / "artifacts/encoder").iterdir()) == sorted(tracking.ENCODER_FILES)


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[str]:
    """`mlflow models serve`, as the README shows it."""
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", "models:/mfc-face-encoder@pretrained", "-p", str(port)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "-w", "1"]
    server = Process(
        command,
        url=f"http://127.0.0.1:{port}",
        cwd=home,
        log=home / "serve.log",
        env=clean_environment(MLFLOW_TRACKING_URI=f"sqlite:///{home}/mlflow.db", OMP_NUM_THREADS="1"),
    )
    server.start("/ping")
    yield server.url
    server.kill()


def call(url: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        lambda x: {"dataframe_split": {"columns": ["image"], "data": [[x], [x]]}},
        lambda x: {"dataframe_records": [{"image": x}, {"image": x}]},
        lambda x: {"inputs": [x, x]},
        lambda x: {"instances": [{"image": x}, {"image": x}]},
        lambda x: {"instances": [x, x]},
    ],
)
def test_all_forms_of_a_request_are_answered(
    served: str, encoder: Encoder, body: Callable[[str], Any]
) -> None:
    """Each of MLflow's request forms gives one embedding per image."""
    status, answer = call(served, body(text(picture(9))))
    assert status == 200, answer
    expected = by_hand(encoder, picture(9))
    np.testing.assert_allclose(answer["predictions"], [expected, expected], atol=2e-5)


DOCUMENTED = (Path(__file__).parents[2] / "docs/model.md").read_text(encoding="utf-8")


def documented(language: str, containing: str) -> str:
    """The code block of docs/model.md that holds some text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENTED, flags=re.M | re.S)
    [found] = [block for block in blocks if containing in block]
    return str(found)


@pytest.mark.slow
def test_the_documented_http_call(served: str, tmp_path: Path) -> None:
    """Typed as docs/model.md has it, curl prints the answer that stands there."""
    picture(3, 400, 300).save(tmp_path / "page.png")
    call = documented("bash", "curl").replace("http://127.0.0.1:5001", served)
    done = subprocess.run(["bash", "-c", call], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"predictions": [0, 1]}
    assert f"answers `{done.stdout.strip()}`" in DOCUMENTED


def test_the_documented_python_lines(home: Path, tmp_path: Path) -> None:
    """Those of docs/model.md give two embeddings, twice, and two clusters."""
    for name in ("face1.png", "face2.png", "page.png"):
        picture(3, 400, 300).save(tmp_path / name)
    code = documented("python", "load_model").replace('"auto"', '"2"')  # this encoder is not calibrated
    code += "\nassert embeddings.shape == (2, 512) and clusters.tolist() == [0, 1]\n"
    environment = clean_environment(MLFLOW_TRACKING_URI=f"sqlite:///{home}/mlflow.db")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


@pytest.mark.slow
def test_a_page_is_clustered_over_http(served: str, model: Any) -> None:
    """Boxes and number of clusters travel as params; the answer is that of the loaded model."""
    params = {"boxes": json.dumps([PAGE_BOXES]), "n_clusters": "2"}
    page = text(picture(3, 200, 150))
    status, answer = call(served, {"inputs": [page], "params": params})
    assert status == 200, answer
    assert answer["predictions"] == model.predict([page], params=params).tolist()
    status, answer = call(served, {"inputs": [page], "params": {"n_clusters": "many"}})
    assert (status, answer["message"]) == (
        400,
        "n_clusters: 'many' is neither auto nor a whole number of at least 1",
    )


@pytest.mark.slow
def test_a_bad_image_over_http_is_one_line(served: str) -> None:
    """Status 400 and the sentence; neither a stack trace nor the image itself comes back."""
    bad = base64.b64encode(b"x" * 5000).decode()
    status, answer = call(served, {"inputs": [text(picture(0)), bad]})
    assert status == 400
    expected = "image 1: cannot be used: neither JPEG, PNG, WebP, GIF, BMP nor TIFF"
    assert (answer["message"], answer["error_code"]) == (expected, "INVALID_PARAMETER_VALUE")
    assert "stack_trace" not in answer


@pytest.mark.slow
def test_http_callers_cannot_name_files_of_the_server(served: str, home: Path) -> None:
    """A path that exists gets the same answer as one that does not."""
    picture(0).save(home / "secret.png")
    for path in (home / "secret.png", home / "missing.png"):
        status, answer = call(served, {"inputs": [f"{path}"]})
        assert status == 400
        assert answer["message"].startswith("image 0: no base64 text: ")


def loaded(folder: Path) -> FaceEncoder:
    """The model as MLflow prepares it, of the encoder in a folder."""
    model = FaceEncoder()
    model.load_context(SimpleNamespace(artifacts={"encoder": str(folder)}))
    return model


def test_damaged_weights_are_not_served(encoder: Encoder, tmp_path: Path) -> None:
    """NaN in a weight, and a flipped bit: loading the model is refused, not the first hundred requests."""
    save_encoder(encoder, tmp_path)
    content = bytearray((tmp_path / "encoder.safetensors").read_bytes())
    content[-2:] = b"\xc0\x7f"  # the last float32 becomes NaN
    (tmp_path / "encoder.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="is not the file that was saved"):
        loaded(tmp_path)
    saved = json.loads((tmp_path / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps({**saved, "weights_sha256": ""}))
    with pytest.raises(UserError, match="holds values that are not finite numbers"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"threshold": "x"}', '{"threshold": NaN}', '{"threshold": 9}']
)
def test_a_damaged_calibration_counts_as_none(encoder: Encoder, tmp_path: Path, content: str) -> None:
    """The model loads, and `auto` says what is missing."""
    save_encoder(encoder, tmp_path)
    (tmp_path / "calibration.json").write_text(content)
    model = loaded(tmp_path)
    with pytest.raises(MlflowException, match="was not calibrated"):
        model.predict(None, [png(picture(1))], {"n_clusters": "auto"})
    (tmp_path / "calibration.json").write_text('{"threshold": 0.4}')
    assert loaded(tmp_path).predict(None, [png(picture(1))], {"n_clusters": "auto"}).tolist() == [0]


def test_the_signature_has_the_encoders_dimension(model: Any, encoder: Encoder) -> None:
    """Read from the saved encoder, not from the name of its network."""
    assert model.metadata.signature.outputs.inputs[0].shape == (-1, encoder.dim)
