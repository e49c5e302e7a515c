"""Numbers, sizes and names as people read them, in tables and in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich import box
from rich.table import Table

from persistence.history import RunHistory

STATUS_STYLES = {
    "running": "cyan",
    "finished": "green",
    "failed": "bold red",
    "stopped": "yellow",
    "quorum lost": "bold red",
}


def describe_data(history: RunHistory) -> str:
    """Return where the data is from, and that it was made up when it was."""
    source = history.run.source
    if not history.run.synthetic:
        return f"{source} data"
    return "synthetic data" if source == "synthetic" else f"{source} data (synthetic)"


def describe_learning(history: RunHistory) -> str:
    """Return how updates become a model: "fedavg", or "trimmed-mean (trim 0.2), buffered"."""
    run = history.run
    parameters = run.strategy_parameters.items()
    given = ", ".join(f"{name.replace('_', ' ')} {in_words(value)}" for name, value in parameters)
    strategy = f"{run.strategy} ({given})" if given else run.strategy
    return strategy if run.mode == "rounds" else f"{strategy}, {run.mode}"


def new_table(*, gap: int = 2) -> Table:
    """Return an empty table in the house's look, with so many columns of the terminal between its own."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap - 1, 0, 0), header_style="bold")


def add_numbers(table: Table, *headings: str) -> None:
    """Add columns of numbers."""
    for heading in headings:
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split()), default=0))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits behind the point, "-" where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def in_words(value: object) -> str:
    """Return the value of a setting: yes or no, or as Python writes it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def size(size_bytes: float) -> str:
    """Return a number of bytes as people read it: 999 B, 41.2 kB, 3.1 MB."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 999.5:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def local_time(unix: float) -> str:
    """Return a moment as the clock on the wall has it."""
    return datetime.fromtimestamp(unix).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def listed(names: Sequence[str]) -> str:
    """Return "A", "A and B" or "A, B and C"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def rounds_in_words(numbers: Sequence[int]) -> str:
    """Return "round 3", or "rounds 1, 4 to 7 and 9"."""
    spans: list[list[int]] = []
    for one in numbers:
        if spans and one == spans[-1][1] + 1:
            spans[-1][1] = one
        else:
            spans.append([one, one])
    said = [
        str(first) if first == last else f"{first}{' to ' if last > first + 1 else ', '}{last}"
        for first, last in spans
    ]
    return f"round{'s' if len(numbers) > 1 else ''} {listed(said)}"
