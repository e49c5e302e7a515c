"""`Connection`: one stream to one peer, from the hello to the end.

Three tasks and no more, whatever goes through: a reader, a writer, and a heart. The reader never waits
for an actor. Whatever a peer sends, it ends its own connection at most. A task that asks one question after
the other sends them and reads the answers by itself, past the writer and the reader: see `direct` and `lead`.
"""

from __future__ import annotations

import logging
import os
import random
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio

from trioactor import framing
from trioactor.codec import ANSWER, Codec, Tail
from trioactor.complaints import Complaints
from trioactor.direct import direct_for, receive_for, receive_into_for
from trioactor.envelope import NO_HEADERS, Envelope
from trioactor.envelope import Peer as Peer  # part of what a connection is
from trioactor.errors import (
    CannotEncode,
    DeliveryError,
    HandlerFailed,
    HandshakeError,
    MessageRefused,
    NotAuthorized,
    NotDelivered,
    WireError,
)
from trioactor.frames import (
    CANCELLED,
    MAX_TEXT_CHARACTERS,
    PROTOCOL,
    Answer,
    Cancel,
    Control,
    Credit,
    Down,
    End,
    Failure,
    Goodbye,
    Hello,
    MessageFrame,
    Ping,
    Pong,
    Tells,
    Unwatch,
    Watch,
)
from trioactor.framing import FrameDecoder, Head, encode_frame
from trioactor.intake import Desk, Intake
from trioactor.lead import Lead
from trioactor.limits import Limits
from trioactor.messages import ChildFailed, Terminated
from trioactor.outbox import Outbox
from trioactor.pace import LOOKS_PER_STALL, Look, Pace
from trioactor.tls import in_plain_words
from trioactor.turns import Turn, Turns
from trioactor.unfinished import Unfinished
from trioactor.unread import Unread
from trioactor.vocabulary import MessageShape
from trioactor.writer import Writer

RECEIVE_BYTES = 64 * 1024

# The longest hello. Who has not said one does not get us to keep more.
HELLO_BYTES = 4 * 1024

# Where the head of a piece is awaited, so much is received at once: the rest goes to its place uncopied.
BETWEEN_BYTES = 4 * 1024

# Below this it is cheaper to receive into a buffer and copy than to receive in place.
IN_PLACE_BYTES = 16 * 1024

# So many frames that do nothing may come between two looks at the peer, every second by default. Pings of one
# that is well-behaved come every few seconds.
MAX_IDLE_FRAMES = 1_000

# A peer may want to hear from us often, but not so often that we do nothing else.
LEAST_BEAT_SECONDS = 0.05

MAX_WATCHES = 1_000  # that a peer may have here
MAX_ENDINGS = 1_000  # actors that a peer may wait for to end
MAX_IN_DOUBT = 10_000  # questions that a goodbye names

# What the runtime of a system says to its own actors. From outside it would be a forgery.
LOCAL_ONLY = frozenset({Terminated, ChildFailed})

# What `authorize` is asked about orders that are no messages.
STOP, KILL, WATCH = "trioactor.stop", "trioactor.kill", "trioactor.watch"


class Watches(Protocol):
    """The side of a link that watches far actors, and waits for them to end."""

    def down(self, watch: int, reason: str) -> None:
        """A watched actor has ended."""

    def ended(self, ask: int, error: DeliveryError | None) -> bool:
        """An actor that was told to end has ended, or cannot. False: nobody asked for that."""


class Home(Desk, Protocol):
    """What a connection needs of its system."""

    @property
    def rng(self) -> random.Random:
        """Where chance comes from."""

    @property
    def log(self) -> logging.Logger:
        """Where it is said what no caller can be told."""

    @property
    def authorize(self) -> Callable[[Peer, str, str], bool] | None:
        """Says whether a peer may send that message, by its wire name, to that actor; None: it may."""


@dataclass(slots=True)
class Counts:
    """What peers did, right or wrong, counted since the system began.

    Attributes:
        turned_away: Connections that did not come past the handshake, or were too many.
        cut_off: Connections that were ended because the peer broke the protocol, was silent or too slow.
        refused: Single messages, by the name of the error: UnknownMessage, BadFields, NotAuthorized.
        received: Bytes that came over connections that have ended.
        written: Bytes that were sent over them.
    """

    turned_away: int = 0
    cut_off: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    received: int = 0
    written: int = 0


class Surroundings(Protocol):
    """What all connections of one system share."""

    @property
    def home(self) -> Home:
        """The system."""

    @property
    def limits(self) -> Limits:
        """Of this side."""

    @property
    def nursery(self) -> trio.Nursery:
        """For tasks that outlive a connection: they put what has come whole into mailboxes."""

    @property
    def counts(self) -> Counts:
        """What peers did wrong."""

    @property
    def unfinished(self) -> Unfinished:
        """The memory that incomplete messages take."""

    @property
    def unread(self) -> Unread:
        """The memory that answers take until peers read them."""

    @property
    def turns(self) -> Turns:
        """Who of the readers goes on."""

    @property
    def complaints(self) -> Complaints:
        """What the log is told of peers."""

    def note_offence(self, address: tuple[str, int]) -> None:
        """A peer that came from there had to be turned away or cut off."""


@dataclass(frozen=True, slots=True)
class Greeted:
    """A stream after the handshake.

    Attributes:
        stream: Plain or TLS.
        hello: What the peer said.
        decoder: With what came behind it.
        address: IP address and port of the other end.
        identity: The names in the peer's certificate.
    """

    stream: trio.abc.Stream
    hello: Hello
    decoder: FrameDecoder
    address: tuple[str, int]
    identity: tuple[str, ...] = ()

    @property
    def peer(self) -> Peer:
        """Who is on the other side."""
        return Peer(self.hello.system, self.hello.incarnation, self.identity, self.address)


async def shake_hands(
    stream: trio.abc.Stream,
    codec: Codec,
    limits: Limits,
    ours: Hello,
    address: tuple[str, int],
    identity: tuple[str, ...] = (),
) -> Greeted:
    """Say hello, and return what the peer says. The caller sets the deadline.

    Raises:
        HandshakeError: It speaks another protocol or version, or none.
        WireError: It sends what is no frame.
        trio.BrokenResourceError: The connection broke.
    """
    await stream.send_all(encode_frame(codec.encode_control(ours)))
    decoder = FrameDecoder(limits)
    decoder.frame_bytes = HELLO_BYTES
    event = None
    while event is None:
        data = await stream.receive_some(RECEIVE_BYTES)
        if not data:
            raise HandshakeError("the peer closed the connection instead of saying hello")
        decoder.feed(bytes(data))
        event = decoder.next_event()
    decoder.frame_bytes = limits.frame_bytes
    hello = codec.decode(event) if isinstance(event, bytes) else None
    if isinstance(hello, Goodbye):
        raise HandshakeError(f"the peer refuses: {hello.reason[:500]}")
    if not isinstance(hello, Hello):
        raise HandshakeError("the first frame of the peer is no hello")
    if hello.protocol != PROTOCOL:
        raise HandshakeError(
            f"the peer {hello.system!r:.100} speaks version {hello.protocol} of the protocol, this side"
            f" version {PROTOCOL}; run the same release on both sides"
        )
    return Greeted(stream, hello, decoder, address, identity)


class Connection:
    """One stream, both ways, after the handshake.

    Args:
        greeted: The stream.
        around: What all connections of the system share.
        codec: Encodes and decodes for this peer.
        outbox: What is to be sent.
        watches: The far actors that this side watches.

    Attributes:
        reason: Why it ended; None while it lives.
        ended: Set when it has ended.
        peer: Who is on the other side.
        received: Bytes that came.
        in_doubt: Of which questions the peer said that they may run still; None if it said no goodbye.
        lead: Which task reads.
    """

    def __init__(
        self,
        greeted: Greeted,
        around: Surroundings,
        codec: Codec,
        outbox: Outbox,
        watches: Watches,
    ) -> None:
        limits = around.limits
        stream = greeted.stream
        self.reason: str | None = None
        self.ended = trio.Event()
        self.peer = greeted.peer
        self.received = 0
        self.in_doubt: list[int] | None = None
        self.writer = Writer(
            stream,
            outbox,
            limits,
            too_many=self._cut_off_for_not_reading,
            note_unread=lambda size: around.unread.note(self._cut_off, size),
        )
        self.writer.frame_bytes = min(self.writer.frame_bytes, greeted.hello.frame_bytes)
        self._stream = stream
        self._receive_some = receive_for(stream)
        self._receive_into = receive_into_for(stream)
        self._around = around
        self._home = around.home
        self._codec = codec
        self._limits = limits
        self._outbox = outbox
        self._watches = watches
        self._hello = greeted.hello
        self._decoder = greeted.decoder
        self._intake = Intake(around.home, limits, around.nursery, self, self.peer)
        self._nursery: trio.Nursery | None = None
        self._pending: tuple[MessageFrame | Answer, Tail] | None = None
        self._unwatch: dict[int, Callable[[], None]] = {}
        self._pings = 0
        self._turn = Turn(around.turns)
        self.lead = Lead()
        # Only where it does no harm when they are cancelled: over TLS, to receive can mean to send.
        self._others_may_read = isinstance(stream, trio.SocketStream)
        self._has_answered = False  # what was read last has answered the last question that was open
        self._fault: Exception | None = None  # that another has met who has read in the reader's place
        self._idle_frames = 0  # that have come since the last look at the peer
        self._endings = 0  # actors that the peer waits for to end
        self._noted = False  # whether something unfinished of this peer is on the books
        self._has_left = False  # its goodbye is written
        self._handlers: dict[type, Callable[[Any], None]] = {
            MessageFrame: self._on_message,
            Tells: self._on_tells,
            Answer: self._on_answer,
            Failure: self._on_failure,
            Cancel: self._on_cancel,
            Credit: self._on_credit,
            Ping: self._on_ping,
            Pong: self._on_pong,
            Watch: self._on_watch,
            Unwatch: self._on_unwatch,
            Down: self._on_down,
            End: self._on_end,
            Goodbye: self._on_goodbye,
        }

    # --- to the end ---------------------------------------------------------------------------------

    async def run(self) -> str:
        """Do the traffic until the connection ends, and return why.

        What goes wrong on the wire ends in the reason, never in an exception of the caller's nursery.
        """
        hello = self._hello
        self._outbox.open(hello.window, hello.message_bytes, together=hello.tells)
        self.writer.send_now = direct_for(self._stream)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._write)
                nursery.start_soon(self._beat)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self.end("this system stops")
            self._around.unfinished.note(self._cut_off, 0, trio.current_time())
            self._around.unread.note(self._cut_off, 0)
            self.writer.forget()
            self._intake.close()
            for unwatch in self._unwatch.values():
                unwatch()
            self._unwatch.clear()
            self.ended.set()
            self._around.counts.received += self.received
            self._around.counts.written += self.writer.written
            self._handlers.clear()  # they refer to this connection, and a collector may be long in coming
            self._decoder = FrameDecoder(self._limits)  # so what will never be complete is let go of at once
            self._pending = None
            await trio.aclose_forcefully(self._stream)
        assert self.reason is not None
        return self.reason

    def end(self, reason: str) -> None:
        """Have `run` return with this reason, unless it has one."""
        if self.reason is None:
            self.reason = reason
        self.writer.send_now = None
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def finish(self, reason: str) -> None:
        """Write out what may be sent, tell the peer why the connection ends, and have `run` return."""

        def last_words() -> bytes:
            self._has_left = True
            return self._codec.encode_control(Goodbye(reason, self._intake.open_questions[:MAX_IN_DOUBT]))

        self.writer.finish(last_words)

    def ask_for_life(self) -> None:
        """Send a ping: a machine that knows nothing of this connection any more answers with a reset."""
        self._pings += 1
        self.say(Ping(self._pings))

    def say(self, frame: Control, written: Callable[[], None] | None = None) -> None:
        """Send a small frame."""
        self.writer.say(self._codec.encode_control(frame), written)

    async def _write(self) -> None:
        try:
            await self.writer.run()
            self.end("this side said goodbye")
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            self.end(in_words(error))

    def _cut_off_for_not_reading(self) -> None:
        self._cut_off(f"the peer does not read: {self._limits.answers_queued:,} answers wait for it")

    def _cut_off(self, reason: str) -> None:
        """End the connection for something that the peer did, or did not do."""
        if self.reason is None:
            self._around.counts.cut_off += 1
            self._around.note_offence(self.peer.address)
            self._around.complaints.write(self.peer.address, "was cut off", reason)
        self.end(reason)

    # --- life -----------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Ping when there is silence; end the connection when the peer is dead, or too slow to bear."""
        limits = self._limits
        wanted_seconds = max(self._hello.silence_seconds / 3, LEAST_BEAT_SECONDS)
        beat_seconds = min(limits.heartbeat_seconds, wanted_seconds)
        tick_seconds = min(beat_seconds, limits.stall_seconds / LOOKS_PER_STALL)
        spoken, heard = self.writer.written, self.received
        spoken_at = heard_at = trio.current_time()
        pace = Pace(limits)
        while True:
            await trio.sleep(tick_seconds)
            self._idle_frames = 0
            now = trio.current_time()
            if self.writer.written != spoken:
                spoken, spoken_at = self.writer.written, now
            elif now - spoken_at >= beat_seconds and self.writer.began_at is None:
                self.ask_for_life()
            if self.received != heard:
                heard, heard_at = self.received, now
            silence = now - heard_at
            if silence >= limits.silence_seconds:
                self._cut_off(f"not one byte came from the peer for {silence:.0f} s")
            writer = self.writer
            slow = pace.judge(Look(now, self._decoder.unfinished, writer.written, writer.began_at))
            if slow is not None:
                self._cut_off(slow)

    # --- reading --------------------------------------------------------------------------------------

    async def _read(self) -> None:
        turn, decoder = self._turn, self._decoder
        try:
            more = 1
            while more:  # the first frames may have come with the hello, and are here already
                at_rest = False
                while not at_rest and (event := decoder.next_event()) is not None:
                    if turn.spend(self._on_event(event)):
                        await turn.over()
                    at_rest = decoder.is_at_rest
                if self._noted or not at_rest:
                    self._note_unfinished()
                turn.rest()
                if at_rest and self._has_answered and self._others_may_read:
                    self._has_answered = False
                    await self.lead.stand_back()
                    if self._fault is not None:
                        raise self._fault
                else:
                    more = await self._receive(at_rest)
                    turn.spend(0)
            self.end("the peer closed the connection")
        except WireError as error:
            self._cut_off(f"the peer broke the protocol: {error}")
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            self.end(in_words(error))
        except Exception as error:  # the fence
            self._home.log.exception("a frame from %s:%d could not be handled", *self.peer.address)
            self._cut_off(f"a frame could not be handled: {error!r}")
        finally:
            turn.rest()

    async def read_answer(self) -> None:
        """Read in the reader's place, while the lead is free: an answer, most likely.

        Whatever is none, and whatever goes wrong, is left to the reader.
        """
        self.lead.take()
        done = False
        try:
            if await self._receive(at_rest=True) and self._decoder.next_is(ANSWER):
                event = self._decoder.next_event()
                if event is not None:
                    self._on_event(event)
                self._has_answered = False  # for the reader, who is not to stand back for that
                done = self._decoder.is_at_rest
        except Exception as error:  # not the asker's to know of: the reader raises it, and `_read` judges it
            self._fault = error
        finally:
            self.lead.give_back(done=done)

    async def _receive(self, at_rest: bool) -> int:
        """Receive something and return how much; `at_rest`: nothing has begun that it would complete."""
        decoder, receive_into = self._decoder, self._receive_into
        most, place = RECEIVE_BYTES, None
        if receive_into is not None and not at_rest:
            place = decoder.place_now
            if decoder.is_between_pieces:
                most = BETWEEN_BYTES
        if place is not None and place.nbytes >= IN_PLACE_BYTES:
            assert receive_into is not None
            count = await receive_into(place)
            decoder.placed(count)
        else:
            data = await self._receive_some(most)
            count = len(data)
            decoder.feed(bytes(data))
        self.received += count
        return count

    def _note_unfinished(self) -> None:
        unfinished = self._decoder.unfinished
        if unfinished is not None or self._noted:
            self._noted = unfinished is not None
            size = 0 if unfinished is None else unfinished[1]
            self._around.unfinished.note(self._cut_off, size, trio.current_time())

    def _on_event(self, event: framing.Event) -> int:
        """Handle it, and return how many bytes it had."""
        match event:
            case bytes():
                frame = self._codec.decode(event)
                handler = self._handlers.get(type(frame))
                if handler is None:
                    raise WireError("a second hello came")
                handler(frame)
                return len(event)
            case Head(payload, tail_bytes):
                frame = self._codec.decode(payload, tail_bytes)
                if not isinstance(frame, MessageFrame | Answer):
                    raise WireError("only messages and answers have arrays behind them")
                tail = self._codec.tail
                self._decoder.place(tail.places if tail.expected else [])
                self._pending = frame, tail
                return len(payload)
            case framing.Tail():
                assert self._pending is not None
                frame, tail = self._pending
                self._pending = None
                if not tail.expected or not tail.sound():
                    frame = frame.spoilt("what came behind the head is not what the head announced")
                self._handlers[type(frame)](frame)
                return 0

    # --- messages of the peer's -------------------------------------------------------------------------

    def _on_message(self, frame: MessageFrame) -> None:
        if self._has_left:
            return  # our goodbye says that this was not read
        try:
            message, shape = self._codec.open_message(frame)
            self._check_authority(frame.actor_id, shape)
            headers = NO_HEADERS if frame.headers is NO_HEADERS else self._codec.open_headers(frame)
        except MessageRefused as refusal:
            self._count_refused(refusal)
            if frame.ask is None:
                self.credit(frame.actor_id, 1, frame.size)
            else:
                self.refuse(frame.ask, NotDelivered(str(refusal)))
            return
        self._intake.deliver(frame, message, headers)

    def _on_tells(self, frame: Tells) -> None:
        if self._has_left:
            return
        codec, messages = self._codec, []
        for fields in frame.items:
            try:
                shape = codec.shape_named(frame.name)
                message = codec.build(shape, fields)
                self._check_authority(frame.actor_id, shape)
                messages.append(message)
            except MessageRefused as refusal:
                self._count_refused(refusal)
        refused = len(frame.items) - len(messages)
        size = frame.size
        if refused:
            theirs = size * refused // len(frame.items)
            self.credit(frame.actor_id, refused, theirs)
            size -= theirs
        if messages:
            self._intake.deliver_tells(frame.actor_id, messages, size)

    def _check_authority(self, actor_id: str, shape: MessageShape) -> None:
        """Raise NotAuthorized when the peer may not send such messages to the actor."""
        if shape.kind in LOCAL_ONLY:
            raise NotAuthorized(f"a {shape.name} is said by a system to its own actors only")
        if self._home.authorize is not None:
            self._check_order(actor_id, shape.name)

    def _check_order(self, actor_id: str, wire_name: str) -> None:
        authorize = self._home.authorize
        if authorize is not None and not authorize(self.peer, actor_id, wire_name):
            who = " or ".join(self.peer.identity) or f"the unverified {self.peer.system!r:.100}"
            raise NotAuthorized(f"{who} may not send {wire_name} to {actor_id!r:.100}")

    def _count_refused(self, refusal: MessageRefused) -> None:
        """A message that is not acceptable ends alone; its credit is given back."""
        self._count_idle()
        self._around.counts.refused[type(refusal).__name__] += 1
        self._around.complaints.write(self.peer.address, "sent what is refused", refusal)

    def _on_cancel(self, frame: Cancel) -> None:
        if not self._intake.cancel(frame.ask):
            self._count_idle()

    # --- answers to the peer: see `intake.Answers` --------------------------------------------------------

    def answer(
        self, ask: int, question: Envelope | None, value: Any, written: Callable[[], None] | None = None
    ) -> None:
        """The handler returned `value`."""
        try:
            reply = None if question is None else self._codec.reply_shape(question.message)
            encoded = self._codec.encode_answer(ask, value, reply)
            self.writer.answer(encoded, written, is_the_only_one=not self._intake.has_open_questions)
        except CannotEncode as error:
            self.refuse(ask, HandlerFailed(str(error)), written)

    def refuse(self, ask: int, error: DeliveryError, written: Callable[[], None] | None = None) -> None:
        """The question ended in `error`."""
        self.say(Failure.of(ask, error), written)

    def forget(self, ask: int, written: Callable[[], None] | None = None) -> None:
        """The question was given up by its asker, and this is the last that is said of it."""
        self.say(Failure(ask, CANCELLED, "", ""), written)

    def credit(self, actor_id: str, messages: int, size: int) -> None:
        """The mailbox of the actor has taken so many tells."""
        self.say(Credit(actor_id, messages, size))

    # --- answers of the peer's ------------------------------------------------------------------------------

    def _on_answer(self, frame: Answer) -> None:
        if frame.item is None and self._watches.ended(frame.ask, None):
            return
        parcel = self._outbox.answered(frame.ask)
        if parcel is None:
            raise WireError("an answer came to a question that was not asked")
        if parcel.abandoned:
            self._home.tally.late_replies += 1
            return
        self._has_answered = not self._outbox.has_open_questions
        reply_to = parcel.envelope.reply_to
        assert reply_to is not None
        try:
            reply_to.succeed(self._codec.open_answer(frame.item, parcel.reply))
        except MessageRefused as refusal:
            reply_to.fail(HandlerFailed(f"the handler has answered, but {refusal}"))

    def _on_failure(self, frame: Failure) -> None:
        if self._watches.ended(frame.ask, frame.error()):
            return
        parcel = self._outbox.answered(frame.ask)
        if parcel is None:
            raise WireError("an answer came to a question that was not asked")
        if parcel.abandoned:
            self._home.tally.late_replies += frame.kind != CANCELLED
            return
        assert parcel.envelope.reply_to is not None
        parcel.envelope.reply_to.fail(frame.error())

    def _on_credit(self, frame: Credit) -> None:
        if not self._outbox.credit(frame.actor_id, frame.messages, frame.size):
            raise WireError("credit came for messages that were not sent")

    # --- signs of life, and the end ----------------------------------------------------------------------

    def _on_ping(self, frame: Ping) -> None:
        self._count_idle()
        self.say(Pong(frame.serial))

    def _on_pong(self, _frame: Pong) -> None:
        self._count_idle()  # that it came is what counts

    def _count_idle(self) -> None:
        """A frame has come that does nothing: a ping, or a message that is refused."""
        self._idle_frames += 1
        if self._idle_frames > MAX_IDLE_FRAMES:
            raise WireError(
                f"more than {MAX_IDLE_FRAMES:,} frames that do nothing came within a few seconds: pings,"
                " cancels of nothing, messages that are refused"
            )

    def _on_goodbye(self, frame: Goodbye) -> None:
        self.in_doubt = frame.in_doubt
        self.end(f"the peer said goodbye: {frame.reason}")

    # --- watching and ending actors -------------------------------------------------------------------------

    def _on_down(self, frame: Down) -> None:
        self._watches.down(frame.watch, frame.reason)

    def _on_watch(self, frame: Watch) -> None:
        if frame.watch in self._unwatch or len(self._unwatch) >= MAX_WATCHES:
            raise WireError(f"a watch number came twice, or more than {MAX_WATCHES:,} watches are open")

        def went_down(reason: str) -> None:
            self._unwatch.pop(frame.watch, None)
            self.say(Down(frame.watch, reason[:MAX_TEXT_CHARACTERS]))

        try:
            self._check_order(frame.actor_id, WATCH)
        except NotAuthorized as refusal:
            went_down(str(refusal))
            return
        target = self._home.find_target(frame.actor_id)
        if target is None:
            went_down("there is no such actor, or it has ended")
            return
        self._unwatch[frame.watch] = _nothing  # for a call from within on_down to remove
        unwatch = target.on_down(went_down)
        if frame.watch in self._unwatch:
            self._unwatch[frame.watch] = unwatch

    def _on_unwatch(self, frame: Unwatch) -> None:
        if frame.watch not in self._unwatch:
            self._count_idle()
        self._unwatch.pop(frame.watch, _nothing)()

    def _on_end(self, frame: End) -> None:
        try:
            self._check_order(frame.actor_id, STOP if frame.graceful else KILL)
        except NotAuthorized as refusal:
            self.refuse(frame.ask, NotDelivered(str(refusal)))
            return
        if self._endings >= MAX_ENDINGS:
            raise WireError(f"the peer waits for more than {MAX_ENDINGS:,} actors to end")
        assert self._nursery is not None
        self._endings += 1
        self._nursery.start_soon(self._end_actor, frame)

    async def _end_actor(self, frame: End) -> None:
        target = self._home.find_target(frame.actor_id)
        if target is not None:
            await target.end(graceful=frame.graceful)
        self._endings -= 1
        self.answer(frame.ask, None, None)


def _nothing() -> None:
    pass


_CAUSES = 10  # that an error is followed back; one can be its own


def in_words(error: BaseException) -> str:
    """Say why a connection broke or could not be made, as briefly as the cause allows."""
    cause: BaseException | None = error
    for _ in range(_CAUSES):
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        elif isinstance(cause, trio.BrokenResourceError) or (
            isinstance(cause, OSError) and cause.__cause__ is not None
        ):
            cause = cause.__cause__
    if isinstance(cause, ssl.SSLError):
        return in_plain_words(cause)
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno).lower()
    return str(cause or "the connection broke")
