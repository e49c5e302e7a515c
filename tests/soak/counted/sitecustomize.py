"""Counts the trio tasks of a process that bin/soak watches. Python imports a module of this name by itself.

How many there are is written once a second, as text, to a file that is called by the number of the process.
"""

import os

FOLDER = os.environ.get("TRIOACTOR_SOAK_TASKS")

if FOLDER is not None:
    import functools
    import time
    from typing import Any

    import trio

    class Counted(trio.abc.Instrument):
        """Keeps count, and says it."""

        def __init__(self) -> None:
            self._tasks = 0
            self._said_at = 0.0
            self._file = os.open(f"{FOLDER}/{os.getpid()}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC)

        def task_spawned(self, task: trio.lowlevel.Task) -> None:
            self._tasks += 1

        def task_exited(self, task: trio.lowlevel.Task) -> None:
            self._tasks -= 1

        def before_io_wait(self, timeout: float) -> None:
            now = time.monotonic()
            if now - self._said_at >= 1.0:
                self._said_at = now
                os.pwrite(self._file, f"{self._tasks:8}".encode(), 0)

    plain_run = trio.run

    @functools.wraps(plain_run)
    def counted_run(*args: Any, instruments: Any = (), **settings: Any) -> Any:
        return plain_run(*args, instruments=[*instruments, Counted()], **settings)

    vars(trio)["run"] = counted_run
