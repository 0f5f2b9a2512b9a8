"""The whole pipeline: all stages in order, each as a child run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mfc.config import Evaluate, Finetune
from mfc.tracking import Run
from mfc.workflow.data import cut_faces, draw_corpus, statistics_command
from mfc.workflow.encoders import pretrain_encoder
from mfc.workflow.pages import params_of
from mfc.workflow.results import report
from mfc.workflow.scores import evaluate, finetune
from mfc.workflow.session import Session


def main_command(session: Session, run: Run) -> str:
    """Returns the table of `report`."""
    if session.draws_its_corpus:
        with _step(session, run, "synthesize") as child:
            draw_corpus(session, child)
    with _step(session, run, "preprocess") as child:
        cut_faces(session, child)
    with _step(session, run, "statistics") as child:
        statistics_command(session, child)
    with _step(session, run, "pretrain") as child:
        pretrain_encoder(session, child)
    before = evaluate(session, run, session.config(Evaluate), nested=True)
    after = finetune(session, run, session.config(Finetune), nested=True)
    return report(session, run, "main", (before, after)).markdown


@contextlib.contextmanager
def _step(session: Session, run: Run, stage: str) -> Iterator[Run]:
    run.say(f"— {stage}")
    with run.child(stage, stage=stage, params=params_of(session, stage)) as child:
        yield child
