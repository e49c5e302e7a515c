"""The rules of buffered mode, one by one and as laws over any order of events."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from federation.buffer import Buffer
from federation.messages import ModelUpdate
from federation.round import Verdict
from federation.rules import Rules
from tests.federation.updates import request, update, weights


def filling(size: int = 2, workers: str = "ABC", **rules: Any) -> Buffer:
    buffer = Buffer(size, request(1), 0.0, Rules(**rules))
    for name in workers:
        buffer.ask(name, 0.0)
    return buffer


def test_a_buffer_is_full_with_so_many_updates_and_nobody_waits_for_the_rest() -> None:
    buffer = filling()
    buffer.take(update("C"), 1.0)
    assert buffer.over_at == math.inf
    buffer.take(update("A"), 2.0)

    assert buffer.over(2.0)
    batch = buffer.empty(2.0)

    assert batch.number == 1
    assert [one.worker_id for one in batch.updates] == ["A", "C"]
    assert [(one.worker_id, one.outcome, one.staleness) for one in batch.attendance] == [
        ("A", "accepted", 0),
        ("C", "accepted", 0),
    ]
    assert batch.seconds == 2.0


def test_an_update_from_an_older_version_counts_and_says_how_old_it_is() -> None:
    buffer = filling()
    for name in "AC":
        buffer.take(update(name), 1.0)
    buffer.empty(1.0)
    buffer.publish(request(2), 1.5)
    for name in buffer.idle("ABC"):
        buffer.ask(name, 1.5)

    assert buffer.take(update("B", number=1), 2.0).verdict is Verdict.ACCEPTED
    assert buffer.take(update("A", number=2), 3.0).verdict is Verdict.ACCEPTED
    batch = buffer.empty(3.0)

    assert [(one.worker_id, one.round) for one in batch.updates] == [("A", 2), ("B", 1)]
    assert [(one.worker_id, one.staleness) for one in batch.attendance] == [("A", 0), ("B", 1)]


def test_a_worker_trains_from_each_version_once() -> None:
    buffer = filling()
    buffer.take(update("A"), 1.0)

    assert buffer.idle("ABC") == ()
    assert buffer.take(update("A"), 2.0).verdict is Verdict.DUPLICATE
    buffer.publish(request(2), 3.0)
    assert buffer.idle("ABC") == ("A",)  # the others have something in hand


def test_what_comes_while_the_next_version_is_made_counts_for_the_one_after() -> None:
    buffer = filling()
    for name in "ABC":
        buffer.take(update(name), 1.0)

    first = buffer.empty(1.0)
    buffer.publish(request(2), 2.0)

    assert [one.worker_id for one in first.updates] == ["A", "B"]
    assert buffer.accepted == 1
    buffer.ask("A", 2.0)
    buffer.take(update("A", number=2), 3.0)
    assert [(one.worker_id, one.round) for one in buffer.empty(3.0).updates] == [("A", 2), ("C", 1)]


def test_a_lost_worker_is_expected_back_and_then_given_up() -> None:
    buffer = filling(workers="AB", return_seconds=5.0)
    buffer.take(update("A"), 1.0)
    buffer.lose("B", "connection closed", 2.0)

    assert buffer.over_at == 7.0
    batch = buffer.empty(7.0)

    assert [one.worker_id for one in batch.updates] == ["A"]
    assert [(one.worker_id, one.outcome, one.reason) for one in batch.attendance][1:] == [
        ("B", "lost", "connection closed")
    ]


def test_a_worker_that_comes_back_is_idle_and_asked_from_the_version_of_now() -> None:
    buffer = filling(return_seconds=5.0)
    buffer.lose("B", "connection closed", 2.0)

    assert not buffer.ask_again("B", 3.0)
    assert buffer.idle("ABC") == ("B",)


def test_a_worker_that_leaves_is_not_expected_back() -> None:
    buffer = filling(workers="AB", return_seconds=5.0)
    buffer.take(update("A"), 1.0)

    buffer.lose("B", "it was stopped", 2.0, for_good=True)

    assert buffer.over(2.0)


def test_a_buffer_is_emptied_at_the_deadline() -> None:
    buffer = filling(deadline_seconds=30.0)
    buffer.take(update("A"), 1.0)

    assert buffer.over_at == 30.0


@pytest.mark.parametrize(
    ("sent", "verdict", "words"),
    [
        (update("Z"), Verdict.STRANGER, "'Z' was not asked"),
        (update("A", number=3), Verdict.STALE, "from version 2, which it was not asked for"),
        (update("A", params=weights(np.nan)), Verdict.REFUSED, "NaN"),
        (update("A", loss=math.inf), Verdict.REFUSED, "a loss of inf"),
    ],
)
def test_what_is_not_sound_is_never_aggregated(sent: ModelUpdate, verdict: Verdict, words: str) -> None:
    buffer = filling(workers="A")

    judgement = buffer.take(sent, 1.0)

    assert judgement.verdict is verdict
    assert words in judgement.reason
    assert buffer.accepted == 0
    assert [(one.worker_id, one.outcome) for one in buffer.empty(2.0).attendance] == [
        (sent.worker_id, verdict)
    ]


def test_a_worker_that_cannot_train_is_asked_from_the_next_version() -> None:
    buffer = filling(workers="A")
    buffer.fail("A", "no memory", 1.0)

    assert buffer.over(1.0)  # there is nobody else
    assert buffer.empty(1.0).attendance[0].reason == "no memory"
    assert buffer.idle("A") == ()
    buffer.publish(request(2), 2.0)
    assert buffer.idle("A") == ("A",)


def test_a_buffer_needs_room_for_one() -> None:
    with pytest.raises(ValueError, match="at least 1 update"):
        Buffer(0, request(), 0.0, Rules())


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes in whatever order: every sound update that was asked for counts once, in one version."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sound: Counter[tuple[str, int]] = Counter()
        self.taken: Counter[tuple[str, int]] = Counter()
        self.asked: Counter[tuple[str, int]] = Counter()

    @initialize(size=st.integers(1, 3))
    def open(self, size: int) -> None:
        self.size = size
        self.buffer = Buffer(size, request(1), 0.0, Rules(return_seconds=2.0))

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    @rule(present=st.sets(st.sampled_from("ABC")))
    def the_idle_are_asked(self, present: set[str]) -> None:
        for name in self.buffer.idle(present):
            self.asked[name, self.buffer.ask(name, self.tick()).round] += 1

    @rule(worker=st.sampled_from("ABCZ"), back=st.integers(0, 2), value=st.sampled_from([1.0, np.nan]))
    def an_update_comes(self, worker: str, back: int, value: float) -> None:
        number = max(1, self.buffer.number - back)
        judgement = self.buffer.take(update(worker, number=number, params=weights(value)), self.tick())
        if judgement.verdict is Verdict.ACCEPTED:
            assert not np.isnan(value)
            self.sound[worker, number] += 1

    @rule(worker=st.sampled_from("ABCZ"), for_good=st.booleans())
    def one_is_lost(self, worker: str, for_good: bool) -> None:
        self.buffer.lose(worker, "gone", self.tick(), for_good=for_good)

    @rule(worker=st.sampled_from("ABCZ"))
    def one_comes_back(self, worker: str) -> None:
        self.buffer.ask_again(worker, self.tick())
        assert worker not in self.buffer.asked

    @rule(worker=st.sampled_from("ABCZ"))
    def one_cannot_train(self, worker: str) -> None:
        self.buffer.fail(worker, "no memory", self.tick())

    @rule()
    def it_is_emptied(self) -> None:
        full = self.buffer.accepted >= self.size
        batch = self.buffer.empty(self.tick())
        assert len(batch.updates) == self.size if full else len(batch.updates) < self.size
        for one in batch.updates:
            self.taken[one.worker_id, one.round] += 1
        accepted = [one for one in batch.attendance if one.outcome == "accepted"]
        assert [(one.worker_id, batch.number - (one.staleness or 0)) for one in accepted] == [
            (one.worker_id, one.round) for one in batch.updates
        ]
        self.buffer.publish(request(batch.number + 1), self.now)

    @invariant()
    def each_sound_update_that_was_asked_for_counts_once(self) -> None:
        assert all(count == 1 for count in self.sound.values())
        assert self.sound.keys() <= self.asked.keys()
        assert self.taken <= self.sound
        assert self.sound.total() - self.taken.total() == self.buffer.accepted


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
