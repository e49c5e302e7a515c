"""Plain values: what a map may hold. Checked, frozen, and with a fingerprint that is equal for equal values.

A plain value is None, a bool, an int of 64 bits, a finite float, text, bytes, or a tuple of these. It is the
same after a way through CBOR, which is not true of dicts of anything, sets, or NaN.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TypeAlias

from cbor2 import dumps

from gossip.errors import BadState

Plain: TypeAlias = "bool | int | float | str | bytes | tuple[Plain, ...] | None"

MAX_DEPTH = 8
MAX_VALUE_BYTES = 4096
"""Of one value. A model is larger: a map holds its fingerprint, and the bytes go beside the map."""

FINGERPRINT_BYTES = 32

_SCALARS = (bool, str, bytes, type(None))


def freeze(value: object, depth: int = 0) -> Plain:
    """Return the value with its lists made tuples.

    Raises:
        BadState: It is no plain value.
    """
    kind = type(value)
    if kind in _SCALARS:
        return value  # type: ignore[return-value]  # one of the scalars
    if isinstance(value, int) and kind is int:
        if not -(2**64) <= value < 2**64:
            raise BadState(f"an int of {value.bit_length()} bits; 64 are allowed")
        return value
    if isinstance(value, float) and kind is float:
        if not math.isfinite(value):
            raise BadState(f"the float {value}; NaN is not equal to itself, so only finite ones are allowed")
        return value
    if isinstance(value, list | tuple):
        if depth >= MAX_DEPTH:
            raise BadState(f"a value nested deeper than {MAX_DEPTH} levels")
        return tuple([freeze(each, depth + 1) for each in value])
    raise BadState(f"a {kind.__name__}; a map holds None, bool, int, float, str, bytes and tuples of these")


def fingerprint(value: Plain) -> bytes:
    """Return 32 bytes that are equal only for equal values of equal types: BLAKE2b of canonical CBOR.

    Raises:
        BadState: The value is larger than `MAX_VALUE_BYTES`, or holds text that is no Unicode.
    """
    try:
        data = dumps(value, canonical=True)
    except UnicodeEncodeError:
        raise BadState("text with half of a surrogate pair, which cannot be written as UTF-8") from None
    if len(data) > MAX_VALUE_BYTES:
        raise BadState(
            f"a value of {len(data):,} bytes, the limit is {MAX_VALUE_BYTES:,}; "
            "put its fingerprint into the map and the bytes beside it"
        )
    return blake2b(data, digest_size=FINGERPRINT_BYTES).digest()
