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
from collections.abc import Callable, Collection

import trio
from cbor2 import dumps
from trio.lowlevel import ParkingLot

from trioactor.codec import Codec, Encoded
from trioactor.envelope import NEVER, NO_HEADERS, Envelope
from trioactor.errors import DeliveryError, Expired, NotDelivered, OutcomeUnknown
from trioactor.framing import write_head
from trioactor.ledger import Tally
from trioactor.limits import Limits
from trioactor.shapes import Shape

_ASK = b"\x63ask"
_TTL = b"\x63ttl\xfb"  # and a double
_CHAIN = b"\x65chain"
_USER = b"\x64user"
_MAP_MAJOR = 5

QUEUED, WRITING, SENT = range(3)

Bury = Callable[[str, Envelope, str], None]


class Parcel:
    """A message on its way to a far actor.

    Attributes:
        envelope: As it was put.
        encoded: The message; of a question without its headers, which say how much time is left.
        channel: The queue that it waits or waited in.
        ask: The number of the question, None for a tell.
        reply: The shape of the answer, as far as the class of the question says it.
        state: QUEUED, WRITING or SENT.
        abandoned: Whether the asker has gone.
    """

    __slots__ = ("abandoned", "ask", "channel", "encoded", "envelope", "reply", "size", "state", "user")

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
        self.encoded = encoded
        self.channel = channel
        self.size = len(encoded.head) + encoded.tail_bytes
        self.ask = ask
        self.reply = reply
        self.user = user
        self.state = QUEUED
        self.abandoned = False

    def head(self) -> bytes:
        """Return the head as it goes out now."""
        if self.ask is None and not self.user:
            return self.encoded.head
        envelope = self.envelope
        headers = [] if self.ask is None else [_ASK + write_head(0, self.ask)]
        if envelope.expires_at != NEVER:
            left = max(0.0, envelope.expires_at - trio.current_time())
            headers.append(_TTL + struct.pack(">d", left))
        if envelope.chain:
            headers.append(_CHAIN + dumps(envelope.chain))
        if self.user:
            headers.append(_USER + self.user)
        return b"".join((self.encoded.head, write_head(_MAP_MAJOR, len(headers)), *headers))


class Channel:
    """The queue of messages to one far actor, and the credit that is spent.

    Attributes:
        target: The actor's id, as CBOR.
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
        self.queue: deque[Parcel] = deque()
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
        wake: Called when there is something to write.
        cancel: Called with the number of a question that was sent and that nobody waits for any more.
    """

    def __init__(
        self,
        codec: Codec,
        limits: Limits,
        tally: Tally,
        bury: Bury,
        *,
        wake: Callable[[], None],
        cancel: Callable[[int], None],
    ) -> None:
        self._codec = codec
        self._limits = limits
        self._tally = tally
        self._bury = bury
        self._wake = wake
        self._cancel = cancel
        self._window_messages = 0  # until the peer's hello has come
        self._window_bytes = 0
        self._peer_message_bytes = limits.message_bytes
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
        if channel.lot or not self._has_room(channel):
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
        return (
            len(channel.queue) < self._limits.queued_messages
            and channel.queued_bytes < self._limits.queued_bytes
        )

    def _take_on(self, channel: Channel, envelope: Envelope) -> None:
        parcel = self._parcel(channel, envelope)
        self._tally.accepted += 1
        self.queued += 1
        channel.queue.append(parcel)
        channel.queued_bytes += parcel.size
        if self._window_messages:
            self._list(channel)
        else:
            self._wake()  # there is no connection yet, and now there is a reason to have one

    def _parcel(self, channel: Channel, envelope: Envelope) -> Parcel:
        codec, message = self._codec, envelope.message
        if envelope.reply_to is None and envelope.headers is NO_HEADERS:
            return Parcel(envelope, codec.encode_message(channel.target, message), channel)
        encoded = codec.encode_message(channel.target, message, headers_follow=True)
        user = b"" if envelope.headers is NO_HEADERS else codec.encode_headers(envelope.headers)
        if envelope.reply_to is None:
            return Parcel(envelope, encoded, channel, user=user)
        self._next_ask += 1
        parcel = Parcel(envelope, encoded, channel, self._next_ask, codec.reply_shape(message), user)
        self._asks[self._next_ask] = parcel
        self._by_envelope[envelope] = parcel
        return parcel

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
        self._leave_queue(parcel)
        self._end(parcel, "expired" if envelope.expires_at <= trio.current_time() else "cancelled")

    # --- for the connection -------------------------------------------------------------------------

    def open(self, window: tuple[int, int], message_bytes: int) -> None:
        """The connection is up, and this is what the peer accepts."""
        self._window_messages, self._window_bytes = window
        self._peer_message_bytes = message_bytes
        for channel in self._channels.values():
            self._list(channel)

    def take(self) -> Parcel | None:
        """Take out the next message that may be sent; None when there is none now.

        Its credit is spent and it is being written: `written` or `broke` must follow.
        """
        while self._ready:
            channel = self._ready.popleft()
            channel.listed = False
            if not channel.queue:  # its last question was withdrawn meanwhile
                continue
            parcel = channel.queue.popleft()
            self._leave_queue(parcel)
            if self._is_over(parcel):
                self._list(channel)
                continue
            parcel.state = WRITING
            channel.spent_messages += 1
            channel.spent_bytes += parcel.size
            self._list(channel)
            return parcel
        return None

    def hold(self, channel: Channel) -> None:
        """Take no message of the channel, until the one that is being written in pieces is written."""
        if channel.listed:
            self._ready.remove(channel)
        channel.listed = True

    def written(self, parcel: Parcel) -> None:
        """The bytes of a message were handed to the stream."""
        parcel.state = SENT
        self._end(parcel, "sent")
        if parcel.abandoned and parcel.ask in self._asks:
            self._cancel(parcel.ask)

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
        queued = [parcel for channel in self._channels.values() for parcel in channel.queue]
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
        for lot in lots:
            lot.unpark_all()

    # --- bookkeeping --------------------------------------------------------------------------------

    def _list(self, channel: Channel) -> None:
        """Have the writer look at the channel, if it may send."""
        if (
            channel.queue
            and not channel.listed
            and channel.spent_messages < self._window_messages
            and channel.spent_bytes < self._window_bytes
        ):
            channel.listed = True
            self._ready.append(channel)
            self._wake()

    def _leave_queue(self, parcel: Parcel) -> None:
        channel = parcel.channel
        channel.queued_bytes -= parcel.size
        if channel.lot and self._has_room(channel):
            channel.lot.unpark()

    def _give_back(self, channel: Channel, messages: int, size: int) -> None:
        channel.spent_messages -= messages
        channel.spent_bytes -= size
        self._list(channel)
        if channel.idle:
            self._channels.pop(channel.actor_id, None)

    def _end(self, parcel: Parcel, outcome: str) -> None:
        self.queued -= 1
        setattr(self._tally, outcome, getattr(self._tally, outcome) + 1)

    def _is_over(self, parcel: Parcel) -> bool:
        """Give a message its end that must not be sent any more, or cannot be sent to this peer."""
        error: DeliveryError
        if parcel.envelope.expires_at <= trio.current_time():
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
        self._end(parcel, outcome)
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
