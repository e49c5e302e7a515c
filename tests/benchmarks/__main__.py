"""`bin/benchmark`: what the project claims of its speed, measured beside limits and peers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from federation.learning import one_blas_thread
from tests.benchmarks import attacks, pool, remote, runtime, straggler
from tests.benchmarks import round as coordinated_round
from tests.benchmarks.measure import Row, as_json, machine


@click.group(context_settings={"show_default": True})
def main() -> None:
    """Measure speed as ratios: ours beside physical limits and named peers, in turn, in one run."""


def _quick(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--quick", is_flag=True, help="Fewer and shorter rounds: a look, not a figure to quote."
    )(
        click.option(
            "--json", "json_file", type=click.Path(path_type=Path), help="Also write the rows there."
        )(command)
    )


@main.command("runtime")
@_quick
@click.option("--actors", default=100_000, help="How many actors to have at once in the last part.")
def runtime_command(quick: bool, json_file: Path | None, actors: int) -> None:
    """Local tell, ask and spawn; then very many actors at once."""
    rows = _measured(lambda progress: runtime.rows(quick=quick, progress=progress))
    figures = runtime.crowd(actors // 10 if quick else actors)
    _show("trioactor inside one process", rows)
    said = ", ".join(f"{name} {value:,.1f}{'' if 'MiB' in name else ' s'}" for name, value in figures.items())
    click.echo(f"{actors // 10 if quick else actors:,} actors at once: {said}")
    _write(json_file, rows, {"crowd": figures})


@main.command("remote")
@_quick
def remote_command(quick: bool, json_file: Path | None) -> None:
    """Tell, ask and arrays between two processes, over TCP and over TLS."""
    rows = _measured(lambda progress: remote.rows(quick=quick, progress=progress))
    _show("trioactor between two processes on one machine", rows)
    _write(json_file, rows, {})


@main.command("round")
@_quick
def round_command(quick: bool, json_file: Path | None) -> None:
    """A round of the coordinated mode beside plain NumPy, in a loop and in a pool, and with a straggler."""
    with one_blas_thread():
        rows = _measured(lambda progress: coordinated_round.rows(quick=quick, progress=progress))
        rows += _measured(lambda progress: pool.rows(quick=quick, progress=progress))
        rows += _measured(lambda progress: straggler.rows(quick=quick, progress=progress))
    start = coordinated_round.warm_start(quick=quick)
    _show("federation: the coordinated mode in processes", rows)
    said = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in start.items())
    click.echo(f"from a warm start to the first finished round: {said}")
    _write(json_file, rows, {"warm_start": start})


@main.command("attacks")
@click.option("--rounds", type=click.IntRange(1, 1000), default=attacks.ROUNDS)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the training, and who has which samples.")
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
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    if plot is not None:
        attacks.draw(done, plot)
        click.echo(f"picture {plot}")


def _measured(measure: Callable[[Callable[[str], None]], list[Row]]) -> list[Row]:
    console = Console(stderr=True)
    if not console.is_terminal:
        return measure(lambda what: None)
    with console.status("") as status:
        return measure(status.update)


def _show(title: str, rows: list[Row]) -> None:
    table = Table(title=title, title_justify="left", caption=_caption(), caption_justify="left")
    for name in ("what", "ours", "peer", "theirs", "ratio", "target", ""):
        table.add_column(name, overflow="fold")
    for row in rows:
        target = "" if row.target is None else f">= {row.target:.2g}"
        verdict = {None: "", True: "met", False: "missed"}[row.met]
        what = f"{row.what} ({row.unit})"
        table.add_row(
            what,
            f"{row.ours.median:,.4g}",
            row.peer,
            f"{row.theirs.median:,.4g}",
            str(row.ratio),
            target,
            verdict,
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _caption() -> str:
    about = machine()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['cores']} cores, {about['processor']}, load {about['load'][0]}; "
        f"Python {about['python']}, {versions}. "
        "A ratio of 2 is twice as good; median (least to most) over the rounds."
    )


def _write(file: Path | None, rows: list[Row], more: dict[str, object]) -> None:
    if file is not None:
        file.write_text(json.dumps({"machine": machine(), "rows": as_json(rows), **more}, indent=2) + "\n")


if __name__ == "__main__":
    main(prog_name="bin/benchmark")
