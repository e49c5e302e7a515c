"""A peer that speaks the wire by hand: it says what a test wants it to say, right or wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio
from cbor2 import CBORTag, dumps, loads

from trioactor.framing import HEADER_BYTES, encode_frame

HELLO: Mapping[str, Any] = {
    "protocol": 1,
    "system": "stranger",
    "incarnation": 1,
    "vocabulary": b"whatever",
    "frame_bytes": 256 * 1024,
    "message_bytes": 2**30,
    "window": [256, 4 * 2**20],
    "silence_seconds": 15.0,
    "address": None,
}


def said(wire_name: str, *fields: Any) -> CBORTag:
    """A message, as it stands in a frame."""
    return CBORTag(27, [wire_name, list(fields)])


class Stranger:
    """One end of a connection, in plain bytes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def say(self, *frame: Any) -> None:
        """Send a frame."""
        await self.stream.send_all(encode_frame(dumps(list(frame))))

    async def shake_hands(self, **changes: Any) -> dict[str, Any]:
        """Say hello and return what the other side says."""
        await self.say(0, {**HELLO, **changes})
        number, hello = await self.hear()
        assert number == 0
        found: dict[str, Any] = hello
        return found

    async def hear(self) -> list[Any]:
        """Return the next frame. Raises EOFError at the end of the connection."""
        length = int.from_bytes(await self._take(HEADER_BYTES), "big")
        frame: list[Any] = loads(await self._take(length))
        return frame

    async def hear_until(self, number: int) -> list[Any]:
        """Return the next frame of a kind; what comes before it is passed over."""
        while (frame := await self.hear())[0] != number:
            pass
        return frame

    async def hear_until_message(self) -> list[Any]:
        """Return the next message; what comes before it is passed over."""
        while type((frame := await self.hear())[0]) is not str:
            pass
        return frame

    async def is_cut_off(self) -> bool:
        """Read on until the connection has ended, for a minute at most."""
        with trio.move_on_after(60):
            try:
                while True:
                    await self.hear()
            except (EOFError, trio.BrokenResourceError):
                return True
        return False

    async def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            data = await self.stream.receive_some(65536)
            if not data:
                raise EOFError
            self._buffer += data
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


@asynccontextmanager
async def dial(host: str, port: int, *, hello: bool = True, **changes: Any) -> AsyncIterator[Stranger]:
    """Connect to a system, and shake hands."""
    stranger = Stranger(await trio.open_tcp_stream(host, port))
    try:
        if hello:
            await stranger.shake_hands(**changes)
        yield stranger
    finally:
        await trio.aclose_forcefully(stranger.stream)
