"""How true constraints are: a diagnosis that makes bad adaptations visible, never used to train."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray


def constraint_quality(
    must_link: NDArray[np.int64], cannot_link: NDArray[np.int64], labels: ArrayLike
) -> Iterator[tuple[str, float]]:
    """How true constraints are: a diagnosis only, never used to train.

    Per kind: `…_pairs`, their number; `…_precision`, the share that the truth confirms; `…_contradictions`,
    the number it denies; `…_coverage`, the share of all pairs of the kind (one label, or two) that are
    stated. And `must_link_faces`, the share of faces with at least one must-link. A share of nothing is not
    yielded.

    Args:
        must_link, cannot_link: (pairs, 2) int64 indices, each pair once.
        labels: (n,) integers or texts.
    """
    codes = np.unique(np.asarray(labels), return_inverse=True)[1]
    sizes = np.bincount(codes)
    pairs_of_one_label = float((sizes * (sizes - 1) // 2).sum())
    all_pairs = len(codes) * (len(codes) - 1) / 2
    for kind, links, existing in (
        ("must_link", must_link, pairs_of_one_label),
        ("cannot_link", cannot_link, all_pairs - pairs_of_one_label),
    ):
        same = codes[links[:, 0]] == codes[links[:, 1]]
        true = int(same.sum() if kind == "must_link" else (~same).sum())
        yield f"{kind}_pairs", float(len(links))
        yield f"{kind}_contradictions", float(len(links) - true)
        if len(links):
            yield f"{kind}_precision", true / len(links)
        if existing:
            yield f"{kind}_coverage", true / existing
    yield "must_link_faces", len(np.unique(must_link)) / len(codes)
