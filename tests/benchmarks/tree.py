"""A tree of processes, as memory and handles are counted: those that were started, and all they started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Looked:
    """All processes of a tree at one moment.

    Attributes:
        memory_bytes: PSS, so that pages that processes share are counted once.
        handles: Open files, sockets and pipes.
        threads: Of all.
        processes: How many there are.
    """

    memory_bytes: int
    handles: int
    threads: int
    processes: int


class Tree:
    """Some processes and their descendants.

    Args:
        pids: Of the roots. One that is gone counts nothing, nor does one that ends while it is looked at.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = tuple(pids)
        self.peak_bytes = 0

    def look(self) -> Looked:
        """Return what there is now, and remember the most memory so far."""
        memory = handles = threads = processes = 0
        for process in self.processes():
            with suppress(psutil.Error):
                memory += process.memory_full_info().pss
                handles += process.num_fds()
                threads += process.num_threads()
                processes += 1
        self.peak_bytes = max(self.peak_bytes, memory)
        return Looked(memory, handles, threads, processes)

    def processes(self) -> Iterator[psutil.Process]:
        """Yield the roots and their descendants, each once."""
        for pid in self._pids:
            with suppress(psutil.Error):
                root = psutil.Process(pid)
                yield from (root, *root.children(recursive=True))

    def end(self) -> None:
        """End all of them: first they are asked to, then they are killed."""
        there = list(self.processes())
        for process in there:
            with suppress(psutil.Error):
                process.terminate()
        _, left = psutil.wait_procs(there, timeout=END_SECONDS)
        for process in left:
            with suppress(psutil.Error):
                process.kill()
