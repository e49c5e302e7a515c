"""A run for people, as a table, and for programs, as JSON. The picture is in `persistence.plot`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from persistence.history import RoundHistory, RunHistory, WorkerPart

STATUS_STYLES = {
    "running": "cyan",
    "finished": "green",
    "failed": "bold red",
    "stopped": "yellow",
    "quorum lost": "bold red",
}


# --- for programs ---------------------------------------------------------------------------


def as_json(history: RunHistory) -> dict[str, Any]:
    """Return the run as an object that `json.dumps` writes: only finite numbers, nothing left out."""
    run = history.run
    return {
        "run": run.name,
        "status": run.status,
        "reason": run.reason,
        "created_unix": run.created_unix,
        "ended_unix": run.ended_unix,
        "seed": run.seed,
        "source": run.source,
        "synthetic": run.synthetic,
        "settings": dict(run.settings),
        "region": history.region,
        "rounds": [_round_as_json(one) for one in history.rounds],
        "alone": {
            worker: {"accuracy": one.accuracy, "loss": one.loss, "samples": one.samples}
            for worker, one in history.alone.items()
        },
        "events": [
            {
                "at_unix": one.at_unix,
                "source": one.source,
                "kind": one.kind,
                "round": one.round,
                "text": one.text,
            }
            for one in history.events
        ],
        "model_sha256": history.model_sha256,
    }


def summary_as_json(history: RunHistory) -> dict[str, Any]:
    """Return the run in a few words, as a list of runs has it."""
    run, scored = history.run, history.scored
    return {
        "run": run.name,
        "status": run.status,
        "reason": run.reason,
        "created_unix": run.created_unix,
        "ended_unix": run.ended_unix,
        "source": run.source,
        "synthetic": run.synthetic,
        "rounds": len(history.committed),
        "accuracy": scored.accuracy if scored else None,
        "model_sha256": history.model_sha256,
    }


def _round_as_json(one: RoundHistory) -> dict[str, Any]:
    return {
        "round": one.number,
        "status": one.row.status,
        "reason": one.row.reason,
        "accuracy": one.accuracy,
        "loss": one.loss,
        "samples": one.score.samples if one.score else None,
        "per_class": dict(one.score.per_class) if one.score else {},
        "confusion": [list(row) for row in one.score.confusion] if one.score else [],
        "train_accuracy": one.row.train_accuracy,
        "train_loss": one.row.train_loss,
        "asked": len(one.asked),
        "accepted": len(one.accepted),
        "workers": {worker: _part_as_json(part) for worker, part in one.workers.items()},
        "seconds": one.row.seconds,
        "started_unix": one.row.started_unix,
        "ended_unix": one.row.ended_unix,
        "bytes_in": one.bytes_in,
        "bytes_out": one.bytes_out,
        "model_sha256": one.row.model_sha256,
    }


def _part_as_json(part: WorkerPart) -> dict[str, Any]:
    update = part.update
    return {
        "outcome": update.outcome,
        "reason": update.reason,
        "samples": update.samples,
        "loss": update.loss,
        "accuracy": update.accuracy,
        "seconds": update.seconds,
        "bytes_in": part.bytes_in,
        "bytes_out": part.bytes_out,
        "aside": [{"outcome": one.outcome, "reason": one.reason} for one in part.aside],
    }


# --- for people -----------------------------------------------------------------------------


def as_table(history: RunHistory) -> RenderableType:
    """Return the run for a terminal of 80 columns: its rounds, its workers, and how it ended."""
    parts: list[RenderableType] = [_heading(history)]
    if history.rounds:  # a table brings an empty line above and below
        parts += [_rounds_table(history), _workers_table(history)]
    mishaps = list(_what_went_wrong(history))
    if mishaps:
        parts += [*mishaps, ""]
    return Group(*parts, _verdict(history))


def runs_as_table(histories: Iterable[RunHistory]) -> RenderableType:
    """Return one line a run, the latest last."""
    table = _table()
    table.add_column("run", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("data", overflow="fold")
    _add_numbers(table, "rounds", "accuracy")
    for history in histories:
        run, scored = history.run, history.scored
        table.add_row(
            Text(run.name),
            Text(run.status, STATUS_STYLES[run.status]),
            Text(describe_data(history).replace(" data", "")),
            str(len(history.committed)),
            _number(scored.accuracy if scored else None),
        )
    return table


def _heading(history: RunHistory) -> Text:
    run = history.run
    text = Text.assemble((run.name, "bold"), "  ", (run.status, STATUS_STYLES[run.status]))
    if run.reason:
        text.append(f": {run.reason}")
    text.append(f"\nbegan {_local_time(run.created_unix)}, {describe_data(history)}, seed {run.seed}")
    return text


def _rounds_table(history: RunHistory) -> Table:
    region = history.region or "?"
    table = _table()
    _add_numbers(
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
            "failed" if failed else _number(one.row.train_loss),
            _number(one.accuracy),
            _number(one.loss),
            f"{one.row.seconds:.2f}",
            _size(one.bytes_in + one.bytes_out),
            style="red" if failed else "",
        )
    return table


def _workers_table(history: RunHistory) -> Table:
    table = _table()
    table.add_column("worker", overflow="fold")
    _add_numbers(table, "took part", "samples", "train loss", "train accuracy", "seconds")
    if history.alone:
        _add_numbers(table, f"alone on {history.region}")
    for worker in history.workers:
        parts = [one.workers[worker] for one in history.rounds if worker in one.asked]
        accepted = [part.update for part in parts if part.accepted]
        last = accepted[-1] if accepted else None
        alone = history.alone.get(worker)
        cells: list[RenderableType] = [
            Text(worker),
            f"{len(accepted)} of {len(parts)}",
            "-" if last is None or last.samples is None else f"{last.samples:,}",
            _number(last.loss if last else None),
            _number(last.accuracy if last else None),
            _number(_mean([one.seconds for one in accepted if one.seconds is not None]), digits=2),
        ]
        table.add_row(*cells, *([_number(alone.accuracy if alone else None)] if history.alone else []))
    return table


def _what_went_wrong(history: RunHistory) -> Iterable[Text]:
    """Say once for each worker and kind of mishap when it was, and why the last time."""
    mishaps = [
        (update.worker, update.outcome, one.number, update.reason)
        for one in history.rounds
        for part in one.workers.values()
        for update in (part.update, *part.aside)
        if update.outcome != "accepted"
    ]
    mishaps.sort(key=lambda mishap: mishap[:3])
    for (worker, outcome), group in groupby(mishaps, key=lambda mishap: mishap[:2]):
        *_, (_, _, _, reason) = rows = list(group)
        numbers = sorted({number for _, _, number, _ in rows})
        text = Text.assemble((f"{worker} {outcome}", "yellow"), f" in {_in_words(numbers)}")
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
        text.append("no round has been scored yet" if history.rounds else "no round has ended yet")
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


def describe_data(history: RunHistory) -> str:
    """Return where the data is from, and that it was made up when it was."""
    source = history.run.source
    if not history.run.synthetic:
        return f"{source} data"
    return "synthetic data" if source == "synthetic" else f"{source} data (synthetic)"


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")


def _add_numbers(table: Table, *headings: str) -> None:
    for heading in headings:
        table.add_column(heading, justify="right")


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _size(size_bytes: float) -> str:
    """Return a number of bytes as people read it: 999 B, 41.2 kB, 3.1 MB."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 999.5:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def _local_time(unix: float) -> str:
    return datetime.fromtimestamp(unix).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _in_words(numbers: Sequence[int]) -> str:
    """Return "round 3", or "rounds 1, 4 to 7 and 9"."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    said = [
        str(first) if first == last else f"{first}{' to ' if last > first + 1 else ', '}{last}"
        for first, last in spans
    ]
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"round{'s' if len(numbers) > 1 else ''} {listed}"
