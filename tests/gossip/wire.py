"""How many bytes a message takes on the wire: frame, actor, tag, name and fields, written by cbor2."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from cbor2 import CBORTag, dumps

from gossip import MESSAGES
from gossip.roles import actor_of
from trioactor.messages import wire_name_of

FRAME_BYTES = 4  # the length of what follows
MESSAGE_TAG = 27  # "serialised language-independent object with type name"

_ACTOR = actor_of("gossip")
_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in MESSAGES}


def wire_bytes(message: Any) -> int:
    """Return how many bytes a message to a peer takes."""
    return FRAME_BYTES + len(dumps([_ACTOR, packed(message)]))


def packed(value: Any) -> Any:
    """Return a message as cbor2 is to write it."""
    if type(value) in _FIELDS:
        fields_of_it = [packed(getattr(value, name)) for name in _FIELDS[type(value)]]
        return CBORTag(MESSAGE_TAG, [wire_name_of(type(value)), fields_of_it])
    return [packed(each) for each in value] if isinstance(value, tuple) else value
