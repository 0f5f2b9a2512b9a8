"""The scorebook: every score that was kept, by the key of what it depends on.

A variant is what scores have in common: a stage, its parameters, the face store, the weights that it began
with and the number format. Each variant has a folder, each title and seed in it a file of its own that is
replaced as a whole, so that any number of processes may keep scores at once, and none can be taken for
another's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfc.corpus.reading import read_json
from mfc.errors import UserError
from mfc.files import replacing, value_digest, write_json

if TYPE_CHECKING:
    import pandas as pd

    from mfc.clusters.protocol import TitleScore

Row = dict[str, Any]
"""Title, seed, split and metrics of one scored title."""

VARIANT = "variant.json"
VARIANT_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("stage", "faces", "weights", "dtype"), str),
    "parameters": dict,
}
ROW_KINDS: Mapping[str, type] = {"title": str, "seed": int, "split": str}
"""What must be in a file for it to be used."""


@dataclass(frozen=True)
class Variant:
    """All that scores with one key have in common."""

    stage: str
    parameters: Mapping[str, Any]
    """Those on which the encoder or the score depends."""
    faces: str
    """Fingerprint of the face store."""
    weights: str
    """Digest of the encoder that was scored, or that the adaptation began with."""
    dtype: str
    """Number format of the network's products."""

    @property
    def id(self) -> str:
        """12 hex digits that change with everything above."""
        return value_digest(dataclasses.asdict(self))

    def differences(self, other: Variant) -> list[str]:
        """How this variant differs from another one, in words."""
        keys = dict.fromkeys([*self.parameters, *other.parameters])
        pairs = {key: (self.parameters.get(key), other.parameters.get(key)) for key in keys}
        pairs |= {name: (getattr(self, name), getattr(other, name)) for name in ("faces", "weights", "dtype")}
        return [f"{name} {mine}, not {theirs}" for name, (mine, theirs) in pairs.items() if mine != theirs]


def row_of(score: TitleScore, split: str) -> Row:
    """A score as it is kept and compared."""
    return {"title": score.title, "seed": score.seed, "split": split, **score.metrics}


class Scorebook:
    """A folder of variants; any number of processes may read and write it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, variant: Variant, split: str, score: TitleScore) -> None:
        """Remember a score, its clusters and constraints; the same title and seed scored again replace it."""
        place = self._place(variant.id, score.title, score.seed)
        for name, table in (("clusters", score.clusters), ("links", score.links)):
            if table is not None:
                with replacing(place.with_suffix(f".{name}.parquet")) as path:
                    table.to_parquet(path, index=False)
        write_json(self.folder / variant.id / VARIANT, dataclasses.asdict(variant))
        write_json(place.with_suffix(".json"), row_of(score, split))

    def rows(self, variant_id: str, titles: Iterable[str] | None = None) -> list[Row]:
        """The kept scores of a variant, by title (in the order of ``titles``) and seed."""
        files = [path for path in (self.folder / variant_id).glob("*.json") if path.name != VARIANT]
        rows = [self._read(path) for path in files]
        order = list(titles) if titles is not None else sorted({str(row["title"]) for row in rows})
        place = {title: number for number, title in enumerate(order)}
        return sorted(
            (row for row in rows if row["title"] in place), key=lambda row: (place[row["title"]], row["seed"])
        )

    def tables(self, variant_id: str, row: Row) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """The clusters of a kept score, and its constraints if the encoder was adapted."""
        import pandas as pd

        place = self._place(variant_id, row["title"], row["seed"])
        links = place.with_suffix(".links.parquet")
        try:
            clusters = pd.read_parquet(place.with_suffix(".clusters.parquet"))
            return clusters, pd.read_parquet(links) if links.is_file() else None
        except (OSError, ValueError):
            raise UserError(f"{place}.*.parquet: damaged; score {row['title']} again") from None

    def variants(self) -> list[Variant]:
        """All variants, the one that was kept first comes first."""
        files = sorted(self.folder.glob(f"*/{VARIANT}"), key=lambda path: (path.stat().st_mtime, path))
        return [Variant(**self._read(path)) for path in files]

    def _place(self, variant_id: str, title: str, seed: int) -> Path:
        # Titles differ in more than what every file system tells apart, so they are no file names here.
        return self.folder / variant_id / value_digest([title, seed])

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            content = read_json(path)
            kinds = VARIANT_KINDS if path.name == VARIANT else ROW_KINDS
            if not all(isinstance(content[name], kind) for name, kind in kinds.items()):
                raise TypeError
            if path.name == VARIANT:
                return {name: content[name] for name in kinds}
        except (UserError, KeyError, TypeError):
            raise UserError(f"{path}: damaged; delete it, and score its title again") from None
        row: Row = content
        return row
