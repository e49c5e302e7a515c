"""Frames that cost as much as they can: as many items as the default limit allows, of the dearest kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cbor2 import CBORTag, dumps

from tests.fuzz.targets import SEPARATOR
from tests.trioactor.strangers import said
from trioactor.codec import MOST_SMALL_ARRAYS, TAG_ITEMS
from trioactor.frames import Tells
from trioactor.limits import Limits


def _words(anything: Any) -> bytes:
    """A message with a field that takes anything."""
    return dumps(["actor", said("words.choices", None, "", "fast", 1.0, "", anything)])


def _arrays(named: Mapping[str, Any]) -> bytes:
    return dumps(["actor", said("words.arrays", _FLAT, None, named)])


def _behind(count: int) -> bytes:
    """Arrays of one byte each behind the head, and as many other items as may be."""
    far = CBORTag(40, [[1], 64])
    head = _words([*[far] * count, *_filled([], 1)[(_T + 4) * count :]])
    return head + SEPARATOR + dumps(CBORTag(64, b"x")) * count


_FLAT = CBORTag(86, bytes(8))
_EMPTY = CBORTag(64, b"")
_LEAF = said("words.leaf", 1)
_T = TAG_ITEMS

# As many items as a frame may have, but for some in its head.
_ITEMS = Limits().items - 84


def _filled(kind: Any, items: int) -> list[Any]:
    """As many of a kind as may be; each counts for so many items."""
    return [kind] * (_ITEMS // items)


DEAR: Mapping[str, bytes] = {
    "numbers": _words(_filled(0, 1)),
    "numbers of two kinds": _words([0, 1.5] * (_ITEMS // 2)),
    "lists": _words(_filled([], 1)),
    "lists in lists": _words(_filled([[]], 2)),
    "lists of lists and numbers": _words(_filled([0, [], 0, [], 0, [], 0, [], 0, []], 11)),
    "maps": _words(_filled({}, 1)),
    "maps of one": _words(_filled({"": 0}, 3)),
    "a map": _words({str(number): number for number in range(_ITEMS // 2)}),
    "a map of maps": _words({str(number): {} for number in range(_ITEMS // 2)}),
    "messages": _words(_filled(said("words.later", 1), _T + 4)),
    "messages that check themselves": _words(_filled(said("words.picky", 0.5), _T + 4)),
    "messages in a union": dumps(["actor", said("words.tree", _filled(_LEAF, _T + 4))]),
    "messages in a union, the last of them wrong": dumps(
        ["actor", said("words.tree", [*_filled(_LEAF, _T + 4), 0])]
    ),
    "refs": _words(_filled(said("trioactor.ref", 1, "a", None, None), _T + 7)),
    "arrays": _words(_filled(_EMPTY, _T + 1)),
    "arrays of a shape": _words(_filled(CBORTag(40, [[], CBORTag(64, b"x")]), 2 * _T + 3)),
    "arrays by name": _arrays({str(number): _EMPTY for number in range(_ITEMS // (_T + 2))}),
    "arrays behind the head": _behind(MOST_SMALL_ARRAYS),
    "too many arrays behind the head": _behind(_ITEMS // (_T + 4)),
    "tags": _words(_filled(CBORTag(1, 0), _T + 1)),
    "tags that nobody knows": _words(_filled(CBORTag(999, 0), _T + 1)),
    "an answer": dumps([1, 1, _filled([0, "a"], 3)]),
    "an answer of numbers, the last of them wrong": dumps([1, 1, [*_filled(0, 1), "a"]]),
    "an answer of messages": dumps([1, 1, _filled(_LEAF, _T + 4)]),
    "headers": dumps(["actor", _LEAF, {"user": {str(number): [] for number in range(_ITEMS // 2)}}]),
    "tells": dumps([Tells.number, "actor", "words.later", [[1]] * 256]),
    "tells that are refused": dumps([Tells.number, "actor", "words.tree", [[_filled(0, 264)]] * 256]),
    "tells that are unheard of": dumps([Tells.number, "actor", "words.unheard_of", [[]] * 256]),
    "more tells than there is credit for": dumps([Tells.number, "actor", "words.later", _filled([], 1)]),
    "more items than are allowed": _words([0] * 260_000),
    "a long text": _words("\u1234" * 80_000),
}
