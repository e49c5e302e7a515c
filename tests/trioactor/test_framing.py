"""Bytes to frames and back: any chunking, any size, and every way to get it wrong."""

import math
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioactor.errors import FrameTooLarge, WireError
from trioactor.framing import Buffer, FrameDecoder, Head, Tail, cut, encode_frame, read_head, write_head
from trioactor.limits import Limits

SMALL = Limits(frame_bytes=1024, head_bytes=10_000, message_bytes=50_000)

# The second byte of a payload that is no part of a message in pieces: a text, as in a message frame.
PLAIN = b"\x82\x61a"


def flat(frames: list[list[Buffer]]) -> bytes:
    """All frames as they are written."""
    return b"".join(bytes(buffer) for frame in frames for buffer in frame)


class Receiver:
    """A decoder with what came out of it; tails go into memory of its own."""

    def __init__(self, limits: Limits = SMALL) -> None:
        self.decoder = FrameDecoder(limits)
        self.heads: list[bytes] = []
        self.tails: list[bytes] = []
        self._tail = bytearray()

    def feed(self, data: bytes) -> None:
        self.decoder.feed(data)
        while (event := self.decoder.next_event()) is not None:
            match event:
                case bytes():
                    self.heads.append(event)
                    self.tails.append(b"")
                case Head(payload, tail_bytes):
                    self.heads.append(payload)
                    self._tail = bytearray(tail_bytes)
                    half = tail_bytes // 2
                    view = memoryview(self._tail)
                    self.decoder.place([view[:half], view[half:]])
                case Tail():
                    self.tails.append(bytes(self._tail))

    def feed_in_chunks(self, stream: bytes, cuts: list[int]) -> None:
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        for start, end in pairwise(edges):
            if end > start:
                self.feed(stream[start:end])


messages = st.lists(
    st.tuples(
        st.binary(max_size=3000).map(lambda rest: PLAIN + rest),
        st.one_of(st.just(b""), st.binary(min_size=1, max_size=5000)),
    ),
    max_size=6,
)


@given(messages, st.lists(st.integers(0, 20_000), max_size=12))
def test_messages_survive_any_chunking(sent: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    """However TCP cuts the bytes, the same heads and tails come out in the same order."""
    stream = b"".join(flat(list(cut(head, [tail] if tail else [], len(tail), 1024))) for head, tail in sent)
    receiver = Receiver()

    receiver.feed_in_chunks(stream, cuts)

    assert receiver.heads == [head for head, _ in sent]
    assert receiver.tails == [tail for _, tail in sent]
    assert receiver.decoder.unfinished is None


@given(st.binary(min_size=1, max_size=20_000), st.integers(1, 700))
def test_a_tail_received_in_place_is_the_tail_that_was_sent(tail: bytes, step: int) -> None:
    """Memory that the decoder offers may be filled behind its back, as long as it is told."""
    stream = flat(list(cut(PLAIN, [tail], len(tail), 1024)))
    decoder = FrameDecoder(SMALL)
    received = bytearray(len(tail))
    complete = False
    position = 0
    while position < len(stream):
        place = decoder.place_now
        if place is not None:
            count = min(step, len(place), len(stream) - position)
            place[:count] = stream[position : position + count]
            decoder.placed(count)
        else:
            count = min(step, len(stream) - position)
            decoder.feed(stream[position : position + count])
        position += count
        while (event := decoder.next_event()) is not None:
            if isinstance(event, Head):
                decoder.place([memoryview(received)])
            complete = isinstance(event, Tail)

    assert complete
    assert bytes(received) == tail


def test_no_frame_of_a_long_message_is_longer_than_the_limit() -> None:
    tail = bytes(100_000)

    frames = list(cut(PLAIN, [tail[:7], tail[7:]], len(tail), 1024))

    lengths = [sum(map(len, frame)) - 4 for frame in frames]
    assert max(lengths) <= 1024
    assert len(frames) == 1 + math.ceil((len(PLAIN) + len(tail)) / (1024 - 7))


def test_array_memory_is_cut_without_being_copied() -> None:
    memory = bytearray(10_000)
    frames = list(cut(PLAIN, [memoryview(memory)], len(memory), 1024))

    memory[5000] = 7

    assert 7 in flat(frames[4:7])


def test_other_frames_go_between_the_pieces_of_a_message() -> None:
    long = [flat([frame]) for frame in cut(PLAIN + bytes(2000), [], 0, 1024)]
    ping = encode_frame(b"\x82\x05\x01")
    receiver = Receiver()

    receiver.feed(ping.join(long))

    assert receiver.heads == [b"\x82\x05\x01"] * (len(long) - 1) + [PLAIN + bytes(2000)]


def test_a_tail_without_a_place_is_thrown_away_and_the_stream_goes_on() -> None:
    """A message that is refused costs no memory, and does not end its connection."""
    stream = flat(list(cut(PLAIN, [bytes(3000)], 3000, 1024))) + encode_frame(PLAIN)
    decoder = FrameDecoder(SMALL)
    decoder.feed(stream)

    events = []
    while (event := decoder.next_event()) is not None:
        events.append(event)
        if isinstance(event, Head):
            decoder.place([])

    assert events == [Head(PLAIN, 3000), Tail(), PLAIN]


def test_a_frame_that_is_too_long_is_refused_from_its_header() -> None:
    decoder = FrameDecoder(SMALL)
    decoder.feed((1025).to_bytes(4, "big"))

    with pytest.raises(FrameTooLarge, match=r"1,025 bytes, the limit is 1,024"):
        decoder.next_event()


@pytest.mark.parametrize(
    ("first_bytes", "hint"),
    [(b"\x16\x03\x01\x02", "speaks TLS"), (b"GET ", "begins with 'GET '"), (b"SSH-", "another protocol")],
)
def test_a_stranger_is_recognised_by_its_first_bytes(first_bytes: bytes, hint: str) -> None:
    decoder = FrameDecoder(SMALL)
    decoder.feed(first_bytes)

    with pytest.raises(FrameTooLarge, match=hint):
        decoder.next_event()


def begin(head_bytes: int, tail_bytes: int) -> bytes:
    return encode_frame(b"\x83\x07" + write_head(0, head_bytes) + write_head(0, tail_bytes))


def piece(data: bytes) -> bytes:
    return encode_frame(b"\x82\x08" + write_head(2, len(data)) + data)


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (piece(b"x"), "not announced"),
        (begin(5, 0) + begin(5, 0), "second message in pieces"),
        (begin(0, 10), "head of 1 byte or more"),
        (encode_frame(b"\x83\x07\x05"), "head of 1 byte or more"),
        (encode_frame(b"\x83\x07\x05\x20"), "head of 1 byte or more"),
        (encode_frame(b"\x83\x07\x05\x05\x05"), "head of 1 byte or more"),
        (begin(5, 0) + piece(b"123456"), "6 bytes came where 5 were still announced"),
        (begin(5, 0) + encode_frame(b"\x82\x08\x43ab"), "no more"),
        (begin(5, 0) + encode_frame(b"\x82\x08\x42abc"), "no more"),
        (begin(5, 0) + encode_frame(b"\x82\x08\x5f\x41a\xff"), "no more"),
        (begin(5, 0) + encode_frame(b"\x82\x08\x40"), "at least one byte"),
        (begin(5, 0) + encode_frame(b"\x82\x08\x01"), "no more"),
    ],
)
def test_pieces_out_of_order_break_the_protocol(stream: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        Receiver().feed(stream)


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (begin(10_001, 0), "head of 10,001 bytes was announced, the limit is 10,000"),
        (begin(10_000, 40_001), "message of 50,001 bytes was announced, the limit is 50,000"),
    ],
)
def test_a_message_that_is_too_long_is_refused_when_it_is_announced(stream: bytes, complaint: str) -> None:
    with pytest.raises(FrameTooLarge, match=complaint):
        Receiver().feed(stream)


@given(
    st.lists(
        st.one_of(st.binary(max_size=60), st.just(begin(9, 9)), st.just(piece(b"123456789"))), max_size=8
    )
)
def test_no_bytes_raise_anything_but_a_wire_error(chunks: list[bytes]) -> None:
    receiver = Receiver()
    try:
        for chunk in chunks:
            receiver.feed(chunk)
    except WireError:
        return


def test_a_frame_without_a_payload_is_not_taken_for_the_piece_behind_it() -> None:
    """However the bytes are cut: an empty frame, and behind it bytes that look like a piece."""
    stream = begin(3, 3) + encode_frame(b"") + b"\x82\x08Axxxx"

    for cut_at in range(len(begin(3, 3)), len(stream)):
        receiver = Receiver()
        with pytest.raises(FrameTooLarge, match=r"frame of 2,181,579,128 bytes"):
            receiver.feed_in_chunks(stream, [cut_at])
        assert receiver.heads == [b""]


def test_what_is_unfinished_has_a_number_and_a_size() -> None:
    """A connection tells a slow frame from many quick ones by it."""
    receiver = Receiver()
    seen = []
    for chunk in (
        b"\0\0",
        b"\0\x03\x82",
        b"\x61a",
        begin(5, 0)[:3],
        begin(5, 0)[3:],
        piece(b"123"),
        piece(b"45"),
    ):
        receiver.feed(chunk)
        seen.append(receiver.decoder.unfinished)

    assert seen == [(0, 2), (0, 5), None, (1, 3), (2, 0), (2, 3), None]


@given(st.integers(0, 7), st.integers(0, 2**64 - 1))
def test_an_item_head_reads_as_it_was_written(major: int, value: int) -> None:
    written = write_head(major, value)

    head = read_head(written, 0)

    assert head is not None
    assert (head.major, head.value, head.end) == (major, value, len(written))


@pytest.mark.parametrize("data", [b"", b"\x18", b"\x19\x01", b"\x1c", b"\x5f", b"\xff"])
def test_an_item_head_that_is_cut_off_or_indefinite_is_none(data: bytes) -> None:
    assert read_head(data, 0) is None


def test_what_was_handled_is_let_go_of_before_more_comes() -> None:
    """A thousand quiet peers keep no memory of what they said last."""
    for data in (encode_frame(b"a frame"), encode_frame(b"two") * 2, encode_frame(b"one and a half")[:9]):
        decoder = FrameDecoder(SMALL)
        before = sys.getrefcount(data)
        decoder.feed(data)
        while decoder.next_event() is not None:
            pass

        assert sys.getrefcount(data) == before
