"""Every message is accounted for: in the ledger, as a dead letter, and in the report of a drain."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.trioactor.cast import Clerk, Hold, Note, Read
from trioactor import Actor, ActorRef, ActorSystem, DeadLetter, Ledger, MailboxSettings, NotDelivered


class Stage(Actor):
    """A stage of a pipeline: passes notes on, each a little later."""

    def __init__(self, following: ActorRef | None, seconds: float = 1) -> None:
        self.following = following
        self.seconds = seconds
        self.diary: list[int] = []

    async def receive(self, message: Note) -> None:
        await trio.sleep(self.seconds)
        self.diary.append(message.number)
        if self.following is not None:
            await self.following.tell(message)


async def start_pipeline(system: ActorSystem, stages: int) -> tuple[list[Stage], ActorRef]:
    """Start stages with room for one message each; return them and the ref of the first."""
    actors: list[Stage] = []
    ref: ActorRef | None = None
    for number in range(stages):
        actors.append(Stage(ref))
        ref = await system.actor_of(lambda: actors[-1], f"stage-{number}", mailbox=MailboxSettings(1))
    assert ref is not None
    return actors, ref


# --- the ledger ---------------------------------------------------------------------------------


async def test_the_ledger_says_where_messages_are(system: ActorSystem) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    assert str(system.ledger()) == "no messages"

    await ref.tell(Hold())
    await ref.tell(Note(1))
    assert str(system.ledger()) == "accepted 2, queued 2"
    await wait_all_tasks_blocked()
    assert str(system.ledger()) == "accepted 2, queued 1, in_hand 1"
    clerk.gate.set()
    await wait_all_tasks_blocked()
    assert str(system.ledger()) == "accepted 2, handled 2"


# --- dead letters -------------------------------------------------------------------------------


async def test_dead_letters_can_be_subscribed_to(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    with system.dead_letters() as letters:
        await ref.tell(Hold())
        await wait_all_tasks_blocked()
        await ref.tell(Note(1))
        await ref.kill()
        await ref.tell(Note(2))

        assert [letters.receive_nowait() for _ in range(2)] == [
            DeadLetter("clerk", Note(1), "it has ended"),
            DeadLetter("clerk", Note(2), "it has ended"),
        ]
        with pytest.raises(trio.WouldBlock):
            letters.receive_nowait()


async def test_a_subscription_can_be_waited_on(system: ActorSystem, nursery: trio.Nursery) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    await ref.stop()
    seen: list[Any] = []

    async def read() -> None:
        with system.dead_letters() as letters:
            async for letter in letters:
                seen.append(letter.message)
                if len(seen) == 2:
                    break

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    for number in (1, 2, 3):
        await ref.tell(Note(number))
    await wait_all_tasks_blocked()

    assert seen == [Note(1), Note(2)]


async def test_a_subscription_is_bounded_and_counts_what_it_missed(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    await ref.stop()
    with system.dead_letters(capacity=2) as letters:
        for number in range(5):
            await ref.tell(Note(number))

        assert letters.missed == 3
        assert [letters.receive_nowait().message.number for _ in range(2)] == [0, 1]


async def test_each_subscriber_gets_every_letter(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    await ref.stop()
    with system.dead_letters() as first, system.dead_letters() as second:
        await ref.tell(Note(1))
        assert first.receive_nowait() == second.receive_nowait()


async def test_a_subscription_ends_with_its_system(nursery: trio.Nursery) -> None:
    seen: list[Any] = []
    system = ActorSystem("hub")

    async def read() -> None:
        with system.dead_letters() as letters:
            async for letter in letters:
                seen.append(letter.message)

    async with trio.open_nursery() as readers:
        readers.start_soon(read)
        await wait_all_tasks_blocked()
        async with system:
            ref = await system.actor_of(Clerk, "clerk")
            ref.tell_nowait(Note(1))
            await ref.stop()

    assert seen == [Note(1)]


async def test_a_message_after_the_end_of_the_system_disturbs_no_subscriber() -> None:
    system = ActorSystem("hub")
    with system.dead_letters() as letters:
        async with system:
            ref = await system.actor_of(Clerk, "clerk")
        await ref.tell(Note(1))
        with pytest.raises(NotDelivered):
            await ref.ask(Read())

        with pytest.raises(trio.EndOfChannel):
            letters.receive_nowait()
    assert system.ledger().dead == 2


# --- drain --------------------------------------------------------------------------------------


async def test_drain_of_an_idle_system_returns_at_once(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    await ref.tell(Note(1))
    await wait_all_tasks_blocked()

    report = await system.drain()

    assert isinstance(report, Ledger)
    assert (report.accepted, report.handled) == (1, 1)


async def test_drain_of_an_empty_system_returns_at_once(system: ActorSystem) -> None:
    assert str(await system.drain()) == "no messages"


async def test_a_pipeline_runs_dry_from_its_head_to_its_end(autojump_clock: MockClock) -> None:
    async with ActorSystem("hub") as system, trio.open_nursery() as nursery:
        stages, head = await start_pipeline(system, 3)
        for number in range(10):
            nursery.start_soon(head.tell, Note(number))
        await wait_all_tasks_blocked()

        with trio.fail_after(60):
            report = await system.drain()

    assert [sorted(stage.diary) for stage in stages] == [list(range(10))] * 3
    assert report.handled == report.accepted == 30


async def test_outsiders_are_refused_while_and_after_the_system_drains(autojump_clock: MockClock) -> None:
    async with ActorSystem("hub") as system, trio.open_nursery() as nursery:
        _, ref = await start_pipeline(system, 1)
        await ref.tell(Note(1))
        await wait_all_tasks_blocked()
        nursery.start_soon(system.drain)
        await wait_all_tasks_blocked()

        for _ in ("while", "after"):
            with pytest.raises(NotDelivered, match="system 'hub' is draining: it takes no more messages"):
                await ref.tell(Note(2))
            with pytest.raises(NotDelivered):
                ref.tell_nowait(Note(2))
            with pytest.raises(NotDelivered):
                await ref.ask(Read())
            await trio.sleep(5)

    assert (system.ledger().handled, system.ledger().returned) == (1, 6)


async def test_a_stopped_stage_during_a_drain_does_not_hold_it_up(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """The last messages of all may end with the actor, and not in its hands."""
    async with ActorSystem("hub") as system:
        clerk = await system.actor_of(Clerk, "clerk")
        await clerk.tell(Hold())
        await clerk.tell(Note(1))
        await wait_all_tasks_blocked()

        async def kill_later() -> None:
            await trio.sleep(1)
            await clerk.kill()

        nursery.start_soon(kill_later)
        with trio.fail_after(10):
            report = await system.drain()

    assert (report.cancelled, report.returned) == (1, 1)


async def test_a_question_given_up_during_a_drain_does_not_hold_it_up(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Putting(Clerk):
        async def receive(self, message: Any) -> Any:
            self.context.stash()

    async with ActorSystem("hub") as system:
        ref = await system.actor_of(Putting, "clerk")

        async def ask() -> None:
            with trio.move_on_after(3):
                await ref.ask(Read())

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        with trio.fail_after(10):
            report = await system.drain()

    assert report.expired == 1


async def test_two_may_drain_at_once(autojump_clock: MockClock) -> None:
    async with ActorSystem("hub") as system:
        _, ref = await start_pipeline(system, 1)
        await ref.tell(Note(1))
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(system.drain)
                nursery.start_soon(system.drain)
        await system.drain()

    assert system.ledger().handled == 1


async def test_a_cancelled_drain_gives_back_what_waits(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    outcomes: list[Any] = []
    clerk = Clerk()

    async def ask(ref: ActorRef) -> None:
        with pytest.raises(NotDelivered, match="did not get the message: system 'hub' is draining") as caught:
            await ref.ask(Read())
        outcomes.append(caught.value)

    async with ActorSystem("hub") as system:
        ref = await system.actor_of(lambda: clerk, "clerk", mailbox=MailboxSettings(2))
        await ref.tell(Hold(1))
        await wait_all_tasks_blocked()
        await ref.tell(Note(2))
        nursery.start_soon(ask, ref)
        await wait_all_tasks_blocked()
        nursery.start_soon(ref.tell, Note(3))
        await wait_all_tasks_blocked()

        with trio.move_on_after(5) as patience:
            await system.drain()
        await wait_all_tasks_blocked()

        assert patience.cancelled_caught
        assert len(outcomes) == 1
        assert (system.ledger().returned, system.ledger().in_hand, system.ledger().queued) == (3, 1, 0)
        clerk.gate.set()

    assert clerk.diary == [1], "what was in hand went on"


async def test_actors_still_talk_to_each_other_after_a_cancelled_drain(autojump_clock: MockClock) -> None:
    async with ActorSystem("hub") as system:
        stages, head = await start_pipeline(system, 2)
        await head.tell(Note(1))
        with trio.move_on_after(0.5):
            await system.drain()
        await trio.sleep(5)

        assert stages[0].diary == [1]


async def test_a_background_task_of_an_actor_is_no_outsider(autojump_clock: MockClock) -> None:
    class Busy(Clerk):
        async def receive(self, message: Any) -> Any:
            if isinstance(message, Note) and message.number < 3:
                self.context.start_soon(self.context.ref.tell, Note(message.number + 1))
                await trio.sleep(1)
            return await super().receive(message)

    clerk = Busy()
    async with ActorSystem("hub") as system:
        ref = await system.actor_of(lambda: clerk, "clerk")
        await ref.tell(Note(1))
        await wait_all_tasks_blocked()
        await system.drain()

    assert clerk.diary == [1, 2, 3]


async def test_a_drain_passes_the_send_middleware_that_was_there(autojump_clock: MockClock) -> None:
    seen: list[Any] = []

    async def log(envelope: Any, call_next: Any) -> Any:
        seen.append(envelope.message)
        return await call_next(envelope)

    async with ActorSystem("hub", send=[log]) as system:
        _, head = await start_pipeline(system, 2)
        await head.tell(Note(1))
        await wait_all_tasks_blocked()
        await system.drain()

    assert seen == [Note(1), Note(1)]


async def test_timers_do_not_keep_a_system_from_draining(autojump_clock: MockClock) -> None:
    class Ticking(Clerk):
        async def pre_start(self) -> None:
            self.context.timers.every(1, Note(1))

    async with ActorSystem("hub") as system:
        await system.actor_of(Ticking, "ticking")
        await trio.sleep(3.5)
        with trio.fail_after(10):
            await system.drain()
