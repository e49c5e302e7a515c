"""A gossip network on the terminal: a live table, or plain lines where nobody looks at a moving picture.

Both are renderings of a `NetworkView` and nothing else. Progress goes to stderr, results to stdout.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from federation.terminal import (
    BAR_CELLS,
    Screen,
    age_in_words,
    bar,
    bytes_in_words,
    clock_in_words,
    number,
    styled,
    wrapped,
)
from gossip.network import NetworkView, PeerView

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

NOTICES_SHOWN = 4
SHORT_SHA = 12
STYLES = {"training": "cyan", "finished": "green", "ended": "red", "restarting": "red"}


# --- plain lines ----------------------------------------------------------------------------


class PlainNetwork(Screen[NetworkView]):
    """One line for each round that all peers have trained, and for each notice.

    Args:
        out: Where the lines go.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._before = NetworkView()

    def show(self, view: NetworkView) -> None:
        """Print what is new since the last view."""
        for line in new_lines(self._before, view):
            print(line, file=self._out, flush=True)
        self._before = view

    def tick(self, now_seconds: float) -> None:
        """Lines do not age."""


class PlainTables(Screen[NetworkView]):
    """A whole table at each tick, once somebody has said something.

    Args:
        out: Where they go.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._view = NetworkView()

    def show(self, view: NetworkView) -> None:
        """Keep the view for the next tick."""
        self._view = view

    def tick(self, now_seconds: float) -> None:
        """Print the view as it is now, and an empty line."""
        if self._view.peers:
            print(*table_lines(self._view, now_seconds), "", sep="\n", file=self._out, flush=True)


def new_lines(before: NetworkView, after: NetworkView) -> list[str]:
    """Return the lines that tell what happened between two views."""
    fresh = after.notice_count - before.notice_count
    lines = [notice.text for notice in after.notices[-fresh:]] if fresh else []
    everybody = all(peer.state is not None for peer in after.present)
    if everybody and after.least_round > before.least_round:
        lines.append(round_line(after))
    return lines


def round_line(view: NetworkView) -> str:
    """Return where the network stands as one line."""
    rounds = "" if view.rounds is None else f"/{view.rounds}"
    width = len(rounds) - 1 if rounds else 1
    states = view.states
    farthest = max((state.delta for state in states), default=0.0)
    same = sum(state.average == view.common_average for state in states)
    return (
        f"round {view.least_round:>{width}}{rounds}  {len(states)} of {len(view.peers)} peers  "
        f"accuracy on D {_span(view.accuracies)}  {same} hold the same average, farthest from it "
        f"{farthest:.3f}  {bytes_in_words(view.bytes)}"
    )


def table_lines(view: NetworkView, now_seconds: float) -> list[str]:
    """Return the table of a network as plain lines."""
    rows = [HEADS, *(_cells(view, peer, now_seconds) for peer in view.peers.values())]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADS))]
    return [
        "  ".join(
            cell.ljust(width) if place in LEFT else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


HEADS = (
    "peer",
    "state",
    "round",
    "accuracy on D",
    "distance",
    "models",
    "live",
    "in",
    "out",
    "heard",
    "average",
)
LEFT = {0, 1, 10}

# How wide the columns become, the first by the names: of values as they usually are, since a column that
# comes and goes with a digit is worse than one that is not there.
WIDTHS = (0, 10, 7, 13, 8, 6, 8, 7, 7, 6, 12)
BETWEEN = 2  # cells between two columns, as rich draws them

# What a narrow terminal leaves out, in this order, rather than a part of everything.
LEAST_NEEDED = ("heard", "distance", "models", "out", "in", "live")


def _cells(view: NetworkView, peer: PeerView, now_seconds: float) -> tuple[str, ...]:
    state = peer.state
    if state is None:
        return (peer.name, peer.doing, *[""] * (len(HEADS) - 2))
    rounds = "" if view.rounds is None else f"/{view.rounds}"
    return (
        peer.name,
        peer.doing,
        f"{state.round}{rounds}",
        number(state.accuracy, 3),
        f"{state.delta:.3f}",
        str(state.models),
        f"{state.live_peers} of {state.known_peers}",
        bytes_in_words(state.bytes_in),
        bytes_in_words(state.bytes_out),
        age_in_words(now_seconds - peer.heard_seconds),
        state.average[:SHORT_SHA],
    )


def _places(names: Iterable[str], width: int) -> list[int]:
    """Return which columns there is room for, in their order. Where that is too little, the rest is cut."""
    widths = [max(map(len, (*names, "peer"))), *WIDTHS[1:]]
    shown = list(range(len(HEADS)))
    for name in LEAST_NEEDED:
        if sum(widths[place] + BETWEEN for place in shown) - BETWEEN <= width:
            break
        shown.remove(HEADS.index(name))
    return shown


def _span(values: list[float]) -> str:
    if not values:
        return "-"
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


# --- the live table -------------------------------------------------------------------------


class LiveNetwork:
    """A table that is drawn anew as things happen. Its owner calls `tick` now and again.

    Args:
        console: A rich console on a terminal.
    """

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._picture = Picture(NetworkView(), 0.0)
        self._live = Live(self._picture, console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.vertical_overflow = "visible"
        self._live.stop()

    def show(self, view: NetworkView) -> None:
        """Keep the view for the next tick."""
        self._picture.view = view

    def tick(self, now_seconds: float) -> None:
        """Draw the view as it is now."""
        self._picture.now_seconds = now_seconds
        self._live.refresh()


class Picture:
    """A network as rich draws it.

    Attributes:
        view: What is drawn.
        now_seconds: The time that ages are counted to.
    """

    def __init__(self, view: NetworkView, now_seconds: float) -> None:
        self.view = view
        self.now_seconds = now_seconds

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it within the height that there is."""
        view = self.view
        notices = view.notices[-NOTICES_SHOWN:]
        lines = sum(math.ceil(max(len(notice.text) + 7, 1) / options.max_width) for notice in notices)
        yield styled(f"run {view.run}" if view.run else "gossip", "bold").append(
            f"  {view.source}" if view.source else ""
        )
        yield self._progress(options.max_width)
        yield self._table(max(3, console.size.height - 5 - lines), options.max_width)
        for notice in notices:
            clock = clock_in_words(notice.at_seconds - view.began_seconds)
            yield wrapped(f"{clock}  {notice.text}", "yellow")

    def _progress(self, width: int) -> Text:
        view = self.view
        states = view.states
        if not states:
            return styled("waiting for the first peer to say something", "dim")
        common = view.common_average
        same = sum(state.average == common for state in states)
        words = (
            f"all {same} peers hold the average {common[:SHORT_SHA]}"
            if view.converged
            else f"{same} of {len(view.peers)} peers hold the average {common[:SHORT_SHA] or '-'}"
        )
        clock = f" {clock_in_words(self.now_seconds - view.began_seconds)}  "
        text = styled(f"round {view.least_round}", "")
        if view.rounds:
            text.append(f" of {view.rounds} ")
            cells = min(30, width - text.cell_len - len(clock) - len(words))
            if cells > 3:
                text.append(bar(view.least_round / view.rounds, cells), "cyan")
        return text.append(clock).append(words, "green" if view.converged else "")

    def _table(self, most: int, width: int) -> Table:
        from rich.table import Table

        peers = list(self.view.peers.values())[:most]
        shown = _places((peer.name for peer in peers), width)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for place in shown:
            table.add_column(HEADS[place], justify="left" if place in LEFT else "right", no_wrap=True)
        common = self.view.common_average
        for peer in peers:
            cells: list[str | Text] = list(_cells(self.view, peer, self.now_seconds))
            cells[1] = styled(peer.doing, STYLES.get(peer.doing, "yellow"))
            if peer.state is not None:
                held = peer.state.average == common
                cells[-1] = styled(peer.state.average[:SHORT_SHA], "green" if held else "yellow")
                if peer.state.accuracy is not None:
                    cells[3] = styled(number(peer.state.accuracy, 3), "bold")
            table.add_row(*(cells[place] for place in shown))
        return table


# --- the end --------------------------------------------------------------------------------


def summary(view: NetworkView, seconds: float, alone: Mapping[str, float], places: Mapping[str, str]) -> str:
    """Return what a network that has converged has brought, and where everything lies.

    Args:
        view: The network at its end.
        seconds: How long it took.
        alone: The accuracy of each peer that trains alone, with the same budget; empty when nobody did.
        places: What lies where: label and text.
    """
    states = view.states
    lines = [
        f"Converged: {len(states)} peers, {view.least_round} rounds each, in {seconds:.1f} s, {view.source}."
    ]
    if view.accuracies:
        lines += ["", *_comparison(view.accuracies[0], alone)]
    lines += ["", *_per_peer(view)]
    rows = {"average SHA-256": view.common_average, **places}
    width = max(map(len, rows)) + 2
    lines += ["", *(f"{label:<{width}}{text}" for label, text in rows.items())]
    return "\n".join(lines)


def _comparison(accuracy: float, alone: Mapping[str, float]) -> list[str]:
    rows = {"the average, at every peer": accuracy}
    rows |= {f"peer {name} alone, same budget": share for name, share in sorted(alone.items())}
    width = max(map(len, rows)) + 2
    lines = ["Accuracy on region D, which nobody trained on:"]
    lines += [
        f"  {label:<{width}}{share:.3f}  {bar(share, BAR_CELLS)}".rstrip() for label, share in rows.items()
    ]
    best = max(alone.values(), default=0.0)
    if best > 0:
        lines.append(f"  Gossip reaches {accuracy / best:.1f} times what the best of them reaches alone.")
    return lines


def _per_peer(view: NetworkView) -> list[str]:
    rows = [("peer", "rounds", "models", "received", "sent", "average")]
    rows += [
        (
            state.peer,
            str(state.round),
            str(state.models),
            bytes_in_words(state.bytes_in),
            bytes_in_words(state.bytes_out),
            state.average[:SHORT_SHA],
        )
        for state in view.states
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(6)]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if place in (0, 5) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
