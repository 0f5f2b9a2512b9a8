"""The one decoder of pictures: pages and faces, from files of people we do not know.

`preprocess`, `cluster` and the served model all read pictures here, and so see what a viewer shows.
"""

from __future__ import annotations

import contextlib
import io
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""How names of pictures end, in small letters; the format is told by the content alone."""
MAX_PIXELS = 89_478_485
"""In three channels a picture then takes a quarter of a GiB."""

Size = tuple[int, int]
"""Width and height in pixels."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what makes the picture upright."""
_SIDEWAYS = (5, 6, 7, 8)


class PictureError(OSError):
    """A picture that cannot be used; the message is the reason alone, without the file's name."""


def read_page(path: Path) -> Image.Image:
    """Decode a picture as a viewer shows it: its first frame, upright, on white, in sRGB; mode L or RGB.

    Raises:
        FileNotFoundError: when it is not there.
        PictureError: for whatever is no picture, is damaged, or has more than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        return as_shown(image)


def decode(data: bytes) -> Image.Image:
    """`read_page` of an encoded picture that is in memory."""
    with _opened(io.BytesIO(data)) as image:
        return as_shown(image)


def picture_size(path: Path) -> Size:
    """The size that `read_page` will give, from the head of the file; raises the same."""
    with _opened(path) as image:
        sideways = _orientation(image) in _SIDEWAYS
        return (image.height, image.width) if sideways else (image.width, image.height)


def scale_to_picture(annotated: Size, picture: Size) -> tuple[float, float] | None:
    """What x and y of a page's boxes are multiplied by when its picture has another size than they are for.

    None when the two sizes are not of one shape, beyond the rounding of a resized picture to whole pixels.
    """

    def shapes_meet(one: Size, other: Size) -> bool:
        low = max((side - 1) / of for side, of in zip(one, other, strict=True))
        return low < min((side + 1) / of for side, of in zip(one, other, strict=True))

    if min(*annotated, *picture) < 1:
        return None
    if not (shapes_meet(annotated, picture) or shapes_meet(picture, annotated)):
        return None
    return picture[0] / annotated[0], picture[1] / annotated[1]


@contextlib.contextmanager
def _opened(source: Path | io.BytesIO) -> Iterator[Image.Image]:
    """The picture with only its head read; whatever goes wrong here or in the block is a `PictureError`."""
    try:
        # Opening a FIFO would wait for ever, and opening a device may do anything.
        if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
            raise PictureError("no regular file")
        with contextlib.ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # about damaged EXIF data, and Pillow's own limit of pixels
            # Of a path, Pillow would map raw pixels: wrongly in a turned TIFF, fatally in one that shrinks.
            file: IO[bytes] = source.open("rb") if isinstance(source, Path) else source
            image = stack.enter_context(Image.open(stack.enter_context(file), formats=FORMATS))
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except (FileNotFoundError, PictureError):
        raise
    except Image.DecompressionBombError:
        raise PictureError(f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise PictureError("neither JPEG, PNG, WebP, GIF, BMP nor TIFF") from None
    except Exception as error:  # Pillow raises whatever its plugins stumble over
        strerror = error.strerror if isinstance(error, OSError) else None
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PictureError(strerror or f"damaged picture: {reason}") from error


def as_shown(image: Image.Image) -> Image.Image:
    """An image of any mode as a viewer shows it, in mode L or RGB; raises whatever Pillow raises."""
    orientation, profile = _orientation(image), image.info.get("icc_profile")
    image.load()
    image = _in_srgb(_on_white(_in_eight_bits(image)), profile)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    image.info = {}  # or a file that is written of it would claim what holds no longer
    return image


def _orientation(image: Image.Image) -> int:
    """As EXIF counts, 1 for upright; 1 also when the EXIF data cannot be read, as viewers do."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    with contextlib.suppress(Exception):
        # Not the method of PNG files, which would decode all pixels to look for EXIF data behind them.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
        return next((number for number in _TURNS if number == value), 1)
    return 1


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as its upper eight, the way Pillow itself reads colours of 16 bits."""
    if image.mode in ("I", "F") and image.format != "PNG":
        raise PictureError("pixels that are no numbers of 8 or 16 bits; save it with 8 bits a channel")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})  # of a TIFF file
    bits = int(tags.get(ExifTags.Base.BitsPerSample, (16,))[0])
    white = (1 << bits) - 1
    values[values == image.info.get("transparency", -1)] = white
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:  # zero is white
        values = white - values
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Without transparency and palette."""
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        full = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(full.convert("RGB"), mask=full.getchannel("A"))
        return white.convert("L") if image.mode in ("1", "L", "LA", "La") else white
    return image.convert("L" if image.mode == "1" else "RGB") if image.mode in ("1", "P") else image


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """In mode L or RGB; by the profile where there is one that can be used, as viewers do."""
    with contextlib.suppress(Exception):
        if profile:
            from PIL import ImageCms

            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            # Converting sRGB to itself would change pixels by rounding alone.
            if "sRGB" not in (own.profile.profile_description or ""):
                shown = ImageCms.profileToProfile(
                    image, own, ImageCms.createProfile("sRGB"), outputMode="RGB"
                )
                assert shown is not None
                return shown.convert("L") if image.mode == "L" else shown
    return image if image.mode in ("L", "RGB") else image.convert("RGB")
