"""`python -m federation.simulation run`: a federation simulated on this machine, or on a cluster.

Nothing slow is imported before it is known what to do, so that a wrong flag is answered at once.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from federation.__main__ import EPILOG, GIVEN, PREFIX, ROLES
from federation.errors import ExitStatus
from federation.flags import SettingsCommand, flags_for, settings_of, unknown_variables
from federation.simulation.config import SimulationConfig


class ByLauncher(click.Context):
    """Calls the command by its launcher, which is what people type."""

    @property
    def command_path(self) -> str:
        """What a usage line begins with."""
        return f"{PREFIX}simulate-federation"


class Simulations(click.Group):
    """The one command there is."""

    command_class = SettingsCommand


@click.group(cls=Simulations, context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
def main() -> None:
    """Simulate federations."""
    for line in unknown_variables(os.environ, (*ROLES, SimulationConfig)):
        click.echo(f"warning: {line}", err=True)


@main.command(epilog=EPILOG)
@click.pass_context
@flags_for(SimulationConfig)
def run(context: click.Context, /, **flags: Any) -> None:
    """Simulate a federation of thousands of workers: no sockets, and virtual time.

    Rounds, strategies, record and final bytes are those of a federation that is deployed. Examples:
    bin/simulate-federation --workers 1000 --fraction 0.01 --rounds 100 --epochs 1 --batch-size 10;
    bin/simulate-federation --partition dirichlet --alpha 0.3 --features workspace/eurosat_features.npz;
    bin/simulate-federation --stragglers 0.2 --dropouts 0.05 --quorum 800 --engine processes
    """
    config = settings_of(SimulationConfig, flags)
    chosen = frozenset(name for name in flags if context.get_parameter_source(name) in GIVEN)
    from federation.simulation.program import simulation_program

    sys.exit(simulation_program(config, chosen))


for _command in main.commands.values():
    _command.context_class = ByLauncher


def console(*arguments: str) -> None:
    """Run the one command there is, as the installed launcher does, or what the arguments say."""
    try:
        main(arguments or ["run", *sys.argv[1:]], prog_name="python -m federation.simulation")
    except KeyboardInterrupt:  # before there is anything to end
        sys.exit(ExitStatus.INTERRUPTED)


if __name__ == "__main__":
    console(*sys.argv[1:])
