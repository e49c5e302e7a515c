"""Ends what our launchers started on this machine and left behind, and removes what that left.

Only processes are ended that entered themselves as running in the workspace, under the process id and the
start time that they still have. A database is never touched.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from federation.workspace import Running, all_registered, is_loopback

GRACE_SECONDS = 2.0
LOOK_SECONDS = 0.02


async def clean_up(workspace: Path) -> list[str]:
    """End what runs, remove what is stale, and return in words what was done.

    Raises:
        OSError: A process, or a file, belongs to somebody else.
    """
    entries = all_registered(workspace)
    alive = [one for one in entries if one.alive]
    await _end(alive)
    return _tidy(workspace, entries, alive)


def _tidy(workspace: Path, entries: Sequence[Running], alive: Sequence[Running]) -> list[str]:
    done = [f"ended {one.role} (pid {one.pid})" for one in alive]
    for one in entries:
        one.file.unlink(missing_ok=True)
        if one not in alive:
            done.append(f"removed {one.file}: no such process")
    for path in (workspace / "address.json", *sorted(workspace.glob("runs/*/address.json"))):
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            done.append(f"removed {path}: its Provider is gone")
    for path in _left_places(workspace, {one.pid for one in entries}):
        path.unlink(missing_ok=True)
        done.append(f"removed {path}: nobody is there any more")
    return done


def _left_places(workspace: Path, pids: Container[int]) -> Iterator[Path]:
    """Yield the files in which peers and reporters of gossip say where they are, and are no more.

    The folder may be shared between machines. So what speaks of another host is left alone, but for what
    was written by one of these processes.
    """
    for folder in (workspace / "peers", *sorted(workspace.glob("runs/*/peers"))):
        for path in sorted(folder.glob("*.json")):
            try:
                place = json.loads(path.read_text())
                host, pid = str(place["host"]), int(place["pid"])
            except (OSError, ValueError, KeyError, TypeError):
                host, pid = "localhost", 0  # half written by one that was killed
            if pid in pids or is_loopback(host):
                yield path


async def _end(processes: Sequence[Running]) -> None:
    """Ask them to end, the launchers first, since they end what is theirs in good order; then make them."""
    for one in sorted(processes, key=lambda one: one.role != "launcher"):
        _signal(one, signal.SIGTERM)
    with trio.move_on_after(GRACE_SECONDS):
        await _until_ended(processes)
    for one in processes:
        _signal(one, signal.SIGKILL)
    await _until_ended(processes)


async def _until_ended(processes: Sequence[Running]) -> None:
    while any(one.alive for one in processes):  # noqa: ASYNC110  # they are no children of ours: no event tells
        await trio.sleep(LOOK_SECONDS)


def _signal(process: Running, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if process.alive:
            os.kill(process.pid, number)
