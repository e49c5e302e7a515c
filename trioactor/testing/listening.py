"""`Listening`: a port on which connections are taken, by TCP's three-way handshake."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from trioactor.testing.tcp import Address, Endpoint
from trioactor.testing.waiting import Waiting


class Listening:
    """A port on which connections are taken.

    Args:
        address: IP address and port.
        backlog: How many connections may wait to be accepted.
    """

    def __init__(self, address: Address, backlog: int) -> None:
        self.address = address
        self.waiting = Waiting()
        self.closed = False
        self._backlog = max(1, backlog)
        self._ready: deque[Endpoint] = deque()
        self._coming = 0

    @property
    def is_full(self) -> bool:
        """Whether another request is not even answered."""
        return len(self._ready) + self._coming >= self._backlog

    @property
    def can_accept(self) -> bool:
        """Whether a connection waits."""
        return bool(self._ready)

    def take(self) -> Endpoint:
        """Return the connection that waits longest."""
        return self._ready.popleft()

    def on_request(self, client: Endpoint, make: Callable[[], Endpoint]) -> None:
        """A connection is asked for: agree, and keep it when the other side has heard of that."""
        server = make()
        server.peer, client.peer = client, server
        self._coming += 1
        server.outgoing.send(0, partial(self._agreed, client, server))

    def _agreed(self, client: Endpoint, server: Endpoint) -> None:
        """The client has heard that we agree."""
        if not client.wants_it:
            client.outgoing.send(0, partial(self._dropped, server))
            return
        client.on_established()
        client.outgoing.send(0, partial(self._confirmed, server))

    def _dropped(self, server: Endpoint) -> None:
        self._coming -= 1
        server.vanish()

    def _confirmed(self, server: Endpoint) -> None:
        """We have heard that the client has heard."""
        self._coming -= 1
        if self.closed or server.closed:
            server.reset()
            server.vanish()
            return
        server.established = server.outgoing.established = True
        self._ready.append(server)
        self.waiting.wake()

    def close(self) -> None:
        """Take no more; those that nobody has accepted are reset."""
        self.closed = True
        while self._ready:
            server = self._ready.popleft()
            server.reset()
            server.vanish()
        self.waiting.close()

    def vanish(self) -> None:
        """The same without a word to anybody."""
        self.closed = True
        self._ready.clear()
        self.waiting.close()
