"""Whatever is cancelled, at whatever point: nothing is lost, nothing is left over, nothing is half done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.trioactor.cancelling import Quiet, Scenario, Stage, cancel_everywhere
from tests.trioactor.cast import Clerk, Fail, Hold, Note, Read
from trioactor import (
    Actor,
    ActorRef,
    ActorSystem,
    Backoff,
    ChildSpec,
    DeliveryError,
    HealthPing,
    MailboxSettings,
    NotDelivered,
    PeerDown,
    Supervisor,
)
from trioactor.envelope import Envelope
from trioactor.middleware import CallNext

SEEDS = range(3)  # each is another order of the tasks


async def busy_clerk(stage: Stage, capacity: int = 1) -> tuple[Clerk, ActorRef]:
    """A clerk that holds `Hold(0)` in hand until its gate is opened."""
    clerk, ref = await stage.clerk("clerk", MailboxSettings(capacity))
    await ref.tell(Hold(0))
    await wait_all_tasks_blocked()
    return clerk, ref


# --- the scenarios ------------------------------------------------------------------------------


async def tell_with_room(stage: Stage) -> None:
    clerk, ref = await stage.clerk("clerk")
    with stage.act():
        await ref.tell(Note(1))
    await stage.settle()
    assert clerk.diary == ([1] if stage.acted else [])


async def tell_into_a_full_mailbox(stage: Stage) -> None:
    clerk, ref = await busy_clerk(stage)
    await ref.tell(Note(1))
    stage.soon(clerk.gate.set)
    with stage.act():
        await ref.tell(Note(2))
    await stage.settle()
    assert clerk.diary == ([0, 1, 2] if stage.acted else [0, 1]), "a cancelled tell was not sent"


async def tell_among_other_waiting_senders(stage: Stage) -> None:
    clerk, ref = await busy_clerk(stage)
    await ref.tell(Note(1))
    stage.nursery.start_soon(ref.tell, Note(2))
    await wait_all_tasks_blocked()
    stage.soon(clerk.gate.set)
    with stage.act():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.tell, Note(3))
            await trio.lowlevel.checkpoint()
            nursery.start_soon(ref.tell, Note(4))
    stage.nursery.start_soon(ref.tell, Note(5))
    await stage.settle()
    assert [n for n in clerk.diary if n not in (3, 4)] == [0, 1, 2, 5]
    assert not stage.acted or sorted(clerk.diary) == [0, 1, 2, 3, 4, 5]


async def tell_an_actor_that_is_killed(stage: Stage) -> None:
    _, ref = await busy_clerk(stage)
    await ref.tell(Note(1))

    async def kill() -> None:
        await trio.lowlevel.checkpoint()
        await ref.kill()

    stage.nursery.start_soon(kill)
    with stage.act():
        await ref.tell(Note(2))
    await wait_all_tasks_blocked()
    assert stage.system.ledger().dead == (2 if stage.acted else 1), "a cancelled tell was not sent"


async def ask_an_idle_actor(stage: Stage) -> None:
    _, ref = await stage.clerk("clerk")
    await ref.tell(Note(1))
    with stage.act():
        assert await ref.ask(Read()) == [1]
    await stage.settle()
    ledger = stage.system.ledger()
    assert stage.acted or ledger.cancelled + ledger.late_replies + (ledger.accepted == 1) == 1


async def ask_a_busy_actor(stage: Stage) -> None:
    clerk, ref = await busy_clerk(stage)
    stage.soon(clerk.gate.set)
    with stage.act():
        assert await ref.ask(Hold(1)) == 1
    await stage.settle()
    if not stage.acted and clerk.diary == [0, 1]:
        assert stage.system.ledger().late_replies == 1, "it ran, and nobody took its answer"


async def ask_with_a_full_mailbox(stage: Stage) -> None:
    clerk, ref = await busy_clerk(stage)
    await ref.tell(Note(1))
    stage.soon(clerk.gate.set)
    with stage.act():
        assert await ref.ask(Read()) == [0, 1]
    await stage.settle()


async def ask_through_a_chain_of_actors(stage: Stage) -> None:
    class Clerks(Actor):
        def __init__(self, following: ActorRef) -> None:
            self.following = following

        async def receive(self, message: Read) -> list[int]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.lowlevel.checkpoint)
                return await self.following.ask(message)

    ref: ActorRef
    _, ref = await stage.clerk("clerk")
    await ref.tell(Note(1))
    for name in "ab":
        ref = await stage.system.actor_of(lambda ref=ref: Clerks(ref), name)  # type: ignore[misc]
    with stage.act():
        assert await ref.ask(Read()) == [1]


async def ask_for_a_sign_of_life(stage: Stage) -> None:
    clerk, ref = await busy_clerk(stage)
    stage.soon(clerk.gate.set)
    with stage.act():
        assert (await ref.ask(HealthPing())).actor_id == "clerk"


async def ask_what_is_stashed_and_answered_later(stage: Stage) -> None:
    class Slow(Actor):
        stashed = False

        async def receive(self, message: Hold | Note) -> None:
            if isinstance(message, Note):
                self.context.unstash_all()
            elif not self.stashed:
                self.stashed = True
                self.context.stash()
            else:
                self.context.start_soon(self.answer, self.context.reply_later())

        async def answer(self, reply: Any) -> None:
            await trio.sleep(1)
            reply.send(7)

    ref = await stage.system.actor_of(Slow, "slow")

    async def unstash() -> None:
        await trio.sleep(1)
        await ref.tell(Note(1))

    stage.nursery.start_soon(unstash)
    with stage.act():
        assert await ref.ask(Hold()) == 7
    await trio.sleep(5)


async def ask_with_a_deadline(stage: Stage) -> None:
    _, ref = await busy_clerk(stage)
    with stage.act():
        with trio.move_on_after(2) as patience:
            await ref.ask(Hold(1))
        assert patience.cancelled_caught
    assert stage.system.ledger().queued == 0


async def start_an_actor(stage: Stage) -> None:
    with stage.act():
        await stage.clerk("new")
    await stage.settle()
    found = stage.system.find("new")
    assert (found is not None) == stage.acted or stage.clerks[0].life == ["pre_start", "post_stop"]


async def start_an_actor_that_has_nothing_to_prepare(stage: Stage) -> None:
    with stage.act():
        await stage.system.actor_of(Quiet, "new")
    await stage.settle()
    assert (stage.system.find("new") is not None) == stage.acted


async def start_an_actor_with_children_that_takes_its_time(stage: Stage) -> None:
    class Parent(Clerk):
        async def pre_start(self) -> None:
            await self.context.actor_of(lambda: child, "child")
            self.context.start_soon(trio.sleep_forever)
            await trio.sleep(3)
            await self.context.actor_of(Quiet, "other")
            await super().pre_start()

    child, parent = Clerk(), Parent()
    stage.clerks += [child, parent]
    with stage.act():
        await stage.system.actor_of(lambda: parent, "parent")
    await stage.settle()
    alive = [stage.system.find(name) is not None for name in ("parent", "parent/child", "parent/other")]
    assert alive == [stage.acted] * 3, "all of it, or nothing"


async def start_an_actor_that_fails(stage: Stage) -> None:
    class Broken(Clerk):
        async def pre_start(self) -> None:
            await self.context.actor_of(Clerk, "child")
            await trio.lowlevel.checkpoint()
            raise OSError("no key")

    with stage.act(), pytest.raises(OSError, match="no key"):
        await stage.system.actor_of(Broken, "broken")
    await stage.settle()
    assert stage.system.find("broken") is None
    assert stage.system.find("broken/child") is None


async def stop_a_busy_actor_with_children(stage: Stage) -> None:
    class Parent(Clerk):
        async def pre_start(self) -> None:
            for name in ("one", "two"):
                await self.context.actor_of(lambda: children[name], name)  # noqa: B023  # called at once
            await super().pre_start()

        async def post_stop(self) -> None:
            await trio.sleep(1)
            await super().post_stop()

    children = {"one": Clerk(), "two": Clerk()}
    parent = Parent()
    stage.clerks += [parent, *children.values()]
    ref = await stage.system.actor_of(lambda: parent, "parent")
    await ref.tell(Hold(1))
    await ref.tell(Note(2))
    await wait_all_tasks_blocked()
    stage.soon(parent.gate.set)
    with stage.act():
        await ref.stop()
    await stage.settle()
    await trio.sleep(2)
    assert stage.system.find("parent") is None, "the order was given, whoever waits for it"
    assert parent.diary == [1], "what was in hand was finished, the next one was not begun"


async def kill_a_busy_actor(stage: Stage) -> None:
    clerk, ref = await busy_clerk(stage)
    await ref.tell(Note(1))
    with stage.act():
        await ref.kill()
    await wait_all_tasks_blocked()
    assert stage.system.find("clerk") is None
    assert clerk.diary == []


async def watch_an_actor_that_ends(stage: Stage) -> None:
    _, ref = await stage.clerk("clerk")
    down = False

    async def stop() -> None:
        await trio.sleep(1)
        await ref.stop()

    stage.nursery.start_soon(stop)
    with stage.act():
        try:
            async with ref.watch():
                await trio.sleep_forever()
        except PeerDown:
            down = True
    assert down == stage.acted


async def watch_from_an_actor(stage: Stage) -> None:
    class Observer(Quiet):
        async def pre_start(self) -> None:
            self.context.watch(ref)

    _, ref = await stage.clerk("clerk")
    with stage.act():
        await stage.system.actor_of(Observer, "observer")
        await ref.stop()


async def drain_a_pipeline(stage: Stage) -> None:
    class Pass(Actor):
        async def receive(self, message: Note) -> None:
            await trio.sleep(0.01)
            await ref.tell(message)

    _, ref = await stage.clerk("clerk", MailboxSettings(1))
    head = await stage.system.actor_of(Pass, "head", mailbox=MailboxSettings(2))
    for number in (1, 2):
        await head.tell(Note(number))
    stage.nursery.start_soon(head.tell, Note(3))
    await wait_all_tasks_blocked()
    with stage.act():
        report = await stage.system.drain()
        assert report.accepted == report.handled == 6
    assert stage.system.ledger().queued == 0, "all done, or given back at once"
    await trio.sleep(20)
    with pytest.raises(NotDelivered):
        await ref.tell(Note(4))
    ledger = stage.system.ledger()
    assert ledger.accepted == ledger.ended, "what waited has been given back, what was in hand has ended"
    assert ledger.handled == (6 if stage.acted else ledger.handled)


async def talk_to_supervised_actors_that_fail(stage: Stage) -> None:
    specs = [
        ChildSpec(Clerk, "one", mailbox=MailboxSettings(2)),
        ChildSpec(lambda: stage.clerks[0], "two", restart="temporary"),
    ]
    stage.clerks.append(Clerk())
    supervisor = await stage.system.actor_of(
        lambda: Supervisor(specs, strategy="one_for_all", backoff=Backoff(first_seconds=1)), "supervisor"
    )
    one = stage.system.find("supervisor/one")
    assert one is not None
    with stage.act():
        await one.tell(Fail())
        await one.tell(Note(1))
        await one.tell(Note(2))
        assert await one.ask(Read()) == [1, 2]
        try:
            await one.ask(Fail())
        except DeliveryError:
            await supervisor.stop()
    await trio.sleep(10)


SCENARIOS: list[Scenario] = [
    tell_with_room,
    tell_into_a_full_mailbox,
    tell_among_other_waiting_senders,
    tell_an_actor_that_is_killed,
    ask_an_idle_actor,
    ask_a_busy_actor,
    ask_with_a_full_mailbox,
    ask_through_a_chain_of_actors,
    ask_for_a_sign_of_life,
    ask_what_is_stashed_and_answered_later,
    ask_with_a_deadline,
    start_an_actor,
    start_an_actor_that_has_nothing_to_prepare,
    start_an_actor_with_children_that_takes_its_time,
    stop_a_busy_actor_with_children,
    kill_a_busy_actor,
    watch_an_actor_that_ends,
    watch_from_an_actor,
    drain_a_pipeline,
    talk_to_supervised_actors_that_fail,
]


async def pass_on(envelope: Envelope, call_next: CallNext) -> Any:
    """A middleware that makes another envelope."""
    return await call_next(envelope.with_changes(headers={"seen": True}))


def plain() -> ActorSystem:
    return ActorSystem("plain")


def with_middleware() -> ActorSystem:
    return ActorSystem("with middleware", send=[pass_on], receive=[pass_on])


@pytest.mark.parametrize("make_system", [plain, with_middleware])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_act_may_be_cancelled_at_every_point(
    scenario: Scenario, make_system: Callable[[], ActorSystem]
) -> None:
    for seed in SEEDS:
        assert cancel_everywhere(scenario, seed, make_system, whole_block=False) > 0


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_block_may_be_cancelled_at_every_point(scenario: Scenario) -> None:
    for seed in SEEDS:
        assert cancel_everywhere(scenario, seed, plain, whole_block=True) > 0


@pytest.mark.parametrize("whole_block", [False, True])
def test_a_start_that_fails_may_be_cancelled_at_every_point(whole_block: bool) -> None:
    """Its failure goes to whoever waits for the start, or else comes out of the block."""
    for seed in SEEDS:
        cancel_everywhere(
            start_an_actor_that_fails, seed, plain, whole_block=whole_block, may_raise=(OSError,)
        )
