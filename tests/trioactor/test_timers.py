"""Time and long work beside the handlers: timers on trio's clock, and `pipe_to_self`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.trioactor.cast import Note
from trioactor import Actor, ActorSystem, MailboxSettings, Timer


class Watchman(Actor):
    """Does `begin` when it starts, and notes when which number came. Each takes `busy_seconds`."""

    def __init__(self, begin: Callable[[Watchman], Any], busy_seconds: float = 0) -> None:
        self.begin = begin
        self.busy_seconds = busy_seconds
        self.timer: Timer | None = None
        self.times: list[tuple[float, int]] = []

    async def pre_start(self) -> None:
        self.start = trio.current_time()
        self.timer = self.begin(self)

    async def receive(self, message: Note) -> None:
        self.times.append((trio.current_time() - self.start, message.number))
        await trio.sleep(self.busy_seconds)


# --- once and every -----------------------------------------------------------------------------


async def test_a_timer_tells_once(system: ActorSystem, autojump_clock: MockClock) -> None:
    actor = Watchman(lambda self: self.context.timers.once(3, Note(1)))
    await system.actor_of(lambda: actor, "watchman")
    await trio.sleep(10)

    assert actor.times == [(3, 1)]


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_timer_without_delay_tells_soon(
    system: ActorSystem, autojump_clock: MockClock, seconds: float
) -> None:
    actor = Watchman(lambda self: self.context.timers.once(seconds, Note(1)))
    await system.actor_of(lambda: actor, "watchman")
    await wait_all_tasks_blocked()

    assert actor.times == [(0, 1)]


async def test_a_timer_tells_again_and_again_without_drift(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    actor = Watchman(lambda self: self.context.timers.every(2, Note(1)), busy_seconds=0.5)
    await system.actor_of(lambda: actor, "watchman")
    await trio.sleep(9)

    assert actor.times == [(2, 1), (4, 1), (6, 1), (8, 1)]


async def test_beats_that_are_missed_are_left_out(system: ActorSystem, autojump_clock: MockClock) -> None:
    """A mailbox of one and handlers of 3.5 s: the timer waits for room, then keeps to its beat."""
    actor = Watchman(lambda self: self.context.timers.every(1, Note(1)), busy_seconds=3.5)
    ref = await system.actor_of(lambda: actor, "watchman", mailbox=MailboxSettings(capacity=1))
    await trio.sleep(20)
    await ref.kill()

    # 1 is in hand until 4.5, 2 waits in the mailbox, 3 waits for room until 4.5. The next is 5: it waits
    # for room until 8, and so on.
    assert [time for time, _ in actor.times] == [1, 4.5, 8, 11.5, 15, 18.5]


async def test_the_beat_after_a_delay_falls_on_the_beat(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    actor = Watchman(lambda self: self.context.timers.every(10, Note(1)))
    actor.busy_seconds = 34
    ref = await system.actor_of(lambda: actor, "watchman", mailbox=MailboxSettings(capacity=1))
    await trio.sleep(45)
    assert [time for time, _ in actor.times] == [10, 44]
    actor.busy_seconds = 0
    await trio.sleep(60)
    await ref.kill()

    # 10 is in hand until 44 and 20 until 78, 30 waits for room until 44 and 50 until 78; 40, 60 and 70
    # are missed. From 80 on it is on time.
    assert [time for time, _ in actor.times] == [10, 44, 78, 78, 80, 90, 100]


@pytest.mark.parametrize("seconds", [0, -1])
async def test_a_beat_needs_time_in_between(system: ActorSystem, seconds: float) -> None:
    with pytest.raises(ValueError, match="the time between two messages must be more than 0 seconds"):
        await system.actor_of(
            lambda: Watchman(lambda self: self.context.timers.every(seconds, Note(1))), "watchman"
        )


@pytest.mark.parametrize("when", ["at once", "between beats"])
async def test_a_cancelled_timer_tells_no_more(
    system: ActorSystem, autojump_clock: MockClock, when: str
) -> None:
    actor = Watchman(lambda self: self.context.timers.every(2, Note(1)))
    await system.actor_of(lambda: actor, "watchman")
    assert actor.timer is not None
    if when == "between beats":
        await trio.sleep(5)
    actor.timer.cancel()
    await trio.sleep(10)

    assert actor.times == ([(2, 1), (4, 1)] if when == "between beats" else [])


async def test_timers_end_with_their_actor(system: ActorSystem, autojump_clock: MockClock) -> None:
    actor = Watchman(lambda self: self.context.timers.every(1, Note(1)))
    ref = await system.actor_of(lambda: actor, "watchman")
    await ref.stop()
    await trio.sleep(5)

    assert actor.times == []
    assert system.ledger().accepted == 0


async def test_a_mailbox_that_rejects_is_no_failure_of_the_timer(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    """The beat is left out and counted; an actor that is slow should not fail for it."""
    actor = Watchman(lambda self: self.context.timers.every(1, Note(1)), busy_seconds=4.5)
    ref = await system.actor_of(lambda: actor, "watchman", mailbox=MailboxSettings(1, "reject"))
    await trio.sleep(5.75)
    await ref.kill()

    assert [time for time, _ in actor.times] == [1, 5.5]
    assert system.ledger().rejected == 3, "3, 4 and 5; 2 waited in the mailbox"


# --- long work ----------------------------------------------------------------------------------


class Researcher(Actor):
    """Pipes the outcome of `work` to itself, and keeps what comes."""

    def __init__(self, work: Callable[[], Any], done: Callable[[Any], Any] = Note) -> None:
        self.work = work
        self.done = done
        self.seen: list[Any] = []

    async def pre_start(self) -> None:
        self.context.pipe_to_self(self.work, self.done, lambda error: f"failed: {error!r}")

    async def receive(self, message: Any) -> None:
        self.seen.append(message)


async def test_the_result_of_long_work_comes_as_a_message(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    async def work() -> int:
        await trio.sleep(60)
        return 42

    actor = Researcher(work)
    ref = await system.actor_of(lambda: actor, "researcher")
    await ref.tell("meanwhile")
    await trio.sleep(61)

    assert actor.seen == ["meanwhile", Note(42)]


async def test_the_failure_of_long_work_comes_as_a_message(system: ActorSystem) -> None:
    async def work() -> int:
        raise OSError("no route")

    actor = Researcher(work)
    await system.actor_of(lambda: actor, "researcher")
    await wait_all_tasks_blocked()

    assert actor.seen == ["failed: OSError('no route')"]


async def test_a_result_that_makes_no_message_is_a_failure_of_the_work(system: ActorSystem) -> None:
    async def work() -> int:
        return 0

    actor = Researcher(work, done=lambda result: Note(1 // result))
    await system.actor_of(lambda: actor, "researcher")
    await wait_all_tasks_blocked()

    assert actor.seen == ["failed: ZeroDivisionError('integer division or modulo by zero')"]


async def test_long_work_that_is_interrupted_ends_the_actor() -> None:
    async def work() -> int:
        raise KeyboardInterrupt

    with pytest.raises(BaseExceptionGroup) as caught:
        async with ActorSystem("test") as system:
            await system.actor_of(lambda: Researcher(work), "researcher")
            await trio.sleep_forever()

    assert caught.group_contains(KeyboardInterrupt)


async def test_long_work_is_cancelled_with_its_actor(system: ActorSystem) -> None:
    ended: list[str] = []

    async def work() -> int:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("work")

    actor = Researcher(work)
    ref = await system.actor_of(lambda: actor, "researcher")
    await wait_all_tasks_blocked()
    await ref.stop()

    assert ended == ["work"]
    assert actor.seen == []
