"""Certificates with the signature whose length is always the same, so that a trace over TLS repeats."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from tests.trioactor.certificates import Files

FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
UNTIL = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)


def make_certificate(folder: Path, hosts: Sequence[str], addresses: Sequence[str] = ()) -> Files:
    """Make an authority and one certificate for all these hosts in a folder."""
    authority, key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    names = [
        *(x509.DNSName(host) for host in hosts),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
    ]
    pem = serialization.Encoding.PEM
    made = {
        "hosts.pem": _signed("hosts", key, authority, names).public_bytes(pem),
        "hosts.key": key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        "ca.pem": _signed("ca", authority, authority, []).public_bytes(pem),
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return Files(*(str(folder / name) for name in made))


def _signed(
    name: str, key: Ed25519PrivateKey, authority: Ed25519PrivateKey, names: Sequence[x509.GeneralName]
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
        .public_key(key.public_key())
        .serial_number(1 if names else 2)
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority, algorithm=None)
