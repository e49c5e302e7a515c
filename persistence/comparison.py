"""Several runs side by side: the settings that differ, accuracy by round, and what came of each."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, islice, product
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from persistence.history import RunHistory
from persistence.run_json import as_json
from persistence.wording import STATUS_STYLES, describe_data, in_words, listed, new_table, number, size

# In columns of the terminal: what a row is, the least and the most for a run (a longer setting is folded),
# and the gap behind each.
LABEL_WIDTH, RUN_WIDTH, MOST_RUN_WIDTH, GAP = 20, 8, 16, 2


def letters(histories: Sequence[RunHistory]) -> list[str]:
    """Return a letter for each run, A to Z, then AA, AB and so on: their names are long."""
    return list(islice(_all_letters(), len(histories)))


def _all_letters() -> Iterator[str]:
    for length in count(1):
        yield from map("".join, product(string.ascii_uppercase, repeat=length))


def differences(histories: Sequence[RunHistory]) -> dict[str, list[Any]]:
    """Return the settings in which the runs are not alike, by name: what each run has, None for nothing."""
    told = [_settings(one) for one in histories]
    names = dict.fromkeys(name for settings in told for name in settings)
    rows = {name: [settings.get(name) for settings in told] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _settings(history: RunHistory) -> dict[str, Any]:
    run = history.run
    settings = {name: value for name, value in run.settings.items() if name != "run"}  # that differs always
    return {
        "data": run.source,
        "region": history.region or None,
        "mode": run.mode,
        "strategy": run.strategy,
        **run.strategy_parameters,
        **settings,
        "seed": run.seed,
    }


# --- for programs ---------------------------------------------------------------------------


def comparison_as_json(histories: Sequence[RunHistory]) -> dict[str, Any]:
    """Return the runs in full, with the settings that differ and which of them have the same model."""
    return {
        "differences": differences(histories),
        "same_model": [[histories[place].run.name for place in group] for group in same_models(histories)],
        "runs": [as_json(one) for one in histories],
    }


def same_models(histories: Sequence[RunHistory]) -> list[list[int]]:
    """Return the places of runs that ended with the same model, to the last bit, in groups of two or more."""
    groups: dict[str, list[int]] = {}
    for place, one in enumerate(histories):
        if one.model_sha256:
            groups.setdefault(one.model_sha256, []).append(place)
    return [group for group in groups.values() if len(group) > 1]


# --- for people -----------------------------------------------------------------------------


def comparison_as_table(
    histories: Sequence[RunHistory], by: str = "round", *, width: int = 80
) -> RenderableType:
    """Return the runs side by side.

    Args:
        histories: Two or more.
        by: What a row of the large table is: "round", "worker" (rounds in which it took part), "region" or
            "class" (accuracy of the final model).
        width: Of the terminal, in columns. Runs that do not fit beside each other go into a table below.
    """
    named = list(zip(letters(histories), histories, strict=True))
    differing = differences(histories)
    parts: list[RenderableType] = [_who_is_who(named)]
    run_width = _run_width(_as_text(differing))
    fitting = max(1, (width - LABEL_WIDTH - GAP) // (run_width + GAP))
    for first in range(0, len(named), fitting):
        block = named[first : first + fitting]
        shown = [one for _, one in block]
        settings = _as_text({name: values[first : first + fitting] for name, values in differing.items()})
        tables = [("setting", settings), (LABELS[by], ROWS[by](shown)), ("in the end", _ends(shown))]
        parts += [_side_by_side(label, block, rows, run_width) for label, rows in tables if rows]
    return Group(*parts, _models(named))


Named = Sequence[tuple[str, RunHistory]]
Rows = Mapping[str, Sequence[str]]


def _who_is_who(named: Named) -> Text:
    several = len({one.database for _, one in named}) > 1
    text = Text()
    for letter, one in named:
        where = f"  in {one.database}" if several else ""
        text.append(f"{letter}  ", "bold").append(one.run.name)
        text.append(f"  {one.run.status}", STATUS_STYLES[one.run.status])
        text.append(f"  {describe_data(one)}{where}\n")
    text.rstrip()
    return text


def _run_width(settings: Rows) -> int:
    longest = max((len(value) for values in settings.values() for value in values), default=0)
    return min(MOST_RUN_WIDTH, max(RUN_WIDTH, longest))


def _side_by_side(label: str, named: Named, rows: Rows, run_width: int) -> Table:
    table = new_table(gap=GAP)
    table.add_column(label, overflow="fold", width=LABEL_WIDTH)
    for letter, _ in named:
        table.add_column(letter, justify="right", overflow="fold", width=run_width)
    for name, values in rows.items():
        table.add_row(Text(name), *map(Text, values))
    return table


def _as_text(differing: Mapping[str, Sequence[Any]]) -> Rows:
    return {
        name.replace("_", " "): ["-" if value is None else in_words(value) for value in values]
        for name, values in differing.items()
    }


def _by_round(histories: Sequence[RunHistory]) -> Rows:
    by_number = [{one.number: one for one in history.rounds} for history in histories]
    numbers = sorted({number for rounds in by_number for number in rounds})
    return {
        str(one): [
            "failed" if one in rounds and rounds[one].row.status == "failed" else _accuracy(rounds.get(one))
            for rounds in by_number
        ]
        for one in numbers
    }


def _accuracy(scored: Any) -> str:
    return number(scored.accuracy if scored else None)


def _by_worker(histories: Sequence[RunHistory]) -> Rows:
    names = sorted({worker for history in histories for worker in history.workers})
    return {
        name: [
            f"{sum(name in one.accepted for one in history.rounds)} of "
            f"{sum(name in one.asked for one in history.rounds)}"
            for history in histories
        ]
        for name in names
    }


def _by_region(histories: Sequence[RunHistory]) -> Rows:
    names = dict.fromkeys(region for history in histories for region in history.regions)
    return {name: [number(_latest_on(history, name)) for history in histories] for name in names}


def _latest_on(history: RunHistory, region: str) -> float | None:
    scores = [one.by_region[region].accuracy for one in history.rounds if region in one.by_region]
    return scores[-1] if scores else None


def _by_class(histories: Sequence[RunHistory]) -> Rows:
    names = dict.fromkeys(name for history in histories for name in history.classes)
    latest = [history.scored.score if history.scored else None for history in histories]
    return {
        name: [number(score.per_class.get(name) if score else None) for score in latest] for name in names
    }


ROWS: Mapping[str, Callable[[Sequence[RunHistory]], Rows]] = {
    "round": _by_round,
    "worker": _by_worker,
    "region": _by_region,
    "class": _by_class,
}


LABELS = {
    "round": "accuracy by round",
    "worker": "took part",
    "region": "accuracy on region",
    "class": "accuracy of class",
}


def _ends(histories: Sequence[RunHistory]) -> Rows:
    alone = [history.best_alone for history in histories]
    rows = {
        "rounds": [str(len(history.committed)) for history in histories],
        "accuracy": [_accuracy(history.scored) for history in histories],
        "best accuracy": [_best(history) for history in histories],
        "loss": [number(history.scored.loss if history.scored else None) for history in histories],
        "best alone": [_accuracy(one) for one in alone] if any(alone) else [],
        "worst region": [_worst_region(history) for history in histories],
        "seconds": [number(history.seconds, digits=2) for history in histories],
        "from workers": [size(history.bytes_in) for history in histories],
        "to workers": [size(history.bytes_out) for history in histories],
        "model": [(history.model_sha256 or "-")[:8] for history in histories],
    }
    return {name: values for name, values in rows.items() if any(value != "-" for value in values)}


def _best(history: RunHistory) -> str:
    return number(max((one.accuracy for one in history.rounds if one.accuracy is not None), default=None))


def _worst_region(history: RunHistory) -> str:
    """Return the lowest accuracy on any region, where there is more than the one that all are judged by."""
    if len(history.regions) < 2:
        return "-"
    accuracy = {region: _latest_on(history, region) or 0.0 for region in history.regions}
    region = min(accuracy, key=accuracy.__getitem__)
    return f"{region} {accuracy[region]:.3f}"


def _models(named: Named) -> Text:
    """Return the fingerprints in full, each once, with the runs that have it."""
    groups: dict[str, list[str]] = {}
    for letter, one in named:
        if one.model_sha256:
            groups.setdefault(one.model_sha256, []).append(letter)
    text = Text()
    for model_sha256, names in groups.items():
        text.append(f"{listed(names)}: model {model_sha256}\n")
    if len(groups) == 1 and len(named) > 1 and len(next(iter(groups.values()))) == len(named):
        text.append("All of them have the same model, to the last bit.\n", "green")
    text.rstrip()
    return text
