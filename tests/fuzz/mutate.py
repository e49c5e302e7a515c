"""Inputs made of inputs, by chance: cut, copied, crossed, and salted with what CBOR decoders choke on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tests.fuzz.targets import SEPARATOR
from trioactor.framing import read_head, write_head

# Heads, values and words that mean something here. What is guessed a byte at a time is not found.
TOKENS: Sequence[bytes] = (
    *(bytes([byte]) for byte in (0x00, 0x17, 0x20, 0x40, 0x5F, 0x60, 0x7F, 0x80, 0x9F, 0xA0, 0xBF)),
    *(bytes([byte]) for byte in (0xF4, 0xF5, 0xF6, 0xF7, 0xFF)),
    *(b"\xf9\x7e\x00", b"\xf9\x7c\x00", b"\xfa\x7f\xc0\x00\x00", b"\xfb" + b"\x7f\xf0" + bytes(6)),
    *(write_head(major, size) for major in (0, 1, 2, 3, 4, 5) for size in (2**8, 2**16, 2**31, 2**63)),
    *(write_head(6, tag) for tag in (0, 1, 2, 4, 25, 27, 28, 29, 30, 35, 36, 40, 64, 69, 82, 85, 86, 258)),
    *(b"\xd8\x1b\x82", b"\xc2\x49\x01" + bytes(8), b"\xc4\x82\x1a\x00\x0f\x42\x40\x01"),
    *(b"\x82\x05\x01", b"\x83\x07\x05\x00", b"\x82\x08\x41x", b"\x83\x07\x05\x19\x40\x00", b"\x84\x0e"),
    *(b"\x65clerk", b"\x6atests.note", b"\x6dtrioactor.ref", b"\x6awords.tree", b"\x6cwords.arrays"),
    *(b"\xa1\x63ask\x01", b"\xa1\x63ttl\x00", b"\x65chain", b"\x64user", SEPARATOR),
    *(bytes(4), b"\0\0\0\x03", b"\0\0\x04\0", b"\0\0\x04\x01", b"\xff\xff\xff\xff"),
)

MOST_SPANS = 200
HOW_MANY_STEPS = (1, 1, 1, 2, 3, 6)

# Values that stand where others should.
ITEMS: Sequence[bytes] = (
    *(b"\x00", b"\x20", b"\x18\xff", b"\x1b" + b"\xff" * 8, b"\x3b" + b"\xff" * 8, b"\x40", b"\x60", b"\x80"),
    *(
        b"\xa0",
        b"\xf4",
        b"\xf5",
        b"\xf6",
        b"\xf7",
        b"\xf8\x63",
        b"\xf9\x7e\x00",
        b"\xf9\x7c\x00",
        b"\xf9\x80\x00",
    ),
    *(
        b"\xfb\x40\x04" + bytes(6),
        b"\x61a",
        b"\x41a",
        b"\x64\xf0\x9f\x98\x80",
        b"\x82\x00\x00",
        b"\xa1\x61a\x00",
    ),
    *(
        b"\xd8\x1b\x82\x6awords.leaf\x81\x01",
        b"\xd8\x56\x48" + bytes(8),
        b"\xd8\x28\x82\x81\x01\xd8\x55\x44" + bytes(4),
    ),
    *(b"\xd8\x28\x82\x81\x03\x18\x56", b"\xc2\x49\x01" + bytes(8), b"\xd8\x23\x61a", b"\x98\x40" + bytes(64)),
)

Step = Callable[[random.Random, bytearray, Sequence[bytes]], None]


def mutated(chance: random.Random, inputs: Sequence[bytes], longest: int) -> bytes:
    """Return an input that is made of one of these, and pieces of others."""
    made = bytearray(chance.choice(inputs))
    for _ in range(chance.choice(HOW_MANY_STEPS)):
        chance.choice(STEPS)(chance, made, inputs)
    return bytes(made[:longest])


def _span(chance: random.Random, data: Sequence[int], most: int = 64) -> slice:
    start = chance.randint(0, len(data))
    return slice(start, min(len(data), start + chance.randint(0, most)))


def _flip(chance: random.Random, made: bytearray, _inputs: Sequence[bytes]) -> None:
    if made:
        made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)


def _set(chance: random.Random, made: bytearray, _inputs: Sequence[bytes]) -> None:
    if made:
        made[chance.randrange(len(made))] = chance.randrange(256)


def _count(chance: random.Random, made: bytearray, _inputs: Sequence[bytes]) -> None:
    """One more or less: of a length, say."""
    if made:
        at = chance.randrange(len(made))
        made[at] = (made[at] + chance.choice((-1, 1))) % 256


def _remove(chance: random.Random, made: bytearray, _inputs: Sequence[bytes]) -> None:
    del made[_span(chance, made)]


def _cut_short(chance: random.Random, made: bytearray, _inputs: Sequence[bytes]) -> None:
    del made[chance.randint(0, len(made)) :]


def _insert_token(chance: random.Random, made: bytearray, _inputs: Sequence[bytes]) -> None:
    at = chance.randint(0, len(made))
    made[at:at] = chance.choice(TOKENS)


def _overwrite_with_token(chance: random.Random, made: bytearray, _inputs: Sequence[bytes]) -> None:
    token = chance.choice(TOKENS)
    at = chance.randint(0, len(made))
    made[at : at + len(token)] = token


def _repeat(chance: random.Random, made: bytearray, _inputs: Sequence[bytes]) -> None:
    span = _span(chance, made)
    at = chance.randint(0, len(made))
    made[at:at] = made[span] * chance.choice((1, 1, 1, 2, 30))


def _splice(chance: random.Random, made: bytearray, inputs: Sequence[bytes]) -> None:
    other = chance.choice(inputs)
    at = chance.randint(0, len(made))
    made[at:at] = other[_span(chance, other, len(other))]


def _append(chance: random.Random, made: bytearray, inputs: Sequence[bytes]) -> None:
    made += SEPARATOR * chance.randint(0, 1) + chance.choice(inputs)


def spans(data: bytes | bytearray) -> list[slice]:
    """Where the CBOR items in the data stand, inner ones included, as far as they are well-formed."""
    found: list[slice] = []
    inner: list[tuple[int, int]] = []  # arrays, maps and tags that are open: where they begin, items to come
    position = 0
    while len(found) < MOST_SPANS and (head := read_head(data, position)) is not None:
        begin, position = position, head.end
        count = {4: head.value, 5: 2 * head.value, 6: 1}.get(head.major, 0)
        if head.major in (2, 3):
            position += head.value
        if position > len(data):
            break
        if count:
            inner.append((begin, count))
            continue
        found.append(slice(begin, position))
        while inner:
            begin, count = inner.pop()
            if count > 1:
                inner.append((begin, count - 1))
                break
            found.append(slice(begin, position))
    return found


def _replace_item(chance: random.Random, made: bytearray, inputs: Sequence[bytes]) -> None:
    """Put another item in the place of one, a strange one or one of another input."""
    if places := spans(made):
        other = chance.choice(inputs)
        theirs = spans(other) if chance.random() < 0.5 else []
        made[chance.choice(places)] = other[chance.choice(theirs)] if theirs else chance.choice(ITEMS)


STEPS: Sequence[Step] = (
    *(_replace_item,) * 6,
    *(_flip, _set, _count, _remove, _cut_short, _insert_token, _overwrite_with_token),
    *(_repeat, _splice, _append),
)
