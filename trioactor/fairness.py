"""A line in which everybody gets the same share, however much each of them wants.

Start-time fair queueing (Goyal, Vin and Cheng, 1996), with turns that are all alike: who comes is given the
number of the turn that is on now, or the one after its own last number, whichever is later; the lowest
number goes next. So one that was quiet comes before those that were not, and has no claim on the time in
which it was. No trio here.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class Share:
    """One of those who stand in line, as often as they like.

    Attributes:
        number: The highest that it was given; it may be raised, to have it come later.
    """

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = -1


class Ticket(Generic[T]):
    """A place in the line.

    Attributes:
        number: The lowest goes next.
        serial: Of two with one number, the lower goes first.
        item: What stands there; None when it has left.
    """

    __slots__ = ("item", "number", "serial")

    def __init__(self, number: int, serial: int, item: T) -> None:
        self.number = number
        self.serial = serial
        self.item: T | None = item

    def __lt__(self, other: Ticket[T]) -> bool:
        return (self.number, self.serial) < (other.number, other.serial)


class FairLine(Generic[T]):
    """The line.

    Args:
        newest_first: Of those with one number. Right where people leave again when they have to wait: some
            are then served at once and others not, instead of all when they are about to leave.

    Attributes:
        number: Of the turn that is on.
    """

    def __init__(self, *, newest_first: bool = False) -> None:
        self.number = 0
        self._step = -1 if newest_first else 1
        self._tickets: list[Ticket[T]] = []
        self._present = 0
        self._serials = 0

    def __len__(self) -> int:
        return self._present

    def enter(self, share: Share, item: T) -> Ticket[T]:
        """Get in line."""
        share.number = max(share.number + 1, self.number)
        self._serials += self._step
        self._present += 1
        ticket = Ticket(share.number, self._serials, item)
        heappush(self._tickets, ticket)
        return ticket

    def leave(self, ticket: Ticket[T]) -> None:
        """Give up the place; nothing happens when it was taken out."""
        if ticket.item is not None:
            ticket.item = None
            self._present -= 1

    def take(self) -> T | None:
        """Take out who is next; None when nobody stands there."""
        while self._tickets:
            ticket = heappop(self._tickets)
            item, ticket.item = ticket.item, None
            if item is not None:
                self.number = ticket.number
                self._present -= 1
                return item
        return None
