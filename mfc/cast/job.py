"""What a call of `mfc cluster` is to do, read and checked at the door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from mfc.cast.decisions import Label, decisions
from mfc.cast.result import FILES, RECORD, TABLE, check_writable, holds_result, other_comic
from mfc.cast.table import Sheet, read_sheet
from mfc.config import Cluster, parse_auto
from mfc.corpus.comics import Comic, read_comic
from mfc.errors import UserError


@dataclass(frozen=True)
class Job:
    """A call whose arguments and inputs have been read and found good; nothing is written yet."""

    config: Cluster
    comic: Comic
    n_clusters: int | None
    threshold: float | None
    sheet: Sheet | None
    """What was handed in as corrections, or as a previous result."""
    labels: Mapping[str, Label]
    """Its decisions."""
    out: Path
    notes: tuple[str, ...]
    """What the person should know before the work begins."""

    @property
    def needs_calibration(self) -> bool:
        """Whether the number of clusters is to be told by a cut that nobody gave."""
        guess = self.n_clusters is None and self.threshold is None
        return guess and self.config.method == "agglomerative"


def open_job(config: Cluster, default_out: Callable[[str], Path], overwrite: bool) -> Job:
    """Read and check everything that a person may have got wrong, before anything takes time.

    Args:
        default_out: name of the comic → where its result goes when ``config.out`` is empty.

    Raises:
        UserError: naming the option, file, line, column or id.
    """
    n_clusters = parse_auto("n_clusters", config.n_clusters, int, 1)
    threshold = parse_auto("threshold", config.threshold, float, 0)
    if not config.input:
        raise UserError("cluster: give the comic's folder by --input (see `mfc cluster --help`)")
    if config.method == "hdbscan" and n_clusters is not None:
        raise UserError("method hdbscan finds the number of clusters itself; leave --n_clusters out")
    if config.corrections and config.method != "agglomerative":
        raise UserError(
            f"corrections hold with --method agglomerative only, not with {config.method}; leave --method out"
        )
    if config.corrections and config.previous:
        raise UserError("corrections are a previous result too; leave --previous out")
    comic = read_comic(
        Path(config.input),
        title=config.title,
        boxes=config.boxes,
        frames=config.frames,
        annotations=config.annotations,
        strict=config.strict,
    )
    face_ids = {face.face_id for page in comic.book.pages for face in page.faces}
    given = config.corrections or config.previous
    sheet = read_sheet(Path(given), face_ids) if given else None
    if sheet and config.corrections:
        _all_known(sheet, face_ids)
    labels = decisions(sheet) if sheet else {}
    labels = {face_id: label for face_id, label in labels.items() if face_id in face_ids}
    notes = list(comic.notes)
    if labels and config.method != "agglomerative":
        notes.append(f"{config.method} does not hold to the {len(labels):,} faces that were decided by hand")
        labels = {}
    people = len(set(labels.values()))
    if n_clusters is not None and n_clusters < people:
        raise UserError(
            f"n_clusters {n_clusters} is less than the {people} people that {given} tells apart; give at "
            f"least {people}"
        )
    usual = default_out(comic.book.title)
    out = Path(config.out) if config.out else _own_folder(usual, comic.book.title, config)
    if there := other_comic(out, Path(config.input), comic.book.title):
        notes.append(f"the result in {out} is of {there}; it will be replaced")
    elif not config.out and out != usual:
        there = other_comic(usual, Path(config.input), comic.book.title)
        notes.append(f"{usual} holds the result of {there}; this one goes to {out}")
    _may_write(out, given, overwrite)
    return Job(config, comic, n_clusters, threshold, sheet, labels, out, tuple(notes))


def _all_known(sheet: Sheet, face_ids: set[str]) -> None:
    for row in sheet.rows:
        if row.face_id not in face_ids:
            raise UserError(
                f"{sheet.path}, line {row.line}: face {row.face_id} is not in the comic; give the comic that "
                "the table was made from, and let the spreadsheet read the column face_id as text"
            )


def _own_folder(usual: Path, title: str, config: Cluster) -> Path:
    """Where the result of a comic goes: another comic of the same name may have the usual folder already."""
    given = config.corrections or config.previous
    if given and Path(given).resolve().parent == usual.resolve():
        return usual
    folders = (usual if n == 1 else usual.with_name(f"{usual.name}-{n}") for n in count(1))
    return next(folder for folder in folders if not other_comic(folder, Path(config.input), title))


def _may_write(out: Path, given: str, overwrite: bool) -> None:
    """Refuse to write over what is not ours, and over a person's work that was not handed in."""
    check_writable(out)
    there = [name for name in FILES if name != RECORD and (out / name).exists()]
    if there and not holds_result(out):
        raise UserError(f"--out {out} holds a {there[0]} that is not from `mfc cluster`; give another folder")
    table = out / TABLE
    if overwrite or not table.is_file() or (given and Path(given).resolve() == table.resolve()):
        return
    found = read_sheet(table)
    if found.edited or (found.touched and not given):
        raise UserError(
            f"{table} holds names or moves by hand: keep them by --corrections {table}, write elsewhere by "
            "--out, or drop them by --overwrite true"
        )
