"""A gossip run for people, as a table, and for programs, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from persistence.gossip_history import GossipHistory
from persistence.gossip_rows import PeerMetricsRow
from persistence.wording import STATUS_STYLES, add_numbers, local_time, new_table, number, size

SHORT_SHA = 12
SHORTEST_SHA = 8  # where a row has 80 columns for ten things
EVENTS_SHOWN = 10

# --- for programs ---------------------------------------------------------------------------


def gossip_as_json(history: GossipHistory) -> dict[str, Any]:
    """Return the run as an object that `json.dumps` writes: only finite numbers, nothing left out."""
    run = history.run
    return {
        **gossip_summary_as_json(history),
        "ended_unix": run.ended_unix,
        "seed": run.seed,
        "settings": dict(run.settings),
        "peers": {peer: _peer_as_json(history, peer) for peer in history.peers},
        "events": [asdict(event) for event in history.events],
    }


def gossip_summary_as_json(history: GossipHistory) -> dict[str, Any]:
    """Return the run in a few words, as a list of runs has it."""
    run = history.run
    return {
        "run": run.name,
        "mode": "gossip",
        "status": run.status,
        "reason": run.reason,
        "created_unix": run.created_unix,
        "source": run.source,
        "synthetic": run.synthetic,
        "peer_count": len(history.peers),
        "converged": history.converged,
        "accuracy": history.accuracy,
        "model_sha256": run.model_sha256 or history.common_sha256,
    }


def _peer_as_json(history: GossipHistory, peer: str) -> dict[str, Any]:
    state = history.states.get(peer)
    rounds = [
        {name: value for name, value in asdict(row).items() if name != "peer"}
        for row in history.rounds.get(peer, ())
    ]
    if state is None:
        return {"rounds": rounds}
    stands = {name: value for name, value in asdict(state).items() if name not in ("peer", "round")}
    return {"rounds_trained": state.round, **stands, "rounds": rounds}


# --- for people -----------------------------------------------------------------------------


def gossip_as_table(history: GossipHistory) -> RenderableType:
    """Return the run for a terminal of 80 columns: its peers, its rounds, and how it ended."""
    parts: list[RenderableType] = [_heading(history)]
    if history.states:
        parts.append(_peers_table(history))
    if history.rounds:
        parts.append(_rounds_table(history))
    told = [event for event in history.events if event.kind in ("dead", "left", "suspect")]
    parts += [
        Text.assemble((local_time(event.at_unix), "dim"), f"  {event.source}: {event.text}")
        for event in told[-EVENTS_SHOWN:]
    ]
    return Group(*parts, *([""] if told else []), _verdict(history))


def gossip_runs_as_table(histories: Iterable[GossipHistory]) -> RenderableType:
    """Return one line a run, the latest last."""
    table = new_table()
    table.add_column("run", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("data", overflow="fold")
    add_numbers(table, "peers", "rounds", "accuracy")
    for history in histories:
        run = history.run
        rounds = {state.round for state in history.states.values()}
        table.add_row(
            Text(run.name),
            Text(run.status, STATUS_STYLES[run.status]),
            Text(_data(history)),
            str(len(history.peers)),
            str(max(rounds, default=0)),
            number(history.accuracy),
        )
    return table


def describe_gossip_data(history: GossipHistory) -> str:
    """Return where the data is from, and that it was made up when it was."""
    return f"{_data(history)} data"


def _data(history: GossipHistory) -> str:
    made_up = history.run.synthetic and history.run.source != "synthetic"
    return f"{history.run.source}{' (synthetic)' if made_up else ''}"


def _heading(history: GossipHistory) -> Text:
    run = history.run
    text = Text.assemble((run.name, "bold"), "  gossip  ", (run.status, STATUS_STYLES[run.status]))
    if run.reason:
        text.append(f": {run.reason}")
    began = local_time(run.created_unix)
    return text.append(f"\nbegan {began}, {describe_gossip_data(history)}, seed {run.seed}")


def _peers_table(history: GossipHistory) -> Table:
    table = new_table(gap=1)
    table.add_column("peer", overflow="fold")
    add_numbers(table, "rounds", "samples", "accuracy", "distance", "models", "life", "received", "sent")
    table.add_column("average", no_wrap=True)
    for peer, state in history.states.items():
        table.add_row(
            Text(peer),
            str(state.round),
            f"{state.samples:,}",
            number(state.accuracy),
            number(state.delta),
            str(state.models),
            str(state.life),
            size(state.bytes_in),
            size(state.bytes_out),
            (state.average_sha256 or "-")[:SHORTEST_SHA],
        )
    return table


def _rounds_table(history: GossipHistory) -> Table:
    """Each peer's accuracy, round by round: on the evaluation region, of the average that it had then."""
    table = new_table()
    add_numbers(table, "round", *(f"accuracy of {peer}" for peer in history.peers), "training loss")
    last = max(row.round for rows in history.rounds.values() for row in rows)
    by_round = {peer: {row.round: row for row in rows} for peer, rows in history.rounds.items()}
    for place in range(1, last + 1):
        rows = [by_round.get(peer, {}).get(place) for peer in history.peers]
        table.add_row(
            str(place),
            *(number(row.accuracy if row else None) for row in rows),
            number(_mean_loss(rows)),
        )
    return table


def _mean_loss(rows: Sequence[PeerMetricsRow | None]) -> float | None:
    losses = [row.train_loss for row in rows if row is not None and row.train_loss is not None]
    return sum(losses) / len(losses) if losses else None


def _verdict(history: GossipHistory) -> Text:
    text = Text()
    common = history.common_sha256
    if common is None:
        return text.append("no peer has an average yet")
    holders = sum(state.average_sha256 == common for state in history.states.values())
    if history.converged:
        text.append(f"converged: all {holders} peers hold the same average")
    else:
        text.append(f"not converged: {holders} of {len(history.states)} peers hold the same average")
    if history.accuracy is not None:
        text.append(", accuracy ")
        text.append(number(history.accuracy), "bold")
    return text.append(f"\nmodel {common}")
