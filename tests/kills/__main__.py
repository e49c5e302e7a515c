"""`bin/kill-roles`: a run whose roles are killed must end with the model of one that nobody disturbs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.kills.killing import ROOT, Kill, Place, judged, plan


@click.command(context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(3, 1000), default=50, help="Rounds of the run.")
@click.option("--kills", type=click.IntRange(1, 500), default=20, help="So many processes are killed.")
@click.option("--runs", type=click.IntRange(1, 1000), default=1, help="So many runs, each of the next seed.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Which roles are killed, and when.")
@click.option("--tls", is_flag=True, help="The roles speak mutual TLS.")
def main(rounds: int, kills: int, runs: int, seed: int, tls: bool) -> None:
    """Kill roles of a run with SIGKILL: Provider, Aggregator, Evaluator and Workers, whatever they are doing.

    The run must finish, with every round committed once and by all workers, and the bytes of its model must
    be those of a run in one process. The status is 1 when one is not so; then the command that does the same
    again is printed.
    """
    failed = False
    for number in range(seed, seed + runs):
        with tempfile.TemporaryDirectory(prefix="kill-roles-") as folder:
            complaints = _one(Path(folder), rounds, kills, number, tls)
        for complaint in complaints:
            click.echo(f"error: seed {number}: {complaint}")
        if complaints:
            again = f"bin/kill-roles --rounds {rounds} --kills {kills} --seed {number}{' --tls' * tls}"
            click.echo(f"the same again: {again}")
        failed = failed or bool(complaints)
    sys.exit(failed)


def _one(folder: Path, rounds: int, kills: int, seed: int, tls: bool) -> list[str]:
    prepare = [sys.executable, "-m", "prep", "prepare", "--samples", "200"]
    subprocess.run(
        [*prepare, "--workspace", str(folder / "workspace")], cwd=ROOT, check=True, capture_output=True
    )
    job = ("--rounds", str(rounds), "--epochs", "100", "--no-alone", "--no-picture")
    undisturbed = Place(folder, job).undisturbed()
    place = Place(folder, (*job, "--tls") if tls else job)
    done = 0
    for event in place.killed(plan(rounds, kills, seed)):
        if isinstance(event, Kill):
            done += 1
            click.echo(f"{done:3} of {kills}: {event.role} after round {event.after_round}", err=True)
        else:
            killed = event
    complaints = judged(killed, undisturbed)
    if done < kills:
        complaints.append(
            f"the run was over after {done} of {kills} kills; the machine is too busy to follow it"
        )
    if not complaints:
        click.echo(
            f"seed {seed}: {done} kills in {rounds} rounds, model {killed.model_sha256[:12]} as without"
        )
    return complaints


if __name__ == "__main__":
    main(prog_name="bin/kill-roles")
