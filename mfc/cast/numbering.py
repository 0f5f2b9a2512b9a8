"""Cluster numbers and names that last from run to run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray

from mfc.cast.decisions import Label
from mfc.cast.table import MOST, Row, Sheet


def number_clusters(
    clusters: NDArray[np.int64],
    face_ids: Sequence[str],
    previous: Sheet | None = None,
    labels: Mapping[str, Label] | None = None,
    held: Mapping[str, Label] | None = None,
) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Numbers that last: a cluster keeps the number of the previous cluster that it shares most faces with.

    One-to-one, by the Hungarian method on shared faces, decided ones before all others. New clusters get new
    numbers, larger ones first; without a previous result all are new.

    Args:
        clusters: (n,) any numbers.
        face_ids: n ids.
        labels: the decisions.
        held: who every face is that decisions hold, if not only those decided; names its cluster.

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
    number_of |= dict(zip(fresh, _unused(old_numbers, len(fresh)), strict=True))
    numbers = np.array([number_of[c] for c in new.tolist()], np.int64)
    return numbers, _names(numbers, face_ids, rows, labels if held is None else held)


def _unused(old_numbers: Sequence[int], n: int) -> list[int]:
    """Numbers after the old ones; where those end at the largest that a table may hold, the gaps."""
    start = max(old_numbers, default=0) + 1
    used = set(old_numbers)
    return list(islice((i for i in count(start if start + n - 1 <= MOST else 1) if i not in used), n))


def _names(
    numbers: NDArray[np.int64], face_ids: Sequence[str], rows: Mapping[str, Row], held: Mapping[str, Label]
) -> dict[int, str]:
    """Names of the people that are held; else what most of the previous cluster of that number had."""
    decided = {
        int(number): held[face_id][0]
        for number, face_id in zip(numbers, face_ids, strict=True)
        if face_id in held and held[face_id][0]
    }
    before: dict[int, Counter[str]] = {}
    for row in rows.values():
        if row.name and (
            row.renamed or not row.moved
        ):  # a moved row's name may be what its old cluster left there
            before.setdefault(row.cluster, Counter())[row.name] += 1
    taken = set(decided.values())
    kept = {number: counts.most_common(1)[0][0] for number, counts in before.items()}
    present = set(numbers.tolist())
    return {n: name for n, name in kept.items() if n in present and name not in taken} | decided
