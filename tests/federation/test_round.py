"""The rules of a round, one by one and as laws over any order of events."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from federation.learning import Params
from federation.messages import Attendance, ModelUpdate
from federation.round import MAX_NOTES, Round, Verdict, bytes_of
from federation.rules import Rules
from tests.federation.updates import request, update, weights

ONE_MODEL_BYTES = (3 * 2 + 2) * 4


def opened(*workers: str) -> Round:
    return Round(request(), workers or ("A", "B"), now=10.0)


def fate(of: Round, worker_id: str) -> Attendance:
    return next(one for one in of.attendance(99.0) if one.worker_id == worker_id)


def test_a_round_is_complete_when_everyone_has_answered() -> None:
    one = opened("A", "B")

    one.take(update("B"), 11.0)
    assert one.waiting == ("A",)
    one.take(update("A"), 12.0)

    assert one.over(12.0)
    assert [accepted.worker_id for accepted in one.updates] == ["A", "B"]


def test_a_round_needs_someone_to_ask() -> None:
    with pytest.raises(ValueError, match="without workers"):
        Round(request(), (), now=0.0)


def test_a_lost_worker_is_not_waited_for() -> None:
    one = opened("A", "B")
    one.take(update("A"), 11.0)

    one.lose("B", "connection closed", 12.0)

    assert one.over(12.0)
    assert fate(one, "B").outcome == "lost"
    assert fate(one, "B").reason == "connection closed"
    assert fate(one, "B").seconds == 2.0


def test_a_worker_that_cannot_train_is_not_waited_for() -> None:
    one = opened("A")

    one.fail("A", "training left the finite numbers", 11.0)

    assert one.over(11.0)
    assert not one.succeeded
    assert one.updates == ()
    assert fate(one, "A").outcome == "failed"


def test_a_worker_that_comes_back_is_asked_again_while_the_round_is_open() -> None:
    one = opened("A", "B")
    one.lose("B", "connection closed", 12.0)

    assert one.ask_again("B", 13.0)
    assert one.waiting == ("A", "B")
    one.take(update("B"), 15.0)

    assert fate(one, "B").outcome == "accepted"
    assert fate(one, "B").seconds == 2.0  # from the second question
    assert fate(one, "B").bytes_sent == 2 * ONE_MODEL_BYTES


def test_a_worker_whose_loss_nobody_noticed_is_asked_again() -> None:
    one = opened("A")

    assert one.ask_again("A", 11.0)


@pytest.mark.parametrize("worker_id", ["A", "C"])
def test_a_worker_that_has_answered_or_was_not_asked_is_not_asked_again(worker_id: str) -> None:
    one = opened("A", "B")
    one.take(update("A"), 11.0)

    assert not one.ask_again(worker_id, 12.0)


def test_nobody_is_asked_again_when_the_round_is_closed() -> None:
    one = opened("A")
    one.lose("A", "gone", 11.0)
    one.close(12.0)

    assert not one.ask_again("A", 13.0)


def test_an_update_of_a_lost_worker_still_counts_while_the_round_is_open() -> None:
    one = opened("A", "B")
    one.lose("A", "gone", 11.0)

    assert one.take(update("A"), 12.0).verdict is Verdict.ACCEPTED


def test_the_first_update_of_a_worker_counts() -> None:
    one = opened("A")
    one.take(update("A", params=weights(1.0)), 11.0)

    judgement = one.take(update("A", params=weights(2.0)), 12.0)

    assert judgement.verdict is Verdict.DUPLICATE
    assert one.updates[0].weights["b"][0] == 1.0


def test_an_update_of_another_round_is_stale_and_its_worker_still_waited_for() -> None:
    one = Round(request(2), ["A"], now=0.0)

    judgement = one.take(update("A", number=1), 1.0)

    assert judgement.verdict is Verdict.STALE
    assert judgement.reason == "for round 1, while round 2 is open"
    assert one.waiting == ("A",)


def test_a_stranger_has_no_say() -> None:
    judgement = opened("A").take(update("Z"), 11.0)

    assert judgement.verdict is Verdict.STRANGER
    assert "'Z' was not asked" in judgement.reason


def test_an_update_after_the_end_is_late() -> None:
    one = opened("A", "B")
    one.take(update("A"), 11.0)
    one.close(12.0)

    judgement = one.take(update("B"), 14.5)

    assert judgement.verdict is Verdict.LATE
    assert judgement.reason == "2.5 s after the round was closed"
    assert [accepted.worker_id for accepted in one.updates] == ["A"]
    assert fate(one, "B").outcome == "late"


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"W": weights()["W"]}, "named W, the model's are W, b"),
        ({**weights(), "b": np.zeros(3, np.float32)}, r"'b' has shape \(3,\), the model's has \(2,\)"),
        ({**weights(), "b": np.zeros(2)}, "'b' is float64, it must be an array of float32"),
        ({**weights(), "b": np.array([0, np.nan], np.float32)}, "'b' holds NaN or infinity in 1 of 2 values"),
        ({**weights(), "b": np.array([0, np.inf], np.float32)}, "'b' holds NaN or infinity"),
    ],
)
def test_an_unsound_update_is_refused_with_its_reason(params: Params, reason: str) -> None:
    one = opened("A")

    judgement = one.take(update("A", params=params), 11.0)

    assert judgement.verdict is Verdict.REFUSED
    assert re.search(reason, judgement.reason)
    assert one.over(11.0)
    assert one.updates == ()


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({"loss": 1.0}, "metrics without accuracy"),
        ({}, "metrics without accuracy and loss"),
        ({"loss": float("nan"), "accuracy": 0.5}, "a loss of nan"),
        ({"loss": 1.0, "accuracy": 1.5}, "an accuracy of 1.5"),
    ],
)
def test_an_update_without_sound_metrics_is_refused(metrics: dict[str, float], reason: str) -> None:
    one = opened("A")
    sound = update("A")

    judgement = one.take(ModelUpdate(1, "A", sound.weights, 10, metrics), 11.0)

    assert judgement.verdict is Verdict.REFUSED
    assert reason in judgement.reason


def test_a_refused_worker_has_no_second_try_in_the_round() -> None:
    one = opened("A", "B")
    one.take(update("A", loss=float("inf")), 11.0)

    assert one.take(update("A"), 12.0).verdict is Verdict.DUPLICATE


def test_of_a_refused_update_the_record_has_its_size_and_no_metrics() -> None:
    one = opened("A")
    refused = update("A", loss=float("inf"))
    one.take(refused, 11.0)

    (told,) = one.attendance(12.0)

    assert (told.num_samples, told.bytes_received) == (10, bytes_of(refused.weights))
    assert (told.loss, told.accuracy, told.train_seconds, told.staleness) == (None,) * 4


def test_what_nobody_asked_for_is_noted_beside_the_parts() -> None:
    one = opened("A")
    one.take(update("Z"), 11.0)
    one.take(update("A"), 12.0)
    one.take(update("A"), 13.0)

    outcomes = [(note.worker_id, note.outcome) for note in one.attendance(14.0)]

    assert outcomes == [("A", "accepted"), ("Z", "stranger"), ("A", "duplicate")]


def test_a_flood_of_strangers_does_not_fill_the_memory() -> None:
    one = opened("A")
    for number in range(MAX_NOTES + 50):
        one.take(update(f"stranger-{number}"), 11.0)

    assert len(one.attendance(12.0)) == 1 + MAX_NOTES


def test_attendance_tells_what_each_worker_sent_and_got() -> None:
    one = opened("A", "B")
    one.take(update("A", samples=7, loss=0.5, accuracy=0.75), 13.0)

    a, b = one.attendance(15.0)

    assert (a.num_samples, a.loss, a.accuracy, a.seconds) == (7, 0.5, 0.75, 3.0)
    assert a.bytes_sent == a.bytes_received == bytes_of(weights()) == ONE_MODEL_BYTES
    assert (b.outcome, b.num_samples, b.loss, b.seconds, b.bytes_received) == ("asked", None, None, 5.0, 0)


def test_seconds_stop_when_the_round_is_closed() -> None:
    one = opened("A")

    assert one.seconds(12.0) == 2.0
    one.close(13.0)
    assert one.seconds(99.0) == 3.0


# --- when a round is over -------------------------------------------------------------------


def ruled(workers: str, **rules: Any) -> Round:
    return Round(request(), workers, now=10.0, rules=Rules(**rules))


def test_a_lost_worker_is_expected_back_for_a_while() -> None:
    one = ruled("AB", return_seconds=5.0)
    one.take(update("A"), 11.0)
    one.lose("B", "connection closed", 12.0)

    assert not one.over(16.9)
    assert one.over_at == 17.0
    assert one.over(17.0)
    assert one.succeeded


def test_a_worker_that_leaves_is_not_expected_back() -> None:
    one = ruled("AB", return_seconds=5.0)
    one.take(update("A"), 11.0)

    one.lose("B", "it was stopped", 12.0, for_good=True)

    assert one.over(12.0)


def test_a_worker_that_leaves_after_it_was_lost_is_no_longer_expected() -> None:
    one = ruled("A", return_seconds=5.0)
    one.lose("A", "connection closed", 11.0)

    one.lose("A", "it was stopped", 12.0, for_good=True)

    assert one.over(12.0)
    assert fate(one, "A").reason == "it was stopped"


def test_a_worker_that_is_away_when_the_round_begins_is_waited_for_and_asked_when_it_comes() -> None:
    one = Round(request(), "AB", 10.0, Rules(return_seconds=5.0), away={"B": 13.0})
    assert one.waiting == ("A",)
    one.take(update("A"), 11.0)
    assert one.over_at == 13.0

    assert one.ask_again("B", 12.0)
    one.take(update("B"), 14.0)

    assert one.over(14.0)
    assert [accepted.worker_id for accepted in one.updates] == ["A", "B"]
    assert fate(one, "B").bytes_sent == ONE_MODEL_BYTES  # asked once


def test_a_round_with_a_quorum_waits_a_quarter_longer_for_the_others() -> None:
    one = ruled("ABC", quorum=2)
    one.take(update("A"), 11.0)
    assert one.over_at == math.inf
    one.take(update("C"), 14.0)

    assert one.over_at == 15.0
    one.take(update("B"), 14.5)
    assert one.over(14.5)


def test_the_grace_can_be_given_in_seconds() -> None:
    one = ruled("ABC", quorum=2, grace_seconds=0.5)
    for name in "AB":
        one.take(update(name), 14.0)

    assert one.over_at == 14.5


def test_refused_updates_make_no_quorum() -> None:
    one = ruled("ABC", quorum=2)
    one.take(update("A", loss=float("nan")), 11.0)
    one.take(update("B"), 12.0)

    assert one.over_at == math.inf


def test_a_round_is_over_at_its_deadline_whoever_is_missing() -> None:
    one = ruled("AB", deadline_seconds=30.0)
    one.take(update("A"), 11.0)

    assert one.over_at == 40.0
    one.close(40.0)
    assert one.succeeded
    assert fate(one, "B").outcome == "late"


def test_a_round_without_its_quorum_has_not_succeeded() -> None:
    one = ruled("ABC", quorum=2, needed=2, deadline_seconds=30.0)
    one.take(update("A"), 11.0)
    one.close(40.0)

    assert not one.succeeded


@pytest.mark.parametrize(
    ("rules", "words"),
    [({"needed": 0}, "at least 1 sound answer"), ({"quorum": 1, "needed": 2}, "fewer than the 2")],
)
def test_rules_that_contradict_themselves_are_refused(rules: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rules(**rules)


WORKERS = ["A", "B", "C", "Z"]  # Z is never asked


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes in whatever order, these hold after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.first_sound: dict[str, ModelUpdate] = {}
        self.answered: set[str] = set()
        self.closed = False

    @initialize(
        asked=st.sets(st.sampled_from("ABC"), min_size=1),
        quorum=st.none() | st.integers(1, 3),
        grace=st.none() | st.floats(0, 5),
        deadline=st.none() | st.floats(0.5, 20),
        returning=st.floats(0, 5),
        away=st.sets(st.sampled_from("ABC")),
    )
    def open(
        self,
        asked: set[str],
        quorum: int | None,
        grace: float | None,
        deadline: float | None,
        returning: float,
        away: set[str],
    ) -> None:
        self.asked = asked
        self.decided = Rules(
            quorum=quorum,
            needed=quorum or 1,
            grace_seconds=grace,
            deadline_seconds=deadline,
            return_seconds=returning,
        )
        self.round = Round(request(2), asked, self.now, self.decided, dict.fromkeys(away & asked, returning))
        self.expected = dict.fromkeys(away & asked, returning)  # until when, of who is lost
        self.quorum_at: float | None = None

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    @rule(worker=st.sampled_from(WORKERS), number=st.integers(1, 3), value=st.sampled_from([1.0, np.nan]))
    def an_update_comes(self, worker: str, number: int, value: float) -> None:
        sent = update(worker, number=number, params=weights(value))
        judgement = self.round.take(sent, self.tick())

        counts = number == 2 and worker in self.asked and worker not in self.answered and not self.closed
        sound = not np.isnan(value)
        assert (judgement.verdict is Verdict.ACCEPTED) == (counts and sound)
        assert (judgement.verdict is Verdict.REFUSED) == (counts and not sound)
        assert (judgement.reason == "") == (judgement.verdict is Verdict.ACCEPTED)
        if counts:
            self.answered.add(worker)
            self.expected.pop(worker, None)
            if sound:
                self.first_sound[worker] = sent
                if len(self.first_sound) == self.decided.quorum:
                    self.quorum_at = self.now

    @rule(worker=st.sampled_from(WORKERS), for_good=st.booleans())
    def one_is_lost(self, worker: str, for_good: bool) -> None:
        self.round.lose(worker, "gone", self.tick(), for_good=for_good)
        if worker in self.asked and worker not in self.answered and not self.closed:
            self.expected[worker] = -math.inf if for_good else self.now + self.decided.return_seconds

    @rule(worker=st.sampled_from(WORKERS))
    def one_cannot_train(self, worker: str) -> None:
        if worker in self.round.waiting:
            self.answered.add(worker)
        self.round.fail(worker, "no memory", self.tick())

    @rule(worker=st.sampled_from(WORKERS))
    def one_comes_back(self, worker: str) -> None:
        asked_again = self.round.ask_again(worker, self.tick())
        open_to_it = worker in self.asked and worker not in self.answered and not self.closed
        assert asked_again == open_to_it
        assert not asked_again or worker in self.round.waiting
        if asked_again:
            self.expected.pop(worker, None)

    @rule()
    def it_is_closed(self) -> None:
        self.round.close(self.tick())
        self.closed = True

    @invariant()
    def the_average_is_of_the_first_sound_answers_in_order_of_ids(self) -> None:
        assert list(self.round.updates) == [self.first_sound[name] for name in sorted(self.first_sound)]

    @invariant()
    def everyone_asked_has_exactly_one_outcome(self) -> None:
        parts = [one for one in self.round.attendance(self.now) if one.seconds is not None]
        assert [one.worker_id for one in parts] == sorted(self.asked)
        accepted = {one.worker_id for one in parts if one.outcome == "accepted"}
        assert accepted == self.first_sound.keys()
        assert all(one.seconds is not None and one.seconds >= 0 for one in parts)

    @invariant()
    def it_is_over_by_one_of_the_three_rules_and_by_no_other(self) -> None:
        missing = self.asked - self.answered
        all_done = max((self.expected.get(name, math.inf) for name in missing), default=-math.inf)
        quorum = math.inf
        if self.quorum_at is not None:
            grace = self.decided.grace_seconds
            quorum = self.quorum_at + (self.quorum_at / 4 if grace is None else grace)
        deadline = math.inf if self.decided.deadline_seconds is None else self.decided.deadline_seconds
        if not self.closed:
            assert self.round.over_at == min(all_done, quorum, deadline)
        assert self.round.over(self.now) == (self.closed or min(all_done, quorum, deadline) <= self.now)

    @invariant()
    def it_has_succeeded_with_enough_sound_answers(self) -> None:
        assert self.round.succeeded == (len(self.first_sound) >= self.decided.needed)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
