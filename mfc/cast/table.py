"""clusters.csv: the table of the clustered faces, written for a person to edit and read again."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import unicodedata
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mfc.corpus.manga109 import Box
from mfc.corpus.sheets import Line, formula_safe, read_csv
from mfc.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
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
KEPT = ("face_id", "cluster", "name", "decided", "distance", "made_cluster", "made_name")
"""The columns that are read again; the ``made_…`` ones tell what the person changed."""
_LIKE_A_NUMBER = re.compile(r"(?=.{8}$)[0-9]+(e[0-9]+)?")
MOST = 10**9 - 1
"""The largest number of a cluster."""


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


def tabulate(
    faces: pd.DataFrame,
    features: np.ndarray,
    numbers: NDArray[np.int64],
    names: Mapping[int, str],
    decided: Container[str],
) -> list[ClusteredFace]:
    """The clustered faces in the order of ``faces``, the lines of a face store.

    Args:
        features: (n, d) float32, rows of length 1, which distances to the centres are of.
        numbers: (n,) cluster numbers, up to `MOST`.
        names: number → name.
        decided: ids of the faces that a person decided.
    """
    _, cluster, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    centres = np.zeros((len(sizes), features.shape[1]), np.float64)
    np.add.at(centres, cluster, features)
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    distances = np.maximum(1 - (features * centres[cluster]).sum(axis=1), 0)
    columns = ["face_id", "page_index", "xmin", "ymin", "xmax", "ymax"]
    return [
        ClusteredFace(
            str(face_id),
            int(page),
            (int(box[0]), int(box[1]), int(box[2]), int(box[3])),
            int(number),
            names.get(int(number), ""),
            str(face_id) in decided,
            float(distance),
            bool(size == 1),
        )
        for (face_id, page, *box), number, distance, size in zip(
            faces[columns].itertuples(index=False), numbers, distances, sizes[cluster], strict=True
        )
    ]


def counts_of(faces: Sequence[ClusteredFace]) -> dict[str, int]:
    """Faces, clusters, clusters of one face (``singletons``), and faces that a person ``decided``."""
    return {
        "faces": len(faces),
        "clusters": len({face.cluster for face in faces}),
        "singletons": sum(face.singleton for face in faces),
        "decided": sum(face.decided for face in faces),
    }


def as_csv(faces: Sequence[ClusteredFace], page_names: Mapping[int, str]) -> str:
    """The table that `read_sheet` reads; `cluster` and `name` are there to be edited.

    It begins with a byte order mark: without one Excel reads names that are not English as gibberish, and
    saves that.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for face in faces:
        name = formula_safe(face.name)
        writer.writerow(
            [
                formula_safe(face.face_id),
                formula_safe(page_names[face.page]),
                *face.box,
                face.cluster,
                name,
                "yes" if face.decided else "",
                f"{face.distance:.4f}",
                "yes" if face.singleton else "",
                face.cluster,
                name,
            ]
        )
    return "\ufeff" + text.getvalue()


@dataclass(frozen=True)
class Row:
    """One face of a clusters.csv."""

    line: int
    face_id: str
    cluster: int
    name: str
    decided: bool
    distance: float
    made_cluster: int
    made_name: str

    @property
    def moved(self) -> bool:
        return self.cluster != self.made_cluster

    @property
    def renamed(self) -> bool:
        """Whether the person typed a name; an emptied cell takes a decision back."""
        return bool(self.name) and self.name != self.made_name

    @property
    def parted(self) -> bool:
        """Whether the person took the face out of the cluster that it was in.

        A new name does so in a cluster that has one; but in a row that was decided it renames the person.
        """
        return self.moved or (self.renamed and bool(self.made_name) and not self.decided)

    @property
    def fixed(self) -> bool:
        withdrawn = self.decided and bool(self.made_name) and not self.name
        return self.moved or self.renamed or (self.decided and not withdrawn)


@dataclass(frozen=True)
class Sheet:
    """A clusters.csv."""

    path: Path
    rows: tuple[Row, ...]

    @property
    def edited(self) -> bool:
        """Whether a person changed it after it was written."""
        return any(row.moved or row.name != row.made_name for row in self.rows)

    @property
    def touched(self) -> bool:
        """Whether a person's work is in it: names, moves, or decisions of earlier rounds."""
        return self.edited or any(row.fixed or row.name for row in self.rows)

    @property
    def clusters(self) -> dict[int, list[Row]]:
        """Number → rows, as the person left them."""
        found: dict[int, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.cluster, []).append(row)
        return found


def read_sheet(path: Path, known: Collection[str] = ()) -> Sheet:
    """Read a clusters.csv, edited or not.

    Names that differ only in their Unicode form are one name, written as it is written first. An id that is
    one of ``known`` but for the form, or for blanks around it, is that one; so is one that earlier versions
    made, which could look like a number.

    Raises:
        UserError: naming the file and the line or column that is wrong.
    """
    id_of = {_folded(face_id): face_id for face_id in known}
    rows: list[Row] = []
    line_of: dict[str, int] = {}
    spelling: dict[str, str] = {}
    for line in read_csv(path, [(name,) for name in KEPT]):
        for column in ("name", "made_name"):
            name = line.cells[column]
            line.cells[column] = spelling.setdefault(unicodedata.normalize("NFC", name), name)
        row = _row(path, line)
        if row.face_id not in known:
            again = f"f{row.face_id[1:]}" if _LIKE_A_NUMBER.fullmatch(row.face_id) else row.face_id
            row = dataclasses.replace(row, face_id=id_of.get(_folded(again), row.face_id))
        if row.face_id in line_of:
            raise UserError(
                f"{path}, line {row.line}: face {row.face_id} is in line {line_of[row.face_id]} already; "
                "keep one of the lines"
            )
        line_of[row.face_id] = row.line
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: has no line with a face; give a clusters.csv that `mfc cluster` wrote")
    return Sheet(path, tuple(rows))


def _folded(face_id: str) -> str:
    return unicodedata.normalize("NFC", face_id).strip()


def _row(path: Path, line: Line) -> Row:
    cells, where = line.cells, f"{path}, line {line.number}"
    if not cells["face_id"]:
        raise UserError(f"{where}: has no face_id; put back the one that `mfc cluster` wrote")

    def cluster(column: str) -> int:
        text = cells[column].removesuffix(".0")  # as spreadsheets write it
        if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= MOST):
            raise UserError(
                f"{where}, column {column}: {cells[column]!r} is not a cluster; write a whole number from 1"
            )
        return int(text)

    try:
        distance = float(cells["distance"].replace(",", ".") or "inf")
    except ValueError:
        raise UserError(
            f"{where}, column distance: {cells['distance']!r} is not a number; empty it"
        ) from None
    decided = cells["decided"].lower()
    if decided not in ("", "yes"):
        raise UserError(f"{where}, column decided: {cells['decided']!r} is neither yes nor empty; mend it")
    return Row(
        line.number,
        cells["face_id"],
        cluster("cluster"),
        cells["name"],
        decided == "yes",
        distance,
        cluster("made_cluster"),
        cells["made_name"],
    )
