"""Messages over the runtime's own codec, and how many bytes they take there."""

from __future__ import annotations

from typing import Any

from cbor2 import dumps

from gossip import MESSAGES
from trioactor.codec import Codec
from trioactor.frames import MessageFrame
from trioactor.limits import Limits
from trioactor.vocabulary import Vocabulary

FRAME_BYTES = 4
ACTOR = dumps("gossip")  # the actor that a message goes to stands in its frame


class NoRefs:
    """No message of gossip has a ref in it."""

    def wire_ref(self, ref: Any) -> list[Any]:
        raise AssertionError("gossip sends no refs")

    def ref_of(self, fields: Any) -> Any:
        raise AssertionError("gossip sends no refs")


def codec() -> Codec:
    return Codec(Vocabulary(MESSAGES), Limits(), NoRefs(), bytes(8))


def over_the_wire(message: Any) -> Any:
    """Encode a message and decode it again."""
    both = codec()
    frame = both.decode(both.encode_message(ACTOR, message).head)
    assert isinstance(frame, MessageFrame)
    return both.open_message(frame)[0]
