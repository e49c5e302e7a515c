"""The one door to blocking work: training, scoring, the disk. A simulation puts its own in its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Offload(Protocol):
    """Runs blocking work so that actors stay responsive meanwhile, and returns what it returns.

    The work is handed a function `should_stop`, to be asked now and then. In a thread it does not
    return True but raises `trio.Cancelled` when the caller has been cancelled, which the work lets pass.
    """

    async def __call__(self, work: Callable[[Callable[[], bool]], T]) -> T:
        """Run the work."""


async def in_thread(work: Callable[[Callable[[], bool]], T]) -> T:
    """Run the work in a thread. Cancelled between two questions of `should_stop`; then it waits for it."""
    return await trio.to_thread.run_sync(partial(work, _stop_when_cancelled))


async def in_thread_left_behind(work: Callable[[Callable[[], bool]], T]) -> T:
    """Run the work in a thread that is left behind when this is cancelled: it may wait for a far server.

    Only for work whose end nobody else needs to know of. Asked again, `should_stop` still raises.
    """
    return await trio.to_thread.run_sync(partial(work, _stop_when_cancelled), abandon_on_cancel=True)


def _stop_when_cancelled() -> bool:
    trio.from_thread.check_cancelled()
    return False
