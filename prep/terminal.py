"""Progress on stderr: a bar in a terminal, a few plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from .synthetic import Progress as ProgressFunction


@contextmanager
def progress_shown(what: str, console: Console, unit: str = "") -> Iterator[ProgressFunction]:
    """Show how far a work is, on a rich console of stderr, which obeys NO_COLOR.

    Args:
        what: What is being done, like "drawing synthetic tiles".
        console: Where to show it.
        unit: What is counted, like "images", to say how many a second; empty to say nothing of it.

    Yields:
        The function to tell (done, total). Nothing is shown before its first call.
    """
    rate = _Rate(unit, time.monotonic)
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(what, total=None, visible=False, rate="")

            def show(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total, visible=True, rate=rate(done))

            yield show
    else:
        yield _Lines(what, console, rate)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _Rate:
    """How many a second, since the first time that it was asked: what was done before does not count.

    Args:
        unit: Of what.
        clock: Returns seconds.
    """

    def __init__(self, unit: str, clock: Callable[[], float]) -> None:
        self._unit = unit
        self._clock = clock
        self._began: tuple[float, int] | None = None

    def __call__(self, done: int) -> str:
        """Return it in words, or nothing when there is nothing to say yet."""
        now = self._clock()
        if self._began is None:
            self._began = now, done
        since, first = self._began
        if not self._unit or done == first or now <= since:
            return ""
        return f"{(done - first) / (now - since):,.0f} {self._unit}/s"


class _Lines:
    """A line at the start, and one at each quarter."""

    def __init__(self, what: str, console: Console, rate: _Rate) -> None:
        self._what = what
        self._console = console
        self._rate = rate
        self._quarters_said = -1

    def __call__(self, done: int, total: int) -> None:
        rate = self._rate(done)
        quarters = 4 * done // total
        if quarters > self._quarters_said:
            self._quarters_said = quarters
            # As Text, and soft-wrapped: a log line stays one line, and no word is taken for markup.
            line = f"{self._what}: {done:,} of {total:,}{f', {rate}' if rate else ''}"
            self._console.print(Text(line), soft_wrap=True)
