"""`python -m federation ROLE`: one role of a coordinated federation, or all of them.

Nothing slow is imported before it is known what to do, so that a wrong flag is answered at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

from federation.config import (
    AggregatorConfig,
    CheckConfig,
    EvaluatorConfig,
    ProviderConfig,
    StartConfig,
    WorkersConfig,
)
from federation.errors import ExitStatus, SettingsError
from federation.flags import SettingsCommand, flags_for, settings_of, unknown_variables, variable_of
from federation.processes import check_starter

F = TypeVar("F", bound=Callable[..., Any])

# Where a value comes from that the user has chosen for this call.
GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


ROLES = (StartConfig, ProviderConfig, AggregatorConfig, EvaluatorConfig, WorkersConfig, CheckConfig)

EPILOG = "Every flag is also a variable in the environment: --batch-size is FEDERATION_BATCH_SIZE."


TRACK_EXAMPLES = """\b
Examples:
  bin/track --to tensorboard               then: tensorboard --logdir workspace/tensorboard
  bin/track 7 --to mlflow:http://127.0.0.1:5000

Exit status: 0 all was told; 1 a tracker could not be told all; 2 wrong usage; 130, 143 stopped."""

EXPORT_EXAMPLES = """\b
Examples:
  bin/export --out model.safetensors       the latest run's, with a config.json
  bin/export 7 --round 3 --out model.onnx  after round 3 of run 7, for any ONNX runtime
  bin/export workspace/runs/NAME/model.npz --out model.onnx

Exit status: 0 written; 2 wrong usage, no such run or record, or a place that cannot be written to."""

# Where a launcher is not called as its command.
LAUNCHERS = {"start": "start-provider-mode"}

# What stands before a launcher's name: its folder, or the project's name where a wheel is installed.
INSTALLED = "trioactor-"
PREFIX = INSTALLED if Path(sys.argv[0]).name.startswith(INSTALLED) else "bin/"


class ByLauncher(click.Context):
    """Calls a command by the name of its launcher, which is what people type."""

    @property
    def command_path(self) -> str:
        """What a usage line begins with."""
        return f"{PREFIX}{LAUNCHERS.get(self.info_name or '', self.info_name)}"


class Roles(click.Group):
    """The commands, one a role."""

    command_class = SettingsCommand


@click.group(cls=Roles, context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
def main() -> None:
    """Learn together in rounds: all roles on this machine, or one of them."""
    check_starter()
    for line in unknown_variables(os.environ, ROLES):
        click.echo(f"warning: {line}", err=True)


def _workspace(help_text: str) -> Callable[[F], F]:
    return click.option(
        "--workspace",
        type=click.Path(path_type=Path),
        default=Path("workspace"),
        envvar=variable_of("workspace"),
        metavar="DIR",
        help=help_text,
    )


def _of_a_record(command: F) -> F:
    """Give a command the flags that say which record it reads."""
    record = click.option(
        "--db",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Record [default: WORKSPACE/training.db].",
    )
    return _workspace("Folder of the runs.")(record(command))


@main.command(epilog=EPILOG)
@flags_for(StartConfig)
@click.pass_context
def start(context: click.Context, /, **flags: Any) -> None:
    """Run the whole coordinated mode on this machine, every role its own process.

    With no data yet it is prepared first. Example: bin/start-provider-mode --rounds 5
    """
    config = settings_of(StartConfig, flags)
    chosen = frozenset(name for name in flags if context.get_parameter_source(name) in GIVEN)
    from federation.start import start_run

    sys.exit(start_run(config, chosen))


@main.command(epilog=EPILOG)
@flags_for(ProviderConfig)
def provider(**flags: Any) -> None:
    """Run the Provider: it asks the workers to train, and decides whose update counts.

    It says where it is in a file, which the other roles read. Example: bin/provider --min-workers 3
    """
    config = settings_of(ProviderConfig, flags)
    from federation.role_programs import provider_program

    sys.exit(provider_program(config))


@main.command(epilog=EPILOG)
@flags_for(AggregatorConfig)
def aggregator(**flags: Any) -> None:
    """Run the Aggregator: it averages the accepted updates, and keeps the record of the run.

    Example: bin/aggregator --provider 192.0.2.7:7000
    """
    config = settings_of(AggregatorConfig, flags)
    from federation.role_programs import member_program
    from federation.roles import run_aggregator

    sys.exit(member_program("aggregator", config, lambda _stop: run_aggregator(config)))


@main.command(epilog=EPILOG)
@flags_for(EvaluatorConfig)
def evaluator(**flags: Any) -> None:
    """Run the Evaluator: it scores each global model on a region that nobody trains on.

    Example: bin/evaluator --region D
    """
    config = settings_of(EvaluatorConfig, flags)
    from federation.role_programs import member_program
    from federation.roles import run_evaluator

    sys.exit(member_program("evaluator", config, lambda _stop: run_evaluator(config)))


@main.command(epilog=EPILOG)
@flags_for(WorkersConfig)
def workers(**flags: Any) -> None:
    """Run one or more workers; each trains on its own region, whose samples never leave it.

    Example: bin/workers --region A --region B --region C
    """
    config = settings_of(WorkersConfig, flags)
    from federation.role_programs import member_program
    from federation.roles import run_workers

    sys.exit(member_program("workers", config, lambda stop: run_workers(config, stop=stop), patient=True))


@main.command(epilog=EPILOG)
@flags_for(CheckConfig)
def check(**flags: Any) -> None:
    """Look at all that a role needs, with its flags, before it is started; change nothing.

    Data, record, room on the disk, packages, the port, the certificate, and whether the Provider answers.
    Exit status 2 when something is wrong. Example: bin/check --provider 192.0.2.7:7000
    """
    config = settings_of(CheckConfig, flags)
    from federation.check import as_json, as_table, is_ready, look_at_everything

    findings = look_at_everything(config)
    for line in [as_json(findings)] if config.json else as_table(findings):
        click.echo(line)
    sys.exit(ExitStatus.FINISHED if is_ready(findings) else ExitStatus.USAGE)


@main.command()
@_workspace("Folder whose processes are meant.")
def cleanup(workspace: Path) -> None:
    """End what our launchers started for a workspace and left running, and only that.

    Removes what says where those processes are. Never a database, never a run. Example: bin/cleanup
    """
    import trio

    from federation.cleanup import clean_up

    try:
        done = trio.run(clean_up, workspace)
    except OSError as error:
        fail(f"--workspace {workspace}: it is not all ours ({error}); have its owner run bin/cleanup")
    for line in done or [f"nothing of ours runs for {workspace}"]:
        click.echo(line)


@main.command(epilog=TRACK_EXAMPLES)
@click.argument("run", required=False)
@click.option(
    "--to",
    "targets",
    multiple=True,
    required=True,
    metavar="TRACKER",
    help="tensorboard (in the workspace), tensorboard:DIR or mlflow:URI. Give it once for each.",
)
@click.option("--once", is_flag=True, help="Tell what there is, also of a run that goes on, and end.")
@click.option("--wait", is_flag=True, help="Wait for a run that is not in the record yet.")
@_of_a_record
def track(
    run: str | None, targets: tuple[str, ...], once: bool, wait: bool, workspace: Path, db: Path | None
) -> None:
    """Tell experiment trackers of RUN, by its name or number, or of the latest run, from its record.

    A run that goes on is followed to its end. A tracker that was told before is told what is new.
    """
    from federation.tracking import track_program

    database = db or workspace / "training.db"
    sys.exit(track_program(database, run, targets, workspace, wait=wait, once=once))


@main.command(epilog=EXPORT_EXAMPLES)
@click.argument("run", required=False)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to. The ending says the form: .npz, .onnx, or .safetensors with a config.json beside it.",
)
@click.option("--round", "number", type=click.IntRange(min=1), help="After which round [default: the last].")
@_of_a_record
def export(run: str | None, out: Path, number: int | None, workspace: Path, db: Path | None) -> None:
    """Write the model of RUN, by its name or number, or of the latest run, for other tools.

    RUN may be an .npz file of a model instead, like that in the folder of a gossip run. Works while a run
    goes on.
    """
    from federation.exports import export as write
    from federation.learning import LearningError
    from persistence import DatabaseError, UnknownRun

    try:
        words = write(db or workspace / "training.db", run, number, out)
    except (SettingsError, UnknownRun, DatabaseError, LearningError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"--out {out}: cannot be written: {error.strerror or error}; give another path")
    click.echo(f"{words} is in {out}")


def fail(text: str) -> NoReturn:
    """End with one line and the status of wrong usage."""
    click.echo(f"error: {text}", err=True)
    sys.exit(ExitStatus.USAGE)


for _command in main.commands.values():
    _command.context_class = ByLauncher


def run(*arguments: str) -> None:
    """Run a command."""
    try:
        main(arguments or None, prog_name="python -m federation")
    except KeyboardInterrupt:  # before there is anything to end
        sys.exit(ExitStatus.INTERRUPTED)


def console() -> None:
    """Run the command that an installed launcher is named for: `trioactor-start-provider-mode` is `start`."""
    name = Path(sys.argv[0]).name.removeprefix(INSTALLED)
    command = next((one for one, launcher in LAUNCHERS.items() if launcher == name), name)
    run(command, *sys.argv[1:])


if __name__ == "__main__":
    run()
