"""TLS as plain calls, and the stream made of it: beside trio's own `SSLStream`, and when things go wrong."""

from __future__ import annotations

import ssl
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from tests.trioactor.certificates import Files
from trioactor.tls import Certificates
from trioactor.tls_stream import TlsEngine, TlsStream

NAME = "localhost"


def context(files: Files, *, server: bool) -> ssl.SSLContext:
    return Certificates(files.certfile, files.keyfile, files.ca_cert).context(server=server)


# --- the engine --------------------------------------------------------------------------------------


def engines(files: Files, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[TlsEngine, TlsEngine]:
    """A server and a client after the handshake."""
    contexts = [context(files, server=server) for server in (True, False)]
    for each in contexts:
        each.maximum_version = version
    server, client = TlsEngine(contexts[0], None), TlsEngine(contexts[1], NAME)
    while not all([client.handshake(), server.handshake()]):
        for sender, receiver in (client, server), (server, client):
            if sender.has_something_to_send:
                receiver.feed(sender.take())
    return server, client


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(st.binary(min_size=1, max_size=40_000), max_size=6),
    cuts=st.lists(st.integers(1, 20_000), min_size=1, max_size=8),
    most=st.integers(1, 70_000),
    in_place=st.booleans(),
)
def test_what_was_written_is_read_in_order_however_it_is_cut(
    good: Files, said: list[bytes], cuts: list[int], most: int, in_place: bool
) -> None:
    server, client = engines(good)
    read = bytearray()

    def read_all() -> None:
        while True:
            if in_place:
                place = bytearray(most)
                found = bytes(place[: server.read_into(memoryview(place))])
            else:
                found = server.read(most)
            assert len(found) <= most
            if not found:
                return
            read.extend(found)

    for text in said:
        client.write(text)
        ciphertext = client.take()
        for turn in range(len(ciphertext)):
            piece, ciphertext = ciphertext[: cuts[turn % len(cuts)]], ciphertext[cuts[turn % len(cuts)] :]
            if not piece:
                break
            server.feed(piece)
            read_all()

    assert bytes(read) == b"".join(said)
    assert not server.ended


def test_the_end_of_the_transport_is_the_end_with_or_without_a_farewell(good: Files) -> None:
    server, client = engines(good)
    client.write(b"last")
    server.feed(client.take())
    server.feed(b"")

    assert [server.read(2), server.ended] == [b"la", False]
    assert [server.read(100), server.ended] == [b"st", True]
    assert [server.read(100), server.ended] == [b"", True]


def test_what_came_whole_before_a_forged_record_is_read_then_the_forgery_is_named(good: Files) -> None:
    server, client = engines(good)
    client.write(b"true")
    honest = client.take()
    client.write(b"forged")
    record = client.take()
    server.feed(honest + record[:-1] + bytes([record[-1] ^ 1]))

    assert server.read(100) == b"true"
    for _ in range(2):
        with pytest.raises(ssl.SSLError, match=r"(?i)bad record mac|decryption failed"):
            server.read(100)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_are_spoken_and_name_the_peer(good: Files, version: ssl.TLSVersion) -> None:
    server, client = engines(good, version)

    assert server.names() == client.names() == ("localhost", "127.0.0.1")


# --- the stream --------------------------------------------------------------------------------------


@asynccontextmanager
async def plain_pair(kind: str) -> AsyncIterator[tuple[trio.abc.Stream, trio.abc.Stream]]:
    """Two ends of a stream of the kernel's, or of one in memory."""
    if kind == "memory":
        yield memory_stream_pair()
        return
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        near = await trio.open_tcp_stream(*listener.socket.getsockname())
        yield near, await listener.accept()


def trios(plain: trio.abc.Stream, files: Files, host: str | None) -> trio.SSLStream[trio.abc.Stream]:
    server = host is None
    return trio.SSLStream(
        plain,
        context(files, server=server),
        server_side=server,
        server_hostname=host,
        https_compatible=True,
    )


def ours(plain: trio.abc.Stream, files: Files, host: str | None) -> TlsStream:
    return TlsStream(plain, context(files, server=host is None), host)


async def shake(stream: trio.SSLStream[trio.abc.Stream] | TlsStream) -> None:
    await (stream.handshake() if isinstance(stream, TlsStream) else stream.do_handshake())


@asynccontextmanager
async def tls_pair(files: Files, kind: str = "TCP") -> AsyncIterator[tuple[TlsStream, TlsStream]]:
    """A client and a server, both ours, after the handshake."""
    async with plain_pair(kind) as (near, far):
        client, server = ours(near, files, NAME), ours(far, files, None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.handshake)
            nursery.start_soon(server.handshake)
        async with client, server:
            yield client, server


Maker = Callable[[trio.abc.Stream, Files, str | None], "trio.SSLStream[trio.abc.Stream] | TlsStream"]


@pytest.mark.parametrize("kind", ["TCP", "memory"])
@pytest.mark.parametrize(("client", "server"), [(ours, ours), (ours, trios), (trios, ours)])
async def test_it_speaks_with_itself_and_with_trios(
    good: Files, client: Maker, server: Maker, kind: str
) -> None:
    text = bytes(range(256)) * 4_000

    async def echo(stream: trio.SSLStream[trio.abc.Stream] | TlsStream) -> None:
        async with stream:
            await shake(stream)
            while data := await stream.receive_some():
                await stream.send_all(data)

    async with plain_pair(kind) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(echo, server(far, good, None))
        async with client(near, good, NAME) as stream:
            await shake(stream)
            nursery.start_soon(stream.send_all, text)
            back = bytearray()
            while len(back) < len(text):
                back += await stream.receive_some()
    assert back == text


async def test_what_is_sent_without_waiting_arrives_and_what_has_no_room_goes_before_the_next(
    good: Files,
) -> None:
    async with tls_pair(good) as (client, server):
        assert client.send_now(b"hello") is None
        assert await server.receive_some() == b"hello"

        sent = 0
        while (left := client.send_now(bytes(4_000))) is None:
            sent += 1
        assert left == b"", "it was encrypted, so it is not sent again; but a task has to see to it"
        assert client.send_now(b"more") == b"more", "nothing overtakes it"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, b"more")
            read = bytearray()
            while len(read) < 4_000 * (sent + 1) + 4:
                read += await server.receive_some()
        assert bytes(read) == bytes(4_000 * (sent + 1)) + b"more"


async def test_over_other_streams_nothing_is_sent_without_waiting(good: Files) -> None:
    async with tls_pair(good, "memory") as (client, _):
        assert client.send_now(b"hello") == b"hello"


async def test_it_is_received_in_place(good: Files) -> None:
    async with tls_pair(good) as (client, server):
        text, place = bytes(range(250)) * 400, bytearray(100_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, text)
            count = 0
            while count < len(place):
                count += await server.receive_into(memoryview(place)[count:])
        assert bytes(place) == text


async def test_a_send_that_was_cancelled_half_way_breaks_the_stream(good: Files) -> None:
    """Half a record is under way; whatever followed would be read as the rest of it."""
    async with tls_pair(good) as (client, server):
        with trio.move_on_after(0.05) as scope:
            await client.send_all(bytes(50_000_000))
        assert scope.cancelled_caught

        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"more")
        assert client.send_now(b"more") == b"more"
        assert await server.receive_some()


async def test_receiving_can_be_cancelled_and_takes_nothing_away(good: Files) -> None:
    async with tls_pair(good) as (client, server):
        with trio.move_on_after(0.01) as scope:
            await server.receive_some()
        assert scope.cancelled_caught
        await client.send_all(b"later")

        assert [await server.receive_some(3), await server.receive_some()] == [b"lat", b"er"]


async def test_a_forged_record_breaks_the_stream_and_is_the_cause(good: Files) -> None:
    async with tls_pair(good) as (client, server):
        await client.transport.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))

        with pytest.raises(trio.BrokenResourceError) as caught:
            await server.receive_some()
        assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_after_the_end_nothing_is_received(good: Files) -> None:
    async with tls_pair(good) as (client, server):
        await client.send_all(b"x")
        await client.aclose()

        assert [await server.receive_some(), await server.receive_some()] == [b"x", b""]
        assert await server.receive_into(memoryview(bytearray(10))) == 0


async def test_whoever_waits_is_told_when_it_is_closed_and_openssl_gives_its_memory_back(good: Files) -> None:
    async with tls_pair(good) as (client, _), trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await client.receive_some()

        engine = weakref.ref(client._open())
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        await client.aclose()
        await wait_all_tasks_blocked()

        assert engine() is None
        with pytest.raises(trio.ClosedResourceError):
            await client.send_all(b"x")
        assert client.send_now(b"x") == b"x"
