"""The cast of a comic as a page to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mfc.cast.exports import cluster_name
from mfc.cast.result import TABLE
from mfc.cast.table import ClusteredFace
from mfc.corpus.comics import Comic
from mfc.log import progress
from mfc.report.galleries import (
    GalleryCluster,
    GalleryFace,
    data_uri,
    gallery_index,
    gallery_page,
    gallery_section,
)


def gallery(
    comic: Comic,
    faces: Sequence[ClusteredFace],
    crops: np.ndarray,
    rows: np.ndarray,
    counts: Mapping[str, int],
) -> str:
    """The clusters as a page: larger ones first, faces nearest to the centre first, single faces at the end.

    Args:
        crops, rows: a face store's crops, and which of them the faces are.
    """
    shown: dict[int, list[tuple[float, GalleryFace]]] = {}
    singles: list[GalleryFace] = []
    named: dict[int, str] = {}
    for face, row in progress(list(zip(faces, rows, strict=True)), label="cluster: gallery"):
        page = comic.names[face.page]
        where = f"page {page}" if comic.pages_known else page
        who = f"{cluster_name(face.cluster, face.name)}: " if face.singleton else ""
        caption = f"{who}{where}" + (f", {face.face_id}" if comic.pages_known else "")
        picture = GalleryFace(
            data_uri(crops[row]),
            f"Face {face.face_id}, {where}",
            caption + (" ✓" if face.decided else ""),
        )
        named[face.cluster] = cluster_name(face.cluster, face.name)
        if face.singleton and not face.name:
            singles.append(picture)
        else:
            shown.setdefault(face.cluster, []).append((face.distance, picture))
    order = sorted(shown, key=lambda number: (-len(shown[number]), number))
    clusters = [
        GalleryCluster(
            f"cluster-{number}",
            named[number],
            [picture for _, picture in sorted(shown[number], key=lambda item: item[0])],
            f"number {number}" if named[number] != cluster_name(number, "") else "",
        )
        for number in order
    ]
    if singles:
        clusters.append(GalleryCluster("single", "Single faces", singles, "each a cluster of its own"))
    intro = [
        f"{counts['faces']:,} faces in {counts['clusters']} clusters; faces alone in theirs: "
        f"{counts['singletons']}. In each cluster the face nearest to its centre comes first, the most "
        "doubtful last.",
        f"To name or move faces, edit the columns `cluster` and `name` of `{TABLE}` beside this page and run "
        f"`mfc cluster` again with `--corrections`. A ✓ marks what was decided by hand.",
    ]
    body = gallery_index(clusters) + gallery_section(clusters)
    return gallery_page(f"The cast of {comic.book.title}", intro, body)
