"""How trio's sockets and names come to lead to a virtual network: the two hooks that trio has for that."""

from __future__ import annotations

import errno
import socket as stdlib_socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import trio

from trioactor.testing.hosts import Host
from trioactor.testing.sockets import Directory, VirtualSocket
from trioactor.testing.tcp import error_of


class World(Directory, Protocol):
    """What the hooks need of the network."""

    def here(self) -> tuple[Host, int]:
        """The host that the present task is on, and the life of that host that it belongs to."""

    def host_at(self, ip: str) -> Host | None:
        """The host of that IP address."""


@contextmanager
def virtual_sockets(network: World) -> Iterator[None]:
    """Have all sockets that are made in this `trio.run` be virtual, for the length of the block."""
    factory = trio.socket.set_custom_socket_factory(Factory(network))
    resolver = trio.socket.set_custom_hostname_resolver(Resolver(network))
    try:
        yield
    finally:
        trio.socket.set_custom_socket_factory(factory)
        trio.socket.set_custom_hostname_resolver(resolver)


class Factory(trio.abc.SocketFactory):
    """Makes virtual sockets on the host of the calling task."""

    def __init__(self, network: World) -> None:
        self._network = network

    def socket(self, family: int = 0, type: int = 0, proto: int = 0) -> trio.socket.SocketType:
        """See `trio.abc.SocketFactory`."""
        if family == stdlib_socket.AF_INET6:
            raise error_of(errno.EAFNOSUPPORT, "the virtual network is IPv4 only")
        if family != stdlib_socket.AF_INET or type != stdlib_socket.SOCK_STREAM:
            raise error_of(errno.EPROTONOSUPPORT, "the virtual network carries TCP over IPv4 only")
        host, life = self._network.here()
        if life != host.life or not host.on:
            raise error_of(errno.ENETDOWN, f"host {host.name!r} has crashed")
        return VirtualSocket(self._network, host, life, proto)


class Resolver(trio.abc.HostnameResolver):
    """Knows the names of the hosts, and no other."""

    def __init__(self, network: World) -> None:
        self._network = network

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """See `trio.abc.HostnameResolver`."""
        await trio.lowlevel.checkpoint()
        name = host.decode("ascii") if host is not None else "localhost"
        if family == stdlib_socket.AF_INET6:
            raise stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, "the virtual network is IPv4 only")
        address = self._network.ip_of(name), int(port or 0)
        return [(stdlib_socket.AF_INET, stdlib_socket.SOCK_STREAM, stdlib_socket.IPPROTO_TCP, "", address)]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """See `trio.abc.HostnameResolver`."""
        await trio.lowlevel.checkpoint()
        host = self._network.host_at(sockaddr[0])
        return (host.name if host is not None else sockaddr[0]), str(sockaddr[1])
