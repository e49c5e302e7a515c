"""Messages to CBOR and back: all that may travel does, unchanged, and nothing else gets in or out."""

from __future__ import annotations

import enum
import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import cbor2
import numpy as np
import pytest
from cbor2 import CBORTag, dumps
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.trioactor.words import (
    WORDS,
    Arrays,
    Choices,
    Collections,
    Later,
    Leaf,
    Letter,
    Metres,
    Picky,
    Scalars,
    Tree,
    Unknown,
)
from trioactor import ActorRef, HealthAck, message
from trioactor.arrays import ArrayHook, decoders
from trioactor.codec import BUILT_IN_TAGS, Codec, check_items
from trioactor.errors import (
    BadFields,
    CannotEncode,
    HandlerFailed,
    MessageRefused,
    NotDelivered,
    OutcomeUnknown,
    Rejected,
    RemoteError,
    UnknownMessage,
    WireError,
)
from trioactor.frames import Answer, Credit, Failure, Hello, MessageFrame, Ping
from trioactor.framing import FrameDecoder, Head, Tail, cut, encode_frame
from trioactor.limits import Limits
from trioactor.remote import RefHook
from trioactor.shapes import Mismatch
from trioactor.vocabulary import Vocabulary

LIMITS = Limits(items=1500)
ACTOR = dumps("actor")


class Addresses:
    """Tells refs by the name of the actor alone."""

    def wire_ref(self, ref: Any) -> list[Any]:
        return [1, ref, None, None]

    def ref_of(self, fields: Any) -> Any:
        if len(fields) != 4:
            raise Mismatch("four, please")
        return fields[1]


VOCABULARY = Vocabulary(WORDS, [RefHook(), ArrayHook()])


def new_codec(limits: Limits = LIMITS) -> Codec:
    return Codec(VOCABULARY, limits, Addresses(), b"8 bytes!", decoders)


CODEC = new_codec()


def receive(head: bytes, tail: list[Any], tail_bytes: int, codec: Codec = CODEC) -> MessageFrame | Answer:
    """Take a message through frames and back to a decoded one."""
    decoder = FrameDecoder(LIMITS)
    for frame in cut(head, tail, tail_bytes, LIMITS.frame_bytes):
        decoder.feed(b"".join(frame))
        while (event := decoder.next_event()) is not None:
            match event:
                case bytes():
                    return codec.decode(event)  # type: ignore[return-value]
                case Head(payload, size):
                    pending = codec.decode(payload, size)
                    expected = codec.tail
                    decoder.place(expected.places if expected.expected else [])
                case Tail():
                    assert isinstance(pending, MessageFrame | Answer)
                    assert expected.expected
                    assert expected.sound()
                    return pending
    raise AssertionError("nothing came out")


def there(message: Any) -> Any:
    """What arrives of a message."""
    encoded = CODEC.encode_message(ACTOR, message)
    frame = receive(encoded.head, list(encoded.tail), encoded.tail_bytes)
    assert isinstance(frame, MessageFrame)
    assert frame.actor_id == "actor"
    return CODEC.open_message(frame)[0]


def arriving(item: Any) -> Any:
    """What a frame with this item as its message becomes."""
    frame = CODEC.decode(dumps(["actor", item]))
    assert isinstance(frame, MessageFrame)
    return CODEC.open_message(frame)[0]


def named(wire_name: Any, *fields: Any) -> CBORTag:
    return CBORTag(27, [wire_name, list(fields)])


# --- what may travel ------------------------------------------------------------------------------

whole = st.integers(-(2**64), 2**64 - 1)
real = st.floats(allow_nan=False)
text = st.text(max_size=20)
scalars = st.builds(Scalars, whole, real, st.booleans(), text, st.binary(max_size=20), st.none())
collections = st.builds(
    Collections,
    st.lists(whole, max_size=4).map(tuple),
    st.tuples(text, real),
    st.lists(text, max_size=3),
    st.lists(real, max_size=3).map(tuple),
    st.dictionaries(text, st.lists(whole, max_size=2).map(tuple), max_size=3),
    st.dictionaries(text, st.booleans(), max_size=3),
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), whole, real, text, st.binary(max_size=9), st.builds(Leaf, whole)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=8,
)
choices = st.builds(
    Choices,
    st.one_of(whole, st.none()),
    st.one_of(text, st.lists(whole, max_size=2).map(tuple)),
    st.sampled_from(["fast", "slow", 3]),
    real.map(Metres),
    text,
    anything,
)
trees = st.recursive(
    st.builds(Leaf, whole),
    lambda inner: st.builds(Tree, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
).map(lambda node: Tree((node,)))


@given(st.one_of(scalars, collections, choices, trees))
def test_what_arrives_is_what_was_sent(sent: Any) -> None:
    assert there(sent) == sent


@given(st.one_of(scalars, collections, choices, trees))
def test_every_value_keeps_its_type(sent: Any) -> None:
    """1 == 1.0 == True, so equality alone would not show it."""
    assert repr(there(sent)) == repr(sent)


dtypes = st.one_of(
    npst.integer_dtypes(), npst.unsigned_integer_dtypes(), npst.floating_dtypes(sizes=(16, 32, 64))
)


@given(npst.arrays(dtypes, npst.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_arrays_arrive_with_shape_dtype_and_bits(sent: np.ndarray[Any, Any]) -> None:
    """In either byte order; they arrive little-endian."""
    arrived = there(Arrays(sent)).any

    assert arrived.dtype == sent.dtype.newbyteorder("<")
    np.testing.assert_array_equal(arrived, sent)


@pytest.mark.parametrize("elements", [3, 5_000, 200_000])
def test_arrays_of_all_sizes_arrive_read_only(elements: int) -> None:
    """Inline, behind the head, and in pieces."""
    sent = np.arange(elements, dtype=np.float32)

    arrived = there(Arrays(sent, sent, {"W": sent.reshape(-1, 1), "b": np.ones(2)}))

    np.testing.assert_array_equal(arrived.single, sent)
    np.testing.assert_array_equal(arrived.named["W"], sent.reshape(-1, 1))
    np.testing.assert_array_equal(arrived.named["b"], np.ones(2))
    with pytest.raises(ValueError, match="read-only"):
        arrived.any[0] = 1


def test_a_large_array_is_sent_from_its_own_memory() -> None:
    sent = np.zeros(100_000)
    encoded = CODEC.encode_message(ACTOR, Arrays(sent))

    sent[7] = 1.0

    assert len(encoded.head) < 100
    assert 1.0 in np.frombuffer(encoded.tail[1], np.float64)


def test_an_array_that_is_not_contiguous_travels_too() -> None:
    sent = np.arange(20_000.0).reshape(100, 200)[::2, ::-1]

    np.testing.assert_array_equal(there(Arrays(sent)).any, sent)


def test_a_ref_travels_as_the_system_tells_it() -> None:
    assert CODEC.encode_message(ACTOR, Later(1)).head
    with pytest.raises(CannotEncode, match=r"sender: expected ActorRef, found int"):
        CODEC.encode_message(ACTOR, Letter(5))  # type: ignore[arg-type]

    assert arriving(named("words.letter", named("trioactor.ref", 1, "worker", None, None))).sender == "worker"


def test_the_messages_of_the_runtime_are_known_to_all() -> None:
    assert there(HealthAck("a", 3)) == HealthAck("a", 3)


def test_fields_with_a_default_may_be_left_out_by_an_older_peer() -> None:
    assert arriving(named("words.later", 1)) == Later(1, 2, "three")
    assert arriving(named("words.later", 1, 7)) == Later(1, 7, "three")


def test_a_float_field_takes_what_other_languages_write() -> None:
    """A whole number, and floats of 16 and 32 bits."""
    assert repr(arriving(named("words.picky", 1))) == "Picky(share=1.0)"
    for short in ("f93800", "fa3f000000"):
        payload = bytes.fromhex("8265") + b"actor" + bytes.fromhex("d81b82") + dumps("words.picky")
        frame = CODEC.decode(payload + b"\x81" + bytes.fromhex(short))
        assert isinstance(frame, MessageFrame)
        assert CODEC.open_message(frame)[0] == Picky(0.5)


class Colour(enum.StrEnum):
    RED = "red"


def test_subclasses_travel_as_what_they_are_a_kind_of() -> None:
    sent = Scalars(np.int64(3), np.float32(0.5), True, Colour.RED, bytearray(b"x"), None)  # type: ignore[arg-type]

    assert repr(there(sent)) == "Scalars(whole=3, real=0.5, yes=True, text='red', raw=b'x', nothing=None)"


# --- what may not get out ---------------------------------------------------------------------------


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


# The classes, without the annotations that a type checker would hold against the next test.
a_leaf: Any = Leaf
a_scalars: Any = Scalars
a_collections: Any = Collections
a_choices: Any = Choices
a_arrays: Any = Arrays


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (a_leaf("x"), r"words.leaf cannot be sent: value: expected int, found str"),
        (a_leaf(True), "expected int, found bool"),
        (a_leaf(1.0), "expected int, found float"),
        (a_leaf(2**64), "outside of"),
        (a_scalars(1, True, True, "", b"", None), "real: expected float, found bool"),
        (a_scalars(1, 10**400, True, "", b"", None), "too large for a float"),
        (a_scalars(1, 1.0, 1, "", b"", None), "yes: expected bool, found int"),
        (a_scalars(1, 1.0, True, b"", b"", None), "text: expected str, found bytes"),
        (a_scalars(1, 1.0, True, "\ud800", b"", None), "surrogates"),
        (a_scalars(1, 1.0, True, "", memoryview(b"x"), None), r"raw: a memoryview cannot be sent"),
        (a_scalars(1, 1.0, True, "", b"", 0), "nothing: expected None, found int"),
        (a_collections((1, "x"), ("", 1.0), [], (), {}, {}), r"numbers\[1\]: expected int, found str"),
        (a_collections((), ("",), [], (), {}, {}), "pair: expected 2 values, found 1"),
        (a_collections((), ("", 1.0), "names", (), {}, {}), "names: expected list"),
        (a_collections((), ("", 1.0), [], (), {"a": (1, None)}, {}), r"table\['a'\]\[1\]: expected int"),
        (a_collections((), ("", 1.0), [], (), {1: ()}, {}), "expected a text key, found int"),
        (a_choices(1, "", "other", 1.0, "", None), "mode: expected Literal"),
        (a_choices(1, "", 3.0, 1.0, "", None), "mode: expected Literal"),
        (a_choices(1.5, "", 3, 1.0, "", None), r"maybe: expected int \| None, found float"),
        (a_choices(1, "", 3, 1.0, "", {1, 2}), "anything: expected a value that can be sent, found set"),
        (a_choices(1, "", 3, 1.0, "", memoryview(b"")), "memoryview"),
        (a_choices(1, "", 3, 1.0, "", Unknown()), "found Unknown"),
        (a_choices(1, "", 3, 1.0, "", deep(10_000)), "nested deeper than 32 levels"),
        (a_choices(1, "", 3, 1.0, "", [0] * 2000), "more than 1,500 items"),
        (a_arrays(np.ones(3, bool)), "dtype bool cannot be sent"),
        (a_arrays(np.array([object()])), "dtype object cannot be sent"),
        (a_arrays([1.0]), "any: expected array"),
        (a_arrays(np.ones(1), np.ones(1)), r"single: expected array\[float32\]"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_sent(message: Any, complaint: str) -> None:
    with pytest.raises(CannotEncode, match=complaint):
        CODEC.encode_message(ACTOR, message)


def test_a_message_outside_of_the_vocabulary_names_the_fix() -> None:
    with pytest.raises(UnknownMessage, match=r"vocabulary=\[Unknown\]"):
        CODEC.encode_message(ACTOR, Unknown())


def test_a_message_that_is_too_long_is_refused_before_it_is_sent() -> None:
    codec = new_codec(Limits(head_bytes=30_000, message_bytes=100_000, items=1500))

    with pytest.raises(CannotEncode, match="limit is 30,000; put numbers into arrays"):
        codec.encode_message(ACTOR, Choices(1, "x" * 40_000, 3, Metres(1.0), "", None))
    with pytest.raises(CannotEncode, match="limit is 100,000; raise message_bytes"):
        codec.encode_message(ACTOR, Arrays(np.ones(20_000)))


# --- what may not get in ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "error", "complaint"),
    [
        (named("words.unknown"), UnknownMessage, "no message is called 'words.unknown'"),
        (named(7), UnknownMessage, "no text"),
        (named("words.leaf"), BadFields, "has 1 fields, found 0"),
        (named("words.leaf", 1, 2), BadFields, "has 1 fields, found 2"),
        (named("words.later", 1, 2, "3", 4), BadFields, "has 1 to 3 fields, found 4"),
        (named("words.leaf", True), BadFields, "value: expected int, found bool"),
        (named("words.leaf", 1.0), BadFields, "value: expected int, found float"),
        (named("words.leaf", 2**70), BadFields, "value: the tag 2 is not allowed here"),
        (named("words.picky", True), BadFields, "share: expected float, found bool"),
        (named("words.picky", 2.0), BadFields, "does not accept its values: share=2.0"),
        (named("words.tree", [named("words.picky", 0.5)]), BadFields, r"children\[0\]: expected"),
        (named("words.tree", [named("words.leaf", "x")]), BadFields, r"children\[0\]"),
        (named("words.letter", named("trioactor.ref", 1)), BadFields, "sender: four, please"),
        (named("words.letter", "worker"), BadFields, "sender: expected ActorRef, found str"),
        (named("words.choices", None, "", 3, 1.0, "", CBORTag(999, 1)), BadFields, "value with the tag 999"),
        (named("words.choices", None, "", 3, 1.0, "", cbor2.undefined), BadFields, "anything"),
        (named("words.choices", None, "", 3, 1.0, "", cbor2.CBORSimpleValue(99)), BadFields, "anything"),
        (
            named("words.choices", None, "", 3, 1.0, "", named("words.unknown")),
            BadFields,
            "no message is called",
        ),
        (named("words.choices", None, "", 3, 1.0, "", {b"a": 1}), BadFields, "text key, found bytes"),
        (CBORTag(27, ["words.leaf"]), BadFields, "expected tag 27"),
        (CBORTag(27, ["words.leaf", {"value": 1}]), BadFields, "fields of a message are an array"),
        (CBORTag(27, 5), BadFields, "expected tag 27"),
        (CBORTag(28, ["words.leaf", [1]]), BadFields, "the tag 28 is not allowed here"),
        (["words.leaf", [1]], BadFields, "expected tag 27"),
        (None, BadFields, "expected tag 27"),
    ],
)
def test_a_message_that_is_not_acceptable_is_refused_by_itself(
    item: Any, error: type[Exception], complaint: str
) -> None:
    """The frame is sound, so its connection stays; only the message is not built."""
    with pytest.raises(error, match=complaint):
        arriving(item)


def typed(tag: int, data: Any) -> CBORTag:
    return CBORTag(tag, data)


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (CBORTag(40, [[2], typed(86, bytes(8))]), "an array of 2 elements was announced, 1 came"),
        (CBORTag(40, [[2, -1], typed(86, bytes(8))]), "whole numbers, 0 or more"),
        (CBORTag(40, [[2.0], typed(86, bytes(16))]), "whole numbers, 0 or more"),
        (CBORTag(40, [[1] * 33, typed(86, bytes(8))]), "at most 32"),
        (CBORTag(40, [[2**47, 2**47, 0], 86]), "an array has at most"),
        (CBORTag(40, [[2**47], 86]), "more bytes than follow"),
        (CBORTag(40, [[2], 86]), "more bytes than follow"),
        (CBORTag(40, [[2], 99]), "no typed array"),
        (CBORTag(40, [[2], [1.0, 2.0]]), "no typed array"),
        (CBORTag(40, [[2], typed(82, bytes(16))]), "the tag 82 are not taken"),
        (CBORTag(40, [2, typed(86, bytes(16))]), "dimensions, typed array"),
        (CBORTag(40, 1), "dimensions, typed array"),
        (typed(86, bytes(9)), "whole elements"),
        (typed(86, "text"), "whole elements"),
        (typed(68, bytes(9)), "the tag 68 are not taken"),
        (CBORTag(41, [1, 2]), "value with the tag 41"),
    ],
)
def test_an_array_that_is_not_sound_is_refused(array: CBORTag, complaint: str) -> None:
    with pytest.raises(BadFields, match=complaint):
        arriving(named("words.arrays", array))


@pytest.mark.parametrize(("size", "count", "taken"), [(1, 250, True), (1, 251, False), (1024, 251, True)])
def test_few_small_arrays_come_behind_a_head(size: int, count: int, taken: bool) -> None:
    """Each costs time, whatever its size; the bytes of large ones pay for it."""
    head = dumps(["actor", named("words.choices", 1, "", 3, 1.0, "", [CBORTag(40, [[size], 64])] * count)])
    tail = dumps(typed(64, bytes(size))) * count

    frame = new_codec(Limits()).decode(head, len(tail))

    assert isinstance(frame, MessageFrame)
    if taken:
        assert len(CODEC.open_message(frame)[0].anything) == count
    else:
        with pytest.raises(BadFields, match=r"more than 250 of fewer than 1,024 bytes; .* in the head"):
            CODEC.open_message(frame)


def test_small_arrays_beyond_these_are_sent_in_the_head() -> None:
    codec = new_codec(Limits(inline_array_bytes=1))
    sent = Arrays(np.ones(1), named={str(number): np.full(2, number) for number in range(1000)})

    encoded = codec.encode_message(ACTOR, sent)
    frame = receive(encoded.head, list(encoded.tail), encoded.tail_bytes, new_codec(Limits()))
    assert isinstance(frame, MessageFrame)
    arrived = codec.open_message(frame)[0]

    assert len(encoded.tail) == 2 * 250
    assert [array.tolist() for array in arrived.named.values()] == [[n, n] for n in range(1000)]


ARRAY = typed(86, bytes(16))


@pytest.mark.parametrize(
    "item",
    [
        CBORTag(27, [ARRAY, [1]]),
        named("words.tree", [CBORTag(27, [ARRAY, [1]])]),
        named("words.letter", CBORTag(27, [ARRAY, [1, "worker", None, None]])),
        named("words.choices", None, "", 3, 1.0, "", CBORTag(27, [ARRAY, []])),
        named("words.choices", None, "", ARRAY, 1.0, "", None),
    ],
)
def test_an_array_in_the_place_of_a_name_is_refused(item: Any) -> None:
    """Arrays are not like other values: comparing one with a text raises ValueError."""
    with pytest.raises(MessageRefused):
        arriving(item)


def test_an_array_in_the_place_of_the_end_or_the_kind_of_a_frame_is_neither() -> None:
    """What we put behind each frame is looked for in its place; and so is the number of a small frame."""
    with pytest.raises(WireError, match="bytes behind its item, or ends too early"):
        CODEC.decode(dumps(["actor", 1]) + dumps(ARRAY))
    with pytest.raises(WireError, match="of no kind that this protocol version knows"):
        CODEC.decode(dumps([ARRAY, 1, 2, 3]))


def test_a_bare_typed_array_has_one_dimension() -> None:
    """As other languages write their own typed arrays."""
    arrived = arriving(named("words.arrays", typed(85, np.ones(3, "<f4").tobytes()))).any

    np.testing.assert_array_equal(arrived, np.ones(3, "f4"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x80",
        b"\x81\x61a",
        b"\xa1\x61a\x01",
        b"\x82\x61a",  # cut off
        b"\x82\x61a\x00\x00",  # something behind it
        b"\x9f\x61a\x00\xff",  # indefinite
        b"\x82\x61a\x5f\x41a\xff",
        b"\x82\x61a\xa2\x61a\x00\x61a\x00",  # a key twice
        b"\x82\x61a\xa1\x00\x00",  # a key that is a number
        b"\x82\x61\xff\x00",  # no UTF-8
        b"\x82\x61a\x1c",
        b"\x82\x61a" + b"\x81" * 40 + b"\x00",  # too deep
        b"\x82\x61a" + b"\xd8\x1b\x81" * 20 + b"\x00",
        b"\x82\x61a\x5b" + b"\xff" * 8,  # a byte string of 2**64 - 1 bytes
        b"\x82\x61a\x9b" + b"\xff" * 8,
        b"\x84\x61a\x00\xa0\x00",  # four items
        b"\x83\x61a\x00\x00",
        b"\x83\x61a\x00\xa1\x61z\x00",  # a header that is not known
        b"\x82\x60\x00",  # an actor without a name
        b"\x82\xf5\x00",
        b"\x82\x18\x63\x00",  # frame number 99
        b"\x82\x07\x00",
    ],
)
def test_what_is_no_frame_ends_the_connection(data: bytes) -> None:
    with pytest.raises(WireError):
        CODEC.decode(data)


@pytest.mark.parametrize(
    "headers",
    [
        {"ask": -1},
        {"ask": 2**63},
        {"ask": "1"},
        {"ask": True},
        {"ttl": -1.0},
        {"ttl": math.nan},
        {"ttl": math.inf},
        {"ttl": "1"},
        {"chain": "a"},
        {"chain": ["a", 1]},
        {"chain": ["a"] * 101},
        {"user": [1]},
    ],
)
def test_headers_out_of_range_end_the_connection(headers: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="headers are"):
        CODEC.decode(dumps(["actor", named("words.leaf", 1), headers]))


def test_headers_of_middleware_travel() -> None:
    encoded = CODEC.encode_headers({"trace": "abc", "leaf": Leaf(1)})
    head = CODEC.encode_message(ACTOR, Leaf(2), headers_follow=True).head

    frame = receive(head + b"\xa1" + dumps("user") + encoded, [], 0)

    assert isinstance(frame, MessageFrame)
    assert CODEC.open_headers(frame) == {"trace": "abc", "leaf": Leaf(1)}
    with pytest.raises(CannotEncode, match="more than 16,384 bytes"):
        CODEC.encode_headers({"blob": bytes(20_000)})


def test_no_tag_from_0_to_66000_builds_anything() -> None:
    """But for messages, refs and arrays, whatever it stands over."""
    contents = [
        1,
        "2020-01-01T00:00:00Z",
        b"\x01",
        [1, 2],
        [[1, 2], b"\x00"],
        1.5,
        {"a": 1},
        "1.2.3.4",
        b"abcd",
    ]
    ours = {27, 40, *range(64, 88)}
    for tag in range(66_001):
        if tag in ours:
            continue
        for content in contents if tag in BUILT_IN_TAGS or tag < 1100 else contents[:1]:
            with pytest.raises(MessageRefused, match=f"tag {tag}"):
                arriving(CBORTag(tag, content))


cbor = st.recursive(
    st.one_of(st.none(), st.booleans(), whole, st.floats(), st.text(max_size=300), st.binary(max_size=300)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=30),
        st.dictionaries(text, inner, max_size=30),
        st.builds(CBORTag, st.integers(6, 2**40), inner),
    ),
    max_leaves=60,
)


def items_in(value: Any) -> int:
    """How many items a value has, as the page counts them."""
    match value:
        case CBORTag():
            return 3 + items_in(value.value)
        case list():
            return 1 + sum(map(items_in, value))
        case dict():
            return 1 + sum(1 + items_in(each) for each in value.values())
    return 1


@given(cbor)
def test_items_are_counted_where_they_stand_and_tags_three_times(value: Any) -> None:
    count, data = items_in(value), dumps(value)

    check_items(data, count, WireError)
    with pytest.raises(WireError, match=f"more than {count - 1:,} items"):
        check_items(data, count - 1, WireError)


@pytest.mark.parametrize("data", [b"", b"\x5a\xff", b"\x5b" + b"\xff" * 8, b"\x9f\xff", b"\x1c", b"\xff\xff"])
def test_items_of_what_is_no_whole_cbor_are_counted_without_a_word(data: bytes) -> None:
    """The decoder says what is wrong with it."""
    check_items(data, 2, WireError)


def slow_or_large() -> dict[str, bytes]:
    """Frames that cost some decoder out there seconds, or memory without end."""
    dec = CBORTag(4, [10**6, 1])
    return {
        "decimal with a million digits": dumps(["a", named("words.choices", 1, "", 3, 1.0, "", dec)]),
        "regular expression": dumps(["a", CBORTag(35, "(a+)+$")]),
        "shared cycle": bytes.fromhex("826161d81c81d81d00"),
        "big numbers as keys": b"\x82\x61a\xb9\x4e\x20"
        + b"".join(b"\xc2\x49\x01" + i.to_bytes(8, "big") + b"\x00" for i in range(20_000)),
        "a million empty arrays": b"\x82\x61a\x9a\x00\x04\x00\x00" + b"\x80" * 2**18,
        "maps in maps": b"\x82\x61a" + b"\xa1\x61k" * 50_000 + b"\x00",
        "one long text": dumps(["a", "x" * 200_000]),
    }


@pytest.mark.parametrize("kind", list(slow_or_large()))
def test_a_hostile_frame_is_refused_and_costs_little_memory(kind: str) -> None:
    """At most 8 MiB for 256 KiB. What it costs in time is a benchmark's to say."""
    frame = slow_or_large()[kind]
    codec = new_codec(Limits())

    def receive_it() -> None:
        decoded = codec.decode(frame)
        assert isinstance(decoded, MessageFrame)
        codec.open_message(decoded)

    tracemalloc.start()
    try:
        with pytest.raises(RemoteError):
            receive_it()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8 * 2**20


@settings(max_examples=400)
@given(st.one_of(scalars, collections, choices, trees), st.data())
def test_a_mutated_frame_is_refused_or_understood_and_nothing_else(sent: Any, data: st.DataObject) -> None:
    payload = bytearray(CODEC.encode_message(ACTOR, sent).head)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(payload) - 1))
        payload[position] = data.draw(st.integers(0, 255))
    try:
        frame = CODEC.decode(bytes(payload))
        if isinstance(frame, MessageFrame):
            CODEC.open_message(frame)
            CODEC.open_headers(frame)
    except (WireError, MessageRefused):
        return


# --- answers and small frames -------------------------------------------------------------------------


@given(anything)
def test_an_answer_may_be_anything(value: Any) -> None:
    encoded = CODEC.encode_answer(7, value, None)

    frame = receive(encoded.head, list(encoded.tail), encoded.tail_bytes)

    assert isinstance(frame, Answer)
    assert frame.ask == 7
    assert CODEC.open_answer(frame.item, None) == value


def test_an_answer_has_the_type_that_its_question_promises() -> None:
    """Near, the asker would get the tuple that the handler returned; far it gets one too."""
    promised = CODEC.reply_shape(Tree(()))
    frame = CODEC.decode(CODEC.encode_answer(1, (1, 2), promised).head)
    assert isinstance(frame, Answer)

    assert CODEC.open_answer(frame.item, promised) == (1, 2)
    assert CODEC.open_answer(frame.item, None) == [1, 2]


def test_a_handler_that_breaks_its_promise_is_understood_all_the_same() -> None:
    promised = CODEC.reply_shape(Tree(()))
    frame = CODEC.decode(CODEC.encode_answer(1, "something else", promised).head)
    assert isinstance(frame, Answer)

    assert CODEC.open_answer(frame.item, promised) == "something else"


def test_an_answer_that_cannot_travel_says_so() -> None:
    with pytest.raises(CannotEncode, match="the answer cannot be sent: expected a value that can be sent"):
        CODEC.encode_answer(1, object(), None)


def test_an_answer_with_a_large_array_goes_behind_its_head() -> None:
    sent = np.arange(100_000.0)
    encoded = CODEC.encode_answer(1, {"W": sent}, None)

    frame = receive(encoded.head, list(encoded.tail), encoded.tail_bytes)

    assert isinstance(frame, Answer)
    np.testing.assert_array_equal(CODEC.open_answer(frame.item, None)["W"], sent)


@pytest.mark.parametrize(
    "error",
    [
        NotDelivered("gone"),
        Rejected("no"),
        OutcomeUnknown("who knows"),
        HandlerFailed("ZeroDivisionError: 1/0", "Traceback ..."),
    ],
)
def test_errors_keep_their_kind_and_text(error: Any) -> None:
    frame = CODEC.decode(CODEC.encode_control(Failure.of(3, error)))
    assert isinstance(frame, Failure)

    arrived = frame.error()

    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert getattr(arrived, "details", None) == getattr(error, "details", None)


def test_an_error_with_an_unspeakable_text_still_travels() -> None:
    frame = CODEC.decode(CODEC.encode_control(Failure.of(3, Rejected("\ud800" + "x" * 100_000))))

    assert isinstance(frame, Failure)
    assert len(frame.text) == 10_000


HELLO = Hello(1, "hub", 2**62, b"12345678", 262_144, 10**9, (256, 10**6), 15.0, ("127.0.0.1", 7001))


@pytest.mark.parametrize("frame", [HELLO, Ping(1), Credit("worker", 3, 100)])
def test_small_frames_arrive_as_they_were_sent(frame: Any) -> None:
    assert CODEC.decode(CODEC.encode_control(frame)) == frame


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in HELLO.fields()[0].items() if name != key}


@pytest.mark.parametrize(
    "fields",
    [
        *(without(key) for key in HELLO.fields()[0] if key != "tells"),
        {**HELLO.fields()[0], "window": [0, 1]},
        {**HELLO.fields()[0], "vocabulary": b"short"},
        {**HELLO.fields()[0], "address": ["host", 70_000]},
        {**HELLO.fields()[0], "silence_seconds": 0},
        {**HELLO.fields()[0], "protocol": True},
        {**HELLO.fields()[0], "system": ""},
        {**HELLO.fields()[0], "tells": 1},
        {**HELLO.fields()[0], b"colour": "keys are text"},
    ],
)
def test_a_hello_that_lacks_something_is_none(fields: dict[str, Any]) -> None:
    with pytest.raises(WireError, match="hello"):
        CODEC.decode(dumps([0, fields]))


def test_a_hello_may_say_more_than_this_version_knows() -> None:
    assert CODEC.decode(dumps([0, {**HELLO.fields()[0], "colour": "red"}])) == HELLO


@pytest.mark.parametrize(
    "fields",
    [
        ["worker"],
        ["worker", 1],
        ["worker", 1, -1],
        ["worker", 1, 2**63],
        ["worker", True, 1],
        ["w" * 10_001, 1, 1],
    ],
)
def test_a_small_frame_with_wrong_fields_ends_the_connection(fields: list[Any]) -> None:
    with pytest.raises(WireError, match="Credit"):
        CODEC.decode(dumps([4, *fields]))


# --- vocabularies ---------------------------------------------------------------------------------------


def test_two_systems_with_the_same_words_have_the_same_fingerprint() -> None:
    again = Vocabulary(reversed(WORDS), [ArrayHook(), RefHook()])
    fewer = Vocabulary(WORDS[1:], [RefHook(), ArrayHook()])

    assert again.fingerprint == VOCABULARY.fingerprint
    assert fewer.fingerprint != VOCABULARY.fingerprint


def declare(annotation: Any) -> Callable[[], type]:
    def make() -> type:
        kind: type = message("words.made")(type("Made", (), {"__annotations__": {"field": annotation}}))
        return kind

    return make


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (declare(set[int]), r"field 'field' of Made: set\[int\] cannot travel"),
        (declare(complex), "cannot travel"),
        (declare(dict[int, str]), "the keys of maps are text"),
        (declare(object), "cannot travel"),
        (declare("Nowhere"), "cannot be understood"),
        (lambda: int, "is no message class"),
    ],
)
def test_an_annotation_that_cannot_travel_is_an_error_at_the_start(
    make: Callable[[], type], complaint: str
) -> None:
    with pytest.raises(TypeError, match=complaint):
        Vocabulary([make()], [RefHook()])


def test_arrays_need_their_hook() -> None:
    with pytest.raises(TypeError, match="cannot travel"):
        Vocabulary([Arrays], [RefHook()])


def test_a_wire_name_belongs_to_one_class() -> None:
    with pytest.raises(ValueError, match=r"the wire name 'words\.made' is taken"):
        Vocabulary([declare(int)(), declare(str)()])


def test_refs_are_annotated_as_refs() -> None:
    assert Vocabulary([Letter], [RefHook()]).shape(ActorRef).name == "ActorRef"


def test_frames_of_the_wire_are_length_and_payload() -> None:
    assert encode_frame(b"abc") == b"\0\0\0\x03abc"
