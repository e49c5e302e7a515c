"""Turns: peers that have much to say go one after the other, so that all others hardly wait.

A reader that has handled what makes up a turn gets in line. Only one of those who stand there goes on at a
time. So an actor, or a reader with a single question, waits for the turn of one of them and not of each,
however many there are. A peer that sends little never stands in the line for long: see `fairness.py`.
"""

from __future__ import annotations

import trio
from trio.lowlevel import Abort, RaiseCancelT, Task, checkpoint, current_task, wait_task_rescheduled

from trioactor.fairness import FairLine, Share, Ticket

# What makes up a turn: so many small frames, or so many times `UNIT_BYTES`. Half a millisecond, as a rule.
UNITS_PER_TURN = 32
UNIT_BYTES = 1024


class Turns:
    """The line of all readers of one system."""

    def __init__(self) -> None:
        self.line: FairLine[tuple[Turn, Task]] = FairLine()
        self.holder: Turn | None = None

    def next(self) -> Turn | None:
        """Let the next one go on, if somebody waits."""
        found = self.line.take()
        if found is None:
            self.holder = None
            return None
        self.holder, task = found
        if task is not current_task():
            trio.lowlevel.reschedule(task)
        return self.holder


class Turn:
    """What one reader knows of it.

    Args:
        turns: The line.
    """

    __slots__ = ("_left", "_share", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._share = Share()
        self._left = UNITS_PER_TURN

    def spend(self, size: int) -> bool:
        """Something of so many bytes was handled; True when the turn is over."""
        self._left -= 1 + size // UNIT_BYTES
        return self._left <= 0

    async def over(self) -> None:
        """Let others go on, and return when it is this one's turn again."""
        self._left = UNITS_PER_TURN
        turns = self._turns
        if turns.holder is None:
            turns.holder = self
        if turns.holder is self and not turns.line:
            await checkpoint()
            return
        ticket: Ticket[tuple[Turn, Task]] = turns.line.enter(self._share, (self, current_task()))
        if turns.holder is self and turns.next() is self:
            await checkpoint()
            return

        def abort(_raise_cancel: RaiseCancelT) -> Abort:
            turns.line.leave(ticket)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def rest(self) -> None:
        """There is nothing to handle now: whoever waits may go on."""
        if self._turns.holder is self:
            self._turns.next()
