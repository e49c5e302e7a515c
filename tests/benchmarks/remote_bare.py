"""The same over a bare trio stream: what it costs at least. Run by `two.py`.

Frames of CBOR behind their length, as the runtime has them, and no more than that: no mailbox and no task
between the stream and the handler, no credit, no accounts, no deadline, nothing checked.

    [actor, wire name, fields]          a tell, 64 of them in one send
    [actor, wire name, fields, ask]     a question; its answer is the frame [value]
    [bytes]                             so many bytes of an array follow
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import trio
from cbor2 import dumps, loads

from tests.benchmarks.remote_ours import ELEMENTS
from tests.benchmarks.runtime import Add, Counter, Total
from tests.benchmarks.two import HOST, NO_TLS, contexts, obey, until_input_ends

RECEIVE_BYTES = 64 * 1024
TLS_BYTES = 64 * 1024  # a send; larger ones are slower on trio's TLS
FRAMES_PER_SEND = 64

KINDS: dict[str, type] = {"bench.add": Add, "bench.total": Total}
NAMES: dict[type, tuple[str, tuple[str, ...]]] = {Add: ("bench.add", ("n",)), Total: ("bench.total", ())}


def packed(message: Any) -> list[Any]:
    """A message to the counter, as a frame has it."""
    name, fields = NAMES[type(message)]
    return ["counter", name, [getattr(message, field) for field in fields]]


def framed(item: Any) -> bytes:
    payload = dumps(item)
    return len(payload).to_bytes(4, "big") + payload


class Frames:
    """Cuts a stream into the payloads of frames."""

    def __init__(self) -> None:
        self._data = b""
        self._start = 0  # of what was not taken out yet

    def cut(self, data: bytes) -> Iterator[bytes]:
        data = self._data[self._start :] + data
        self._data = data
        self._start = 0
        begin = 4
        while begin <= len(data):
            end = begin + int.from_bytes(data[begin - 4 : begin], "big")
            if end > len(data):
                break
            self._start = end
            yield data[begin:end]
            begin = end + 4

    def take(self, count: int) -> bytes:
        """Take out bytes that are no frame: they are of an array."""
        taken = self._data[self._start : self._start + count]
        self._start += len(taken)
        return taken


class Server:
    """The far end: one counter, and a place for arrays."""

    def __init__(self) -> None:
        self.actors = {"counter": Counter()}
        self.array = np.zeros(1)

    async def serve(self, stream: trio.abc.Stream) -> None:
        frames = Frames()
        async with aclosing(stream):
            while data := await stream.receive_some(RECEIVE_BYTES):
                for payload in frames.cut(bytes(data)):
                    frame = loads(payload)
                    if len(frame) == 1:
                        self.array = await receive_array(stream, frame[0] // 8, frames)
                        await stream.send_all(framed([float(self.array[-1])]))
                        break
                    actor = self.actors[frame[0]]
                    value = await actor.receive(KINDS[frame[1]](*frame[2]))
                    if len(frame) == 4:
                        await stream.send_all(framed([value]))


async def receive_array(stream: trio.abc.Stream, elements: int, frames: Frames) -> Any:
    array = np.empty(elements)
    left = array.view(np.uint8).data
    early = frames.take(len(left))
    left[: len(early)] = early
    left = left[len(early) :]
    while left:
        if isinstance(stream, trio.SocketStream):
            count = await stream.socket.recv_into(left)
        else:
            data = await stream.receive_some(RECEIVE_BYTES)
            count = len(data)
            left[:count] = data
        left = left[count:]
    return array


class Near:
    """Measures, seen from the near side."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._frames = Frames()
        self._waiting: list[bytes] = []
        self._array = np.arange(ELEMENTS, dtype=np.float64)

    async def tell(self, count: int) -> float:
        before = await self._question(Total())
        start = time.perf_counter()
        for _ in range(count):
            await self._tell(Add(1))
        await self._flush()
        assert await self._question(Total()) == before + count
        return count / (time.perf_counter() - start)

    async def ask(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            await self._question(Total())
        return count / (time.perf_counter() - start)

    async def arrays(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            await self._send_array()
        return count * self._array.nbytes / (time.perf_counter() - start)

    async def _tell(self, message: Any) -> None:
        self._waiting.append(framed(packed(message)))
        if len(self._waiting) == FRAMES_PER_SEND:
            await self._flush()

    async def _flush(self) -> None:
        await self._stream.send_all(b"".join(self._waiting))
        self._waiting.clear()

    async def _question(self, message: Any) -> Any:
        await self._stream.send_all(framed([*packed(message), 1]))
        return await self._answer()

    async def _answer(self) -> Any:
        while True:
            for payload in self._frames.cut(bytes(await self._stream.receive_some(RECEIVE_BYTES))):
                return loads(payload)[0]

    async def _send_array(self) -> None:
        view = self._array.view(np.uint8).data
        await self._stream.send_all(framed([len(view)]))
        if isinstance(self._stream, trio.SocketStream):
            await self._stream.send_all(view)
        else:
            for start in range(0, len(view), TLS_BYTES):
                await self._stream.send_all(view[start : start + TLS_BYTES])
        assert await self._answer() == ELEMENTS - 1


async def far(folder: str) -> None:
    server = Server()
    await server.actors["counter"].pre_start()
    context = None if folder == NO_TLS else contexts(folder)[0]

    async def serve(stream: trio.SocketStream) -> None:
        await server.serve(stream if context is None else trio.SSLStream(stream, context, server_side=True))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        print(listeners[0].socket.getsockname()[1], flush=True)
        await until_input_ends()
        nursery.cancel_scope.cancel()


async def near(folder: str, port: int) -> None:
    stream: trio.abc.Stream = await trio.open_tcp_stream(HOST, port)
    if folder != NO_TLS:
        stream = trio.SSLStream(stream, contexts(folder)[1], server_hostname=HOST)
    measured = Near(stream)
    await obey({name: getattr(measured, name) for name in ("tell", "ask", "arrays")})
    await stream.aclose()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["far", folder]:
            trio.run(far, folder)
        case ["near", folder, port]:
            trio.run(near, folder, int(port))
