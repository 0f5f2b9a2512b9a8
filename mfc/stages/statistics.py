"""Count pages, faces and characters per title and split, as a check of what the other stages work on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mfc.config import SPLITS
from mfc.corpus.manga109 import is_other
from mfc.faces.selection import select
from mfc.faces.store import FaceStore
from mfc.log import Log

if TYPE_CHECKING:
    import pandas as pd

TOTAL = "(all)"
"""Stands for the title in the row of a split, and for the split in the last row."""
CLASS_FACES = 10
"""A character with at least this many kept faces becomes a class of pre-training."""

# Published for Manga109 v2018.05.31: by the paper, and by the README of the public re-implementation.
MANGA109_TITLES = 104
PRETRAINING_FACES = {"paper": 67_328, "re-implementation": 67_336}
BEMADER_P = "BEMADER_P"
BEMADER_P_FACES = {"paper": (1_105, 82), "re-implementation": (1_111, 82)}

HEADINGS = {
    "split": "split",
    "title": "title",
    "pages": "pages",
    "faces": "faces",
    "kept": "kept",
    "dropped": "dropped",
    "named": "named",
    "others": "Others",
    "undeclared": "undecl.",
    "no_frame": "no frame",
    "characters": "char.",
    "characters_named": "named char.",
    "characters_10": f">={CLASS_FACES}",
    "faces_10": f"faces of >={CLASS_FACES}",
}


def count_faces(store: FaceStore, log: Log) -> pd.DataFrame:
    """The table of counts, logged as ``statistics``: a row per title, per split and for everything.

    Columns: ``faces`` annotated, of which ``kept`` and ``dropped``; of the kept ones ``named`` (neither
    Others nor of an undeclared character), ``others``, ``undeclared``, and those in ``no_frame``;
    ``characters`` with a kept face, without Others ``characters_named``, of which ``characters_10`` have ten
    kept faces or more, together ``faces_10``.
    """
    import pandas as pd

    by_split = {split: store.titles(split) for split in SPLITS}
    rows = [(split, title, [title]) for split, titles in by_split.items() for title in titles]
    rows += [(split, TOTAL, titles) for split, titles in by_split.items() if titles]
    rows.append((TOTAL, TOTAL, [title for titles in by_split.values() for title in titles]))
    table = pd.DataFrame(
        [{"split": split, "title": title, **_count(store, titles)} for split, title, titles in rows]
    )
    log.table("statistics", table)
    for _, row in table.iterrows():
        if row["title"] == TOTAL and row["split"] != TOTAL:
            log.metrics(
                {f"data/{row['split']}_{name}": float(row[name]) for name in ("kept", "characters_named")}
            )
    for line in [*_missed_others(store), *_published(store, table)]:
        log.say(f"statistics: {line}")
    return table


def format_table(table: pd.DataFrame) -> str:
    """The table of `count_faces` for a terminal: titles, then a line, then the sums."""
    lines = table.rename(columns=HEADINGS).to_string(index=False).splitlines()
    rule = "-" * max(len(line) for line in lines)
    titles = int((table["title"] != TOTAL).sum())
    return "\n".join([lines[0], rule, *lines[1 : titles + 1], rule, *lines[titles + 1 :]])


def _count(store: FaceStore, titles: list[str]) -> dict[str, int]:
    faces = store.table[store.table["title"].isin(titles)]
    kept = faces[faces["row"].notna()]
    named = select(store, titles, others=False)
    everyone = select(store, titles, others=True)
    head = select(store, titles, others=False, min_faces=CLASS_FACES)
    return {
        "pages": sum(store.meta["pages"][title] for title in titles),
        "faces": len(faces),
        "kept": len(kept),
        "dropped": len(faces) - len(kept),
        "named": len(named.rows),
        "others": len(everyone.rows) - len(named.rows),
        "undeclared": len(kept) - len(everyone.rows),
        "no_frame": int(kept["frame_id"].isna().sum()),
        "characters": len(everyone.classes),
        "characters_named": len(named.classes),
        "characters_10": len(head.classes),
        "faces_10": len(head.rows),
    }


def _missed_others(store: FaceStore) -> list[str]:
    """Names that look like Others and count as people, because the paper's list does not have them."""
    table = store.table
    faces = table[table["row"].notna() & table["character_name"].notna() & ~table["is_other"]]
    counts = Counter(zip(faces["title"], faces["character_id"], faces["character_name"], strict=True))
    missed = [
        f"{name!r} of {title} ({count} faces)"
        for (title, _, name), count in counts.items()
        if is_other(name, "extended")
    ]
    if not missed:
        return []
    return [
        f"counted as characters, but look like Others: {', '.join(missed)}; see preprocess --others extended"
    ]


def _published(store: FaceStore, table: pd.DataFrame) -> list[str]:
    """The two counts of Manga109 that were published, beside those of this store."""
    titles = table[table["title"] != TOTAL].set_index("title")
    lines = []
    if len(titles) >= MANGA109_TITLES:
        mine = int(table.loc[(table["split"] == "train") & (table["title"] == TOTAL), "faces_10"].sum())
        theirs = ", ".join(f"{count:,} ({source})" for source, count in PRETRAINING_FACES.items())
        lines.append(f"faces for pre-training: {mine:,} here; published for Manga109: {theirs}")
    if BEMADER_P in titles.index:
        named, others = (titles[name].to_dict()[BEMADER_P] for name in ("named", "others"))
        theirs = ", ".join(f"{a:,} + {b} ({source})" for source, (a, b) in BEMADER_P_FACES.items())
        lines.append(f"{BEMADER_P}, faces + Others: {named:,} + {others} here; published: {theirs}")
    return lines
