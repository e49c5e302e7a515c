"""The one place that touches what trio does not publish, so that a seed repeats a whole run.

trio runs the tasks that are ready in an order of chance. It has a switch for a repeatable order, which
Hypothesis's plugin sets when it is imported, and a generator that the order is drawn from; both are
private. Two more orders go by memory addresses: that in which scopes with one deadline expire, and that
in which the tasks of one scope are told of its end. Here they go by age.

If a release of trio moves any of this, `repeatable` says so and refuses to run, and the tests of this
module fail.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from heapq import heappush
from itertools import count
from typing import Any

import trio
import trio._core._run as run
import trio._threads as threads

from trioactor.testing.errors import SimulationError

SWITCH, GENERATOR = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"

# What is replaced, and what it must be.
PARTS: tuple[tuple[Any, str, type | tuple[type, ...]], ...] = (
    (run, SWITCH, bool),
    (run, GENERATOR, random.Random),
    (run, "CancelStatus", type),
    (run.Deadlines, "add", type(lambda: None)),
    (threads, "start_thread_soon", type(lambda: None)),
)

_simulated: trio.lowlevel.RunVar[bool] = trio.lowlevel.RunVar("simulated", False)

# The parts belong to the whole process, so only one run at a time may have them.
_in_use = threading.Lock()


def check_trio() -> None:
    """Raise SimulationError if this release of trio is not built as this module knows it."""
    for owner, name, kind in PARTS:
        if not isinstance(getattr(owner, name, None), kind):
            raise SimulationError(
                f"trio {trio.__version__} has no {owner.__name__}.{name} any more, which makes a run"
                " repeatable; use the newest release of trio that the tests of trioactor.testing pass with"
            )


@contextmanager
def repeatable(seed: object) -> Iterator[None]:
    """Have trio do the same in every run of the same program, for the length of the block.

    Args:
        seed: Of the order of tasks.

    Raises:
        SimulationError: trio has changed, or another run in this process is repeatable now.
    """
    check_trio()
    if not _in_use.acquire(blocking=False):
        raise SimulationError("another simulation runs in this process: one at a time, or use processes")
    with ExitStack() as stack:
        stack.callback(_in_use.release)
        ages = count()
        stack.enter_context(_replaced(run, SWITCH, True))
        stack.enter_context(_replaced(run, GENERATOR, random.Random(f"{seed}/scheduler")))  # noqa: S311
        stack.enter_context(_replaced(run, "CancelStatus", _OrderedStatus))
        stack.enter_context(_replaced(run.Deadlines, "add", _add_by_age(ages)))
        stack.enter_context(_replaced(threads, "start_thread_soon", _start_no_thread))
        yield


def mark_as_simulated() -> None:
    """Say that the present `trio.run` is a simulation: it gets no threads."""
    _simulated.set(True)


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)


class _Ordered(dict[Any, None]):
    """A set that is gone through in the order in which things were put in."""

    def add(self, item: Any) -> None:
        self[item] = None

    def remove(self, item: Any) -> None:
        del self[item]


class _OrderedStatus(run.CancelStatus):
    """trio's own, with its tasks and its inner scopes told of their end in the order of their coming."""

    def __attrs_post_init__(self) -> None:
        self._children = _Ordered()  # type: ignore[assignment]  # as much of a set as is used
        self._tasks = _Ordered()  # type: ignore[assignment]
        super().__attrs_post_init__()


def _add_by_age(ages: count[int]) -> Callable[[run.Deadlines, float, trio.CancelScope], None]:
    def add(self: run.Deadlines, deadline: float, cancel_scope: trio.CancelScope) -> None:
        heappush(self._heap, (deadline, next(ages), cancel_scope))
        self._active += 1

    return add


def _start_no_thread(fn: Any, deliver: Any, name: str | None = None) -> None:
    """Refuse in a simulation; elsewhere, do what trio does."""
    if not _simulated.get():
        trio.lowlevel.start_thread_soon(fn, deliver, name)
        return
    raise SimulationError(
        f"a thread was asked for inside a simulation ({name or 'without a name'}): how long it takes is"
        " real time, which no seed repeats. Blocking work goes through one function that is handed in"
        " (a seam); hand in trioactor.testing.run_inline, or one like it"
    )
