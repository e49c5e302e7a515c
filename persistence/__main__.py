"""`python -m persistence report`: runs from their records, as tables, JSON, CSV or pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from persistence.comparison import comparison_as_json, comparison_as_table
from persistence.database import mark_of, wal_with_news
from persistence.delivery import (
    OF_ROWS,
    CannotShow,
    deliver_json,
    deliver_rows,
    deliver_shown,
    write_csv,
    write_picture,
)
from persistence.errors import DatabaseError, NoDatabase
from persistence.gossip_schema import GOSSIP_SCHEMA
from persistence.gossip_show import show_gossip
from persistence.history import RunHistory, load_runs
from persistence.lines import table_of
from persistence.plot import draw
from persistence.plot_comparison import draw_comparison
from persistence.plot_sides import DRAWINGS, draw_by
from persistence.report import as_table, as_table_by, runs_as_table
from persistence.rounds import UnknownRun
from persistence.run_json import as_json, summary_as_json
from persistence.schema import TRAINING_SCHEMA
from persistence.selection import Wish, select_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORDS = ("training.db", "gossip.db")  # of a workspace; the one that was written last is read
STDOUT = Path("-")
SIDES = ("round", "worker", "region", "class")

EXAMPLES = """\b
Examples:
  bin/report                             the latest run of ./workspace
  bin/report --list                      all runs, with their numbers
  bin/report 3 5 7                       three runs side by side
  bin/report here.db:3 there.db:8        runs of two records
  bin/report --by region                 the global model on every region
  bin/report --csv w.csv --by worker     a line for each worker and round
  bin/report --format parquet --out r.parquet      for pandas, DuckDB and the like
  bin/report --plot w.png --by worker    who answered, was late or lost, and when
  bin/report --json | jq .rounds[-1]     everything, for programs

Exit status: 0 shown, also when the run itself failed; 2 wrong usage, or there is no such run, record or
place to write to."""


class Refused(click.ClickException):
    """What was asked cannot be done. One line, and the status of wrong usage: nothing was started."""

    exit_code = 2

    def show(self, file: object = None) -> None:
        """Say it on stderr."""
        click.echo(f"error: {self.message}", err=True)


# What stands before a launcher's name: its folder, or the project's name where a wheel is installed.
INSTALLED = "trioactor-"
PREFIX = INSTALLED if Path(sys.argv[0]).name.startswith(INSTALLED) else "bin/"


class ByLauncher(click.Context):
    """Calls a command by the name of its launcher, which is what people type."""

    @property
    def command_path(self) -> str:
        """What a usage line begins with."""
        return f"{PREFIX}{self.info_name}"


@click.group(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
def main() -> None:
    """Read the records of runs."""


@main.command(epilog=EXAMPLES)
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option(
    "--workspace",
    type=click.Path(path_type=Path),
    default=Path("workspace"),
    envvar="FEDERATION_WORKSPACE",
    show_envvar=True,
    metavar="DIR",
    help="Folder of the runs.",
)
@click.option(
    "--db",
    "databases",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Record to read instead of the workspace's training.db or gossip.db, whichever was written last; "
    "may be given several times.",
)
@click.option("--list", "list_runs", is_flag=True, help="A line for each run in the record.")
@click.option(
    "--by",
    type=click.Choice(SIDES),
    help="Which side to show: a row, a line of CSV or a part of the picture for each of these.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "json", *OF_ROWS)),
    help="What to write: a table for people, all of it as JSON, or lines (--by says of what) as CSV, JSON "
    "lines or Parquet  [default: table, or nothing with --csv or --plot]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write it into a file instead of stdout.",
)
@click.option("--json", "want_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--csv",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write CSV into a file, or to stdout for -; by default a line for each round.",
)
@click.option(
    "--plot",
    "picture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw accuracy and loss by round, or what --by says, into a .png, .svg or .pdf file.",
)
def report(
    runs: tuple[str, ...],
    workspace: Path,
    databases: tuple[Path, ...],
    list_runs: bool,
    by: str | None,
    form: str | None,
    out: Path | None,
    want_json: bool,
    csv: Path | None,
    picture: Path | None,
) -> None:
    """Show each RUN, given by its name or number, or the latest run; several are compared.

    Works while a run goes on, and changes nothing in the record.
    """
    if list_runs and (runs or picture or csv or by or form in OF_ROWS):
        raise click.UsageError(
            "--list shows all runs; leave out RUN, --by, --csv and --plot, and give no form but table or json"
        )
    forms = {form or "", "json" if want_json else "", "csv" if csv == STDOUT else ""} - {""}
    if len(forms) > 1:
        raise click.UsageError("--format, --json and --csv -: one form at a time goes to stdout")
    wish = Wish(
        databases=databases or (_record_of(workspace),),
        runs=runs,
        list_runs=list_runs,
        form=forms.pop() if forms else "" if (picture or csv) and not out else "table",
        out=out,
        by=by or "",
        picture=picture,
        csv=None if csv == STDOUT else csv,
    )
    try:
        READERS.get(mark_of(wish.databases[0]), show_training)(wish)
    except NoDatabase as error:
        raise Refused(f"{error}. No run yet: bin/start-provider-mode makes one") from error
    except (UnknownRun, DatabaseError, CannotShow) as error:
        raise Refused(str(error)) from error


def _record_of(workspace: Path) -> Path:
    places = [workspace / name for name in RECORDS]
    return max((place for place in places if place.exists()), key=_written_unix, default=places[0])


def _written_unix(record: Path) -> float:
    """Return when a record was written last; while it is open, what is new lies beside it."""
    written_unix = record.stat().st_mtime
    with suppress(FileNotFoundError):  # the last writer has just folded it back into the record
        if (wal := wal_with_news(record)) is not None:
            written_unix = max(written_unix, wal.stat().st_mtime)
    return written_unix


# --- the record of coordinated runs ---------------------------------------------------------


def show_training(wish: Wish) -> None:
    """Show what is wished of the records of coordinated runs.

    Raises:
        CannotShow: Several runs have no such picture, or a file cannot be written.
        UnknownRun: There is no such run.
        DatabaseError: A record cannot be read.
    """
    if wish.list_runs:
        histories = [one for path in wish.databases for one in load_runs(path)]
        if wish.form == "json":
            deliver_json([summary_as_json(one) for one in histories], wish)
        else:
            deliver_shown(runs_as_table(histories), wish)
        return
    chosen = select_runs(wish.databases, wish.runs)
    if wish.picture is not None:
        write_picture(_drawing(chosen, wish), wish.picture)
    rows = table_of(chosen, wish.by or "round")
    if wish.csv is not None:
        write_csv(rows, wish.csv)
    if wish.form == "json":
        deliver_json(as_json(chosen[0]) if len(chosen) == 1 else comparison_as_json(chosen), wish)
    elif wish.form in OF_ROWS:
        deliver_rows(rows, wish)
    elif wish.form == "table" and len(chosen) > 1:
        width = Console().width
        deliver_shown(comparison_as_table(chosen, wish.by or "round", width=width), wish)
    elif wish.form == "table":
        deliver_shown(as_table_by(chosen[0], wish.by) if wish.by else as_table(chosen[0]), wish)


# Who shows a file, by its mark.
READERS: Mapping[int, Callable[[Wish], None]] = {
    TRAINING_SCHEMA.application_id: show_training,
    GOSSIP_SCHEMA.application_id: show_gossip,
}


def _drawing(chosen: Sequence[RunHistory], wish: Wish) -> Figure:
    if len(chosen) == 1:
        return draw_by(chosen[0], wish.by) if wish.by in DRAWINGS else draw(chosen[0])
    if wish.by in DRAWINGS:
        raise CannotShow(f"--plot with --by {wish.by}: one run at a time; give one RUN, or leave out --by")
    return draw_comparison(chosen)


for _command in main.commands.values():
    _command.context_class = ByLauncher


def console() -> None:
    """Run the command that an installed launcher is named for: `trioactor-report` is `report`."""
    main([Path(sys.argv[0]).name.removeprefix(INSTALLED), *sys.argv[1:]])


if __name__ == "__main__":
    main(prog_name="python -m persistence")
