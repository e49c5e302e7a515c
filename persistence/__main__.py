"""`python -m persistence report`: a run from its record, as a table, as JSON or as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from persistence.errors import DatabaseError, NoDatabase
from persistence.history import RunHistory, load_run, load_runs
from persistence.report import as_json, as_table, runs_as_table, summary_as_json
from persistence.rounds import UnknownRun


class Refused(click.ClickException):
    """What was asked cannot be done. One line, and the status of wrong usage: nothing was started."""

    exit_code = 2

    def show(self, file: object = None) -> None:
        """Say it on stderr."""
        click.echo(f"error: {self.message}", err=True)


class ByLauncher(click.Context):
    """Calls a command by the name of its launcher, which is what people type."""

    @property
    def command_path(self) -> str:
        """What a usage line begins with."""
        return f"bin/{self.info_name}"


@click.group(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
def main() -> None:
    """Read the records of runs."""


@main.command()
@click.argument("run", required=False)
@click.option(
    "--workspace",
    type=click.Path(path_type=Path),
    default=Path("workspace"),
    envvar="FEDERATION_WORKSPACE",
    show_envvar=True,
    help="Folder of the runs.",
)
@click.option(
    "--db", type=click.Path(path_type=Path), help="Record to read instead of training.db in the workspace."
)
@click.option("--list", "list_runs", is_flag=True, help="One line for each run in the record.")
@click.option("--json", "want_json", is_flag=True, help="One JSON object on stdout, for programs.")
@click.option(
    "--plot",
    "picture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw accuracy and loss by round into a .png, .svg or .pdf file.",
)
def report(
    run: str | None,
    workspace: Path,
    db: Path | None,
    list_runs: bool,
    want_json: bool,
    picture: Path | None,
) -> None:
    """Show RUN, given by its name or number, or the latest run.

    Works while the run goes on. Example: bin/report --plot run.png
    """
    if list_runs and (run is not None or picture is not None):
        raise click.UsageError("--list shows all runs; leave out RUN and --plot")
    path = db or workspace / "training.db"
    try:
        if list_runs:
            _show_all(load_runs(path), want_json)
        else:
            _show(load_run(path, run), want_json, picture)
    except NoDatabase as error:
        raise Refused(f"{error}. No run yet: bin/start-provider-mode makes one") from error
    except UnknownRun as error:
        raise Refused(str(error)) from error
    except DatabaseError as error:
        raise Refused(str(error)) from error


def _show(history: RunHistory, want_json: bool, picture: Path | None) -> None:
    if picture is not None:
        _draw(history, picture)
    if want_json:
        click.echo(json.dumps(as_json(history), indent=2, allow_nan=False))
    elif picture is None:
        Console(highlight=False).print(as_table(history))


def _show_all(histories: tuple[RunHistory, ...], want_json: bool) -> None:
    if want_json:
        click.echo(json.dumps([summary_as_json(one) for one in histories], indent=2, allow_nan=False))
    else:
        Console(highlight=False).print(runs_as_table(histories))


def _draw(history: RunHistory, picture: Path) -> None:
    from persistence.plot import plot  # matplotlib takes its time to import

    try:
        plot(history, picture)
    except ValueError as error:
        raise Refused(f"--plot {picture}: {error}") from error
    except OSError as error:
        raise Refused(f"--plot {picture}: cannot be written: {error.strerror}; give another path") from error
    click.echo(f"the picture is in {picture}", err=True)


for _command in main.commands.values():
    _command.context_class = ByLauncher

if __name__ == "__main__":
    main(prog_name="python -m persistence")
