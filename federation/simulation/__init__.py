"""A whole federation in one program: thousands of workers, no sockets, virtual time.

The rounds, the strategies, the record and the final bytes are those of a federation that is deployed on the
same data with the same seed. What stands in for the world, who is slow, lost or late, is drawn from the seed:

    import trio
    from federation.simulation import SimulationConfig, simulate

    result = trio.run(simulate, SimulationConfig(workers=1000, fraction=0.01, rounds=100, stragglers=0.1))
    result.accuracy, result.weights, result.seconds

`bin/simulate-federation` is the same on the command line.
"""

from federation.simulation.config import SimulationConfig
from federation.simulation.engine import EngineFailed
from federation.simulation.record import RoundReport
from federation.simulation.simulation import Beginning, SimulationResult, simulate

__all__ = ["Beginning", "EngineFailed", "RoundReport", "SimulationConfig", "SimulationResult", "simulate"]
