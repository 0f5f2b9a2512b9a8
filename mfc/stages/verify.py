"""verify: look at every store, encoder and corpus below a folder, and list what is wrong with each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mfc.corpus.manga109 import open_corpus
from mfc.corpus.pictures import read_page
from mfc.corpus.validate import corpus_problems
from mfc.errors import UserError
from mfc.faces.store import STORE_FILE, open_store
from mfc.files import file_digest
from mfc.log import Log, progress

ENCODER_FILE = "encoder.json"
BOOKS_FILE = "books.txt"


def verify(place: Path, annotations: str, log: Log) -> tuple[str, list[str]]:
    """Check what lies below a folder; nothing is changed.

    Args:
        annotations: name of the annotation folder of a corpus.

    Returns:
        What was looked at, in words, and the problems, a sentence each with file and page or id.

    Raises:
        UserError: when there is nothing to look at.
    """
    kinds = {STORE_FILE: _store_problems, ENCODER_FILE: _encoder_problems, BOOKS_FILE: _corpus_problems}
    found = sorted(path for name in kinds for path in place.rglob(name))
    if not found:
        raise UserError(
            f"verify: neither store, encoder nor corpus is in {place}; give the folder of one by --path"
        )
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for path in progress(found, label="verify"):
        counts[{STORE_FILE: "store", ENCODER_FILE: "encoder", BOOKS_FILE: "corpus"}[path.name]] += 1
        mine = list(kinds[path.name](path.parent, annotations))
        log.say(f"verify: {path.parent}: {f'{len(mine)} problems' if mine else 'sound'}")
        problems += mine
    words = (f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items())
    return ", ".join(words), problems


def _store_problems(folder: Path, annotations: str) -> Iterator[str]:
    """Files that are not what they were when they were written, and faces that hold together no more."""
    del annotations
    try:
        store = open_store(folder)
    except UserError as error:
        yield str(error)
        return
    for name, written in store.meta["files"].items():
        if file_digest(folder / name) != written.get("sha256"):
            yield f"{folder / name}: is not what was written; run `mfc preprocess --overwrite true`"
    rows = store.table["row"].dropna().to_numpy(dtype=np.int64)
    if sorted(rows.tolist()) != list(range(len(store.crops))):
        yield f"{folder / 'faces.parquet'}: its rows are not 0 to {len(store.crops) - 1}, each once"
    for problem in store.meta.get("problems", []):
        yield f"{folder}: made from a corpus with a problem: {problem['detail']}"


def _encoder_problems(folder: Path, annotations: str) -> Iterator[str]:
    """Weights that do not load, are damaged, or no numbers."""
    del annotations
    from mfc.encoders.network import load_encoder

    try:
        load_encoder(folder)
    except UserError as error:
        yield str(error)


def _corpus_problems(root: Path, annotations: str) -> Iterator[str]:
    """What breaks a rule of the layout, and pictures that cannot be read or are of another size."""
    try:
        corpus = open_corpus(root, annotations)
        yield from corpus_problems(root, annotations)
    except UserError as error:
        yield str(error)
        return
    for title in corpus.titles:
        try:
            book = corpus.read_book(title)
        except UserError as error:
            yield str(error)
            continue
        for page in book.pages:
            path = corpus.image_path(title, page.index)
            try:
                size = read_page(path).size
            except FileNotFoundError:
                yield f"{path}: is missing"
            except OSError as error:
                yield f"{path}: cannot be read ({error})"
            else:
                if size != (page.width, page.height):
                    yield f"{path}: has {size[0]}x{size[1]} pixels, but its page {page.width}x{page.height}"
