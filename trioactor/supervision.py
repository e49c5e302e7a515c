"""`Supervisor`: an actor that keeps its children alive, by OTP's rules and with trio's means.

A child that fails is given another life behind the same ref and mailbox: what waits there survives,
the message that failed is not tried again. The rules (`affected_by`, `RestartWindow`, `Backoff`) are
plain and know no trio; `Supervisor` moves time and tasks.

The words and their meaning are those of OTP's supervisor (Erlang/OTP Design Principles, "Supervisor
Behaviour"), with two differences: restarts wait for a backoff, and giving up raises every cause.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import trio

from trioactor.actor import Actor, Factory
from trioactor.cell import Cell
from trioactor.errors import DeliveryError, HealthCheckFailed, Rejected, TrioactorError
from trioactor.mailbox import MailboxSettings
from trioactor.messages import ChildFailed
from trioactor.ref import ActorRef

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Restart = Literal["permanent", "transient", "temporary"]

log = logging.getLogger(__name__)


# --- the rules ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child of a supervisor, and when it is given another life.

    Attributes:
        factory: The actor's class, or any callable that makes an instance: called for every life.
        actor_id: Its name under the supervisor.
        restart: "permanent": always, also when it stopped by itself. "transient": when it failed, was
            killed or got stuck. "temporary": never.
        mailbox: Capacity and policy.
    """

    factory: Factory
    actor_id: str
    restart: Restart = "permanent"
    mailbox: MailboxSettings = field(default_factory=MailboxSettings)

    def __post_init__(self) -> None:
        if self.restart not in get_args(Restart):
            raise ValueError(f"restart={self.restart!r}; choose one of {', '.join(get_args(Restart))}")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the n-th restart within the window: exponential, with jitter.

    Attributes:
        first_seconds: Before the first restart.
        factor: By how much each further wait is longer.
        most_seconds: The longest wait.
        jitter: The part of the wait that is left to chance, 0 to 1, so that many children that failed
            together do not come back together. Chance only shortens the wait.
    """

    first_seconds: float = 0.1
    factor: float = 2.0
    most_seconds: float = 10.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.first_seconds < 0 or self.most_seconds < 0 or self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError(f"{self}; times are at least 0, factor at least 1, jitter between 0 and 1")

    def seconds(self, restarts: int, rng: random.Random) -> float:
        """Return the wait before the restart number `restarts`, counted from 1."""
        full = min(self.most_seconds, self.first_seconds * self.factor ** min(restarts - 1, 64))
        return full * (1 - self.jitter * rng.random())


@dataclass(frozen=True, slots=True)
class Health:
    """How a supervisor finds out that a handler is stuck.

    A ping goes ahead of all user messages and is answered between two of them, so a long queue is no
    illness, and a handler that takes longer than `max_missed` pings is.

    Attributes:
        interval_seconds: Between two pings.
        timeout_seconds: How long an answer may take.
        max_missed: After so many unanswered pings in a row the child is restarted.
    """

    interval_seconds: float = 5.0
    timeout_seconds: float = 5.0
    max_missed: int = 3

    def __post_init__(self) -> None:
        if self.interval_seconds <= 0 or self.timeout_seconds <= 0 or self.max_missed < 1:
            raise ValueError(f"{self}; times are more than 0 seconds and max_missed at least 1")


class RestartWindow:
    """Counts restarts over a sliding window, and remembers what made them necessary.

    Args:
        max_restarts: So many are borne within the window, 0 or more.
        within_seconds: The length of the window.
    """

    def __init__(self, max_restarts: int, within_seconds: float) -> None:
        if max_restarts < 0 or within_seconds <= 0:
            raise ValueError(
                f"max_restarts={max_restarts}, within_seconds={within_seconds}; "
                "the first is at least 0, the second more than 0"
            )
        self.max_restarts = max_restarts
        self.within_seconds = within_seconds
        self._events: deque[tuple[float, str, Exception]] = deque()

    def record(self, now: float, actor_id: str, cause: Exception) -> None:
        """A restart has become necessary.

        Raises:
            ExceptionGroup: It is one too many. The group holds every cause within the window.
        """
        self._events.append((now, actor_id, cause))
        while self._events[0][0] <= now - self.within_seconds:
            self._events.popleft()
        if len(self._events) > self.max_restarts:
            raise ExceptionGroup(
                f"gave up after {len(self._events)} failures within {self.within_seconds:g} s "
                f"(max_restarts={self.max_restarts})",
                [cause for _, _, cause in self._events],
            )

    def count(self, actor_id: str) -> int:
        """How many restarts within the window were for this child."""
        return sum(1 for _, name, _ in self._events if name == actor_id)


def affected_by(strategy: Strategy, order: Sequence[str], failed: str) -> Sequence[str]:
    """Return the children that are restarted when one has failed, in the order of their start."""
    match strategy:
        case "one_for_one":
            return [failed]
        case "one_for_all":
            return list(order)
        case "rest_for_one":
            return order[order.index(failed) :]


class ChildExit(TrioactorError):
    """A child ended without an error of its own, and its restart type asks for another life."""


# --- the supervisor -------------------------------------------------------------------------------


class _Child:
    """What the supervisor knows of one child."""

    def __init__(self, spec: ChildSpec, cell: Cell) -> None:
        self.spec = spec
        self.cell = cell
        self.life: object | None = None  # stands for the life that runs now, None between two
        self.serving = False  # its pre_start has run
        self.being_ended = False  # by us, as part of a restart
        self.missed = 0  # health pings in a row
        self.illness: HealthCheckFailed | None = None


class Supervisor(Actor):
    """Starts its children in order, and gives those that fail another life.

    When more than `max_restarts` are needed within `within_seconds`, it gives up: its other children
    are ended and it fails itself with an ExceptionGroup of every cause in the window, which its own
    supervisor, if any, takes as the failure of a child.

    Args:
        children: What to start, in this order; they stop in the reverse order.
        strategy: Whom a failure concerns: "one_for_one" only the child itself, "one_for_all" all
            children, "rest_for_one" the child and those that were started after it.
        max_restarts: So many restarts are borne within the window. A restart of a group counts once.
        within_seconds: The length of the window.
        backoff: How long to wait before a restart. Messages that come meanwhile wait in the mailbox.
        health: How stuck handlers are found; None to do without.
        stuck_seconds: A handler that goes on for so long after it was cancelled is reported by name
            and left behind. trio cannot end it; it keeps its message and gets no other.
        report_to: Is told `ChildFailed` for each failure; by default the parent, if it is an actor.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec] = (),
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        within_seconds: float = 30.0,
        backoff: Backoff | None = None,
        health: Health | None = None,
        stuck_seconds: float = 5.0,
        report_to: ActorRef | None = None,
    ) -> None:
        if strategy not in get_args(Strategy):
            raise ValueError(f"strategy={strategy!r}; choose one of {', '.join(get_args(Strategy))}")
        self._specs = tuple(children)
        self._strategy: Strategy = strategy
        self._window = RestartWindow(max_restarts, within_seconds)
        self._backoff = backoff or Backoff()
        self._health = health
        self._stuck_seconds = stuck_seconds
        self._report_to = report_to
        self._children: dict[str, _Child] = {}
        self._group_lock = trio.Lock()  # one restart of a group at a time; unused for one_for_one

    async def pre_start(self) -> None:
        """Start the children. One that cannot start makes the supervisor's own start fail."""
        for spec in self._specs:
            await self.start_child(spec)
        if self._health is not None:
            self.context.start_soon(self._watch_health, self._health)

    async def receive(self, message: Any) -> None:
        """Pass on what supervisors below report; a supervisor takes no other messages."""
        if not isinstance(message, ChildFailed):
            raise Rejected(f"{self.context.ref.actor_id!r} is a supervisor; talk to its children")
        self._report(message)

    async def start_child(self, spec: ChildSpec) -> ActorRef:
        """Start one more child, behind the others. For subclasses.

        Raises:
            NameTaken: A child of that name is alive.
            Exception: Whatever its `pre_start` raised.
        """
        cell = self._own_cell.new_child(spec.factory, spec.actor_id, spec.mailbox)
        child = self._children[spec.actor_id] = _Child(spec, cell)
        try:
            await self._begin_life(child)
        except Exception:
            self._close(child, "failed to start")
            raise
        return cell.ref

    @property
    def _own_cell(self) -> Cell:
        assert isinstance(self.context.cell, Cell)
        return self.context.cell

    # --- lives ----------------------------------------------------------------------------------

    async def _begin_life(self, child: _Child) -> None:
        """Start a life of the child in a task of its own, and return when it serves."""
        life = child.life = object()
        child.being_ended = False
        child.missed = 0
        self.context.nursery.start_soon(self._run_life, child, life, name=child.cell.actor_id)
        await child.cell.started()
        child.serving = child.life is life

    async def _run_life(self, child: _Child, life: object) -> None:
        failure: Exception | None = None
        how = "failed"
        try:
            how = await child.cell.live()
        except Exception as error:
            failure = error
        except BaseException:  # we are being cancelled ourselves, or worse
            self._close(child, "killed")
            raise
        if child.life is not life:
            self._note_late_end(child, failure)
            return
        child.life = None
        child.serving = False
        child.cell.end_of_life()
        if how != "failed to start":  # else whoever started it has got the failure
            self._see_exit(child, how, failure)

    def _see_exit(self, child: _Child, how: str, failure: Exception | None) -> None:
        """A life has ended: decide whether there is another."""
        if child.being_ended:
            return
        illness, child.illness = child.illness, None
        cause = failure or illness
        abnormal = cause is not None or how == "killed"
        if child.cell.final or not self._wants_another(child.spec.restart, abnormal):
            if cause is not None:
                self._tell_failure(child, cause, "stopped")
            self._close(child, f"failed: {cause!r}" if cause is not None else how)
            return
        self.context.nursery.start_soon(self._restart, child, cause or ChildExit(f"it was {how}"))

    @staticmethod
    def _wants_another(restart: Restart, abnormal: bool) -> bool:
        return restart == "permanent" or (restart == "transient" and abnormal)

    def _close(self, child: _Child, reason: str) -> None:
        if child.cell.ended is None:
            child.cell.close(reason)
        if self._children.get(child.spec.actor_id) is child:
            del self._children[child.spec.actor_id]

    # --- restarts ---------------------------------------------------------------------------------

    async def _restart(self, failed: _Child, cause: Exception) -> None:
        """Give the child, and whom its failure concerns, another life; as often as it takes."""
        group = [failed]
        try:
            if self._strategy == "one_for_one":
                await self._restart_until_alive(failed, cause, group)
                return
            async with self._group_lock:
                if failed.life is None and failed.cell.ended is None:  # no other restart has seen to it
                    await self._restart_until_alive(failed, cause, group)
        except BaseException:
            for child in group:
                if child.life is None:
                    self._close(child, "its supervisor has ended")
            raise

    async def _restart_until_alive(self, failed: _Child, cause: Exception, group: list[_Child]) -> None:
        again: tuple[_Child, Exception] | None = (failed, cause)
        while again is not None:
            failed, cause = again
            self._record(failed, cause)
            group[:] = self._concerned(failed)
            for child in reversed(group):
                await self._end_life(child)
            wait = self._backoff.seconds(self._window.count(failed.spec.actor_id), self.context.rng)
            await failed.cell.rest(wait)
            again = await self._begin_in_order(group)

    def _record(self, failed: _Child, cause: Exception) -> None:
        try:
            self._window.record(trio.current_time(), failed.spec.actor_id, cause)
        except ExceptionGroup:
            self._tell_failure(failed, cause, "gave up")
            raise
        self._tell_failure(failed, cause, "restarted")

    def _concerned(self, failed: _Child) -> list[_Child]:
        names = affected_by(self._strategy, list(self._children), failed.spec.actor_id)
        return [
            child
            for child in (self._children[name] for name in names)
            if child is failed or child.spec.restart != "temporary"
        ]

    async def _end_life(self, child: _Child) -> None:
        """Cancel the life of the child and wait for its end, unless its handler is stuck."""
        child.being_ended = True
        if child.life is not None:
            child.cell.kill()
            await self._end_or_abandon(child)

    async def _end_or_abandon(self, child: _Child) -> bool:
        """Wait for the end of a life that was cancelled; whether it came."""
        with trio.move_on_after(self._stuck_seconds) as patience:
            await child.cell.life_over()
        if not patience.cancelled_caught:
            return True
        child.cell.abandon()
        child.life = None
        child.serving = False
        stuck = TrioactorError(f"its handler goes on {self._stuck_seconds:g} s after it was cancelled")
        self._tell_failure(child, stuck, "stuck")
        return False

    async def _begin_in_order(self, group: Sequence[_Child]) -> tuple[_Child, Exception] | None:
        """Start the children; return the first that cannot start, and why."""
        for child in group:
            if self._closed_on_order(child):
                continue
            child.cell.be_born_again()
            try:
                await self._begin_life(child)
            except Exception as error:
                if not self._closed_on_order(child):
                    return child, error
        return None

    def _closed_on_order(self, child: _Child) -> bool:
        """Close a child that was told to stop while it had no life; whether it was."""
        if child.cell.final:
            self._close(child, "stopped")
        return child.cell.final

    # --- health -------------------------------------------------------------------------------------

    async def _watch_health(self, health: Health) -> None:
        while True:
            await trio.sleep(health.interval_seconds)
            for child in list(self._children.values()):
                if child.serving and child.illness is None:
                    self.context.nursery.start_soon(self._ping, child, health)

    async def _ping(self, child: _Child, health: Health) -> None:
        life = child.life
        with trio.move_on_after(health.timeout_seconds) as patience:
            try:
                await child.cell.ping()
            except DeliveryError:  # it ended meanwhile, which is seen elsewhere
                return
        if not patience.cancelled_caught:
            child.missed = 0
            return
        if child.life is not life or not child.serving or child.illness is not None:
            return
        child.missed += 1
        if child.missed >= health.max_missed:
            await self._end_stuck(child)

    async def _end_stuck(self, child: _Child) -> None:
        illness = HealthCheckFailed(
            f"actor {child.cell.actor_id!r} did not answer {child.missed} health pings in a row: "
            "a handler is stuck; long work belongs in context.start_soon"
        )
        child.illness = illness
        child.cell.kill()
        if not await self._end_or_abandon(child):
            self._see_exit(child, "killed", None)

    # --- telling ------------------------------------------------------------------------------------

    def _tell_failure(self, child: _Child, cause: Exception, decision: str) -> None:
        restarts = child.cell.restarts + (decision == "restarted")
        message = ChildFailed(child.cell.actor_id, f"{type(cause).__name__}: {cause}", restarts, decision)
        log.warning("%s %s (%s)", message.actor_id, decision, message.reason, exc_info=cause)
        self._report(message)

    def _note_late_end(self, child: _Child, failure: Exception | None) -> None:
        if failure is not None:
            self._tell_failure(child, failure, "stopped")

    def _report(self, message: ChildFailed) -> None:
        listener = self._report_to or self.context.parent
        if listener is not None:
            listener.tell_nowait(message)
