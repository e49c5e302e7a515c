"""`check`: looks at everything that a role will need, before anything is started, and changes nothing.

Each check yields findings: what it looked at, whether that will do, and what was found, with the fix.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import trio

from federation.authority import roles_in
from federation.config import BUILT_IN_REGIONS, EVERYWHERE, CheckConfig
from federation.credentials import TLS_FLAGS, date_of, in_flags, read_credentials
from federation.errors import FederationError, SettingsError
from federation.learning import Region
from federation.roles import find_provider, now_unix, read_region, role_system
from federation.workspace import is_loopback, make_writable
from persistence import DatabaseError, RoundPersistence
from trioactor import ActorSystem, CannotListen, HealthPing
from trioactor.errors import DeliveryError

PROJECT = "trioactor"

# A run needs some MB; below the first a commit may fail soon, below the second it is time to look.
LEAST_FREE_BYTES = 64 * 2**20
LITTLE_FREE_BYTES = 2**30


class Verdict(StrEnum):
    """What a finding means."""

    OK = "ok"
    NOTE = "note"  # no obstacle, but worth a look
    WRONG = "wrong"  # a role would not start, or not work


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What, in a word or two.
        verdict: Whether it will do.
        words: What was found, and the fix where one is needed.
    """

    subject: str
    verdict: Verdict
    words: str


def look_at_everything(config: CheckConfig) -> list[Finding]:
    """Return all findings, in the order in which one would mend them. Blocking."""
    return [
        *look_at_python(),
        *look_at_workspace(config),
        *look_at_record(config),
        *look_at_regions(config),
        *look_at_certificate(config),
        *trio.run(_look_at_network, config),
    ]


def as_table(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each finding, and one that sums up."""
    width = max(len(one.subject) for one in findings)
    for one in findings:
        yield f"{one.verdict:<5}  {one.subject:<{width}}  {one.words}"
    wrong = sum(one.verdict is Verdict.WRONG for one in findings)
    yield f"{wrong} of {len(findings)} are wrong" if wrong else "nothing stands in the way"


def as_json(findings: Sequence[Finding]) -> str:
    """Return the same for programs: `ok`, and for each finding its subject, verdict and words."""
    return json.dumps({"ok": is_ready(findings), "findings": [asdict(one) for one in findings]}, indent=2)


def is_ready(findings: Sequence[Finding]) -> bool:
    """Return whether nothing stands in the way."""
    return all(one.verdict is not Verdict.WRONG for one in findings)


# --- this machine ---------------------------------------------------------------------------


def look_at_python() -> Iterator[Finding]:
    """Look at the version of Python, and at the packages that the project asks for."""
    yield Finding("python", Verdict.OK, f"{platform.python_version()}, {sys.executable}")
    there, wrong = [], []
    for name, wanted in _requirements().items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is not installed, {name}{wanted} is needed")
            continue
        there.append(f"{name} {version}")
        if not _satisfies(version, wanted):
            wrong.append(f"{name} {version} is installed, {name}{wanted} is needed")
    if wrong:
        words = f"{'; '.join(wrong)}: use a launcher in bin/, which installs them"
        yield Finding("packages", Verdict.WRONG, words)
    else:
        yield Finding("packages", Verdict.OK, ", ".join(there))


def _requirements() -> dict[str, str]:
    """Return the packages of the main job, with the versions that the project file allows."""
    from packaging.requirements import Requirement

    file = Path(__file__).resolve().parents[1] / "pyproject.toml"
    if file.exists():
        listed = tomllib.loads(file.read_text())["project"]["dependencies"]
    else:  # installed as a package
        listed = importlib.metadata.requires(PROJECT) or []
    wanted = map(Requirement, listed)
    return {one.name: str(one.specifier) for one in wanted if one.marker is None or one.marker.evaluate()}


def _satisfies(version: str, wanted: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(wanted).contains(version, prereleases=True)


def look_at_workspace(config: CheckConfig) -> Iterator[Finding]:
    """Look whether files can be made in the workspace, and how much room there is."""
    folder = config.workspace
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        if there == folder:
            make_writable(folder)
        elif not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise SettingsError(f"--workspace {folder}: it cannot be made in {there}; choose another folder")
    except SettingsError as error:
        yield Finding("workspace", Verdict.WRONG, str(error))
        return
    new = "" if there == folder else " (not there yet; it can be made)"
    yield Finding("workspace", Verdict.OK, f"{folder}{new}")
    free = shutil.disk_usage(there).free
    words = f"{free / 1e9:,.1f} GB free for {folder}"
    if free < LEAST_FREE_BYTES:
        yield Finding("disk", Verdict.WRONG, f"{words}; make room, or choose another --workspace")
    else:
        yield Finding("disk", Verdict.OK if free >= LITTLE_FREE_BYTES else Verdict.NOTE, words)


def look_at_record(config: CheckConfig) -> Iterator[Finding]:
    """Look whether the record, where there is one, is ours and can be read."""
    if not config.database.exists():
        yield Finding("record", Verdict.OK, f"{config.database} (not there yet; the first run makes it)")
        return
    try:
        with RoundPersistence(config.database, read_only=True) as record:
            count = len(record.runs())
    except DatabaseError as error:
        yield Finding("record", Verdict.WRONG, str(error))
    else:
        yield Finding("record", Verdict.OK, f"{config.database}, {count:,} run{'s' * (count != 1)}")


# --- data -----------------------------------------------------------------------------------


def look_at_regions(config: CheckConfig) -> Iterator[Finding]:
    """Look at the region files, each by itself and then whether they go together."""
    files = {name: config.region_file(name) for name in config.region or BUILT_IN_REGIONS}
    if not config.region and not any(path.exists() for path in files.values()):
        where = next(iter(files.values())).parent
        words = f"none in {where}; bin/prepare makes them, and so does bin/start-provider-mode"
        yield Finding("data", Verdict.NOTE, words)
        return
    regions: dict[str, Region] = {}
    for name, path in files.items():
        try:
            regions[name] = region = read_region(path)
        except SettingsError as error:
            yield Finding(f"data {path.stem}", Verdict.WRONG, str(error))
            continue
        shape = f"{region.sample_count:,} samples x {region.feature_count} features"
        digest = f", digest {region.meta.digest[:12]}" if region.meta.digest else ""
        words = f"{path}: {shape}, {region.class_count} classes, {region.meta.source}{digest}"
        yield Finding(f"data {path.stem}", Verdict.OK, words)
    yield from _compare([(files[name], region) for name, region in regions.items()])


def _compare(regions: Sequence[tuple[Path, Region]]) -> Iterator[Finding]:
    """Look whether regions can be learnt from together: each one beside the first."""
    for path, region in regions[1:]:
        first, model = regions[0]
        mine, wanted = _kind_of(region), _kind_of(model)
        if mine != wanted:
            words = f"{path} has {mine}, {first} has {wanted}; prepare all regions together with bin/prepare"
            yield Finding("data together", Verdict.WRONG, words)
        elif region.meta.seed != model.meta.seed:
            words = f"{path} was made with the seed {region.meta.seed}, {first} with {model.meta.seed}"
            yield Finding("data together", Verdict.NOTE, words)


def _kind_of(region: Region) -> str:
    """Return in words what must be the same for all."""
    features = f"{region.feature_count} features ({region.meta.extractor})"
    return f"{features}, {region.class_count} classes and {region.meta.source} data"


# --- certificates and the network -----------------------------------------------------------


def look_at_certificate(config: CheckConfig) -> Iterator[Finding]:
    """Look at the certificate: the files, the key, the chain, the dates, the names."""
    host = config.listen_address.host
    if config.tls_files is None:
        if is_loopback(host):
            yield Finding("tls", Verdict.OK, f"plaintext, on {host}, which no other machine reaches")
        else:
            words = f"plaintext, and others reach {host}: whoever does can read and say all; give {TLS_FLAGS}"
            yield Finding("tls", Verdict.NOTE, words)
        return
    try:
        found = read_credentials(config.tls_files, now_unix())
    except SettingsError as error:
        yield Finding("tls", Verdict.WRONG, str(error))
        return
    roles = " and ".join(sorted(roles_in(found.names))) or "any role: it names none"
    words = f"{found.files.cert} until {date_of(found.ends_unix)}, as {roles}; names {', '.join(found.names)}"
    yield Finding("tls", Verdict.OK, words)
    yield from (Finding("tls", Verdict.NOTE, warning) for warning in found.warnings)
    if host not in (*EVERYWHERE, *found.names) and config.listen_address.port:
        words = f"{found.files.cert}: it does not name {host}, so nobody can dial this role there"
        yield Finding("tls", Verdict.NOTE, f"{words}; make one with bin/generate-certs --hosts {host}")


async def _look_at_network(config: CheckConfig) -> list[Finding]:
    return [await look_at_port(config), *[one async for one in look_at_provider(config)]]


async def look_at_port(config: CheckConfig) -> Finding:
    """Look whether the address to listen on is free."""
    try:
        async with ActorSystem("check") as system:
            await system.listen(*config.listen_address)
    except CannotListen as error:
        return Finding("listen", Verdict.WRONG, str(error))
    port = "is free" if config.listen_address.port else "(the system chooses the port)"
    return Finding("listen", Verdict.OK, f"{config.listen_address} {port}")


async def look_at_provider(config: CheckConfig) -> AsyncIterator[Finding]:
    """Look whether the Provider answers, over TLS when there is a certificate."""
    if config.provider is None and config.provider_file is None and not config.address_file.exists():
        words = f"none has said where it is in {config.address_file}; --provider HOST:PORT looks elsewhere"
        yield Finding("provider", Verdict.NOTE, words)
        return
    try:
        async with role_system("check", config.tls_files) as system:
            provider = await find_provider(system, config)
            host, port = provider.address or ("", 0)
            began = trio.current_time()
            with trio.fail_after(config.connect_seconds):
                await provider.ask(HealthPing())
            took = (trio.current_time() - began) * 1000
    except DeliveryError as error:
        yield Finding("provider", Verdict.WRONG, in_flags(str(error)))
    except trio.TooSlowError:
        words = f"{host}:{port} does not answer within {config.connect_seconds:g} s"
        yield Finding("provider", Verdict.WRONG, words)
    except FederationError as error:
        yield Finding("provider", Verdict.WRONG, str(error))
    else:
        how = "over TLS" if config.tls_files else "in plaintext"
        yield Finding("provider", Verdict.OK, f"{host}:{port} answers {how} after {took:.0f} ms")
