"""A clustered comic in the formats of others: a table, COCO JSON, and an annotation file of Manga109."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as xml

from mfc.corpus.manga109 import Book, Box

NOBODY = "Other"
"""The character of faces that were not clustered, e.g. too small ones: one of the paper's spellings."""
CSV_COLUMNS = (
    "face_id",
    "page",
    "xmin",
    "ymin",
    "xmax",
    "ymax",
    "cluster",
    "name",
    "decided",
    "distance",
    "singleton",
    "made_cluster",
    "made_name",
)


@dataclass(frozen=True)
class ClusteredFace:
    """One face of the result."""

    face_id: str
    page: int
    box: Box
    cluster: int
    name: str
    decided: bool
    """A person put it there."""
    distance: float
    """Cosine distance to the centre of its cluster."""
    singleton: bool
    """Alone in its cluster."""


def cluster_name(cluster: int, name: str) -> str:
    """What a cluster is called where a name is needed."""
    return name or f"Cluster {cluster}"


def as_csv(faces: Sequence[ClusteredFace], page_names: Mapping[int, str]) -> str:
    """The table that `mfc.cast.decisions.read_sheet` reads; `cluster` and `name` are there to be edited."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for face in faces:
        writer.writerow(
            [
                face.face_id,
                page_names[face.page],
                *face.box,
                face.cluster,
                face.name,
                "yes" if face.decided else "",
                f"{face.distance:.4f}",
                "yes" if face.singleton else "",
                face.cluster,
                face.name,
            ]
        )
    return text.getvalue()


def as_coco(faces: Sequence[ClusteredFace], book: Book, page_names: Mapping[int, str]) -> str:
    """COCO JSON: a category a cluster; ``face_id`` and ``distance`` are kept beside the boxes."""
    ids = {face.cluster: cluster_name(face.cluster, face.name) for face in faces}
    content: dict[str, Any] = {
        "info": {"description": f"Clusters of the faces of {book.title}, found by mfc"},
        "images": [
            {
                "id": page.index,
                "file_name": page_names[page.index],
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
    number = 0
    for page in book.pages:
        size = {"index": str(page.index), "width": str(page.width), "height": str(page.height)}
        element = xml.SubElement(pages, "page", size)
        for frame in page.frames:
            number += 1
            xml.SubElement(element, "frame", {"id": _id(frame.frame_id, number), **_corners(frame.box)})
        for face in page.faces:
            number += 1
            found = cluster_of.get(face.face_id)
            character = character_of[found.cluster] if found else nobody
            attributes = {"id": _id(face.face_id, number), **_corners(face.box), "character": character}
            xml.SubElement(element, "face", attributes)
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def _corners(box: Box) -> dict[str, str]:
    return {name: str(side) for name, side in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)}


def _id(given: str, number: int) -> str:
    plain = len(given) == 8 and all(c in "0123456789abcdef" for c in given)
    return given if plain else f"{number:08x}"


def _printable(text: str) -> str:
    """A text that XML can hold: control characters have no place there, not even escaped."""
    return "".join(c if c.isprintable() else " " for c in text)
