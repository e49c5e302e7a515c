"""An actor can change what it does with messages, and put some aside for later."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.trioactor.cast import Note, Read
from trioactor import (
    Actor,
    ActorSystem,
    MailboxSettings,
    NotDelivered,
    Rejected,
    StashFull,
    Terminated,
    message,
)


@message("tests.knock")
class Knock:
    """Open the door, or close it."""


@message("tests.leave")
class Leave:
    """Call unbecome, even if there is nothing to go back to."""


class Door(Actor):
    """While closed it puts everything aside but `Knock`."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def receive(self, message: Any) -> Any:
        match message:
            case Knock():
                self.context.become(self.closed)
            case Read():
                return list(self.seen)
            case Leave():
                self.context.unbecome()
            case _:
                self.seen.append(getattr(message, "number", message))
        return None

    async def closed(self, message: Any) -> None:
        if isinstance(message, Knock):
            self.context.unbecome()
            self.context.unstash_all()
        else:
            self.context.stash()


async def start(system: ActorSystem, capacity: int = 1024) -> tuple[Door, Any]:
    door = Door()
    ref = await system.actor_of(lambda: door, "door", mailbox=MailboxSettings(capacity))
    await wait_all_tasks_blocked()
    return door, ref


# --- become -------------------------------------------------------------------------------------


class Layers(Actor):
    """Each note adds a layer, which notes its number; `Leave` takes one off."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    async def receive(self, message: Any) -> None:
        await self.layer(0, message)

    async def layer(self, depth: int, message: Any) -> None:
        if isinstance(message, Note):
            self.seen.append((depth, message.number))

            async def next_layer(message: Any) -> None:
                await self.layer(depth + 1, message)

            self.context.become(next_layer)
        else:
            self.context.unbecome()


async def test_a_new_behaviour_holds_from_the_next_message_on(system: ActorSystem) -> None:
    actor = Layers()
    ref = await system.actor_of(lambda: actor, "layers")
    for told in (Note(1), Note(2), Leave(), Note(3), Leave(), Leave(), Note(4)):
        await ref.tell(told)
    await wait_all_tasks_blocked()

    assert actor.seen == [(0, 1), (1, 2), (1, 3), (0, 4)]


async def test_unbecome_without_a_become_is_an_error() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("test") as system:
            ref = await system.actor_of(Door, "door")
            await ref.tell(Leave())
            await trio.sleep_forever()

    assert caught.group_contains(RuntimeError, match="unbecome without a become before it")


async def test_a_behaviour_can_be_chosen_before_the_first_message(system: ActorSystem) -> None:
    class Shut(Door):
        async def pre_start(self) -> None:
            self.context.become(self.closed)

    ref = await system.actor_of(Shut, "door")
    await ref.tell(Note(1))
    await wait_all_tasks_blocked()

    assert system.ledger().queued == 1


# --- stash --------------------------------------------------------------------------------------


async def test_stashed_messages_come_back_in_their_order_and_before_newer_ones(system: ActorSystem) -> None:
    door, ref = await start(system)
    await ref.tell(Knock())
    for number in (1, 2, 3):
        await ref.tell(Note(number))
    await wait_all_tasks_blocked()
    assert (door.seen, system.ledger().queued) == ([], 3)

    await ref.tell(Knock())
    await ref.tell(Note(4))

    assert await ref.ask(Read()) == [1, 2, 3, 4]


async def test_what_is_stashed_again_keeps_its_place(system: ActorSystem) -> None:
    _, ref = await start(system)
    await ref.tell(Knock())
    for told in (Note(1), Note(2)):
        await ref.tell(told)
    said: list[Knock | Note] = [Knock(), Knock(), Note(3), Knock()]
    for one in said:  # opened, and closed before anything is handled
        await ref.tell(one)

    assert await ref.ask(Read()) == [1, 2, 3]


async def test_the_asker_of_a_stashed_question_goes_on_waiting(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    _, ref = await start(system)
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await ref.ask(Read()))

    await ref.tell(Knock())
    await ref.tell(Note(1))
    await wait_all_tasks_blocked()
    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    assert answers == []
    await ref.tell(Knock())
    await wait_all_tasks_blocked()

    assert answers == [[1]]


async def test_a_cancelled_question_leaves_the_stash(system: ActorSystem, autojump_clock: MockClock) -> None:
    _, ref = await start(system)
    await ref.tell(Knock())
    with trio.move_on_after(1):
        await ref.ask(Read())

    assert (system.ledger().queued, system.ledger().expired) == (0, 1)


async def test_the_stash_is_bounded_by_the_capacity_of_the_mailbox(system: ActorSystem) -> None:
    full: list[StashFull] = []

    class Careful(Door):
        async def closed(self, message: Any) -> None:
            try:
                await super().closed(message)
            except StashFull as error:
                full.append(error)

    ref = await system.actor_of(Careful, "door", mailbox=MailboxSettings(2))
    await ref.tell(Knock())
    for number in (1, 2, 3):
        await ref.tell(Note(number))
    await ref.tell(Knock())

    assert await ref.ask(Read()) == [1, 2]
    (error,) = full
    assert str(error) == "actor 'door' has 2 messages put aside already"


async def test_a_mailbox_may_be_full_beside_a_full_stash(system: ActorSystem, nursery: trio.Nursery) -> None:
    """Together they hold twice the capacity, and no message is lost when they are joined."""
    _, ref = await start(system, capacity=2)
    await ref.tell(Knock())
    for number in (1, 2):
        await ref.tell(Note(number))
    await wait_all_tasks_blocked()
    ref.tell_nowait(Knock())
    ref.tell_nowait(Note(3))
    for number in (4, 5):
        nursery.start_soon(ref.tell, Note(number))
        await trio.lowlevel.checkpoint()
    await wait_all_tasks_blocked()

    seen = await ref.ask(Read())

    assert seen[:3] == [1, 2, 3]
    assert sorted(seen) == [1, 2, 3, 4, 5]


async def test_stash_needs_a_message_in_hand(system: ActorSystem) -> None:
    with pytest.raises(RuntimeError, match=r"stash\(\) outside of a handler: there is no message in hand"):

        class Early(Door):
            async def pre_start(self) -> None:
                self.context.stash()

        await system.actor_of(Early, "door")


async def test_a_message_that_was_stashed_and_then_rejected_is_not_stashed(system: ActorSystem) -> None:
    """Nor is the next one: the wish to put aside goes with the message it was for."""

    class Fickle(Door):
        async def receive(self, message: Any) -> Any:
            if isinstance(message, Knock):
                self.context.stash()
                raise Rejected("I have thought about it")
            return await super().receive(message)

    ref = await system.actor_of(Fickle, "door")
    with pytest.raises(Rejected, match="thought about it"):
        await ref.ask(Knock())  # type: ignore[arg-type]  # a plain message can be asked as well
    await ref.tell(Note(1))
    await wait_all_tasks_blocked()

    assert system.ledger().queued == 0
    with trio.fail_after(1):
        assert await ref.ask(Read()) == [1]


async def test_stashed_signals_come_back_as_messages(system: ActorSystem) -> None:
    door, ref = await start(system)
    other = await system.actor_of(Door, "other")
    door.context.watch(other)
    await ref.tell(Knock())
    await other.stop()
    await wait_all_tasks_blocked()
    await ref.tell(Note(1))
    await ref.tell(Knock())

    assert await ref.ask(Read()) == [Terminated("other", "stopped"), 1]


async def test_a_background_task_may_unstash(system: ActorSystem) -> None:
    """The actor sleeps meanwhile, and has to be woken."""
    door, ref = await start(system)
    await ref.tell(Knock())
    await ref.tell(Note(1))
    await wait_all_tasks_blocked()

    door.context.unbecome()
    door.context.unstash_all()
    await wait_all_tasks_blocked()

    assert door.seen == [1]


async def test_what_is_stashed_when_the_actor_ends_becomes_a_dead_letter(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    _, ref = await start(system)
    errors: list[NotDelivered] = []

    async def ask() -> None:
        with pytest.raises(NotDelivered) as caught:
            await ref.ask(Read())
        errors.append(caught.value)

    await ref.tell(Knock())
    await ref.tell(Note(1))
    nursery.start_soon(ask)
    await wait_all_tasks_blocked()

    await ref.stop()
    await wait_all_tasks_blocked()

    assert system.ledger().dead == 2
    assert len(errors) == 1
