"""What a part without I/O wants to be sent, and to whom."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

Address: TypeAlias = tuple[str, int]
"""Host and port."""


class Outgoing(NamedTuple):
    """A message to be sent. Whoever sends it may lose it.

    Attributes:
        to: The name of a peer, or an address where its name is not known yet.
        message: One of `messages.MESSAGES`.
    """

    to: str | Address
    message: Any
