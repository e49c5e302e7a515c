"""Sending and receiving on a plain TCP connection with fewer turns of the scheduler, and fewer system calls.

To wake a task that sends costs a turn, and so does trio's own `send`. When nothing else is being sent, the
kernel takes a small frame without waiting, so it can be handed over where it is made, in code that cannot
wait. And trio's `recv` tries before it waits: where all was read a moment ago, it tries in vain.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

import trio

# Takes data, and returns what has to be sent by waiting, perhaps with nothing in it; None when all is on its
# way. Where something is wrong, that is all of it, and it shows in the next send that waits.
SendNow: TypeAlias = Callable[[bytes], bytes | None]

# Waits for data, and returns some of it, at most so many bytes; none after the end.
Receive: TypeAlias = Callable[[int], Awaitable[bytes | bytearray]]

# Waits for data, puts it there, and returns how many bytes it is; 0 after the end.
ReceiveInto: TypeAlias = Callable[[memoryview], Awaitable[int]]

# Waits for room, sends what goes of the buffers, in order, and returns how many bytes that was.
Gather: TypeAlias = Callable[[Sequence[memoryview]], Awaitable[int]]


def direct_for(stream: trio.abc.Stream) -> SendNow | None:
    """Return the way past the scheduler, None when the stream has none.

    A socket of the kernel's has one, a socket with a method `send_now`, like those of a virtual network, and
    a `TlsStream`.
    """
    if not isinstance(stream, trio.SocketStream):
        return getattr(stream, "send_now", None)
    own = stream.socket
    if _is_the_kernels(own):
        return partial(_send_now, own)
    write: Callable[[bytes], int] | None = getattr(own, "send_now", None)
    return None if write is None else partial(_left_of, write)


def receive_for(stream: trio.abc.Stream) -> Receive:
    """Return the shortest way to receive from a stream."""
    if isinstance(stream, trio.SocketStream) and _is_the_kernels(stream.socket):
        return _Receiver(stream.socket)
    return stream.receive_some


def receive_into_for(stream: trio.abc.Stream) -> ReceiveInto | None:
    """Return how to receive from a stream without a copy, None when it cannot do that."""
    if isinstance(stream, trio.SocketStream):
        return stream.socket.recv_into
    return getattr(stream, "receive_into", None)


def gather_for(stream: trio.abc.Stream) -> Gather | None:
    """Return how to send several buffers with one system call, None when the stream cannot do that."""
    if isinstance(stream, trio.SocketStream) and _is_the_kernels(stream.socket):
        return stream.socket.sendmsg
    return None


class _Receiver:
    """Receives from a socket of the kernel's."""

    def __init__(self, own: trio.socket.SocketType) -> None:
        self._socket = own
        self._is_empty = False  # as far as we know

    async def __call__(self, most: int) -> bytes:
        data = None if self._is_empty else await self._socket.recv(most)
        while data is None:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                data = os.read(self._socket.fileno(), most)
            except BlockingIOError:  # somebody was quicker: trio wakes all that wait
                continue
        self._is_empty = len(data) < most
        return data


def _is_the_kernels(own: trio.socket.SocketType) -> bool:
    """Whether the number of a socket is a file descriptor that can be read and written."""
    return os.name == "posix" and type(own).__module__.startswith("trio.")


def _send_now(own: trio.socket.SocketType, data: bytes) -> bytes | None:
    try:
        count = os.write(own.fileno(), data)  # the number is -1 when it is closed
    except OSError:
        return data
    return None if count == len(data) else data[count:]


def _left_of(write: Callable[[bytes], int], data: bytes) -> bytes | None:
    try:
        count = write(data)
    except OSError:
        return data
    return None if count == len(data) else data[count:]
