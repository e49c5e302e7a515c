"""`TensorBoardTracker`: a run as event files, in a folder that `tensorboard --logdir` shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from persistence.errors import MissingExtra
from persistence.history import RunHistory
from persistence.tracking import TrackingFailed, settings_of, steps_of, whole_rounds

# Up to which round the files go. Event files are only ever added to, so it has to be known.
POSITION = "tracked.json"

# Files that are open at once. Each has a thread in tensorboardX.
MAX_OPEN = 50


class TensorBoardTracker:
    """Writes FOLDER/RUN/federation, and FOLDER/RUN/worker-A for each worker; a step is a round.

    Args:
        folder: What TensorBoard is shown.

    Raises:
        MissingExtra: tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise MissingExtra("tensorboardX", extra="tracking") from error
        self._open = SummaryWriter
        self._folder = folder
        self._writers: dict[Path, Any] = {}

    @property
    def name(self) -> str:
        """What it is and where."""
        return f"TensorBoard in {self._folder}"

    def tell(self, history: RunHistory) -> None:
        """Write all rounds that are not in the files yet.

        Raises:
            TrackingFailed: They cannot be written.
        """
        folder = self._folder / quote(history.run.name, safe=" ")
        try:
            after = _read_position(folder / POSITION)
            last = self._write(folder, history, after)
            if last != after:
                (folder / POSITION).write_text(json.dumps({"round": last}))
        except OSError as error:
            why = error.strerror or error
            raise TrackingFailed(f"{self.name}: {why}; mend that, or name another folder") from error

    def close(self) -> None:
        """Close the files that are open."""
        while self._writers:
            _, writer = self._writers.popitem()
            writer.close()

    def _write(self, folder: Path, history: RunHistory, after: int) -> int:
        last = after
        try:
            for one in whole_rounds(history, after):
                for step in steps_of(one):
                    writer = self._writer(folder / _place(step.stream), step.round)
                    for tag, value in step.values.items():
                        writer.add_scalar(tag, value, step.round, walltime=step.at_unix)
                last = one.number
            if after == 0 < last:
                settings = _as_markdown(settings_of(history))
                writer = self._writer(folder / _place(""), last)
                writer.add_text("settings", settings, 0, history.run.created_unix)
            for writer in self._writers.values():
                writer.flush()
        finally:
            if history.run.status != "running":
                self.close()
        return last

    def _writer(self, place: Path, number: int) -> Any:
        """Return what writes into a folder; it stays open, so that a long run makes few files."""
        if place not in self._writers:
            if len(self._writers) == MAX_OPEN:
                self.close()
            # The name of a file has but the second: of one second there may be two.
            self._writers[place] = self._open(str(place), filename_suffix=f".from-round-{number}")
        return self._writers[place]


def _place(stream: str) -> str:
    return f"worker-{quote(stream, safe=' ')}" if stream else "federation"


def _read_position(path: Path) -> int:
    try:
        return int(json.loads(path.read_text())["round"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError) as error:
        raise TrackingFailed(
            f"{path}: it does not say where to go on; remove {path.parent}, and all is told anew"
        ) from error


def _as_markdown(settings: Mapping[str, str]) -> str:
    rows = "".join(f"| {name} | {value} |\n" for name, value in settings.items())
    return f"| setting | value |\n|---|---|\n{rows}"
