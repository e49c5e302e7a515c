"""Sending on a plain TCP connection at once, from code that cannot wait.

To wake a task that sends costs a turn of trio's scheduler, and so does trio's own `send`. When nothing else
is being sent, the kernel takes a small frame without waiting, so it can be handed over where it is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import trio

# Takes data, and returns how many bytes of it are on their way; 0 when there is no room, or something is
# wrong, which then shows in the next send that waits.
SendNow: TypeAlias = Callable[[bytes], int]


def direct_for(stream: trio.abc.Stream) -> SendNow | None:
    """Return the way past the scheduler, None when the stream has none.

    A socket of the kernel's has one, and a socket with a method `send_now`, like those of a virtual network.
    TLS has none: what is sent there changes the state of its stream.
    """
    if not isinstance(stream, trio.SocketStream):
        return None
    own = stream.socket
    send_now: SendNow | None = getattr(own, "send_now", None)
    if send_now is None and os.name == "posix" and type(own).__module__.startswith("trio."):
        send_now = partial(_write, own)
    return None if send_now is None else partial(_sent, send_now)


def _write(own: trio.socket.SocketType, data: bytes) -> int:
    return os.write(own.fileno(), data)  # the number is -1 when it is closed


def _sent(send_now: SendNow, data: bytes) -> int:
    try:
        return send_now(data)
    except OSError:
        return 0
