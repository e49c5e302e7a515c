"""`Path` and `Flow`: how segments cross from one host to another, in time and in order.

A path is one direction between two hosts. A flow is one direction of one connection: its segments
arrive in the order in which they were sent, whatever happens to each. What does not get through (the
path is cut or stalled, the other host is off) is held and goes on when it can: at once after a stall,
at the next retransmission after a loss.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Protocol

import trio

from trioactor.testing.agenda import Agenda
from trioactor.testing.links import RETRANSMIT_REQUEST_SECONDS, RETRANSMIT_SECONDS, Link

Deliver = Callable[[], object]


class Sender(Protocol):
    """Whose flow it is: the end of a connection that sends."""

    def timed_out(self) -> None:
        """Its segments have been lost for longer than TCP has patience."""

    def cut_off(self) -> None:
        """The network has reset the connection, at both ends."""


class Place(Protocol):
    """What a path needs to know of a host at its end."""

    @property
    def on(self) -> bool:
        """Whether it is switched on."""

    @property
    def stalled(self) -> bool:
        """Whether it is frozen, as seen from outside."""


class Path:
    """One direction between two hosts.

    Args:
        agenda: Where arrivals are put down.
        rng: Of this path alone, so that traffic elsewhere does not change what happens here.
        link: What it is like.
        origin: The host that it begins at.
        destination: The host that it leads to.

    Attributes:
        usual_link: What it is like, when nothing disturbs it.
        disturbance: What it is like meanwhile, None for as usual.
        cuts: The partitions that cut it: everything on it is lost.
        held: The flows with something that did not get through, in the order in which that began.
    """

    def __init__(
        self, agenda: Agenda, rng: random.Random, link: Link, origin: Place, destination: Place
    ) -> None:
        self.agenda = agenda
        self.rng = rng
        self.usual_link = link
        self.disturbance: Link | None = None
        self.cuts: set[object] = set()
        self.held: dict[Flow, None] = {}
        self._origin = origin
        self._destination = destination
        self._free_at = -inf

    @property
    def link(self) -> Link:
        """What it is like now."""
        return self.disturbance or self.usual_link

    @property
    def loses(self) -> bool:
        """Whether what is sent now gets lost."""
        return bool(self.cuts) or not self._destination.on

    @property
    def stalled(self) -> bool:
        """Whether what is sent now waits. A frozen host sees no difference in itself."""
        return (self._origin.stalled or self._destination.stalled) and self._origin is not self._destination

    @property
    def blocked(self) -> bool:
        """Whether nothing gets through now."""
        return self.stalled or self.loses

    def crossing_seconds(self, now: float, size: int, retransmit_seconds: float) -> float:
        """Draw how long a segment takes, with its wait for the bandwidth and for its retransmissions."""
        link, rng = self.link, self.rng
        begin = max(now, self._free_at)
        self._free_at = begin + size / link.bytes_per_second
        seconds = self._free_at - now + link.latency_seconds
        if link.jitter_seconds:
            seconds += rng.uniform(0, link.jitter_seconds)
        while link.loss and rng.random() < link.loss:
            seconds += retransmit_seconds
            retransmit_seconds *= 2
        return seconds

    def go_on(self) -> None:
        """Something has changed: have what is held go on, if it can."""
        if self.blocked:
            return
        flows, self.held = self.held, {}
        for flow in flows:
            flow.go_on()


class Flow:
    """One direction of one connection.

    Args:
        path: Where it goes.
        sender: Is told when the flow breaks.

    Attributes:
        path: Where it goes.
        gone: Whether the network has forgotten the connection: nothing on it arrives any more.
        established: Whether the connection stands; a request that is lost is sent again more slowly.
    """

    def __init__(self, path: Path, sender: Sender) -> None:
        self.path = path
        self.gone = False
        self.established = False
        self._sender = sender
        self._last_arrival = -inf
        self._held: deque[Deliver] = deque()
        self._lost_since: float | None = None
        self._torn = False  # something is lost for good, so what was sent after it arrives at no program
        self._receipts: deque[Deliver] = deque()  # what was read here, and the other end has not heard of

    def send(self, size: int, deliver: Deliver, *, lasting: bool = True) -> None:
        """Have `deliver` called when a segment has arrived.

        Args:
            size: Its bytes.
            deliver: What it does there.
            lasting: Whether it is sent again when it is lost; a reset is not.
        """
        path = self.path
        if path.link.resets and path.rng.random() < path.link.resets:
            self._sender.cut_off()
            return
        now = trio.current_time()
        due = max(now + path.crossing_seconds(now, size, self._retransmit_seconds), self._last_arrival)
        self._last_arrival = due
        path.agenda.at(due, lambda: self._arrive(deliver, lasting))

    def receipt(self, deliver: Deliver) -> None:
        """Tell the other end that its bytes were read; at once, when the way is free.

        That acknowledgements take no time is the one thing that is faster here than in the world.
        """
        if self.path.blocked or self.gone:
            self._receipts.append(deliver)
            self.path.held[self] = None
        else:
            deliver()

    @property
    def _retransmit_seconds(self) -> float:
        return RETRANSMIT_SECONDS if self.established else RETRANSMIT_REQUEST_SECONDS

    def _arrive(self, deliver: Deliver, lasting: bool) -> None:
        if self._torn and lasting:
            return
        if not (self._held or self.path.blocked or self.gone):
            deliver()
            return
        lost = self.gone or self.path.loses
        if lost and not lasting:
            return
        self._held.append(deliver)
        self.path.held[self] = None
        if lost and self._lost_since is None:
            self._lost_since = now = trio.current_time()
            self.path.agenda.at(now + self.path.link.patience_seconds, lambda: self._lose_patience(now))

    def _lose_patience(self, since: float) -> None:
        if self._lost_since == since:
            self.forget()
            self._sender.timed_out()

    def forget(self) -> None:
        """Nothing that was lost is sent again: the sender's machine has lost its memory, or given up."""
        self._torn = self._torn or bool(self._held)
        self._held.clear()
        self._receipts.clear()
        self._lost_since = None

    def go_on(self) -> None:
        """The path is free: deliver what was held, now or at the next retransmission."""
        due = now = trio.current_time()
        if self._lost_since is not None:
            due, wait = self._lost_since, self._retransmit_seconds
            while due <= now:
                due += wait
                wait *= 2
        self.path.held[self] = None
        self.path.agenda.at(due, self._catch_up)

    def _catch_up(self) -> None:
        if self.path.blocked or self.gone:
            return  # and it is still on the list of its path
        self.path.held.pop(self, None)
        self._lost_since = None
        for held in (self._receipts, self._held):
            while held:
                held.popleft()()
