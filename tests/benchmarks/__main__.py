"""`bin/benchmark`: what the project claims of its speed, measured beside limits and peers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from tests.benchmarks import attacks, flower, written
from tests.benchmarks.measure import Row, machine
from tests.benchmarks.processes import ROOT
from tests.benchmarks.sections import SECTIONS, Findings

Command = TypeVar("Command", bound=Callable[..., Any])


def _how(command: Command) -> Command:
    quick = click.option(
        "--quick", is_flag=True, help="Fewer and shorter rounds: a look, not figures to quote."
    )
    out = click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder for the report [default: BENCHMARKS.md and docs/, with --quick workspace/benchmarks].",
    )
    return quick(out(command))


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@_how
@click.pass_context
def main(context: click.Context, quick: bool, out: Path | None) -> None:
    """Measure speed as ratios: ours beside physical limits and named peers, in turn, in one run.

    Without a command: all sections. Each is printed as a table and kept, with its curves, as JSON, as a
    picture and in a page; a section that is measured alone takes its old place there.

    \b
    Examples:
      bin/benchmark --quick
      bin/benchmark runtime
      bin/benchmark peers
    """
    if context.invoked_subcommand is None:
        _report(list(SECTIONS), quick=quick, out=out)
    elif quick or out is not None:
        raise click.UsageError(f"--quick and --out come behind {context.invoked_subcommand!r}")


def _add_section(name: str) -> None:
    @main.command(name, help=f"{SECTIONS[name].title}.")
    @_how
    def section(quick: bool, out: Path | None) -> None:
        _report([name], quick=quick, out=out)


for _name in SECTIONS:
    _add_section(_name)


@main.command("peers")
def peers_command() -> None:
    """Install Flower in an environment of its own, .venv-flower: some 600 MB."""
    try:
        flower.install()
    except subprocess.CalledProcessError as error:
        raise click.ClickException("Flower could not be installed; see above") from error
    click.echo(", ".join(f"{name} {version}" for name, version in flower.versions().items()))


@main.command("attacks")
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    default=attacks.ROUNDS,
    help="Of each federation.",
    show_default=True,
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    help="Of the training, and who has which samples.",
    show_default=True,
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw accuracy by round there.")
def attacks_command(rounds: int, seed: int, plot: Path | None) -> None:
    """What two hostile workers of ten cost: robust strategies, beside plain FedAvg."""
    honest, *attacked = done = list(attacks.figures(rounds=rounds, seed=seed))
    table = Table(title=f"{attacks.HOSTILE} hostile workers of {attacks.WORKERS}, {rounds} rounds")
    for name in ("attack", "strategy", "accuracy on D", "points lost", "target", ""):
        table.add_column(name)
    table.add_row("none", honest.strategy, f"{honest.accuracies[-1]:.3f}", "", "", "")
    for one in attacked:
        points = 100 * attacks.lost(one, honest)
        target, verdict = "", ""
        if one.strategy != "fedavg":
            target = f"<= {100 * attacks.MOST_LOST:g}"
            verdict = "met" if points <= 100 * attacks.MOST_LOST else "missed"
        table.add_row(one.attack, one.strategy, f"{one.accuracies[-1]:.3f}", f"{points:.1f}", target, verdict)
    _console().print(table)
    if plot is not None:
        attacks.draw(done, plot)
        click.echo(f"picture {plot}")


# --- measuring and showing --------------------------------------------------------------------------


def _report(names: Sequence[str], *, quick: bool, out: Path | None) -> None:
    """Measure sections one after the other; after each, all that is there is written."""
    folder, page = _places(quick, out)
    sections = written.read(folder)
    for name in names:
        about = machine() | {"versions": machine()["versions"] | flower.versions()}
        findings = _measured(name, quick)
        _show(SECTIONS[name].title, findings, about)
        sections[name] = written.as_found(
            findings,
            date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
            command=" ".join(["bin/benchmark", *sys.argv[1:]]),
            machine=about,
        )
        written.write(folder, page, sections)
    click.echo(f"page {page}\nfigures and picture {folder}")


def _places(quick: bool, out: Path | None) -> tuple[Path, Path]:
    if out is None and not quick:
        return ROOT / "docs", ROOT / "BENCHMARKS.md"
    folder = out or ROOT / "workspace" / "benchmarks"
    return folder, folder / "BENCHMARKS.md"


def _measured(name: str, quick: bool) -> Findings:
    console = Console(stderr=True)
    if not console.is_terminal:
        return SECTIONS[name].measure(quick=quick, progress=lambda what: None)
    with console.status("") as status:
        return SECTIONS[name].measure(quick=quick, progress=lambda what: status.update(f"{name}: {what}"))


def _show(title: str, findings: Findings, about: Mapping[str, Any]) -> None:
    console = _console()
    if findings.rows:
        console.print(_table(title, findings.rows, about))
    for curve in findings.curves:
        table = Table(title=f"{curve.what}, in {curve.unit}", title_justify="left")
        for head in (curve.size, *(f"{size:,.0f}" for size in curve.sizes())):
            table.add_column(head)
        for line in curve.lines:
            costs = [curve.cost(line, size) for size in curve.sizes()]
            table.add_row(line, *("" if cost is None else written.short(cost) for cost in costs))
        console.print(table)
    for sentence in findings.said:
        click.echo(sentence)


def _table(title: str, rows: Sequence[Row], about: Mapping[str, Any]) -> Table:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    caption = (
        f"{about['cores']} cores, {about['processor']}, load {about['load'][0]}; "
        f"Python {about['python']}, {versions}. "
        "A ratio of 2 is twice as good; median (least to most) over the rounds."
    )
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for name in ("what", "ours", "peer", "theirs", "ratio", "target", ""):
        table.add_column(name, overflow="fold")
    for row in rows:
        verdict = {None: "", True: "met", False: "missed"}[row.met]
        table.add_row(
            f"{row.what} ({row.unit})",
            f"{row.ours.median:,.4g}",
            row.peer,
            f"{row.theirs.median:,.4g}",
            str(row.ratio),
            "" if row.target is None else f">= {row.target:.2g}",
            verdict,
        )
    return table


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 140)


if __name__ == "__main__":
    main(prog_name="bin/benchmark")
