"""The writer of a connection: what is sent at once, from where it is said, and what waits for its task."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from cbor2 import CBORTag, loads
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from tests.trioactor.cast import Fail, Hold, Note, Read
from trioactor.codec import Codec
from trioactor.envelope import Envelope, Told
from trioactor.errors import DeliveryError
from trioactor.frames import Goodbye, Ping
from trioactor.framing import BEGIN, PIECE
from trioactor.ledger import Tally
from trioactor.limits import Limits
from trioactor.outbox import KEPT_CHANNELS, Outbox
from trioactor.vocabulary import Vocabulary
from trioactor.writer import AT_ONCE_BYTES, Writer


class Asker:
    """Nobody answers it here."""

    def succeed(self, value: Any) -> None:
        raise AssertionError(value)

    def fail(self, error: DeliveryError) -> None:
        raise AssertionError(error)


class NoRefs:
    def wire_ref(self, ref: Any) -> list[Any]:
        raise AssertionError(ref)

    def ref_of(self, fields: Any) -> Any:
        raise AssertionError(fields)


class Resigned(Asker):
    """It expects no answer."""

    def fail(self, error: DeliveryError) -> None:
        pass


class Desk(trio.abc.SendStream):
    """A writer, the outbox that it empties, and the stream that it writes to.

    Attributes:
        at_once: What was sent at once.
        in_turn: What was sent by the writer's task.
        room: So many more bytes are taken at once.
    """

    def __init__(self) -> None:
        self.at_once = b""
        self.in_turn = b""
        self.room = 1_000_000
        limits = Limits()
        self.codec = Codec(Vocabulary([Note, Hold, Read, Fail]), limits, NoRefs(), b"8 bytes!")
        self.tally = Tally()
        self.outbox = Outbox(
            self.codec,
            limits,
            self.tally,
            lambda *_: None,
            wake=lambda at_once: self.writer.wake(at_once=at_once),
            cancel=lambda ask: None,
        )
        stream = trio.StapledStream(self, memory_stream_pair()[0])
        self.writer = Writer(stream, self.outbox, limits, lambda: None, lambda size: None)
        self.writer.send_now = self._send_now
        self.outbox.open((100, 1_000_000), 1_000_000, together=True)

    def _send_now(self, data: bytes) -> bytes | None:
        count = min(self.room, len(data))
        self.room -= count
        self.at_once += data[:count]
        return data[count:] or None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.in_turn += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def ask(self, message: Any, actor_id: str = "clerk") -> None:
        assert self.outbox.offer(actor_id, Envelope(message, reply_to=Asker()))

    def tell(self, message: Any) -> None:
        assert self.outbox.offer("clerk", Told(message))

    def answer(self, value: Any, *, is_the_only_one: bool = True) -> None:
        self.writer.answer(self.codec.encode_answer(1, value, None), is_the_only_one=is_the_only_one)


def frames(data: bytes) -> list[Any]:
    """What was sent, as cbor2 reads it."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        found.append(loads(data[4:end]))
        data = data[end:]
    return found


def question(number: int, name: str = "tests.read", *fields: Any) -> list[Any]:
    return ["clerk", CBORTag(27, (name, fields)), {"ask": number}]


@asynccontextmanager
async def resting_writer() -> AsyncIterator[Desk]:
    """One whose task has nothing to do; at the end everything is written."""
    desk = Desk()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.writer.run)
        await wait_all_tasks_blocked()
        yield desk
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_a_question_that_is_the_only_one_is_sent_where_it_is_asked() -> None:
    async with resting_writer() as desk:
        desk.ask(Read())

        assert frames(desk.at_once) == [question(1)]
        assert (desk.writer.sends, desk.writer.written, desk.tally.sent) == (1, len(desk.at_once), 1)
        assert desk.outbox.queued == 0
    assert desk.in_turn == b"", "the task was not woken"


async def test_actors_whose_only_message_was_never_sent_take_no_memory_without_bound(
    autojump_clock: MockClock,
) -> None:
    """Withdrawn, or expired while it waited for the connection."""
    desk = Desk()
    for number in range(KEPT_CHANNELS):
        given_up = Envelope(Read(), reply_to=Asker())
        assert desk.outbox.offer(f"first-{number}", given_up)
        late = Envelope(Read(), reply_to=Resigned(), expires_at=trio.current_time() + 1)
        assert desk.outbox.offer(f"second-{number}", late)
        desk.outbox.withdraw(given_up)
    await trio.sleep(2)

    assert desk.outbox.take() is None
    assert len(desk.outbox._channels) <= KEPT_CHANNELS


async def test_actors_that_have_answered_take_no_memory_without_bound() -> None:
    async with resting_writer() as desk:
        for number in range(2 * KEPT_CHANNELS):
            desk.ask(Read(), f"actor-{number}")
            assert desk.outbox.answered(number + 1) is not None
        assert len(desk.outbox._channels) <= KEPT_CHANNELS


async def test_questions_beside_an_open_one_go_together() -> None:
    async with resting_writer() as desk:
        desk.ask(Read())
        desk.ask(Read())
        desk.ask(Read())

        assert frames(desk.at_once) == [question(1)]
        await wait_all_tasks_blocked()
        assert frames(desk.in_turn) == [question(2), question(3)]
        assert desk.writer.sends == 2


async def test_an_answer_that_is_the_only_one_is_sent_where_it_is_given() -> None:
    async with resting_writer() as desk:
        desk.answer(5)
        desk.answer(6, is_the_only_one=False)

        assert frames(desk.at_once) == [[1, 1, 5]]
    assert frames(desk.in_turn) == [[1, 1, 6]]


async def test_tells_wait_for_each_other_and_a_question_behind_them_for_its_place() -> None:
    async with resting_writer() as desk:
        desk.tell(Note(1))
        desk.tell(Note(2))
        desk.ask(Read())

        assert desk.at_once == b""
    assert frames(desk.in_turn) == [[14, "clerk", "tests.note", [[1], [2]]], question(1)]


async def test_what_the_kernel_does_not_take_at_once_is_sent_by_the_task_and_in_order() -> None:
    async with resting_writer() as desk:
        desk.room = 10
        desk.ask(Read())
        desk.writer.say(Codec.encode_control(Ping(1)))
        desk.tell(Note(1))

        assert len(desk.at_once) == 10
        assert desk.tally.sent == 0
    sent = frames(desk.at_once + desk.in_turn)
    assert sent == [question(1), [5, 1], ["clerk", CBORTag(27, ("tests.note", (1,)))]]
    assert desk.tally.sent == 2


async def test_what_is_long_is_sent_by_the_task() -> None:
    async with resting_writer() as desk:
        desk.answer("x" * AT_ONCE_BYTES)

        assert desk.at_once == b""
        await wait_all_tasks_blocked()
        assert frames(desk.in_turn) == [[1, 1, "x" * AT_ONCE_BYTES]]
        desk.answer("y")
        assert frames(desk.at_once) == [[1, 1, "y"]]


async def test_what_is_too_long_for_one_frame_of_the_peers_is_sent_by_the_task() -> None:
    async with resting_writer() as desk:
        desk.writer.frame_bytes = 1024
        desk.answer("x" * 2000)
        desk.ask(Fail("y" * 2000))

        assert desk.at_once == b""
        await wait_all_tasks_blocked()
    kinds = [frame[0] for frame in frames(desk.in_turn)]
    assert kinds == [BEGIN, PIECE, PIECE, BEGIN, PIECE, PIECE]


async def test_nothing_is_sent_at_once_before_last_words() -> None:
    async with resting_writer() as desk:
        desk.writer.finish(lambda: Codec.encode_control(Goodbye("done", [])))
        desk.answer(5)

        assert desk.at_once == b""
    assert frames(desk.in_turn) == [[1, 1, 5], [13, "done", []]]
