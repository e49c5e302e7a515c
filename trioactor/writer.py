"""`Writer`: the one task that writes to a connection.

It takes what waits and sends it at once: first what keeps the link alive (pongs, credit), then answers,
then messages, up to 64 small frames at a time; behind them pieces of long messages, until there is enough
for one send. So a ping waits for little more than 256 KiB, and many messages cost one send. Memory of large
arrays goes out uncopied.

When the task rests, a small question or answer is sent from where it is said, if it is the only one: somebody
waits for it, and nothing else is on its way that could go together with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import trio

from trioactor.codec import Encoded
from trioactor.direct import SendNow, gather_for
from trioactor.framing import HEADER_BYTES, Buffer, cut
from trioactor.limits import Limits
from trioactor.outbox import Load, Outbox
from trioactor.tls_stream import PLAINTEXT_BYTES

# So many small frames, or so many bytes of them, go in one send.
FRAMES_PER_SEND = 64
BYTES_PER_SEND = 64 * 1024

# Buffers below this are joined with their neighbours: copying so little is cheaper than a send, which wakes
# the reader.
JOINED_BYTES = 32 * 1024

# What waits of answers is told to the books in steps of so many bytes: small answers cost nothing there.
NOTED_BYTES = 256 * 1024

# What is sent from where it was said; more is work, and that is for the task.
AT_ONCE_BYTES = 4 * 1024

# What is handed to TLS at once: what it has taken is under way, so this is the step in which `written` grows.
TLS_BYTES = PLAINTEXT_BYTES

# The longest piece over TLS, where a byte takes ten times as long: a ping waits for the piece that is on its
# way at either end.
TLS_FRAME_BYTES = 128 * 1024

Written = Callable[[], None]


class _Long:
    """A message or an answer that is written in pieces.

    Attributes:
        frames: Its frames.
        load: The message; None when it is an answer.
        size: Its bytes.
    """

    __slots__ = ("frames", "load", "size")

    def __init__(self, frames: Iterator[list[Buffer]], load: Load | None, size: int) -> None:
        self.frames = frames
        self.load = load
        self.size = size


class Writer:
    """Writes what waits, in order of urgency.

    Args:
        stream: Plain or TLS.
        outbox: The messages.
        limits: Of this side.
        too_many: Called when the peer does not read its answers; the connection should end.
        note_unread: Told how many bytes of answers wait, when that has changed by much.

    Attributes:
        send_now: Sends without waiting, see `direct.py`; None when only the task sends.
        frame_bytes: The longest frame that is written; the peer may take only shorter ones.
        written: Bytes that were handed to the stream.
        sends: In how many calls.
        began_at: trio's time at which the stream was given something that it has not taken yet; None
            when it has taken everything.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        outbox: Outbox,
        limits: Limits,
        too_many: Callable[[], None],
        note_unread: Callable[[int], None],
    ) -> None:
        self.send_now: SendNow | None = None
        self.written = 0
        self.sends = 0
        self.began_at: float | None = None
        self._stream = stream
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._gather = gather_for(stream)
        most = limits.frame_bytes
        self.frame_bytes = most if self._socket is not None else min(most, TLS_FRAME_BYTES)
        self._outbox = outbox
        self._limits = limits
        self._too_many = too_many
        self._note_unread = note_unread
        self._unread = 0  # bytes of answers, failures, credit and so on that are not written yet
        self._noted = 0  # the same as it was told last
        self._control: deque[tuple[bytes, Written | None]] = deque()
        self._answers: deque[tuple[Encoded, Written | None]] = deque()
        self._long: deque[_Long] = deque()
        self._something: trio.Event | None = None  # while the task sleeps
        self._woken = False  # since it last began to collect
        self._last_words: Callable[[], bytes] | None = None
        self._collected: tuple[list[Buffer], list[Load]] = [], []  # and not sent at once

    def say(self, payload: bytes, written: Written | None = None) -> None:
        """Write a small frame, before everything else. `written` is called when it is taken out for that."""
        self._control.append((payload, written))
        self._count_unread(len(payload))
        self._check_queue()

    def answer(
        self, encoded: Encoded, written: Written | None = None, *, is_the_only_one: bool = False
    ) -> None:
        """Write an answer. `written` is called when it is taken out for that."""
        if is_the_only_one and self._something is not None and self._goes_now(encoded):
            if written is not None:
                written()
            self._send_alone(encoded.head)
            return
        self._answers.append((encoded, written))
        self._count_unread(len(encoded.head) + encoded.tail_bytes)
        self._check_queue()

    def finish(self, last_words: Callable[[], bytes]) -> None:
        """Write what waits and may be sent, then the frame that this returns, and be done."""
        self._last_words = last_words
        self.wake()

    def forget(self) -> None:
        """Let go of all that waits: the connection has ended, and a collector may be long in coming."""
        self._control.clear()
        self._answers.clear()
        self._long.clear()
        self._too_many = _nothing
        self._note_unread = _ignore
        self._collected = [], []

    def wake(self, *, at_once: bool = False) -> None:
        """There is something to write; `at_once`: it is worth a send of its own."""
        self._woken = True
        if self._something is None:
            return
        if at_once and self.send_now is not None:
            load = self._outbox.take()
            if load is None:
                return
            if self._goes_now(load):
                self._send_alone(load.head, load)
                return
            buffers: list[Buffer] = []
            self._collected = buffers, [load] if self._add(buffers, load, load) else []
        self._wake_task()

    def _wake_task(self) -> None:
        if self._something is not None:
            self._something.set()
            self._something = None

    def _goes_now(self, sent: Encoded | Load) -> bool:
        """Whether something is little enough to be sent where it is said, the task being at rest."""
        return (
            self.send_now is not None
            and self._last_words is None
            and not sent.tail_bytes
            and len(sent.head) <= min(AT_ONCE_BYTES, self.frame_bytes)
        )

    def _send_alone(self, head: bytes, load: Load | None = None) -> None:
        """Send a small frame without waiting. What the kernel does not take of it is left to the task."""
        assert self.send_now is not None
        left = self._hand_over_now(self.send_now, len(head).to_bytes(HEADER_BYTES, "big") + head)
        if left is not None:
            self._collected = [left], [] if load is None else [load]
            self._wake_task()
        elif load is not None:
            self._outbox.written(load)

    def _count_unread(self, change: int) -> None:
        self._unread += change
        if abs(self._unread - self._noted) >= NOTED_BYTES:
            self._noted = self._unread
            self._note_unread(self._unread)

    def _check_queue(self) -> None:
        self.wake()
        if len(self._control) + len(self._answers) > self._limits.answers_queued:
            self._too_many()

    async def run(self) -> None:
        """Write until `finish` was called and obeyed. Raises what the stream raises."""
        while True:
            if self._long:
                await self._wait_for_turn()
            self._woken = False
            buffers, loads = self._collected
            if buffers or loads:
                self._collected = [], []
            else:
                buffers, loads = self._collect()
            if buffers or loads:
                await self._send(buffers)
                for load in loads:
                    self._outbox.written(load)
            elif self._woken:  # the end of a long message has let the one behind it go
                continue
            elif self._last_words is not None:
                await self._send(_framed(self._last_words()))
                return
            else:
                self._something = trio.Event()
                await self._something.wait()

    async def _wait_for_turn(self) -> None:
        """Wait until the stream has almost nothing left to send: what is urgent then passes the next piece.

        The kernel would take megabytes at once, and everything else would wait behind them.
        """
        self.began_at = trio.current_time()
        await self._stream.wait_send_all_might_not_block()
        self.began_at = None

    # --- what goes next -------------------------------------------------------------------------------

    def _collect(self) -> tuple[list[Buffer], list[Load]]:
        """Return what to send now, and the messages that are sent with it."""
        buffers: list[Buffer] = []
        loads: list[Load] = []
        while self._control:
            payload, written = self._control.popleft()
            self._count_unread(-len(payload))
            buffers += _framed(payload)
            if written is not None:
                written()
        left = BYTES_PER_SEND
        while self._answers and left > 0:
            encoded, written = self._answers.popleft()
            left -= self._add(buffers, encoded, None)
            if written is not None:
                written()
        while left > 0 and len(loads) < FRAMES_PER_SEND:
            load = self._outbox.take()
            if load is None:
                break
            size = self._add(buffers, load, load)
            if size:
                loads.append(load)
                left -= size
        while self._long and left > 0:
            piece = self._next_piece(loads)
            buffers += piece
            left -= sum(map(len, piece))
        return buffers, loads

    def _add(self, buffers: list[Buffer], sent: Encoded | Load, load: Load | None) -> int:
        """Add a frame and return its size; 0 when it is to be written in pieces."""
        size = len(sent.head) + sent.tail_bytes
        if size <= self.frame_bytes and not sent.tail_bytes:
            if load is None:
                self._count_unread(-size)
            buffers += _framed(sent.head)
            return HEADER_BYTES + size
        self._long.append(_Long(cut(sent.head, sent.tail, sent.tail_bytes, self.frame_bytes), load, size))
        if load is not None:
            self._outbox.hold(load.channel)
        return 0

    def _next_piece(self, loads: list[Load]) -> list[Buffer]:
        """Return the next frame of the first long message, or nothing when that one is complete.

        A message that is complete is added to the loads that are sent with it.
        """
        frame = next(self._long[0].frames, None)
        if frame is not None:
            return frame
        done = self._long.popleft()
        if done.load is None:
            self._count_unread(-done.size)
        else:
            loads.append(done.load)
            self._outbox.release(done.load.channel)
        return []

    # --- handing over ---------------------------------------------------------------------------------

    def _hand_over_now(self, send_now: SendNow, data: bytes) -> bytes | None:
        left = send_now(data)
        self.sends += 1
        self.written += len(data) if left is None else len(data) - len(left)
        return left

    async def _send(self, buffers: list[Buffer]) -> None:
        """Send the buffers in order: small ones joined, large ones from where they are."""
        small: list[Buffer] = []
        joined: list[Buffer] = []
        for buffer in buffers:
            if len(buffer) < JOINED_BYTES:
                small.append(buffer)
                continue
            if small:
                joined.append(b"".join(small))
                small.clear()
            joined.append(buffer)
        if small:
            joined.append(b"".join(small))
        if self._gather is not None:
            await self._hand_over(joined)
            return
        for buffer in joined:
            await self._hand_over([buffer])

    async def _hand_over(self, data: list[Buffer]) -> None:
        """Send the buffers; there are several only where the socket takes them together."""
        self.sends += 1
        self.began_at = trio.current_time()
        views = [memoryview(buffer) for buffer in data]
        while views:
            count = await self._send_some(views)
            self.written += count
            while views and count >= len(views[0]):
                count -= len(views.pop(0))
            if count:
                views[0] = views[0][count:]
        self.began_at = None

    async def _send_some(self, views: list[memoryview]) -> int:
        """Send as much as goes, and return how much that was."""
        if len(views) > 1:
            assert self._gather is not None
            return await self._gather(views)
        (view,) = views
        if self._socket is not None:
            return await self._socket.send(view)
        await self._stream.send_all(view[:TLS_BYTES])
        return min(len(view), TLS_BYTES)


def _nothing() -> None:
    pass


def _ignore(_size: int) -> None:
    pass


def _framed(payload: bytes) -> list[Buffer]:
    return [len(payload).to_bytes(HEADER_BYTES, "big"), payload]
