"""Certificates are looked at before anything is started; what is wrong is named with flag and fix."""

from __future__ import annotations

import datetime
import hashlib
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from federation.config import TlsFiles
from federation.credentials import Credentials, read_credentials
from federation.errors import SettingsError
from tests.trioactor.certificates import LONG_AGO, Authority

NOW = time.time()
A_DAY = 86_400.0


def files_of(authority: Authority, *names: str, expires: datetime.datetime | None = None) -> TlsFiles:
    made = authority.issue(*names, file=names[0], expires=expires)
    Path(made.keyfile).chmod(0o600)
    return TlsFiles(Path(made.certfile), Path(made.keyfile), Path(made.ca_cert))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


@pytest.fixture
def files(authority: Authority) -> TlsFiles:
    return files_of(authority, "provider", "127.0.0.1")


def read(files: TlsFiles) -> Credentials:
    return read_credentials(files, NOW)


def test_a_good_certificate_tells_who_one_is_and_whom_one_trusts(files: TlsFiles) -> None:
    found = read(files)

    authority = ssl.PEM_cert_to_DER_cert(files.ca.read_text())
    assert set(found.names) == {"provider", "127.0.0.1"}
    assert found.ca_sha256 == (hashlib.sha256(authority).hexdigest(),)
    assert found.ends_unix > NOW
    assert found.warnings == ()


def test_two_authorities_are_trusted_while_one_takes_over_from_the_other(
    files: TlsFiles, tmp_path: Path
) -> None:
    (tmp_path / "both.pem").write_text(
        files.ca.read_text() + Path(Authority(tmp_path, "new").path).read_text()
    )

    assert len(read(files._replace(ca=tmp_path / "both.pem")).ca_sha256) == 2


def lose(files: TlsFiles) -> TlsFiles:
    return files._replace(key=files.key.with_name("nowhere.key"))


def name_a_folder(files: TlsFiles) -> TlsFiles:
    return files._replace(ca=files.ca.parent)


def mix_up(files: TlsFiles) -> TlsFiles:
    return files._replace(cert=files.key)


def take_anothers_key(files: TlsFiles) -> TlsFiles:
    return files._replace(key=files_of(Authority(files.ca.parent, "other"), "other").key)


def lock_the_key(files: TlsFiles) -> TlsFiles:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    files.key.write_bytes(pem)
    return files


def trust_another(files: TlsFiles) -> TlsFiles:
    return files._replace(ca=Path(Authority(files.ca.parent, "other").path))


def trust_no_authority(files: TlsFiles) -> TlsFiles:
    return files._replace(ca=files.cert)


def cut_off(files: TlsFiles) -> TlsFiles:
    files.cert.write_text(files.cert.read_text()[:200])
    return files


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lose, "--tls-key .*nowhere.key: no such file; bin/generate-certs makes one"),
        (name_a_folder, "--tls-ca .*: it cannot be read"),
        (mix_up, "--tls-cert .*: it holds no certificate in PEM form"),
        (take_anothers_key, "the key does not belong to the certificate"),
        (lock_the_key, "the key is encrypted; use one that is not"),
        (trust_another, "--tls-cert .*provider.pem: the authority has not signed it"),
        (trust_no_authority, "--tls-ca .*: it holds a certificate, but no authority's"),
        (cut_off, "--tls-cert, --tls-key, --tls-ca: cannot use the certificate"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    files: TlsFiles, change: Callable[[TlsFiles], TlsFiles], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        read(change(files))


def test_a_certificate_that_has_expired_is_named_with_its_date(authority: Authority) -> None:
    with pytest.raises(SettingsError, match=r"--tls-cert .*: it has expired, on 2020-01-01 00:00 UTC"):
        read(files_of(authority, "late", expires=LONG_AGO))


def test_a_clock_that_is_wrong_is_told_from_a_certificate_that_is(files: TlsFiles) -> None:
    with pytest.raises(SettingsError, match=r"it is valid from 2000-01-01 .* set the clock"):
        read_credentials(files, 0.0)


def test_what_does_no_harm_yet_is_a_warning(authority: Authority) -> None:
    ends = datetime.datetime.fromtimestamp(NOW + 3 * A_DAY, datetime.UTC)
    files = files_of(authority, "soon", expires=ends)
    files.key.chmod(0o640)

    readable, soon = read(files).warnings

    assert "others may read it (mode 640); chmod 600" in readable
    assert f"it expires soon, on {ends:%Y-%m-%d}" in soon
