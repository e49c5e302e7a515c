"""What is looked at before anything is started, and what is said of it."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sqlite3
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trio
from click.testing import CliRunner, Result

from federation import check
from federation.__main__ import main
from federation.check import Finding, Verdict
from federation.config import Address, CheckConfig
from federation.learning import Region, RegionMeta, save_region
from federation.roles import role_system
from federation.workspace import Whereabouts, address_file
from tests.trioactor.certificates import Authority

META = RegionMeta(class_names=("land", "water"), source="synthetic", extractor="patches", seed=0)


def region(meta: RegionMeta = META, features: int = 4) -> Region:
    return Region(np.ones((6, features), np.float32), np.array([0, 1] * 3), meta)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    for name in "ABCD":
        save_region(folder / "dataset" / f"region_{name}.npz", region())
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments])


def wrong(findings: list[Finding]) -> list[str]:
    return [f"{one.subject}: {one.words}" for one in findings if one.verdict is Verdict.WRONG]


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {one.subject: one for one in findings}


def test_where_all_is_well_every_line_says_so_and_the_status_is_0(workspace: Path) -> None:
    result = run("--workspace", str(workspace))

    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    assert last == "nothing stands in the way"
    assert {line.split()[0] for line in lines} == {"ok", "note"}
    assert "6 samples x 4 features, 2 classes, synthetic" in result.stdout
    assert not (workspace / "training.db").exists(), "looking changes nothing"


def test_for_programs_it_is_json(workspace: Path) -> None:
    (workspace / "dataset" / "region_B.npz").write_bytes(b"PK")
    result = run("--workspace", str(workspace), "--json")

    found = json.loads(result.stdout)
    assert result.exit_code == 2
    assert found["ok"] is False
    (bad,) = [one for one in found["findings"] if one["verdict"] == "wrong"]
    assert bad["subject"] == "data region_B"
    assert "region_B.npz" in bad["words"]


def test_a_workspace_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    result = run("--workspace", str(tmp_path / "new" / "workspace"))

    assert result.exit_code == 0, result.output
    assert "not there yet; it can be made" in result.stdout
    assert "bin/prepare makes them" in result.stdout
    assert not (tmp_path / "new").exists()


def test_a_workspace_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = by_subject(list(check.look_at_workspace(CheckConfig(workspace=tmp_path / "file" / "workspace"))))

    assert found["workspace"].verdict is Verdict.WRONG
    assert "it cannot be made" in found["workspace"].words


@pytest.mark.parametrize(
    ("free", "verdict"), [(10 * 2**20, Verdict.WRONG), (200 * 2**20, Verdict.NOTE), (2**40, Verdict.OK)]
)
def test_a_disk_that_is_nearly_full_is_told(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage(2**41, 0, free))

    assert (
        by_subject(list(check.look_at_workspace(CheckConfig(workspace=workspace))))["disk"].verdict is verdict
    )


def test_a_record_of_somebody_else_is_named(workspace: Path) -> None:
    other = sqlite3.connect(workspace / "training.db")
    other.execute("CREATE TABLE bills (amount REAL)")
    other.commit()
    other.close()

    (line,) = wrong(list(check.look_at_record(CheckConfig(workspace=workspace))))
    assert "training.db" in line


def test_packages_that_are_missing_or_too_old_are_named_with_what_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions = {"numpy": "1.21.0"}

    def version(name: str) -> str:
        if name == "rich":
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name, "99.0") if name != "cbor2" else "6.3.0"

    monkeypatch.setattr(importlib.metadata, "version", version)

    (line,) = wrong(list(check.look_at_python()))
    assert "numpy 1.21.0 is installed, numpy>=1.26 is needed" in line
    assert "rich is not installed, rich>=14 is needed" in line


@pytest.mark.parametrize(
    ("other", "verdict", "words"),
    [
        (region(features=5), Verdict.WRONG, "5 features (patches), 2 classes and synthetic data"),
        (region(replace(META, extractor="pixels")), Verdict.WRONG, "4 features (pixels)"),
        (region(replace(META, source="digits")), Verdict.WRONG, "and digits data"),
        (region(replace(META, seed=1)), Verdict.NOTE, "was made with the seed 1"),
    ],
)
def test_regions_that_do_not_go_together_are_told_apart(
    workspace: Path, other: Region, verdict: Verdict, words: str
) -> None:
    save_region(workspace / "dataset" / "region_C.npz", other)
    found = by_subject(list(check.look_at_regions(CheckConfig(workspace=workspace))))["data together"]

    assert found.verdict is verdict
    assert words in found.words
    assert "region_C.npz" in found.words


def test_a_region_that_was_named_must_be_there(workspace: Path) -> None:
    (line,) = wrong(list(check.look_at_regions(CheckConfig(workspace=workspace, region=("A", "E")))))

    assert "region_E.npz" in line
    assert "no such file" in line


# --- certificates and the network -----------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


def secured(authority: Authority, workspace: Path, *names: str, listen: str = "127.0.0.1:0") -> CheckConfig:
    files = authority.issue(*names, file=names[0])
    Path(files.keyfile).chmod(0o600)
    return CheckConfig(
        workspace=workspace,
        listen=listen,
        tls_cert=Path(files.certfile),
        tls_key=Path(files.keyfile),
        tls_ca=Path(files.ca_cert),
        connect_seconds=2.0,
    )


def test_a_certificate_is_told_with_its_names_and_what_it_allows(
    authority: Authority, workspace: Path
) -> None:
    (found,) = check.look_at_certificate(secured(authority, workspace, "provider", "127.0.0.1"))

    assert found.verdict is Verdict.OK
    assert "as provider; names provider, 127.0.0.1" in found.words


def test_a_certificate_that_does_not_name_the_host_is_noted(authority: Authority, workspace: Path) -> None:
    config = secured(authority, workspace, "provider", listen="192.0.2.7:7000")

    assert "does not name 192.0.2.7" in list(check.look_at_certificate(config))[-1].words


def test_a_key_of_another_certificate_is_wrong(authority: Authority, workspace: Path) -> None:
    config = secured(authority, workspace, "provider")
    other = authority.issue("other", file="other")

    (line,) = wrong(list(check.look_at_certificate(replace(config, tls_key=Path(other.keyfile)))))
    assert "the key does not belong to the certificate" in line


@pytest.mark.parametrize(("listen", "verdict"), [("127.0.0.1:0", Verdict.OK), ("0.0.0.0:7000", Verdict.NOTE)])
def test_plaintext_that_others_reach_is_noted(workspace: Path, listen: str, verdict: Verdict) -> None:
    (found,) = check.look_at_certificate(CheckConfig(workspace=workspace, listen=listen))

    assert found.verdict is verdict


async def test_a_port_that_is_taken_is_wrong_and_its_holder_named(workspace: Path) -> None:
    (holder,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with holder:
        port = holder.socket.getsockname()[1]
        found = await check.look_at_port(CheckConfig(workspace=workspace, listen=f"127.0.0.1:{port}"))

    assert found.verdict is Verdict.WRONG
    assert f"127.0.0.1:{port}" in found.words


async def look_from(config: CheckConfig, provider: CheckConfig) -> Finding:
    """Return what is found of a Provider that runs with the certificate of another config."""
    async with role_system("provider", provider.tls_files) as system:
        address = Address(*await system.listen("127.0.0.1", 0))
        (found,) = [one async for one in check.look_at_provider(replace(config, provider=str(address)))]
    return found


async def test_a_provider_of_another_authority_is_not_one(authority: Authority, workspace: Path) -> None:
    provider = secured(authority, workspace, "provider", "127.0.0.1")
    stranger = secured(Authority(workspace, "other"), workspace, "stranger", "127.0.0.1")

    found = await look_from(stranger, provider)

    assert found.verdict is Verdict.WRONG
    assert "the peer's certificate is refused" in found.words


async def test_a_provider_that_takes_tls_only_is_told_to_plaintext(
    authority: Authority, workspace: Path
) -> None:
    provider = secured(authority, workspace, "provider", "127.0.0.1")

    found = await look_from(CheckConfig(workspace=workspace), provider)

    assert found.verdict is Verdict.WRONG
    assert "takes TLS only; give both sides --tls-cert" in found.words


async def test_what_the_address_file_says_is_compared_first(authority: Authority, workspace: Path) -> None:
    config = secured(authority, workspace, "worker", "127.0.0.1")
    where = Whereabouts(Address("127.0.0.1", 7000), ("ab" * 32,))
    with address_file(workspace / "address.json", where, "run"):
        (found,) = [one async for one in check.look_at_provider(config)]

    assert found.verdict is Verdict.WRONG
    assert "trusts another authority" in found.words


async def test_a_provider_that_is_gone_cannot_be_reached(workspace: Path) -> None:
    config = CheckConfig(workspace=workspace, provider="127.0.0.1:1", connect_seconds=2.0)
    (found,) = [one async for one in check.look_at_provider(config)]

    assert found.verdict is Verdict.WRONG
    assert "127.0.0.1:1 cannot be reached" in found.words
