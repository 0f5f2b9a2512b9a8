"""The model that MLflow loads and serves: images of faces in, embeddings out.

MLflow runs this file itself ("models from code"), from the copy of the package that the model carries;
nothing is unpickled. See `mfc.tracking.register_encoder` for how it is logged.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

MAX_BYTES = 32 * 2**20
"""Of an encoded image."""
MAX_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
BATCH = 64
"""Faces in a forward pass."""


class BadImage(MlflowException):
    """One image cannot be used: a sentence that names its row, and status 400 over HTTP.

    The scoring server would put a print of the whole input before the sentence, and so bury it.
    """

    def __init__(self, row: int, problem: str) -> None:
        self._sentence = f"image {row}: {problem}"
        super().__init__(self._sentence, error_code=1000)  # INVALID_PARAMETER_VALUE

    @property
    def message(self) -> str:
        return self._sentence

    @message.setter
    def message(self, value: str) -> None:
        del value


class FaceEncoder(PythonModel):
    """Images as base64 text, encoded bytes, paths, or uint8 arrays (H, W[, C]) → embeddings.

    ``predict`` takes a DataFrame (its first column), a list, or one image; it returns (n, d) float32, rows of
    length 1. Rows count from 0 in errors. Over HTTP, only base64 is accepted.
    """

    # The images are checked here, with better words; without this, loading prints a hint about type hints.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        from mfc.encoder import load_encoder

        self._encoder = load_encoder(Path(context.artifacts["encoder"]))

    # `model_input` has no type hint, because MLflow would build a signature from it.
    def predict(self, context, model_input, params=None) -> npt.NDArray[np.float32]:  # type: ignore[no-untyped-def]
        del context, params
        images = _as_list(model_input)
        batches = [self._embed(images[i : i + BATCH], i) for i in range(0, len(images), BATCH)]
        return np.concatenate(batches) if batches else np.empty((0, self._encoder.dim), np.float32)

    def _embed(self, images: Sequence[Any], first: int) -> npt.NDArray[np.float32]:
        import torch

        from mfc.faces import centre_choices, resized_side, transform

        config = self._encoder.config
        side = resized_side(config.image_size)
        crops = torch.from_numpy(np.stack([_decode(x, first + i, side) for i, x in enumerate(images)]))
        choices = centre_choices(len(images), side - config.image_size)
        with torch.inference_mode():
            batch = transform(crops, choices, image_size=config.image_size, mean=config.mean, std=config.std)
            embeddings: npt.NDArray[np.float32] = self._encoder.features(batch).numpy()
        return embeddings


def _as_list(model_input: Any) -> list[Any]:
    """The images, whatever container they came in."""
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


def _decode(image: Any, row: int, side: int) -> npt.NDArray[np.uint8]:
    """One image as (side, side, 3) uint8."""
    from PIL import Image

    if isinstance(image, np.ndarray):
        try:
            picture = Image.fromarray(image.squeeze())
        except (TypeError, ValueError):
            raise BadImage(row, f"no image array: {image.dtype}, shape {image.shape}") from None
    else:
        data = _bytes(image, row)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's own, laxer limit on the size
                picture = Image.open(io.BytesIO(data), formats=FORMATS)
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            picture.load()
        except Image.DecompressionBombError:
            raise BadImage(row, f"has more than {MAX_PIXELS // 10**6} megapixels") from None
        except (OSError, ValueError, SyntaxError):
            raise BadImage(row, "is no image that can be read (JPEG, PNG, WebP, GIF, BMP, TIFF)") from None
    resized = picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized)


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
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadImage(row, f"{path} cannot be read ({error.strerror})") from None


def _is_served() -> bool:
    """Whether this process is MLflow's scoring server."""
    return "__pyfunc_model_path__" in os.environ


set_model(FaceEncoder())
