"""The limits of the network side, each with its reason. One frozen object, handed to a system.

Both sides say in their hello what they accept, and keep to what the other said; a peer that does not
is cut off. All sizes are bytes, all times seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB

# What both sides may rely on before they have read a hello, so it is no setting: the hello itself,
# and everything that must be small.
MAX_FRAME_BYTES = 256 * KIB

LEAST_FRAME_BYTES = 1 * KIB

# Small tells go together in frames that have no more items than this, so it can be relied on as well.
LEAST_ITEMS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one system takes from its peers, and how long it waits for them.

    Attributes:
        frame_bytes: The longest frame that is read or written. What is longer goes in pieces, and
            pings and other messages go between them: 256 KiB are 2 ms at 1 Gbit/s.
        message_bytes: The longest message, its arrays included. Its memory is taken as it arrives.
        head_bytes: The longest message without its large arrays: text, byte strings, lists, maps.
        depth: How deep arrays, maps and tags may be nested in a frame.
        unfinished_bytes: How much may be there of messages that are not complete, over all peers. When
            it is more, the peer that sends its message the slowest is cut off.
        items: How many CBOR items a frame may have; a tag, which makes a message or an array of what it
            stands over, counts as three. Each costs up to 0.4 microseconds, so that no frame costs more than
            10 ms of CPU (`bin/fuzz` looks for one), and up to 100 bytes of memory. Numbers in thousands
            belong in an array, which is one item with a tag. At least 1,500: small tells go together in
            frames that have no more.
        inline_array_bytes: Arrays up to here are copied into the message; larger ones go behind it,
            from their own memory.
        window_messages: How many messages a peer may send to one actor before that actor's mailbox
            has taken the first of them.
        window_bytes: The same in bytes. The message that passes it is still taken.
        queued_messages: How many messages of ours may wait for one far actor. More wait in `tell`.
        queued_bytes: The same in bytes.
        answers_queued: How many answers, credits and pongs may wait for a peer to read them; it is
            cut off when there are more.
        unread_bytes: How much may be there of answers that wait for peers to read them, over all peers.
            When it is more, the peer for which the most waits is cut off.
        connections: How many peers may be connected to our listeners at a time.
        connections_per_address: How many of them may come from one IP address.
        handshakes_at_once: So many peers may come at the same time and are let in at once.
        handshakes_per_second: So many of more than these are let in per second; the others stand in line,
            by addresses in turn, and those whose peers were turned away or cut off come last. Over TLS a
            handshake costs 4 ms.
        door_seconds: Who has stood in line for so long is turned away.
        handshake_seconds: A peer must have said hello, the line and TLS included, by then.
        heartbeat_seconds: After so much silence of ours we send a ping.
        silence_seconds: A peer of whom not one byte came for so long is down.
        stall_seconds: Over so long, a peer in the middle of a frame or a message must send, and one
            that is sent to must read, at least `least_bytes_per_second` on average; it is cut off after
            one to one and a half times as long. (Through TLS, reading is seen in steps of 64 KiB.)
        least_bytes_per_second: See above. The slowest GSM link has 1,200.
        redial_first_seconds: The longest pause before the second attempt to reach a peer. It doubles
            with each failure, and the pause is drawn evenly from 0 to it ("full jitter").
        redial_most_seconds: The longest pause between two attempts.
        goodbye_seconds: How long an orderly end may take to write out what is queued.
    """

    frame_bytes: int = MAX_FRAME_BYTES
    message_bytes: int = 512 * MIB
    head_bytes: int = 8 * MIB
    unfinished_bytes: int = 1024 * MIB
    depth: int = 32
    items: int = 16_384
    inline_array_bytes: int = 4 * KIB
    window_messages: int = 256
    window_bytes: int = 1 * MIB
    queued_messages: int = 1024
    queued_bytes: int = 4 * MIB
    answers_queued: int = 16_384
    unread_bytes: int = 1024 * MIB
    connections: int = 1024
    connections_per_address: int = 256
    handshakes_at_once: int = 64
    handshakes_per_second: float = 100.0
    door_seconds: float = 3.0
    handshake_seconds: float = 5.0
    heartbeat_seconds: float = 5.0
    silence_seconds: float = 15.0
    stall_seconds: float = 4.0
    least_bytes_per_second: int = 1 * KIB
    redial_first_seconds: float = 0.2
    redial_most_seconds: float = 5.0
    goodbye_seconds: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name}={value}; every limit is above 0")
        if not LEAST_FRAME_BYTES <= self.frame_bytes <= MAX_FRAME_BYTES:
            raise ValueError(
                f"frame_bytes={self.frame_bytes}; it lies between {LEAST_FRAME_BYTES:,} and"
                f" {MAX_FRAME_BYTES:,}, so that a ping never waits for long"
            )
        if self.items < LEAST_ITEMS:
            raise ValueError(f"items={self.items}; it is at least {LEAST_ITEMS:,}: small tells go together")
        if self.unfinished_bytes < self.message_bytes:
            raise ValueError(
                f"unfinished_bytes={self.unfinished_bytes:,} must be at least"
                f" message_bytes={self.message_bytes:,}, or no message of that length can come in"
            )
        if self.unread_bytes < self.message_bytes:
            raise ValueError(
                f"unread_bytes={self.unread_bytes:,} must be at least message_bytes={self.message_bytes:,},"
                " or no answer of that length can be given"
            )
        if self.heartbeat_seconds * 2 > self.silence_seconds:
            raise ValueError(
                f"silence_seconds={self.silence_seconds} must be at least twice"
                f" heartbeat_seconds={self.heartbeat_seconds}, or a quiet link is taken for a dead one"
            )
