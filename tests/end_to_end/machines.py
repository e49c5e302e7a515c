"""Machines with a name, an address and a folder of their own: network namespaces of the kernel, on one wire.

They lie in a user namespace, so nobody has to be root and nothing of this machine is touched; all that runs
on them ends with the block. What they share is the disk, which the commands of a test do not make use of.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.conftest import PATIENCE_SECONDS, ROOT
from tests.test_docs import LAUNCHERS, program_of

TOOLS = ("unshare", "nsenter", "ip", "mount")
APART = ("--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child")

# Names are of this file while the block lasts, and the places of `ip netns` of this block alone.
BEGIN = """set -eu
mount -t tmpfs tmpfs /run
mount --bind "$PWD/hosts" /etc/hosts
ip link add wire type bridge
ip link set wire up
number=1
for name in "$@"; do
    ip netns add "$name"
    ip link add "port$number" type veth peer name eth0 netns "$name"
    ip link set "port$number" master wire up
    ip -n "$name" addr add "10.23.0.$number/24" dev eth0
    ip -n "$name" link set eth0 up
    ip -n "$name" link set lo up
    number=$((number + 1))
done
read -r own _ </proc/self/stat # by the numbers of whoever began this
echo "$own"
exec cat
"""


class Running:
    """A script that runs on a machine. What it has said so far, on stdout and stderr, is `said`."""

    def __init__(self, command: Sequence[str], folder: Path, log: Path) -> None:
        self._log = log
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), "COLUMNS": "200"}
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_for(self, ready: Callable[[str], bool], what: str) -> None:
        """Return when what it has said will do."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ready(self.said):
            assert time.monotonic() < deadline, f"no {what}:\n{self.said}"
            assert self.process.poll() is None or ready(self.said), f"ended without {what}:\n{self.said}"
            time.sleep(0.02)

    def end(self) -> str:
        """Return what it has said when it has ended well."""
        try:
            assert self.process.wait(timeout=PATIENCE_SECONDS) == 0, self.said
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not end:\n{self.said}")
        return self.said


class Machines:
    """The machines of a block.

    Args:
        folder: Where the folders of the machines lie.
        keeper: The process whose namespaces they are in.
    """

    def __init__(self, folder: Path, keeper: int) -> None:
        self._folder = folder
        self._keeper = keeper
        self._count = 0

    def folder(self, machine: str) -> Path:
        """Return where the commands of a machine run."""
        return self._folder / machine

    def begin(self, machine: str, script: str, shell: str = "sh") -> Running:
        """Run a script on a machine, in its folder; `bin/...` in it are the launchers of the checkout."""
        self._count += 1
        path = self._folder / f"script-{self._count}"
        path.write_text(script)
        enter = ["nsenter", f"--target={self._keeper}", "--user", "--preserve-credentials"]
        enter += ["--mount", "--pid", "--net", f"--wd={self.folder(machine)}"]
        on_it = [
            "nsenter",
            f"--net=/run/netns/{machine}",
            shell,
            *(["-e"] if shell == "sh" else []),
            str(path),
        ]
        return Running([*enter, *on_it], self.folder(machine), self._folder / f"log-{self._count}")

    def call(self, machine: str, script: str, shell: str = "sh") -> str:
        """Run a script on a machine to its end, and return what it has said."""
        return self.begin(machine, script, shell).end()

    def doors(self, machine: str) -> set[str]:
        """Return the IPv4 addresses and ports on which somebody listens there, like 127.0.0.1:7000."""
        lines = self.call(machine, "cat /proc/net/tcp\n").splitlines()[1:]
        places = [line.split()[1].split(":") for line in lines if line.split()[3] == "0A"]
        return {
            f"{'.'.join(map(str, reversed(bytes.fromhex(host))))}:{int(port, 16)}" for host, port in places
        }


def _write_launchers(folder: Path) -> None:
    """Write `bin/...` as the checkout has them, but for the environment, which is that of the tests."""
    folder.mkdir(parents=True)
    for launcher in LAUNCHERS:
        words = " ".join(program_of(launcher))
        text = f'#!/bin/sh\nPYTHONPATH="{ROOT}" PYTHONSAFEPATH=1 exec "{sys.executable}" -m {words} "$@"\n'
        path = folder / launcher.name
        path.write_text(text)
        path.chmod(0o755)


@contextmanager
def machines(folder: Path, *names: str) -> Iterator[Machines]:
    """Make machines for the length of a block, and end what runs on them. Skips the test where none can be.

    Args:
        folder: Empty.
        names: Their names, like those of hosts; each is known to all.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing:
        pytest.skip(f"machines of their own need {' and '.join(missing)}: util-linux and iproute2")
    known = ["127.0.0.1 localhost", *(f"10.23.0.{place} {name}" for place, name in enumerate(names, 1))]
    (folder / "hosts").write_text("\n".join(known) + "\n")
    for name in names:
        _write_launchers(folder / name / "bin")
    with subprocess.Popen(
        ["unshare", *APART, "sh", "-c", BEGIN, "machines", *names],
        cwd=folder,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        keeper = process.stdout.readline()
        if not keeper:
            pytest.skip(
                f"this kernel or sandbox makes no network namespaces: {process.stderr.read().strip()}"
            )
        try:
            yield Machines(folder, int(keeper))
        finally:
            process.kill()
