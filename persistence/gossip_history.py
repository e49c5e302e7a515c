"""A gossip run as it was: everything that its peers have kept of it, in one frozen object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from persistence.gossip import GossipPersistence
from persistence.gossip_rows import GossipEventRow, PeerMetricsRow, PeerStateRow
from persistence.history import chosen_run
from persistence.rows import RunRow
from persistence.table import Table, columns, page

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = columns(
    {
        "text": "run peer average_sha256",
        "whole": "round models known_peers live_peers bytes_in bytes_out",
        "number": "accuracy loss train_loss train_accuracy delta seconds at_unix",
    }
)
OF_ROUND = """run peer round accuracy loss train_loss train_accuracy delta models known_peers live_peers
    seconds bytes_in bytes_out at_unix average_sha256"""

# What a notebook shows of a run, of all that its table has.
SHOWN = ("peer", "round", "accuracy", "loss", "train_loss", "delta", "models")


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipHistory:
    """One run.

    Attributes:
        database: The file that it was read from.
        run: The run itself.
        states: How each peer stood when it last saved itself, by name.
        rounds: The rounds of each peer, by name.
        events: What happened, in the order in which it was kept.
    """

    database: Path
    run: RunRow
    states: Mapping[str, PeerStateRow]
    rounds: Mapping[str, tuple[PeerMetricsRow, ...]]
    events: tuple[GossipEventRow, ...]

    @property
    def peers(self) -> list[str]:
        """The names of the peers."""
        return sorted({*self.states, *self.rounds})

    @property
    def common_sha256(self) -> str | None:
        """The average that most peers hold; None before there is one."""
        held = Counter(one.average_sha256 for one in self.states.values() if one.average_sha256)
        return min(held, key=lambda sha: (-held[sha], sha), default=None)

    @property
    def converged(self) -> bool:
        """Whether all peers have trained all their rounds and hold the same average."""
        states = self.states.values()
        return (
            bool(states)
            and all(one.finished for one in states)
            and len({one.average_sha256 for one in states}) == 1
        )

    @property
    def accuracy(self) -> float | None:
        """Of the common average; None while nobody scores it."""
        common = self.common_sha256
        scores = [one.accuracy for one in self.states.values() if one.average_sha256 == common]
        return next((score for score in scores if score is not None), None)

    def table(self) -> Table:
        """Return a line for each round of each peer: for a file, for a notebook, for pandas."""
        return table_of_peers([self])

    def to_pandas(self) -> pd.DataFrame:
        """Return the same as a DataFrame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return self.table().to_pandas()

    def _repr_html_(self) -> str:
        run, made_up = self.run, " (made by a program)" if self.run.synthetic else ""
        words = f"{run.name} {run.status}; {run.source} data{made_up}, gossip of {len(self.peers)} peers"
        return page(f"{words}, seed {run.seed}", self.table().only(*SHOWN))


def table_of_peers(histories: Iterable[GossipHistory]) -> Table:
    """Return runs as one table, with a line for each round of each peer."""
    rows = (
        {"run": history.run.name, **asdict(row)}
        for history in histories
        for peer in history.peers
        for row in history.rounds.get(peer, ())
    )
    return Table.of((COLUMNS[name] for name in OF_ROUND.split()), rows)


def load_gossip_run(path: Path, name: str | None = None) -> GossipHistory:
    """Return a run by its name or number, or the latest one.

    Raises:
        UnknownRun: There is no such run; the text names those that are near.
        DatabaseError: The file cannot be read.
    """
    with GossipPersistence(path, read_only=True) as record:
        return _load(record, path, chosen_run(record.runs(), name, path))


def load_gossip_runs(path: Path) -> tuple[GossipHistory, ...]:
    """Return all runs of a file, the oldest first. Raises DatabaseError."""
    with GossipPersistence(path, read_only=True) as record:
        return tuple(_load(record, path, run) for run in record.runs())


def _load(record: GossipPersistence, path: Path, run: RunRow) -> GossipHistory:
    with record.database.snapshot():
        return GossipHistory(
            database=path,
            run=run,
            states=record.states(run.id),
            rounds=record.metrics(run.id),
            events=record.events(run.id),
        )
