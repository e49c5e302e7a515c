"""`VirtualSocket`: what trio's programs hold in their hands, in place of a socket of the kernel's."""

from __future__ import annotations

import errno
import socket as stdlib_socket
from collections.abc import Iterable
from operator import index
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from trioactor.testing.hosts import ANY, Host
from trioactor.testing.listening import Listening
from trioactor.testing.tcp import Address, Endpoint, error_of

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer


class Directory(Protocol):
    """What a socket needs of the network."""

    def fresh_serial(self) -> int:
        """A number for `fileno`."""

    def ip_of(self, name: str) -> str:
        """The IP address of a host; what is an IP address already is returned as it is."""


class VirtualSocket(trio.socket.SocketType):
    """A TCP socket over IPv4 on the virtual network.

    It belongs to the host in whose task it was made, in that life of the host: when the host crashes,
    it is dead. `sendto`, `recvfrom`, `dup` and `detach` are refused; all else is as on Linux.
    """

    def __init__(self, directory: Directory, host: Host, life: int, proto: int = 0) -> None:
        super().__init__()
        self._proto = proto
        self._directory = directory
        self._host = host
        self._life = life
        self._number = directory.fresh_serial()
        self._options: dict[tuple[int, int], Any] = {}
        self._bound: Address | None = None
        self._listening: Listening | None = None
        self._endpoint: Endpoint | None = None
        self._closed = False
        self._said_all = False
        self._was_refused = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.getsockname()}"
        return f"<VirtualSocket on {self._host.name}: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- what it is ---------------------------------------------------------------------------------

    @property
    def family(self) -> stdlib_socket.AddressFamily:
        """IPv4."""
        return stdlib_socket.AF_INET

    @property
    def type(self) -> stdlib_socket.SocketKind:
        """A stream."""
        return stdlib_socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        """What it was made with: that of TCP, or 0, which is the same."""
        return self._proto

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802  # trio's name
        """Whether this end has said that it sends nothing more."""
        return self._said_all

    def fileno(self) -> int:
        """Return a number as long as the socket is open, then -1. It is no file descriptor."""
        return -1 if self._closed else self._number

    def getsockname(self) -> Address:
        """Return IP address and port of this end."""
        self._check_open()
        if self._endpoint is not None:
            return self._endpoint.local
        return self._bound or (ANY, 0)

    def getpeername(self) -> Address:
        """Return IP address and port of the other end."""
        self._check_open()
        return self._connected(standing=True).remote

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """Remember an option. None of them changes anything here."""
        self._check_open()
        self._options[level, optname] = value

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        """Return an option: the error that is due, whether it listens, or what was set."""
        self._check_open()
        if level == stdlib_socket.SOL_SOCKET:
            match optname:
                case stdlib_socket.SO_ERROR:
                    return self._endpoint.take_error() if self._endpoint is not None else 0
                case stdlib_socket.SO_ACCEPTCONN:
                    return int(self._listening is not None)
                case stdlib_socket.SO_TYPE:
                    return int(self.type)
        return self._options.get((level, optname), 0 if buflen is None else bytes(buflen))

    def get_inheritable(self) -> bool:
        """Return False: no other program can have it."""
        return False

    def set_inheritable(self, inheritable: bool) -> None:
        """Do nothing; there is no program to inherit it."""

    # --- listening ----------------------------------------------------------------------------------

    async def bind(self, address: Any) -> None:
        """Take an address of this host; port 0 for a free one."""
        await checkpoint()
        self._check_open()
        if self._bound is not None or self._endpoint is not None:
            raise error_of(errno.EINVAL, "the socket has an address already")
        self._bound = self._host.bind(self._directory.ip_of(address[0] or ANY), address[1])

    def listen(self, backlog: int = 128) -> None:
        """Take connections."""
        self._check_open()
        if self._endpoint is not None:
            raise error_of(errno.EINVAL, "the socket is connected")
        if self._bound is None:
            self._bound = self._host.bind(ANY, 0)
        if self._listening is None:
            self._listening = self._host.listen(self._bound, backlog)

    async def accept(self) -> tuple[trio.socket.SocketType, Any]:
        """Wait for a connection; return a socket for it and the address of the other end."""
        await checkpoint_if_cancelled()
        self._check_open()
        listening = self._listening
        if listening is None:
            raise error_of(errno.EINVAL, "the socket does not listen")
        if listening.can_accept:
            await cancel_shielded_checkpoint()
        while not listening.can_accept:
            await listening.waiting.wait()
        accepted = VirtualSocket(self._directory, self._host, self._life, self._proto)
        accepted._endpoint = listening.take()
        return accepted, accepted._endpoint.remote

    # --- connecting ---------------------------------------------------------------------------------

    async def connect(self, address: Any) -> None:
        """Ask for a connection and wait for it. Cancelled, it closes the socket, as trio's own does."""
        await checkpoint()
        self._check_open()
        if self._endpoint is not None:
            raise error_of(errno.EISCONN if self._endpoint.established else errno.EALREADY)
        if self._listening is not None:
            raise error_of(errno.EISCONN, "the socket listens")
        if self._was_refused:  # Linux says so once; the sockets of trio do not block
            self._was_refused = False
            raise error_of(errno.ECONNABORTED)
        remote = self._directory.ip_of(address[0] or "127.0.0.1"), address[1]
        endpoint = self._endpoint = self._host.connect(self._bound, remote)
        try:
            while not endpoint.established and endpoint.error is None:
                await endpoint.writable.wait()
        except trio.Cancelled:
            self.close()
            raise
        number = endpoint.take_error()
        if number:
            if not endpoint.established:
                endpoint.close()
                self._endpoint = None
                self._was_refused = True
            raise error_of(number, f"error connecting to {address!r}")

    # --- sending ------------------------------------------------------------------------------------

    async def send(self, data: Buffer, flags: int = 0, /) -> int:
        """Send a part of the data, at least one byte of it, and return how much that was."""
        await checkpoint_if_cancelled()
        endpoint = self._connected(otherwise=errno.EPIPE)
        if endpoint.can_write:
            await cancel_shielded_checkpoint()
            self._check_open()
        while not endpoint.can_write:
            await endpoint.writable.wait()
        with memoryview(data) as view, view.cast("B") as octets:
            return endpoint.send(octets)

    def send_now(self, data: bytes) -> int:
        """Send a part of the data without waiting, and return how much. Raises BlockingIOError: nothing."""
        endpoint = self._connected(otherwise=errno.EPIPE)
        if not endpoint.can_write:
            raise error_of(errno.EAGAIN)
        return endpoint.send(memoryview(data))

    async def sendmsg(self, buffers: Iterable[Buffer], *args: Any) -> int:
        """Send a part of several pieces. Ancillary data is refused."""
        if args and args[0]:
            self._refuse("ancillary data")
        return await self.send(b"".join(bytes(memoryview(piece)) for piece in buffers))

    async def wait_writable(self) -> None:
        """Wait until `send` would not have to wait."""
        await checkpoint()
        endpoint = self._connected()
        while not endpoint.can_write:
            await endpoint.writable.wait()

    def shutdown(self, flag: int) -> None:
        """Say that nothing more is sent, or that nothing more is read."""
        endpoint = self._connected(standing=True)
        if flag in (stdlib_socket.SHUT_WR, stdlib_socket.SHUT_RDWR):
            endpoint.finish()
            self._said_all = True
        if flag in (stdlib_socket.SHUT_RD, stdlib_socket.SHUT_RDWR):
            endpoint.turn_deaf()

    # --- receiving ----------------------------------------------------------------------------------

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        """Wait for bytes and return some of them; b"" when there are no more to come."""
        await checkpoint_if_cancelled()
        endpoint = self._connected()
        most = index(buflen)  # a TypeError belongs to the caller, before any waiting
        if most < 0:
            raise ValueError("negative buffersize in recv")
        if flags:
            self._refuse(f"flags={flags}")
        if endpoint.can_read:
            await cancel_shielded_checkpoint()
            self._check_open()
        while not endpoint.can_read:
            await endpoint.readable.wait()
        return endpoint.read(most)

    async def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        """The same, into memory that is there already."""
        with memoryview(buffer) as view, view.cast("B") as place:
            data = await self.recv(nbytes or len(place), flags)
            place[: len(data)] = data
            return len(data)

    def is_readable(self) -> bool:
        """Whether `recv` or `accept` would not have to wait."""
        if self._listening is not None:
            return self._listening.can_accept
        return self._endpoint is not None and self._endpoint.can_read

    # --- the end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Be done with it. Whoever waits here gets `trio.ClosedResourceError`."""
        if self._closed:
            return
        self._closed = True
        alive = self._life == self._host.life
        if self._listening is not None and alive:
            self._listening.close()
        if self._bound is not None and alive:
            self._host.release(self._bound)
        if self._endpoint is not None and not self._endpoint.closed:
            self._endpoint.close()

    # --- refusing -----------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise error_of(errno.EBADF)
        if self._life != self._host.life:
            raise error_of(errno.ENETDOWN, f"host {self._host.name!r} has crashed")

    def _connected(self, *, standing: bool = False, otherwise: int = errno.ENOTCONN) -> Endpoint:
        """The end of the connection. Raises OSError when there is none."""
        self._check_open()
        endpoint = self._endpoint
        if endpoint is None or (not endpoint.established and (standing or endpoint.error is None)):
            raise error_of(otherwise)
        return endpoint

    def _refuse(self, what: str) -> NoReturn:
        raise error_of(errno.EOPNOTSUPP, f"the virtual network does not know {what}")

    async def sendto(self, *args: Any) -> int:
        """Refuse: there is no UDP here."""
        self._refuse("sendto")

    async def recvfrom(self, *args: Any) -> NoReturn:
        """Refuse: there is no UDP here."""
        self._refuse("recvfrom")

    async def recvfrom_into(self, *args: Any) -> NoReturn:
        """Refuse: there is no UDP here."""
        self._refuse("recvfrom_into")

    async def recvmsg(self, *args: Any) -> NoReturn:
        """Refuse: there is no ancillary data here."""
        self._refuse("recvmsg")

    async def recvmsg_into(self, *args: Any) -> NoReturn:
        """Refuse: there is no ancillary data here."""
        self._refuse("recvmsg_into")

    def dup(self) -> NoReturn:
        """Refuse: a virtual socket has one owner."""
        self._refuse("dup")

    def detach(self) -> NoReturn:
        """Refuse: there is no file descriptor to hand out."""
        self._refuse("detach")
