"""TLS for connections: contexts from certificate files, the peer's names, and errors in plain words.

With a certificate authority both sides must show a certificate that it has signed, the one that is
dialled must have the name or address under which it is dialled, and the names in the peer's certificate
are its identity. Without one the bytes are encrypted, but nobody knows for whom.

TLS 1.3 is what two of us speak; 1.2 is the least that is taken.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass

import trio
from cbor2 import dumps

from trioactor.errors import CannotUseCertificate, HandshakeError
from trioactor.frames import Goodbye
from trioactor.framing import encode_frame
from trioactor.tls_stream import TlsStream

LAST_WORDS_SECONDS = 1.0
LAST_WORDS_BYTES = 64 * 1024  # that are read from a peer so that it gets our last words

# For a peer that speaks plaintext: a frame that it understands.
_TLS_ONLY = dumps([Goodbye.number, "this system takes TLS only; call enable_ssl on both sides", []])

# What OpenSSL calls it when the first bytes are not TLS at all.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE")

# What a peer's alert means for the one who gets it (RFC 8446, section 6.2).
_ALERTS = {
    "UNKNOWN_CA": "it does not know the authority that signed our certificate; give both the same ca_cert",
    "CERTIFICATE_REQUIRED": "it asks for a certificate; call enable_ssl with a certfile here",
    "CERTIFICATE_EXPIRED": "our certificate has expired; make a new one",
    "BAD_CERTIFICATE": "our certificate is not the one that it expects: most likely it has another name",
    "CERTIFICATE_UNKNOWN": "it does not accept our certificate",
    "HANDSHAKE_FAILURE": "it does not accept our certificate or our ciphers",
    "PROTOCOL_VERSION": "it speaks no version of TLS that this side takes",
}


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files of one side.

    Attributes:
        certfile: Our certificate, PEM, followed by those between it and the authority.
        keyfile: Its private key, PEM, not encrypted.
        ca_cert: The authority that must have signed the peer's; None to take any.
    """

    certfile: str
    keyfile: str
    ca_cert: str | None = None

    def context(self, *, server: bool) -> ssl.SSLContext:
        """Read the files.

        Raises:
            CannotUseCertificate: One is missing, or is not what it should be.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # of TLS 1.2: work for us that costs peers nothing
        if server:
            context.num_tickets = 0  # no session is ever taken up again, and they are a third of a handshake
        try:
            context.load_cert_chain(self.certfile, self.keyfile, password=_no_password)
        except (OSError, ValueError) as error:
            raise CannotUseCertificate(
                f"cannot use the certificate {self.certfile} with the key {self.keyfile}:"
                f" {in_plain_words(error)}"
            ) from error
        if self.ca_cert is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(self.ca_cert)
        except (OSError, ValueError) as error:
            raise CannotUseCertificate(
                f"cannot use the authority {self.ca_cert}: {in_plain_words(error)}"
            ) from error
        return context

    def state(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes when a file is replaced. Raises OSError."""
        files = [file for file in (self.certfile, self.keyfile, self.ca_cert) if file is not None]
        found = [os.stat(file) for file in files]
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


class Contexts:
    """The contexts for new connections, read again when the files have changed.

    Files that are being replaced, and do not fit together at the moment, change nothing: the next
    connection looks again.

    Raises:
        CannotUseCertificate: The files cannot be used from the beginning.
    """

    def __init__(self, certificates: Certificates) -> None:
        self.certificates = certificates
        self._contexts = self._read()
        self._state = certificates.state()

    @property
    def verified(self) -> bool:
        """Whether peers must show a certificate of the authority."""
        return self.certificates.ca_cert is not None

    def context(self, *, server: bool) -> ssl.SSLContext:
        """Return the present context for one side of a connection."""
        try:
            state = self.certificates.state()
            if state != self._state:
                self._contexts, self._state = self._read(), state
        except (OSError, CannotUseCertificate):
            pass  # as it was; see above
        return self._contexts[server]

    def _read(self) -> dict[bool, ssl.SSLContext]:
        return {server: self.certificates.context(server=server) for server in (True, False)}

    async def wrap(self, stream: trio.abc.Stream, dialled_host: str | None) -> TlsStream:
        """Do the TLS handshake.

        Args:
            stream: The plain one.
            dialled_host: The name or IP address that the peer's certificate must have; None on the side
                that was dialled.

        Raises:
            HandshakeError: It failed; the text says on which side and why.
            trio.BrokenResourceError: The connection broke.
        """
        secure = TlsStream(stream, self.context(server=dialled_host is None), dialled_host)
        try:
            await secure.handshake()
        except trio.BrokenResourceError as error:
            await _say_last_words(stream, secure.last_words(), error)
            raise_if_tls_failed(error)
            raise
        return secure


async def _say_last_words(stream: trio.abc.Stream, words: bytes, error: trio.BrokenResourceError) -> None:
    """Tell the peer why the handshake failed, with OpenSSL's alert, and see that it can read that."""
    if not words and _reason(error) in _NOT_TLS:
        words = encode_frame(_TLS_ONLY)
    with trio.move_on_after(LAST_WORDS_SECONDS):
        try:
            await stream.send_all(words)
            if isinstance(stream, trio.abc.HalfCloseableStream):
                await stream.send_eof()
            left = LAST_WORDS_BYTES  # a close with unread bytes would take our words back
            while left > 0 and (data := await stream.receive_some(left)):
                left -= len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


def raise_if_tls_failed(error: trio.BrokenResourceError) -> None:
    """Raise the error that says why TLS failed; return when it was not TLS that failed."""
    if isinstance(error.__cause__, ssl.SSLError):
        raise HandshakeError(in_plain_words(error.__cause__)) from error


def in_plain_words(error: BaseException) -> str:
    """Say what OpenSSL means, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is refused: {error.verify_message.rstrip('.')}"
    if not isinstance(error, ssl.SSLError):
        strerror = error.strerror if isinstance(error, OSError) else None
        return strerror.lower() if strerror else str(error)
    reason = error.reason or ""
    if reason in _NOT_TLS:
        return "the peer does not speak TLS; call enable_ssl on both sides or on neither"
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "the peer shows no certificate, and this side asks for one"
    if "ALERT_" in reason:
        alert = reason.partition("ALERT_")[2]
        return f"the peer refuses us: {_ALERTS.get(alert, alert.replace('_', ' ').lower())}"
    if reason == "UNEXPECTED_EOF_WHILE_READING":
        return "the peer closed the connection during the TLS handshake; does it speak TLS?"
    if reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    return reason.replace("_", " ").lower() or str(error)


def _reason(error: trio.BrokenResourceError) -> str | None:
    return error.__cause__.reason if isinstance(error.__cause__, ssl.SSLError) else None


def _no_password() -> str:
    raise ValueError("the key is encrypted; use one that is not, in a file that only its owner may read")
