"""What a person decided in a ``clusters.csv``, as constraints; and cluster numbers that last from run to run.

A row is decided when the person moved it to another cluster, gave it a name, or did so in an earlier round.
Decided faces with one name (or, without names, in one cluster) are one person, all others are different ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mfc.corpus.sheets import Line, read_csv
from mfc.errors import UserError

EDITABLE = ("cluster", "name")
KEPT = ("face_id", "cluster", "name", "decided", "distance", "made_cluster", "made_name")
"""The columns of a clusters.csv that are read again; the ``made_…`` ones tell what the person changed."""

Label = tuple[str, int]
"""Who a decided face is: (name, 0), or ("", cluster number) when the person named nobody there."""


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
        """Whether the person typed a name; an emptied cell leaves the face to the clustering again."""
        return bool(self.name) and self.name != self.made_name

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
    def touched(self) -> bool:
        """Whether a person's work is in it: names, moves, or decisions of earlier rounds."""
        return any(row.fixed or row.name != row.made_name or row.name for row in self.rows)


def read_sheet(path: Path) -> Sheet:
    """Read a clusters.csv, edited or not.

    Raises:
        UserError: naming the file and the line or column that is wrong.
    """
    rows: list[Row] = []
    line_of: dict[str, int] = {}
    for line in read_csv(path, [(name,) for name in KEPT]):
        row = _row(path, line)
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


def _row(path: Path, line: Line) -> Row:
    cells, where = line.cells, f"{path}, line {line.number}"
    if not cells["face_id"]:
        raise UserError(f"{where}: has no face_id; put back the one that `mfc cluster` wrote")

    def cluster(column: str) -> int:
        text = cells[column].removesuffix(".0")  # as spreadsheets write it
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
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


def decisions(sheet: Sheet) -> dict[str, Label]:
    """Face id → who the person says it is, for the faces that the person decided.

    A face that was moved, or renamed away from its cluster's name, was told from the faces that it was with
    and put with those it is with now. Where none of those is decided, the one nearest to the centre of its
    cluster stands for them.

    Raises:
        UserError: when decisions contradict each other, naming the faces and lines.
    """
    members: dict[int, list[Row]] = {}
    for row in sheet.rows:
        members.setdefault(row.cluster, []).append(row)
    namers = {cluster: _namers(rows) for cluster, rows in members.items()}
    labels = {row.face_id: _label(sheet, row, namers[row.cluster]) for row in sheet.rows if row.fixed}
    for row in sheet.rows:
        told_apart = row.moved or (row.renamed and bool(row.made_name) and not row.decided)
        if not told_apart:
            continue
        for cluster in (row.made_cluster, row.cluster):
            stayed = [r for r in members.get(cluster, []) if not r.moved and not r.renamed]
            if stayed and not any(r.face_id in labels for r in stayed):
                anchor = min(stayed, key=lambda r: (r.distance, r.line))
                name = anchor.name or next(iter(namers[cluster]), "")
                labels[anchor.face_id] = (name, 0) if name else ("", cluster)
    return labels


def _namers(rows: Sequence[Row]) -> dict[str, Row]:
    """Name → a row that gives it to its cluster: what the person typed or decided goes before the rest."""
    typed = [row for row in rows if row.renamed or (row.fixed and not row.moved and row.name)]
    namers: dict[str, Row] = {}
    for row in typed or [r for r in rows if not r.moved and r.name]:
        namers.setdefault(row.name, row)
    return namers


def _label(sheet: Sheet, row: Row, namers: Mapping[str, Row]) -> Label:
    """Who a fixed row is, by its own name or that of the cluster it is in."""
    others = {name: r for name, r in namers.items() if name != row.name or r.face_id != row.face_id}
    if row.renamed:
        stayed = [r for r in others.values() if not r.moved and not r.renamed]
        if row.moved and stayed and row.name not in {r.name for r in stayed}:
            raise UserError(
                f"{sheet.path}, line {row.line}: face {row.face_id} is named {row.name!r} but moved to "
                f"cluster {row.cluster}, where face {stayed[0].face_id} (line {stayed[0].line}) is named "
                f"{stayed[0].name!r}; keep the name or the move"
            )
        return row.name, 0
    if row.name and not row.moved:
        return row.name, 0
    if len(namers) > 1:
        (a, first), (b, second) = list(namers.items())[:2]
        raise UserError(
            f"{sheet.path}, line {row.line}: face {row.face_id} is put into cluster {row.cluster}, where "
            f"face {first.face_id} (line {first.line}) is named {a!r} and face {second.face_id} (line "
            f"{second.line}) {b!r}; give face {row.face_id} one of the names"
        )
    return (next(iter(namers)), 0) if namers else ("", row.cluster)


def hard_pairs(
    face_ids: Sequence[str], labels: Mapping[str, Label]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Must-links (m, 2) within a label and cannot-links (c, 2) between labels, as positions in ``face_ids``.

    Labels of faces that are not there are left out. Few pairs: they hold for all faces by transitivity.
    """
    groups: dict[Label, list[int]] = {}
    for position, face_id in enumerate(face_ids):
        if face_id in labels:
            groups.setdefault(labels[face_id], []).append(position)
    must = [(group[0], other) for group in groups.values() for other in group[1:]]
    firsts = [group[0] for group in groups.values()]
    cannot = [(a, b) for i, a in enumerate(firsts) for b in firsts[i + 1 :]]
    return np.array(must, np.int64).reshape(-1, 2), np.array(cannot, np.int64).reshape(-1, 2)


def number_clusters(
    clusters: NDArray[np.int64],
    face_ids: Sequence[str],
    previous: Sheet | None = None,
    labels: Mapping[str, Label] | None = None,
) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Numbers that last: a cluster keeps the number of the previous cluster that it shares most faces with.

    One-to-one, by the Hungarian method on shared faces, decided ones before all others. New clusters get new
    numbers, larger ones first; without a previous result all are new.

    Args:
        clusters: (n,) any numbers.
        face_ids: n ids.
        labels: the decisions, which give their names to the clusters that they are in.

    Returns:
        (n,) numbers from 1, and number → name for clusters that have a name.
    """
    from scipy.optimize import linear_sum_assignment

    labels = labels or {}
    rows = {row.face_id: row for row in previous.rows} if previous else {}
    _, new = np.unique(clusters, return_inverse=True)
    old_numbers = sorted({row.cluster for row in rows.values()})
    place = {number: i for i, number in enumerate(old_numbers)}
    shared = np.zeros((int(new.max()) + 1, len(old_numbers)), np.int64)
    for cluster, face_id in zip(new, face_ids, strict=True):
        if face_id in rows:
            shared[cluster, place[rows[face_id].cluster]] += len(new) + 1 if face_id in labels else 1
    number_of: dict[int, int] = {}
    for cluster, i in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
        if shared[cluster, i]:
            number_of[int(cluster)] = old_numbers[i]
    first_id: dict[int, str] = {}
    for cluster, face_id in zip(new.tolist(), face_ids, strict=True):
        first_id[cluster] = min(face_id, first_id.get(cluster, face_id))
    sizes = np.bincount(new)
    fresh = sorted((c for c in first_id if c not in number_of), key=lambda c: (-sizes[c], first_id[c]))
    start = max(old_numbers, default=0) + 1
    number_of |= {cluster: number for number, cluster in enumerate(fresh, start)}
    numbers = np.array([number_of[c] for c in new.tolist()], np.int64)
    return numbers, _names(numbers, face_ids, rows, labels)


def _names(
    numbers: NDArray[np.int64], face_ids: Sequence[str], rows: Mapping[str, Row], labels: Mapping[str, Label]
) -> dict[int, str]:
    """Decided names first; else the name that most of the previous cluster of that number bear."""
    decided = {
        int(number): labels[face_id][0]
        for number, face_id in zip(numbers, face_ids, strict=True)
        if face_id in labels and labels[face_id][0]
    }
    before: dict[int, Counter[str]] = {}
    for row in rows.values():
        if row.name:
            before.setdefault(row.cluster, Counter())[row.name] += 1
    taken = set(decided.values())
    kept = {number: counts.most_common(1)[0][0] for number, counts in before.items()}
    present = set(numbers.tolist())
    return {n: name for n, name in kept.items() if n in present and name not in taken} | decided
