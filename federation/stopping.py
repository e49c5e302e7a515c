"""How a program of ours is asked to end: Ctrl-C, SIGTERM, or the end of the one that started it."""

from __future__ import annotations

import os
import signal

import trio

from federation.errors import ExitStatus
from federation.processes import PARENT_VARIABLE
from trioactor.process import end_with_parent

STATUS_OF_SIGNAL = {
    signal.SIGINT: ExitStatus.INTERRUPTED,
    signal.SIGTERM: ExitStatus.TERMINATED,
}
NAME_OF_SIGNAL = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class Stop:
    """Somebody's wish that the program ends.

    Attributes:
        wanted: Set when it is to end in good order.
        urgent: Set when it is to end at once: asked a second time.
        reason: Who wants it, in words.
        status: The exit status that tells of it.
    """

    def __init__(self) -> None:
        self.wanted = trio.Event()
        self.urgent = trio.Event()
        self.reason = ""
        self.status = ExitStatus.TERMINATED

    def ask(self, reason: str, status: ExitStatus) -> None:
        """Ask for the end; asked again, for the end at once."""
        if self.wanted.is_set():
            self.urgent.set()
            return
        self.reason, self.status = reason, status
        self.wanted.set()

    async def listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask for the end on every SIGINT and SIGTERM, and when the program's starter is gone."""
        async with trio.open_nursery() as nursery:
            if PARENT_VARIABLE in os.environ:
                nursery.start_soon(self._listen_to_starter)
            with trio.open_signal_receiver(*STATUS_OF_SIGNAL) as signals:
                task_status.started()
                async for number in signals:
                    received = signal.Signals(number)
                    self.ask(NAME_OF_SIGNAL[received], STATUS_OF_SIGNAL[received])

    async def _listen_to_starter(self) -> None:
        await end_with_parent()
        self.ask("the program that started this one is gone", ExitStatus.TERMINATED)
