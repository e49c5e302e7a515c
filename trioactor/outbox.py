"""What waits to go to one peer: a queue per far actor, the credit left for it, and the asks under way.

A message waits here until the connection is up, the far mailbox has granted credit and the writer
takes it. Each one that is accepted comes to one end in the accounts:

    sent         its bytes were handed to the stream; the peer's ledger counts on
    lost         the link broke before that, or while it was being written
    dead         the link could not be made; a tell becomes a dead letter
    cancelled, expired     its asker gave up, or its deadline passed, while it waited here

No sockets here: `Connection` takes out and reports back.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import trio
from cbor2 import dumps
from trio.lowlevel import ParkingLot

from trioactor.codec import SMALL_BYTES, Codec, Encoded, Packed
from trioactor.envelope import NEVER, NO_HEADERS, Envelope, Told
from trioactor.errors import DeliveryError, Expired, NotDelivered, OutcomeUnknown
from trioactor.framing import Buffer, write_head
from trioactor.ledger import Tally
from trioactor.limits import KIB, LEAST_ITEMS, Limits
from trioactor.shapes import Shape

_ASK = b"\x63ask"
_TTL = b"\x63ttl\xfb"  # and a double
_CHAIN = b"\x65chain"
_USER = b"\x64user"
_MAPS = tuple(write_head(5, count) for count in range(5))

# So many small tells of one class go together in one frame, and so many bytes of them: a peer takes that
# many items, and others have their turn soon. Two bytes are three items at most: an empty array has 8, and
# its two tags count as three each.
TOGETHER = 128
TOGETHER_BYTES = LEAST_ITEMS * 2 // 3 - SMALL_BYTES - 100

# A peer whose longest message is shorter gets every message by itself, so that each is measured. No small
# tell is longer, whatever its actor and its class are called.
LEAST_TOGETHER = 8 * KIB

# So many queues are kept when nothing waits there and all credit is back: who is asked again and again finds
# the same one. Each takes a kilobyte, and further ones are forgotten, so an actor that was told once takes no
# memory.
KEPT_CHANNELS = 64

QUEUED, WRITING, SENT = range(3)

Bury = Callable[[str, Envelope, str], None]


class Parcel:
    """A message on its way to a far actor: the writer takes it by itself.

    Attributes:
        envelope: As it was put.
        head: The payload of one frame, if it fits into one; of a question that waits without its headers,
            which say how much time is left.
        tail: The arrays behind it.
        tail_bytes: Their length.
        channel: The queue that it waits or waited in.
        ask: The number of the question, None for a tell.
        reply: The shape of the answer, as far as the class of the question says it.
        size: Of head and tail.
        state: QUEUED, WRITING or SENT.
        abandoned: Whether the asker has gone.
    """

    __slots__ = (
        "abandoned",
        "ask",
        "channel",
        "envelope",
        "head",
        "reply",
        "size",
        "state",
        "tail",
        "tail_bytes",
        "user",
    )

    messages = 1

    def __init__(
        self,
        envelope: Envelope,
        encoded: Encoded,
        channel: Channel,
        ask: int | None = None,
        reply: Shape | None = None,
        user: bytes = b"",
    ) -> None:
        self.envelope = envelope
        self.head = encoded.head
        self.tail = encoded.tail
        self.tail_bytes = encoded.tail_bytes
        self.channel = channel
        self.size = len(encoded.head) + encoded.tail_bytes
        self.ask = ask
        self.reply = reply
        self.user = user
        self.state = QUEUED
        self.abandoned = False

    def complete(self) -> None:
        """Put the headers behind the head: it goes out now."""
        if self.ask is None and not self.user:
            return
        envelope = self.envelope
        headers = [] if self.ask is None else [_ASK, dumps(self.ask)]
        count = len(headers) >> 1
        if envelope.expires_at != NEVER:
            left = max(0.0, envelope.expires_at - trio.current_time())
            headers += _TTL, struct.pack(">d", left)
            count += 1
        if envelope.chain:
            headers += _CHAIN, dumps(envelope.chain)
            count += 1
        if self.user:
            headers += _USER, self.user
            count += 1
        self.head = b"".join((self.head, _MAPS[count], *headers))
        self.size = len(self.head) + self.tail_bytes


class Bundle:
    """Small tells of one class that the writer takes together.

    Attributes:
        head: The payload of one frame.
        channel: The queue that they come from.
        messages: How many.
    """

    __slots__ = ("channel", "head", "messages")

    tail: Sequence[Buffer] = ()
    tail_bytes = 0

    def __init__(self, head: bytes, channel: Channel, messages: int) -> None:
        self.head = head
        self.channel = channel
        self.messages = messages


# What the writer takes at a time.
Load: TypeAlias = Parcel | Bundle


class Channel:
    """The queue of messages to one far actor, and the credit that is spent.

    Attributes:
        target: The actor's id, as CBOR.
        queue: Small tells that may go together stand there packed. They need no more: the connection is
            up, so they are sent, or lost.
        spent_messages: How many were sent that its mailbox has not taken yet, as far as we know.
        spent_bytes: Their bytes.
        listed: Whether it stands in the outbox's list of those that may send, or its parcel is being
            written in pieces.
    """

    __slots__ = (
        "actor_id",
        "listed",
        "lot",
        "queue",
        "queued_bytes",
        "spent_bytes",
        "spent_messages",
        "target",
    )

    def __init__(self, actor_id: str) -> None:
        self.actor_id = actor_id
        self.target = dumps(actor_id)
        self.queue: deque[Parcel | Packed] = deque()
        self.queued_bytes = 0
        self.spent_messages = 0
        self.spent_bytes = 0
        self.listed = False
        self.lot: ParkingLot | None = None  # of senders that wait for room

    @property
    def idle(self) -> bool:
        """Whether nothing would be forgotten with it."""
        return not (self.queue or self.spent_messages or self.lot)


class Outbox:
    """All that waits to go to one peer.

    Args:
        codec: Encodes for that peer.
        limits: Of this side.
        tally: The accounts of the system.
        bury: Called with the actor's id, a tell that cannot be delivered, and why; counts it as dead.
        wake: Called when there is something to write, with whether it is worth a send of its own.
        cancel: Called with the number of a question that was sent and that nobody waits for any more.
    """

    def __init__(
        self,
        codec: Codec,
        limits: Limits,
        tally: Tally,
        bury: Bury,
        *,
        wake: Callable[[bool], None],
        cancel: Callable[[int], None],
    ) -> None:
        self._codec = codec
        self._queued_messages = limits.queued_messages
        self._queued_bytes = limits.queued_bytes
        self._tally = tally
        self._bury = bury
        self._wake = wake
        self._cancel = cancel
        self._window_messages = 0  # until the peer's hello has come
        self._window_bytes = 0
        self._peer_message_bytes = limits.message_bytes
        self._may_go_together = False
        self._channels: dict[str, Channel] = {}
        self._ready: deque[Channel] = deque()
        self._asks: dict[int, Parcel] = {}
        self._by_envelope: dict[Envelope, Parcel] = {}
        self._next_ask = 0
        self.queued = 0  # accepted, and not yet at its end: the ledger's `queued`

    # --- putting in -------------------------------------------------------------------------------

    def offer(self, actor_id: str, envelope: Envelope) -> bool:
        """Take an envelope on when there is room in the actor's queue. See `Target.offer`.

        Raises:
            UnknownMessage: The message is not in the vocabulary.
            CannotEncode: It cannot be sent.
        """
        channel = self._channels.get(actor_id)
        if channel is None:
            channel = self._channels[actor_id] = Channel(actor_id)
        elif channel.lot or not self._has_room(channel):
            return False
        self._take_on(channel, envelope)
        return True

    async def put(self, actor_id: str, envelope: Envelope) -> None:
        """Take an envelope on, waiting for room. See `Target.put`."""
        while True:
            channel = self._channels.get(actor_id)
            if channel is None:
                channel = self._channels[actor_id] = Channel(actor_id)
            if self._has_room(channel):
                break
            channel.lot = channel.lot or ParkingLot()
            await channel.lot.park()
        self._take_on(channel, envelope)

    def _has_room(self, channel: Channel) -> bool:
        return len(channel.queue) < self._queued_messages and channel.queued_bytes < self._queued_bytes

    def _take_on(self, channel: Channel, envelope: Envelope) -> None:
        packed = self._codec.pack(envelope.message)
        if self._may_go_together and type(envelope) is Told and self._codec.is_small(packed):
            channel.queue.append(packed)
            channel.queued_bytes += len(packed[1])
        else:
            parcel = self._parcel(channel, envelope, packed)
            channel.queue.append(parcel)
            channel.queued_bytes += parcel.size
        self._tally.accepted += 1
        self.queued += 1
        if not self._window_messages:
            self._wake(False)  # there is no connection yet, and now there is a reason to have one
        elif not channel.listed:
            self._list(channel, at_once=envelope.reply_to is not None and len(self._asks) == 1)

    def _parcel(self, channel: Channel, envelope: Envelope, packed: Packed) -> Parcel:
        codec = self._codec
        if envelope.reply_to is None and envelope.headers is NO_HEADERS:
            return Parcel(envelope, codec.complete(channel.target, packed), channel)
        encoded = codec.complete(channel.target, packed, headers_follow=True)
        user = b"" if envelope.headers is NO_HEADERS else codec.encode_headers(envelope.headers)
        if envelope.reply_to is None:
            return Parcel(envelope, encoded, channel, user=user)
        self._next_ask += 1
        parcel = Parcel(envelope, encoded, channel, self._next_ask, packed[0].reply, user)
        self._asks[self._next_ask] = parcel
        self._by_envelope[envelope] = parcel
        return parcel

    @property
    def has_open_questions(self) -> bool:
        """Whether a question waits here, or for its answer."""
        return bool(self._asks)

    def fresh_number(self) -> int:
        """Return a number that no question of this side has."""
        self._next_ask += 1
        return self._next_ask

    def withdraw(self, envelope: Envelope) -> None:
        """The asker has gone. See `Target.withdraw`."""
        parcel = self._by_envelope.pop(envelope, None)
        if parcel is None:
            return
        assert parcel.ask is not None
        if parcel.state != QUEUED:
            parcel.abandoned = True
            if parcel.state == SENT:
                self._cancel(parcel.ask)
            return
        del self._asks[parcel.ask]
        parcel.channel.queue.remove(parcel)
        self._leave_queue(parcel.channel, parcel.size)
        self._drop_if_idle(parcel.channel)
        self._end("expired" if envelope.expires_at <= trio.current_time() else "cancelled")

    # --- for the connection -------------------------------------------------------------------------

    def open(self, window: tuple[int, int], message_bytes: int, *, together: bool) -> None:
        """The connection is up, and this is what the peer accepts; `together`: several tells in a frame."""
        self._window_messages, self._window_bytes = window
        self._peer_message_bytes = message_bytes
        self._may_go_together = together and message_bytes >= LEAST_TOGETHER
        for channel in self._channels.values():
            self._list(channel)

    def take(self) -> Load | None:
        """Take out what may be sent next; None when there is nothing now.

        Its credit is spent and it is being written: `written` or `broke` must follow.
        """
        while self._ready:
            channel = self._ready.popleft()
            channel.listed = False
            if not channel.queue:  # its last question was withdrawn meanwhile
                continue
            first = channel.queue.popleft()
            load = self._single(first) if isinstance(first, Parcel) else self._together(first, channel)
            if channel.queue:
                self._list(channel)
            if load is not None:
                return load
            self._drop_if_idle(channel)
        return None

    def _single(self, parcel: Parcel) -> Load | None:
        """Have a message sent that was taken out; None when it is not to be sent any more."""
        channel = parcel.channel
        self._leave_queue(channel, parcel.size)
        parcel.complete()
        if self._is_over(parcel):
            return None
        parcel.state = WRITING
        channel.spent_messages += 1
        channel.spent_bytes += parcel.size
        return parcel

    def _together(self, first: Packed, channel: Channel) -> Load:
        """Have a small tell sent that was taken out, and those of its class that stand right behind it."""
        shape, fields = first
        together, size = [fields], len(fields)
        queue = channel.queue
        most = min(TOGETHER, self._window_messages - channel.spent_messages)
        while queue and len(together) < most and size < TOGETHER_BYTES:
            following = queue[0]
            if isinstance(following, Parcel) or following[0] is not shape:
                break
            queue.popleft()
            together.append(following[1])
            size += len(following[1])
        self._leave_queue(channel, size)
        head = Codec.encode_tells(channel.target, shape, together)
        channel.spent_messages += len(together)
        channel.spent_bytes += len(head)
        return Bundle(head, channel, len(together))

    def hold(self, channel: Channel) -> None:
        """Take no message of the channel, until the one that is being written in pieces is written."""
        if channel.listed:
            self._ready.remove(channel)
        channel.listed = True

    def written(self, load: Load) -> None:
        """The bytes of a load were handed to the stream."""
        self.queued -= load.messages
        self._tally.sent += load.messages
        if isinstance(load, Parcel):
            load.state = SENT
            if load.abandoned and load.ask in self._asks:
                self._cancel(load.ask)

    def release(self, channel: Channel) -> None:
        """Undo `hold`."""
        channel.listed = False
        self._list(channel)

    def credit(self, actor_id: str, messages: int, size: int) -> bool:
        """The far mailbox has taken so many tells. False: so many were not under way."""
        channel = self._channels.get(actor_id)
        if channel is None or messages > channel.spent_messages or size > channel.spent_bytes:
            return False
        self._give_back(channel, messages, size)
        return True

    def answered(self, ask: int) -> Parcel | None:
        """Take out the question that was answered; None when none of that number is under way."""
        parcel = self._asks.get(ask)
        if parcel is None or parcel.state == QUEUED:
            return None
        del self._asks[ask]
        self._by_envelope.pop(parcel.envelope, None)
        self._give_back(parcel.channel, 1, parcel.size)
        return parcel

    def broke(self, reason: str, in_doubt: Collection[int] | None = None) -> None:
        """The link broke: what was not written is lost, and of what was asked nobody knows.

        Args:
            reason: Why.
            in_doubt: What the peer said in its goodbye: only of these nobody knows. None: it said none.
        """
        asks = list(self._asks.values())
        self._tally.lost += self.queued
        self.queued = 0
        self._reset()
        for parcel in asks:
            if not parcel.abandoned and parcel.envelope.reply_to is not None:
                parcel.envelope.reply_to.fail(_broken(parcel, reason, in_doubt))

    def unreachable(self, reason: str) -> None:
        """The link could not be made: what waits is dead."""
        waiting = [parcel for channel in self._channels.values() for parcel in channel.queue]
        queued = [parcel for parcel in waiting if isinstance(parcel, Parcel)]  # all: no connection was up
        self.queued -= len(queued)
        self._reset()
        for parcel in queued:
            self._bury(parcel.channel.actor_id, parcel.envelope, reason)

    def _reset(self) -> None:
        lots = [channel.lot for channel in self._channels.values() if channel.lot]
        self._channels.clear()
        self._ready.clear()
        self._asks.clear()
        self._by_envelope.clear()
        self._window_messages = self._window_bytes = 0
        self._may_go_together = False
        for lot in lots:
            lot.unpark_all()

    # --- bookkeeping --------------------------------------------------------------------------------

    def _list(self, channel: Channel, *, at_once: bool = False) -> None:
        """Have the writer look at the channel, if it may send."""
        if (
            channel.queue
            and not channel.listed
            and channel.spent_messages < self._window_messages
            and channel.spent_bytes < self._window_bytes
        ):
            channel.listed = True
            self._ready.append(channel)
            self._wake(at_once)

    def _leave_queue(self, channel: Channel, size: int) -> None:
        """So many bytes are no longer in the queue: let those in who wait for room."""
        channel.queued_bytes -= size
        if channel.lot and self._has_room(channel):
            channel.lot.unpark(count=self._queued_messages - len(channel.queue))

    def _give_back(self, channel: Channel, messages: int, size: int) -> None:
        channel.spent_messages -= messages
        channel.spent_bytes -= size
        if channel.queue:
            self._list(channel)
        elif len(self._channels) > KEPT_CHANNELS:
            self._drop_if_idle(channel)

    def _drop_if_idle(self, channel: Channel) -> None:
        """Forget the channel when nothing is lost with it, and enough others are kept."""
        if (
            len(self._channels) > KEPT_CHANNELS
            and channel.idle
            and self._channels.get(channel.actor_id) is channel
        ):
            del self._channels[channel.actor_id]

    def _end(self, outcome: str) -> None:
        self.queued -= 1
        setattr(self._tally, outcome, getattr(self._tally, outcome) + 1)

    def _is_over(self, parcel: Parcel) -> bool:
        """Give a message its end that must not be sent any more, or cannot be sent to this peer."""
        error: DeliveryError
        expires_at = parcel.envelope.expires_at
        if expires_at != NEVER and expires_at <= trio.current_time():
            outcome = "expired"
            error = Expired("the deadline passed while the question waited for the connection; it never ran")
        elif parcel.size > self._peer_message_bytes:
            outcome = "dead"
            error = NotDelivered(
                f"the message has {parcel.size:,} bytes, and the peer takes {self._peer_message_bytes:,};"
                " raise message_bytes there"
            )
        else:
            return False
        self._end(outcome)
        if parcel.ask is not None:
            del self._asks[parcel.ask]
            del self._by_envelope[parcel.envelope]
        if parcel.envelope.reply_to is not None:
            parcel.envelope.reply_to.fail(error)
        return True


def _broken(parcel: Parcel, reason: str, in_doubt: Collection[int] | None) -> DeliveryError:
    where = f"actor {parcel.channel.actor_id!r}"
    if parcel.state == QUEUED:
        return NotDelivered(f"the question to {where} was not sent: {reason}")
    if in_doubt is not None and parcel.ask not in in_doubt:
        return NotDelivered(f"the question to {where} was not read: {reason}")
    return OutcomeUnknown(f"the question to {where} was sent, then the link broke: {reason}")
