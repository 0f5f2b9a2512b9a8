"""One call of the command line: its experiment, its folders, and what the person typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mfc.config import STAGES, Experiment, Where, build, load_experiment, name_of
from mfc.workspace import Workspace

C = TypeVar("C")


@dataclass(frozen=True)
class Session:
    """One call of the command line: the experiment, its folders, and what the person typed on top."""

    where: Where
    experiment: Experiment
    typed: Mapping[str, Mapping[str, Any]]
    """Command → values given on the command line or in the environment."""

    @property
    def workspace(self) -> Workspace:
        return Workspace(Path(self.where.work_dir).resolve(), self.experiment.name)

    def config(self, kind: type[C]) -> C:
        """The configuration of a command: defaults, then the experiment file, then what was typed."""
        name = name_of(kind)
        values = {**self.experiment.stage(name), **self.typed.get(name, {})}
        return build(kind, values, source=f"{name} ({self.experiment.name})")

    @property
    def draws_its_corpus(self) -> bool:
        return not self.where.manga109_root and "synthesize" in self.experiment.sections


def open_session(where: Where, typed: Mapping[str, Mapping[str, Any]], say: Callable[[str], None]) -> Session:
    """Choose the experiment: the one named, else `paper` when its data are there, else the demo.

    Raises:
        UserError: for an experiment that is not known or not valid, or a value that is not.
    """
    name = where.experiment
    has_store = any("store" in values for values in typed.values())
    paper_faces = Workspace(Path(where.work_dir), "paper").faces / "store.json"
    if not name and (where.manga109_root or has_store or paper_faces.is_file()):
        name = "paper"
    elif not name:
        name = "demo"
        say(
            "No Manga109 (--manga109_root or MANGA109_ROOT), nor faces cut from it: using the demo "
            "experiment (experiments/demo.yaml), a synthetic corpus."
        )
    session = Session(where, load_experiment(name), typed)
    for kind in STAGES.values():
        session.config(kind)
    return session
