"""`TlsStream`: TLS over a stream, with no more turns of the scheduler than the plain stream needs.

trio's `SSLStream` is made for every use: it takes a lock and a checkpoint for each record, and only a task
can send what is small. A frame between two of us would pay for that four times. OpenSSL itself never waits:
so `TlsEngine` is TLS as plain calls, and `TlsStream` moves its bytes.

A stream ends where its transport ends, with or without a farewell of TLS: whether a message was cut off shows
in its frame, and who leaves on purpose says goodbye in one.
"""

from __future__ import annotations

import ssl
from typing import Any

import trio

from trioactor.direct import direct_for, receive_for

# What is received from the transport at once.
CIPHERTEXT_BYTES = 64 * 1024

# What is handed to OpenSSL at once: it keeps all of it, encrypted, until it is sent.
PLAINTEXT_BYTES = 64 * 1024


class TlsEngine:
    """One end of TLS, without I/O.

    All methods raise ssl.SSLError for what the peer did wrong; nothing can be done with it afterwards.

    Args:
        context: What this end accepts.
        dialled_host: The name that the peer's certificate must have; None on the side that was dialled.

    Attributes:
        ended: Whether all was read, and nothing more comes.
    """

    def __init__(self, context: ssl.SSLContext, dialled_host: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=dialled_host is None,
            server_hostname=dialled_host,
        )
        self._failure: ssl.SSLError | None = None
        self.ended = False

    def handshake(self) -> bool:
        """Go on with the handshake as far as what came allows; True when it is complete."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def feed(self, ciphertext: bytes | bytearray) -> None:
        """Take in what the peer sent; nothing at the end."""
        if ciphertext:
            self._incoming.write(ciphertext)
        else:
            self._incoming.write_eof()

    @property
    def may_read(self) -> bool:
        """Whether something came that was not read yet, if not all of a record; or the end, or a failure."""
        return bool(
            self._incoming.pending or self._tls.pending() or self._incoming.eof or self._failure is not None
        )

    def read(self, most: int) -> bytes:
        """Return so much of what came, at most. Nothing: more must come first, or it has `ended`."""
        parts: list[bytes] = []
        while most > 0 and self.may_read and (part := self._read_record(most)):
            parts.append(part)
            most -= len(part)
        self._raise_failure(after=parts)
        return b"".join(parts)

    def read_into(self, place: memoryview) -> int:
        """Do the same, and put it there. Returns how many bytes."""
        count = 0
        while count < len(place) and self.may_read and (more := self._read_record(len(place), place[count:])):
            count += more
        self._raise_failure(after=count)
        return count

    def _read_record(self, *arguments: Any) -> Any:
        """Read from one record, as OpenSSL does; something false when that cannot be."""
        if self.ended or self._failure is not None:
            return None
        try:
            found = self._tls.read(*arguments)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError as error:
            if _is_end(error):
                self.ended = True
            else:
                self._failure = error
            return None
        self.ended = not found
        return found

    def _raise_failure(self, *, after: Any) -> None:
        """Raise what went wrong, when all that came before it was read."""
        if self._failure is not None and not after:
            raise self._failure

    def write(self, plaintext: bytes | bytearray | memoryview) -> None:
        """Encrypt it for `take`."""
        view = memoryview(plaintext)
        while view:
            view = view[self._tls.write(view) :]

    @property
    def has_something_to_send(self) -> bool:
        """Whether `take` returns something: what was written, or an answer of TLS itself."""
        return bool(self._outgoing.pending)

    def take(self) -> bytes:
        """Take out what is to be sent."""
        return self._outgoing.read()

    def names(self) -> tuple[str, ...]:
        """Return the names and addresses in the peer's certificate; none when it was not verified."""
        certificate: dict[str, Any] = self._tls.getpeercert() or {}
        return tuple(name for _, name in certificate.get("subjectAltName", ()))


class TlsStream(trio.abc.Stream):
    """Speaks TLS over a transport. One task may send at a time, and one receive.

    What is cancelled while it sends leaves half a record behind, and the stream is broken.

    Args:
        transport: The plain stream. It is closed with this one.
        context: What this end accepts.
        dialled_host: The name that the peer's certificate must have; None on the side that was dialled.
    """

    def __init__(
        self, transport: trio.abc.Stream, context: ssl.SSLContext, dialled_host: str | None = None
    ) -> None:
        self.transport = transport
        self._engine: TlsEngine | None = TlsEngine(context, dialled_host)
        self._receive_ciphertext = receive_for(transport)
        self._send_ciphertext_now = direct_for(transport)
        self._sending = trio.Lock()
        self._unsent = b""  # of what was encrypted, and comes before everything else
        self._is_broken = False

    async def handshake(self) -> None:
        """Shake hands with the peer; before that, nothing else may be done.

        Raises:
            trio.BrokenResourceError: It failed. When it was TLS that did, the cause is an ssl.SSLError, and
                the peer should still be told the `last_words`.
        """
        engine = self._open()
        try:
            while not engine.handshake():
                await self._exchange(engine)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError from error
        if engine.has_something_to_send:
            await self.send_all(b"")

    async def _exchange(self, engine: TlsEngine) -> None:
        if engine.has_something_to_send:
            await self.send_all(b"")
        engine.feed(await self._receive_ciphertext(CIPHERTEXT_BYTES))

    def last_words(self) -> bytes:
        """Take out what the engine has to say at the end: an alert that names what was wrong."""
        return self._open().take()

    def names(self) -> tuple[str, ...]:
        """Return the names and addresses in the peer's certificate; none when it was not verified."""
        return self._open().names()

    # --- receiving ----------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what came, at most so many bytes; none at the end.

        Raises:
            trio.BrokenResourceError: The peer sent what is no TLS.
            OSError: The connection broke.
        """
        engine = await self._wait_for_something()
        while True:
            try:
                data = engine.read(PLAINTEXT_BYTES if max_bytes is None else max_bytes)
            except ssl.SSLError as error:
                raise trio.BrokenResourceError from error
            if data or engine.ended:
                return data
            await self._exchange(engine)

    async def receive_into(self, place: memoryview) -> int:
        """Put what came there, and return how many bytes it is, 0 at the end. Raises the same."""
        engine = await self._wait_for_something()
        while True:
            try:
                count = engine.read_into(place)
            except ssl.SSLError as error:
                raise trio.BrokenResourceError from error
            if count or engine.ended:
                return count
            await self._exchange(engine)

    async def _wait_for_something(self) -> TlsEngine:
        """Always a checkpoint."""
        engine = self._open()
        if engine.may_read:
            await trio.lowlevel.checkpoint()
        else:
            await self._exchange(engine)
        return engine

    # --- sending ------------------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send it, and what was left over before.

        Raises:
            trio.BrokenResourceError: The connection broke, or an earlier call was cancelled.
        """
        engine = self._open()
        await self._begin_to_send()
        try:
            view = memoryview(data)
            while view or self._has_ciphertext(engine):
                if self._is_broken:
                    raise trio.BrokenResourceError
                engine.write(view[:PLAINTEXT_BYTES])
                view = view[PLAINTEXT_BYTES:]
                ciphertext, self._unsent = self._unsent + engine.take(), b""
                self._is_broken = True  # unless this comes to its end
                await self.transport.send_all(ciphertext)
                self._is_broken = False
        except ssl.SSLError as error:
            raise trio.BrokenResourceError from error
        finally:
            self._sending.release()

    async def _begin_to_send(self) -> None:
        """Take the lock; when it is free, without the turn of the scheduler that trio's would take."""
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            await self._sending.acquire()

    def _has_ciphertext(self, engine: TlsEngine) -> bool:
        return bool(self._unsent) or engine.has_something_to_send

    def send_now(self, data: bytes) -> bytes | None:
        """Send it without waiting. See `direct.SendNow`."""
        engine, direct = self._engine, self._send_ciphertext_now
        if engine is None or direct is None or self._sending.locked() or self._unsent or self._is_broken:
            return data
        try:
            engine.write(data)
        except ssl.SSLError:
            return data  # it shows again in the next send that waits
        unsent = direct(engine.take())
        if unsent is None:
            return None
        self._unsent = unsent
        return b""

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await self.transport.wait_send_all_might_not_block()

    # --- the end ------------------------------------------------------------------------------------

    def _open(self) -> TlsEngine:
        if self._engine is None:
            raise trio.ClosedResourceError
        return self._engine

    async def aclose(self) -> None:
        """Close the transport, and let go of what OpenSSL holds: 50 KiB."""
        self._engine = None
        self._unsent = b""
        await self.transport.aclose()


def _is_end(error: ssl.SSLError) -> bool:
    """Whether it says no more than that the transport has ended."""
    return isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"
