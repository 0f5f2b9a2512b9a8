"""What a person decided in a ``clusters.csv``, and who goes along with it.

A row is decided when the person moved it to another cluster, gave it a name, or did so in an earlier round.
Decided faces with one name (or, without names, in one cluster) are one person, all others are different ones.
What nobody touched goes along with the cluster that it is in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mfc.cast.table import Row, Sheet
from mfc.errors import UserError
from mfc.faces.pairs import Pairs

Label = tuple[str, int]
"""Who a face is: (name, 0), or ("", cluster number) when the person named nobody there."""


def decisions(sheet: Sheet) -> dict[str, Label]:
    """Face id → who the person says it is, for the faces that the person decided.

    A face that was moved, or renamed away from its cluster's name, was told from the faces that it was with
    and put with those it is with now. Where none of those is decided, the one nearest to the centre of its
    cluster stands for them.

    Raises:
        UserError: when decisions contradict each other, naming the faces and lines.
    """
    members = sheet.clusters
    travelling = _travelling_names(sheet)
    namers = {cluster: _namers(rows, travelling) for cluster, rows in members.items()}
    labels = {row.face_id: _label(sheet, row, namers[row.cluster]) for row in sheet.rows if row.fixed}
    for row in sheet.rows:
        if not row.parted:
            continue
        for cluster in (row.made_cluster, row.cluster):
            stayed = [r for r in members.get(cluster, []) if not r.moved and not r.renamed]
            if stayed and not any(r.face_id in labels for r in stayed):
                anchor = min(stayed, key=lambda r: (r.distance, r.line))
                if not anchor.name and len(namers[cluster]) > 1:
                    continue  # which of the people it is, nobody said
                name = anchor.name or next(iter(namers[cluster]), "")
                labels[anchor.face_id] = (name, 0) if name else ("", cluster)
    return labels


def _travelling_names(sheet: Sheet) -> set[str]:
    """Names all of whose faces were moved into one cluster: they go there with the faces."""
    bearers: dict[str, list[Row]] = {}
    for row in sheet.rows:
        bearers.setdefault(row.name, []).append(row)
    return {
        name
        for name, rows in bearers.items()
        if name and all(r.moved for r in rows) and len({r.cluster for r in rows}) == 1
    }


def _namers(rows: Sequence[Row], travelling: set[str]) -> dict[str, Row]:
    """Name → a row that gives it to its cluster: what the person typed or decided goes before the rest."""
    typed = [row for row in rows if row.renamed or (row.fixed and not row.moved and row.name)]
    there = [row for row in rows if not row.moved and row.name]
    namers: dict[str, Row] = {}
    for row in typed or there or [row for row in rows if row.name in travelling]:
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


@dataclass(frozen=True)
class Followers:
    """The faces that nobody decided, by what becomes of them."""

    along: Mapping[str, Label]
    """Face id → the person, or the cluster, that it goes along with."""
    parted: Mapping[int, tuple[Sequence[str], Sequence[str]]]
    """Cluster that names part → (faces to divide among its people, its faces whose person is known)."""


def followers(sheet: Sheet, labels: Mapping[str, Label], *, everywhere: bool) -> Followers:
    """Who goes along with the `decisions`.

    Args:
        everywhere: also clusters in which nothing was changed hold together.
    """
    along: dict[str, Label] = {}
    parted: dict[int, tuple[Sequence[str], Sequence[str]]] = {}
    for number, rows in sheet.clusters.items():
        rest = [row for row in rows if row.face_id not in labels]
        if not (everywhere or any(row.moved or row.renamed for row in rows)):
            continue
        stand = [row for row in rows if row.face_id in labels and (row.moved or not row.parted)]
        people = {labels[row.face_id] for row in stand}
        people = people or {(row.name, 0) for row in rest if row.name} or {("", number)}
        sure = [row for row in rest if len(people) == 1 or (row.name, 0) in people]
        for row in sure:
            own = row.name, 0
            along[row.face_id] = own if own in people else next(iter(people))
        if len(sure) < len(rest):
            known = [row.face_id for row in (*stand, *sure)]
            parted[number] = [row.face_id for row in rest if row not in sure], known
    return Followers(along, parted)


def hard_pairs(face_ids: Sequence[str], labels: Mapping[str, Label]) -> tuple[Pairs, Pairs]:
    """Must-links (m, 2) within a label and cannot-links (c, 2) between labels, as positions in ``face_ids``.

    Labels of faces that are not there are left out. Few pairs: they hold for all faces by transitivity.
    """
    groups: dict[Label, list[int]] = {}
    for position, face_id in enumerate(face_ids):
        if face_id in labels:
            groups.setdefault(labels[face_id], []).append(position)
    must = [(group[0], other) for group in groups.values() for other in group[1:]]
    firsts = np.array([group[0] for group in groups.values()], np.int64)
    a, b = np.triu_indices(len(firsts), 1)
    return np.array(must, np.int64).reshape(-1, 2), np.stack([firsts[a], firsts[b]], axis=1)
