"""Two processes that are measured: a far one that serves, and a near one that is told what to measure.

The benchmark itself runs neither of the two, so what it imports and keeps slows nobody down.

    far     serves at a port that it prints, until its input ends
    near    connects to it; reads lines like "tell 1000" and answers each with a figure
"""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import psutil
import trio
import trustme

from tests.benchmarks.measure import Case

Command: TypeAlias = Callable[[int], Awaitable[float]]

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
NO_TLS = "-"


class Two:
    """A far and a near process of one kind.

    Args:
        near: The near one, connected.
        far: The far one.
    """

    def __init__(self, near: subprocess.Popen[str], far: subprocess.Popen[str]) -> None:
        self._near = near
        self._both = [psutil.Process(process.pid) for process in (near, far)]

    def case(self, what: str, count: int) -> Case:
        """Return a case for `compare`: so many of what is to be measured."""

        def measure() -> float:
            assert self._near.stdin is not None
            self._near.stdin.write(f"{what} {count}\n")
            self._near.stdin.flush()
            return float(_line_of(self._near))

        return measure

    def cpu_case(self, what: str, count: int) -> Case:
        """Return a case for `compare`: the CPU of both ends for one of so many, in microseconds.

        It says more than the time does where other programs are at work.
        """
        measure = self.case(what, count)

        def measure_cpu() -> float:
            before = self._cpu_seconds()
            measure()
            return (self._cpu_seconds() - before) / count * 1e6

        return measure_cpu

    def _cpu_seconds(self) -> float:
        times = [process.cpu_times() for process in self._both]
        seconds: float = sum(each.user + each.system for each in times)
        return seconds


@contextmanager
def two_processes(module: str, certificates: Path | None = None) -> Iterator[Two]:
    """Start both, and stop them at the end.

    Args:
        module: Below `tests.benchmarks`; its command line is `far FOLDER` or `near FOLDER PORT`.
        certificates: The folder of `make_certificates`; None for plain TCP.
    """
    folder = NO_TLS if certificates is None else str(certificates)
    with _process(module, "far", folder) as far:
        port = _line_of(far).strip()
        with _process(module, "near", folder, port) as near:
            yield Two(near, far)


@contextmanager
def _process(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended before it said its figure; see above")
    return line


# --- inside the processes -------------------------------------------------------------------------


async def until_input_ends() -> None:
    """For the far process: serve until the benchmark lets go."""
    while await trio.to_thread.run_sync(sys.stdin.readline):
        pass


async def obey(commands: Mapping[str, Command]) -> None:
    """For the near process: measure what is asked for, until the benchmark lets go."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        what, count = line.split()
        print(await commands[what](int(count)), flush=True)


# --- certificates -----------------------------------------------------------------------------------


def make_certificates(folder: Path) -> None:
    """Make an authority, and a certificate for this machine that both ends use."""
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))


def tls_files(folder: str) -> tuple[str, str, str]:
    """Return certificate, key and authority, as `enable_ssl` takes them."""
    return f"{folder}/cert.pem", f"{folder}/key.pem", f"{folder}/ca.pem"


def contexts(folder: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what a bare server and a bare client need to verify each other, as the runtime does."""
    certificate, key, authority = tls_files(folder)
    both = []
    for purpose in (ssl.Purpose.CLIENT_AUTH, ssl.Purpose.SERVER_AUTH):
        context = ssl.create_default_context(purpose, cafile=authority)
        context.load_cert_chain(certificate, key)
        context.verify_mode = ssl.CERT_REQUIRED
        both.append(context)
    return both[0], both[1]
