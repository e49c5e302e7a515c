"""Whether every message is accounted for: now, at the end, and at every instant in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from trioactor.system import ActorSystem


def assert_accounted(system: ActorSystem, *, ended: bool = False) -> None:
    """Raise AssertionError unless accepted messages = outcomes + queued + in hand.

    Args:
        system: Whose accounts.
        ended: Whether nothing may be queued or in hand either, as after the end of the system.
    """
    ledger = system.ledger()
    assert ledger.balanced, (
        f"{system!r} has accepted {ledger.accepted:,} messages and accounts for"
        f" {ledger.ended + ledger.queued + ledger.in_hand:,}: {ledger}"
    )
    if ended:
        assert ledger.accepted == ledger.ended, f"{system!r} has ended, its messages have not: {ledger}"


class Auditor(trio.abc.Instrument):
    """Reads the accounts of systems after each step of each task: between two checkpoints, that is.

    The cost is a look at every actor per step, so it is for systems with some tens of actors.

    Attributes:
        systems: Whose accounts. Put in more at any time; those that have ended may stay.
        finding: What was wrong first; None while nothing was. What follows is often its echo.
    """

    def __init__(self, *systems: ActorSystem) -> None:
        self.systems = list(systems)
        self.finding: str | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Compare. An exception would only unload the instrument, so it is kept for `check`."""
        if self.finding is not None:
            return
        for system in self.systems:
            try:
                assert_accounted(system)
            except AssertionError as error:
                self.finding = f"after a step of the task {task.name!r}: {error}"

    def check(self) -> None:
        """Raise AssertionError if the accounts were wrong at any instant so far."""
        assert self.finding is None, self.finding


@contextmanager
def audited(*systems: ActorSystem) -> Iterator[Auditor]:
    """Audit systems at every instant of a block, and raise AssertionError at its end if it failed once."""
    auditor = Auditor(*systems)
    trio.lowlevel.add_instrument(auditor)
    try:
        yield auditor
    finally:
        trio.lowlevel.remove_instrument(auditor)
    auditor.check()
