"""A slow link: what comes in at one port goes on to another, late and not much at a time."""

from __future__ import annotations

import trio

PIECE_BYTES = 4096


class Relay:
    """Hands connections on to a port of 127.0.0.1.

    Each direction is a line of its own: what enters it leaves it `delay_seconds` later, in the order in
    which it came, and no faster than `bytes_per_second`. When one end breaks, so does the other.

    Args:
        target: Where it goes to.
        bytes_per_second: In each direction of each connection.
        delay_seconds: One way.

    Attributes:
        connections: How many there have been.
        carried_bytes: In both directions together.
    """

    def __init__(self, target: int, *, bytes_per_second: float, delay_seconds: float) -> None:
        self._target = target
        self._rate = bytes_per_second
        self._delay = delay_seconds
        self.connections = 0
        self.carried_bytes = 0

    async def serve(
        self, host: str, port: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; says at which port, when it has been 0."""
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(port, host=host)
            task_status.started(listeners[0].socket.getsockname()[1])
            await trio.serve_listeners(self._carry, listeners, handler_nursery=nursery)

    async def _carry(self, near: trio.SocketStream) -> None:
        self.connections += 1
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self._target)
        except OSError:  # whom it leads to is away: so the one who called is hung up on
            await trio.aclose_forcefully(near)
            return
        async with near, far, trio.open_nursery() as nursery:
            for source, sink in ((near, far), (far, near)):
                nursery.start_soon(self._one_way, source, sink, nursery.cancel_scope)

    async def _one_way(
        self, source: trio.SocketStream, sink: trio.SocketStream, ended: trio.CancelScope
    ) -> None:
        send, receive = trio.open_memory_channel[tuple[float, bytes]](64)

        async def deliver() -> None:
            async for due, data in receive:
                await trio.sleep_until(due)
                await sink.send_all(data)
                self.carried_bytes += len(data)
                await trio.sleep(len(data) / self._rate)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(deliver)
                async with send:
                    while data := await source.receive_some(PIECE_BYTES):
                        await send.send((trio.current_time() + self._delay, bytes(data)))
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # how a connection through here ends is no news
        ended.cancel()
