"""What programs see of TCP: one suite, on the kernel's sockets and on the virtual ones.

So the virtual ones are right where the kernel agrees, and not where somebody thought that they were.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import pytest
import trio
from trio.testing import MockClock, check_half_closeable_stream, wait_all_tasks_blocked

from trioactor.testing import Link, Network

# What the kernel's buffers on both sides hold is less than this.
MORE_THAN_BUFFERS = 16 * 1024 * 1024


class Tcp:
    """Makes sockets, and closes them when the test is over."""

    def __init__(self) -> None:
        self._made: list[trio.socket.SocketType] = []

    def socket(self) -> trio.socket.SocketType:
        """A socket as `trio.socket` makes it in this test."""
        made = trio.socket.socket()
        self._made.append(made)
        return made

    async def listener(self, backlog: int = 10) -> trio.socket.SocketType:
        made = self.socket()
        await made.bind(("127.0.0.1", 0))
        made.listen(backlog)
        return made

    async def accept(self, listener: trio.socket.SocketType) -> tuple[trio.socket.SocketType, Any]:
        accepted, address = await listener.accept()
        self._made.append(accepted)
        return accepted, address

    async def connected(self) -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
        """Both ends of a connection: first the one that asked for it."""
        server = await self.listener()
        client = self.socket()
        await client.connect(server.getsockname())
        accepted, _ = await self.accept(server)
        server.close()
        return client, accepted

    def close(self) -> None:
        for made in self._made:
            made.close()


@pytest.fixture(params=["kernel", "virtual"])
async def tcp(request: pytest.FixtureRequest) -> AsyncIterator[Tcp]:
    async with Network() if request.param == "virtual" else nullcontext():
        made = Tcp()
        yield made
        made.close()


async def seen(what: Callable[[], bool]) -> None:
    """Wait until something has crossed the network; neither the kernel nor a socket has an event for it."""
    with trio.fail_after(10):
        while not what():  # noqa: ASYNC110
            await trio.sleep(0.001)


async def raises(number: int, call: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(OSError, match=rf"\[Errno {number}\]"):
        await call()


# --- streams ----------------------------------------------------------------------------------------


async def test_a_stream_is_what_trio_takes_for_one(tcp: Tcp) -> None:
    async def make() -> tuple[trio.SocketStream, trio.SocketStream]:
        one, other = await tcp.connected()
        return trio.SocketStream(one), trio.SocketStream(other)

    async def make_clogged() -> tuple[trio.SocketStream, trio.SocketStream]:
        pair = await make()
        for stream in pair:
            with trio.move_on_after(0.05):
                await stream.send_all(bytes(MORE_THAN_BUFFERS))
        return pair

    await check_half_closeable_stream(make, make_clogged)


async def test_bytes_come_whole_and_in_order_both_ways(tcp: Tcp) -> None:
    one, other = map(trio.SocketStream, await tcp.connected())
    sent = bytes(range(256)) * 4000
    received: dict[str, bytes] = {"one": b"", "other": b""}

    async def receive(name: str, stream: trio.SocketStream) -> None:
        async for data in stream:
            received[name] += data

    async def send(stream: trio.SocketStream) -> None:
        await stream.send_all(sent)
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, "one", one)
        nursery.start_soon(receive, "other", other)
        nursery.start_soon(send, one)
        nursery.start_soon(send, other)

    assert received == {"one": sent, "other": sent}


async def test_bytes_can_be_received_into_memory(tcp: Tcp) -> None:
    one, other = await tcp.connected()
    await one.send(b"abc")
    place = bytearray(10)

    assert await other.recv_into(place) == 3
    assert await one.send(b"def") == 3
    assert await other.recv_into(memoryview(place)[3:], 2) == 2
    assert place[:5] == b"abcde"


async def test_several_pieces_go_in_one_call(tcp: Tcp) -> None:
    one, other = await tcp.connected()

    assert await one.sendmsg([b"ab", b"", bytearray(b"cd")]) == 4
    assert await other.recv(10) == b"abcd"


async def test_both_ends_know_their_addresses(tcp: Tcp) -> None:
    one, other = await tcp.connected()

    assert one.getsockname() == other.getpeername()
    assert one.getpeername() == other.getsockname()
    assert one.getsockname() != other.getsockname()


async def test_what_can_be_read_is_said(tcp: Tcp) -> None:
    one, other = await tcp.connected()
    assert not other.is_readable()

    await one.send(b"x")

    await seen(other.is_readable)


async def test_a_socket_says_what_it_is(tcp: Tcp) -> None:
    sock = tcp.socket()

    assert (sock.family, sock.type, sock.proto) == (socket.AF_INET, socket.SOCK_STREAM, 0)
    assert sock.getsockname() == ("0.0.0.0", 0)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    sock.set_inheritable(False)
    assert not sock.get_inheritable()
    with sock:
        assert sock.fileno() > 0
    assert sock.fileno() == -1


async def test_an_option_that_was_set_is_set(tcp: Tcp) -> None:
    sock = tcp.socket()
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_less_than_nothing_cannot_be_received(tcp: Tcp) -> None:
    one, _ = await tcp.connected()

    with pytest.raises(ValueError, match="negative"):
        await one.recv(-1)


# --- listening --------------------------------------------------------------------------------------


async def test_port_0_is_one_that_is_free(tcp: Tcp) -> None:
    first, second = await tcp.listener(), await tcp.listener()

    assert 0 < first.getsockname()[1] != second.getsockname()[1] > 0


async def test_a_port_is_given_once_and_again_when_it_is_closed(tcp: Tcp) -> None:
    first = await tcp.listener()
    address = first.getsockname()
    second = tcp.socket()

    await raises(errno.EADDRINUSE, lambda: second.bind(address))
    first.close()
    await second.bind(address)

    assert second.getsockname() == address


async def test_an_address_of_another_machine_cannot_be_bound(tcp: Tcp) -> None:
    await raises(errno.EADDRNOTAVAIL, lambda: tcp.socket().bind(("192.0.2.1", 0)))


async def test_a_socket_is_bound_once(tcp: Tcp) -> None:
    sock = await tcp.listener()

    await raises(errno.EINVAL, lambda: sock.bind(("127.0.0.1", 0)))


async def test_connections_wait_in_the_order_of_their_coming(tcp: Tcp) -> None:
    server = await tcp.listener()
    clients = [tcp.socket() for _ in range(3)]
    for client in clients:
        await client.connect(server.getsockname())

    accepted = [await tcp.accept(server) for _ in clients]

    assert [address for _, address in accepted] == [client.getsockname() for client in clients]


async def test_a_listener_without_an_address_gets_one(tcp: Tcp) -> None:
    server = tcp.socket()
    server.listen()
    client = tcp.socket()

    await client.connect(("127.0.0.1", server.getsockname()[1]))

    assert server.is_readable() or (await tcp.accept(server))[1] == client.getsockname()


async def test_who_connects_to_all_addresses_connects_to_this_machine(tcp: Tcp) -> None:
    server = await tcp.listener()
    client = tcp.socket()

    await client.connect(("0.0.0.0", server.getsockname()[1]))

    assert client.getpeername() == server.getsockname()


async def test_a_socket_listens_or_is_connected(tcp: Tcp) -> None:
    one, _ = await tcp.connected()
    server = await tcp.listener()

    with pytest.raises(OSError, match=rf"\[Errno {errno.EINVAL}\]"):
        one.listen()
    await raises(errno.EISCONN, lambda: server.connect(server.getsockname()))


async def test_only_a_listener_accepts(tcp: Tcp) -> None:
    await raises(errno.EINVAL, lambda: tcp.socket().accept())


async def test_a_listener_says_that_it_is_one(tcp: Tcp) -> None:
    one, _ = await tcp.connected()

    listens = (await tcp.listener()).getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)

    assert listens == 1
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0


async def test_a_closed_listener_resets_those_that_wait(tcp: Tcp) -> None:
    server = await tcp.listener()
    client = tcp.socket()
    await client.connect(server.getsockname())
    await wait_all_tasks_blocked(0.01)

    server.close()

    await raises(errno.ECONNRESET, lambda: client.recv(1))


async def test_closing_wakes_who_waits_for_a_connection(tcp: Tcp) -> None:
    server = await tcp.listener()
    with pytest.RaisesGroup(trio.ClosedResourceError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.accept)
            await wait_all_tasks_blocked()
            server.close()


# --- connecting -------------------------------------------------------------------------------------


async def test_nobody_there_is_a_refusal(tcp: Tcp) -> None:
    server = await tcp.listener()
    address = server.getsockname()
    server.close()

    await raises(errno.ECONNREFUSED, lambda: tcp.socket().connect(address))


async def test_a_refused_socket_may_try_again_though_not_at_once(tcp: Tcp) -> None:
    server = await tcp.listener()
    address = server.getsockname()
    server.close()
    client = tcp.socket()
    await raises(errno.ECONNREFUSED, lambda: client.connect(address))

    again = await tcp.listener()
    await raises(errno.ECONNABORTED, lambda: client.connect(again.getsockname()))
    await client.connect(again.getsockname())

    assert client.getpeername() == again.getsockname()


async def test_a_client_may_choose_its_port(tcp: Tcp) -> None:
    server = await tcp.listener()
    client = tcp.socket()
    await client.bind(("127.0.0.1", 0))
    chosen = client.getsockname()

    await client.connect(server.getsockname())
    _, address = await tcp.accept(server)

    assert address == chosen


async def test_without_a_connection_nothing_comes_and_nothing_goes(tcp: Tcp) -> None:
    sock = tcp.socket()

    await raises(errno.ENOTCONN, lambda: sock.recv(1))
    await raises(errno.EPIPE, lambda: sock.send(b"x"))
    for call in (sock.getpeername, lambda: sock.shutdown(socket.SHUT_WR)):
        with pytest.raises(OSError, match=rf"\[Errno {errno.ENOTCONN}\]"):
            call()


async def test_a_name_that_is_not_known_is_an_error_of_its_own(tcp: Tcp) -> None:
    with pytest.raises(socket.gaierror):
        await trio.socket.getaddrinfo("no such host!", 80, flags=socket.AI_NUMERICHOST)


# --- ending -----------------------------------------------------------------------------------------


async def test_after_the_last_byte_comes_the_end(tcp: Tcp) -> None:
    one, other = await tcp.connected()
    await one.send(b"last")
    one.close()

    assert await other.recv(100) == b"last"
    assert await other.recv(100) == b""
    assert await other.recv(100) == b""


async def test_one_direction_ends_and_the_other_goes_on(tcp: Tcp) -> None:
    one, other = await tcp.connected()
    one.shutdown(socket.SHUT_WR)
    assert await other.recv(1) == b""

    await other.send(b"still here")

    assert await one.recv(100) == b"still here"
    assert one.did_shutdown_SHUT_WR
    await raises(errno.EPIPE, lambda: one.send(b"x"))


async def test_who_wants_to_read_no_more_reads_the_end(tcp: Tcp) -> None:
    one, _ = await tcp.connected()
    one.shutdown(socket.SHUT_RD)

    assert await one.recv(1) == b""


async def test_bytes_that_nobody_read_are_answered_with_a_reset(tcp: Tcp) -> None:
    one, other = await tcp.connected()
    await one.send(b"unread")
    await seen(other.is_readable)

    other.close()

    await raises(errno.ECONNRESET, lambda: one.recv(1))


async def test_bytes_for_a_closed_end_are_answered_with_a_reset(tcp: Tcp) -> None:
    one, other = await tcp.connected()
    other.close()
    assert await one.recv(1) == b""

    assert await one.send(b"too late") == 8  # the kernel takes it: nobody knows yet
    await wait_all_tasks_blocked(0.01)

    await raises(errno.EPIPE, lambda: one.send(b"x"))


async def test_a_reset_is_told_once_and_then_the_connection_is_over(tcp: Tcp) -> None:
    one, other = await tcp.connected()
    await one.send(b"unread")
    await seen(other.is_readable)
    other.close()
    await seen(one.is_readable)

    await raises(errno.ECONNRESET, lambda: one.recv(1))

    assert await one.recv(1) == b""
    await raises(errno.EPIPE, lambda: one.send(b"x"))


async def test_a_reset_is_told_to_who_sends_as_well(tcp: Tcp) -> None:
    one, other = await tcp.connected()
    await one.send(b"unread")
    await seen(other.is_readable)
    other.close()
    await seen(one.is_readable)

    await raises(errno.ECONNRESET, lambda: one.send(b"x"))
    await raises(errno.EPIPE, lambda: one.send(b"x"))


async def test_an_error_can_be_asked_for_and_is_then_forgotten(tcp: Tcp) -> None:
    one, other = await tcp.connected()
    await one.send(b"unread")
    await seen(other.is_readable)
    other.close()
    await seen(one.is_readable)

    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


async def test_a_reset_overtakes_what_was_not_read(tcp: Tcp) -> None:
    """What came before it is lost to a reader who had not taken it: Linux keeps it, and so do we."""
    one, other = await tcp.connected()
    await other.send(b"before")
    await seen(one.is_readable)
    await one.send(b"unread")
    await seen(other.is_readable)
    other.close()
    await wait_all_tasks_blocked(0.01)

    assert await one.recv(100) == b"before"
    await raises(errno.ECONNRESET, lambda: one.recv(100))


async def test_a_closed_socket_says_so(tcp: Tcp) -> None:
    one, _ = await tcp.connected()
    one.close()
    one.close()

    assert one.fileno() == -1
    await raises(errno.EBADF, lambda: one.recv(1))
    await raises(errno.EBADF, lambda: one.send(b"x"))


async def test_closing_wakes_who_reads(tcp: Tcp) -> None:
    one, _ = await tcp.connected()
    with pytest.RaisesGroup(trio.ClosedResourceError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.recv, 1)
            await wait_all_tasks_blocked()
            one.close()


# --- back-pressure ----------------------------------------------------------------------------------


async def test_a_sender_waits_when_nobody_reads_and_goes_on_when_somebody_does(tcp: Tcp) -> None:
    one, other = map(trio.SocketStream, await tcp.connected())
    data = bytes(MORE_THAN_BUFFERS)
    received = 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.send_all, data)
        await wait_all_tasks_blocked(0.01)
        assert nursery.child_tasks, "all of it was taken, though nobody reads"
        while received < len(data):
            received += len(await other.receive_some(1024 * 1024))


async def test_who_may_write_is_told_when_there_is_room(tcp: Tcp) -> None:
    one, other = await tcp.connected()
    await one.wait_writable()
    with trio.move_on_after(0.1):
        while True:
            await one.send(bytes(65536))
    with trio.move_on_after(0.02) as scope:
        await one.wait_writable()
    assert scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.wait_writable)
        while nursery.child_tasks:
            with trio.move_on_after(0.05):
                await other.recv(1024 * 1024)


async def test_two_tasks_cannot_read_at_once(tcp: Tcp) -> None:
    one, _ = await tcp.connected()
    with pytest.RaisesGroup(trio.BusyResourceError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.recv, 1)
            nursery.start_soon(one.recv, 1)


# --- only virtual: what the kernel does not do on a loopback, and what has no counterpart -----------


async def test_a_cancelled_connect_closes_its_socket(autojump_clock: MockClock) -> None:
    async with Network(link=Link(latency_seconds=60)) as network:
        tcp = Tcp()
        with network.at("b"):
            server = tcp.socket()
            await server.bind(("b", 7000))
            server.listen()
        client = tcp.socket()
        with trio.move_on_after(1):
            await client.connect(("b", 7000))

        assert client.fileno() == -1
        with trio.move_on_after(1000) as scope:
            await tcp.accept(server)
        assert scope.cancelled_caught, "a connection came to stand that nobody wants"


async def test_a_full_backlog_is_asked_again_later(autojump_clock: MockClock) -> None:
    async with Network():
        tcp = Tcp()
        server = await tcp.listener(backlog=1)
        first, second = tcp.socket(), tcp.socket()
        await first.connect(server.getsockname())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(second.connect, server.getsockname())
            await trio.sleep(10)
            assert nursery.child_tasks
            await tcp.accept(server)
        await tcp.accept(server)

        assert 10 < trio.current_time() < 16


@pytest.mark.parametrize("name", ["dup", "detach"])
async def test_what_is_not_there_is_refused_by_name(name: str) -> None:
    async with Network():
        tcp = Tcp()
        with pytest.raises(OSError, match=name):
            getattr(tcp.socket(), name)()


@pytest.mark.parametrize("name", ["sendto", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"])
async def test_there_is_no_udp(name: str) -> None:
    async with Network():
        tcp = Tcp()
        with pytest.raises(OSError, match=name):
            await getattr(tcp.socket(), name)(b"", ("a", 1))
        with pytest.raises(OSError, match="TCP over IPv4 only"):
            trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with pytest.raises(OSError, match="IPv4 only"):
            trio.socket.socket(socket.AF_INET6)


async def test_flags_and_ancillary_data_are_refused() -> None:
    async with Network():
        tcp = Tcp()
        one, _ = await tcp.connected()
        with pytest.raises(OSError, match="flags"):
            await one.recv(1, socket.MSG_PEEK)
        with pytest.raises(OSError, match="ancillary"):
            await one.sendmsg([b"x"], [(1, 2, b"3")])


async def test_a_connected_socket_connects_no_more() -> None:
    """The kernel's answer depends on whether the socket blocks, and whether it was asked before."""
    async with Network():
        tcp = Tcp()
        one, _ = await tcp.connected()
        server = await tcp.listener()

        await raises(errno.EISCONN, lambda: one.connect(server.getsockname()))
