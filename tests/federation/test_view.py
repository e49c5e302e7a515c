"""A view is what its events say, and the same events always give the same view."""

from __future__ import annotations

from functools import reduce as fold

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.events import (
    AloneEvaluated,
    Event,
    RoleJoined,
    RoleLost,
    RoundCommitted,
    RoundEvaluated,
    RoundStarted,
    RunBegun,
    RunEnded,
    RunPlanned,
    TrainingAlone,
    UpdateAccepted,
    UpdateLeftOut,
    WorkerJoined,
    WorkerLost,
)
from federation.view import MAX_NOTICES, ProcessChanged, RunView, reduce

BEGIN: list[Event] = [
    RunPlanned(0.0, "20261124-test", 2, 2),
    RoleJoined(0.1, "aggregator", "127.0.0.1:1"),
    RoleJoined(0.1, "evaluator", "127.0.0.1:2"),
    WorkerJoined(0.2, "B", 20, ""),
    WorkerJoined(0.3, "A", 10, ""),
    RunBegun(0.4, 1, "test", True),
]
ROUND: list[Event] = [
    RoundStarted(0.5, 1, ("A", "B")),
    UpdateAccepted(0.6, 1, "B", 0.5, 0.75, 100),
    UpdateAccepted(0.7, 1, "A", 0.25, 0.5, 100),
    RoundCommitted(0.8, 1, ("A", "B"), 2, 0.4, 0.6, 0.2, 400, "abc"),
    RoundEvaluated(0.9, 1, 0.7, 0.55),
]


def view_of(*events: Event | ProcessChanged) -> RunView:
    return fold(reduce, events, RunView())


def test_a_run_from_its_plan_to_a_finished_round() -> None:
    waiting = view_of(*BEGIN[:-1])
    assert (waiting.status, waiting.run, waiting.rounds_planned) == ("waiting", "20261124-test", 2)
    view = view_of(*BEGIN, *ROUND)

    assert list(view.workers) == ["A", "B"]
    assert view.workers["A"].bytes_received == 100
    assert (view.workers["B"].loss, view.workers["B"].accuracy) == (0.5, 0.75)
    (one,) = view.rounds
    assert (one.answered, one.train_loss, one.accuracy, one.seconds) == (("A", "B"), 0.4, 0.55, 0.2)
    assert view.finished_count == 1
    assert view.accuracy == 0.55
    assert view.synthetic
    assert not view.ended


def test_workers_pass_through_their_states() -> None:
    states: list[str] = []
    view = RunView()
    for event in [*BEGIN, *ROUND]:
        view = reduce(view, event)
        if "A" in view.workers and (not states or states[-1] != view.workers["A"].state):
            states.append(view.workers["A"].state)

    assert states == ["ready", "training", "answered"]


def test_a_round_that_is_scored_while_the_next_one_is_trained_is_over() -> None:
    view = view_of(*BEGIN, *ROUND[:-1], RoundStarted(0.85, 2, ("A", "B")), ROUND[-1])

    assert view.finished_count == 1
    assert view.rounds[0].accuracy == 0.55
    assert view.rounds[1].accuracy is None


@pytest.mark.parametrize("verdict", ["refused", "failed", "late"])
def test_an_update_that_is_left_out_is_seen_and_told(verdict: str) -> None:
    view = view_of(*BEGIN, ROUND[0], UpdateLeftOut(0.6, 1, "A", verdict, "because"))

    assert view.workers["A"].state == verdict
    assert "because" in view.notices[-1].text


def test_a_stranger_changes_no_worker() -> None:
    view = view_of(*BEGIN, ROUND[0], UpdateLeftOut(0.6, 1, "Z", "stranger", "not asked"))

    assert list(view.workers) == ["A", "B"]
    assert view.notice_count == 1


def test_a_lost_worker_is_named_and_so_is_how_long_it_is_expected_back() -> None:
    view = view_of(*BEGIN, ROUND[0], WorkerLost(0.6, "A", "link down", 10.0))
    assert view.workers["A"].state == "lost"
    assert view.notices[-1].text == "worker A is lost (link down); it is expected back for 10 s"

    view = reduce(view, WorkerJoined(0.8, "A", 10, ""))
    assert view.workers["A"].state == "ready"
    assert view.notices[-1].text == "worker A is back"


def test_a_worker_that_leaves_is_named_with_those_who_go_on() -> None:
    view = view_of(*BEGIN, ROUND[0], WorkerLost(0.6, "A", "it was stopped", 0.0))
    assert view.notices[-1].text == "worker A has left (it was stopped); the run goes on with B"

    view = reduce(view, WorkerLost(0.7, "B", "it was stopped", 0.0))
    assert view.notices[-1].text == "worker B has left (it was stopped); no worker is left"


def test_that_a_process_has_ended_says_more_than_a_broken_link() -> None:
    view = view_of(
        *BEGIN, ProcessChanged(at_seconds=0.5, role="A", state="ended", reason="it was ended by SIGKILL")
    )
    view = reduce(view, WorkerLost(0.6, "A", "link down", 10.0))

    assert view.workers["A"].state == "ended"
    assert [notice.text for notice in view.notices] == [
        "the process of worker A has ended: it was ended by SIGKILL",
        "worker A is lost; it is expected back for 10 s",
    ]


def test_a_service_that_is_lost_is_told() -> None:
    view = view_of(*BEGIN, RoleLost(0.5, "evaluator", "link down"))

    assert view.roles["evaluator"].state == "lost"
    assert view.notices[-1].text == "evaluator lost: link down"


def test_a_run_that_goes_on_counts_from_where_it_was() -> None:
    view = view_of(
        *BEGIN[:-1],
        RunBegun(0.4, 3, "test", False),
        RoundEvaluated(0.45, 2, 1.0, 0.1),  # the round before the stop, scored late
        RoundStarted(0.5, 3, ("A",)),
        RoundCommitted(0.8, 3, ("A",), 1, 0.4, 0.6, 0.2, 400, "abc"),
        RoundEvaluated(0.9, 3, 0.7, 0.5),
    )

    assert [one.number for one in view.rounds] == [3]
    assert (view.finished_count, view.accuracy) == (1, 0.5)
    assert view.notices[-1].text == "the run goes on with round 3"


def test_the_end_and_what_is_reached_alone() -> None:
    view = view_of(
        *BEGIN,
        *ROUND,
        TrainingAlone(1.0, ("A", "B")),
        AloneEvaluated(1.1, "A", 2.0, 0.25),
        RunEnded(1.2, "finished", "", "abc"),
    )

    assert view.alone == {"A": 0.25}
    assert view.workers["B"].state == "alone"
    assert (view.status, view.ended, view.model_sha256) == ("finished", True, "abc")


def test_notices_are_bounded_and_counted() -> None:
    view = view_of(*BEGIN)
    for number in range(MAX_NOTICES + 10):
        view = reduce(view, UpdateLeftOut(1.0, 1, "Z", "stranger", f"{number}"))

    assert len(view.notices) == MAX_NOTICES
    assert view.notice_count == MAX_NOTICES + 10
    assert view.notices[-1].text.endswith(f"{MAX_NOTICES + 9}")


@given(
    st.lists(
        st.sampled_from(
            [*BEGIN, *ROUND, WorkerLost(2.0, "A", "gone", 10.0), RunEnded(3.0, "failed", "why", "")]
        )
    )
)
def test_no_order_of_events_breaks_a_view(events: list[Event]) -> None:
    """An observer may miss the first ones; what it then sees may be poor, but it sees it."""
    view = view_of(*events)

    assert view == view_of(*events)
    assert (view.accuracy is None) == (view.finished_count == 0 or not view.rounds[0].accuracy)
