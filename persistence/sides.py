"""The sides of a run as tables: its workers, its regions, its classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from persistence.history import RunHistory
from persistence.parts import ASIDE
from persistence.rows import UPDATE_OUTCOMES, UpdateRow
from persistence.wording import add_numbers, new_table, number, size

NOT_SCORED = "no round has been scored yet"


def attendance_table(history: RunHistory) -> Table:
    """How often each worker took part, why it did not, how long it took, and what went to and fro."""
    stale = _has_stale(history)
    table = new_table()
    table.add_column("worker", overflow="fold")
    add_numbers(table, "took part")
    table.add_column("left out", no_wrap=True)
    add_numbers(table, "seconds", "slowest", *(["staleness"] if stale else []), "from it", "to it")
    for worker in sorted({worker for one in history.rounds for worker in one.workers}):
        parts = [one.workers[worker] for one in history.rounds if worker in one.workers]
        updates = [update for part in parts for update in part.updates]
        accepted = [update for update in updates if update.outcome == "accepted"]
        seconds = [update.seconds for update in accepted if update.seconds is not None]
        ages = [update.staleness for update in accepted if update.staleness is not None]
        table.add_row(
            Text(worker),
            f"{len(accepted)} of {sum(update.outcome not in ASIDE for update in updates)}",
            _left_out(updates),
            number(median(seconds) if seconds else None, digits=2),
            number(max(seconds, default=None), digits=2),
            *([number(mean(ages), digits=1)] if stale else []),
            size(sum(part.bytes_in for part in parts)),
            size(sum(part.bytes_out for part in parts)),
        )
    return table


def _left_out(updates: Sequence[UpdateRow]) -> str:
    """Return what else became of its updates, a line each: "1 refused", "2 late"."""
    count = Counter(update.outcome for update in updates)
    return "\n".join(f"{count[one]} {one}" for one in UPDATE_OUTCOMES if count[one] and one != "accepted")


def _has_stale(history: RunHistory) -> bool:
    return any(
        update.staleness for one in history.rounds for part in one.workers.values() for update in part.updates
    )


def regions_table(history: RunHistory) -> RenderableType:
    """The global model on every region where it was scored: first, best and latest."""
    if not history.regions:
        return Text(f"\n{NOT_SCORED}\n")
    table = new_table()
    table.add_column("global model on", overflow="fold")
    add_numbers(table, "samples", "first", "best", "latest", "loss")
    table.add_column("knows least", overflow="fold")
    for region in history.regions:
        scores = [one.by_region[region] for one in history.rounds if region in one.by_region]
        latest = scores[-1]
        table.add_row(
            Text(region),
            f"{latest.samples:,}",
            number(scores[0].accuracy),
            number(max(one.accuracy for one in scores)),
            number(latest.accuracy),
            number(latest.loss),
            Text(_least_known(latest.per_class)),
        )
    return table


def _least_known(per_class: Mapping[str, float | None]) -> str:
    known = {name: share for name, share in per_class.items() if share is not None}
    if not known:
        return "-"
    name = min(known, key=known.__getitem__)
    return f"{name} {known[name]:.2f}"


def classes_table(history: RunHistory) -> RenderableType:
    """The global model on every class of the region it is judged by, and what it takes the class for."""
    scores = [one.score for one in history.rounds if one.score is not None]
    if not scores:
        return Text(f"\n{NOT_SCORED}\n")
    latest = scores[-1]
    table = new_table()
    table.add_column(f"class on {history.region}", overflow="fold")
    add_numbers(table, "samples", "first", "best", "latest")
    table.add_column("most often taken for", overflow="fold")
    for place, name in enumerate(latest.per_class):
        shares = [share for one in scores if (share := one.per_class.get(name)) is not None]
        counts = latest.confusion[place] if latest.confusion else ()
        table.add_row(
            Text(name),
            f"{sum(counts):,}" if counts else "-",
            number(shares[0] if shares else None),
            number(max(shares, default=None)),
            number(latest.per_class[name]),
            Text(_taken_for(tuple(latest.per_class), place, counts)),
        )
    return table


def _taken_for(names: Sequence[str], place: int, counts: Sequence[int]) -> str:
    wrong = dict(zip(names, counts, strict=bool(counts)))
    wrong.pop(names[place], None)
    name = max(wrong, key=wrong.__getitem__, default="")
    return f"{name} ({wrong[name]:,})" if name and wrong[name] else "-"


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, None of nothing."""
    return sum(values) / len(values) if values else None
