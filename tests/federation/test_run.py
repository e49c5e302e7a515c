"""Whole runs in one system: who is waited for, what is committed, and how a run ends."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from federation import services
from federation.events import (
    AloneEvaluated,
    RoleLost,
    RoundCommitted,
    RoundEvaluated,
    RoundStarted,
    RunBegun,
    RunEnded,
    TrainingAlone,
    UpdateAccepted,
    WorkerJoined,
    WorkerLost,
)
from federation.learning import Budget, generator_for, model_sha256, train_alone, train_together
from federation.messages import (
    FetchUpdate,
    GlobalModelBroadcast,
    Join,
    RunOver,
    StopRun,
    TrainingFailed,
    TrainRequest,
)
from federation.models import simple_model
from federation.observer import Observer
from federation.round import bytes_of
from persistence import RoundPersistence
from tests.federation.stage import CLASSES, FEATURES, SETTINGS, Puppet, Stage, region, register, sound
from tests.federation.updates import update
from trioactor import ActorRef, ActorSystem, Rejected

BUDGET = Budget(rounds=3, epochs=2, batch_size=8, seed=7)


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """Open a stage; at its end the accounts of the system must be in order."""
    with RoundPersistence(folder / "training.db") as store:
        async with ActorSystem("test") as system:
            yield Stage(system, store)
        assert system.ledger().balanced


async def test_a_run_is_what_plain_averaging_in_one_loop_is(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        for name in "BA":
            await stage.work(provider, name)
        await stage.ended.wait()

        assert stage.end.status == "finished"
        together = train_together({name: region(name) for name in "AB"}, BUDGET)
        assert stage.end.model_sha256 == model_sha256(together.get_weights())
        run = stage.run()
        assert (run.status, run.model_sha256) == ("finished", stage.end.model_sha256)
        assert [row.number for row in stage.store.rounds(run.id)] == [1, 2, 3]
        assert [score.round for score in stage.store.evaluations(run.id)] == [1, 2, 3]
        updates = stage.store.updates(run.id)
        assert {number: [one.worker for one in rows] for number, rows in updates.items()} == {
            number: ["A", "B"] for number in (1, 2, 3)
        }


async def test_mu_changes_what_is_learnt(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(replace(SETTINGS, mu=0.5))
        for name in "AB":
            await stage.work(provider, name)
        await stage.ended.wait()

        together = train_together({name: region(name) for name in "AB"}, replace(BUDGET, mu=0.5))
        assert stage.end.model_sha256 == model_sha256(together.get_weights())


async def test_what_each_worker_reaches_alone_is_scored_and_recorded(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(replace(SETTINGS, alone=True))
        for name in "AB":
            await stage.work(provider, name)
        await stage.ended.wait()

        judge = region("D")
        expected = {
            name: train_alone(region(name), name, BUDGET).evaluate(judge.X, judge.y).accuracy for name in "AB"
        }
        assert {one.worker_id: one.accuracy for one in stage.of(AloneEvaluated)} == expected
        kept = stage.store.baselines(stage.run().id)
        assert {one.worker: one.accuracy for one in kept} == expected


async def test_a_run_waits_for_as_many_workers_as_it_was_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(replace(SETTINGS, min_workers=2))
        await stage.work(provider, "A")
        await trio.sleep(2)
        assert not stage.of(RunBegun)

        await stage.work(provider, "B")
        await stage.ended.wait()

        assert stage.of(RoundStarted)[0].asked == ("A", "B")


@pytest.mark.parametrize(
    ("services", "workers", "words"),
    [
        (("aggregator", "evaluator"), "", "0 of 2 workers have registered, 5 s after"),
        (("aggregator", "evaluator"), "A", r"1 of 2 workers have registered \(A\)"),
        (("aggregator",), "AB", "no evaluator has joined"),
        ((), "AB", "no aggregator has joined; no evaluator has joined"),
    ],
)
async def test_a_run_without_everyone_says_who_is_missing(
    tmp_path: Path, autojump_clock: MockClock, services: tuple[str, ...], workers: str, words: str
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(services=services)
        for name in workers:
            await stage.work(provider, name)
        await stage.ended.wait()

        assert trio.current_time() >= 5
        assert stage.end.status == "failed"
        assert re.search(words, stage.end.reason)


async def test_a_worker_that_joins_late_takes_part_from_the_next_round(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(replace(SETTINGS, min_workers=1))
        slow = await stage.puppet(provider, "A")
        await slow.was_asked.wait()
        await stage.work(provider, "B")
        await stage.until(WorkerJoined, 2)

        slow.context.start_soon(slow.say, sound("A")(slow.asked[0]))
        await stage.until(RoundStarted, 2)

        assert [one.asked for one in stage.of(RoundStarted)] == [("A",), ("A", "B")]
        await provider.tell(StopRun("enough"))
        await stage.ended.wait()


async def test_a_worker_lost_in_mid_round_is_left_out_and_the_run_goes_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        await stage.work(provider, "A")
        silent = await stage.puppet(provider, "B")
        await silent.was_asked.wait()
        await silent.context.ref.kill()
        await stage.ended.wait()

        assert stage.end.status == "finished"
        assert [one.worker_id for one in stage.of(WorkerLost)] == ["B"]
        assert [(one.accepted, one.asked) for one in stage.of(RoundCommitted)] == [
            (("A",), 2),
            (("A",), 1),
            (("A",), 1),
        ]
        first = {one.worker: one for one in stage.store.updates(stage.run().id)[1]}
        assert first["B"].outcome == "lost"
        assert first["B"].reason


async def test_a_worker_that_comes_back_while_the_round_is_open_is_asked_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(replace(SETTINGS, rounds=1))
        slow = await stage.puppet(provider, "A")
        silent = await stage.puppet(provider, "B")
        await silent.was_asked.wait()
        await slow.was_asked.wait()
        await silent.context.ref.kill()
        await stage.until(WorkerLost)

        await stage.puppet(provider, "B", sound("B"))
        await stage.until(UpdateAccepted)
        await slow.say(sound("A")(slow.asked[0]))
        await stage.ended.wait()

        assert stage.of(RoundCommitted)[0].accepted == ("A", "B")


async def test_training_that_fails_is_reported_and_its_worker_asked_in_the_next_round(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    def fails_once(request: TrainRequest) -> object:
        if request.round == 1:
            return TrainingFailed(1, "B", "no memory")
        return sound("B")(request)

    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        await stage.work(provider, "A")
        await stage.puppet(provider, "B", fails_once)
        await stage.ended.wait()

        assert [one.accepted for one in stage.of(RoundCommitted)] == [("A",), ("A", "B"), ("A", "B")]
        row = next(one for one in stage.store.updates(stage.run().id)[1] if one.worker == "B")
        assert (row.outcome, row.reason) == ("failed", "no memory")


async def test_training_that_diverges_everywhere_fails_the_run_with_its_fix(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(replace(SETTINGS, learning_rate=3e38))
        for name in "AB":
            await stage.work(provider, name)
        await stage.ended.wait()

        assert stage.end.status == "failed"
        assert "round 1: no update was accepted (A, B failed: training left the finite" in stage.end.reason
        assert "use a smaller one" in stage.end.reason
        run = stage.run()
        assert (run.status, run.reason) == ("failed", stage.end.reason)
        (row,) = stage.store.rounds(run.id)
        assert row.status == "failed"


async def test_a_poisoned_update_is_refused_and_never_averaged(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    def poisoned(request: TrainRequest) -> object:
        nan = {key: np.full_like(array, np.nan) for key, array in request.weights.items()}
        return update("B", number=request.round, params=nan)

    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        await stage.work(provider, "A")
        liar = await stage.puppet(provider, "B", poisoned)
        await stage.ended.wait()

        alone = train_together({"A": region("A")}, BUDGET)
        assert stage.end.model_sha256 == model_sha256(alone.get_weights())
        assert [one.verdict for one in liar.receipts] == ["refused"] * 3
        assert "NaN" in liar.receipts[0].reason
        row = next(one for one in stage.store.updates(stage.run().id)[1] if one.worker == "B")
        assert row.outcome == "refused"


async def test_a_run_whose_workers_are_all_lost_has_lost_its_quorum_and_keeps_what_it_has(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(replace(SETTINGS, min_workers=1))
        one = await stage.puppet(provider, "A", lambda asked: sound("A")(asked) if asked.round == 1 else None)
        await stage.until(RoundStarted, 2)
        await one.context.ref.kill()
        await stage.ended.wait()

        assert stage.end.status == "quorum lost"
        assert "committed up to round 1 of 3" in stage.end.reason
        assert stage.run().status == "quorum lost"
        assert stage.store.last_committed_round(stage.run().id) == 1


async def test_a_run_that_was_stopped_goes_on_where_it_was_to_the_same_bytes(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        for name in "AB":
            await stage.work(provider, name)
        await stage.until(RoundCommitted, 2)
        await provider.tell(StopRun("Ctrl-C"))
        await stage.ended.wait()
        assert (stage.end.status, stage.end.reason) == ("stopped", "Ctrl-C")
        assert stage.run().status == "stopped"

    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        for name in "AB":
            await stage.work(provider, name)
        await stage.ended.wait()

        (begun,) = stage.of(RunBegun)
        assert begun.from_round == 3
        together = train_together({name: region(name) for name in "AB"}, BUDGET)
        assert stage.end.model_sha256 == model_sha256(together.get_weights())
        assert [row.number for row in stage.store.rounds(stage.run().id)] == [1, 2, 3]
        assert [score.round for score in stage.store.evaluations(stage.run().id)] == [1, 2, 3]


async def test_everyone_hears_each_model_and_the_end(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        puppet = await stage.puppet(provider, "A", sound("A"))
        await stage.puppet(provider, "B", sound("B"))
        await stage.ended.wait()
        await trio.sleep(1)

        models = [one for one in puppet.others if isinstance(one, GlobalModelBroadcast)]
        assert [one.round for one in models] == [1, 2, 3]
        assert models[-1].model_sha256 == stage.end.model_sha256 == model_sha256(models[-1].weights)
        assert puppet.others[-1] == RunOver("finished", "")


@pytest.mark.parametrize("mode", ["rounds", "buffered"])
async def test_updates_too_large_for_one_message_are_fetched_and_make_the_same_model(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Of three updates one goes with the request; the Aggregator asks for the others, one by one."""
    settings = replace(SETTINGS, min_workers=3, mode=mode, buffer_size=3)
    rows = []
    of_one = bytes_of(simple_model(FEATURES, len(CLASSES), generator_for(0, "model")).get_weights())
    for inline_bytes in (services.INLINE_BYTES, of_one):
        monkeypatch.setattr(services, "INLINE_BYTES", inline_bytes)
        folder = tmp_path / str(inline_bytes)
        folder.mkdir()
        async with staged(folder) as stage:
            provider = await stage.begin(settings)
            for name in "ABC":
                await stage.puppet(provider, name, sound(name))
            await stage.ended.wait()
            rows.append([replace(row, seconds=0.0) for row in stage.store.rounds(stage.run().id)])

    assert [row.number for row in rows[0]] == [1, 2, 3]
    assert rows[0] == rows[1], "models, losses and accuracies"


async def test_an_update_that_is_not_being_committed_is_handed_to_nobody(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        with pytest.raises(Rejected, match="no update of worker A for round 1 is being committed"):
            await provider.ask(FetchUpdate("test", 1, "A"))


class ReadsTheRecord(Puppet):
    """A worker that looks into the record, as another program would, when it hears of a model."""

    def __init__(self, name: str, provider: ActorRef, record: Path) -> None:
        super().__init__(name, provider, sound(name))
        self.found: list[tuple[int, str]] = []
        self.told: list[tuple[int, str]] = []
        self._record = record

    async def receive(self, message: Any) -> None:
        await super().receive(message)
        if isinstance(message, GlobalModelBroadcast):
            self.told.append((message.round, message.model_sha256))
            with closing(sqlite3.connect(f"file:{self._record}?mode=ro", uri=True)) as other:
                self.found.append(
                    other.execute("SELECT number, model_sha256 FROM rounds ORDER BY number DESC").fetchone()
                )


async def test_a_model_is_on_disk_before_anybody_hears_of_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        reader = ReadsTheRecord("A", provider, tmp_path / "training.db")
        await stage.system.actor_of(lambda: reader, "reader")
        await stage.puppet(provider, "B", sound("B"))
        await stage.ended.wait()
        await trio.sleep(1)

    assert [number for number, _ in reader.told] == [1, 2, 3]
    assert reader.found == reader.told


async def test_an_update_when_no_round_is_open_is_stale(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        early = await provider.ask(update("A"))

        assert early.verdict == "stale"
        await provider.tell(StopRun("enough"))
        await stage.ended.wait()


async def test_two_workers_of_one_name_the_first_that_lives_keeps_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        await stage.puppet(provider, "A")
        await stage.until(WorkerJoined)

        with pytest.raises(Rejected, match="worker A is here already"):
            await provider.ask(register("A", provider))
        await provider.tell(StopRun("enough"))
        await stage.ended.wait()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_features": 64}, "worker B has 64 features, the run has 5"),
        ({"num_classes": 10}, "worker B has 10 classes, the run has 3"),
        ({"source": "digits"}, "worker B has digits data, the run has test"),
    ],
)
async def test_a_worker_with_other_data_is_declined(
    tmp_path: Path, autojump_clock: MockClock, changes: dict[str, object], words: str
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        await stage.puppet(provider, "A")
        await stage.until(WorkerJoined)

        with pytest.raises(Rejected, match=words):
            await provider.ask(register("B", provider, **changes))
        await provider.tell(StopRun("enough"))
        await stage.ended.wait()


async def test_an_evaluator_that_was_gone_for_a_while_is_asked_when_it_is_back(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(services=("aggregator",))
        first = await stage.evaluate(provider)
        slow = await stage.puppet(provider, "A")
        await stage.puppet(provider, "B", sound("B"))
        await slow.was_asked.wait()
        await first.kill()
        await stage.until(RoleLost)
        await slow.say(sound("A")(slow.asked[0]))
        await stage.until(RoundCommitted)
        await trio.sleep(2)

        await stage.evaluate(provider)
        await stage.until(RoundEvaluated)

        assert len(stage.store.evaluations(stage.run().id)) == 1
        await provider.tell(StopRun("enough"))
        await stage.ended.wait()


async def test_an_evaluator_that_does_not_come_back_fails_the_run(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(services=("aggregator",))
        evaluator = await stage.evaluate(provider)
        slow = await stage.puppet(provider, "A")
        await stage.puppet(provider, "B", sound("B"))
        await slow.was_asked.wait()
        await evaluator.kill()
        await stage.until(RoleLost)
        await slow.say(sound("A")(slow.asked[0]))
        await stage.ended.wait()

        assert stage.end.status == "failed"
        assert "the evaluator is gone, and did not come back within 5 s" in stage.end.reason


async def test_what_happened_to_the_workers_is_kept_in_the_record(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        await stage.work(provider, "A")
        silent = await stage.puppet(provider, "B")
        await silent.was_asked.wait()
        await silent.context.ref.kill()
        await stage.ended.wait()
        await trio.sleep(1)

        kept = [(one.source, one.kind) for one in stage.store.events(stage.run().id)]
        assert ("worker-A", "joined") in kept
        assert ("worker-B", "lost") in kept
        assert kept[-1] == ("provider", "finished")


async def test_a_second_observer_sees_what_the_first_saw(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin()
        other = Stage(stage.system, stage.store)
        for name in "AB":
            await stage.work(provider, name)
        await stage.until(RoundCommitted)
        await stage.system.actor_of(lambda: Observer(provider, other.see), "late observer")
        await stage.ended.wait()
        await other.ended.wait()

        assert other.events == stage.events
        assert isinstance(stage.events[-1], RunEnded)


async def test_a_worker_lost_while_it_trains_alone_is_not_waited_for(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with staged(tmp_path) as stage:
        provider = await stage.begin(replace(SETTINGS, alone=True))
        await stage.work(provider, "A")
        puppet = await stage.puppet(provider, "B", sound("B"))
        await stage.until(TrainingAlone)
        await trio.testing.wait_all_tasks_blocked()
        await puppet.context.ref.kill()
        await stage.ended.wait()

        assert stage.end.status == "finished"
        assert [one.worker_id for one in stage.of(AloneEvaluated)] == ["A"]


async def test_a_role_that_is_none_is_refused() -> None:
    async with ActorSystem("test") as system:
        with pytest.raises(ValueError, match="'aggregator' or 'evaluator'"):
            Join("judge", system.ref("127.0.0.1", 1, "judge"))
