"""TCP as programs see it: connection requests, two directions that close one by one, resets.

Plain objects without tasks: `sockets.py` calls them, segments that arrive call them, and they wake the
tasks that wait. They behave as Linux does, which `tests/trioactor/testing/test_tcp.py` compares.
"""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import Protocol
from zlib import crc32

from trioactor.testing.path import Flow, Path
from trioactor.testing.waiting import Waiting

Address = tuple[str, int]

# The most that one segment carries: what Linux hands to a network card at once.
SEGMENT_BYTES = 64 * 1024


def error_of(number: int, detail: str = "") -> OSError:
    """Return the OSError that the kernel would raise."""
    return OSError(number, os.strerror(number) + (f": {detail}" if detail else ""))


class Station(Protocol):
    """What the ends of connections need of the host that they are on."""

    @property
    def name(self) -> str:
        """Its name, for the trace."""

    @property
    def endpoints(self) -> dict[Endpoint, None]:
        """The ends of connections that a program of the host holds, in the order of their making."""

    @property
    def shows_contents(self) -> bool:
        """Whether the trace tells what was sent, and not only how much."""

    def note(self, kind: str, detail: str) -> None:
        """Write into the trace."""


class Endpoint:
    """One end of a connection, from the request to the last reset.

    Args:
        station: The host that it is on.
        serial: The number of the connection, for the trace.
        local: IP address and port of this end.
        remote: Those of the other end.
        path: To the other host.

    Attributes:
        peer: The other end, as soon as there is one.
        outgoing: What goes there.
        established: Whether the connection stands.
        closed: Whether the program has closed it, or the program has gone.
        error: What the next call raises, once.
    """

    def __init__(self, station: Station, serial: int, local: Address, remote: Address, path: Path) -> None:
        self.station = station
        self.local = local
        self.remote = remote
        self.outgoing = Flow(path, self)
        self.peer: Endpoint | None = None
        self.established = False
        self.closed = False
        self.error: int | None = None
        self.readable = Waiting()
        self.writable = Waiting()
        self._label = f"{serial} {local[0]}:{local[1]}>{remote[0]}:{remote[1]}"
        self._incoming = bytearray()
        self._unread_there = 0  # bytes that were sent and not read, as far as this end knows
        self._broken = False  # reset or timed out: nothing is sent or comes any more
        self._eof = False  # the other end will send nothing more
        self._finished = False  # this end will send nothing more
        self._deaf = False  # this end wants to read nothing more
        station.endpoints[self] = None

    def note(self, kind: str, detail: object = "") -> None:
        """Write into the trace."""
        self.station.note(kind, f"{self._label} {detail}")

    # --- for the socket -------------------------------------------------------------------------

    def take_error(self) -> int:
        """Return the error that is due and forget it; 0 for none."""
        number, self.error = self.error or 0, None
        return number

    def _raise_error(self) -> None:
        if self.error is not None:
            raise error_of(self.take_error())

    @property
    def room(self) -> int:
        """How many bytes may be sent without waiting."""
        return self.outgoing.path.link.buffer_bytes - self._unread_there

    @property
    def can_write(self) -> bool:
        """Whether `send` returns at once, be it with an error."""
        return self._broken or self._finished or self.room > 0

    @property
    def can_read(self) -> bool:
        """Whether `read` returns at once, be it with an error."""
        return bool(self._incoming) or self._eof or self._deaf or self._broken or self.error is not None

    def send(self, data: memoryview) -> int:
        """Send as much as there is room for, and return how much that is. Call it when `can_write`."""
        self._raise_error()
        if self._broken or self._finished:
            raise error_of(errno.EPIPE)
        link, rng = self.outgoing.path.link, self.outgoing.path.rng
        size = min(len(data), self.room, SEGMENT_BYTES)
        if size > 1 and link.short_sends and rng.random() < link.short_sends:
            size = rng.randrange(1, size)
        if size:
            segment = bytes(data[:size])
            self._unread_there += size
            self.note("sent", f"{size} {crc32(segment):08x}" if self.station.shows_contents else size)
            assert self.peer is not None
            self.outgoing.send(size, partial(self.peer.on_data, segment))
        return size

    def read(self, most: int) -> bytes:
        """Return what has come, b"" after its end. Call it when `can_read`."""
        if self._incoming and not self._deaf:
            data = bytes(self._incoming[:most])
            del self._incoming[:most]
            if self.peer is not None and data:
                self.outgoing.receipt(partial(self.peer.on_read, len(data)))
            return data
        if not self._eof:
            self._raise_error()
        return b""

    def finish(self) -> None:
        """Send nothing more."""
        if not self._finished and not self._broken:
            self._finished = True
            self.note("finished")
            self.writable.wake()
            if self.peer is not None:
                self.outgoing.send(0, self.peer.on_finish)

    def turn_deaf(self) -> None:
        """Read nothing more."""
        self._deaf = True
        self.readable.wake()

    def close(self) -> None:
        """The program is done with it. What it has not read, it will never know: the peer is reset."""
        if self._incoming:
            self.reset()
        elif self.established:
            self.finish()
        self.vanish()

    def reset(self) -> None:
        """Break the connection; the other end gets to know."""
        if not self._broken:
            self._broken = True
            self.note("reset")
            if self.peer is not None:
                self.outgoing.send(0, self.peer.on_reset, lasting=False)

    def die(self) -> None:
        """The program has crashed."""
        self.reset()
        self.vanish()

    def vanish(self) -> None:
        """This end is no more. The other end learns of it when it sends something."""
        self.closed = True
        self.station.endpoints.pop(self, None)
        self.readable.close()
        self.writable.close()

    # --- what arrives ---------------------------------------------------------------------------

    @property
    def wants_it(self) -> bool:
        """Whether somebody here still waits for the connection to stand."""
        return not (self.closed or self._broken)

    def on_established(self) -> None:
        """The other side has agreed to the connection."""
        self.established = self.outgoing.established = True
        self.note("connected")
        self.writable.wake()

    def on_refused(self, number: int) -> None:
        """The other side did not agree."""
        if not self.established and not self._broken:
            self.note("refused", errno.errorcode[number])
            self._break(number)

    def on_data(self, segment: bytes) -> None:
        """Bytes have come."""
        if self.closed or self._broken:
            self._answer_a_stranger()
            return
        self.note("arrived", len(segment))
        self._incoming += segment
        self.readable.wake()

    def on_finish(self) -> None:
        """The other end sends nothing more."""
        if not self._broken:
            self._eof = True
            self.note("ended")
            self.readable.wake()

    def on_reset(self) -> None:
        """The other end knows nothing of a connection."""
        if not self._broken:
            self.note("was reset")
            self._break(errno.EPIPE if self._eof else errno.ECONNRESET)

    def on_read(self, size: int) -> None:
        """The program at the other end has read so many bytes."""
        self._unread_there -= size
        self.writable.wake()

    def _answer_a_stranger(self) -> None:
        """Data came for a connection that is not known here (any more)."""
        if self.peer is not None and not self.peer._broken:
            self.note("unknown")
            self.outgoing.send(0, self.peer.on_reset, lasting=False)

    def _break(self, number: int) -> None:
        self._broken = True
        self.error = number
        self.readable.wake()
        self.writable.wake()

    # --- what the network does to it: see `path.Sender` ---------------------------------------------

    def timed_out(self) -> None:
        """See `Sender`."""
        if not self._broken:
            self.note("timed out")
            self._break(errno.ETIMEDOUT)

    def cut_off(self) -> None:
        """See `Sender`."""
        self.note("cut off")
        for end in (self, self.peer):
            if end is not None and not end._broken:
                end._break(errno.ECONNRESET)

    def lose_power(self) -> None:
        """The machine is off: the end is gone, without a word."""
        self.outgoing.forget()
        self.vanish()

    def leads_to(self, host: str) -> bool:
        """Whether the other end is on that host, and nothing has broken yet."""
        return self.wants_it and self.peer is not None and self.peer.station.name == host

    def lose_state(self) -> None:
        """A box on the way tells this end, and not the other, that the connection is no more."""
        self.note("half open")
        self._break(errno.ECONNRESET)

    def fall_silent(self) -> None:
        """The network forgets the connection, and tells nobody."""
        self.note("black hole")
        self.outgoing.gone = True
        if self.peer is not None:
            self.peer.outgoing.gone = True
