"""One call of the command line: its experiment and folders, and how its runs are named and described."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mfc.config import STAGES, Experiment, Where, build, load_experiment
from mfc.workspace import Paths

if TYPE_CHECKING:
    from mfc.tracking import Run

C = TypeVar("C")


@dataclass(frozen=True)
class Session:
    """One call of the command line: the experiment, its folders, and what the person typed on top."""

    where: Where
    experiment: Experiment
    typed: Mapping[str, Mapping[str, Any]]
    """Stage → values given on the command line or in the environment."""

    @property
    def paths(self) -> Paths:
        return Paths(Path(self.where.work_dir).resolve(), self.experiment.name)

    def config(self, kind: type[C]) -> C:
        """The configuration of a stage: defaults, then the experiment file, then what was typed."""
        name = kind.__name__.lower()
        values = {**self.experiment.stage(name), **self.typed.get(name, {})}
        return build(kind, values, source=f"{name} ({self.experiment.name})")

    @property
    def is_synthetic(self) -> bool:
        return not self.where.manga109_root and "synthesize" in self.experiment.sections


def open_session(where: Where, typed: Mapping[str, Mapping[str, Any]], say: Callable[[str], None]) -> Session:
    """Choose the experiment: the one named, else `paper` when its data are there, else the demo.

    Raises:
        UserError: for an experiment that is not known or not valid.
    """
    name = where.experiment
    has_store = any("store" in values for values in typed.values())
    if not name and (where.manga109_root or has_store or _store_of(where, "paper").is_file()):
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


def _store_of(where: Where, experiment: str) -> Path:
    return Paths(Path(where.work_dir), experiment).store / "store.json"


def describe(session: Session, run: Run, stage: str, what: str, data: str = "", result: str = "") -> None:
    """Say on the run's page what it is, on which data, what came out, and how to repeat it."""
    describe_command(run, what, data, result, command_of(session, stage))


def describe_command(run: Run, what: str, data: str, result: str, command: str) -> None:
    from mfc import tracking

    code = tracking.code_version()
    commit = f" at commit `{code}`" if code else ""
    parts = [what]  # the UI shows the first lines only, until one asks for more
    parts += [f"**Result**: {result}"] if result else []
    parts += [f"**Data**: {data}"] if data else []
    parts += [f"**Repeat**{commit}:\n\n```\n{command}\n```"]
    run.describe("\n\n".join(parts))


def escaped(text: str) -> str:
    """A text from data as Markdown shows it letter for letter."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text)


def command_of(session: Session, stage: str, more: Mapping[str, object] | None = None) -> str:
    """The command line that repeats a stage: the experiment, and what was typed on top."""
    where = session.where
    values: dict[str, object] = {"experiment": where.experiment or session.experiment.name}
    values |= {"manga109_root": where.manga109_root} if where.manga109_root else {}
    values |= {"work_dir": where.work_dir} if where.work_dir != "work" else {}
    values |= {**typed_options(session, stage), **(more or {})}
    options = (f"--{key} {shlex.quote(str(value))}" for key, value in values.items() if value is not None)
    return " ".join([f"mfc {stage}", *options])


def typed_options(session: Session, stage: str) -> dict[str, object]:
    """The options of a command that were given, as they are spelled."""
    given: dict[str, object] = {**session.typed.get(stage, {})}
    if stage == "main":
        given = {f"{name}.{key}": v for name, typed in session.typed.items() for key, v in typed.items()}
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()}


def run_name(session: Session, stage: str) -> str:
    """Stage and what was typed, or the experiment: what tells one run from another in a list."""
    typed = [f"{key}={value}" for key, value in typed_options(session, stage).items()]
    return " ".join([stage, *(typed or [session.experiment.name])])


def stage_params(session: Session, stage: str) -> dict[str, Any]:
    """All parameters of a stage, named ``stage.key`` as MLflow shows them."""
    config: Any = session.config(STAGES[stage])
    return {f"{stage}.{key}": value for key, value in dataclasses.asdict(config).items()}
