"""Corpus and faces: what a command needs of them is made first. Starts without torch."""

from __future__ import annotations

from pathlib import Path

from mfc.config import Evaluate, Finetune, ImportOpenMantra, Preprocess, Synthesize, Verify, name_of
from mfc.corpus.manga109 import open_corpus
from mfc.corpus.splits import resolve_splits
from mfc.corpus.synthetic.presets import PRESETS
from mfc.corpus.synthetic.write import DONE, splits_of, titles_of
from mfc.errors import UserError
from mfc.faces.store import STORE_FILE, FaceStore, open_store
from mfc.stages.import_openmantra import import_openmantra
from mfc.stages.preprocess import preprocess, why_stale
from mfc.stages.statistics import count_faces, format_table
from mfc.stages.synthesize import synthesize
from mfc.stages.verify import verify
from mfc.tracking import Run
from mfc.workflow.pages import describe, faces_in_words, log_faces, params_of
from mfc.workflow.session import Session


def synthesize_command(session: Session, run: Run) -> str:
    return str(draw_corpus(session, run))


def preprocess_command(session: Session, run: Run) -> str:
    return str(cut_faces(session, run).path)


def statistics_command(session: Session, run: Run) -> str:
    store = faces(session, run)
    describe(
        session, run, "statistics", "Counts faces and characters per title and split.", faces_in_words(store)
    )
    return format_table(count_faces(store, run))


def import_openmantra_command(session: Session, run: Run) -> str:
    root = import_openmantra(session.config(ImportOpenMantra), run, session.where.overwrite)
    describe(session, run, "import_openmantra", "Turns the OpenMantra dataset into a corpus of real manga.")
    return str(root)


def verify_command(session: Session, run: Run) -> str:
    """Look at everything below a folder.

    Raises:
        UserError: when something is wrong, with all that was found.
    """
    given = session.config(Verify).path
    place = Path(given) if given else session.workspace.root
    looked_at, problems = verify(place, session.config(Preprocess).annotations, run)
    describe(session, run, "verify", f"Looked at {looked_at}; found {len(problems)} problems.")
    if problems:
        raise UserError("\n".join([f"verify: {len(problems)} problems in {place}:", *problems]))
    return f"{place}: {looked_at}: no problem found"


def draw_corpus(session: Session, run: Run) -> Path:
    """Draw the experiment's corpus, unless it is there."""
    config = session.config(Synthesize)
    describe(session, run, "synthesize", f"Draws a synthetic corpus (preset {config.preset}).")
    return synthesize(config, drawn_corpus(session), run, session.where.overwrite)


def drawn_corpus(session: Session) -> Path:
    """Where the drawn corpus of the experiment is, or will be."""
    return Path(session.config(Synthesize).out or session.workspace.corpus)


def corpus_root(session: Session) -> Path | None:
    """The corpus that the experiment works on, if it is there."""
    root = Path(session.where.manga109_root) if session.where.manga109_root else drawn_corpus(session)
    there = (root / DONE).is_file() or not session.draws_its_corpus
    return root if there and (root / "books.txt").is_file() else None


def cut_faces(session: Session, run: Run) -> FaceStore:
    """Cut the faces of the experiment's corpus, unless they are there; it is drawn first if need be."""
    config = session.config(Preprocess)
    root = Path(session.where.manga109_root)
    if session.draws_its_corpus and corpus_root(session) is None:
        run.say("No corpus yet: running `mfc synthesize` first.")
        with run.child("synthesize", stage="synthesize", params=params_of(session, "synthesize")) as child:
            root = draw_corpus(session, child)
    elif session.draws_its_corpus:
        root = synthesize(session.config(Synthesize), drawn_corpus(session), run, session.where.overwrite)
    elif not session.where.manga109_root:
        raise UserError(
            f"experiment {session.experiment.name} needs Manga109: give --manga109_root DIR or set "
            "MANGA109_ROOT (see the README), or use --experiment demo"
        )
    place = Path(config.store or session.workspace.faces)
    store = preprocess(config, root, place, run, session.where.overwrite, session.workspace.digests)
    log_faces(run, store, "preprocess")
    run.tags({"corpus": store.fingerprint})
    describe(
        session, run, "preprocess", "Cuts the faces of a corpus into a face store.", faces_in_words(store)
    )
    return store


def faces(session: Session, run: Run, given: str = "") -> FaceStore:
    """The face store ``given``, or that of the experiment: as its parameters ask, made first if need be.

    Raises:
        UserError: when the experiment's store was made with other parameters or of another corpus.
    """
    if given:
        return open_store(Path(given))
    config = session.config(Preprocess)
    place = Path(config.store or session.workspace.faces)
    if (place / STORE_FILE).is_file():
        store = open_store(place)
        differences = why_stale(config, store, corpus_root(session), session.workspace.digests)
        if not differences:
            return store
        if not session.where.overwrite:
            raise UserError(
                f"face store {place} was made with {'; '.join(differences)}: pass --overwrite true to remake "
                "it, or choose another by --store"
            )
    else:
        run.say("No face store yet: running `mfc preprocess` first.")
    with run.child("preprocess", stage="preprocess", params=params_of(session, "preprocess")) as child:
        return cut_faces(session, child)


def chosen_titles(store: FaceStore, config: Evaluate | Finetune) -> list[str]:
    """The titles of the split, or the one that ``title_idx`` chooses."""
    return _choose(store.titles(config.split), config, str(store.path))


def check_titles(session: Session, command: str) -> None:
    """Refuse a ``title_idx`` that the split does not have, before anything is drawn, cut or trained.

    Raises:
        UserError: naming the split and its size.
    """
    kinds: tuple[type[Evaluate] | type[Finetune], ...] = (Evaluate, Finetune)
    for kind in kinds:
        config = session.config(kind)
        if config.title_idx is None or command not in ("main", name_of(kind)):
            continue
        titles = _titles_at_hand(session, config)
        if titles is not None:
            _choose(titles, config, command)


def _titles_at_hand(session: Session, config: Evaluate | Finetune) -> list[str] | None:
    """The titles of the split as far as they can be told without making anything."""
    place = Path(config.store or session.config(Preprocess).store or session.workspace.faces)
    if (place / STORE_FILE).is_file():
        return open_store(place).titles(config.split)
    root = corpus_root(session)
    if root is not None:
        cutting = session.config(Preprocess)
        corpus = open_corpus(root, cutting.annotations)
        return resolve_splits(root, corpus.titles, cutting.splits)[config.split]
    if session.draws_its_corpus:
        drawing = session.config(Synthesize)
        preset = PRESETS[drawing.preset]
        return splits_of(preset, titles_of(preset, drawing.seed))[config.split]
    return None


def _choose(titles: list[str], config: Evaluate | Finetune, where: str) -> list[str]:
    if not titles:
        raise UserError(f"{where}: the {config.split} split has no titles")
    if config.title_idx is None:
        return titles
    if config.title_idx >= len(titles):
        raise UserError(
            f"title_idx {config.title_idx} is out of range: the {config.split} split has {len(titles)} "
            f"titles, 0 to {len(titles) - 1}"
        )
    return [titles[config.title_idx]]
