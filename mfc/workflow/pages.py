"""What the page of a run says: what it is, on which data, what came out, and how to repeat it."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mfc.config import COMMANDS, Evaluate, Finetune, name_of
from mfc.report.tables import headline_text
from mfc.tracking import Run, code_version
from mfc.workflow.session import Session

if TYPE_CHECKING:
    from mfc.clusters.protocol import TitleScore
    from mfc.faces.store import FaceStore


def describe(session: Session, run: Run, command: str, what: str, data: str = "", result: str = "") -> None:
    """Give a run its description."""
    _write(run, what, data, result, command_line(session, command))


def describe_score(
    session: Session, run: Run, store: FaceStore, config: Evaluate | Finetune, score: TitleScore
) -> None:
    """Give the run of one title its description."""
    if isinstance(config, Finetune):
        what = f"The encoder, adapted to {escaped(score.title)} without its labels: recipe {config.recipe}"
        what += f", seed {score.seed}."
    else:
        encoder = escaped(config.model) or "the pre-trained encoder"
        what = f"{escaped(score.title)}, clustered with {encoder}; seed {score.seed}."
    result = headline_text(score.metrics, "**")
    place = store.titles(config.split).index(score.title)
    command = command_line(session, name_of(type(config)), {"title_idx": place, "seeds": score.seed})
    data = f"{score.metrics['faces']:.0f} faces of {score.metrics['characters']:.0f} named characters, "
    data += f"{config.split} title {place}, faces `{store.fingerprint}`"
    _write(run, what, data, result, command)


def faces_in_words(store: FaceStore, titles: list[str] | None = None) -> str:
    """How many faces, characters and titles."""
    table = store.table if titles is None else store.table[store.table["title"].isin(titles)]
    kept = table["row"].notna().sum()
    characters, n = table["character_id"].nunique(), table["title"].nunique()
    return f"{kept:,} faces of {characters:,} characters in {n} titles"


def log_faces(run: Run, store: FaceStore, context: str, title: str = "") -> None:
    """Record the faces that a run works on as its input."""
    table = store.table if not title else store.table[store.table["title"] == title]
    name = f"faces-{store.fingerprint[:8]}" + (f"-{title}" if title else "")
    run.dataset(table, name=name, source=str(store.path), targets="character_id", context=context)


def escaped(text: str) -> str:
    """A text from data as Markdown shows it letter for letter."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text)


def command_line(session: Session, command: str, more: Mapping[str, object] | None = None) -> str:
    """What repeats a command: the experiment, and what was typed on top."""
    where = session.where
    values: dict[str, object] = {"experiment": where.experiment or session.experiment.name}
    values |= {"manga109_root": where.manga109_root} if where.manga109_root else {}
    values |= {"work_dir": where.work_dir} if where.work_dir != "work" else {}
    values |= {**_typed_options(session, command), **(more or {})}
    options = (f"--{key} {shlex.quote(str(value))}" for key, value in values.items() if value is not None)
    return " ".join([f"mfc {command}", *options])


def run_name(session: Session, command: str) -> str:
    """The command and what was typed, or the experiment: what tells one run from another in a list."""
    typed = [f"{key}={value}" for key, value in _typed_options(session, command).items()]
    return " ".join([command, *(typed or [session.experiment.name])])


def params_of(session: Session, command: str) -> dict[str, Any]:
    """All parameters of a command, named ``command.key`` as MLflow shows them."""
    config: Any = session.config(COMMANDS[command])
    return {f"{command}.{key}": value for key, value in dataclasses.asdict(config).items()}


def _write(run: Run, what: str, data: str, result: str, command: str) -> None:
    code = code_version()
    commit = f" at commit `{code}`" if code else ""
    parts = [what]  # the UI shows the first lines only, until one asks for more
    parts += [f"**Result**: {result}"] if result else []
    parts += [f"**Data**: {data}"] if data else []
    parts += [f"**Repeat**{commit}:\n\n```\n{command}\n```"]
    run.describe("\n\n".join(parts))


def _typed_options(session: Session, command: str) -> dict[str, object]:
    """The options of a command that were given, as they are spelled."""
    given: dict[str, object] = {**session.typed.get(command, {})}
    if command == "main":
        given = {f"{name}.{key}": v for name, typed in session.typed.items() for key, v in typed.items()}
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()}
