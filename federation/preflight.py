"""Everything that can be known to be wrong before anything is started. Blocking."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import trio

from federation.config import BUILT_IN_REGIONS, StartConfig, region_file_in
from federation.errors import FederationError, SettingsError
from federation.learning import Region
from federation.processes import python_command
from federation.programs import say
from federation.roles import read_region
from federation.targets import PACKAGES, Target
from federation.workspace import RunFolder, open_record
from trioactor import ActorSystem

# Certificates that are made for one run need not outlive it by much.
TLS_DAYS = 30
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class PreparationFailed(FederationError):
    """Data or certificates could not be made. Why, the preparation has said itself.

    Attributes:
        status: What it told the shell.
    """

    def __init__(self, status: int, what: str = "data") -> None:
        super().__init__(f"the {what} could not be prepared (status {status})")
        self.status = status


def check_record(config: StartConfig) -> None:
    """See that the record can be written.

    Raises:
        SettingsError: It cannot: the workspace is not writable, or the file is not ours.
    """
    open_record(config.database).close()


def check_address(config: StartConfig) -> None:
    """See that the Provider can listen where it is to.

    Raises:
        CannotListen: It cannot; the text says who does.
    """

    async def listen() -> None:
        async with ActorSystem("preflight") as system:
            await system.listen(*config.listen_address)

    if config.listen_address.port:
        trio.run(listen)


def check_tls(launcher: str) -> None:
    """See that certificates can be made.

    Args:
        launcher: What is being started, which installs what it needs when it is told so by its flags.

    Raises:
        SettingsError: They cannot be.
    """
    if importlib.util.find_spec("cryptography") is None:
        raise SettingsError(
            "--tls: certificates are made with the package cryptography, which is not installed here; get it "
            f"with pip install 'trioactor[tls]', or give --tls to {launcher}, which installs it"
        )


def check_trackers(config: StartConfig) -> None:
    """See that the packages are there by which trackers are told.

    Raises:
        SettingsError: One is missing.
    """
    for text in config.track:
        package = PACKAGES[Target.parse(text).kind]
        if importlib.util.find_spec(package) is None:
            raise SettingsError(
                f"--track {text}: it needs the package {package}, which is not installed here; get it with "
                "pip install 'trioactor[tracking]', or give --track to bin/start-provider-mode, which "
                "installs it"
            )


def make_certificates(folder: RunFolder, roles: Iterable[str], *hosts: str) -> None:
    """Make certificates for one start of a run, and forget the key that signed them.

    Args:
        folder: Of the run.
        roles: Whom to make them for.
        hosts: Under which names they are reached, beside those of this machine alone.

    Raises:
        PreparationFailed: They could not be made.
    """
    shutil.rmtree(folder.certificates, ignore_errors=True)  # those of an earlier start: no process has them
    names = ",".join(dict.fromkeys((*LOCAL_HOSTS, *hosts)))
    command = python_command("prep", "certificates", "--out", str(folder.certificates))
    command += ["--roles", ",".join(roles), "--hosts", names, "--days", str(TLS_DAYS)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise PreparationFailed(done.returncode, "certificates")
    (folder.certificates / "ca.key").unlink()


def ready_regions(config: StartConfig) -> dict[str, Region]:
    """Return the regions of the source by name, checked; prepare them when there are none.

    Raises:
        SettingsError: A region is missing or cannot be learnt from; the text names the file and the fix.
        PreparationFailed: They could not be made.
    """
    files = {name: region_file_in(config.dataset, name) for name in BUILT_IN_REGIONS}
    if not any(path.exists() for path in files.values()):
        _prepare(config)
    regions = _read(files)
    if config.samples is not None and config.source == "synthetic":
        there = sum(region.sample_count for region in regions.values())
        if there != config.samples:
            say(f"The data has {there:,} samples; preparing {config.samples:,} ...")
            _prepare(config)
            regions = _read(files)
    return regions


def _prepare(config: StartConfig) -> None:
    # By a process: the preparation stands beside the federation, not below it.
    command = python_command("prep", "prepare", "--source", config.source)
    command += ["--workspace", str(config.workspace)]
    if config.samples is not None:
        command += ["--samples", str(config.samples)]
    # What it has to say is progress here; stdout is for the result of the run.
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise PreparationFailed(done.returncode)


def _read(files: Mapping[str, Path]) -> dict[str, Region]:
    regions = {name: read_region(path) for name, path in files.items()}
    first_name, first = next(iter(regions.items()))
    for name, region in regions.items():
        if (region.feature_count, region.class_count) != (first.feature_count, first.class_count):
            raise SettingsError(
                f"{files[name]}: {region.feature_count} features and {region.class_count} classes, while "
                f"region {first_name} has {first.feature_count} and {first.class_count}; prepare all regions "
                "together with bin/prepare"
            )
    return regions
