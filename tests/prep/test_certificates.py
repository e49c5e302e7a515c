"""Certificates: who they say one is, who can read them, and what is said when they cannot be made."""

from __future__ import annotations

import shlex
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from prep.__main__ import main
from prep.certificates import CertificateError, Made, make_certificates

NOW = datetime.now(UTC)
A_YEAR = timedelta(days=365)


def make(
    folder: Path, *roles: str, hosts: tuple[str, ...] = ("127.0.0.1",), force: bool = False, days: int = 365
) -> Made:
    return make_certificates(folder, roles, hosts, days=days, now=NOW, force=force)


def run(*flags: str) -> Result:
    return CliRunner().invoke(main, ["certificates", *flags])


def names_seen(server: Made, client: Made, host: str) -> tuple[str, ...]:
    """Return the names in the client's certificate as the server sees them, after a handshake in memory."""
    ends = []
    for purpose, made in ((ssl.PROTOCOL_TLS_SERVER, server), (ssl.PROTOCOL_TLS_CLIENT, client)):
        context = ssl.SSLContext(purpose)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(made.authority)
        context.load_cert_chain(made.issued[0].certfile, made.issued[0].keyfile)
        ends.append(context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    host_end = ends[0].wrap_bio(to_server, to_client, server_side=True)
    guest_end = ends[1].wrap_bio(to_client, to_server, server_hostname=host)
    for _ in range(4):
        for end in (guest_end, host_end):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate: dict[str, Any] = host_end.getpeercert() or {}
    return tuple(name for _, name in certificate["subjectAltName"])


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_two_roles_of_one_authority_know_each_other_by_their_names(tmp_path: Path) -> None:
    server = make(tmp_path, "provider", hosts=("site-1.example", "192.0.2.7"))
    client = make(tmp_path, "worker-A")

    for host in ("site-1.example", "192.0.2.7"):
        assert names_seen(server, client, host) == ("worker-A", "127.0.0.1")


def test_a_host_that_was_not_named_is_not_the_holder(tmp_path: Path) -> None:
    made = make(tmp_path, "provider", hosts=("site-1.example",))

    with pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for 'site-2.example'"):
        names_seen(made, made, "site-2.example")


def test_the_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one", "provider"), make(tmp_path / "other", "worker-A")

    with pytest.raises(ssl.SSLCertVerificationError):
        names_seen(one, other, "127.0.0.1")


def test_nobody_else_can_read_a_key(tmp_path: Path) -> None:
    made = make(tmp_path / "new", "provider")

    assert mode_of(tmp_path / "new") == 0o700
    assert mode_of(made.authority_key) == mode_of(made.issued[0].keyfile) == 0o600
    assert mode_of(made.authority) == mode_of(made.issued[0].certfile) == 0o644


def test_an_authority_that_is_there_signs_one_more_and_stays_as_it_is(tmp_path: Path) -> None:
    first = make(tmp_path, "provider")
    authority = first.authority.read_bytes()

    second = make(tmp_path, "worker-D")

    assert (first.is_new, second.is_new) == (True, False)
    assert first.fingerprint == second.fingerprint
    assert first.authority.read_bytes() == authority


def test_a_certificate_that_is_there_is_replaced_only_when_forced(tmp_path: Path) -> None:
    first = make(tmp_path, "provider")
    before = first.issued[0].certfile.read_bytes()

    with pytest.raises(CertificateError, match=r"provider.crt: it is there already; --force replaces it"):
        make(tmp_path, "worker-D", "provider")
    assert first.issued[0].certfile.read_bytes() == before
    assert not (tmp_path / "worker-D.crt").exists(), "nothing is written when anything is wrong"

    again = make(tmp_path, "provider", force=True)
    assert again.issued[0].certfile.read_bytes() != before
    assert again.fingerprint == first.fingerprint


def test_a_certificate_is_valid_for_its_days_and_never_longer_than_its_authority(tmp_path: Path) -> None:
    short = make(tmp_path, "provider", days=30)
    found = x509.load_pem_x509_certificate(short.issued[0].certfile.read_bytes())
    assert found.not_valid_after_utc == (NOW + timedelta(days=30)).replace(microsecond=0)
    assert found.not_valid_before_utc < NOW

    long = make(tmp_path, "worker-A", days=36_500)
    authority = x509.load_pem_x509_certificate(long.authority.read_bytes())
    assert long.ends == authority.not_valid_after_utc


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--roles", "worker A"], "--roles worker A: use letters, digits"),
        (["--roles", "../up"], "--roles ../up: use letters, digits"),
        (["--roles", "CA"], "--roles CA: that is the authority's own file"),
        (["--roles", "worker-a,worker-A"], "--roles worker-A, worker-a: given twice"),
        (["--roles", ","], "--roles: give at least one"),
        (["--hosts", "site.example:7000"], "--hosts site.example:7000: give a host name or an IP address"),
        (["--hosts", "*"], "--hosts *: give a host name"),
        (["--days", "0"], "0 is not in the range"),
        (["--dayz", "3"], "Did you mean '--days'?"),
        (["--out", "FILE"], "is a file"),
    ],
)
def test_what_cannot_be_is_named_with_its_fix_and_nothing_is_made(
    tmp_path: Path, flags: list[str], words: str
) -> None:
    (tmp_path / "file").touch()
    given = [str(tmp_path / "file") if flag == "FILE" else flag for flag in flags]
    result = run("--out", str(tmp_path / "new"), *given)

    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "new").exists()


def expire(folder: Path) -> None:
    make_certificates(folder, ["old"], [], days=1, now=NOW - timedelta(days=5000))


def lose_the_key(folder: Path) -> None:
    make(folder, "old").authority_key.unlink()


def exchange_the_key(folder: Path) -> None:
    make(folder, "old").authority_key.write_bytes(make(folder.parent / "x", "y").authority_key.read_bytes())


def spoil(folder: Path) -> None:
    make(folder, "old").authority.write_text("dear diary")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (expire, "the authority has expired"),
        (lose_the_key, "ca.key: it is not there, and without it the authority"),
        (exchange_the_key, "it does not belong to"),
        (spoil, "cannot be used"),
    ],
)
def test_an_authority_that_cannot_sign_is_named(tmp_path: Path, harm: object, words: str) -> None:
    assert callable(harm)
    harm(tmp_path / "certificates")

    result = run("--out", str(tmp_path / "certificates"), "--roles", "new")

    assert result.exit_code == 2
    assert words in result.stderr
    assert "--out" in result.stderr
    assert not (tmp_path / "certificates" / "new.crt").exists()


def test_it_says_what_it_made_and_how_to_use_it(tmp_path: Path) -> None:
    folder = tmp_path / "my certificates"
    result = run(
        "--out", str(folder), "--roles", "provider,worker-A,workers,alice", "--hosts", "::1,localhost"
    )

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"made in {folder}/, valid until {NOW + A_YEAR:%Y-%m-%d}")
    assert f"  {'provider.crt, provider.key':<26}  provider, ::1, localhost" in lines
    shown = {line.split(" --tls-cert")[0].strip(): line for line in lines if " --tls-cert " in line}
    assert list(shown) == ["bin/provider", "bin/workers --region A", "bin/workers", "alice:"]
    for line in shown.values():
        assert all(Path(word).is_file() for word in shlex.split(line) if "/my certificates/" in word)
    assert f"SHA-256 of the authority: {make(folder, 'b').fingerprint}" in lines
