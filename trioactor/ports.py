"""Who holds a TCP port of this machine, as far as Linux lets one see it."""

from __future__ import annotations

import os
from pathlib import Path

_LISTEN = "0A"  # the state, as /proc/net/tcp writes it


def holder_of(port: int) -> str:
    """Return a clause for an error text, "; the port is held by python (pid 4711)", or ""."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in sorted(Path("/proc").glob("[0-9]*")) if inodes else ():
        try:
            if any(os.readlink(handle) in inodes for handle in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"; the port is held by {name} (pid {process.name})"
        except OSError:  # it has ended, or is another user's
            continue
    return ""


def _listening_inodes(port: int) -> list[str]:
    inodes = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *rest = line.split()
            if state == _LISTEN and int(local.rpartition(":")[2], 16) == port:
                inodes.append(rest[5])
    return inodes
