"""`Lead`: which task reads from a connection (Leader/Followers: Schmidt et al., POSA volume 2, 2000).

As a rule it is the connection's own, the reader. To have it wake, take an answer in and wake the asker costs
a turn of the scheduler. So the reader stands back for a turn when it has brought an answer: who asks again at
once takes the lead, and reads the answer by itself. What else comes is left to the reader.

No I/O here, and no rule of the protocol: `Connection` reads, and says who may.
"""

from __future__ import annotations

from trio.lowlevel import (
    Abort,
    RaiseCancelT,
    Task,
    checkpoint,
    current_task,
    reschedule,
    wait_task_rescheduled,
)


class Lead:
    """The lead of one connection. The reader has it, unless it stands back.

    Attributes:
        taken: Whether another has it.
    """

    __slots__ = ("_free", "_resting", "taken")

    def __init__(self) -> None:
        self._free = False  # the reader stands back, and there is nothing for it to do
        self.taken = False
        self._resting: Task | None = None  # the reader, while another reads

    async def stand_back(self) -> None:
        """The reader's: let others run for a turn, and read if they like. Return when nobody does."""
        self._free = True
        try:
            await checkpoint()
            while self.taken:
                self._resting = current_task()
                await wait_task_rescheduled(self._stop_resting)
        finally:
            self._free = False

    def _stop_resting(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._resting = None
        return Abort.SUCCEEDED

    @property
    def is_free(self) -> bool:
        """Whether another than the reader may take it now."""
        return self._free and not self.taken

    def take(self) -> None:
        """Take the free lead; `give_back` must follow."""
        assert self.is_free
        self.taken = True

    def give_back(self, *, done: bool) -> None:
        """Have the reader go on; `done`: it has nothing to do at first, so others may take the lead again."""
        self.taken = False
        self._free = self._free and done
        if self._resting is not None:
            reschedule(self._resting)
            self._resting = None
