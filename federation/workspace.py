"""What lies in a workspace: the record, run folders, the address of the Provider, running processes.

workspace/
  training.db            the record of all runs
  dataset/               region files
  address.json           where the Provider is, while one runs
  processes/PID.json     the processes of ours that run, so that they can be found and ended
  runs/TIME-NAME/        one folder a run: settings.toml, address.json, logs/, tls/; at its end model.npz, for
                         other tools model.safetensors and config.json, metrics.csv, plot.png
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import trio

from federation.config import EVERYWHERE, Address, TlsFiles
from federation.errors import SettingsError, Unreachable
from federation.learning import writing_whole
from persistence import DatabaseError, RoundPersistence

POLL_SECONDS = 0.02


def make_writable(folder: Path) -> None:
    """Make a folder, and see that files can be made in it.

    Raises:
        SettingsError: It cannot be; the text says why.
    """
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SettingsError(
            f"--workspace {folder}: it cannot be written ({error.strerror}); choose another folder, or "
            "change its permissions"
        ) from error


def open_record(path: Path) -> RoundPersistence:
    """Open training.db to write.

    Raises:
        SettingsError: It cannot be used; the text says why.
    """
    make_writable(path.parent)
    try:
        return RoundPersistence(path)
    except DatabaseError as error:
        raise SettingsError(str(error)) from error


# --- the address of the Provider ------------------------------------------------------------


def reachable_host(host: str) -> str:
    """Return how others call a host on which we listen; of all addresses of this machine, its name."""
    if host not in EVERYWHERE:
        return host
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return "127.0.0.1"  # a machine whose name nobody knows
    return name


def is_loopback(host: str) -> bool:
    """Return whether nobody dials a host from another machine."""
    return host in ("localhost", "::1") or host.startswith("127.")


class Whereabouts(NamedTuple):
    """What the Provider says of itself.

    Attributes:
        address: Where it is.
        ca_sha256: The fingerprints of the authorities that it trusts; none when it speaks plaintext.
    """

    address: Address
    ca_sha256: tuple[str, ...] = ()


@contextmanager
def address_file(path: Path, where: Whereabouts, run: str) -> Iterator[None]:
    """Keep a file that says where the Provider is, there whole or not at all, for the length of a block.

    Raises:
        SettingsError: It cannot be written.
    """
    found = {"host": where.address.host, "port": where.address.port, "ca_sha256": where.ca_sha256}
    text = json.dumps({**found, "run": run, "pid": os.getpid()})
    try:
        with writing_whole(path) as file:
            file.write(text.encode() + b"\n")
    except OSError as error:
        raise SettingsError(
            f"{path}: the address of the Provider cannot be written there ({error.strerror}); give another "
            "--provider-file"
        ) from error
    try:
        yield
    finally:
        if read_text(path) == text + "\n":  # another Provider may have come after us
            path.unlink(missing_ok=True)


def read_address(path: Path) -> Whereabouts | None:
    """Return what the Provider says in a file, or None when there is no such file yet.

    Raises:
        SettingsError: The file is something else.
    """
    try:
        text = read_text(path)
        if text is None:
            return None
        found = json.loads(text)
        address = Address(str(found["host"]), int(found["port"]))
        return Whereabouts(address, tuple(str(one) for one in found.get("ca_sha256", ())))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise SettingsError(
            f"{path}: this is no address of a Provider; remove it, or give another --provider-file"
        ) from error


async def wait_for_address(path: Path, seconds: float) -> Whereabouts:
    """Return what the Provider says in a file as soon as it is there.

    Raises:
        Unreachable: It is not there in time.
        SettingsError: The file is something else.
    """
    with trio.move_on_after(seconds):
        while True:
            where = read_address(path)
            if where is not None:
                return where
            await trio.sleep(POLL_SECONDS)
    raise Unreachable(
        f"no Provider has written its address to {path} within {seconds:g} s; start one with this workspace, "
        "or give --provider HOST:PORT"
    )


def read_text(path: Path) -> str | None:
    """Return what a file holds, or None when there is no such file."""
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None


# --- the folder of a run --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything of one run lies that is not in the record.

    Attributes:
        path: The folder; its name is the name of the run.
    """

    path: Path

    @property
    def run(self) -> str:
        """The name of the run."""
        return self.path.name

    @property
    def settings(self) -> Path:
        """The settings as resolved."""
        return self.path / "settings.toml"

    @property
    def model(self) -> Path:
        """The final global model."""
        return self.path / "model.npz"

    @property
    def model_for_others(self) -> Path:
        """The same for other tools, with a `config.json` beside it, where safetensors is installed."""
        return self.path / "model.safetensors"

    @property
    def metrics(self) -> Path:
        """One line a round."""
        return self.path / "metrics.csv"

    @property
    def plot(self) -> Path:
        """The picture."""
        return self.path / "plot.png"

    @property
    def address(self) -> Path:
        """Where this run's Provider is."""
        return self.path / "address.json"

    @property
    def certificates(self) -> Path:
        """The certificates that were made for it."""
        return self.path / "tls"

    def tls_files(self, role: str) -> TlsFiles:
        """The certificate of a role, like "provider" or "worker-A"."""
        folder = self.certificates
        return TlsFiles(folder / f"{role}.crt", folder / f"{role}.key", folder / "ca.crt")

    def log(self, role: str) -> Path:
        """What a role wrote."""
        return self.path / "logs" / f"{role}.log"


def new_run_folder(workspace: Path, label: str, started: datetime) -> RunFolder:
    """Make the folder of a new run; no other run of the workspace has its name.

    Args:
        workspace: Where.
        label: What the name says after the time.
        started: The time of the name.
    """
    stem = f"{started:%Y%m%d-%H%M%S}-{label}"
    for attempt in range(1, 1000):
        path = workspace / "runs" / (stem if attempt == 1 else f"{stem}-{attempt}")
        with suppress(FileExistsError):
            (path / "logs").mkdir(parents=True)
            return RunFolder(path)
    raise SettingsError(f"{workspace}/runs/{stem}: a thousand runs of that name; give another --name")


# --- the processes that run -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Running:
    """A process that said it runs for this workspace.

    Attributes:
        pid: Its process id.
        started_ticks: When it started, in clock ticks since the machine did: with `pid` it names one process.
        role: What it is.
        file: The file that says so.
    """

    pid: int
    started_ticks: int
    role: str
    file: Path

    @property
    def alive(self) -> bool:
        """Whether that very process still runs; another one may have its pid by now."""
        return started_ticks(self.pid) == self.started_ticks


@contextmanager
def registered(workspace: Path, role: str) -> Iterator[None]:
    """Say that this process runs for the workspace, for the length of a block."""
    path = _entry(workspace, os.getpid())
    text = json.dumps({"role": role, "pid": os.getpid(), "started_ticks": started_ticks(os.getpid())})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def forget_the_dead(workspace: Path) -> None:
    """Take back what processes said of themselves that were killed before they could."""
    for one in all_registered(workspace):
        if started_ticks(one.pid) != one.started_ticks:
            _entry(workspace, one.pid).unlink(missing_ok=True)


def _entry(workspace: Path, pid: int) -> Path:
    return workspace / "processes" / f"{pid}.json"


def all_registered(workspace: Path) -> list[Running]:
    """Return every process that said it runs for the workspace, whether or not it still does."""
    found = []
    for path in sorted((workspace / "processes").glob("*.json")):
        try:
            entry = json.loads(path.read_text())
            found.append(Running(int(entry["pid"]), int(entry["started_ticks"]), str(entry["role"]), path))
        except (OSError, ValueError, KeyError, TypeError):
            found.append(Running(0, 0, "unreadable", path))  # half written by one that was killed
    return found


def started_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since the machine did; None when there is none.

    A process that has ended, but was not waited for yet, counts as none.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything; the fields behind it are numbered from 3 (proc(5)).
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X") else int(rest[18])
