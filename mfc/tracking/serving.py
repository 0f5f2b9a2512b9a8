"""The model that MLflow loads and serves: faces in, embeddings or clusters out.

MLflow runs this file itself ("models from code"), from the copy of the package that the model carries;
nothing is unpickled. See `mfc.tracking.register_encoder` for how it is logged.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[int, int, int, int]

MAX_BYTES = 32 * 2**20
"""Of an encoded image."""
BATCH = 64
"""Faces in a forward pass."""
AUTO = 0
"""As the number of clusters: let the calibrated cut tell."""
MAX_CLUSTERED = 10_000
"""Faces in one call with ``n_clusters``: 0.8 GB of distances."""


class BadRequest(MlflowException):
    """A request that the caller can mend: a sentence, and status 400 over HTTP.

    The scoring server would put a print of the whole input before the sentence, and so bury it.
    """

    def __init__(self, sentence: str) -> None:
        from mfc.errors import showable

        self._sentence = showable(sentence)
        super().__init__(self._sentence, error_code=1000)  # INVALID_PARAMETER_VALUE

    @property
    def message(self) -> str:
        return self._sentence

    @message.setter
    def message(self, value: str) -> None:
        del value


class BadImage(BadRequest):
    """One image cannot be used; the sentence names its row."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(f"image {row}: {problem}")


class FaceEncoder(PythonModel):
    """Images as base64 text, encoded bytes, paths, or uint8 arrays (H, W[, C]) → embeddings or clusters.

    ``predict`` takes a DataFrame (its first column), a list, or one image. Each image is a face as
    `mfc preprocess` cuts it out; with ``boxes`` it is a page, and each box a face that is cut by the same
    rule. Faces stand in the order of the images, then of the boxes. Rows count from 0 in errors. Over HTTP,
    only base64 is accepted.

    Params, both texts because MLflow gives a param one type:

    - ``boxes``: JSON, a list per image of [xmin, ymin, xmax, ymax] in pixels, the maxima exclusive.
    - ``n_clusters``: a number such as "12", or "auto": as many as the calibrated cut of `mfc cluster` gives.

    Returns:
        (faces, d) float32, rows of length 1; with ``n_clusters`` (faces,) int64 clusters, numbered from 0 in
        the order of their first face (average linkage on cosine distance).
    """

    # The images are checked here, with better words; without this, loading prints a hint about type hints.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        from mfc.encoders.network import load_encoder

        folder = Path(context.artifacts["encoder"])
        self._encoder = load_encoder(folder)
        self._cut = _calibrated_cut(folder)

    # `model_input` has no type hint, because MLflow would build a signature from it.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        del context
        params = params or {}
        images = _as_list(model_input)
        boxes = _read_boxes(str(params.get("boxes") or ""), len(images))
        wanted = _read_n_clusters(params.get("n_clusters") or "")
        if wanted is not None:
            self._check_clusters(wanted, len(images) if boxes is None else sum(map(len, boxes)))
        embeddings = self._embed(images, boxes)
        return embeddings if wanted is None else self._cluster(embeddings, wanted)

    def _embed(self, images: Sequence[Any], boxes: Sequence[Sequence[Box]] | None) -> npt.NDArray[np.float32]:
        import torch

        from mfc.faces.batches import centre_choices, resized_side, transform

        config = self._encoder.config
        side = resized_side(config.image_size)
        faces = _faces(images, boxes, side)
        batches = [np.empty((0, self._encoder.dim), np.float32)]
        while chunk := list(itertools.islice(faces, BATCH)):
            crops = torch.from_numpy(np.stack(chunk))
            choices = centre_choices(len(chunk), side - config.image_size)
            with torch.inference_mode():
                batch = transform(
                    crops, choices, image_size=config.image_size, mean=config.mean, std=config.std
                )
                batches.append(self._encoder.features(batch).numpy())
        return np.concatenate(batches)

    def _check_clusters(self, wanted: int, n_faces: int) -> None:
        """Refuse what cannot be clustered, before the faces are embedded."""
        if wanted == AUTO and self._cut is None:
            raise BadRequest(
                "n_clusters: this encoder was not calibrated (an adapted or imported one is not), so it "
                "cannot tell how many characters there are; give a number"
            )
        if wanted > n_faces:
            raise BadRequest(f"n_clusters: {wanted} is more than the {n_faces} faces given")
        if n_faces > MAX_CLUSTERED:
            raise BadRequest(f"n_clusters: more than {MAX_CLUSTERED:,} faces; use `mfc cluster`")

    def _cluster(self, embeddings: npt.NDArray[np.float32], wanted: int) -> npt.NDArray[np.int64]:
        from mfc.clusters.linkage import average_linkage

        if not len(embeddings):
            return np.zeros(0, np.int64)
        tree = average_linkage(embeddings)
        if wanted == AUTO and self._cut is not None:
            return tree.cut(self._cut)
        return tree.cut_into(wanted)


def _calibrated_cut(folder: Path) -> float | None:
    """Where `mfc cluster` cuts the tree of this encoder; None when nobody has learnt it, or it is damaged."""
    try:
        cut = float(json.loads((folder / "calibration.json").read_text(encoding="utf-8"))["threshold"])
        return cut if 0 <= cut <= 2 else None
    except (OSError, ValueError, OverflowError, KeyError, TypeError, RecursionError):
        return None


def _read_boxes(text: str, n_images: int) -> list[list[Box]] | None:
    """The param ``boxes``; None when it was not given."""
    if not text:
        return None
    try:
        lists = json.loads(text)
        boxes = [[_box(box) for box in of_page] for of_page in lists]
    except (ValueError, TypeError, RecursionError):
        raise BadRequest(
            "boxes: not JSON of a list per image of [xmin, ymin, xmax, ymax], whole pixels, xmin < xmax and "
            f"ymin < ymax: {text[:80]!r}"
        ) from None
    if len(boxes) != n_images:
        raise BadRequest(f"boxes: {len(boxes)} lists for {n_images} images; give one a image, [] for none")
    return boxes


def _box(value: Any) -> Box:
    if isinstance(value, str):
        raise TypeError
    left, top, right, bottom = value
    if not all(type(side) is int for side in value) or not (left < right and top < bottom):
        raise ValueError
    return left, top, right, bottom


def _read_n_clusters(value: Any) -> int | None:
    """The param ``n_clusters``: `AUTO`, a number, or None when it was not given."""
    text = str(value).strip().lower()
    if not text:
        return None
    if text == "auto":
        return AUTO
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise BadRequest(f"n_clusters: {value!r} is neither auto nor a whole number of at least 1")
    return int(text)


def _faces(
    images: Sequence[Any], boxes: Sequence[Sequence[Box]] | None, side: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Every face as (side, side, 3) uint8: the images themselves, or what the boxes cut from them."""
    from mfc.faces.cut import expand_box, stretch

    for row, image in enumerate(images):
        picture = _decode(image, row)
        if boxes is None:
            yield stretch(picture, side, 3)
            continue
        for place, box in enumerate(boxes[row]):
            if box[0] >= picture.width or box[1] >= picture.height or box[2] <= 0 or box[3] <= 0:
                size = f"{picture.width}x{picture.height}"
                raise BadImage(row, f"box {place}, {list(box)}, lies outside of the page of {size} pixels")
            yield stretch(picture.crop(expand_box(box, picture.size)), side, 3)


def _as_list(model_input: Any) -> list[Any]:
    """The images, whatever container they came in."""
    try:
        return _listed(model_input)
    except (KeyError, IndexError, TypeError):
        what = type(model_input).__name__
        raise BadRequest(f"no images in a {what}; give them in a column, a list, or one alone") from None


def _listed(model_input: Any) -> list[Any]:
    if isinstance(model_input, pd.DataFrame):
        column = "image" if "image" in model_input.columns else model_input.columns[0]
        model_input = model_input[column]
    if isinstance(model_input, Mapping):
        model_input = model_input["image"]
    if isinstance(model_input, str | bytes | os.PathLike):
        return [model_input]
    if isinstance(model_input, np.ndarray) and model_input.dtype == np.uint8 and model_input.ndim < 4:
        return [model_input]
    images = list(model_input)
    # {"image": [a, b]} reaches a model as one row that holds the whole list.
    return images[0] if len(images) == 1 and isinstance(images[0], list) else images


def _decode(image: Any, row: int) -> Image:
    """One image as `mfc.corpus.pictures` decodes all: what a viewer shows, in mode L or RGB."""
    from PIL import Image

    from mfc.corpus.pictures import PictureError, as_shown, decode

    if isinstance(image, np.ndarray):
        try:
            return as_shown(Image.fromarray(image.squeeze()))
        except (TypeError, ValueError, OSError):
            raise BadImage(row, f"no image array: {image.dtype}, shape {image.shape}") from None
    try:
        return decode(_bytes(image, row))
    except PictureError as error:
        raise BadImage(row, f"cannot be used: {error}") from None


def _bytes(image: Any, row: int) -> bytes:
    """The encoded image: as it is, from a file, or from base64 (also as a ``data:`` URL)."""
    if isinstance(image, bytes | bytearray | memoryview):
        data = bytes(image)
    elif isinstance(image, os.PathLike) or (isinstance(image, str) and _is_file(image)):
        data = _read(Path(image), row)
    elif isinstance(image, str):
        text = image.partition(",")[2] if image.startswith("data:") else image
        if len(text) > MAX_BYTES * 4 // 3 + 4:
            raise BadImage(row, f"is larger than {MAX_BYTES >> 20} MiB")
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            what = "no base64 text" if _is_served() else "neither base64 text nor the path of a file"
            raise BadImage(row, f"{what}: {text[:40]!r}") from None
    else:
        raise BadImage(row, f"a {type(image).__name__}; give base64 text, bytes or a path")
    if len(data) > MAX_BYTES:
        raise BadImage(row, f"is larger than {MAX_BYTES >> 20} MiB")
    return data


def _is_file(text: str) -> bool:
    """Whether a text is a path; never for a caller over HTTP: this machine's files are not theirs."""
    if _is_served() or len(text) > 4096:
        return False
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _read(path: Path, row: int) -> bytes:
    if _is_served():
        raise BadImage(row, "a path; over HTTP, give base64 text")
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a FIFO would wait for ever
            raise BadImage(row, f"{path} is no regular file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadImage(row, f"{path} cannot be read ({reason})") from None


def _is_served() -> bool:
    """Whether this process is MLflow's scoring server."""
    return "__pyfunc_model_path__" in os.environ


set_model(FaceEncoder())
