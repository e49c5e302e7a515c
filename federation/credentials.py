"""The certificate of a role, looked at before anything is started: files, key, chain, dates, names.

A side with these files shakes hands with itself, in memory: what the TLS library would say to the others it
says here, before there is anybody to say it to.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from federation.config import TlsFiles
from federation.errors import SettingsError
from trioactor.errors import CannotUseCertificate
from trioactor.tls import Certificates, in_plain_words

TLS_FLAGS = "--tls-cert, --tls-key and --tls-ca"

# Early enough to make a new one before a run of some days fails over it.
SOON_SECONDS = 14 * 86_400.0

# X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h), which Python has no name for: whether the chain holds is
# looked at apart from its dates, so that what is wrong can be named.
_NO_CHECK_TIME = 0x200000

_FLIGHTS = 6  # of messages in a handshake with TLS 1.3 or 1.2: at most so many times does a side wait

# What `trioactor.tls` says to whoever calls it, and the same for whoever calls us. The longer ones first.
_ADVICE = {
    "call enable_ssl on both sides or on neither": f"give both sides {TLS_FLAGS}, or neither",
    "call enable_ssl on both sides": f"give both sides {TLS_FLAGS}",
    "call enable_ssl with a certfile here": f"give this side {TLS_FLAGS}",
    "give both the same ca_cert": "give both sides the same --tls-ca",
    "TLS without ca_cert": "TLS without --tls-ca",
}

_MADE_BY = "bin/generate-certs makes one"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate that can be used, with its key and the authority.

    Attributes:
        files: Where they are.
        names: What the certificate says its holder is.
        ends_unix: Until when it is valid, in seconds since 1970.
        ca_sha256: The fingerprints of the authorities that are trusted: SHA-256, in hexadecimal digits.
        warnings: What does no harm yet, in words.
    """

    files: TlsFiles
    names: tuple[str, ...]
    ends_unix: float
    ca_sha256: tuple[str, ...]
    warnings: tuple[str, ...]


def read_credentials(files: TlsFiles, now_unix: float) -> Credentials:
    """Look at the files of one side.

    Raises:
        SettingsError: They cannot be used; the text names the flag, what was found and the fix.
    """
    _check_pem("--tls-cert", files.cert, b"BEGIN CERTIFICATE-")
    _check_pem("--tls-key", files.key, b"PRIVATE KEY-")
    _check_pem("--tls-ca", files.ca, b"BEGIN CERTIFICATE-")
    _context(files, server=True)  # whether the three can be used at all
    fingerprints = ca_fingerprints(files.ca)
    certificate = _shake_hands(files, _NO_CHECK_TIME)
    _check_dates(f"--tls-cert {files.cert}", certificate, now_unix)
    for authority in _authorities(files.ca).get_ca_certs():
        _check_dates(f"--tls-ca {files.ca}", authority, now_unix)
    _shake_hands(files)  # with the dates of those between the two
    ends_unix = _seconds(certificate["notAfter"])
    return Credentials(
        files,
        tuple(name for _, name in certificate.get("subjectAltName", ())),
        ends_unix,
        fingerprints,
        tuple(_warnings(files, ends_unix, now_unix)),
    )


def ca_fingerprints(path: Path) -> tuple[str, ...]:
    """Return the fingerprints of the authorities in a file: SHA-256, in hexadecimal digits, in order.

    Raises:
        SettingsError: It holds none, or cannot be read.
    """
    found = _authorities(path).get_ca_certs(binary_form=True)
    if not found:
        raise SettingsError(
            f"--tls-ca {path}: it holds a certificate, but no authority's; give the ca.crt that "
            "bin/generate-certs made"
        )
    return tuple(sorted(hashlib.sha256(one).hexdigest() for one in found))


def in_flags(text: str) -> str:
    """Return what the runtime says, with its advice to programs made into advice to people."""
    for to_programs, to_people in _ADVICE.items():
        text = text.replace(to_programs, to_people)
    return text


def date_of(unix: float) -> str:
    """Return a point in time for people, in UTC."""
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M} UTC"


def _authorities(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise SettingsError(f"--tls-ca {path}: it cannot be used: {in_plain_words(error)}") from error
    return context


def _check_pem(flag: str, path: Path, mark: bytes) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise SettingsError(f"{flag} {path}: no such file; {_MADE_BY}") from error
    except OSError as error:
        raise SettingsError(f"{flag} {path}: it cannot be read ({error.strerror})") from error
    if mark not in content:
        what = "private key" if b"KEY" in mark else "certificate"
        raise SettingsError(f"{flag} {path}: it holds no {what} in PEM form; {_MADE_BY}")


def _context(files: TlsFiles, *, server: bool) -> ssl.SSLContext:
    try:
        context = Certificates(str(files.cert), str(files.key), str(files.ca)).context(server=server)
    except CannotUseCertificate as error:
        raise SettingsError(f"--tls-cert, --tls-key, --tls-ca: {error}") from error
    context.check_hostname = False
    return context


def _shake_hands(files: TlsFiles, flags: int = 0) -> dict[str, Any]:
    """Have both ends of a connection use the certificate, and return what is in it."""
    client, server = _context(files, server=False), _context(files, server=True)
    for context in (client, server):
        context.verify_flags |= ssl.VerifyFlags(flags)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    try:
        for _ in range(_FLIGHTS):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        raise SettingsError(
            f"--tls-cert {files.cert}: {_why_refused(error)} (--tls-ca {files.ca}); give the authority that "
            f"signed it, or another certificate; {_MADE_BY}"
        ) from error
    except ssl.SSLError as error:
        raise SettingsError(f"--tls-cert {files.cert}: {in_plain_words(error)}; {_MADE_BY}") from error
    found: dict[str, Any] = ends[1].getpeercert() or {}
    return found


def _why_refused(error: ssl.SSLCertVerificationError) -> str:
    if "local issuer" in error.verify_message or "self-signed" in error.verify_message:
        return "the authority has not signed it"
    return f"with the authority it is refused: {error.verify_message}"


def _check_dates(what: str, certificate: dict[str, Any], now_unix: float) -> None:
    begins, ends = _seconds(certificate["notBefore"]), _seconds(certificate["notAfter"])
    if now_unix > ends:
        raise SettingsError(
            f"{what}: it has expired, on {date_of(ends)}; make a new one with bin/generate-certs --force"
        )
    if now_unix < begins:
        raise SettingsError(
            f"{what}: it is valid from {date_of(begins)} on, and here it is {date_of(now_unix)}; set the "
            "clock, or wait"
        )


def _seconds(text: str) -> float:
    return float(ssl.cert_time_to_seconds(text))


def _warnings(files: TlsFiles, ends_unix: float, now_unix: float) -> list[str]:
    said = []
    mode = stat.S_IMODE(os.stat(files.key).st_mode)
    if mode & 0o077:
        said.append(f"--tls-key {files.key}: others may read it (mode {mode:o}); chmod 600 {files.key}")
    if ends_unix - now_unix < SOON_SECONDS:
        said.append(f"--tls-cert {files.cert}: it expires soon, on {date_of(ends_unix)}")
    return said
