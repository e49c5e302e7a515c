"""A question ends in its answer or in exactly one error that says what to do next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.trioactor.cast import Clerk, Fail, Hold, Note, Read
from trioactor import (
    Actor,
    ActorRef,
    ActorSystem,
    AskCycle,
    DeliveryError,
    Expired,
    HandlerFailed,
    HealthAck,
    HealthPing,
    MailboxFull,
    MailboxSettings,
    NotDelivered,
    Rejected,
    Request,
    message,
)


@message("tests.decline")
class Decline(Request[None]):
    """Raise `Rejected`."""


@message("tests.pass_on")
class PassOn(Request[int]):
    """Ask the first of the names, in one of three ways, to ask the rest. The last one answers 0."""

    names: tuple[str, ...]
    way: str = "directly"


class Asker(Actor):
    """Passes questions on. Every answer is one more than the one it got."""

    def __init__(self, system: ActorSystem) -> None:
        self.system = system
        self.outcomes: list[Any] = []

    async def receive(self, message: PassOn | Decline) -> int:
        match message:
            case Decline():
                raise Rejected("not today")
            case PassOn(names=()):
                return 0
            case PassOn(way="in a nursery"):
                async with trio.open_nursery() as outer, trio.open_nursery() as inner:
                    inner.start_soon(self.pass_on, message)
                    del outer
            case PassOn(way="in the background"):
                self.context.start_soon(self.pass_on, message)
                return 0
            case PassOn():
                await self.pass_on(message)
        if isinstance(self.outcomes[-1], DeliveryError):
            raise Rejected(str(self.outcomes[-1])) from self.outcomes[-1]
        return int(self.outcomes[-1]) + 1

    async def pass_on(self, message: PassOn) -> None:
        ref = self.system.find(message.names[0])
        assert ref is not None
        await ask_forever(ref, PassOn(message.names[1:], message.way), self.outcomes)


async def ask_forever(ref: ActorRef, question: Request[Any], outcomes: list[Any]) -> None:
    """Ask and take down how it ended."""
    try:
        outcomes.append(await ref.ask(question))
    except DeliveryError as error:
        outcomes.append(error)


# --- answers ------------------------------------------------------------------------------------


async def test_the_return_value_is_the_answer(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    await ref.tell(Note(5))

    assert await ref.ask(Read()) == [5]
    assert system.ledger().handled == 2


async def test_an_ask_is_a_checkpoint_even_when_the_answer_is_there(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    await ref.stop()

    with trio.testing.assert_checkpoints(), pytest.raises(NotDelivered):
        await ref.ask(Read())


async def test_questions_of_one_task_are_handled_in_order_with_its_tells(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    for number in range(200):
        await ref.tell(Note(number))
        if number % 50 == 49:
            assert await ref.ask(Read()) == list(range(number + 1))


async def test_a_question_in_a_full_mailbox_waits_for_room(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk", mailbox=MailboxSettings(capacity=1))
    outcomes: list[Any] = []
    await ref.tell(Hold(1))
    await wait_all_tasks_blocked()
    await ref.tell(Note(2))
    nursery.start_soon(ask_forever, ref, Read(), outcomes)
    await wait_all_tasks_blocked()

    clerk.gate.set()
    await wait_all_tasks_blocked()

    assert outcomes == [[1, 2]]


async def test_a_health_ping_is_answered_between_two_messages_by_the_runtime(system: ActorSystem) -> None:
    """`receive` never sees it, and a long queue does not hold it up."""
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    for number in range(10):
        ref.tell_nowait(Note(number))

    ack = await ref.ask(HealthPing())

    assert ack == HealthAck("clerk", queued=10)


async def test_a_health_ping_waits_for_a_stuck_handler(system: ActorSystem, nursery: trio.Nursery) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    outcomes: list[Any] = []
    await ref.tell(Hold())
    await wait_all_tasks_blocked()
    nursery.start_soon(ask_forever, ref, HealthPing(), outcomes)
    await wait_all_tasks_blocked()
    assert outcomes == []

    clerk.gate.set()
    await wait_all_tasks_blocked()

    assert outcomes == [HealthAck("clerk", queued=0)]


async def test_a_health_ping_that_was_given_up_is_not_looked_for(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await ref.tell(Hold(1))
    await wait_all_tasks_blocked()
    with trio.move_on_after(1) as patience:
        await ref.ask(HealthPing())

    clerk.gate.set()

    assert patience.cancelled_caught
    assert await ref.ask(Read()) == [1]


# --- errors -------------------------------------------------------------------------------------


async def test_a_rejected_question_is_no_failure_of_the_actor(system: ActorSystem) -> None:
    ref = await system.actor_of(lambda: Asker(system), "asker")

    with pytest.raises(Rejected, match="not today"):
        await ref.ask(Decline())

    assert await ref.ask(PassOn(())) == 0
    assert (system.ledger().rejected, system.ledger().handled) == (1, 1)


async def test_a_failed_handler_is_told_to_the_asker_with_its_cause() -> None:
    with pytest.raises(ExceptionGroup):
        async with ActorSystem("test") as system:
            ref = await system.actor_of(Clerk, "clerk")
            with pytest.raises(HandlerFailed, match=r"actor 'clerk' failed: ZeroDivisionError: oops$") as e:
                await ref.ask(Fail("oops"))

    assert isinstance(e.value.__cause__, ZeroDivisionError)
    assert system.ledger().failed == 1


@pytest.mark.parametrize("ended", ["before", "while it waits"])
async def test_a_question_to_an_actor_that_ends_was_not_delivered(
    system: ActorSystem, nursery: trio.Nursery, ended: str
) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    outcomes: list[Any] = []
    if ended == "before":
        await ref.stop()
        await ask_forever(ref, Read(), outcomes)
    else:
        await ref.tell(Hold())
        nursery.start_soon(ask_forever, ref, Read(), outcomes)
        await wait_all_tasks_blocked()
        await ref.kill()
        await wait_all_tasks_blocked()

    (error,) = outcomes
    assert isinstance(error, NotDelivered)
    assert str(error) == "actor 'clerk' did not get the message: it has ended"
    assert system.ledger().dead == 1


async def test_a_question_that_waits_for_room_of_an_actor_that_ends_was_not_delivered(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    ref = await system.actor_of(Clerk, "clerk", mailbox=MailboxSettings(capacity=1))
    outcomes: list[Any] = []
    await ref.tell(Hold())
    await wait_all_tasks_blocked()
    await ref.tell(Note(1))
    nursery.start_soon(ask_forever, ref, Read(), outcomes)
    await wait_all_tasks_blocked()

    await ref.kill()
    await wait_all_tasks_blocked()

    assert [type(outcome) for outcome in outcomes] == [NotDelivered]


async def test_a_question_whose_handler_is_killed_has_failed(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    outcomes: list[Any] = []
    nursery.start_soon(ask_forever, ref, Hold(), outcomes)
    await wait_all_tasks_blocked()

    await ref.kill()
    await wait_all_tasks_blocked()

    (error,) = outcomes
    assert isinstance(error, HandlerFailed)
    assert str(error) == "actor 'clerk' was ended while it handled the message"


@pytest.mark.parametrize("when_full", ["drop_newest", "reject"])
async def test_a_question_that_finds_no_room_can_be_asked_again(system: ActorSystem, when_full: Any) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk", mailbox=MailboxSettings(1, when_full))
    await ref.tell(Hold(1))
    await wait_all_tasks_blocked()
    await ref.tell(Note(2))

    with pytest.raises(MailboxFull) as caught:
        await ref.ask(Read())

    assert isinstance(caught.value, NotDelivered), "asking again is safe"
    clerk.gate.set()
    await wait_all_tasks_blocked()
    assert await ref.ask(Read()) == [1, 2]


async def test_a_question_that_is_pushed_out_can_be_asked_again(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    ref = await system.actor_of(Clerk, "clerk", mailbox=MailboxSettings(1, "drop_oldest"))
    outcomes: list[Any] = []
    await ref.tell(Hold())
    await wait_all_tasks_blocked()
    nursery.start_soon(ask_forever, ref, Read(), outcomes)
    await wait_all_tasks_blocked()

    await ref.tell(Note(1))
    await wait_all_tasks_blocked()
    await ref.kill()

    assert [type(outcome) for outcome in outcomes] == [MailboxFull]


# --- giving up ----------------------------------------------------------------------------------


async def test_a_cancelled_question_leaves_the_queue(system: ActorSystem, autojump_clock: MockClock) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await ref.tell(Hold())

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Hold(7))
            await wait_all_tasks_blocked()
            scope.cancel()
    assert (system.ledger().queued, system.ledger().cancelled) == (0, 1)
    clerk.gate.set()
    await wait_all_tasks_blocked()

    assert clerk.diary == [0]


async def test_the_handler_of_a_cancelled_question_goes_on_and_its_reply_is_late(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    with trio.move_on_after(1) as patience:
        await ref.ask(Hold(7))

    clerk.gate.set()
    await wait_all_tasks_blocked()

    assert patience.cancelled_caught
    assert clerk.diary == [7]
    assert (system.ledger().handled, system.ledger().late_replies) == (1, 1)


async def test_a_late_failure_is_a_late_reply_too(autojump_clock: MockClock) -> None:
    class Slow(Clerk):
        async def receive(self, message: Any) -> Any:
            await trio.sleep(5)
            raise Rejected("too late")

    async with ActorSystem("test") as system:
        ref = await system.actor_of(Slow, "slow")
        with trio.move_on_after(1):
            await ref.ask(Read())

    assert (system.ledger().rejected, system.ledger().late_replies) == (1, 1)


async def test_an_answer_that_is_there_is_not_lost_to_a_cancellation(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    """The asker waited for room; before it ran again, its question was handled, and then it is cancelled."""
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk", mailbox=MailboxSettings(capacity=1))
    outcomes: list[Any] = []
    scope = trio.CancelScope()

    class Cancelling(trio.abc.Instrument):
        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            if task.name == "clerk" and system.ledger().handled == 3:
                scope.cancel()

    async def ask() -> None:
        with scope:
            await ask_forever(ref, Read(), outcomes)

    await ref.tell(Hold(1))
    await wait_all_tasks_blocked()
    await ref.tell(Note(2))
    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    trio.lowlevel.add_instrument(Cancelling())
    clerk.gate.set()
    await wait_all_tasks_blocked()

    assert outcomes == [[1, 2]]
    assert system.ledger().late_replies == 0


async def test_a_question_of_a_task_that_is_cancelled_already_is_never_sent(system: ActorSystem) -> None:
    ref = await system.actor_of(Clerk, "clerk")

    with trio.move_on_after(0):
        await ref.ask(Read())
    with trio.move_on_after(0):
        await ref.tell(Note(1))
    await wait_all_tasks_blocked()

    assert system.ledger().accepted == 0


# --- deadlines ----------------------------------------------------------------------------------


async def test_a_question_whose_deadline_passes_in_the_queue_is_never_handled(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    clerk = Clerk()
    ref = await system.actor_of(lambda: clerk, "clerk")
    await ref.tell(Hold(1))

    with pytest.raises(trio.TooSlowError), trio.fail_after(5):
        await ref.ask(Hold(2))
    clerk.gate.set()
    await wait_all_tasks_blocked()

    assert clerk.diary == [1]
    assert (system.ledger().expired, system.ledger().cancelled) == (1, 0)


async def test_the_deadline_of_the_outermost_scope_counts_too(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    ref = await system.actor_of(Clerk, "clerk")
    await ref.tell(Hold(1))
    with trio.move_on_after(3), trio.move_on_after(9), trio.CancelScope():
        await ref.ask(Hold(2))

    assert system.ledger().expired == 1
    await ref.kill()


async def test_a_deadline_that_passes_while_others_are_handled_cancels_and_is_no_error(
    system: ActorSystem, mock_clock: MockClock
) -> None:
    """A handler that computes for long lets time pass without a checkpoint.

    trio's cancellation is on its way then: to turn it into an error would be a race that the caller sees.
    """

    class Busy(Clerk):
        async def receive(self, message: Any) -> Any:
            mock_clock.jump(10)
            return await super().receive(message)

    clerk = Busy()
    ref = await system.actor_of(lambda: clerk, "clerk")
    ref.tell_nowait(Note(1))

    with trio.move_on_after(5) as patience:
        await ref.ask(Hold(2))

    assert patience.cancelled_caught
    assert clerk.diary == [1]
    assert system.ledger().expired == 1


async def test_a_question_is_told_that_it_expired_when_its_asker_has_got_more_time(
    system: ActorSystem, mock_clock: MockClock
) -> None:
    """What travels with a question is the time it was asked with."""

    class Busy(Clerk):
        async def receive(self, message: Any) -> Any:
            patience.deadline += 100
            mock_clock.jump(10)
            return await super().receive(message)

    ref = await system.actor_of(Busy, "clerk")
    ref.tell_nowait(Note(1))

    with (
        trio.move_on_after(5) as patience,
        pytest.raises(Expired, match="the question waited for actor 'clerk'; it never ran"),
    ):
        await ref.ask(Read())

    assert not patience.cancelled_caught


async def test_a_deadline_travels_through_the_handlers_that_ask_in_turn(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    """The handler's own time is not limited by it: the caller's patience is no part of the actor."""
    seen: list[float] = []

    class Looking(Asker):
        async def receive(self, message: Any) -> int:
            assert self.context.in_hand is not None
            seen.append(self.context.in_hand.expires_at - trio.current_time())
            return await super().receive(message)

    for name in "ab":
        await system.actor_of(lambda: Looking(system), name)
    ref = system.find("a")
    assert ref is not None

    with trio.fail_after(5):
        assert await ref.ask(PassOn(("b",))) == 1

    assert seen == [5, float("inf")]


# --- cycles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["directly", "in a nursery"])
@pytest.mark.parametrize("path", ["aa", "aba", "abca", "abcdb"])
async def test_a_cycle_of_asks_raises_at_once(system: ActorSystem, path: str, way: str) -> None:
    """Of any length, and also when it does not close at its beginning."""
    askers = {name: Asker(system) for name in "abcd"}
    refs = {name: await system.actor_of(lambda n=name: askers[n], name) for name in "abcd"}  # type: ignore[misc]

    with pytest.raises(Rejected) as caught:
        await refs[path[0]].ask(PassOn(tuple(path[1:]), way))

    outcomes = [outcome for asker in askers.values() for outcome in asker.outcomes]
    (cycle,) = [outcome for outcome in outcomes if isinstance(outcome, AskCycle)]
    assert str(cycle) == f"{' -> '.join(path)}: each would wait for the next for ever"
    assert str(caught.value) == str(cycle), "each of them passed it on"


async def test_a_path_without_a_cycle_is_asked_to_its_end(system: ActorSystem) -> None:
    for name in "abcd":
        await system.actor_of(lambda: Asker(system), name)
    ref = system.find("a")
    assert ref is not None

    assert await ref.ask(PassOn(("b", "c", "d"))) == 3
    assert await ref.ask(PassOn(("c", "b", "d"), "in a nursery")) == 3


async def test_the_same_actor_may_be_asked_twice_in_a_row(system: ActorSystem) -> None:
    """A chain holds who waits now, not who has ever been asked."""
    for name in "ab":
        await system.actor_of(lambda: Asker(system), name)
    ref = system.find("a")
    assert ref is not None

    assert [await ref.ask(PassOn(("b",))) for _ in range(2)] == [1, 1]


async def test_a_background_task_may_ask_whom_it_likes(system: ActorSystem) -> None:
    """No handler waits for it, so nobody waits for ever: the actor answers between its messages."""
    askers = {name: Asker(system) for name in "ab"}
    for name in "ab":
        await system.actor_of(lambda n=name: askers[n], name)  # type: ignore[misc]
    ref = system.find("a")
    assert ref is not None

    assert await ref.ask(PassOn(("b", "a", "b"), "in the background")) == 0
    await wait_all_tasks_blocked()

    assert askers["a"].outcomes == [0, 0]
    assert askers["b"].outcomes == [0]


async def test_a_cycle_is_found_in_pre_start_and_post_stop_too(system: ActorSystem) -> None:
    found: list[str] = []

    class Selfish(Clerk):
        async def ask_itself(self, when: str) -> None:
            try:
                await self.context.ref.ask(Read())
            except AskCycle:
                found.append(when)

        async def pre_start(self) -> None:
            await self.ask_itself("pre_start")

        async def post_stop(self) -> None:
            await self.ask_itself("post_stop")

    ref = await system.actor_of(Selfish, "selfish")
    await ref.stop()

    assert found == ["pre_start", "post_stop"]


async def test_an_actor_told_by_itself_is_no_cycle(system: ActorSystem) -> None:
    class Loop(Clerk):
        async def receive(self, message: Any) -> Any:
            if isinstance(message, Note) and message.number < 3:
                await self.context.ref.tell(Note(message.number + 1))
            return await super().receive(message)

    ref = await system.actor_of(Loop, "loop")
    await ref.tell(Note(1))
    await wait_all_tasks_blocked()

    assert await ref.ask(Read()) == [1, 2, 3]


async def test_a_refused_cycle_is_accounted_for(system: ActorSystem) -> None:
    await system.actor_of(lambda: Asker(system), "a")
    ref = system.find("a")
    assert ref is not None

    with pytest.raises(Rejected):
        await ref.ask(PassOn(("a",)))

    assert (system.ledger().accepted, system.ledger().rejected) == (2, 2)


# --- answering later ----------------------------------------------------------------------------


class Deferring(Actor):
    """Answers `Hold` when its gate is open, from a background task; `reply` can be looked at."""

    def __init__(self, then: Callable[[Deferring], Any] | None = None) -> None:
        self.gate = trio.Event()
        self.then = then
        self.seen: list[Any] = []
        self.reply: Any = None

    async def receive(self, message: Hold | Note) -> Any:
        if isinstance(message, Note):
            self.seen.append(message.number)
            return None
        self.reply = self.context.reply_later()
        self.context.start_soon(self.answer, message.number, self.reply)
        if self.then is not None:
            self.then(self)
        return "ignored"

    async def answer(self, number: int, reply: Any) -> None:
        await self.gate.wait()
        reply.send(number)


async def test_an_answer_can_come_later_while_other_messages_are_handled(
    system: ActorSystem, nursery: trio.Nursery
) -> None:
    actor = Deferring()
    ref = await system.actor_of(lambda: actor, "deferring")
    outcomes: list[Any] = []
    nursery.start_soon(ask_forever, ref, Hold(5), outcomes)
    await wait_all_tasks_blocked()

    await ref.tell(Note(1))
    await wait_all_tasks_blocked()
    assert (outcomes, actor.seen) == ([], [1])
    actor.gate.set()
    await wait_all_tasks_blocked()

    assert outcomes == [5]


async def test_only_the_first_answer_counts(system: ActorSystem, nursery: trio.Nursery) -> None:
    actor = Deferring()
    ref = await system.actor_of(lambda: actor, "deferring")
    outcomes: list[Any] = []
    nursery.start_soon(ask_forever, ref, Hold(5), outcomes)
    await wait_all_tasks_blocked()

    actor.reply.fail(Rejected("no"))
    actor.reply.send(1)
    actor.gate.set()
    await wait_all_tasks_blocked()

    assert [str(outcome) for outcome in outcomes] == ["no"]


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_an_actor_that_ends_fails_the_answers_that_it_owes(
    system: ActorSystem, nursery: trio.Nursery, how: str
) -> None:
    ref = await system.actor_of(Deferring, "deferring")
    outcomes: list[Any] = []
    nursery.start_soon(ask_forever, ref, Hold(5), outcomes)
    await wait_all_tasks_blocked()

    await (ref.stop() if how == "stop" else ref.kill())
    await wait_all_tasks_blocked()

    (error,) = outcomes
    assert isinstance(error, HandlerFailed)
    assert "actor 'deferring' ended before it answered" in str(error)


async def test_an_owed_answer_has_the_failure_of_the_actor_as_its_cause() -> None:
    def fail(actor: Deferring) -> None:
        raise ZeroDivisionError("after reply_later")

    outcomes: list[Any] = []
    with pytest.raises(ExceptionGroup):
        async with ActorSystem("test") as system:
            ref = await system.actor_of(lambda: Deferring(fail), "deferring")
            await ask_forever(ref, Hold(5), outcomes)

    (error,) = outcomes
    assert isinstance(error, HandlerFailed)
    assert isinstance(error.__cause__, ZeroDivisionError)


async def test_an_answer_to_an_asker_who_has_gone_is_late(
    system: ActorSystem, autojump_clock: MockClock
) -> None:
    actor = Deferring()
    ref = await system.actor_of(lambda: actor, "deferring")
    with trio.move_on_after(1):
        await ref.ask(Hold(5))
    actor.gate.set()
    await wait_all_tasks_blocked()

    assert system.ledger().late_replies == 1


async def test_reply_later_needs_a_question(system: ActorSystem) -> None:
    found: list[RuntimeError] = []

    class Hasty(Actor):
        async def pre_start(self) -> None:
            self.try_it()

        def try_it(self) -> None:
            try:
                self.context.reply_later().send(7)
            except RuntimeError as error:
                found.append(error)

        async def receive(self, message: Any) -> Any:
            self.try_it()
            self.try_it()

    ref = await system.actor_of(Hasty, "hasty")
    await ref.tell(Note(1))
    assert await ref.ask(Hold()) == 7

    assert len(found) == 4, "in pre_start, twice for the tell, and the second time for the ask"
    assert all("needs a question in hand that nobody has answered yet" in str(error) for error in found)
