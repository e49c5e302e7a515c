"""The audit that runs beside every test of the runtime: no message is ever unaccounted for."""

from __future__ import annotations

import trio

from trioactor import ActorSystem


class Auditor(trio.abc.Instrument):
    """Reads the accounts of its systems after each step of each task: between two checkpoints, that is.

    The cost is one look at every actor per step, so it is for tests with some tens of actors.
    """

    def __init__(self) -> None:
        self.systems: list[ActorSystem] = []
        self.finding: str | None = None  # the first one; what follows is often its echo

    def watch(self, system: ActorSystem) -> None:
        """Audit one more system, from now on."""
        self.systems.append(system)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Compare; an exception would only unload the instrument, so it is kept for later."""
        if self.finding is not None:
            return
        for system in self.systems:
            ledger = system.ledger()
            if not ledger.balanced:
                self.finding = f"{system!r} after a step of the task {task.name!r}: {ledger}"

    def check(self) -> None:
        """Raise AssertionError if the accounts were wrong at any instant so far."""
        assert self.finding is None, f"a message is unaccounted for: {self.finding}"

    def check_ended(self) -> None:
        """The same, and everything that was ever accepted has come to its end."""
        self.check()
        for system in self.systems:
            ledger = system.ledger()
            assert ledger.balanced, f"{system!r}: {ledger}"
            assert ledger.accepted == ledger.ended, f"{system!r} has ended, its messages have not: {ledger}"
