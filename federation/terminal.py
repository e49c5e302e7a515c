"""A run on the terminal: a live table, or plain lines where nobody looks at a moving picture.

Both are renderings of a `RunView` and nothing else. Progress goes to stderr, so that stdout is free for
results. rich is imported when a table is drawn, and obeys NO_COLOR.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO, TypeVar

from federation.view import SINGLE_ROLES, Notice, RoundView, RunView, WorkerView

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

# Often enough for ages to count smoothly. A refresh costs some 7 ms: 3 % of one core.
REFRESH_SECONDS = 0.25

NOTICES_SHOWN = 3
LEAST_ROUNDS_SHOWN = 3
FINAL_ROUNDS_SHOWN = 40  # that stay on the screen; `bin/report` has them all
MOST_BAR_CELLS = 60
BAR_CELLS = 20

GOOD = frozenset({"answered", "ready"})
BAD = frozenset({"lost", "ended", "refused", "failed", "late"})


V = TypeVar("V", contravariant=True)


class Screen(Protocol[V]):
    """Somewhere a run can be seen, as a view of it. A context manager: it is on screen within the block.

    One that has nothing to put there, or to take away again, inherits from it.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def show(self, view: V) -> None:
        """Something has happened."""

    def tick(self, now_seconds: float) -> None:
        """Time has passed; `now_seconds` is by the clock of the view."""


def is_watched(*, plain: bool) -> bool:
    """Return whether somebody looks at a moving picture on stderr.

    Args:
        plain: Whether the user wants lines all the same.
    """
    return not plain and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


# --- plain lines ----------------------------------------------------------------------------


class PlainScreen(Screen[RunView]):
    """One line for each finished round and each notice.

    Args:
        out: Where the lines go.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._before = RunView()

    def show(self, view: RunView) -> None:
        """Print what is new since the last view."""
        for line in new_lines(self._before, view):
            print(line, file=self._out, flush=True)
        self._before = view

    def tick(self, now_seconds: float) -> None:
        """Lines do not age."""


def new_lines(before: RunView, after: RunView) -> list[str]:
    """Return the lines that tell what happened between two views."""
    lines = []
    if before.status == "waiting" and after.status == "running":
        lines.append(_opening_line(after))
    fresh = after.notice_count - before.notice_count
    lines += [notice.text for notice in after.notices[-fresh:]] if fresh else []
    over = after.rounds[before.finished_count : after.finished_count]
    lines += [round_line(after, one) for one in over]
    if before.status != "alone" and after.status == "alone":
        lines.append("for comparison, each worker now trains alone")
    return lines


def _opening_line(view: RunView) -> str:
    workers = ", ".join(f"{name} ({worker.num_samples:,} samples)" for name, worker in view.workers.items())
    return f"run {view.run}: {view.rounds_planned} rounds, workers {workers}, {data_in_words(view)}"


def round_line(view: RunView, one: RoundView) -> str:
    """Return a finished round as one line, aligned with those before and after it."""
    width = len(str(view.rounds_planned))
    return (
        f"round {one.number:>{width}}/{view.rounds_planned}  "
        f"{len(one.answered)} of {len(one.asked)} workers  "
        f"training loss {number(one.train_loss)}  accuracy on D {number(one.accuracy, 3)}  "
        f"{one.seconds or 0:.3f} s  {bytes_in_words(one.bytes)}"
    )


# --- the live table -------------------------------------------------------------------------


class LiveScreen:
    """A table that is drawn anew as things happen. Its owner calls `tick` every `REFRESH_SECONDS`.

    Args:
        console: A rich console on a terminal.
    """

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._picture = Picture(RunView(), 0.0)
        self._live = Live(self._picture, console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._picture.final = True
        self._live.vertical_overflow = "visible"
        self._live.stop()

    def show(self, view: RunView) -> None:
        """Keep the view for the next tick; rounds may be over faster than anybody can look."""
        self._picture.view = view

    def tick(self, now_seconds: float) -> None:
        """Draw the view as it is now."""
        self._picture.now_seconds = now_seconds
        self._live.refresh()


class Picture:
    """A view as rich draws it.

    Attributes:
        view: What is drawn.
        now_seconds: The time that ages are counted to.
        final: Whether it stays on the screen: then all rounds are drawn, however many lines they take.
    """

    def __init__(self, view: RunView, now_seconds: float, *, final: bool = False) -> None:
        self.view = view
        self.now_seconds = now_seconds
        self.final = final

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it within the height that there is."""
        view, width = self.view, options.max_width
        yield self._title()
        yield self._progress(width)
        people = self._people()
        yield people
        # In the order of their times: what the Provider tells is heard later than what the launcher sees.
        last = sorted(view.notices[-NOTICES_SHOWN:], key=lambda notice: notice.at_seconds)
        notices = [self._notice(notice) for notice in last]
        # Title, progress, the two heads, the empty line between them, and the line of the cursor.
        taken = 6 + people.row_count + sum(math.ceil(notice.cell_len / width) for notice in notices)
        shown = FINAL_ROUNDS_SHOWN if self.final else max(LEAST_ROUNDS_SHOWN, console.size.height - taken)
        if view.rounds:
            yield ""
            yield _rounds(view.rounds[-shown:])
        yield from notices

    def _title(self) -> Text:
        view = self.view
        title = styled(f"run {view.run}" if view.run else "starting the roles", "bold")
        if view.source:
            title.append(f"  {data_in_words(view)}")
        return title

    def _progress(self, width: int) -> Text:
        view = self.view
        if not view.rounds_planned or view.started_seconds is None:
            return styled("waiting for all roles to be there", "dim")
        until = self.now_seconds if view.ended_seconds is None else view.ended_seconds
        done = view.finished_count / max(1, view.rounds_planned - view.first_round + 1)
        begun = view.rounds[-1].number if view.rounds else view.first_round - 1
        text = styled(f"round {begun} of {view.rounds_planned} ", "")
        clock = f" {clock_in_words(until - view.started_seconds)}"
        cells = min(MOST_BAR_CELLS, width - text.cell_len - len(clock))
        return text.append(bar(done, max(cells, 1)), "cyan").append(clock)

    def _notice(self, notice: Notice) -> Text:
        since = notice.at_seconds - (self.view.started_seconds or notice.at_seconds)
        return wrapped(f"{clock_in_words(since)}  {notice.text}", "yellow")

    def _people(self) -> Table:
        table = _table("role", "state", "for", ">samples", ">training loss", ">accuracy", ">sent")
        for role in SINGLE_ROLES:
            there = self.view.roles.get(role)
            if there is not None:
                table.add_row(role, self._service(role, there.state), self._age(there.since_seconds))
        for name, worker in self.view.workers.items():
            table.add_row(f"worker {name}", *self._worker(worker))
        return table

    def _service(self, role: str, state: str) -> Text:
        busy = role == "provider" and state == "ready"
        return styled(self.view.status, "green") if busy else _state(state)

    def _worker(self, worker: WorkerView) -> list[str | Text]:
        return [
            _state(worker.state),
            self._age(worker.since_seconds),
            f"{worker.num_samples:,}" if worker.num_samples else "",
            number(worker.loss),
            number(worker.accuracy, 3),
            bytes_in_words(worker.bytes_received) if worker.bytes_received else "",
        ]

    def _age(self, since_seconds: float) -> str:
        return age_in_words(self.now_seconds - since_seconds)


def _rounds(rounds: tuple[RoundView, ...]) -> Table:
    table = _table(
        ">round", ">workers", ">training loss", ">loss on D", "accuracy on D", ">seconds", ">bytes"
    )
    for one in rounds:
        accuracy = styled(f"{number(one.accuracy, 3):5} ", "bold")
        if one.accuracy is not None:
            accuracy.append(bar(one.accuracy, 10), "green")
        table.add_row(
            str(one.number),
            f"{len(one.answered)} of {len(one.asked)}",
            number(one.train_loss),
            number(one.loss),
            accuracy,
            "" if one.seconds is None else f"{one.seconds:.3f}",
            bytes_in_words(one.bytes) if one.bytes else "",
        )
    return table


def _table(*heads: str) -> Table:
    """Return a table without frames; a head that begins with ">" is of a column of numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in heads:
        table.add_column(
            head.removeprefix(">"), justify="right" if head.startswith(">") else "left", no_wrap=True
        )
    return table


def _state(state: str) -> Text:
    return styled(state, "green" if state in GOOD else "red" if state in BAD else "yellow")


def styled(text: str, style: str) -> Text:
    """Return a text that ends in an ellipsis where there is no room for it."""
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def wrapped(text: str, style: str) -> Text:
    """Return a text that goes on in the next line where there is no room for it."""
    from rich.text import Text

    return Text(text, style=style, overflow="fold")


# --- in words -------------------------------------------------------------------------------


def data_in_words(view: RunView) -> str:
    """Say what the data is, and that it is made up where it is."""
    return f"{view.source} data (made by a program)" if view.synthetic else f"{view.source} data"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many digits after the point, or nothing where there is none."""
    return "" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def bytes_in_words(count: int) -> str:
    """Return an amount of bytes with three figures, in powers of 1,000."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
    return f"{amount:,.0f} GB"


def age_in_words(seconds: float) -> str:
    """Return how long ago something was, with the precision that one can see."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"


def bar(share: float, cells: int) -> str:
    """Return a bar that fills `share` of so many cells, in halves of a cell."""
    halves = round(2 * cells * min(max(share, 0.0), 1.0))
    return "━" * (halves // 2) + ("╸" if halves % 2 else "") + " " * (cells - halves // 2 - halves % 2)


def clock_in_words(seconds: float) -> str:
    """Return a time that has passed as a clock shows it: 1:05, or 2:00:07 after hours."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


# --- the end --------------------------------------------------------------------------------


def summary(view: RunView, places: Mapping[str, str]) -> str:
    """Return what a finished run has brought, and where everything lies.

    Args:
        view: The run at its end.
        places: What lies where, and what to do next: label and text.
    """
    count = view.finished_count
    lines = [f"Finished: {count} round{'' if count == 1 else 's'}{_taken(view)}, {data_in_words(view)}."]
    if view.accuracy is not None:
        head = "Accuracy on region D, which nobody trained on"
        lines += ["", *comparison(head, view.accuracy, view.alone)]
    rows = {"model SHA-256": view.model_sha256, **places}
    width = max(map(len, rows)) + 2
    lines += ["", *(f"{label:<{width}}{text}" for label, text in rows.items())]
    return "\n".join(lines)


def _taken(view: RunView) -> str:
    """Say how long the rounds took, with averaging, writing and scoring, without what came after them."""
    if view.started_seconds is None or not view.finished_count:
        return ""
    ended = view.rounds[view.finished_count - 1].ended_seconds or view.started_seconds
    return f" in {ended - view.started_seconds:.1f} s"


def comparison(head: str, accuracy: float, alone: Mapping[str, float]) -> list[str]:
    """Return the accuracy of a model as lines, beside what workers reach alone.

    Args:
        head: What it was scored on.
        accuracy: Of the global model.
        alone: Of the workers that have trained alone, by name.
    """
    rows = {"the global model": accuracy}
    rows |= {f"worker {name} alone, same budget": share for name, share in sorted(alone.items())}
    width = max(map(len, rows)) + 2
    lines = [f"{head}:"]
    lines += [
        f"  {label:<{width}}{share:.3f}  {bar(share, BAR_CELLS)}".rstrip() for label, share in rows.items()
    ]
    best = max(alone.values(), default=0.0)
    if best > 0:
        lines.append(f"  Federating reaches {accuracy / best:.1f} times what the best of them reaches alone.")
    return lines
