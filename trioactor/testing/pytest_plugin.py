"""The fixture `simulation`: run a test on many seeds, and on one again when it has failed.

Put one line into the `conftest.py` of your project:

    pytest_plugins = ["trioactor.testing.pytest_plugin"]

and write tests that are plain functions:

    def test_the_hub_survives_a_partition(simulation):
        async def main(sim):
            ...
        simulation(main, seeds=20)

`pytest --simulation-seeds 1000` tries that many seeds in each such test; when one fails, the error says
the seed, and `pytest --simulation-seed 17` runs that one alone. `from trioactor.testing.pytest_plugin
import simulation` in a `conftest.py` gives the fixture without the two options.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from trioactor.testing.network import Network
from trioactor.testing.simulation import Report, Simulation, simulate

SEEDS = 10


class RunSeeds(Protocol):
    """What the fixture `simulation` gives."""

    def __call__(
        self,
        main: Callable[[Simulation], Awaitable[Any]],
        *,
        seeds: int = SEEDS,
        network: Callable[..., Network] = Network,
    ) -> list[Report[Any]]:
        """Simulate with the seeds 0, 1, 2 ...; see `simulate`.

        Args:
            main: What happens.
            seeds: How many; the options of the command line have precedence.
            network: Makes the network.

        Returns:
            One report per seed.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options."""
    group = parser.getgroup("simulation", "trioactor.testing")
    group.addoption("--simulation-seeds", type=int, metavar="N", help="Try N seeds in every simulation.")
    group.addoption("--simulation-seed", type=int, metavar="SEED", help="Try this seed alone.")


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> RunSeeds:
    """Return a function that runs a simulation with many seeds. See the module's text."""
    only = request.config.getoption("--simulation-seed", default=None)
    number = request.config.getoption("--simulation-seeds", default=None)

    def run(
        main: Callable[[Simulation], Awaitable[Any]],
        *,
        seeds: int = SEEDS,
        network: Callable[..., Network] = Network,
    ) -> list[Report[Any]]:
        chosen = range(number or seeds) if only is None else [only]
        reports = []
        for seed in chosen:
            try:
                reports.append(simulate(main, seed=seed, network=network))
            except Exception as error:
                error.add_note(
                    f"to run this seed alone: pytest {request.node.nodeid!r} --simulation-seed {seed}"
                )
                raise
        return reports

    return run
