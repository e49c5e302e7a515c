"""Frames that cost as much as they can: as many items as the default limit allows, of the dearest kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cbor2 import CBORTag, dumps

from tests.trioactor.strangers import said


def _words(anything: Any) -> bytes:
    """A message with a field that takes anything."""
    return dumps(["actor", said("words.choices", None, "", "fast", 1.0, "", anything)])


def _arrays(named: Mapping[str, Any]) -> bytes:
    return dumps(["actor", said("words.arrays", _FLAT, None, named)])


_FLAT = CBORTag(86, bytes(8))
_EMPTY = CBORTag(64, b"")
_LEAF = said("words.leaf", 1)

DEAR: Mapping[str, bytes] = {
    "numbers": _words([0] * 19_900),
    "numbers of two kinds": _words([0, 1.5] * 9_900),
    "lists": _words([[]] * 19_900),
    "lists in lists": _words([[[]]] * 9_900),
    "maps": _words([{}] * 19_900),
    "a map": _words({str(number): number for number in range(9_900)}),
    "a map of maps": _words({str(number): {} for number in range(9_900)}),
    "messages": _words([said("words.later", 1)] * 3_900),
    "messages in a union": dumps(["actor", said("words.tree", [_LEAF] * 3_990)]),
    "refs": _words([said("trioactor.ref", 1, "a", None, None)] * 2_400),
    "arrays": _words([_EMPTY] * 9_900),
    "arrays of a shape": _words([CBORTag(40, [[], CBORTag(64, b"x")])] * 3_300),
    "arrays by name": _arrays({str(number): _EMPTY for number in range(6_600)}),
    "tags": _words([CBORTag(1, 0)] * 9_900),
    "tags that nobody knows": _words([CBORTag(999, 0)] * 9_900),
    "an answer": dumps([1, 1, [[0, "a"]] * 6_000]),
    "headers": dumps(["actor", _LEAF, {"user": {str(number): [] for number in range(9_900)}}]),
    "more items than are allowed": _words([0] * 260_000),
    "a long text": _words("\u1234" * 80_000),
}
