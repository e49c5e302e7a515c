"""`Waiting`: the place where a task waits for a socket."""

from __future__ import annotations

import trio
from outcome import Error
from trio.lowlevel import Abort, RaiseCancelT, current_task, reschedule, wait_task_rescheduled


class Waiting:
    """The place where at most one task waits for a socket; a real one takes no second task either."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Sleep until woken.

        Raises:
            trio.BusyResourceError: Another task waits here.
            trio.ClosedResourceError: The socket was closed meanwhile.
        """
        if self._task is not None:
            raise trio.BusyResourceError("another task is already waiting at this socket")
        self._task = current_task()
        await wait_task_rescheduled(self._leave)

    def _leave(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

    def wake(self) -> None:
        """Have the task look again."""
        if self._task is not None:
            reschedule(self._task)
            self._task = None

    def close(self) -> None:
        """Have the task raise ClosedResourceError."""
        if self._task is not None:
            error = trio.ClosedResourceError("another task closed this socket")
            reschedule(self._task, Error(error))
            self._task = None
