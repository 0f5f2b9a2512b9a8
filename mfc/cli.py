"""The command line: one thin command per stage, its options made from `mfc.config`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mfc import __version__
from mfc.config import STAGES, ImportCheckpoint, Where, build, convert
from mfc.errors import UserError

if TYPE_CHECKING:
    from mfc.tracking import Run
    from mfc.workflow.session import Session


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


GARBAGE = (50_000, 20, 20)
"""Thresholds of the garbage collector; Python's own are (700, 10, 10)."""


class Mistake(click.ClickException):
    """The user can mend this: one sentence, exit code 2."""

    exit_code = 2


class Cli(click.Group):
    """A group whose commands stand in pipeline order and report a `UserError` as one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        # A scheduler ends a job with SIGTERM: its run shall then end as after Ctrl-C, not stay "running".
        with contextlib.suppress(ValueError):  # only a main thread may ask for signals
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        # Importing torch and mlflow makes a million objects that stay; looking for garbage among them again
        # and again takes a sixth of a start.
        gc.set_threshold(*GARBAGE)
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise Mistake(str(error)) from None


def _underscores(name: str) -> str:
    return name.replace("-", "_")


@click.group(
    cls=Cli, context_settings={"token_normalize_func": _underscores, "help_option_names": ["--help", "-h"]}
)
@click.version_option(__version__)
def main() -> None:
    """Cluster the faces of manga characters, and track every step in MLflow.

    The pipeline, in order: synthesize, preprocess, statistics, pretrain, evaluate, finetune, report;
    `main` runs all of it from an experiment file. `cluster` is for a comic without labels, `promote` chooses
    among registered encoders. Values come from the command line, then the environment, then the experiment
    file, then the defaults shown.
    """


def _explicit(ctx: click.Context) -> dict[str, Any]:
    """The values that the person gave, on the command line or in the environment."""
    given = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) in given}


def _session(ctx: click.Context, typed: Mapping[str, Mapping[str, Any]]) -> Session:
    from mfc.workflow.session import open_session

    values = {f.name: ctx.params[f.name] for f in dataclasses.fields(Where)}
    return open_session(
        build(Where, values, source="options"), typed, lambda line: click.echo(line, err=True)
    )


def _run(session: Session, stage: str, body: Callable[[Session, Run], Any]) -> Any:
    """Open the MLflow run of a command and call its body inside."""
    from mfc import tracking
    from mfc.workflow.session import run_name, stage_params

    stages = [stage] if stage in STAGES else list(STAGES)
    params = {key: value for name in stages for key, value in stage_params(session, name).items()}
    with tracking.open_run(
        experiment=session.experiment.name,
        name=run_name(session, stage),
        stage=stage,
        tags={"experiment_file": session.experiment.name},
        params=params,
        work_dir=session.paths.work,
        log_images=session.where.log_images,
    ) as run:
        return body(session, run)


def stage_command(name: str, help: str = "") -> Callable[[Callable[[Session, Run], Any]], click.Command]:
    """Make the command of a stage from a function that gets the session and an open run."""

    def decorate(body: Callable[[Session, Run], Any]) -> click.Command:
        @main.command(name, help=help or STAGES[name].__doc__)
        @options(STAGES[name])
        @options(Where)
        @click.pass_context
        @functools.wraps(body)
        def command(ctx: click.Context, **_: Any) -> None:
            wheres = {f.name for f in dataclasses.fields(Where)}
            typed = {key: value for key, value in _explicit(ctx).items() if key not in wheres}
            _run(_session(ctx, {name: typed}), name, body)

        return command

    return decorate


@stage_command("synthesize")
def synthesize(session: Session, run: Run) -> None:
    from mfc.workflow import pipeline

    click.echo(pipeline.synthesize(session, run))


@stage_command("preprocess")
def preprocess(session: Session, run: Run) -> None:
    from mfc.workflow import pipeline

    click.echo(pipeline.preprocess(session, run).path)


@stage_command("statistics")
def statistics(session: Session, run: Run) -> None:
    from mfc.stages.statistics import format_table
    from mfc.workflow import pipeline

    click.echo(format_table(pipeline.statistics(session, run)))


@stage_command("pretrain")
def pretrain(session: Session, run: Run) -> None:
    from mfc.workflow import pipeline

    click.echo(pipeline.pretrain(session, run))


@stage_command("evaluate")
def evaluate(session: Session, run: Run) -> None:
    from mfc.workflow import pipeline

    pipeline.evaluate(session, run)


@stage_command("finetune")
def finetune(session: Session, run: Run) -> None:
    from mfc.workflow import pipeline

    pipeline.finetune(session, run)


@stage_command("cluster")
def cluster(session: Session, run: Run) -> None:
    from mfc.workflow import pipeline

    click.echo(pipeline.cluster(session, run))


@stage_command("report")
def report(session: Session, run: Run) -> None:
    from mfc.config import Report
    from mfc.workflow import pipeline

    comparing = bool(session.config(Report).compare)
    click.echo(pipeline.compare(session, run) if comparing else pipeline.report(session, run).markdown)


@stage_command("promote")
def promote(session: Session, run: Run) -> None:
    from mfc.workflow import pipeline

    click.echo(pipeline.promote(session, run))


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
    from mfc.workflow import pipeline

    typed: dict[str, dict[str, Any]] = {}
    for key, value in _explicit(ctx).items():
        stage, dots, field = key.partition("__")
        if dots:
            typed.setdefault(stage, {})[field] = value
    summary = _run(_session(ctx, typed), "main", pipeline.main)
    click.echo(summary.markdown)


@main.command("import_checkpoint", help=ImportCheckpoint.__doc__)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options(ImportCheckpoint)
@options(Where)
@click.pass_context
def import_checkpoint(ctx: click.Context, file: Path, **_: Any) -> None:
    from mfc.workflow import pipeline

    names = {f.name for f in dataclasses.fields(ImportCheckpoint)}
    config = build(ImportCheckpoint, {k: ctx.params[k] for k in names}, source="options")
    ctx.params["experiment"] = ctx.params["experiment"] or "paper"
    session = _session(ctx, {})
    click.echo(
        _run(session, "import_checkpoint", lambda s, run: pipeline.import_checkpoint(s, run, config, file))
    )


@main.command("replay")
@options(Where)
@click.pass_context
def replay(ctx: click.Context, **_: Any) -> None:
    """Send to the tracking server what interrupted runs could not."""
    from mfc import tracking

    where = build(Where, {f.name: ctx.params[f.name] for f in dataclasses.fields(Where)}, source="options")
    tracking.connect()
    click.echo(f"{tracking.replay(Path(where.work_dir))} runs brought up to date")
