"""Progress on stderr: a bar in a terminal, a few plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from .synthetic import Progress as ProgressFunction


@contextmanager
def progress_shown(what: str, console: Console) -> Iterator[ProgressFunction]:
    """Show how far a work is, on a rich console of stderr, which obeys NO_COLOR.

    Args:
        what: What is being done, like "drawing synthetic tiles".
        console: Where to show it.

    Yields:
        The function to tell (done, total). Nothing is shown before its first call.
    """
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(what, total=None, visible=False)
            yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
    else:
        yield _Lines(what, console)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _Lines:
    """A line at the start, and one at each quarter."""

    def __init__(self, what: str, console: Console) -> None:
        self._what = what
        self._console = console
        self._quarters_said = -1

    def __call__(self, done: int, total: int) -> None:
        quarters = 4 * done // total
        if quarters > self._quarters_said:
            self._quarters_said = quarters
            # As Text, and soft-wrapped: a log line stays one line, and no word is taken for markup.
            self._console.print(Text(f"{self._what}: {done:,} of {total:,}"), soft_wrap=True)
