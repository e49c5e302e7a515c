"""What a message refuses, and that every message can travel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from federation.events import EVENTS, Happened, Journal, RoundStarted, RunEnded, UpdateLeftOut
from federation.messages import (
    MESSAGES,
    AggregateRequest,
    Attendance,
    EvaluateRequest,
    ModelUpdate,
    OpenRun,
    StopRun,
    TrainAlone,
    TrainRequest,
)
from federation.roles import VOCABULARY
from tests.federation.updates import request, update, weights
from trioactor import Actor, ActorSystem
from trioactor.messages import wire_name_of


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: update("", number=1), "worker_id=''"),
        (lambda: update("a/b", number=1), "without a slash"),
        (lambda: update("A", number=0), "round=0; it must be at least 1"),
        (lambda: update("A", samples=0), "num_samples=0"),
        (lambda: update("A", params={}), "weights without a single array"),
        (lambda: TrainRequest(1, weights(), 0, 8, 0.1, 0.0, 0), "epochs=0"),
        (lambda: TrainRequest(1, weights(), 1, 8, float("nan"), 0.0, 0), "learning_rate=nan"),
        (lambda: TrainAlone(weights(), 1, 1, 8, 0.1, -1.0, 0), "mu=-1.0"),
        (lambda: AggregateRequest("run", 1, (), (), (), 0.0), "no updates"),
        (lambda: EvaluateRequest("run", 0, weights()), "exactly one of the two"),
        (lambda: EvaluateRequest("run", 1, weights(), alone="A"), "exactly one of the two"),
        (lambda: OpenRun("", "{}", 0, "test", False, weights()), "run=''"),
        (lambda: OpenRun("r", "{}", 0, "test", False, {}), "weights without"),
        (
            lambda: OpenRun("r", "{}", 0, "test", False, weights(), staleness_exponent=-1.0),
            "staleness_exponent=-1.0",
        ),
        (lambda: StopRun("why", status="finished"), "a run is ended as"),
    ],
)
def test_a_message_that_cannot_be_meant_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_every_message_and_event_has_a_wire_name_of_its_own() -> None:
    names = [wire_name_of(kind) for kind in (*MESSAGES, *EVENTS)]

    assert len(set(names)) == len(names)
    assert all(name is not None and name.startswith("federation.") for name in names)


class Collector(Actor):
    def __init__(self, wanted: int) -> None:
        self.seen: list[Any] = []
        self.done = trio.Event()
        self._wanted = wanted

    async def receive(self, message: Any) -> None:
        self.seen.append(message)
        if len(self.seen) == self._wanted:
            self.done.set()


async def test_messages_come_over_a_real_connection_as_they_were() -> None:
    attendance = Attendance("B", "lost", "gone", None, None, None, 0.5, 32, 0, None, None)
    sent = [
        request(2),
        AggregateRequest("run", 2, (update("A", number=2), update("C", number=2)), (), (attendance,), 0.25),
        Happened((RoundStarted(0.5, 2, ("A", "B")), UpdateLeftOut(0.6, 2, "B", "stale", "old"))),
        RunEnded(1.0, "finished", "", "abc"),
    ]
    collector = Collector(len(sent))
    async with (
        ActorSystem("here", vocabulary=VOCABULARY) as here,
        ActorSystem("there", vocabulary=VOCABULARY) as there,
    ):
        address = await there.listen()
        await there.actor_of(lambda: collector, "collector")
        far = here.ref(*address, "collector")
        with trio.fail_after(5):
            for one in sent:
                await far.tell(one)
            await collector.done.wait()

    asked, aggregate, happened, ended = collector.seen
    assert (asked.weights["W"] == request(2).weights["W"]).all()
    assert [one.worker_id for one in aggregate.updates] == ["A", "C"]
    assert isinstance(aggregate.updates[0], ModelUpdate)
    assert aggregate.attendance == (attendance,)
    assert happened == sent[2]
    assert ended == sent[3]


def test_the_journal_tells_each_reader_what_is_new_to_it() -> None:
    journal = Journal(limit=3)
    events = [RoundStarted(float(number), number, ("A",)) for number in range(1, 6)]
    for event in events[:2]:
        journal.add(event)
    place, told = journal.after(0)
    assert told == events[:2]
    for event in events[2:]:
        journal.add(event)

    assert journal.after(place) == (5, events[2:])
    assert journal.after(0) == (5, events[2:])  # older ones are gone
    assert journal.after(5) == (5, [])
    assert journal.count == 5
