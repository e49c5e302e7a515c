"""`Host`: a machine on the virtual network, with its address, its ports and its connections."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from typing import Protocol

import trio

from trioactor.testing.links import RETRANSMIT_REQUEST_SECONDS
from trioactor.testing.listening import Listening
from trioactor.testing.path import Path
from trioactor.testing.tcp import Address, Endpoint, error_of

ANY = "0.0.0.0"  # noqa: S104  # the address, not a place to bind
LOCAL = "127.0.0.1"
FIRST_FREE_PORT, LAST_FREE_PORT = 49_152, 65_535  # RFC 6335's dynamic ports


class Cables(Protocol):
    """What a host needs of its network."""

    @property
    def shows_contents(self) -> bool:
        """See `Station`."""

    def host_at(self, ip: str) -> Host | None:
        """The host of that address."""

    def path(self, origin: str, destination: str) -> Path:
        """The way from one host to another, by their names."""

    def note(self, kind: str, detail: str) -> None:
        """Write into the trace."""

    def fresh_serial(self) -> int:
        """A number that no connection has."""


class Host:
    """A machine. It is on, or off; what was on it before it went off is gone.

    Attributes:
        name: What other hosts call it.
        ip: Its IPv4 address.
        on: Whether it is switched on.
        stalled: Whether it is frozen, as seen from outside.
        life: How often it has been started anew. What belongs to an earlier life is dead.
        endpoints: The ends of connections that its programs hold.
    """

    def __init__(self, network: Cables, name: str, ip: str) -> None:
        self.name = name
        self.ip = ip
        self.on = True
        self.stalled = False
        self.life = 0
        self.endpoints: dict[Endpoint, None] = {}
        self._network = network
        self._bound: dict[Address, Listening | None] = {}
        self._next_port = FIRST_FREE_PORT

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.ip}>"

    @property
    def shows_contents(self) -> bool:
        """See `Station`."""
        return self._network.shows_contents

    def note(self, kind: str, detail: str) -> None:
        """See `Station`."""
        self._network.note(kind, detail)

    # --- ports ------------------------------------------------------------------------------------

    def bind(self, ip: str, port: int) -> Address:
        """Take a port; 0 for a free one.

        Raises:
            OSError: Another socket has it, or the address is not one of this host.
        """
        if not self.has_address(ip):
            raise error_of(errno.EADDRNOTAVAIL, f"{ip} is not an address of host {self.name!r}")
        address = ip, port or self._free_port()
        if any(self._overlap(address, other) for other in self._bound):
            raise error_of(errno.EADDRINUSE, f"{ip}:{port} on host {self.name!r}")
        self._bound[address] = None
        return address

    def has_address(self, ip: str) -> bool:
        """Whether a program here may bind that address."""
        return ip in (ANY, self.ip) or ip.startswith("127.")

    @staticmethod
    def _overlap(one: Address, other: Address) -> bool:
        return one[1] == other[1] and (one[0] == other[0] or ANY in (one[0], other[0]))

    def _free_port(self) -> int:
        taken = {port for _, port in self._bound} | {end.local[1] for end in self.endpoints}
        for _ in range(FIRST_FREE_PORT, LAST_FREE_PORT + 1):
            port = self._next_port
            self._next_port = port + 1 if port < LAST_FREE_PORT else FIRST_FREE_PORT
            if port not in taken:
                return port
        raise error_of(errno.EADDRNOTAVAIL, f"host {self.name!r} has no free port left")

    def release(self, address: Address) -> None:
        """Give a port back."""
        self._bound.pop(address, None)

    def listen(self, address: Address, backlog: int) -> Listening:
        """Take connections at a bound port."""
        listening = self._bound[address] = Listening(address, backlog)
        return listening

    # --- connections --------------------------------------------------------------------------------

    def connect(self, local: Address | None, remote: Address) -> Endpoint:
        """Ask for a connection, and return the end of it that will stand or break.

        Raises:
            OSError: There is no such address, or no port is left.
        """
        if remote[0] == ANY:
            remote = LOCAL, remote[1]
        other = self if self.has_address(remote[0]) else self._network.host_at(remote[0])
        if other is None:
            raise error_of(errno.EHOSTUNREACH, f"no host of this network has the address {remote[0]}")
        if local is None or local[0] == ANY:
            ip = remote[0] if other is self else self.ip
            local = ip, local[1] if local else self._free_port()
        path = self._network.path(self.name, other.name)
        client = Endpoint(self, self._network.fresh_serial(), local, remote, path)
        client.note("requests")
        path.agenda.at(
            trio.current_time() + path.link.connect_seconds, partial(client.on_refused, errno.ETIMEDOUT)
        )
        client.outgoing.send(0, partial(other.on_request, client, RETRANSMIT_REQUEST_SECONDS))
        return client

    def on_request(self, client: Endpoint, retry_seconds: float) -> None:
        """A connection is asked for from another host, or from this one."""
        back = self._network.path(self.name, client.station.name)
        listening = self._listening_at(client.remote)
        now = trio.current_time()

        def refuse() -> None:
            if not back.blocked:  # a refusal that is lost is not sent again
                client.on_refused(errno.ECONNREFUSED)

        def ask_again() -> None:
            if client.wants_it:
                client.outgoing.send(0, partial(self.on_request, client, retry_seconds * 2))

        if listening is None:
            back.agenda.at(now + back.crossing_seconds(now, 0, retry_seconds), refuse)
        elif listening.is_full:
            client.note("no room")
            back.agenda.at(now + retry_seconds, ask_again)
        else:
            serial = self._network.fresh_serial()
            listening.on_request(client, lambda: Endpoint(self, serial, client.remote, client.local, back))

    def _listening_at(self, address: Address) -> Listening | None:
        for bound, listening in self._bound.items():
            if listening is not None and self._overlap(bound, address):
                return listening
        return None

    # --- on and off -----------------------------------------------------------------------------------

    def close_all(self) -> None:
        """The programs have ended: what they left open is closed."""
        self._end(Endpoint.close)

    def reset_all(self) -> None:
        """The programs have crashed: their connections are reset."""
        self._end(Endpoint.die)

    def _end(self, end: Callable[[Endpoint], None]) -> None:
        for listening in self._bound.values():
            if listening is not None:
                listening.close()
        self._bound.clear()
        for endpoint in list(self.endpoints):
            end(endpoint)
        self.life += 1

    def lose_power(self) -> None:
        """The machine goes off without a word to anybody."""
        self.on = False
        for listening in self._bound.values():
            if listening is not None:
                listening.vanish()
        self._bound.clear()
        for endpoint in list(self.endpoints):
            endpoint.lose_power()
        self.life += 1

    def connections_with(self, other: str) -> list[Endpoint]:
        """The ends of standing connections with another host, by its name."""
        return [end for end in self.endpoints if end.established and end.leads_to(other)]
