"""A simulation on the terminal: a live table, or a line a round where nobody looks at a moving picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from federation.simulation.config import SimulationConfig
from federation.simulation.record import RoundReport
from federation.simulation.simulation import Beginning
from federation.terminal import MOST_BAR_CELLS, Screen, bar, bytes_in_words, comparison, number

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

# What stays on the screen, and what is drawn while the run goes on in a window of the usual height.
ROUNDS_SHOWN = 15


@dataclass(slots=True)
class Progress:
    """How far a simulation has come.

    Attributes:
        config: Its settings.
        run: Its name; empty before it has begun.
        data: What its data is, in words.
        workers: How many there are.
        began_seconds: When it began, by the clock of whoever shows it.
        last_seconds: When its last round was over, by the same clock.
        last: The last rounds.
        resumed: After which round it goes on; 0 where it has begun now.
        finished: How many rounds are over.
        updates: How many updates became part of a model since it began, or went on.
        virtual_seconds: How much virtual time the rounds have taken.
    """

    config: SimulationConfig
    run: str = ""
    data: str = ""
    workers: int = 0
    began_seconds: float = 0.0
    last_seconds: float = 0.0
    last: deque[RoundReport] = field(default_factory=lambda: deque(maxlen=ROUNDS_SHOWN))
    resumed: int = 0
    finished: int = 0
    updates: int = 0
    virtual_seconds: float = 0.0

    def begin(self, beginning: Beginning, now_seconds: float) -> None:
        """The first round begins, or those that are in the record are played again up to the last."""
        shards = beginning.data.shards
        self.run, self.workers, self.began_seconds = beginning.run, len(shards.names), now_seconds
        self.resumed, self.virtual_seconds = beginning.committed, beginning.seconds
        self.finished = max(0, beginning.committed - 1)
        self.data = f"{shards.source} data{' (made by a program)' if shards.synthetic else ''}"

    def take(self, report: RoundReport, now_seconds: float) -> None:
        """A round is in the record."""
        self.last.append(report)
        self.last_seconds = now_seconds
        self.finished += 1
        self.updates += report.accepted if report.number > self.resumed else 0
        self.virtual_seconds += report.seconds


class PlainScreen(Screen[Progress]):
    """A line at the beginning, and one for each round.

    Args:
        out: Where they go.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._begun = False

    def show(self, progress: Progress) -> None:
        """Print what is new."""
        if not self._begun:
            self._begun = True
            print(opening_line(progress), file=self._out, flush=True)
            return
        print(round_line(progress, progress.last[-1]), file=self._out, flush=True)

    def tick(self, now_seconds: float) -> None:
        """Lines do not age."""


class LiveScreen:
    """A table that is drawn anew a few times a second.

    Args:
        console: A rich console on a terminal.
        progress: What is drawn, as it stands then.
    """

    def __init__(self, console: Console, progress: Progress) -> None:
        from rich.live import Live

        self._live = Live(console=console, auto_refresh=False)
        self._progress = progress

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, progress: Progress) -> None:
        """Wait for the next tick: rounds may be over faster than anybody can look."""

    def tick(self, now_seconds: float) -> None:
        """Draw how things stand."""
        self._live.update(Picture(self._progress, now_seconds), refresh=True)


class Picture:
    """A simulation as rich draws it.

    Args:
        progress: How far it has come.
        now_seconds: The time, by the clock of `Progress.began_seconds`.
    """

    def __init__(self, progress: Progress, now_seconds: float) -> None:
        self._progress = progress
        self._now_seconds = now_seconds

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it within the width that there is."""
        from rich.text import Text

        progress = self._progress
        if not progress.run:
            yield Text(f"reading the data, starting the engine ({progress.config.engine})", style="dim")
            return
        yield Text(opening_line(progress), style="bold", no_wrap=True, overflow="ellipsis")
        seconds = max(self._now_seconds - progress.began_seconds, 1e-9)
        begun = f"round {progress.finished} of {progress.config.rounds} "
        clock = f" {seconds:.0f} s, virtual {progress.virtual_seconds:,.0f} s, "
        clock += f"{progress.updates / seconds:,.0f} updates/s"
        cells = max(1, min(MOST_BAR_CELLS, options.max_width - len(begun) - len(clock)))
        share = progress.finished / progress.config.rounds
        yield Text(begun, no_wrap=True).append(bar(share, cells), "cyan").append(clock)
        if progress.last:
            yield ""
            yield _rounds(list(progress.last)[-max(1, console.size.height - 6) :])


def _rounds(rounds: list[RoundReport]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in (">round", ">workers", ">training loss", ">loss", "accuracy", ">virtual seconds", ">bytes"):
        table.add_column(head.removeprefix(">"), justify="right" if head[0] == ">" else "left", no_wrap=True)
    for one in rounds:
        table.add_row(
            str(one.number),
            f"{one.accepted:,} of {one.asked:,}",
            number(one.train_loss),
            number(one.loss),
            Text(f"{one.accuracy:.3f} ", style="bold").append(bar(one.accuracy, 10), "green"),
            f"{one.seconds:,.1f}",
            bytes_in_words(one.bytes),
        )
    return table


# --- in words -----------------------------------------------------------------------------------


def opening_line(progress: Progress) -> str:
    """Return what is simulated, in a line."""
    config = progress.config
    return (
        f"run {progress.run}: {config.rounds:,} rounds of {progress.workers:,} simulated workers, "
        f"{config.strategy}, {config.partition}, {progress.data}"
        f"{f', going on after round {progress.resumed:,}' if progress.resumed else ''}"
    )


def round_line(progress: Progress, one: RoundReport) -> str:
    """Return a round as one line, aligned with those before and after it."""
    rounds = progress.config.rounds
    return (
        f"round {one.number:>{len(str(rounds))}}/{rounds}  {one.accepted:,} of {one.asked:,} workers  "
        f"training loss {number(one.train_loss)}  accuracy {one.accuracy:.3f}  "
        f"{one.seconds:,.1f} virtual s  {bytes_in_words(one.bytes)}"
    )


def summary(progress: Progress, seconds: float, alone: Mapping[str, float], places: Mapping[str, str]) -> str:
    """Return what a finished simulation has brought, and where everything lies.

    Args:
        progress: At its end.
        seconds: How long the rounds took in truth, more than 0.
        alone: What workers reach alone, where they were compared.
        places: What lies where, and what to do next: label and text.
    """
    last = progress.last[-1]
    count = progress.finished
    rows = {"model SHA-256": last.model_sha256, **places}
    width = max(map(len, rows)) + 2
    return "\n".join(
        [
            f"Finished: {count:,} round{'' if count == 1 else 's'} of {progress.workers:,} simulated workers "
            f"in {seconds:.1f} s, {progress.virtual_seconds:,.0f} s of virtual time, {progress.data}.",
            f"{progress.updates:,} updates, {progress.updates / seconds:,.0f} a second.",
            "",
            *comparison("Accuracy on samples that nobody trained on", last.accuracy, alone),
            "",
            *(f"{label:<{width}}{text}" for label, text in rows.items()),
        ]
    )
