"""Galleries: complete in themselves, and text from data stays text."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mfc.report.galleries import (
    THUMBNAIL,
    GalleryCluster,
    GalleryFace,
    data_uri,
    gallery_index,
    gallery_page,
    gallery_section,
)

EVIL = "<script>alert('x')</script>\"><img src=x onerror=y>&"


class Reader(HTMLParser):
    """Collects the tags with their attributes, and the texts, of a page; checks that tags are closed."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def a_page() -> str:
    image = data_uri(np.zeros((8, 8, 1), np.uint8))
    clusters = [
        GalleryCluster(
            "c1", EVIL, [GalleryFace(image, EVIL, EVIL), GalleryFace(image, "b", wrong=True)], EVIL
        ),
        GalleryCluster("c2", "empty", []),
    ]
    return gallery_page(EVIL, [EVIL], gallery_index(clusters) + gallery_section(clusters, heading="h3"))


def test_text_from_data_is_escaped_everywhere() -> None:
    """Titles, notes, captions, alternatives: shown as they are, and none becomes a tag or an attribute."""
    page = Reader(a_page())
    assert not page.all("script")
    assert all(set(a) <= {"src", "alt", "width", "height", "loading", "decoding"} for a in page.all("img"))
    assert sum(EVIL in text for text in page.texts) == 7
    assert [image["alt"] for image in page.all("img")] == ["", EVIL, "b"]


def test_nothing_is_fetched() -> None:
    """Every picture is inside; links lead within the page, to places that exist."""
    page = Reader(a_page())
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert not page.all("link")
    assert not page.all("script")
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert {(a["href"] or "")[1:] for a in page.all("a")} <= ids


def test_wrong_faces_are_told_by_a_word_too() -> None:
    """Not by colour alone; a page without wrong faces has no such word."""
    assert Reader(a_page()).texts.count("wrong") == 1


def test_code_in_a_paragraph() -> None:
    """Between backticks; what is inside stays text."""
    page = Reader(gallery_page("t", ["use `--a <b>` or ` alone"], ""))
    assert [name for name, _ in page.tags].count("code") == 1
    assert "--a <b>" in page.texts
    assert " or ` alone" in page.texts


def test_a_phone_dark_mode_and_a_language_are_declared() -> None:
    """What a browser needs for them."""
    text = a_page()
    page = Reader(text)
    assert any(m.get("name") == "viewport" for m in page.all("meta"))
    assert "prefers-color-scheme: dark" in text
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h3")) == 2


@pytest.mark.parametrize(("shape", "mode"), [((256, 256, 3), "RGB"), ((128, 128, 1), "L")])
def test_a_thumbnail_is_the_crop_made_small(shape: tuple[int, int, int], mode: str) -> None:
    """Grey stays grey; the side is that of a thumbnail."""
    crop = np.full(shape, 200, np.uint8)
    data = data_uri(crop).partition(",")[2]
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (picture.mode, picture.size) == (mode, (THUMBNAIL, THUMBNAIL))
    assert abs(int(np.asarray(picture).mean()) - 200) <= 1
