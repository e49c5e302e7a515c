"""The errors of a simulation: always a mistake in the test, never a fault that it plays."""


class SimulationError(Exception):
    """The simulation cannot do, or cannot repeat, what it was asked to do."""


class Deadlock(SimulationError):
    """Every task waits, and nothing that could wake one will ever happen."""


def bare(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that is in the group, when it is the only one; otherwise the group."""
    return group.exceptions[0] if len(group.exceptions) == 1 else group
