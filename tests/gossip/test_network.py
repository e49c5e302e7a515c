"""A network as it is seen from outside: the view, and the lines and tables that are made of it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from gossip import GossipState
from gossip.network import MAX_NOTICES, NetworkView
from gossip.terminal import (
    HEADS,
    LiveNetwork,
    Picture,
    PlainNetwork,
    PlainTables,
    new_lines,
    summary,
    table_lines,
)

ONE, OTHER = "1" * 64, "2" * 64


def state(peer: str, **changes: object) -> GossipState:
    usual = GossipState(peer, 3, 0.5, 0.75, 3, 3, 3, 1000, 2_000_000, ONE, False)
    return replace(usual, **changes)  # type: ignore[arg-type]


def network(*states: GossipState, rounds: int | None = 3) -> NetworkView:
    view = NetworkView(run="toy", rounds=rounds, source="toy data")
    for each in states:
        view = view.hear(each, 1.0)
    return view


def test_a_network_has_converged_when_all_have_finished_with_one_average() -> None:
    done = [state(peer, finished=True) for peer in "abc"]

    assert network(*done).converged
    assert not network().converged
    assert not network(*done[:2], state("c")).converged
    assert not network(*done[:2], state("c", finished=True, average=OTHER)).converged
    assert not network(*done[:2], state("c", finished=True, models=2)).converged


def test_what_a_peer_said_before_its_process_ended_counts_no_more() -> None:
    view = network(*(state(peer, finished=True) for peer in "abc"))

    restarting = view.process_changed("b", "restarting", 2.0, "b has ended")

    assert not restarting.converged
    assert restarting.peers["b"].doing == "restarting"
    assert restarting.hear(state("b", finished=True), 3.0).converged


def test_a_peer_that_has_ended_for_good_is_not_waited_for() -> None:
    view = network(*(state(peer, finished=True) for peer in "abc"))

    assert view.process_changed("b", "ended", 2.0).converged


def test_notices_are_bounded_and_counted() -> None:
    view = network()
    for number in range(MAX_NOTICES + 5):
        view = view.notice(str(number), 0.0)

    assert len(view.notices) == MAX_NOTICES
    assert view.notice_count == MAX_NOTICES + 5


def test_a_line_is_printed_when_all_have_trained_a_round() -> None:
    view = network(state("a", round=1), state("b", round=0))
    assert new_lines(NetworkView(), view) == []

    after = view.hear(state("b", round=2, average=OTHER, delta=1.5, accuracy=0.5), 2.0)

    assert new_lines(view, after) == [
        "round 1/3  2 of 2 peers  accuracy on D 0.500 to 0.750  1 hold the same average, "
        "farthest from it 1.500  4 MB"
    ]
    assert new_lines(after, after) == []


def test_a_peer_of_which_nothing_is_known_holds_back_the_line() -> None:
    view = network(state("a", round=0)).process_changed("b", "starting", 0.0)

    assert new_lines(view, view.hear(state("a", round=1), 1.0)) == []


def test_plain_lines_tell_each_notice_once() -> None:
    out = io.StringIO()
    with PlainNetwork(out) as screen:
        view = network().notice("b has ended", 1.0)
        screen.show(view)
        screen.show(view.hear(state("a", round=0), 2.0))

    assert out.getvalue() == "b has ended\n"


def test_the_table_is_aligned_and_has_a_row_for_each_peer() -> None:
    lines = table_lines(
        network(state("a"), state("longer", round=12)).process_changed("c", "starting", 0), 2.0
    )

    assert [line.split()[0] for line in lines] == ["peer", "a", "c", "longer"]
    for head in ("round", "accuracy on D", "distance", "live", "in", "out", "average"):
        assert head in lines[0]
    assert lines[1].index("0.750") == lines[3].index("0.750")
    assert "3 of 3" in lines[1]
    assert "2 MB" in lines[1]
    assert "1.0 s" in lines[1]
    assert lines[2].split() == ["c", "starting"]


def test_plain_tables_come_with_time_as_soon_as_somebody_has_said_something() -> None:
    out = io.StringIO()
    with PlainTables(out) as screen:
        screen.tick(1.0)
        assert out.getvalue() == ""
        screen.show(network(state("a")))
        screen.tick(2.0)

    assert out.getvalue() == "\n".join([*table_lines(network(state("a")), 2.0), "", ""])


def test_the_live_table_shows_what_it_is_given() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=20, color_system=None)
    view = network(*(state(peer, finished=True) for peer in "ab")).notice("something happened", 0.5)
    with LiveNetwork(console) as screen:
        screen.show(view)
        screen.tick(65.0)
    drawn = console.file.getvalue()  # type: ignore[attr-defined]

    assert "all 2 peers hold the average 111111111111" in drawn
    assert "1:05" in drawn
    assert "something happened" in drawn
    assert "finished" in drawn


def test_the_picture_fits_into_a_small_terminal() -> None:
    view = network(*(state(f"peer-{number}") for number in range(50)))
    console = Console(file=io.StringIO(), width=60, height=12)
    lines = console.render_lines(Picture(view, 0.0))

    assert len(lines) <= 12
    assert all(sum(segment.cell_length for segment in line) <= 60 for line in lines)


@pytest.mark.parametrize(("width", "left_out"), [(110, []), (80, ["distance", "models", "out", "heard"])])
def test_a_narrow_terminal_has_fewer_columns_and_whole_ones(width: int, left_out: list[str]) -> None:
    view = network(*(state(peer) for peer in "abc"))
    console = Console(file=io.StringIO(), width=width, height=20, color_system=None)
    console.print(Picture(view, 0.0))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]

    assert "\u2026" not in drawn
    assert [head for head in HEADS if head not in drawn] == left_out


def test_the_summary_tells_what_gossip_has_brought() -> None:
    view = network(*(state(peer, finished=True, accuracy=0.8) for peer in "ab"))

    text = summary(view, 4.25, {"a": 0.2, "b": 0.4}, {"record": "here"})

    assert "Converged: 2 peers, 3 rounds each, in 4.2 s, toy data." in text
    assert "Gossip reaches 2.0 times what the best of them reaches alone." in text
    assert f"average SHA-256  {ONE}" in text
    assert "record           here" in text
