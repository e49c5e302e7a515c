"""`bin/fuzz-actors`: the machine of `machine.py` for as many programs as one likes."""

from __future__ import annotations

import logging
import time

import click
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.actors.machine import ActorMachine, machine_settings


@click.command(context_settings={"show_default": True})
@click.option("--examples", type=click.IntRange(1), default=10_000, help="How many programs to try.")
def main(examples: int) -> None:
    """Write random programs for actor systems and play them beside a model that knows what must come of it.

    The first difference is made as small as possible and shown; hypothesis begins with it the next time.
    """
    logging.getLogger("trioactor").setLevel(logging.CRITICAL)  # failures of actors are part of the program
    start = time.monotonic()
    run_state_machine_as_test(ActorMachine, settings=machine_settings(examples))
    seconds = time.monotonic() - start
    click.echo(f"{examples:,} programs in {seconds:,.0f} s, each played twice: all went as it must")


if __name__ == "__main__":
    main(prog_name="bin/fuzz-actors")
