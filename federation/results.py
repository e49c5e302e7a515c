"""What a run leaves in its folder: the settings it began with, the model, the metrics, the picture."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from federation.config import InWorkspace
from federation.errors import SettingsError
from federation.exports import card_of, save_model_for_others
from federation.learning import save_params, writing_whole
from federation.settings import flag_of
from federation.workspace import RunFolder
from persistence import DatabaseError, RoundPersistence, RunRow
from persistence.history import RoundHistory, RunHistory, load_run

METRICS = (
    "round",
    "workers",
    "asked",
    "training_loss",
    "training_accuracy",
    "loss",
    "accuracy",
    "seconds",
    "bytes_in",
    "bytes_out",
    "model_sha256",
)


def write_settings(folder: RunFolder, settings: Mapping[str, Any]) -> None:
    """Write the settings of a run as resolved; `--config` reads them back."""
    import tomli_w

    with writing_whole(folder.settings) as file:
        file.write(b"# The settings of this run, as resolved. The same run again: --config this-file\n")
        tomli_w.dump(dict(settings), file)


def read_settings(folder: RunFolder) -> dict[str, Any]:
    """Return the settings that a run began with.

    Raises:
        SettingsError: There are none, or they are no TOML.
    """
    try:
        return tomllib.loads(folder.settings.read_text())
    except (OSError, ValueError) as error:  # ValueError: no TOML, or no text at all
        raise SettingsError(
            f"--resume {folder.run}: its settings cannot be read ({error}); start a new run"
        ) from error


def settings_to_resume(
    config: InWorkspace,
    wanted: str,
    runs: Sequence[RunRow],
    chosen: frozenset[str],
    *,
    free: frozenset[str],
    fresh: frozenset[str],
) -> tuple[dict[str, Any], RunFolder]:
    """Return the settings, as a table, and the folder of a run that goes on.

    Args:
        config: The settings of the present call.
        wanted: The name of the run, or "last".
        runs: Those that may be meant, the oldest first.
        chosen: Which settings the user has given in the present call.
        free: Which may be given anew; where they are not, the run goes on with its own.
        fresh: Which are always those of the present call.

    Raises:
        SettingsError: There is no such run, it has no settings, or one was given that would make it another.
    """
    names = [run.name for run in runs]
    name = names[-1] if wanted == "last" and names else wanted
    folder = RunFolder(config.workspace / "runs" / name)
    if name not in names or not folder.path.is_dir():
        latest = f"the latest is {names[-1]}" if names else "there is none yet"
        raise SettingsError(f"--resume {name}: no run of that name in {config.workspace}; {latest}")
    for given in sorted(chosen - free - fresh):
        raise SettingsError(
            f"{flag_of(given)}: a run goes on with the settings it began with; leave it out, or start anew"
        )
    anew = {one: getattr(config, one) for one in fresh | (free & chosen)}
    return {**read_settings(folder), **anew}, folder


def was_simulated(run: RunRow) -> bool:
    """Return whether a run of the record is a simulation's."""
    return run.settings.get("simulated") is True


def write_results(folder: RunFolder, database: Path, *, picture: bool) -> RunHistory:
    """Write what the record knows of a run into its folder. Blocking.

    Args:
        folder: Of the run, which has at least one committed round.
        database: The record.
        picture: Whether to draw it, too; the first picture of a process takes a second.

    Raises:
        DatabaseError: The record cannot be read.
        OSError: A file cannot be written.
    """
    history = load_run(database, folder.run)
    with writing_whole(folder.metrics) as file:
        file.write(metrics_csv(history).encode())
    if history.committed:
        with RoundPersistence(database, read_only=True) as record:
            weights = record.load_weights(history.run.id, history.committed[-1].number)
        save_params(folder.model, weights)
        card = card_of(history, history.committed[-1].number)
        save_model_for_others(folder.model_for_others, weights, card)
    if picture:
        from persistence.plot import plot  # matplotlib takes its time to import

        plot(history, folder.plot)
    return history


def why_unsaved(folder: RunFolder, error: DatabaseError | OSError) -> str:
    """Return in a line that the results of a run are not all in its folder, and what to do."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (
        f"the results could not all be written to {folder.path} ({why}); the record has them: make room, "
        "then look with bin/report"
    )


def metrics_csv(history: RunHistory) -> str:
    """Return the committed rounds of a run as CSV, with a line of heads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(METRICS)
    for one in history.committed:
        writer.writerow(_metrics_of(one))
    return text.getvalue()


def _metrics_of(one: RoundHistory) -> list[Any]:
    row = one.row
    return [
        one.number,
        " ".join(one.accepted),
        len(one.asked),
        row.train_loss,
        row.train_accuracy,
        one.loss,
        one.accuracy,
        f"{row.seconds:.6f}",
        one.bytes_in,
        one.bytes_out,
        row.model_sha256,
    ]
