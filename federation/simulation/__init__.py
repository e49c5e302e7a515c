"""A whole federation in one program: thousands of workers, no sockets, virtual time.

The rounds, the strategies, the record and the final bytes are those of a federation that is deployed on the
same data with the same seed. What stands in for the world, who is slow, lost or late, is drawn from the seed:

    import trio
    from federation.simulation import SimulationConfig, simulate

    result = trio.run(simulate, SimulationConfig(workers=1000, fraction=0.01, rounds=100, stragglers=0.1))
    result.accuracy, result.weights, result.seconds

`bin/simulate-federation` is the same on the command line.

It is no test of the runtime, whose actors and connections are not in it: `trioactor.testing` plays those. A
worker that is lost here is a line of a plan.

Where to go on: `scenario.py` says what becomes of workers, `agenda.py` and `ground.py` play a round in
virtual time, `simulation.py` a run. `sources.py` and `data.py` have the samples, `engine.py` is the seam to
where training is done, `trainer.py` what is done there, and `record.py` what is kept of it.
"""

from federation.simulation.config import SimulationConfig
from federation.simulation.engine import EngineFailed
from federation.simulation.record import RoundReport
from federation.simulation.simulation import Beginning, SimulationResult, simulate

__all__ = ["Beginning", "EngineFailed", "RoundReport", "SimulationConfig", "SimulationResult", "simulate"]
