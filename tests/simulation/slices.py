"""Long measurements in slices: work spread over processes, and what is done kept in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Kept:
    """A file with a line of JSON for each piece of work that is done, so that calls add up.

    Args:
        path: Where. It need not be there yet.

    Attributes:
        results: What is done, by the name of the work.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.results: dict[str, Any] = {}
        text = path.read_text() if path.exists() else ""
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                read = json.loads(line)
                self.results[read["task"]] = read["found"]
            except (ValueError, KeyError, TypeError):
                continue  # a call was killed while it wrote, so that piece is not done

    def add(self, name: str, found: Any) -> None:
        """Write down what came of a piece of work."""
        with self._path.open("a") as file:
            file.write("\n" * self._torn + json.dumps({"task": name, "found": found}) + "\n")
        self._torn = False


def spread(tasks: Iterable[T], run: Callable[[T], R], jobs: int) -> Iterator[tuple[T, R]]:
    """Yield what comes of each task as it comes; a task is taken when a process is free for it.

    Args:
        tasks: What is to be done.
        run: Does one of them. Tasks, and what comes of them, can be pickled.
        jobs: Processes to use; with 1 it is this one.
    """
    if jobs == 1:
        yield from ((task, run(task)) for task in tasks)
        return
    left = iter(tasks)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: dict[Future[R], T] = {}
        while True:
            while len(running) < jobs and (task := next(left, None)) is not None:
                running[pool.submit(run, task)] = task
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
