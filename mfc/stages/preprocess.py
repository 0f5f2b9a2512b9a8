"""Crop the faces of a Manga109-layout corpus into a face store: each page is decoded once, on all cores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from mfc.config import SPLITS, STORE, Preprocess, affecting
from mfc.corpus.manga109 import Book, Corpus, open_corpus, read_annotation
from mfc.corpus.splits import Splits, resolve_splits
from mfc.errors import UserError
from mfc.faces.build import cut_books, stop_if_strict
from mfc.faces.store import STORE_FILE, FaceStore, open_store, remove_leftovers, store_lock
from mfc.log import Log, progress
from mfc.processes import available_cores, map_in, workers

FEW_BOOKS = 16
"""Starting a process takes as long as reading this many."""


def preprocess(
    config: Preprocess, root: Path, store: Path, log: Log, overwrite: bool = False, cache: Path | None = None
) -> FaceStore:
    """Make the face store of the corpus at ``root`` in the folder ``store``, or find it there as wanted.

    Problems of the corpus are listed in ``store.json`` and the faces they cost carry a ``drop_reason``;
    ``config.strict`` makes the first one a `UserError`. So is a store that exists with other parameters,
    unless ``overwrite``.

    Args:
        cache: where digests of pictures are remembered, see `mfc.corpus.digests`.
    """
    corpus = open_corpus(root, config.annotations)
    splits = resolve_splits(corpus.root, corpus.titles, config.splits)
    wanted = _wanted(config, corpus, splits, cache)
    found = _existing(store, wanted, overwrite)
    if found is None:
        with store_lock(store, log.say), workers(config.jobs or available_cores()) as executor:
            found = _existing(store, wanted, overwrite)  # by another process, while this one waited
            if found is None:
                books = _read_books(corpus, splits, executor)
                made = cut_books(config, books, corpus.image_path, wanted, store, executor, log)
                _say_what_came_of_it(made, log)
                return made
    remove_leftovers(store)
    stop_if_strict(found.meta.get("problems", []), config)
    log.say(f"preprocess: {store} is up to date with {len(found.crops):,} faces; nothing to do")
    return found


def why_stale(config: Preprocess, store: FaceStore, root: Path | None, cache: Path | None) -> list[str]:
    """In what a store differs from what these parameters would make; empty when it is as wanted.

    Args:
        root: the corpus; None when it is not at hand, so that the parameters alone are compared.
        cache: where digests of pictures are remembered, see `mfc.corpus.digests`.
    """
    wanted = {**store.meta, "parameters": affecting(config, STORE)}
    if root is not None:
        corpus = open_corpus(root, config.annotations)
        splits = resolve_splits(corpus.root, corpus.titles, config.splits)
        wanted = _wanted(config, corpus, splits, cache)
    return _differences(store.meta, wanted)


def _wanted(config: Preprocess, corpus: Corpus, splits: Splits, cache: Path | None) -> dict[str, Any]:
    """What a store says of itself when it was made from this corpus with these parameters."""
    return {"corpus": corpus.fingerprint(cache), "parameters": affecting(config, STORE), "splits": splits}


def _existing(store: Path, wanted: Mapping[str, Any], overwrite: bool) -> FaceStore | None:
    """The store if it is there as wanted; None if it has to be made; else `UserError`."""
    if not store.exists() or (store.is_dir() and not any(store.iterdir())):
        return None
    if not (store / STORE_FILE).is_file():
        raise UserError(f"{store} exists and is no face store; move it away or choose another --store")
    try:
        found = open_store(store)
    except UserError:
        if overwrite:
            return None
        raise
    differences = _differences(found.meta, wanted)
    if not differences:
        return found
    if overwrite:
        return None
    raise UserError(
        f"face store {store} was made with {'; '.join(differences)}: pass --overwrite true to remake it, or "
        "choose another --store"
    )


def _differences(meta: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    def plain(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    result = []
    for name, value in wanted["parameters"].items():
        old = meta.get("parameters", {}).get(name)
        if old != value and not (name == "export_crops" and old):
            result.append(f"{name} {plain(old)}, not {plain(value)}")
    if meta.get("corpus") != wanted["corpus"]:
        result.append("another corpus, or this one before it was changed")
    if meta.get("splits") != wanted["splits"]:
        result.append("other splits")
    return result


def _read_books(corpus: Corpus, splits: Splits, executor: ProcessPoolExecutor | None) -> list[Book]:
    used = {title for split in SPLITS for title in splits[split]}
    titles = [title for title in corpus.titles if title in used]
    read = partial(read_annotation, corpus.root, corpus.annotations)
    books = map_in(read, titles, FEW_BOOKS, executor)
    return list(progress(books, label="preprocess: books", total=len(titles)))


def _say_what_came_of_it(store: FaceStore, log: Log) -> None:
    dropped = store.table["drop_reason"].value_counts()
    why = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "none"
    log.say(f"preprocess: {len(store.crops):,} faces kept in {store.path}; dropped: {why}")
    problems = store.meta["problems"]
    if problems:
        counted = Counter(problem["kind"] for problem in problems)
        kinds = ", ".join(f"{count} {kind}" for kind, count in counted.items())
        where = f"listed in {store.path / 'store.json'}; the first: {problems[0]['detail']}"
        log.say(f"preprocess: {len(problems)} problems ({kinds}), {where}")
