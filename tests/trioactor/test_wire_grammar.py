"""`wire.cddl` says what the codec does: neither more is allowed by the one than by the other, nor less.

What CDDL has no words for is passed over here, and stands in `WIRE.md` under "What the grammar cannot say".
"""

from __future__ import annotations

import math
import re
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import trio
from cbor2 import CBORSimpleValue, CBORTag, dumps, undefined
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from trio.testing import MockClock

from tests.trioactor.cast import Clerk, Fail, Hold, Note, Read
from tests.trioactor.certificates import Files
from tests.trioactor.grammar import RULES, TEXT, complaint_about, complaint_about_sequence, in_words
from tests.trioactor.pairs import open_pair
from tests.trioactor.recorder import Recorder
from trioactor import Actor, ActorRef, ActorSystem, PeerDown, Request, message
from trioactor.arrays import DTYPES, MAX_DIMENSIONS, MAX_ELEMENTS
from trioactor.codec import Codec
from trioactor.errors import FrameTooLarge, MessageRefused, WireError
from trioactor.frames import CANCELLED, CONTROL_FRAMES, FAILURES, Answer, Hello, MessageFrame, Tells
from trioactor.framing import BEGIN, PIECE, FrameDecoder, encode_frame
from trioactor.limits import Limits
from trioactor.link import Link
from trioactor.remote import Remote

LIMITS = Limits()

# The judge takes milliseconds for a frame, and longer for one that is wrong.
thoroughly = settings(max_examples=25, deadline=None)


@message("wire.anything")
class Anything(Request[Any]):
    """Whatever may travel."""

    value: Any = None
    another: Any = None


@message("wire.twice", eq=False)
class Twice(Request[NDArray[np.float64]]):
    """Answer with the numbers, doubled."""

    numbers: NDArray[np.float64]


class Doubler(Actor):
    async def receive(self, message: Twice) -> NDArray[np.float64]:
        return message.numbers * 2


async def codec_of_a_link() -> Codec:
    """The codec of a real system, which tells refs as a real link does."""
    async with ActorSystem("judge", vocabulary=[Anything]) as system, trio.open_nursery() as nursery:
        remote = Remote(system, nursery, LIMITS)
        return remote.codec_for(Link(remote, None, ("192.0.2.1", 7000)))


CODEC = trio.run(codec_of_a_link)


def is_taken(payload: bytes) -> bool:
    """Whether the codec takes a frame, and what it carries."""
    try:
        frame = CODEC.decode(payload)
        if isinstance(frame, MessageFrame):
            CODEC.open_message(frame)
            CODEC.open_headers(frame)
        elif isinstance(frame, Tells):
            for each in frame.items:
                CODEC.build(CODEC.shape_named(frame.name), each)
        elif isinstance(frame, Answer):
            CODEC.open_answer(frame.item, None)
    except (WireError, MessageRefused):
        return False
    return True


# --- the words of both ----------------------------------------------------------------------------


def test_every_frame_has_its_rule() -> None:
    numbers = {frame.__name__.lower(): str(number) for number, frame in CONTROL_FRAMES.items()}

    assert {**numbers, "tells": str(Tells.number), "begin": str(BEGIN), "piece": str(PIECE)} == RULES


def test_every_kind_of_failure_is_named() -> None:
    (kinds,) = re.findall(r"^failure-kind = (.*?/ words)", TEXT, re.MULTILINE | re.DOTALL)

    assert re.findall(r'"(\w+)"', kinds) == [*FAILURES, CANCELLED]


def test_every_type_of_array_is_named() -> None:
    (bare,) = re.findall(r"^element-type = (.*)", TEXT, re.MULTILINE)

    assert [int(tag) for tag in re.findall(r"#6\.(\d\d)\(bstr\)", TEXT)] == list(DTYPES)
    assert [int(tag) for tag in bare.split("/")] == list(DTYPES)
    assert f"[0*{MAX_DIMENSIONS} 0..{MAX_ELEMENTS}]" in TEXT


# --- all that may be sent -------------------------------------------------------------------------

counts = st.integers(0, 2**63 - 1)
positives = st.integers(1, 2**63 - 1)
seconds = st.floats(0, 2**40, exclude_max=True) | st.integers(0, 2**40 - 1)
letters = st.characters(codec="utf-8")
ids = st.text(letters, min_size=1, max_size=50) | st.sampled_from(["i" * 1000, "\U0001f600" * 1000])
words = st.text(letters, max_size=50) | st.sampled_from(["w" * 10_000, "\U0001f600" * 10_000])
ports = st.integers(0, 65_535)
addresses = st.tuples(ids, ports).map(list)

refs = st.one_of(
    st.tuples(st.just(0), ids, ids, ports),
    st.tuples(st.just(1), ids, ids, ports),
    st.tuples(st.just(1), ids, st.none(), st.none()),
    st.tuples(st.just(2), ids, st.none(), st.none()),
).map(lambda fields: CBORTag(27, ["trioactor.ref", list(fields)]))
typed_arrays = st.builds(
    lambda tag, elements: CBORTag(tag, bytes(elements * DTYPES[tag].itemsize)),
    st.sampled_from(list(DTYPES)),
    st.integers(0, 5),
)
arrays = st.builds(
    lambda tag, shape: CBORTag(
        40, [list(shape), CBORTag(tag, bytes(math.prod(shape) * DTYPES[tag].itemsize))]
    ),
    st.sampled_from(list(DTYPES)),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


def messages(values: st.SearchStrategy[Any]) -> st.SearchStrategy[CBORTag]:
    return st.lists(values, max_size=2).map(lambda fields: CBORTag(27, ["wire.anything", fields]))


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**64), 2**64 - 1),
        st.floats(),
        words,
        st.binary(max_size=50),
        refs,
        typed_arrays,
        arrays,
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(letters, max_size=5), inner, max_size=4)
        | messages(inner)
    ),
    max_leaves=4,
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "ask": counts | st.none(),
        "ttl": seconds | st.none(),
        "chain": st.lists(ids, max_size=5) | st.none() | st.just(["a"] * 100),
        "user": st.dictionaries(st.text(letters, max_size=5), values, max_size=3) | st.none(),
    },
)
hellos = st.fixed_dictionaries(
    {
        "protocol": counts,
        "system": ids,
        "incarnation": counts,
        "vocabulary": st.binary(min_size=8, max_size=8),
        "frame_bytes": st.integers(1024, 2**63 - 1),
        "message_bytes": counts,
        "window": st.tuples(positives, positives).map(list),
        "silence_seconds": seconds.filter(bool),
        "address": addresses | st.none(),
    },
    optional={"tells": st.booleans(), "of_a_later_version": values},
)

FRAMES: dict[str, st.SearchStrategy[list[Any]]] = {
    "message": st.tuples(ids, messages(values)).map(list)
    | st.tuples(ids, messages(values), headers).map(list),
    "tells": st.tuples(
        st.just(14),
        ids,
        st.just("wire.anything"),
        st.lists(st.lists(values, max_size=2), min_size=1, max_size=3),
    ).map(list),
    "hello": hellos.map(lambda hello: [0, hello]),
    "answer": st.tuples(st.just(1), counts, values).map(list),
    "failure": st.tuples(
        st.just(2), counts, st.sampled_from([*FAILURES, CANCELLED]) | words, words, words
    ).map(list),
    "cancel": st.tuples(st.just(3), counts).map(list),
    "credit": st.tuples(st.just(4), words, counts, counts).map(list),
    "ping": st.tuples(st.just(5), counts).map(list),
    "pong": st.tuples(st.just(6), counts).map(list),
    "watch": st.tuples(st.just(9), counts, words).map(list),
    "unwatch": st.tuples(st.just(10), counts).map(list),
    "down": st.tuples(st.just(11), counts, words).map(list),
    "end": st.tuples(st.just(12), counts, words, st.booleans()).map(list),
    "goodbye": st.tuples(st.just(13), words, st.lists(counts, max_size=5)).map(list),
}


def test_all_kinds_of_frames_are_generated() -> None:
    assert FRAMES.keys() == {"message", *RULES} - {"begin", "piece"}


@pytest.mark.parametrize("kind", FRAMES)
@thoroughly
@given(data=st.data())
def test_a_frame_over_its_whole_range_is_taken_by_the_grammar_and_by_the_codec(
    kind: str, data: st.DataObject
) -> None:
    payload = dumps(data.draw(FRAMES[kind]))

    assert complaint_about(payload) is None
    assert is_taken(payload), in_words(payload)


@thoroughly
@given(value=values)
def test_what_the_codec_writes_is_as_the_grammar_says(value: Any) -> None:
    """It reads a value, builds it, and writes it again."""
    frame = CODEC.decode(dumps(["actor", CBORTag(27, ["wire.anything", [value]])]))
    assert isinstance(frame, MessageFrame)
    built, _ = CODEC.open_message(frame)

    encoded = CODEC.encode_message(dumps("actor"), built)
    answer = CODEC.encode_answer(7, built.value, None)

    for sent in (encoded, answer):
        assert complaint_about_sequence(sent.head + b"".join(map(bytes, sent.tail))) is None


# --- all that may not -----------------------------------------------------------------------------

# What stands where something else should: of every type, and at the edges of every range.
ODDITIES = st.one_of(
    st.sampled_from(
        [-1, 0, 1, 23, 1023, 1024, 65_535, 65_536, 2**40 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
    ),
    st.sampled_from(
        [-0.5, 0.0, -0.0, 0.5, 2.0**40, math.nextafter(2.0**40, 0), math.nan, math.inf, -math.inf]
    ),
    st.sampled_from([None, True, False, undefined, CBORSimpleValue(99), 2**64, -(2**64), -(2**64) - 1]),
    st.sampled_from(["", "a", b"", b"8 bytes!", b"9 bytes!!"]),
    st.sampled_from([[], [1], [1, 1], [0, 1], ["a"], ["a", 1], ["", 1], ["a", -1], ["a"] * 101, [1, 2**63]]),
    st.sampled_from([{}, {"a": 1}, {b"a": 1}, {"a": undefined}, {"a": {b"b": 1}}]),
    st.sampled_from(
        [
            (1, 0),
            (27, ["wire.anything", [CBORTag(0, "x")]]),
            (27, ["trioactor.ref", [1, "a", None]]),
            (27, ["trioactor.ref", [1, "a", "host", None]]),
            (27, ["trioactor.ref", [True, "a", None, None]]),
            (27, ["trioactor.ref", [2, "a", "host", 1]]),
            (27, ["trioactor.ref", [0, "a", None, None]]),
            (27, ["trioactor.ref", [3, "a", "host", 1]]),
            (27, "wire.anything"),
            (40, [[1], CBORTag(65, bytes(2))]),
            (40, [[1] * 33, CBORTag(64, bytes(1))]),
            (40, [[-1], CBORTag(64, b"")]),
            (40, [["1"], CBORTag(64, b"1")]),
            (40, [[1], CBORTag(64, "1")]),
            (40, [1, CBORTag(64, b"1")]),
            (64, [1]),
            (87, bytes(16)),
            (55799, 1),
        ]
    ).map(lambda tagged: CBORTag(*tagged)),
)


def places(item: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to everything in an item, itself included."""
    inside: list[tuple[Any, ...]] = []
    if isinstance(item, CBORTag):
        inside = places(item.value, (*path, None))
    elif isinstance(item, list):
        inside = [way for key, each in enumerate(item) for way in places(each, (*path, key))]
    elif isinstance(item, dict):
        inside = [way for key, each in item.items() for way in places(each, (*path, key))]
    return [path, *inside]


def replaced(item: Any, path: tuple[Any, ...], other: Any) -> Any:
    """Return the item with something else in one place."""
    if not path:
        return other
    key, rest = path[0], path[1:]
    if isinstance(item, CBORTag):
        return CBORTag(item.tag, replaced(item.value, rest, other))
    if isinstance(item, list):
        return [replaced(each, rest, other) if at == key else each for at, each in enumerate(item)]
    return {at: replaced(each, rest, other) if at == key else each for at, each in item.items()}


def with_something_else(frame: list[Any], data: st.DataObject) -> list[Any]:
    """Return the frame with another value, one value more, or one less."""
    change = data.draw(st.sampled_from(["another", "another", "another", "more", "less"]))
    if change == "less":
        return frame[:-1]
    if change == "more":
        return [*frame, data.draw(ODDITIES)]
    path = data.draw(st.sampled_from(places(frame)[1:]))
    changed: list[Any] = replaced(frame, path, data.draw(ODDITIES))
    return changed


@pytest.mark.parametrize("kind", FRAMES)
@thoroughly
@given(data=st.data())
def test_a_frame_with_something_else_in_it_is_taken_by_both_or_by_neither(
    kind: str, data: st.DataObject
) -> None:
    frame = with_something_else(data.draw(FRAMES[kind]), data)
    if in_no_vocabulary(frame) or array_does_not_add_up(frame):
        return
    payload = dumps(frame)

    assert is_taken(payload) == (complaint_about(payload) is None), in_words(payload)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_frame_with_broken_bytes_that_the_codec_takes_is_in_the_grammar(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(FRAMES)))
    payload = bytearray(dumps(data.draw(FRAMES[kind])))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place : place + data.draw(st.integers(0, 1))] = data.draw(st.binary(max_size=1))

    if payload and is_taken(bytes(payload)):
        assert complaint_about(bytes(payload)) is None


def parts(item: Any) -> list[Any]:
    """Return everything in an item, itself included."""
    if isinstance(item, CBORTag):
        return [item, *parts(item.value)]
    if isinstance(item, list | tuple):
        return [item, *(part for each in item for part in parts(each))]
    if isinstance(item, dict):
        return [item, *(part for each in item.values() for part in parts(each))]
    return [item]


def in_no_vocabulary(frame: Any) -> bool:
    """Whether a message in it has a name or a number of fields that the class does not have."""
    if frame[:1] == [14] and len(frame) == 4 and isinstance(frame[2], str) and isinstance(frame[3], list):
        fields_of_each = [fields for fields in frame[3] if isinstance(fields, list)]
        if frame[2] != "wire.anything" or any(len(fields) > 2 for fields in fields_of_each):
            return True
    return any(
        name not in ("wire.anything", "trioactor.ref") or (name == "wire.anything" and len(fields) > 2)
        for name, fields in (
            part.value
            for part in parts(frame)
            if isinstance(part, CBORTag) and part.tag == 27 and isinstance(part.value, list | tuple)
            if len(part.value) == 2 and isinstance(part.value[0], str) and isinstance(part.value[1], list)
        )
    )


def array_does_not_add_up(frame: Any) -> bool:
    """Whether the elements of an array are not as many as its dimensions say, or come behind nothing."""
    return any(
        part.tag == 40 or (part.tag in DTYPES and len(part.value) % DTYPES[part.tag].itemsize)
        for part in parts(frame)
        if isinstance(part, CBORTag) and (part.tag == 40 or isinstance(part.value, bytes))
    )


@pytest.mark.parametrize(
    "frame",
    [
        [],
        {},
        5,
        [14, 1],
        ["actor"],
        ["actor", CBORTag(27, ["wire.anything", []]), {}, 1],
        ["actor", CBORTag(27, ["wire.anything", []]), {"asc": 1}],
        ["actor", CBORTag(28, ["wire.anything", []])],
        ["actor", CBORTag(27, ["trioactor.ref", [1, "a", None, None]])],
        ["actor", CBORTag(27, ["wire.anything", [CBORTag(40, [[1] * 33, CBORTag(64, b"1")])]])],
        ["actor", CBORTag(27, ["wire.anything", [CBORTag(40, [[1], CBORTag(65, b"12")])]])],
        ["actor", CBORTag(27, ["wire.anything", [CBORTag(40, [[1], 87])]])],
        ["actor", CBORTag(27, ["wire.anything", {"value": 1}])],
    ],
    ids=str,
)
def test_what_is_no_frame_is_in_neither(frame: Any) -> None:
    assert complaint_about(dumps(frame)) is not None
    assert not is_taken(dumps(frame))


@thoroughly
@given(
    head=st.integers(-1, 2**64 - 1) | st.sampled_from([0, 1, 100]),
    tail=st.integers(-1, 2**64 - 1) | st.sampled_from([0, 1, 100]),
)
def test_a_message_in_pieces_is_announced_as_the_grammar_says(head: int, tail: int) -> None:
    payload = dumps([BEGIN, head, tail])
    decoder = FrameDecoder(LIMITS)
    decoder.feed(encode_frame(payload))
    try:
        decoder.next_event()
    except FrameTooLarge:  # of lengths that only a limit forbids, and so may the grammar
        return
    except WireError:
        taken = False
    else:
        taken = True

    assert taken == (complaint_about(payload) is None)


@pytest.mark.parametrize("size", [0, 1, 2**18 - 7, 2**18 - 6])
def test_a_piece_is_as_long_as_a_frame_can_hold(size: int) -> None:
    payload = dumps([PIECE, bytes(size)])

    assert (complaint_about(payload) is None) == (size >= 1 and len(payload) <= LIMITS.frame_bytes)


# --- what the suite writes ------------------------------------------------------------------------


async def test_all_kinds_of_frames_are_written_and_recorded(
    autojump_clock: MockClock, recorder: Recorder, good: Files
) -> None:
    """If the recorder were deaf to one kind, the suite would not notice."""
    async with open_pair("simulated", good, vocabulary=(Note, Hold, Read, Fail, Twice)) as pair:
        keeper = Clerk()
        clerk = await pair.start(lambda: keeper, "clerk")
        doubler = await pair.start(Doubler, "doubler")
        await exchange_everything(clerk, doubler)
        keeper.gate.set()

    assert recorder.kinds.keys() == {"message", "sequence", *map(int, RULES.values())}


async def exchange_everything(clerk: ActorRef, doubler: ActorRef) -> None:
    numbers = np.arange(100_000.0)
    np.testing.assert_array_equal(await doubler.ask(Twice(numbers)), numbers * 2)
    for number in range(100):  # a quarter of the window: credit comes back
        await clerk.tell(Note(number))
    assert len(await clerk.ask(Read())) == 100
    async with clerk.watch():
        pass
    with trio.move_on_after(1):
        await clerk.ask(Hold())
    await trio.sleep(60)  # in silence: pings
    with pytest.raises(PeerDown):
        await watch_the_end_of(doubler)
    with pytest.raises(Exception, match="no such actor"):
        await doubler.ask(Twice(numbers[:1]))


async def watch_the_end_of(ref: ActorRef) -> None:
    async with ref.watch():
        await ref.stop()
        await trio.sleep_forever()


def test_a_frame_outside_of_the_grammar_is_shown_in_diagnostic_notation() -> None:
    recorder = Recorder()
    for number in (1, -1):
        recorder.framed(dumps([5, number]))

    (complaint,) = recorder.complaints()

    assert "[5, -1] is no `ping`" in complaint
    assert "outside 0..9223372036854775807" in complaint


def test_arrays_behind_a_head_that_are_not_as_the_grammar_says_are_shown() -> None:
    head = dumps(["actor", CBORTag(27, ["wire.twice", [CBORTag(40, [[1], 86])]])])

    assert complaint_about_sequence(head + dumps(CBORTag(86, bytes(8)))) is None
    assert complaint_about_sequence(head + dumps(bytes(8))) is not None


def test_frames_that_look_alike_are_judged_once() -> None:
    recorder = Recorder()
    recorder.framed(dumps([5, -1]))
    assert recorder.complaints()

    recorder.framed(dumps([5, -1]))

    assert not recorder.complaints()


def test_the_hello_of_the_grammar_has_the_keys_of_the_class() -> None:
    (block,) = re.findall(r"^hello = \[0, \{(.*?)^\}\]", TEXT, re.MULTILINE | re.DOTALL)

    assert re.findall(r'"(\w+)" (?:\^ )?=>', block) == [field.name for field in fields(Hello)]
