"""Certificates for mutual TLS: an authority of one's own, and a certificate for every role that it signs.

A folder holds an authority (`ca.crt`, `ca.key`) and two files for each role (`NAME.crt`, `NAME.key`). The
names in a certificate (its subject alternative names, RFC 5280, section 4.2.1.6) are who its holder is: the
name of the role, which says what it may do, and the hosts under which it is dialled. Keys are ECDSA on
P-256, which every TLS library takes; those with Ed25519 keys, some refuse.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import PrepError

AUTHORITY = "ca"
AUTHORITY_DAYS = 3650  # at least: longer than any certificate, or all would have to be replaced with it
MOST_DAYS = 36_500

# Machines whose clocks differ a little take a certificate that was made just now.
BACKDATED = timedelta(hours=1)

# What DNS allows (RFC 1123, section 2.1), and the underscore, which names of roles may have.
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*")


class CertificateError(PrepError):
    """Certificates cannot be made as asked. The text says what is in the way, and the fix."""


@dataclass(frozen=True, slots=True)
class Issued:
    """The files of one role.

    Attributes:
        role: Its name.
        certfile: Its certificate, PEM.
        keyfile: Its private key, PEM, not encrypted, for its owner's eyes only.
        names: All that the certificate says its holder is.
    """

    role: str
    certfile: Path
    keyfile: Path
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """What was made in a folder.

    Attributes:
        authority: The authority's certificate: every role gets a copy.
        authority_key: Its private key. Whoever has it can be anyone.
        is_new: Whether the authority was made as well, and not found there.
        fingerprint: SHA-256 of the authority's certificate, in hexadecimal digits.
        issued: What each role gets.
        ends: When the certificates end.
    """

    authority: Path
    authority_key: Path
    is_new: bool
    fingerprint: str
    issued: tuple[Issued, ...]
    ends: datetime


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_certificates(
    folder: Path, roles: Sequence[str], hosts: Sequence[str], *, days: int, now: datetime, force: bool = False
) -> Made:
    """Make a certificate for each role, and the authority that signs them where the folder has none.

    Nothing is written when anything is wrong.

    Args:
        folder: Where to. It is made, and closed to others.
        roles: Names like "provider" or "worker-A".
        hosts: Names and IP addresses under which the roles are reached; every certificate has them all.
        days: How long the certificates are valid, from 1 to 36,500.
        now: The time, with its zone.
        force: Whether certificates that are there are replaced. The authority never is.

    Raises:
        CertificateError: A name or an address is none, a file is in the way, the authority that is there
            cannot be used, or a file cannot be written.
    """
    if not 1 <= days <= MOST_DAYS:
        raise CertificateError(f"--days {days:,}: 1 to {MOST_DAYS:,} are allowed")
    if not roles:
        raise CertificateError("--roles: give at least one, like provider")
    _check_roles(roles)
    names = [_general_name(host) for host in hosts]
    files = [Issued(role, folder / f"{role}.crt", folder / f"{role}.key", (role, *hosts)) for role in roles]
    if not force:
        _check_nothing_is_lost(files)
    certificate_file, key_file = folder / f"{AUTHORITY}.crt", folder / f"{AUTHORITY}.key"
    found = _find_authority(certificate_file, key_file, now)
    authority = found or _new_authority(now, days)
    ends = min(now + timedelta(days=days), authority.certificate.not_valid_after_utc)
    made = [(issued, *_issue(authority, issued.role, names, now, ends)) for issued in files]
    try:
        _make_private(folder)
        if found is None:
            _write(key_file, _pem_of_key(authority.key), 0o600)
            _write(certificate_file, _pem(authority.certificate), 0o644)
        for issued, certificate, key in made:
            _write(issued.keyfile, _pem_of_key(key), 0o600)
            _write(issued.certfile, _pem(certificate), 0o644)
    except OSError as error:
        raise CertificateError(
            f"{error.filename or folder}: it cannot be written ({error.strerror}); choose another folder "
            "with --out, or change its permissions"
        ) from error
    fingerprint = authority.certificate.fingerprint(hashes.SHA256()).hex()
    return Made(certificate_file, key_file, found is None, fingerprint, tuple(files), ends)


# --- what is asked for ----------------------------------------------------------------------


def _check_roles(roles: Sequence[str]) -> None:
    for role in roles:
        if not _NAME.fullmatch(role):
            raise CertificateError(
                f"--roles {role}: use letters, digits, '-', '_' and '.', as in a host name, like worker-A"
            )
        if role.lower() == AUTHORITY:
            raise CertificateError(f"--roles {role}: that is the authority's own file; choose another name")
    twice = sorted({role for role in roles if [one.lower() for one in roles].count(role.lower()) > 1})
    if twice:
        raise CertificateError(f"--roles {', '.join(twice)}: given twice; case makes no difference in names")


def _general_name(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    if not _NAME.fullmatch(host):
        raise CertificateError(
            f"--hosts {host}: give a host name or an IP address, without a port; a name beyond ASCII in its "
            "xn-- form"
        )
    return x509.DNSName(host)


def _check_nothing_is_lost(files: Sequence[Issued]) -> None:
    there = [path for one in files for path in (one.certfile, one.keyfile) if path.exists()]
    if there:
        raise CertificateError(
            f"{there[0]}: it is there already; --force replaces it, and --roles names those to be made"
        )


# --- the authority --------------------------------------------------------------------------


def _find_authority(certificate_file: Path, key_file: Path, now: datetime) -> _Authority | None:
    """Return the authority of a folder, None when there is none. Raises CertificateError."""
    if not certificate_file.exists() and not key_file.exists():
        return None
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except FileNotFoundError as error:
        raise CertificateError(
            f"{error.filename}: it is not there, and without it the authority in {key_file.parent} cannot "
            "sign; go to where the authority was made, or make another one in an empty folder with --out"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not what it should be"
        raise CertificateError(
            f"the authority in {key_file.parent} cannot be used ({why}); choose another folder with --out"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise CertificateError(
            f"{key_file}: it does not belong to {certificate_file}; choose another folder with --out"
        )
    if certificate.not_valid_after_utc <= now:
        raise CertificateError(
            f"{certificate_file}: the authority has expired ({certificate.not_valid_after_utc:%Y-%m-%d}); "
            "make a new one in another folder with --out, and give its certificates to all roles"
        )
    return _Authority(certificate, key)


def _new_authority(now: datetime, days: int) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    # The date tells two authorities apart for people; programs compare fingerprints.
    name = _common_name(f"trioactor authority {now:%Y-%m-%d %H:%M:%S}")
    ends = now + timedelta(days=max(days, AUTHORITY_DAYS))
    builder = _builder(name, name, key, now, ends)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Authority(certificate, key)


# --- certificates ---------------------------------------------------------------------------


def _issue(
    authority: _Authority, role: str, hosts: Sequence[x509.GeneralName], now: datetime, ends: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    names = x509.SubjectAlternativeName([x509.DNSName(role), *hosts])
    # Every role is dialled and dials.
    both_sides = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = _builder(_common_name(role), issuer.subject, key, now, ends)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(both_sides, critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(ends)
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])  # RFC 5280, appendix A.1


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


# --- files ----------------------------------------------------------------------------------


def _make_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is whole under its name, and never readable by more than it should be."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
