"""A ref does the same near and far: one suite, on every transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from tests.trioactor.cast import Clerk, Fail, Hold, Note, Read
from tests.trioactor.certificates import Files
from tests.trioactor.pairs import TRANSPORTS, VOCABULARY, Pair, open_pair, until
from trioactor import (
    Actor,
    ActorRef,
    AskCycle,
    DeliveryError,
    HandlerFailed,
    HealthAck,
    HealthPing,
    Ledger,
    MailboxFull,
    MailboxSettings,
    NotDelivered,
    PeerDown,
    Rejected,
    Request,
    Terminated,
    message,
)
from trioactor.envelope import Envelope
from trioactor.testing import Probe


@message("refs.decline")
class Decline(Request[None]):
    """Raise `Rejected`."""


@message("refs.introduce")
class Introduce(Request[str]):
    """Ask that actor for its diary, and say how long it is."""

    other: ActorRef


@message("refs.who")
class Who(Request[ActorRef]):
    """Return your own ref."""


@message("refs.twice", eq=False)
class Twice(Request[NDArray[np.float64]]):
    """Return twice the numbers."""

    numbers: NDArray[np.float64]


@message("refs.patience")
class Patience(Request[float]):
    """How much time is left for this question?"""


@message("refs.odd")
class Odd(Request[Any]):
    """Return something that cannot travel."""


WORDS = (*VOCABULARY, Decline, Introduce, Who, Twice, Patience, Odd)


class Helper(Actor):
    """Answers all of these."""

    async def receive(self, message: Any) -> Any:
        match message:
            case Decline():
                raise Rejected("not today")
            case Introduce(other=other):
                return f"{len(await other.ask(Read()))} entries"
            case Who():
                return self.context.ref
            case Twice(numbers=numbers):
                return numbers * 2
            case Patience():
                assert self.context.in_hand is not None
                return self.context.in_hand.expires_at - trio.current_time()
            case Odd():
                return object()


@pytest.fixture(params=TRANSPORTS)
async def pair(request: pytest.FixtureRequest, good: Files) -> AsyncIterator[Pair]:
    with trio.fail_after(10):
        async with open_pair(request.param, good, vocabulary=WORDS) as pair:
            yield pair


async def take_down(outcomes: list[Any], what: Callable[[], Awaitable[Any]]) -> None:
    """Note how it ended."""
    try:
        outcomes.append(await what())
    except DeliveryError as error:
        outcomes.append(error)


# --- tell and ask ---------------------------------------------------------------------------------


async def test_tells_and_asks_of_one_task_are_handled_in_order(pair: Pair) -> None:
    ref = await pair.start(Clerk, "clerk")

    for number in range(300):
        await ref.tell(Note(number))
        if number % 100 == 99:
            assert await ref.ask(Read()) == list(range(number + 1))


async def test_tell_nowait_is_handled_too(pair: Pair) -> None:
    ref = await pair.start(Clerk, "clerk")

    for number in range(100):
        ref.tell_nowait(Note(number))

    assert await ref.ask(Read()) == list(range(100))


@pytest.mark.parametrize("elements", [3, 3_000, 300_000])
async def test_arrays_go_there_and_come_back(pair: Pair, elements: int) -> None:
    """Inline, behind the head, and in pieces."""
    ref = await pair.start(Helper, "helper")
    sent = np.arange(float(elements))

    np.testing.assert_array_equal(await ref.ask(Twice(sent)), sent * 2)


async def test_a_decline_is_the_answer(pair: Pair) -> None:
    ref = await pair.start(Helper, "helper")

    with pytest.raises(Rejected, match=r"^not today$"):
        await ref.ask(Decline())


async def test_what_a_handler_raises_comes_to_the_asker(good: Files) -> None:
    """In every way: that the actor fails as well is another matter, and ends its system here."""
    for transport in TRANSPORTS:
        with pytest.raises(ExceptionGroup) as caught, trio.fail_after(10):
            async with open_pair(transport, good) as pair:
                ref = await pair.start(Clerk, "clerk")
                with pytest.raises(HandlerFailed, match=r"ZeroDivisionError\('on purpose'\)") as failed:
                    await ref.ask(Fail())
                assert pair.near or "ZeroDivisionError: on purpose" in failed.value.details
        assert caught.group_contains(ZeroDivisionError)


async def test_an_answer_that_cannot_travel_is_a_failure_far_away(pair: Pair) -> None:
    ref = await pair.start(Helper, "helper")

    if pair.near:
        assert type(await ref.ask(Odd())) is object
    else:
        with pytest.raises(HandlerFailed, match="the answer cannot be sent"):
            await ref.ask(Odd())


async def test_a_health_ping_is_answered_however_long_the_queue(pair: Pair) -> None:
    clerk = Clerk()
    ref = await pair.start(lambda: clerk, "clerk", MailboxSettings(capacity=3))
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_down, outcomes, lambda: ref.ask(Hold()))
        await until(lambda: pair.there.ledger().in_hand == 1)
        for number in range(10):
            nursery.start_soon(ref.tell, Note(number))
        await until(lambda: pair.there.ledger().queued == 3)
        nursery.start_soon(take_down, outcomes, lambda: ref.ask(HealthPing()))
        await until(lambda: pair.there.ledger().queued == 4)
        clerk.gate.set()

    assert sorted(map(str, outcomes)) == ["0", "HealthAck(actor_id='clerk', queued=3)"]


async def test_a_cycle_of_asks_is_refused_at_once(pair: Pair) -> None:
    """The helper asks an actor here, which asks the helper."""
    helper = await pair.start(Helper, "helper")
    errors: list[Exception] = []

    class Returning(Actor):
        async def receive(self, message: Read) -> list[int]:
            try:
                await helper.ask(Who())
            except AskCycle as error:
                errors.append(error)
            return [1, 2]

    returning = await pair.here.actor_of(Returning, "returning")

    assert await helper.ask(Introduce(returning)) == "2 entries"
    (error,) = errors
    assert str(error) == "helper -> returning -> helper: each would wait for the next for ever"


# --- refs in messages -----------------------------------------------------------------------------


async def test_a_ref_in_a_message_leads_back(pair: Pair) -> None:
    """Over the connection that it came by: the asking system does not listen."""
    helper = await pair.start(Helper, "helper")
    clerk = await pair.here.actor_of(Clerk, "clerk")
    await clerk.tell(Note(1))

    assert await helper.ask(Introduce(clerk)) == "1 entries"


async def test_a_ref_in_an_answer_is_the_ref_that_one_has(pair: Pair) -> None:
    helper = await pair.start(Helper, "helper")

    received = await helper.ask(Who())

    assert received == helper
    assert hash(received) == hash(helper)
    assert received.actor_id == "helper"
    assert received.address == helper.address
    assert await received.ask(HealthPing()) == HealthAck("helper", 0)


async def test_a_ref_that_comes_home_is_a_near_one(pair: Pair) -> None:
    echo = await Probe.start(pair.there, "echo", answer=lambda message: message.other)
    mine = await pair.here.actor_of(Clerk, "clerk")

    returned: Any = await pair.ref("echo").ask(Introduce(mine))

    assert returned.address is None
    assert returned.actor_id == "clerk"
    await returned.tell(Note(3))
    assert await mine.ask(Read()) == [3]
    assert echo.received == [Introduce(mine)] or not pair.near


# --- nobody there ---------------------------------------------------------------------------------


async def test_a_question_to_nobody_is_not_delivered(pair: Pair) -> None:
    with pytest.raises(NotDelivered, match=r"'nobody'.*there is no such actor, or it has ended"):
        await pair.ref("nobody").ask(Read())


async def test_a_tell_to_nobody_is_a_dead_letter(pair: Pair) -> None:
    with pair.there.dead_letters() as letters:
        await pair.ref("nobody").tell(Note(1))
        letter = await letters.__anext__()

    assert letter.actor_id == "nobody"
    assert letter.message == Note(1)
    assert pair.there.ledger().dead == 1


# --- stopping, killing, watching ------------------------------------------------------------------


async def test_stop_returns_when_the_actor_has_ended(pair: Pair) -> None:
    clerk = Clerk()
    ref = await pair.start(lambda: clerk, "clerk")
    await ref.ask(Read())

    await ref.stop()

    assert clerk.life == ["pre_start", "post_stop"]
    with pytest.raises(NotDelivered):
        await ref.ask(Read())


async def test_kill_ends_a_handler(pair: Pair) -> None:
    clerk = Clerk()
    ref = await pair.start(lambda: clerk, "clerk")
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_down, outcomes, lambda: ref.ask(Hold()))
        await until(lambda: pair.there.ledger().in_hand == 1)
        await ref.kill()

    (error,) = outcomes
    assert isinstance(error, HandlerFailed)
    assert str(error) == "actor 'clerk' was ended while it handled the message"


async def test_stopping_what_has_ended_is_fine(pair: Pair) -> None:
    ref = await pair.start(Clerk, "clerk")
    await ref.stop()
    await ref.stop()
    await ref.kill()


async def test_the_end_of_an_actor_ends_the_block_that_watches_it(pair: Pair) -> None:
    ref = await pair.start(Clerk, "clerk")

    with pytest.raises(PeerDown, match="actor 'clerk' is down: stopped"):
        async with ref.watch():
            await ref.stop()
            await trio.sleep_forever()


async def test_watching_nobody_ends_the_block(pair: Pair) -> None:
    with pytest.raises(PeerDown, match="there is no such actor"):
        async with pair.ref("nobody").watch():
            await trio.sleep_forever()


async def test_a_block_that_watches_may_end_by_itself(pair: Pair) -> None:
    ref = await pair.start(Clerk, "clerk")
    async with ref.watch():
        assert await ref.ask(Read()) == []
    await ref.stop()


async def test_an_actor_gets_a_message_about_the_end_of_another(pair: Pair) -> None:
    ref = await pair.start(Clerk, "clerk")
    probe = await Probe.start(pair.here, "probe")
    await until(lambda: hasattr(probe, "context"))
    probe.context.watch(ref)
    await ref.ask(Read())

    await ref.stop()

    where = "" if pair.near else f"{pair.host}:{pair.port}/"
    assert await probe.expect(Terminated) == Terminated(f"{where}clerk", "stopped")


# --- time -----------------------------------------------------------------------------------------


async def test_the_time_that_is_left_travels_with_a_question(pair: Pair) -> None:
    ref = await pair.start(Helper, "helper")

    with trio.fail_after(5):
        left = await ref.ask(Patience())

    assert 4.5 < left <= 5


async def busy(pair: Pair, ref: ActorRef, nursery: trio.Nursery) -> None:
    """Have the clerk hold."""
    nursery.start_soon(take_down, [], lambda: ref.ask(Hold()))
    await until(lambda: pair.there.ledger().in_hand == 1)


async def test_a_question_that_waits_past_its_deadline_is_never_handled(pair: Pair) -> None:
    clerk = Clerk()
    ref = await pair.start(lambda: clerk, "clerk")
    async with trio.open_nursery() as nursery:
        await busy(pair, ref, nursery)
        with trio.move_on_after(0.05) as scope:
            await ref.ask(Hold(7))
        await until(lambda: pair.there.ledger().queued == 0)
        clerk.gate.set()

    assert scope.cancelled_caught
    assert await ref.ask(Read()) == [0]
    ledger = pair.there.ledger()
    assert ledger.expired + ledger.cancelled == 1, "whichever comes first: its deadline, or word of it"


async def test_a_question_that_nobody_waits_for_is_taken_out_of_the_queue(pair: Pair) -> None:
    clerk = Clerk()
    ref = await pair.start(lambda: clerk, "clerk")
    async with trio.open_nursery() as nursery:
        await busy(pair, ref, nursery)
        async with trio.open_nursery() as asking:
            asking.start_soon(ref.ask, Hold(7))
            await until(lambda: pair.there.ledger().queued == 1)
            asking.cancel_scope.cancel()
        await until(lambda: pair.there.ledger().queued == 0)
        clerk.gate.set()

    assert await ref.ask(Read()) == [0]
    assert pair.there.ledger().cancelled == 1


async def test_an_answer_that_comes_too_late_is_counted(pair: Pair) -> None:
    clerk = Clerk()
    ref = await pair.start(lambda: clerk, "clerk")
    async with trio.open_nursery() as asking:
        await busy(pair, ref, asking)
        asking.cancel_scope.cancel()
    await ref.tell(Note(1))

    clerk.gate.set()

    assert await ref.ask(Read()) == [0, 1]
    systems = {pair.here, pair.there}
    assert sum(system.ledger().late_replies for system in systems) == 1


# --- room -----------------------------------------------------------------------------------------


async def test_a_sender_waits_for_a_slow_actor_and_for_nobody_else(pair: Pair) -> None:
    """A thousand messages do not pile up before an actor that takes none."""
    clerk = Clerk()
    stuck = await pair.start(lambda: clerk, "stuck", MailboxSettings(capacity=10))
    quick = await pair.start(Clerk, "quick")
    told = 0

    async def tell_on_and_on() -> None:
        nonlocal told
        for number in range(5000):
            await stuck.tell(Note(number))
            told += 1

    async with trio.open_nursery() as nursery:
        await busy(pair, stuck, nursery)
        nursery.start_soon(tell_on_and_on)
        await until(lambda: told >= 10)
        for number in range(2000):
            await quick.tell(Note(number))
        assert await quick.ask(Read()) == list(range(2000))
        assert told < 2000
        clerk.gate.set()

    assert await stuck.ask(Read()) == [0, *range(5000)]


async def test_a_question_is_told_that_a_mailbox_rejects_it(pair: Pair) -> None:
    clerk = Clerk()
    ref = await pair.start(lambda: clerk, "clerk", MailboxSettings(capacity=1, when_full="reject"))
    async with trio.open_nursery() as nursery:
        await busy(pair, ref, nursery)
        await ref.tell(Note(1))
        await until(lambda: pair.there.ledger().queued == 1)
        with pytest.raises(MailboxFull, match="the mailbox of actor 'clerk' is full"):
            await ref.ask(Read())
        clerk.gate.set()

    assert await ref.ask(Read()) == [0, 1]


# --- middleware -----------------------------------------------------------------------------------


async def test_headers_of_middleware_travel_and_both_chains_can_drop(good: Files) -> None:
    for transport in TRANSPORTS:
        seen: list[Any] = []

        async def stamp(envelope: Envelope, call_next: Callable[..., Awaitable[Any]]) -> Any:
            return await call_next(envelope.with_changes(headers={"trace": "abc"}))

        async def look(
            envelope: Envelope, call_next: Callable[..., Awaitable[Any]], seen: list[Any] = seen
        ) -> Any:
            seen.append(dict(envelope.headers))
            return None if envelope.message == Note(13) else await call_next(envelope)

        with trio.fail_after(10):
            async with open_pair(transport, good, send=[stamp], receive=[look]) as pair:
                ref = await pair.start(Clerk, "clerk")
                await ref.tell(Note(1))
                await ref.tell(Note(13))
                assert await ref.ask(Read()) == [1]
                assert pair.there.ledger().dropped == 1
        assert seen == [{"trace": "abc"}] * 3, transport


# --- accounts -------------------------------------------------------------------------------------


async def test_both_sides_account_for_every_message(pair: Pair) -> None:
    ref = await pair.start(Clerk, "clerk")
    for number in range(50):
        await ref.tell(Note(number))
    await ref.ask(Read())
    await pair.ref("nobody").tell(Note(0))
    await until(lambda: pair.there.ledger().dead == 1)

    there, here = pair.there.ledger(), pair.here.ledger()

    assert (there.handled, there.dead, there.queued) == (51, 1, 0)
    if not pair.near:
        assert here == Ledger(**{**dict.fromkeys(Ledger.__dataclass_fields__, 0), "accepted": 52, "sent": 52})
