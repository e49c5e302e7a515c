"""`CertificateNotary`: seals what a peer says with the key of its certificate, and checks what others sealed.

A seal is the certificate and a signature, so whoever hears a word, by whatever way, can tell that its owner
gave it: the certificate is signed by the authority that all peers trust and names the owner, and the
signature is made with its key. When a certificate has expired is for TLS to say, at the owner's own door; a
word that was sealed in time stays the owner's word.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from gossip.errors import GossipError
from gossip.messages import MAX_PROOF_BYTES
from gossip.ownership import certificate_name

LENGTH_BYTES = 2

_Private: TypeAlias = "ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey"


class CannotSeal(GossipError):
    """A certificate or a key cannot be used to seal. The text names the file and the fix."""


class CertificateNotary:
    """See the module's text; a `Notary`.

    Args:
        peer: Whose seals it makes.
        certfile: Its certificate, PEM, signed by the authority itself.
        keyfile: The key, PEM, not encrypted.
        ca_cert: The authority's certificate, PEM.

    Raises:
        CannotSeal: A file cannot be used, or the certificate is not this peer's.
    """

    def __init__(self, peer: str, certfile: Path, keyfile: Path, ca_cert: Path) -> None:
        self._authority = _read_certificate(ca_cert)
        certificate = _read_certificate(certfile)
        self._key = _read_key(keyfile)
        self._certificate = certificate.public_bytes(serialization.Encoding.DER)
        self._name_of = lru_cache(maxsize=4096)(self._judge)
        if self._owner(self._certificate) is None:
            raise CannotSeal(f"{certfile}: it is not signed by {ca_cert}; give the authority that signed it")
        if not self._is_of(self._certificate, peer):
            raise CannotSeal(
                f"{certfile}: it does not have the name {certificate_name(peer)!r}, and peers are known by "
                f"theirs; make one with bin/generate-certs --roles {certificate_name(peer)}"
            )

    def seal(self, claim: bytes) -> bytes:
        """See `Notary`."""
        length = len(self._certificate).to_bytes(LENGTH_BYTES, "big")
        return length + self._certificate + _sign(self._key, claim)

    def is_sealed(self, owner: str, claim: bytes, proof: bytes) -> bool:
        """See `Notary`."""
        if not LENGTH_BYTES < len(proof) <= MAX_PROOF_BYTES:
            return False
        end = LENGTH_BYTES + int.from_bytes(proof[:LENGTH_BYTES], "big")
        certificate, signature = proof[LENGTH_BYTES:end], proof[end:]
        return self._is_of(certificate, owner) and self._is_signed(certificate, claim, signature)

    def _is_of(self, certificate: bytes, peer: str) -> bool:
        found = self._owner(certificate)
        return found is not None and certificate_name(peer) in found[0]

    def _is_signed(self, certificate: bytes, claim: bytes, signature: bytes) -> bool:
        found = self._owner(certificate)
        return found is not None and _verifies(found[1], signature, claim)

    def _owner(self, certificate: bytes) -> tuple[frozenset[str], object] | None:
        return self._name_of(certificate)

    def _judge(self, certificate: bytes) -> tuple[frozenset[str], object] | None:
        """Return the names and the key in a certificate of our authority; None for any other bytes."""
        try:
            read = x509.load_der_x509_certificate(certificate)
            read.verify_directly_issued_by(self._authority)
            names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            return frozenset(names.get_values_for_type(x509.DNSName)), read.public_key()
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return None


def _sign(key: _Private, claim: bytes) -> bytes:
    match key:
        case ec.EllipticCurvePrivateKey():
            return key.sign(claim, ec.ECDSA(hashes.SHA256()))
        case ed25519.Ed25519PrivateKey():
            return key.sign(claim)
        case rsa.RSAPrivateKey():
            return key.sign(claim, padding.PKCS1v15(), hashes.SHA256())


def _verifies(key: object, signature: bytes, claim: bytes) -> bool:
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(signature, claim, ec.ECDSA(hashes.SHA256()))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, claim)
            case rsa.RSAPublicKey():
                key.verify(signature, claim, padding.PKCS1v15(), hashes.SHA256())
            case _:
                return False
    except InvalidSignature:
        return False
    return True


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CannotSeal(f"{path}: no certificate in PEM can be read from it ({error})") from error


def _read_key(path: Path) -> _Private:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise CannotSeal(f"{path}: no key in PEM can be read from it ({error})") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        raise CannotSeal(f"{path}: a key of another kind; ECDSA, Ed25519 and RSA are taken")
    return key
