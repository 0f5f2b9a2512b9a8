"""A clustered comic in the formats of others: COCO JSON, and an annotation file of Manga109."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any
from xml.etree import ElementTree as xml

from mfc.cast.table import ClusteredFace
from mfc.corpus.comics import Comic
from mfc.corpus.manga109 import Book, Box
from mfc.corpus.pictures import read_page

NOBODY = "Other"
"""The character of faces that were not clustered, e.g. too small ones: one of the paper's spellings."""


def cluster_name(cluster: int, name: str) -> str:
    """What a cluster is called where a name is needed."""
    return name or f"Cluster {cluster}"


def with_page_sizes(comic: Comic) -> Book:
    """The book of a comic, in which every page has a size: its picture's where none is known.

    Without a picture that can be read it is that of the boxes; a page without boxes is then left out.
    """
    pages = []
    for page in comic.book.pages:
        if page.width and page.height:
            pages.append(page)
            continue
        boxes = [frame.box for frame in page.frames] + [face.box for face in page.faces]
        try:
            width, height = read_page(comic.pictures[page.index]).size
        except OSError:
            width, height = (max((box[side] for box in boxes), default=0) for side in (2, 3))
        if width and height:
            pages.append(dataclasses.replace(page, width=width, height=height))
    return dataclasses.replace(comic.book, pages=tuple(pages))


def picture_names(comic: Comic) -> dict[int, str]:
    """Page index → the name of its picture, with its folder where the owner calls the page by a number."""
    return {
        index: name if name.endswith(path.name) else f"{path.parent.name}/{path.name}"
        for index, name in comic.names.items()
        for path in [comic.pictures[index]]
    }


def as_coco(faces: Sequence[ClusteredFace], book: Book, file_names: Mapping[int, str]) -> str:
    """COCO JSON: a category a cluster; ``face_id`` and ``distance`` are kept beside the boxes."""
    ids = {face.cluster: cluster_name(face.cluster, face.name) for face in faces}
    content: dict[str, Any] = {
        "info": {"description": f"Clusters of the faces of {book.title}, found by mfc"},
        "images": [
            {
                "id": page.index,
                "file_name": file_names[page.index],
                "width": page.width,
                "height": page.height,
            }
            for page in book.pages
        ],
        "categories": [
            {"id": cluster, "name": ids[cluster], "supercategory": "character"} for cluster in sorted(ids)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": face.page,
                "category_id": face.cluster,
                "bbox": [face.box[0], face.box[1], face.box[2] - face.box[0], face.box[3] - face.box[1]],
                "area": (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]),
                "iscrowd": 0,
                "face_id": face.face_id,
                "distance": round(face.distance, 4),
            }
            for number, face in enumerate(faces, start=1)
        ],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def as_manga109(faces: Sequence[ClusteredFace], book: Book) -> str:
    """An annotation file of Manga109 with all frames and faces of the book, and the clusters as characters.

    Ids that Manga109 would not take are replaced by numbers. Faces that were not clustered are `NOBODY`.
    """
    cluster_of = {face.face_id: face for face in faces}
    character_of = {face.cluster: f"{face.cluster:08x}" for face in faces}
    names = {face.cluster: cluster_name(face.cluster, face.name) for face in faces}
    root = xml.Element("book", title=_printable(book.title))
    characters = xml.SubElement(root, "characters")
    for cluster in sorted(names):
        xml.SubElement(characters, "character", id=character_of[cluster], name=_printable(names[cluster]))
    nobody = f"{0:08x}"
    if any(face.face_id not in cluster_of for page in book.pages for face in page.faces):
        xml.SubElement(characters, "character", id=nobody, name=NOBODY)
    pages = xml.SubElement(root, "pages")
    given = {face.face_id for page in book.pages for face in page.faces}
    given |= {frame.frame_id for page in book.pages for frame in page.frames}
    numbers = (number for number in count(1) if f"{number:08x}" not in given)
    for page in book.pages:
        size = {"index": str(page.index), "width": str(page.width), "height": str(page.height)}
        element = xml.SubElement(pages, "page", size)
        for frame in page.frames:
            xml.SubElement(element, "frame", {"id": _id(frame.frame_id, numbers), **_corners(frame.box)})
        for face in page.faces:
            found = cluster_of.get(face.face_id)
            character = character_of[found.cluster] if found else nobody
            attributes = {"id": _id(face.face_id, numbers), **_corners(face.box), "character": character}
            xml.SubElement(element, "face", attributes)
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def _corners(box: Box) -> dict[str, str]:
    return {name: str(side) for name, side in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)}


def _id(given: str, unused: Iterator[int]) -> str:
    plain = len(given) == 8 and all(c in "0123456789abcdef" for c in given)
    return given if plain else f"{next(unused):08x}"


def _printable(text: str) -> str:
    """A text that XML can hold: control characters have no place there, not even escaped."""
    return "".join(c if c.isprintable() else " " for c in text)
