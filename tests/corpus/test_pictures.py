"""The one decoder: ordinary pictures pixel for pixel, all others as a viewer shows them, or one reason."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin

from mfc.corpus.pictures import (
    MAX_PIXELS,
    PictureError,
    decode,
    picture_size,
    read_page,
    scale_to_picture,
)

GREY = np.random.default_rng(0).integers(0, 256, (30, 40), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(values: npt.NDArray[np.integer], more: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write in all colours."""
    height, width = values.shape[:2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
        + more
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def shown(data: bytes, tmp_path: Path) -> Image.Image:
    """What the decoder gives for a file, and for the same bytes; its size is told from the head alike."""
    path = tmp_path / "picture"
    path.write_bytes(data)
    image, again = read_page(path), decode(data)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(again))
    assert image.mode in ("L", "RGB")
    assert picture_size(path) == image.size
    assert not image.info, "nothing that would be written into files that are made of it"
    return image


@pytest.mark.parametrize("values", [GREY, RGB], ids=["grey", "colour"])
@pytest.mark.parametrize(
    ("form", "options"), [("JPEG", {"quality": 90}), ("JPEG", {"progressive": True}), ("PNG", {})]
)
def test_ordinary_pictures_are_as_pillow_decodes_them(
    tmp_path: Path, values: npt.NDArray[np.uint8], form: str, options: dict[str, object]
) -> None:
    """Byte for byte, in their own mode: nothing is converted that need not be."""
    data = encoded(Image.fromarray(values), form, **options)
    image = shown(data, tmp_path)
    with Image.open(io.BytesIO(data)) as expected:
        assert image.mode == expected.mode
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_formats_without_loss_give_the_same_pixels(
    tmp_path: Path, form: str, options: dict[str, object]
) -> None:
    """Whatever the file is called."""
    data = encoded(Image.fromarray(RGB), form, **options)
    np.testing.assert_array_equal(np.asarray(shown(data, tmp_path)), RGB)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_shown(tmp_path: Path, form: str) -> None:
    """An animation, or several pages in one file."""
    frames = [Image.new("L", (40, 30), 255 * i) for i in range(3)]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert np.asarray(shown(data, tmp_path)).max() == 0


def test_two_pictures_in_one_jpeg_are_the_first(tmp_path: Path) -> None:
    """MPO, as cameras with two lenses write it."""
    frames = [Image.new("RGB", (40, 30), (99 * i,) * 3) for i in range(2)]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert np.asarray(shown(data, tmp_path)).max() == 0


SIXTEEN = np.array([[0, 0x1234, 0x80FF], [0xFF00, 0xFFFF, 257]])


def tiff16(values: npt.NDArray[np.integer], order: str = "<", **tags: int) -> bytes:
    names = {"photometric": TiffImagePlugin.PHOTOMETRIC_INTERPRETATION}
    image = Image.fromarray(values.astype(f"{order}u2"))
    return encoded(image, "TIFF", tiffinfo={names[name]: value for name, value in tags.items()})


@pytest.mark.parametrize(
    "data",
    [
        png16(SIXTEEN),
        png16(np.stack([SIXTEEN] * 3, -1)),
        png16(np.stack([SIXTEEN, np.full_like(SIXTEEN, 65535)], -1)),
        png16(np.stack([SIXTEEN] * 3 + [np.full_like(SIXTEEN, 65535)], -1)),
        tiff16(SIXTEEN),
        tiff16(SIXTEEN, ">"),
        tiff16(65535 - SIXTEEN, photometric=0),
    ],
    ids=["grey", "RGB", "grey+alpha", "RGBA", "TIFF", "TIFF big endian", "TIFF white is zero"],
)
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, data: bytes) -> None:
    """By hand, the upper eight bits: 0, 18, 128, 255, 255, 1; never everything above 255 white."""
    image = np.asarray(shown(data, tmp_path).convert("L"))
    assert image.tolist() == [[0, 18, 128], [255, 255, 1]]


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_of_other_numbers_are_refused(kind: type) -> None:
    """There is no telling what is white."""
    with pytest.raises(PictureError, match="save it with 8 bits a channel"):
        decode(encoded(Image.fromarray(GREY.astype(kind)), "TIFF"))


def ink(mode: str, **options: object) -> Image.Image:
    """Black ink on nothing: the left half is transparent."""
    image = Image.new("LA", (4, 2), (0, 255))
    image.paste((0, 0), (0, 0, 2, 2))
    return image.convert(mode, **options)  # type: ignore[arg-type]


def grey_with_a_transparent_level(mode: str) -> bytes:
    image = Image.new(mode, (4, 2), 0)
    image.paste(1, (0, 0, 2, 2))
    return encoded(image, "PNG", transparency=1)


TRANSPARENT: dict[str, Callable[[], bytes]] = {
    "grey": lambda: encoded(ink("LA"), "PNG"),
    "colour": lambda: encoded(ink("RGBA"), "PNG"),
    "palette": lambda: encoded(ink("RGBA").quantize(), "PNG"),
    "GIF": lambda: encoded(ink("RGBA"), "GIF"),
    "WebP": lambda: encoded(ink("RGBA"), "WEBP", lossless=True),
    "TIFF": lambda: encoded(ink("RGBA"), "TIFF"),
    "one level of grey": lambda: grey_with_a_transparent_level("L"),
    "one of two colours": lambda: grey_with_a_transparent_level("1"),
    "one colour": lambda: encoded(
        Image.fromarray(np.array([[[9, 9, 9]] * 2 + [[0, 0, 0]] * 2] * 2, np.uint8)),
        "PNG",
        transparency=(9, 9, 9),
    ),
    "one level of 16 bits": lambda: png16(
        np.array([[0x1234, 0x1234, 0, 0]] * 2), chunk(b"tRNS", struct.pack(">H", 0x1234))
    ),
    "16 bits": lambda: png16(np.array([[[0, 0], [0, 0], [0, 65535], [0, 65535]]] * 2)),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_what_is_transparent_is_white(tmp_path: Path, kind: str) -> None:
    """Black ink on white, as viewers show it; not a black square."""
    image = shown(TRANSPARENT[kind](), tmp_path)
    assert np.asarray(image.convert("L")).tolist() == [[255, 255, 0, 0]] * 2


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    """By hand: red with alpha 51 of 255 is a fifth of red on four fifths of white."""
    image = shown(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 51)), "PNG"), tmp_path)
    assert np.abs(np.asarray(image)[0, 0].astype(int) - (255, 204, 204)).max() <= 1


UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3)
TURNED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: UPRIGHT[::-1].T,
    7: UPRIGHT[::-1, ::-1].T,
    8: UPRIGHT[:, ::-1].T,
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "TIFF lzw", "WEBP"])
def test_pictures_are_turned_as_their_exif_data_says(tmp_path: Path, orientation: int, form: str) -> None:
    """All eight ways, written out; the size too."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {
        "PNG": {"exif": exif},
        "WEBP": {"exif": exif, "lossless": True},
        "TIFF": {"tiffinfo": {0x0112: orientation}},
        "TIFF lzw": {"tiffinfo": {0x0112: orientation}, "compression": "tiff_lzw"},
    }[form]
    data = encoded(Image.fromarray(UPRIGHT), form.split()[0], **options)
    np.testing.assert_array_equal(np.asarray(shown(data, tmp_path).convert("L")), TURNED[orientation])


def with_exif(data: bytes, exif: bytes) -> bytes:
    """A JPEG with these bytes as its EXIF block."""
    block = b"Exif\0\0" + exif
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def orientation_entry(kind: int, count: int, value: bytes, entries: int = 1) -> bytes:
    entry = struct.pack("<HHI", 0x0112, kind, count) + value.ljust(4, b"\0")
    return b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + entry * entries + b"\0\0\0\0"


SIDEWAYS = orientation_entry(3, 1, struct.pack("<H", 6))
DAMAGED = {
    "empty": b"",
    "head cut": b"II*\0\x08",
    "bad head": b"XX*\0\x08\0\0\0",
    "offset beyond": b"II*\0\x88\x13\0\0",
    "big endian, cut": b"MM\0*\0\0\0\x08\0\x05\x01\x12",
    "orientation 0": orientation_entry(3, 1, struct.pack("<H", 0)),
    "orientation 9": orientation_entry(3, 1, struct.pack("<H", 9)),
    "orientation is a text": orientation_entry(2, 2, b"6\0"),
    "offset of a text beyond": orientation_entry(2, 99, b"\xff\xff\xff\x7f"),
    "a billion entries": orientation_entry(3, 10**9, b"\x06"),
    "entries cut": SIDEWAYS[:14],
    "entries claimed": b"II*\0\x08\0\0\0\xff\xff" + SIDEWAYS[10:],
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_exif_data_that_is_damaged_is_ignored(tmp_path: Path, kind: str) -> None:
    """Every viewer shows these pictures; upright, or as much as could be read of it turned."""
    plain = encoded(Image.fromarray(GREY), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(plain)))
    image = np.asarray(shown(with_exif(plain, DAMAGED[kind]), tmp_path))
    wanted = np.rot90(expected, -1) if kind == "entries claimed" else expected
    np.testing.assert_array_equal(image, wanted)


@pytest.mark.parametrize(
    "exif",
    [
        SIDEWAYS,
        orientation_entry(3, 1, struct.pack("<H", 6), entries=2),
        orientation_entry(4, 1, struct.pack("<I", 6)),
        orientation_entry(5, 1, struct.pack("<I", 26)) + struct.pack("<II", 6, 1),
    ],
    ids=["usual", "twice", "long", "rational"],
)
def test_exif_data_with_oddities_is_read(tmp_path: Path, exif: bytes) -> None:
    """The number 6 in any type turns the picture to the right."""
    plain = encoded(Image.fromarray(GREY), "JPEG")
    image = np.asarray(shown(with_exif(plain, exif), tmp_path))
    np.testing.assert_array_equal(image, np.rot90(np.asarray(Image.open(io.BytesIO(plain))), -1))


def profile(kind: str, gamma: float) -> bytes:
    """An ICC profile of a grey or colour space of other primaries than sRGB's, in 400 bytes."""

    def tag(name: bytes, data: bytes) -> tuple[bytes, bytes]:
        return name, name + b"\0\0\0\0" + data

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"a test"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + b"\0" * 79,
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249),
    }
    if kind == "GRAY":
        tags[b"kTRC"] = curve
    else:  # Adobe RGB (1998), adapted to D50
        for name, xyz in {
            b"r": (0.60974, 0.31111, 0.01947),
            b"g": (0.20528, 0.62567, 0.06087),
            b"b": (0.14919, 0.06322, 0.74457),
        }.items():
            tags[name + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*xyz)
            tags[name + b"TRC"] = curve
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    size = 132 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", kind.encode(), b"XYZ ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + fixed(0.9642, 1, 0.8249) + b"\0" * 48
    return head + struct.pack(">I", len(tags)) + table + body


def test_colours_of_another_space_become_those_of_srgb(tmp_path: Path) -> None:
    """By hand, through linear light: Adobe's (200, 100, 50) is stronger than sRGB's."""
    data = encoded(Image.new("RGB", (2, 2), (200, 100, 50)), "PNG", icc_profile=profile("RGB ", 2.2))
    linear = (np.array([200, 100, 50]) / 255) ** 2.2
    adobe = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])
    srgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    values = np.clip(srgb @ adobe @ linear, 0, 1)
    expected = 255 * np.where(values > 0.0031308, 1.055 * values ** (1 / 2.4) - 0.055, 12.92 * values)
    assert np.abs(np.asarray(shown(data, tmp_path))[0, 0] - expected).max() < 3
    assert expected[0] > 215


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_grey_of_another_gamma_becomes_that_of_srgb(tmp_path: Path, form: str) -> None:
    """Linear grey 55 of 255 is as bright as 127 in sRGB; it stays one channel."""
    data = encoded(Image.new("L", (8, 8), 55), form, icc_profile=profile("GRAY", 1.0))
    image = shown(data, tmp_path)
    assert image.mode == "L"
    assert abs(int(np.asarray(image)[0, 0]) - 127) <= 2


@pytest.mark.parametrize(
    "useless",
    [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"nonsense", profile("GRAY", 1.0)],
    ids=["sRGB", "nonsense", "of another kind"],
)
def test_a_profile_that_says_nothing_changes_no_pixel(tmp_path: Path, useless: bytes) -> None:
    """sRGB itself, and one that cannot be used."""
    data = encoded(Image.fromarray(RGB), "PNG", icc_profile=useless)
    np.testing.assert_array_equal(np.asarray(shown(data, tmp_path)), RGB)


def test_printing_inks_become_colours(tmp_path: Path) -> None:
    """No ink is white paper, all black ink is black."""
    image = Image.new("CMYK", (16, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (8, 0, 16, 8))
    pixels = np.asarray(shown(encoded(image, "TIFF"), tmp_path))
    assert (pixels[:, :8].min(), pixels[:, 8:].max()) == (255, 0)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def header_only(side: int) -> bytes:
    """A PNG of a few bytes whose header promises side × side pixels."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


BAD = {
    "empty": (b"", "neither JPEG, PNG, WebP, GIF, BMP nor TIFF"),
    "HTML": (b"<html>404</html>", "neither JPEG"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "neither JPEG"),
    "cut JPEG": (cut(encoded(Image.fromarray(RGB), "JPEG")), "damaged picture: "),
    "cut PNG": (cut(encoded(Image.fromarray(RGB), "PNG")), "damaged picture: "),
    "cut WebP": (cut(encoded(Image.fromarray(RGB), "WEBP")), ""),
    "cut TIFF": (cut(encoded(Image.fromarray(RGB), "TIFF", compression="tiff_lzw")), ""),
    "too large": (header_only(9_460), "more than 89,478,485 pixels"),
    "a bomb": (header_only(10**6), "more than 89,478,485 pixels"),
    "as large as may be": (header_only(9_459), "damaged picture: "),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_decoded_has_a_reason_of_one_line(tmp_path: Path, kind: str) -> None:
    """Files and bytes alike; the limit of pixels holds before anything is decoded."""
    data, reason = BAD[kind]
    (tmp_path / "picture").write_bytes(data)
    for attempt in (lambda: decode(data), lambda: read_page(tmp_path / "picture")):
        with pytest.raises(PictureError) as caught:
            attempt()
        assert str(caught.value).startswith(reason)
        assert "\n" not in str(caught.value)
        assert "0x" not in str(caught.value)
    assert MAX_PIXELS == 89_478_485


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A FIFO would wait for ever, a device may do anything; folders and names that cannot be, too."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        for attempt in (read_page, picture_size):
            with pytest.raises(PictureError, match=r"^no regular file$"):
                attempt(path)
    for path in (tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(PictureError):
            read_page(path)
    with pytest.raises(FileNotFoundError):
        read_page(tmp_path / "none")


SEEDS = [
    encoded(Image.fromarray(RGB), "JPEG", exif=with_exif(b"", SIDEWAYS)[4:]),
    encoded(ink("RGBA").quantize(), "PNG"),
    encoded(Image.fromarray(RGB), "PNG", icc_profile=profile("RGB ", 2.2)),
    encoded(ink("RGBA"), "WEBP"),
    encoded(ink("RGBA"), "GIF"),
    encoded(Image.fromarray(GREY), "BMP"),
    tiff16(SIXTEEN),
    encoded(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"),
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6)), max_size=4), st.data()
)
def test_damage_anywhere_is_a_picture_or_a_reason(
    data: bytes, changes: list[tuple[float, bytes]], draw: st.DataObject
) -> None:
    """Random bytes in random places: never another exception, never another mode."""
    spoilt = bytearray(data)
    for place, new in changes:
        start = int(place * len(spoilt))
        spoilt[start : start + len(new)] = new
    del spoilt[draw.draw(st.integers(0, len(spoilt))) :]
    try:
        image = decode(bytes(spoilt))
    except PictureError:
        return
    assert image.mode in ("L", "RGB")


@pytest.mark.parametrize(
    ("annotated", "picture", "expected"),
    [
        ((420, 300), (840, 600), (2, 2)),
        ((840, 600), (420, 300), (Fraction(1, 2), Fraction(1, 2))),
        ((421, 301), (210, 150), (Fraction(210, 421), Fraction(150, 301))),
        ((1654, 1170), (827, 585), (Fraction(1, 2), Fraction(1, 2))),
        ((1654, 1170), (1000, 707), (Fraction(1000, 1654), Fraction(707, 1170))),
        ((900, 640), (827, 585), None),
        ((300, 420), (420, 300), None),
        ((200, 100), (200, 120), None),
        ((0, 0), (200, 100), None),
        ((-5, 5), (5, 5), None),
    ],
)
def test_boxes_are_scaled_when_the_shapes_agree(
    annotated: tuple[int, int], picture: tuple[int, int], expected: tuple[Fraction, Fraction] | None
) -> None:
    """By hand; a resized picture was rounded to whole pixels, and that is allowed for."""
    scale = scale_to_picture(annotated, picture)
    assert scale == (expected and tuple(map(float, expected)))


@given(st.integers(50, 3000), st.integers(50, 3000), st.floats(0.1, 8))
def test_every_resized_picture_is_recognised(width: int, height: int, factor: float) -> None:
    """However the resizing rounds; by the factor, within a pixel."""
    for rounded in (round, int, lambda x: int(x) + 1):
        picture = max(rounded(width * factor), 1), max(rounded(height * factor), 1)
        scale = scale_to_picture((width, height), picture)
        assert scale is not None
        assert abs(scale[0] * width - picture[0]) < 1e-6
        assert abs(scale[1] * height - picture[1]) < 1e-6
