"""Mutual TLS between real processes: the same model, and one clear line for whoever does not fit."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from federation.credentials import ca_fingerprints
from tests.end_to_end.conftest import PATIENCE_SECONDS, ROOT, Command, Workspace
from tests.end_to_end.test_bad_days import check

# Whom the certificates are for: all roles of a run by hand, and somebody who is none of them.
ROLES = "provider,aggregator,evaluator,workers,worker-A"


def generate(folder: Path, roles: str = ROLES, *flags: str) -> Path:
    command = ["prep", "certificates", "--out", str(folder), "--roles", roles, *flags]
    subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE_SECONDS
    )
    return folder


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of another authority."""
    return generate(tmp_path_factory.mktemp("tls") / "others")


def tls(folder: Path, role: str) -> tuple[str, ...]:
    files = ("--tls-cert", f"{role}.crt"), ("--tls-key", f"{role}.key"), ("--tls-ca", "ca.crt")
    return tuple(word for flag, name in files for word in (flag, str(folder / name)))


def sha_of(run: Command) -> str:
    found = re.search(r"model SHA-256 +([0-9a-f]{64})", run.stdout)
    assert found is not None, run.stderr
    return found[1]


def test_over_tls_the_model_is_the_same_to_the_last_bit(workspace: Workspace) -> None:
    """From one command, with certificates that nobody else can read and whose signer is forgotten."""
    job = ("--rounds", "2", "--no-alone", "--no-picture", "--seed", "5")
    secure = workspace.start(*job, "--tls")
    assert secure.wait() == 0, secure.stderr
    (folder,) = (workspace.path / "runs").iterdir()
    plain = workspace.start(*job, "--in-process")
    assert plain.wait() == 0, plain.stderr

    assert sha_of(secure) == sha_of(plain)
    assert (folder / "tls").stat().st_mode & 0o077 == 0
    assert not (folder / "tls" / "ca.key").exists()
    for log in (folder / "logs").iterdir():
        assert "turned away" not in log.read_text()
        assert "the certificate is of" not in log.read_text()  # an honest role is refused nothing


def test_a_service_that_is_killed_comes_back_over_tls(workspace: Workspace) -> None:
    run = workspace.start("--rounds", "30", "--epochs", "60", "--no-alone", "--no-picture", "--tls")
    run.wait_for("round  3/30")
    subprocess.run(["kill", "-9", str(workspace.process_of("federation provider"))], check=True)

    assert run.wait() == 0, run.stderr
    assert "the process of the provider has ended: it was ended by SIGKILL; it is started again" in run.stderr


def test_roles_started_by_hand_speak_tls_and_know_who_is_who(
    workspace: Workspace, certificates: Path
) -> None:
    """By flags, by the environment and by a file alike; a stranger is turned away, and the run goes on."""
    provider = workspace.begin(
        "federation", "provider", "--rounds", "2", "--no-alone", *tls(certificates, "provider")
    )
    provider.until((workspace.path / "address.json").exists, "address")
    found = json.loads((workspace.path / "address.json").read_text())
    where = f"{found['host']}:{found['port']}"
    assert tuple(found["ca_sha256"]) == ca_fingerprints(certificates / "ca.crt")

    plain = workspace.begin("federation", "workers", "--region", "A", "--provider", where)
    check(plain, 2, f"at {where} was reached, but the peer refuses: this system takes TLS only", "--tls-cert")

    environment = {
        f"FEDERATION_TLS_{name.upper()}": str(certificates / file)
        for name, file in (("cert", "aggregator.crt"), ("key", "aggregator.key"), ("ca", "ca.crt"))
    }
    (workspace.folder / "evaluator.toml").write_text(
        f"tls-cert = '{certificates}/evaluator.crt'\ntls-key = '{certificates}/evaluator.key'\n"
        f"tls-ca = '{certificates}/ca.crt'\n"
    )
    members = [
        workspace.begin("federation", "aggregator", **environment),
        workspace.begin("federation", "evaluator", "--config", "evaluator.toml"),
        workspace.begin("federation", "workers", *tls(certificates, "workers"), "--provider", where),
    ]
    assert provider.wait() == 0, provider.stderr
    for member in members:
        assert member.wait() == 0, member.stderr
    assert "turned away: the peer does not speak TLS; give both sides --tls-cert" in provider.stderr
    assert "3 of 3 workers" in provider.stderr


def test_roles_that_do_not_fit_say_so_in_a_line(
    workspace: Workspace, certificates: Path, others: Path
) -> None:
    provider = workspace.begin("federation", "provider", *tls(certificates, "provider"))
    provider.until((workspace.path / "address.json").exists, "address")
    found = json.loads((workspace.path / "address.json").read_text())
    where = f"{found['host']}:{found['port']}"
    ours, theirs = ca_fingerprints(certificates / "ca.crt")[0], ca_fingerprints(others / "ca.crt")[0]
    worker = ("federation", "workers", "--region", "A")

    by_file = workspace.begin(*worker, *tls(others, "worker-A"))
    by_address = workspace.begin(*worker, *tls(others, "worker-A"), "--provider", where)
    plain = workspace.begin(*worker)
    impostor = workspace.begin("federation", "workers", "--region", "B", *tls(certificates, "worker-A"))

    looked = workspace.begin("federation", "check", *tls(certificates, "worker-A"))
    check(by_file, 2, "trusts another authority", ours, theirs)
    check(by_address, 2, f"at {where} was reached, but the peer's certificate is refused")
    check(plain, 2, "takes TLS only, and this role speaks plaintext", ours)
    assert looked.wait() == 0, looked.stdout
    assert f"{where} answers over TLS" in looked.stdout
    check(impostor, 2, "it is of worker-a; the others would refuse it as worker-B", "--roles worker-B")
    provider.send(signal.SIGTERM)
    assert provider.wait() == 143


def test_a_provider_under_another_name_is_not_believed(workspace: Workspace, certificates: Path) -> None:
    generate(certificates, "site", "--hosts", "elsewhere.example", "--force")
    provider = workspace.begin("federation", "provider", *tls(certificates, "site"))
    worker = workspace.begin("federation", "workers", "--region", "A", *tls(certificates, "worker-A"))

    check(worker, 2, "was reached, but the peer's certificate is refused", "not valid for '127.0.0.1'")
    provider.send(signal.SIGTERM)
    assert provider.wait() == 143


def test_a_plaintext_provider_is_told_from_one_that_is_not_there(
    workspace: Workspace, certificates: Path
) -> None:
    provider = workspace.begin("federation", "provider")
    provider.until((workspace.path / "address.json").exists, "address")
    found = json.loads((workspace.path / "address.json").read_text())
    where = f"{found['host']}:{found['port']}"
    worker = ("federation", "workers", "--region", "A", *tls(certificates, "worker-A"))
    by_file, by_address = workspace.begin(*worker), workspace.begin(*worker, "--provider", where)

    check(by_file, 2, "speaks plaintext, and this role takes TLS only; give both sides --tls-cert")
    check(by_address, 2, f"at {where} was reached, but the peer does not speak TLS; give both sides")
    provider.send(signal.SIGTERM)
    assert provider.wait() == 143


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--tls-cert", "a.crt"), ("--tls-key and --tls-ca", "give all three, or none")),
        (("--tls-crt", "a.crt"), ("--tls-crt", "--tls-cert")),
    ],
)
def test_a_wrong_use_of_the_flags(
    workspace: Workspace, flags: tuple[str, ...], words: tuple[str, ...]
) -> None:
    check(workspace.begin("federation", "provider", *flags), 2, *words)


def test_a_certificate_that_cannot_be_used_stops_a_role_before_it_starts(
    workspace: Workspace, certificates: Path
) -> None:
    cert, key, ca = (str(certificates / name) for name in ("provider.crt", "workers.key", "ca.crt"))
    provider = workspace.begin("federation", "provider", "--tls-cert", cert, "--tls-key", key, "--tls-ca", ca)

    check(provider, 2, "the key does not belong to the certificate")
    assert not (workspace.path / "address.json").exists()


def test_tls_without_a_network_is_a_contradiction(workspace: Workspace) -> None:
    check(workspace.start("--tls", "--in-process"), 2, "--tls and --in-process", "leave one of them out")
