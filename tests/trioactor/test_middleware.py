"""Middleware sees every message on its way, on either side, and may change or drop it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.trioactor.cast import Clerk, Fail, Hold, Note, Read
from trioactor import (
    ActorRef,
    ActorSystem,
    HandlerFailed,
    HealthAck,
    MailboxSettings,
    NotDelivered,
    Rejected,
    message,
)
from trioactor.cell import Cell
from trioactor.envelope import Envelope
from trioactor.middleware import CallNext, Chain, Dropped, Middleware


@message("tests.secret")
class Secret:
    """Not for everybody."""


class Log:
    """A middleware that writes down what passes in both directions."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = lines

    async def __call__(self, envelope: Envelope, call_next: CallNext) -> Any:
        self.lines.append(f"{self.name}> {envelope.message}")
        result = await call_next(envelope)
        self.lines.append(f"{self.name}< {result}")
        return result


async def drop_secrets(envelope: Envelope, call_next: CallNext) -> Any:
    if isinstance(envelope.message, Secret):
        return None
    return await call_next(envelope)


async def double(envelope: Envelope, call_next: CallNext) -> Any:
    if isinstance(envelope.message, Note):
        envelope = envelope.with_changes(message=Note(envelope.message.number * 2))
    return await call_next(envelope)


async def tag(envelope: Envelope, call_next: CallNext) -> Any:
    return await call_next(envelope.with_changes(headers={**envelope.headers, "tag": "blue"}))


async def fail(envelope: Envelope, call_next: CallNext) -> Any:
    raise PermissionError("not you")


async def pause(envelope: Envelope, call_next: CallNext) -> Any:
    await trio.sleep(0.01)
    return await call_next(envelope)


class Curious(Clerk):
    """Keeps the headers of what it handles."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[dict[str, Any]] = []

    async def receive(self, message: Any) -> Any:
        assert self.context.in_hand is not None
        self.headers.append(dict(self.context.in_hand.headers))
        return await super().receive(message)


# --- the send side ------------------------------------------------------------------------------


async def test_a_send_middleware_sees_tells_and_asks_with_their_answers() -> None:
    lines: list[str] = []
    async with ActorSystem("hub", send=[Log("a", lines), Log("b", lines)]) as system:
        ref = await system.actor_of(Clerk, "clerk")
        await ref.tell(Note(1))
        ref.tell_nowait(Note(2))
        assert await ref.ask(Read()) == [1, 2]

    assert lines == [
        *("a> Note(number=1)", "b> Note(number=1)", "b< None", "a< None"),
        *("a> Note(number=2)", "b> Note(number=2)", "b< None", "a< None"),
        *("a> Read()", "b> Read()", "b< [1, 2]", "a< [1, 2]"),
    ]


async def test_a_send_middleware_may_change_the_message_and_the_headers() -> None:
    curious = Curious()
    async with ActorSystem("hub", send=[double, tag]) as system:
        ref = await system.actor_of(lambda: curious, "curious")
        await ref.tell(Note(1))
        ref.tell_nowait(Note(2))
        assert await ref.ask(Read()) == [2, 4]

    assert curious.headers == [{"tag": "blue"}] * 3


async def test_a_message_without_headers_has_none() -> None:
    curious = Curious()
    async with ActorSystem("hub") as system:
        ref = await system.actor_of(lambda: curious, "curious")
        await ref.ask(Read())

    assert curious.headers == [{}]


async def test_a_tell_that_is_dropped_is_counted() -> None:
    async with ActorSystem("hub", send=[drop_secrets]) as system:
        ref = await system.actor_of(Clerk, "clerk")
        await ref.tell(Secret())
        ref.tell_nowait(Secret())
        await ref.tell(Note(1))
        assert await ref.ask(Read()) == [1]

    assert (system.ledger().accepted, system.ledger().dropped) == (4, 2)


async def test_a_question_that_is_dropped_was_not_delivered_and_it_is_said_by_whom() -> None:
    lines: list[str] = []
    async with ActorSystem("hub", send=[Log("log", lines), drop_secrets]) as system:
        ref = await system.actor_of(Clerk, "clerk")
        with pytest.raises(NotDelivered, match="dropped by the middleware drop_secrets"):
            await ref.ask(Secret())  # type: ignore[arg-type]  # a plain message may be asked too

    assert system.ledger().dropped == 1


async def test_what_a_send_middleware_raises_comes_to_the_sender() -> None:
    async with ActorSystem("hub", send=[fail]) as system:
        ref = await system.actor_of(Clerk, "clerk")
        with pytest.raises(PermissionError):
            await ref.tell(Note(1))
        with pytest.raises(PermissionError):
            ref.tell_nowait(Note(1))
        with pytest.raises(PermissionError):
            await ref.ask(Read())

    assert system.ledger().accepted == 0


async def test_a_send_middleware_that_waits_makes_the_sender_wait(autojump_clock: MockClock) -> None:
    async with ActorSystem("hub", send=[pause]) as system:
        ref = await system.actor_of(Clerk, "clerk")
        before = trio.current_time()
        await ref.tell(Note(1))
        assert await ref.ask(Read()) == [1]

        assert trio.current_time() - before == pytest.approx(0.02)


async def test_tell_nowait_cannot_pass_a_middleware_that_waits() -> None:
    async with ActorSystem("hub", send=[pause]) as system:
        ref = await system.actor_of(Clerk, "clerk")
        with pytest.raises(RuntimeError, match=r"use `await ref"):
            ref.tell_nowait(Note(1))
        assert await ref.ask(Read()) == []


async def test_a_middleware_that_waits_is_gone_without_trace_when_tell_nowait_gives_up() -> None:
    """What it waited for must not wake the task that only tried."""
    event = trio.Event()

    async def wait(envelope: Envelope, call_next: CallNext) -> Any:
        await event.wait()
        return await call_next(envelope)

    async with ActorSystem("hub", send=[wait]) as system:
        ref = await system.actor_of(Clerk, "clerk")
        with pytest.raises(RuntimeError, match=r"use `await ref"):
            ref.tell_nowait(Note(1))

        assert event.statistics().tasks_waiting == 0
        event.set()
        await wait_all_tasks_blocked()
        assert await ref.ask(Read()) == []


@pytest.mark.parametrize("chain", [[], [Log("log", [])]])
async def test_tell_nowait_into_a_full_mailbox_is_refused_with_and_without_middleware(
    chain: list[Middleware],
) -> None:
    async with ActorSystem("hub", send=chain) as system:
        ref = await system.actor_of(Clerk, "clerk", mailbox=MailboxSettings(1))
        await ref.tell(Hold())
        await wait_all_tasks_blocked()
        ref.tell_nowait(Note(1))
        with pytest.raises(NotDelivered, match="actor 'clerk'"):
            ref.tell_nowait(Note(2))
        await ref.kill()

    assert system.ledger().accepted == 2


async def test_a_tell_through_middleware_waits_for_room(nursery: trio.Nursery) -> None:
    clerk = Clerk()
    async with ActorSystem("hub", send=[tag]) as system:
        ref = await system.actor_of(lambda: clerk, "clerk", mailbox=MailboxSettings(1))
        await ref.tell(Hold(1))
        await wait_all_tasks_blocked()
        await ref.tell(Note(2))
        nursery.start_soon(ref.tell, Note(3))
        await wait_all_tasks_blocked()
        assert system.ledger().accepted == 2
        clerk.gate.set()
        await wait_all_tasks_blocked()

    assert clerk.diary == [1, 2, 3]


async def test_a_cancelled_question_leaves_the_queue_through_middleware(autojump_clock: MockClock) -> None:
    """It is the changed envelope that waits there, not the one that the chain began with."""
    async with ActorSystem("hub", send=[tag]) as system:
        ref = await system.actor_of(Clerk, "clerk")
        await ref.tell(Hold())
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await ref.ask(Read())
        assert (system.ledger().queued, system.ledger().expired) == (0, 1)
        await ref.kill()


async def test_a_send_middleware_may_ask_again_what_was_not_delivered() -> None:
    attempts: list[int] = []
    refs: list[ActorRef] = []

    async def insist(envelope: Envelope, call_next: CallNext) -> Any:
        while True:
            attempts.append(len(attempts))
            try:
                return await call_next(envelope)
            except Rejected:
                pass

    class Moody(Clerk):
        async def receive(self, message: Any) -> Any:
            if len(attempts) < 3:
                raise Rejected("ask again")
            return len(attempts)

    async with ActorSystem("hub", send=[insist]) as system:
        refs.append(await system.actor_of(Moody, "moody"))
        with trio.fail_after(5):
            answer: object = await refs[0].ask(Hold())
        assert answer == 3

    assert (system.ledger().rejected, system.ledger().handled) == (2, 1)


async def test_a_send_middleware_may_lose_patience_and_ask_again(autojump_clock: MockClock) -> None:
    """The late answer to the first attempt is not taken for that to the second."""

    async def impatient(envelope: Envelope, call_next: CallNext) -> Any:
        with trio.move_on_after(1):
            return await call_next(envelope)
        return await call_next(envelope)

    class Slow(Clerk):
        async def receive(self, message: Any) -> Any:
            self.diary.append(len(self.diary))
            await trio.sleep(3 if len(self.diary) == 1 else 0)
            return self.diary[-1]

    async with ActorSystem("hub", send=[impatient]) as system:
        ref = await system.actor_of(Slow, "slow")
        with trio.fail_after(60):
            answer: object = await ref.ask(Hold())
        assert answer == 1

    assert (system.ledger().handled, system.ledger().late_replies) == (2, 1)


# --- the receive side ---------------------------------------------------------------------------


async def test_a_receive_middleware_surrounds_the_handler() -> None:
    lines: list[str] = []
    async with ActorSystem("hub", receive=[Log("a", lines), Log("b", lines)]) as system:
        ref = await system.actor_of(Clerk, "clerk")
        await ref.tell(Note(1))
        assert await ref.ask(Read()) == [1]

    assert lines[:4] == ["a> Note(number=1)", "b> Note(number=1)", "b< None", "a< None"]
    assert lines[4:] == ["a> Read()", "b> Read()", "b< [1]", "a< [1]"]


async def test_a_receive_middleware_may_change_message_headers_and_answer() -> None:
    async def read_backwards(envelope: Envelope, call_next: CallNext) -> Any:
        answer = await call_next(envelope)
        return answer[::-1] if isinstance(answer, list) else answer

    curious = Curious()
    async with ActorSystem("hub", receive=[double, tag, read_backwards]) as system:
        ref = await system.actor_of(lambda: curious, "curious")
        await ref.tell(Note(1))
        await ref.tell(Note(2))
        assert await ref.ask(Read()) == [4, 2]

    assert curious.headers == [{"tag": "blue"}] * 3


async def test_a_receive_middleware_may_drop_a_message() -> None:
    clerk = Clerk()
    async with ActorSystem("hub", receive=[drop_secrets]) as system:
        ref = await system.actor_of(lambda: clerk, "clerk")
        await ref.tell(Secret())
        with pytest.raises(NotDelivered, match="actor 'clerk' did not get the message: dropped by the midd"):
            await ref.ask(Secret())  # type: ignore[arg-type]  # see above
        await ref.tell(Note(1))
        assert await ref.ask(Read()) == [1]

    assert system.ledger().dropped == 2


async def test_a_receive_middleware_that_raises_fails_the_message_as_the_handler_would() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem("hub", receive=[fail]) as system:
            ref = await system.actor_of(Clerk, "clerk")
            with pytest.raises(HandlerFailed):
                await ref.ask(Read())

    assert caught.group_contains(PermissionError)
    assert system.ledger().failed == 1


async def test_a_receive_middleware_may_reject() -> None:
    async def guard(envelope: Envelope, call_next: CallNext) -> Any:
        raise Rejected("no entry")

    async with ActorSystem("hub", receive=[guard]) as system:
        ref = await system.actor_of(Clerk, "clerk")
        with pytest.raises(Rejected, match="no entry"):
            await ref.ask(Read())


async def test_a_receive_middleware_sees_a_failure_of_the_handler() -> None:
    seen: list[str] = []

    async def observe(envelope: Envelope, call_next: CallNext) -> Any:
        try:
            return await call_next(envelope)
        except Exception as error:
            seen.append(repr(error))
            raise

    with pytest.raises(ExceptionGroup):
        async with ActorSystem("hub", receive=[observe]) as system:
            ref = await system.actor_of(Clerk, "clerk")
            await ref.tell(Fail("oops"))
            await trio.sleep_forever()

    assert seen == ["ZeroDivisionError('oops')"]


async def test_a_question_is_answered_later_through_receive_middleware() -> None:
    class Later(Clerk):
        async def receive(self, message: Any) -> Any:
            self.context.reply_later().send("later")

    async with ActorSystem("hub", receive=[tag, double]) as system:
        ref = await system.actor_of(Later, "later")
        assert await ref.ask(Read()) == "later"  # type: ignore[comparison-overlap]  # what it says


async def test_a_stashed_message_comes_back_through_receive_middleware() -> None:
    """As it was put in: the middleware sees it again, and changes it once, not twice."""

    class Patient(Clerk):
        async def receive(self, message: Any) -> Any:
            if isinstance(message, Note) and not self.gate.is_set():
                self.context.stash()
                return None
            if isinstance(message, Hold):
                self.gate.set()
                self.context.unstash_all()
                return None
            return await super().receive(message)

    async with ActorSystem("hub", receive=[double]) as system:
        ref = await system.actor_of(Patient, "patient")
        await ref.tell(Note(1))
        await ref.tell(Hold())
        assert await ref.ask(Read()) == [2]


async def test_health_pings_and_middleware_have_nothing_to_do_with_each_other() -> None:
    """A ping says whether the handlers are stuck. What the middleware drops is no sign of that."""

    async def drop_everything(envelope: Envelope, call_next: CallNext) -> Any:
        return None

    async with ActorSystem("hub", receive=[drop_everything], send=[drop_everything]) as system:
        clerk = await system.actor_of(Clerk, "clerk")
        cell = clerk._target  # as supervisors know it
        assert isinstance(cell, Cell)
        assert await cell.ping() == HealthAck("clerk", queued=0)


# --- the chain by itself ------------------------------------------------------------------------


async def test_the_one_who_drops_is_named() -> None:
    class Sieve:
        async def __call__(self, envelope: Envelope, call_next: CallNext) -> Any:
            return None

    async def last(envelope: Envelope) -> str:
        return "arrived"

    assert await Chain([tag]).run(Envelope(1), last) == "arrived"
    assert await Chain([]).run(Envelope(1), last) == "arrived"
    with pytest.raises(Dropped, match=r"Sieve$"):
        await Chain([tag, Sieve(), tag]).run(Envelope(1), last)
