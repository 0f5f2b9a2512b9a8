"""The one decoder of pictures: pages and faces, from files of people we do not know."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

from PIL import Image, ImageOps


def read_page(path: Path) -> Image.Image:
    """Decode a page's picture (JPEG or PNG, grey or RGB), turned upright as its EXIF data says.

    Raises `OSError` for whatever cannot be decoded, and for a picture of more pixels than Pillow deems safe.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("JPEG", "PNG")) as image:
                image.load()
                # The reference's decoder (OpenCV) turns pictures too.
                ImageOps.exif_transpose(image, in_place=True)
                return image if image.mode in ("L", "RGB") else image.convert("RGB")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise OSError(f"more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels") from None
    except (SyntaxError, ValueError, EOFError, struct.error) as error:
        raise OSError(f"damaged picture ({error})") from error
