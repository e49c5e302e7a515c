"""Whoever watches an actor learns of its end: as a message, or as the end of a block."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.trioactor.cast import Clerk, Fail, Hold, Note
from trioactor import Actor, ActorRef, ActorSystem, PeerDown, Terminated
from trioactor.mailbox import SIGNAL_CAPACITY


class Observer(Actor):
    """Keeps what it is told; `Hold` keeps it busy until `gate` is set."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.gate = trio.Event()

    async def receive(self, message: Any) -> None:
        if isinstance(message, Hold):
            await self.gate.wait()
        self.seen.append(message)


async def start_both(system: ActorSystem) -> tuple[Observer, ActorRef, ActorRef]:
    observer = Observer()
    ref = await system.actor_of(lambda: observer, "observer")
    watched = await system.actor_of(Clerk, "watched")
    await wait_all_tasks_blocked()
    return observer, ref, watched


# --- as a message -------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "reason"), [("stop", "stopped"), ("kill", "killed")])
async def test_the_end_of_a_watched_actor_comes_as_a_message(
    system: ActorSystem, how: str, reason: str
) -> None:
    observer, _, watched = await start_both(system)
    observer.context.watch(watched)

    await (watched.stop() if how == "stop" else watched.kill())
    await wait_all_tasks_blocked()

    assert observer.seen == [Terminated("watched", reason)]


async def test_the_end_of_a_watched_actor_overtakes_user_messages(system: ActorSystem) -> None:
    observer, ref, watched = await start_both(system)
    observer.context.watch(watched)
    await ref.tell(Hold())
    await wait_all_tasks_blocked()
    await ref.tell(Note(1))
    await watched.stop()
    observer.gate.set()
    await wait_all_tasks_blocked()

    assert observer.seen == [Hold(), Terminated("watched", "stopped"), Note(1)]


async def test_a_failed_actor_is_terminated_with_its_failure() -> None:
    reasons: list[str] = []
    with pytest.raises(ExceptionGroup):
        async with ActorSystem("test") as system:
            ref = await system.actor_of(Clerk, "clerk")
            ref.on_down(reasons.append)
            await ref.tell(Fail("oops"))
            await trio.sleep_forever()

    assert reasons == ["failed: ZeroDivisionError('oops')"]


async def test_watching_what_has_ended_tells_at_once(system: ActorSystem) -> None:
    observer, _, watched = await start_both(system)
    await watched.stop()

    observer.context.watch(watched)
    await wait_all_tasks_blocked()

    assert observer.seen == [Terminated("watched", "stopped")]


async def test_watching_twice_tells_once(system: ActorSystem) -> None:
    observer, _, watched = await start_both(system)
    observer.context.watch(watched)
    observer.context.watch(watched)
    await watched.stop()
    await wait_all_tasks_blocked()

    assert len(observer.seen) == 1


async def test_one_can_watch_again_after_the_end(system: ActorSystem) -> None:
    observer, _, watched = await start_both(system)
    await watched.stop()
    for _ in range(2):
        observer.context.watch(watched)
        await wait_all_tasks_blocked()

    assert len(observer.seen) == 2


async def test_a_watch_that_is_called_off_tells_nothing(system: ActorSystem) -> None:
    observer, ref, watched = await start_both(system)
    observer.context.watch(watched)
    observer.context.unwatch(watched)
    observer.context.unwatch(watched)
    observer.context.unwatch(ref)
    await watched.stop()
    await wait_all_tasks_blocked()

    assert observer.seen == []


async def test_calling_one_watch_off_leaves_the_others(system: ActorSystem) -> None:
    observer, _, watched = await start_both(system)
    heard: list[str] = []
    observer.context.watch(watched)
    unwatch = watched.on_down(heard.append)
    unwatch()
    unwatch()
    await watched.stop()
    await wait_all_tasks_blocked()

    assert heard == []
    assert len(observer.seen) == 1


async def test_an_observer_that_ends_watches_no_more(system: ActorSystem) -> None:
    observer, ref, watched = await start_both(system)
    observer.context.watch(watched)
    await ref.stop()
    await watched.stop()

    assert system.ledger().accepted == 0, "nobody is told, not even as a dead letter"


async def test_an_actor_that_watches_itself_is_not_told_when_it_is_gone(system: ActorSystem) -> None:
    observer, ref, _ = await start_both(system)
    observer.context.watch(ref)
    await ref.stop()

    assert observer.seen == []


async def test_a_parent_may_watch_its_children(system: ActorSystem) -> None:
    class Parent(Observer):
        async def pre_start(self) -> None:
            child = await self.context.actor_of(Clerk, "child")
            self.context.watch(child)

    parent = Parent()
    ref = await system.actor_of(lambda: parent, "parent")
    await parent.context.children["child"].stop()
    await wait_all_tasks_blocked()
    assert parent.seen == [Terminated("parent/child", "stopped")]
    await ref.stop()


async def test_no_end_is_missed_however_many_actors_end_at_once(system: ActorSystem) -> None:
    """The bound of the signal lane is for pings from afar. Watches are bounded by who asked for them."""
    observer, ref, _ = await start_both(system)
    many = SIGNAL_CAPACITY + 10
    await ref.tell(Hold())
    await wait_all_tasks_blocked()
    for number in range(many):
        other = await system.actor_of(Observer, f"other-{number}")
        await other.stop()
        observer.context.watch(other)
    observer.gate.set()
    await wait_all_tasks_blocked()

    assert sum(isinstance(message, Terminated) for message in observer.seen) == many


# --- as a block ---------------------------------------------------------------------------------


async def test_the_end_of_the_actor_ends_the_block(system: ActorSystem, nursery: trio.Nursery) -> None:
    ref = await system.actor_of(Clerk, "clerk")

    async def stop_later() -> None:
        await wait_all_tasks_blocked()
        await ref.stop()

    nursery.start_soon(stop_later)
    with pytest.raises(PeerDown, match="actor 'clerk' is down: stopped") as caught:
        async with ref.watch():
            await trio.sleep_forever()

    assert (caught.value.actor_id, caught.value.reason) == ("clerk", "stopped")


async def test_a_block_that_is_done_before_the_actor_ends_just_ends(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    async with ref.watch():
        await trio.lowlevel.checkpoint()
    await ref.stop()


async def test_a_block_is_not_entered_when_the_actor_has_ended(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    await ref.kill()
    entered = False

    with pytest.raises(PeerDown, match="actor 'clerk' is down: killed"):
        async with ref.watch():
            entered = True

    assert not entered


async def test_a_block_that_finished_as_the_actor_ended_is_no_error(system: ActorSystem) -> None:
    """What it wanted to do is done."""
    ref = await system.actor_of(Clerk, "clerk")
    async with ref.watch():
        with trio.CancelScope(shield=True):
            await ref.stop()


async def test_an_exception_of_the_block_itself_comes_out_bare(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    with pytest.raises(KeyError):
        async with ref.watch():
            await trio.lowlevel.checkpoint()
            raise KeyError


async def test_a_block_that_is_cancelled_from_outside_is_not_down(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    with trio.move_on_after(0) as scope:
        async with ref.watch():
            await trio.sleep_forever()

    assert scope.cancelled_caught


async def test_blocks_nest(system: ActorSystem, nursery: trio.Nursery) -> None:
    first = await system.actor_of(Clerk, "first")
    second = await system.actor_of(Clerk, "second")

    async def stop_later() -> None:
        await wait_all_tasks_blocked()
        await first.stop()

    nursery.start_soon(stop_later)
    with pytest.raises(PeerDown, match="actor 'first' is down"):
        async with first.watch(), second.watch():
            await trio.sleep_forever()


async def test_a_watch_in_a_handler_sees_the_block_end(system: ActorSystem) -> None:
    down: list[str] = []

    class Guard(Actor):
        async def receive(self, message: ActorRef) -> None:
            try:
                async with message.watch():
                    await trio.sleep_forever()
            except PeerDown as error:
                down.append(error.reason)

    clerk = await system.actor_of(Clerk, "clerk")
    guard = await system.actor_of(Guard, "guard")
    await guard.tell(clerk)
    await wait_all_tasks_blocked()
    await clerk.stop()
    await wait_all_tasks_blocked()

    assert down == ["stopped"]
