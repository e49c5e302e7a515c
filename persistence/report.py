"""A run for people: tables of its rounds, its workers, its regions and its classes.

`persistence.run_json` has it for programs, `persistence.plot` as a picture, and `persistence.comparison`
beside others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from persistence.history import RunHistory
from persistence.sides import NOT_SCORED, attendance_table, classes_table, mean, regions_table
from persistence.wording import (
    STATUS_STYLES,
    add_numbers,
    describe_data,
    describe_learning,
    local_time,
    new_table,
    number,
    rounds_in_words,
    size,
)


def as_table(history: RunHistory) -> RenderableType:
    """Return the run for a terminal of 80 columns: its rounds, its workers, and how it ended."""
    parts: list[RenderableType] = [_heading(history)]
    if history.rounds:  # a table brings an empty line above and below
        parts += [_rounds_table(history), _workers_table(history)]
    if len(history.regions) > 1:
        parts += [regions_table(history)]
    mishaps = list(_what_went_wrong(history))
    if mishaps:
        parts += [*mishaps, ""]
    return Group(*parts, _verdict(history))


def as_table_by(history: RunHistory, by: str) -> RenderableType:
    """Return one side of the run in more depth.

    Args:
        history: The run.
        by: "round", "worker": how often each took part, how long it took and what it sent; "region": the
            global model on each; "class": the global model on each class of the region it is judged by.
    """
    parts: list[RenderableType] = [_heading(history)]
    parts += [TABLES[by](history)] if history.rounds else []
    return Group(*parts, _verdict(history))


def runs_as_table(histories: Iterable[RunHistory]) -> RenderableType:
    """Return one line a run, the latest last; its number or its name asks for it. A table for each record."""
    by_record: dict[Path, list[RunHistory]] = {}
    for history in histories:
        by_record.setdefault(history.database, []).append(history)
    parts: list[RenderableType] = []
    for database, runs in by_record.items():
        parts += [Text(str(database), "bold")] if len(by_record) > 1 else []
        parts.append(_list(runs))
    return Group(*parts) if parts else Text("no run yet")


def _list(histories: Sequence[RunHistory]) -> Table:
    table = new_table(gap=1)
    add_numbers(table, "")
    table.add_column("run", overflow="fold", min_width=min(30, max(len(one.run.name) for one in histories)))
    table.add_column("status", no_wrap=True)
    table.add_column("data", overflow="fold")
    table.add_column("strategy", overflow="fold")
    add_numbers(table, "rounds", "accuracy")
    for history in histories:
        run, scored = history.run, history.scored
        table.add_row(
            str(run.id),
            Text(run.name),
            Text(run.status, STATUS_STYLES[run.status]),
            Text(describe_data(history).replace(" data", "")),
            Text(run.strategy),
            str(len(history.committed)),
            number(scored.accuracy if scored else None),
        )
    return table


def _heading(history: RunHistory) -> Text:
    run = history.run
    text = Text.assemble((run.name, "bold"), "  ", (run.status, STATUS_STYLES[run.status]))
    if run.reason:
        text.append(f": {run.reason}")
    began = f"began {local_time(run.created_unix)}, {describe_data(history)}"
    text.append(f"\n{began}, {describe_learning(history)}, seed {run.seed}")
    return text


def _rounds_table(history: RunHistory) -> Table:
    region = history.region or "?"
    table = new_table()
    add_numbers(
        table,
        "round",
        "workers",
        "train loss",
        f"accuracy on {region}",
        f"loss on {region}",
        "seconds",
        "traffic",
    )
    for one in history.rounds:
        failed = one.row.status == "failed"
        table.add_row(
            str(one.number),
            f"{len(one.accepted)} of {len(one.asked)}",
            "failed" if failed else number(one.row.train_loss),
            number(one.accuracy),
            number(one.loss),
            f"{one.row.seconds:.2f}",
            size(one.bytes_in + one.bytes_out),
            style="red" if failed else "",
        )
    return table


def _workers_table(history: RunHistory) -> Table:
    table = new_table()
    table.add_column("worker", overflow="fold")
    add_numbers(table, "took part", "samples", "train loss", "train accuracy", "seconds")
    if history.alone:
        add_numbers(table, f"alone on {history.region}")
    for worker in history.workers:
        parts = [one.workers[worker] for one in history.rounds if worker in one.asked]
        accepted = [part.update for part in parts if part.accepted]
        last = accepted[-1] if accepted else None
        alone = history.alone.get(worker)
        cells: list[RenderableType] = [
            Text(worker),
            f"{len(accepted)} of {len(parts)}",
            "-" if last is None or last.samples is None else f"{last.samples:,}",
            number(last.loss if last else None),
            number(last.accuracy if last else None),
            number(mean([one.seconds for one in accepted if one.seconds is not None]), digits=2),
        ]
        table.add_row(*cells, *([number(alone.accuracy if alone else None)] if history.alone else []))
    return table


def _what_went_wrong(history: RunHistory) -> Iterable[Text]:
    """Say once for each worker and kind of mishap when it was, and why the last time."""
    mishaps = [
        (update.worker, update.outcome, one.number, update.reason)
        for one in history.rounds
        for part in one.workers.values()
        for update in part.updates
        if update.outcome != "accepted"
    ]
    mishaps.sort(key=lambda mishap: mishap[:3])
    for (worker, outcome), group in groupby(mishaps, key=lambda mishap: mishap[:2]):
        *_, (_, _, _, reason) = rows = list(group)
        numbers = sorted({row[2] for row in rows})
        text = Text.assemble((f"{worker} {outcome}", "yellow"), f" in {rounds_in_words(numbers)}")
        if reason:
            text.append(f"{', the last time' if len(numbers) > 1 else ''}: {reason}")
        yield text
    for one in history.rounds:
        if one.row.reason:
            yield Text.assemble((f"round {one.number} failed", "bold red"), f": {one.row.reason}")


def _verdict(history: RunHistory) -> Text:
    scored, best = history.scored, history.best_alone
    text = Text()
    if scored is None or scored.accuracy is None:
        text.append(NOT_SCORED if history.rounds else "no round has ended yet")
    else:
        text.append(f"accuracy on {history.region} ")
        text.append(f"{scored.accuracy:.3f}", "bold")
        text.append(f" after round {scored.number}")
        if best is not None:
            text.append(f"; the best alone is {best.worker} with {best.accuracy:.3f}")
            if best.accuracy > 0:
                text.append(f", federated {scored.accuracy / best.accuracy:.2f} times that")
    if history.model_sha256:
        text.append(f"\nmodel {history.model_sha256}")
    return text


TABLES: Mapping[str, Callable[[RunHistory], RenderableType]] = {
    "round": _rounds_table,
    "worker": attendance_table,
    "region": regions_table,
    "class": classes_table,
}
