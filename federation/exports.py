"""`export`: the model of a run as a file for other tools, with what is to be known of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from federation.errors import SettingsError
from federation.learning import Params, load_params, save_params
from federation.learning.model_files import save_onnx, save_safetensors
from persistence import RoundPersistence
from persistence.history import RoundHistory, RunHistory, load_run
from trioactor.version import VERSION

FORMS = (".npz", ".onnx", ".safetensors")


def card_of(history: RunHistory, number: int) -> dict[str, Any]:
    """Return what is to be known of the model after a round: for `config.json`, and for people.

    Args:
        history: The run.
        number: Of the round, a committed one.
    """
    run = history.run
    (one,) = (one for one in history.committed if one.number == number)
    return {
        "model": run.settings.get("model", "simple"),
        "class_names": list(history.classes),
        "source": run.source,
        "synthetic": run.synthetic,
        "run": run.name,
        "mode": run.mode,
        "strategy": run.strategy,
        "strategy_parameters": dict(run.strategy_parameters),
        "seed": run.seed,
        "round": number,
        "region": history.region,
        "accuracy": one.accuracy,
        "loss": one.loss,
        "trioactor": VERSION,
    }


def save_model_for_others(path: Path, params: Params, card: Mapping[str, Any]) -> None:
    """Write a model as safetensors and `config.json` where the package for it is installed; else nothing."""
    if importlib.util.find_spec("safetensors") is not None:
        save_safetensors(path, params, card)


def export(database: Path, run: str | None, number: int | None, out: Path) -> str:
    """Write a model into a file, and return what it is, in words.

    Args:
        database: The record.
        run: The run by its name or number, or an .npz file of a model; None for the latest run.
        number: After which round; None for the last one.
        out: The file. Its ending says the form, one of `FORMS`.

    Raises:
        SettingsError: There is no such form or round, or no model yet.
        UnknownRun: There is no such run.
        DatabaseError: The record cannot be read.
        LearningError: The model does not go into that form, the package for it is missing, or an .npz file
            holds none.
        OSError: The file cannot be written.
    """
    if out.suffix not in FORMS:
        raise SettingsError(f"--out {out}: the ending says the form; use one of {', '.join(FORMS)}")
    if run is not None and run.endswith(".npz"):
        params, card = _of_file(Path(run))
        words = f"the model of {run}"
    else:
        params, card = _of_record(load_run(database, run), number)
        words = f"the model of run {card['run']} after round {card['round']}"
    WRITERS[out.suffix](out, params, card)
    return words


def _of_file(path: Path) -> tuple[Params, dict[str, Any]]:
    return load_params(path), {"file": str(path)}


def _of_record(history: RunHistory, number: int | None) -> tuple[Params, dict[str, Any]]:
    chosen = _round(history, number)
    with RoundPersistence(history.database, read_only=True) as record:
        params = record.load_weights(history.run.id, chosen.number)
    return params, card_of(history, chosen.number)


def _round(history: RunHistory, number: int | None) -> RoundHistory:
    committed = history.committed
    if not committed:
        raise SettingsError(f"run {history.run.name} has no model yet: no round of it is committed")
    if number is None:
        return committed[-1]
    for one in committed:
        if one.number == number:
            return one
    raise SettingsError(
        f"--round {number}: run {history.run.name} has models after rounds {committed[0].number} to "
        f"{committed[-1].number}"
    )


def _as_onnx(out: Path, params: Params, card: Mapping[str, Any]) -> None:
    save_onnx(out, params, card.get("class_names", ()))


WRITERS: Mapping[str, Callable[[Path, Params, Mapping[str, Any]], None]] = {
    ".npz": lambda out, params, _card: save_params(out, params),
    ".onnx": _as_onnx,
    ".safetensors": save_safetensors,
}
