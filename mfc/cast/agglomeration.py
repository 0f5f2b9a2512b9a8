"""Clusters that obey a comic's frames and a person's decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mfc.cast.decisions import Label, followers, hard_pairs
from mfc.cast.table import Sheet
from mfc.clusters.linkage import Labels, Tree, average_linkage, components
from mfc.faces.pairs import NO_PAIRS, Pairs, cannot_links_from_frames
from mfc.faces.selection import doubled_boxes, page_and_frame_codes
from mfc.log import Log

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Hints:
    """What the pages say of the faces, as positions in the list of faces."""

    doubled: Pairs
    """Two boxes of one face."""
    apart: Pairs
    """Faces of one frame."""


@dataclass(frozen=True)
class Held:
    """Who is held together by decisions."""

    people: Mapping[str, Label]
    """Face id → who it is."""
    left: frozenset[str] = frozenset()
    """Faces that would have gone along, but for a frame."""


NO_HINTS = Hints(NO_PAIRS, NO_PAIRS)


def hints_of(faces: pd.DataFrame) -> Hints:
    """The hints on the faces of a comic whose pages are known, given as lines of a face store."""
    _, frames = page_and_frame_codes(faces, once=True)
    return Hints(doubled_boxes(faces), cannot_links_from_frames(frames))


def hold(
    sheet: Sheet,
    labels: Mapping[str, Label],
    face_ids: Sequence[str],
    features: np.ndarray,
    hints: Hints,
    *,
    everywhere: bool,
) -> Held:
    """Who the faces are that were decided, and those that go along with them.

    A cluster that names part is divided among its people by the features. Where a merge would join two
    undecided faces of one frame, one stays behind, with the others of its cluster that do.

    Args:
        features: (n, d) float32, rows of length 1, of ``face_ids``.
        everywhere: all clusters of the sheet hold, not only those with changes.
    """
    place = {face_id: i for i, face_id in enumerate(face_ids)}
    home = {row.face_id: row for row in sheet.rows}
    found = followers(sheet, labels, everywhere=everywhere)
    held = {face_id: who for face_id, who in {**labels, **found.along}.items() if face_id in place}
    left: set[str] = set()
    for undecided, known in found.parted.values():
        rest = [face_id for face_id in undecided if face_id in place]
        if rest:
            there = [face_id for face_id in known if face_id in held]
            joined = _divided(rest, there, held, place, features, hints.apart)
            held |= joined
            left |= set(rest) - set(joined)
    left |= _told_apart(held, labels, {i: home[i].made_cluster for i in held}, face_ids, hints.apart)
    for face_id in left:
        held.pop(face_id, None)
        if everywhere:
            held[face_id] = "", -home[face_id].cluster
    return Held(held, frozenset(left))


def _divided(
    rest: Sequence[str],
    known: Sequence[str],
    held: Mapping[str, Label],
    place: Mapping[str, int],
    features: np.ndarray,
    apart: Pairs,
) -> dict[str, Label]:
    """The undecided faces of one cluster, each with one of its people; without those that frames forbid."""
    ids = [*known, *rest]
    must, cannot = hard_pairs(ids, {face_id: held[face_id] for face_id in known})
    here = np.full(len(place), -1, np.int64)
    here[[place[face_id] for face_id in ids]] = np.arange(len(ids))
    frames = here[apart]
    frames = frames[(frames >= 0).all(axis=1)]
    tree = constrained_tree(
        features[[place[face_id] for face_id in ids]], must, cannot, Hints(NO_PAIRS, frames)
    )
    clusters = tree.cut_into(len({held[face_id] for face_id in known})).tolist()
    person = {clusters[i]: held[face_id] for i, face_id in enumerate(known)}
    return {
        face_id: person[cluster]
        for face_id, cluster in zip(rest, clusters[len(known) :], strict=True)
        if cluster in person
    }


def _told_apart(
    held: Mapping[str, Label],
    labels: Mapping[str, Label],
    made: Mapping[str, int],
    face_ids: Sequence[str],
    apart: Pairs,
) -> set[str]:
    """Of each two followers of one person that share a frame and were in two clusters before, one.

    The one from the larger cluster stays.
    """
    mates: dict[str, set[str]] = {}
    for i, j in apart.tolist():
        a, b = face_ids[i], face_ids[j]
        followers = all(face in held and face not in labels for face in (a, b))
        if followers and held[a] == held[b] and made[a] != made[b]:
            mates.setdefault(a, set()).add(b)
            mates.setdefault(b, set()).add(a)
    sizes: dict[int, int] = {}
    for cluster in made.values():
        sizes[cluster] = sizes.get(cluster, 0) + 1
    stay: set[str] = set()
    for face in sorted(mates, key=lambda f: (-sizes[made[f]], made[f], f)):
        if not mates[face] & stay:
            stay.add(face)
    return set(mates) - stay


def constrained_tree(features: np.ndarray, must: Pairs, cannot: Pairs, hints: Hints) -> Tree:
    """Average linkage under decisions (all people told apart), and under the hints that agree with them."""
    n = len(features)
    groups = components(n, np.concatenate([must, hints.doubled]))
    broken = groups[cannot[groups[cannot[:, 0]] == groups[cannot[:, 1]], 0]]
    doubled = hints.doubled[~np.isin(groups[hints.doubled[:, 0]], broken)]
    must = np.concatenate([must, doubled])
    groups = components(n, must)
    apart = hints.apart[groups[hints.apart[:, 0]] != groups[hints.apart[:, 1]]]
    return average_linkage(features, must, np.concatenate([cannot, apart]))


def agglomerate(
    face_ids: Sequence[str],
    held: Mapping[str, Label],
    features: np.ndarray,
    last: np.ndarray,
    hints: Hints,
    n_clusters: int | None,
    cut: float | None,
    log: Log,
) -> Labels:
    """(n,) clusters of the ``last`` features, in which the faces that are held are as they are held.

    Args:
        features: (n, d) of the encoder before it was adapted, which the cut was learnt on.
        n_clusters: how many clusters; None: as many as the tree of ``features`` has at the ``cut``.
    """
    must, cannot = hard_pairs(face_ids, held)
    if all(face_id in held for face_id in face_ids):
        clusters = components(len(face_ids), must)
        why = "those of the table hold; --previous instead of --corrections clusters anew what nobody decided"
    else:
        tree = constrained_tree(last, must, cannot, hints)
        wanted = n_clusters
        if wanted is None and cut is not None:
            before = tree if last is features else constrained_tree(features, must, cannot, hints)
            wanted = len(np.unique(before.cut(cut)))
        clusters = tree.cut_into(wanted or tree.most)
        why = f"frames and decisions allow {tree.fewest} to {tree.most}"
    if n_clusters not in (None, found := len(np.unique(clusters))):
        log.say(f"cluster: there are {found} clusters, not {n_clusters}: {why}")
    return clusters
