"""The command line: one thin command per stage, its options made from `mfc.config`."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gc
import importlib
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mfc import __version__
from mfc.config import COMMANDS, STAGES, TOOLS, Where, build, convert
from mfc.errors import UserError
from mfc.log import escape_what_cannot_be_shown

if TYPE_CHECKING:
    pass


class Value(click.ParamType):
    """A value as the field of a configuration takes it."""

    def __init__(self, config: type, field: dataclasses.Field[Any]) -> None:
        self.config, self.field = config, field
        choices = field.metadata["choices"]
        self.name = "|".join(choices) if choices else str(field.type).replace(" | None", "")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return convert(self.config, self.field.name, value)
        except UserError as error:
            self.fail(str(error).partition(": ")[2], param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return self.name.upper() if "|" not in self.name else f"[{self.name}]"


def options(config: type, prefix: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each field of ``config``: ``--field``, or ``--prefix.field``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for field in reversed(dataclasses.fields(config)):
            default = "empty" if field.default in ("", None) else str(field.default)
            env = field.metadata["env"] or None
            function = click.option(
                f"--{prefix}{field.name}",
                f"{prefix.replace('.', '__')}{field.name}",
                type=Value(config, field),
                default=field.default,
                envvar=env,
                help=f"{field.metadata['help']}  [default: {default}{f'; env: {env}' if env else ''}]",
            )(function)
        return function

    return decorate


BODIES: Mapping[str, str] = {
    "synthesize": "mfc.workflow.data:synthesize_command",
    "preprocess": "mfc.workflow.data:preprocess_command",
    "statistics": "mfc.workflow.data:statistics_command",
    "pretrain": "mfc.workflow.encoders:pretrain_command",
    "evaluate": "mfc.workflow.scores:evaluate_command",
    "finetune": "mfc.workflow.scores:finetune_command",
    "cluster": "mfc.workflow.casts:cluster_command",
    "evaluate_clustering": "mfc.workflow.casts:evaluate_clustering_command",
    "report": "mfc.workflow.results:report_command",
    "compare": "mfc.workflow.results:compare_command",
    "promote": "mfc.workflow.results:promote_command",
    "import_openmantra": "mfc.workflow.data:import_openmantra_command",
    "verify": "mfc.workflow.data:verify_command",
    "main": "mfc.workflow.whole:main_command",
    "import_checkpoint": "mfc.workflow.encoders:import_checkpoint_command",
}
"""What each command does; imported when it is called, since most of it is heavy."""
GARBAGE = (50_000, 20, 20)
"""Thresholds of the garbage collector; Python's own are (700, 10, 10)."""


FAULTS_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class Mistake(click.ClickException):
    """The user can mend this: one sentence, exit code 2."""

    exit_code = 2


class Cli(click.Group):
    """A group whose commands stand in pipeline order and report a `UserError` as one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        # A scheduler ends a job with SIGTERM, a closed terminal with SIGHUP: its run shall then end as after
        # Ctrl-C, not stay "running". What `nohup` ignores stays ignored; Windows has no SIGHUP.
        for name in ("SIGTERM", "SIGHUP"):
            with contextlib.suppress(ValueError, AttributeError):  # only a main thread may ask for signals
                if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
                    signal.signal(getattr(signal, name), signal.default_int_handler)
        escape_what_cannot_be_shown()
        # Importing torch and mlflow makes a million objects that stay; looking for garbage among them again
        # and again takes a sixth of a start.
        gc.set_threshold(*GARBAGE)
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise Mistake(str(error)) from None
        except OSError as error:
            if error.errno not in FAULTS_OF_A_DISK:
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise Mistake(
                f"{where}{error.strerror}; make room, or choose folders that may be written, and repeat the "
                "command: finished work is kept"
            ) from None


def _underscores(name: str) -> str:
    return name.replace("-", "_")


@click.group(
    cls=Cli, context_settings={"token_normalize_func": _underscores, "help_option_names": ["--help", "-h"]}
)
@click.version_option(__version__)
def main() -> None:
    """Cluster the faces of manga characters, and track every step in MLflow.

    The pipeline, in order: synthesize, preprocess, statistics, pretrain, evaluate, finetune, report;
    `main` runs all of it from an experiment file. `cluster` is for a comic without labels, `compare` tells
    two sets of scores apart, `promote` chooses among registered encoders. Values come from the command line,
    then the environment, then the experiment file, then the defaults shown.
    """


def _typed(ctx: click.Context) -> dict[str, Any]:
    """The values that the person gave, on the command line or in the environment; those of `Where` apart."""
    given = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    wheres = {field.name for field in dataclasses.fields(Where)}
    return {
        name: value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) in given and name not in wheres
    }


def _where(ctx: click.Context) -> Where:
    return build(Where, {f.name: ctx.params[f.name] for f in dataclasses.fields(Where)}, source="options")


def _run(where: Where, command: str, typed: Mapping[str, Mapping[str, Any]], *arguments: Any) -> None:
    """Check what can be checked, open the MLflow run of a command, do its work, and print what it returns."""
    from mfc.tracking import open_run
    from mfc.workflow.door import check
    from mfc.workflow.pages import params_of, run_name
    from mfc.workflow.session import open_session

    session = open_session(where, typed, lambda line: click.echo(line, err=True))
    check(session, command)
    logged = [command] if command in COMMANDS else list(STAGES)
    module, _, function = BODIES[command].partition(":")
    body = getattr(importlib.import_module(module), function)
    with open_run(
        experiment=session.experiment.name,
        name=run_name(session, command),
        stage=command,
        tags={"experiment_file": session.experiment.name},
        params={key: value for name in logged for key, value in params_of(session, name).items()},
        work_dir=session.workspace.work,
        log_images=where.log_images,
    ) as run:
        shown = body(session, run, *arguments)
    if shown is not None:
        click.echo(shown)


def _add(name: str) -> None:
    """Add a command: the options of its configuration, and where to work."""

    @main.command(name, help=COMMANDS[name].__doc__)
    @options(COMMANDS[name])
    @options(Where)
    @click.pass_context
    def command(ctx: click.Context, **_: Any) -> None:
        _run(_where(ctx), name, {name: _typed(ctx)})


for _name in (*STAGES, *TOOLS):
    if _name != "import_openmantra":
        _add(_name)


@main.command("import_openmantra", help=COMMANDS["import_openmantra"].__doc__)
@click.argument("directory", required=False)
@options(COMMANDS["import_openmantra"])
@options(Where)
@click.pass_context
def import_openmantra(ctx: click.Context, directory: str | None, **_: Any) -> None:
    typed = {key: value for key, value in _typed(ctx).items() if key != "directory"}
    _run(
        _where(ctx),
        "import_openmantra",
        {"import_openmantra": {**typed, **({"input": directory} if directory else {})}},
    )


def _all_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, config in reversed(list(STAGES.items())):
        function = options(config, prefix=f"{name}.")(function)
    return function


@main.command("main")
@options(Where)
@_all_options
@click.pass_context
def main_command(ctx: click.Context, **_: Any) -> None:
    """Run the whole pipeline of an experiment file.

    Any stage's parameter can be overridden as --stage.key, e.g. --finetune.epochs 5.
    """
    typed: dict[str, dict[str, Any]] = {}
    for key, value in _typed(ctx).items():
        stage, _dots, field = key.partition("__")
        typed.setdefault(stage, {})[field] = value
    _run(_where(ctx), "main", typed)


@main.command("import_checkpoint", help=COMMANDS["import_checkpoint"].__doc__)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options(COMMANDS["import_checkpoint"])
@options(Where)
@click.pass_context
def import_checkpoint(ctx: click.Context, file: Path, **_: Any) -> None:
    typed = _typed(ctx)
    typed.pop("file", None)
    ctx.params["experiment"] = ctx.params["experiment"] or "paper"
    _run(_where(ctx), "import_checkpoint", {"import_checkpoint": typed}, file)


@main.command("replay")
@options(Where)
@click.pass_context
def replay(ctx: click.Context, **_: Any) -> None:
    """Send to the tracking server what interrupted runs could not."""
    from mfc.tracking import replay as send

    click.echo(f"{send(Path(_where(ctx).work_dir))} runs brought up to date")
