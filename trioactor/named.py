"""`NamedTarget`: a near actor that is known by its name only, and may or may not live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from trioactor.envelope import Envelope, Target
from trioactor.ledger import Tally

NOBODY = "there is no such actor, or it has ended"


class Directory(Protocol):
    """What a named target needs of its system."""

    @property
    def tally(self) -> Tally:
        """The accounts."""

    def find_target(self, actor_id: str) -> Target | None:
        """The living actor of that name."""

    def dead_letter(self, actor_id: str, envelope: Envelope, reason: str) -> None:
        """An accepted envelope will not be handled."""


class NamedTarget:
    """Both the target and the inbox of whoever has the name when something is said.

    Refs that come over a network lead here: their actor may have ended, or not have been started yet.
    """

    __slots__ = ("_actor_id", "_directory")

    def __init__(self, directory: Directory, actor_id: str) -> None:
        self._directory = directory
        self._actor_id = actor_id

    @property
    def actor_id(self) -> str:
        """See `Target`."""
        return self._actor_id

    @property
    def address(self) -> None:
        """Near."""
        return

    @property
    def inbox(self) -> NamedTarget:
        """See `Target`."""
        return self

    @property
    def read_answer(self) -> None:
        """See `Inbox`."""
        return

    def offer(self, envelope: Envelope) -> bool:
        """See `Inbox`."""
        target = self._directory.find_target(self._actor_id)
        if target is not None:
            return target.inbox.offer(envelope)
        self._directory.tally.accepted += 1
        self._directory.dead_letter(self._actor_id, envelope, NOBODY)
        return True

    async def put(self, envelope: Envelope) -> None:
        """See `Inbox`."""
        target = self._directory.find_target(self._actor_id)
        if target is not None:
            await target.inbox.put(envelope)
        else:
            self.offer(envelope)

    def withdraw(self, envelope: Envelope) -> None:
        """See `Inbox`."""
        target = self._directory.find_target(self._actor_id)
        if target is not None:
            target.inbox.withdraw(envelope)

    def on_down(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """See `Target`."""
        target = self._directory.find_target(self._actor_id)
        if target is not None:
            return target.on_down(callback)
        callback(NOBODY)
        return lambda: None

    async def end(self, *, graceful: bool) -> None:
        """See `Target`."""
        target = self._directory.find_target(self._actor_id)
        if target is not None:
            await target.end(graceful=graceful)
        else:
            await trio.lowlevel.checkpoint()
