"""What became of a table that was handed in: a sentence for whatever is not as the table shows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mfc.cast.agglomeration import Held
from mfc.cast.table import ClusteredFace, Row, Sheet

SHOWN = 5
"""Ids or names in one sentence."""
MOST_SENTENCES = 20


def tell_changes(sheet: Sheet, faces: Sequence[ClusteredFace], held: Held) -> list[str]:
    """Sentences on the rows of ``sheet``: who is elsewhere, or called otherwise, and which are not there.

    Of faces that the table did not hold only lost names are told.
    """
    row_of = {row.face_id: row for row in sheet.rows}
    there = [(row_of[face.face_id], face) for face in faces if face.face_id in row_of]
    asked = [(row, face) for row, face in there if row.face_id in held.people or row.face_id in held.left]
    stayed = ((row.cluster, face) for row, face in asked if row.face_id in held.left)
    moved = (
        (f"of cluster {row.cluster}", face)
        for row, face in asked
        if row.face_id not in held.left and row.cluster != face.cluster
    )
    renamed = ((row.name, face) for row, face in asked if row.name and row.name != face.name)
    emptied = ((row.made_name, face) for row, face in asked if _emptied(row) and face.name)
    sentences = [
        f"{_faces(ids)} of cluster {number} did not go along with the others, because each is in one frame "
        f"with a face that they joined, and {_are(ids)} in {where} now ({_some(ids)}); write the number or "
        "the name of the others into their rows to join them all the same"
        for number, where, ids in _grouped(stayed)
    ]
    sentences += [f"{_faces(ids)} {what} {_are(ids)} in {where} now" for what, where, ids in _grouped(moved)]
    sentences += [
        f"{_faces(ids)} called {name} in the table {_are(ids)} in {where}"
        for name, where, ids in _grouped(renamed)
    ]
    sentences += [
        f"{_faces(ids)} whose name {name} was emptied {_are(ids)} still in {where}; write another number to "
        f"take {'them' if len(ids) > 1 else 'it'} out"
        for name, where, ids in _grouped(emptied)
    ]
    more = len(sentences) - MOST_SENTENCES
    if more > 0:
        sentences[MOST_SENTENCES:] = [f"{more} more such changes; see the tables"]
    return sentences + _lost(sheet, faces)


def _lost(sheet: Sheet, faces: Sequence[ClusteredFace]) -> list[str]:
    ids = {face.face_id for face in faces}
    missing = [f"line {row.line}: {row.face_id}" for row in sheet.rows if row.face_id not in ids]
    sentences = []
    if missing:
        sentences.append(
            f"{len(missing):,} of the {len(sheet.rows):,} rows of {sheet.path} are no face of this result "
            f"({_some(missing)}); if the comic has them, let the spreadsheet read the column face_id as text"
        )
    gone = dict.fromkeys(row.name for row in sheet.rows if row.name)
    names = [name for name in gone if name not in {face.name for face in faces}]
    if names:
        sentences.append(f"nobody is called {', '.join(names)} any more")
    return sentences


def _emptied(row: Row) -> bool:
    return bool(row.made_name) and not row.name and not row.moved


def _grouped(items: Iterable[tuple[object, ClusteredFace]]) -> list[tuple[object, str, list[str]]]:
    """(what was asked, where the faces are now, their ids), larger groups first."""
    groups: dict[tuple[object, str], list[str]] = {}
    for what, face in items:
        named = f"cluster {face.cluster}" + (f" ({face.name})" if face.name else "")
        groups.setdefault((what, named), []).append(face.face_id)
    return [(*key, ids) for key, ids in sorted(groups.items(), key=lambda item: -len(item[1]))]


def _faces(ids: Sequence[str]) -> str:
    return f"{len(ids):,} face" + ("s" if len(ids) > 1 else "")


def _are(ids: Sequence[str]) -> str:
    return "are" if len(ids) > 1 else "is"


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:SHOWN]) + (", …" if len(texts) > SHOWN else "")
