"""Before a life begins: asking others what they know of us, and whether our name is in use.

A peer cannot tell an intact disk from an old copy of it, so it asks whenever it starts. How many answers it
needs depends on what it remembers: see `enough`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gossip.errors import DuplicateIdentity
from gossip.identity import Sighting
from gossip.messages import GossipSighting
from gossip.outgoing import Address

NEEDED_ANSWERS = 2

MAX_ADDRESSES = 64
"""So many others are asked, and at so many addresses it is asked whether somebody lives under our name."""


class Survey:
    """Whom to ask, and what they said.

    Whoever drives it sends a `GossipSurvey` to all of `to_ask()`, now and again after a pause, and gives it
    each answer and each failure, and where it found itself, until `enough`.

    Args:
        peer: Our name.
        address: Where we shall listen.
        seeds: Whom to ask to begin with.
    """

    def __init__(self, peer: str, address: Address, seeds: Sequence[Address]) -> None:
        self._peer = peer
        self._ours = {address}
        self._addresses = dict.fromkeys(seed for seed in seeds[:MAX_ADDRESSES] if seed != address)
        self._answered: dict[Address, Sighting] = {}
        self._failed: set[Address] = set()
        self._to_check: set[Address] = set()  # where somebody may live under our name

    @property
    def sightings(self) -> list[Sighting]:
        """What was answered so far, one for each peer that did."""
        return list({sighting.witness: sighting for sighting in self._answered.values()}.values())

    @property
    def enough(self) -> bool:
        """Whether a life may begin: two have answered, or all that there are to ask.

        Also, everybody who may live under our name was asked. With no seeds there is nobody to ask, and
        this is so at once. A peer that remembers its last life may begin without it, should the answers not
        come in some seconds; one that does not should wait longer. If it must begin all the same, its
        timestamps are still its own, and what it wrote in a forgotten life it outbids when it hears of it.
        """
        if not self._to_check <= self._answered.keys() | self._failed:
            return False
        return len(self.sightings) >= NEEDED_ANSWERS or self._addresses.keys() <= self._answered.keys()

    def to_ask(self) -> list[Address]:
        """Return who has not answered yet."""
        return [address for address in self._addresses if address not in self._answered]

    def on_answer(self, address: Address, answer: GossipSighting) -> None:
        """Take in an answer.

        Args:
            address: Who was asked.
            answer: What came.

        Raises:
            DuplicateIdentity: It came from somebody of our name.
        """
        if answer.sender == self._peer:
            raise DuplicateIdentity(
                f"a process at {address[0]}:{address[1]} lives under the name {self._peer!r} already; "
                "end it, or give this one another name"
            )
        self._answered[address] = Sighting(answer.sender, answer.incarnation, answer.time)
        for other in answer.others:
            if other not in self._ours and len(self._addresses) < MAX_ADDRESSES:
                self._addresses.setdefault(other)
        last = answer.last_address
        if last is not None and last not in self._ours and len(self._to_check) < MAX_ADDRESSES:
            self._to_check.add(last)
            self._addresses.setdefault(last)  # however many others there are, since it is waited for

    def on_ourselves(self, address: Address) -> None:
        """It is we who are reached there, too: by another name of this machine, say."""
        self._ours.add(address)
        self._addresses.pop(address, None)
        self._to_check.discard(address)

    def on_failure(self, address: Address) -> None:
        """Somebody could not be asked, or did not answer in time. It may be asked again."""
        self._failed.add(address)
