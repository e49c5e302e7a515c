"""The ways past trio's scheduler: what they do with sockets of the kernel's, and with others."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trioactor.direct import Receive, direct_for, gather_for, receive_for
from trioactor.testing import Network

# --- sending ---------------------------------------------------------------------------------------


async def test_a_socket_of_the_kernels_takes_what_it_has_room_for_and_says_so_when_it_is_closed() -> None:
    ours, theirs = map(trio.socket.from_stdlib_socket, socket.socketpair())
    async with trio.SocketStream(ours) as stream, trio.SocketStream(theirs) as far:
        send_now = direct_for(stream)
        assert send_now is not None

        assert send_now(b"hello") is None
        assert await far.receive_some() == b"hello"
        while (left := send_now(bytes(100_000))) is None:
            pass
        assert 0 < len(left) <= 100_000
        while (send_now(b"x")) is None:
            pass
        assert send_now(b"no room") == b"no room"
        await stream.aclose()
        assert send_now(b"closed") == b"closed"


async def test_a_virtual_socket_has_one_too() -> None:
    async with Network() as network:
        with network.at("hub"):
            (listener,) = await trio.open_tcp_listeners(7000, host="hub")
        with network.at("caller"):
            stream = await trio.open_tcp_stream("hub", 7000)
        far = await listener.accept()
        send_now = direct_for(stream)
        assert send_now is not None

        assert send_now(b"hello") is None
        assert await far.receive_some() == b"hello"
        while send_now(bytes(100_000)) is None:
            pass
        await stream.aclose()
        assert send_now(b"closed") == b"closed"
        await trio.aclose_forcefully(far)
        await listener.aclose()


@pytest.mark.parametrize("kind", ["memory", "unknown socket"])
def test_other_streams_have_none(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that is not trio's own may have any number, which is the file descriptor of something else."""

    async def main() -> None:
        if kind == "memory":
            assert direct_for(memory_stream_pair()[0]) is None
            return
        ours, theirs = map(trio.socket.from_stdlib_socket, socket.socketpair())
        async with trio.SocketStream(ours) as stream, trio.SocketStream(theirs):
            monkeypatch.setattr(type(ours), "__module__", "elsewhere")
            assert direct_for(stream) is None

    trio.run(main)


# --- receiving -------------------------------------------------------------------------------------


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[Receive, trio.SocketStream, trio.SocketStream]]:
    """How to receive from one end of a connection, that end, and the other."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        far = await trio.open_tcp_stream(*listener.socket.getsockname())
        async with far, await listener.accept() as near:
            yield receive_for(near), near, far


async def test_what_is_there_is_received_and_what_comes_later_is_waited_for() -> None:
    async with receiver() as (receive, _, far), trio.open_nursery() as nursery:
        await far.send_all(b"hello")
        assert [await receive(3), await receive(100)] == [b"hel", b"lo"]

        await far.send_all(b"again")
        assert await receive(100) == b"again"

        got = []

        async def wait() -> None:
            got.append(await receive(100))

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert got == []
        await far.send_all(b"later")
    assert got == [b"later"]


async def test_after_the_end_nothing_is_received() -> None:
    async with receiver() as (receive, _, far):
        await far.send_all(b"x")
        assert await receive(100) == b"x"
        await far.send_eof()

        assert [await receive(100), await receive(100)] == [b"", b""]


async def test_waiting_can_be_cancelled_and_takes_nothing_away() -> None:
    async with receiver() as (receive, _, far):
        await far.send_all(b"x")
        assert await receive(100) == b"x"
        with trio.move_on_after(0.01) as scope:
            await receive(100)
        assert scope.cancelled_caught
        await far.send_all(b"y")

        assert await receive(100) == b"y"


async def test_who_waits_is_told_when_the_socket_is_closed() -> None:
    async with receiver() as (receive, near, far), trio.open_nursery() as nursery:
        await far.send_all(b"x")
        assert await receive(100) == b"x"

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await receive(100)

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        await near.aclose()


async def test_who_waits_is_told_of_a_reset() -> None:
    async with receiver() as (receive, _, far):
        await far.send_all(b"x")
        assert await receive(100) == b"x"
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await far.aclose()

        with pytest.raises(ConnectionResetError):
            await receive(100)


async def test_from_other_streams_is_received_as_they_do_it() -> None:
    near, far = memory_stream_pair()
    await far.send_all(b"hello")

    assert await receive_for(near)(100) == b"hello"


# --- sending several buffers ------------------------------------------------------------------------


async def test_a_socket_of_the_kernels_sends_several_buffers_at_once() -> None:
    ours, theirs = map(trio.socket.from_stdlib_socket, socket.socketpair())
    async with trio.SocketStream(ours) as stream, trio.SocketStream(theirs) as far:
        gather = gather_for(stream)
        assert gather is not None

        assert await gather([memoryview(b"head"), memoryview(b" and tail")]) == 13
        assert await far.receive_some() == b"head and tail"
        assert 0 < await gather([memoryview(b"head"), memoryview(bytes(50_000_000))]) < 50_000_004


def test_other_streams_send_one_buffer_after_the_other() -> None:
    assert gather_for(memory_stream_pair()[0]) is None
