"""The cluster on some seeds; and whether the laws are strict enough to find what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.simulation import cluster_runs
from tests.simulation.__main__ import main
from tests.simulation.cluster import SeedReport, run_seed
from tests.simulation.cluster_history import History
from tests.simulation.cluster_report import ENOUGH_SEEDS, OUTCOMES, Summary
from trioactor import NotDelivered
from trioactor.envelope import Told
from trioactor.link import Link
from trioactor.mailbox import Mailbox
from trioactor.outbox import SENT, Outbox
from trioactor.ref import Question
from trioactor.testing import KINDS

Step = Callable[[History], None]

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(30)

# A planted error must be found within so many seeds.
SEEDS_TO_FIND_AN_ERROR = 25


@pytest.fixture(scope="module")
def reports() -> dict[int, SeedReport]:
    """What the seeds have come to, run once for all tests of this file."""
    return {seed: run_seed(seed) for seed in SEEDS}


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_the_laws_hold(seed: int, reports: dict[int, SeedReport]) -> None:
    assert not reports[seed].violations, f"see it again: bin/simulate --first {seed} --seeds 1"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_occurs(kind: str, reports: dict[int, SeedReport]) -> None:
    """A test that nothing happens to tests nothing."""
    assert sum(report.counts[f"fault: {kind}"] for report in reports.values())


@pytest.mark.parametrize("what", [*OUTCOMES, "over TLS", "audited"])
def test_every_outcome_occurs(what: str, reports: dict[int, SeedReport]) -> None:
    assert sum(report.counts[what] for report in reports.values())


@pytest.mark.parametrize("seed", [3, 9])  # 9 speaks TLS
def test_a_seed_does_the_same_in_another_process(
    seed: int, reports: dict[int, SeedReport], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "1", "--first", str(seed)]
    done = subprocess.run(
        [*command, "--trace", str(tmp_path / "trace.txt")],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"seed {seed}: digest {reports[seed].digest}, " in done.stdout
    assert len((tmp_path / "trace.txt").read_text().splitlines()) == reports[seed].events


# --- errors that are planted ------------------------------------------------------------------------


def what_was_sent_is_called_not_delivered(patch: pytest.MonkeyPatch) -> None:
    def broken(parcel: Any, reason: str) -> NotDelivered:
        return NotDelivered(reason)

    patch.setattr("trioactor.outbox._broken", broken)


def a_question_is_handled_twice(patch: pytest.MonkeyPatch) -> None:
    def offer(self: Mailbox, envelope: Any) -> bool:
        taken = offer_rightly(self, envelope)
        if taken and envelope.reply_to is not None and not isinstance(envelope.reply_to, Question):
            offer_rightly(self, Told(envelope.message))
        return taken

    offer_rightly = Mailbox.offer
    patch.setattr(Mailbox, "offer", offer)


def a_newer_message_goes_first(patch: pytest.MonkeyPatch) -> None:
    def offer(self: Mailbox, envelope: Any) -> bool:
        taken = offer_rightly(self, envelope)
        if len(self.queue) > 1 and self.queue[-1] is envelope:
            self.queue.rotate(1)
        return taken

    offer_rightly = Mailbox.offer
    patch.setattr(Mailbox, "offer", offer)


def a_broken_link_forgets_who_asked(patch: pytest.MonkeyPatch) -> None:
    def broke(self: Outbox, reason: str, **said: Any) -> None:
        for ask in [ask for ask, parcel in self._asks.items() if parcel.state == SENT]:
            del self._asks[ask]
        broke_rightly(self, reason, **said)

    broke_rightly = Outbox.broke
    patch.setattr(Outbox, "broke", broke)


def a_broken_link_forgets_who_watched(patch: pytest.MonkeyPatch) -> None:
    def went_down(self: Link, reason: str, settle: Callable[[str], None]) -> None:
        self._watching.clear()
        went_down_rightly(self, reason, settle)

    went_down_rightly = Link._went_down
    patch.setattr(Link, "_went_down", went_down)


def a_lost_message_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    def broke(self: Outbox, reason: str, **said: Any) -> None:
        lost = self._tally.lost
        broke_rightly(self, reason, **said)
        self._tally.lost = lost

    broke_rightly = Outbox.broke
    patch.setattr(Outbox, "broke", broke)


def a_silent_peer_is_never_given_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("trioactor.connection.Connection._beat", _nothing)


async def _nothing(self: object) -> None:
    pass


PLANTED = (
    what_was_sent_is_called_not_delivered,
    a_question_is_handled_twice,
    a_newer_message_goes_first,
    a_broken_link_forgets_who_asked,
    a_broken_link_forgets_who_watched,
    a_lost_message_is_not_counted,
    a_silent_peer_is_never_given_up,
)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_an_error_that_is_planted_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    assert any(run_seed(seed).violations for seed in range(SEEDS_TO_FIND_AN_ERROR))


# --- the laws, one by one ---------------------------------------------------------------------------


@pytest.fixture
def history() -> History:
    """Two messages from one task to host "b", on their way."""
    history = History()
    history.send(("a/1/0", 1), "b", 0.0)
    history.send(("a/1/0", 2), "b", 1.0)
    return history


def test_a_history_as_it_should_be_breaks_no_law(history: History) -> None:
    for number in (1, 2):
        key = "a/1/0", number
        history.begin(key, "b", sound=True)
        history.end(key)
        history.settle(key, "answered", 2 * number)

    assert history.violations() == []


def handled(number: int, host: str = "b", *, sound: bool = True) -> Step:
    return lambda history: history.begin(("a/1/0", number), host, sound)


def settled(number: int, outcome: str, answer: int | None = None) -> Step:
    return lambda history: history.settle(("a/1/0", number), outcome, answer)


BROKEN: dict[str, list[Step]] = {
    "was handled 2 times": [handled(1), handled(1)],
    "after number 2": [handled(2), handled(1)],
    "nobody has sent it": [handled(3)],
    "was sent to b and handled on c": [handled(1, "c")],
    "with other contents": [handled(1, sound=False)],
    "ended in NotDelivered, and b has handled it": [settled(1, "NotDelivered"), handled(1)],
    "ended in Rejected, and b has never seen it": [settled(1, "Rejected")],
    "was answered with 2": [handled(1), settled(1, "answered", 2)],
    "was called back 2 times": [lambda history: history.called_back.update({("a/1/0", 1): 2})],
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_law_is_named(text: str, history: History) -> None:
    for step in BROKEN[text]:
        step(history)

    assert any(text in violation for violation in history.violations())


def test_a_newer_connection_may_overtake(history: History) -> None:
    """The order is promised for as long as a connection holds."""
    history.connected_at[frozenset("ab")] = 0.5
    handled(2)(history)
    handled(1)(history)

    assert history.violations() == []
    assert history.counts["overtaken by a newer connection"] == 1


# --- the launcher -----------------------------------------------------------------------------------


def test_the_launcher_sums_up() -> None:
    result = CliRunner().invoke(main, ["--seeds", "4", "--first", "2"])

    assert result.exit_code == 0, result.output
    for words in ("power cut", "ask was answered", "4 seeds in", "an hour", "0 with violations"):
        assert words in result.output


def test_the_launcher_says_how_to_see_a_failure_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def some_fail(seed: int) -> SeedReport:
        report = run_seed(seed)
        return report.with_violation("on purpose") if seed in (1, 2) else report

    monkeypatch.setattr(cluster_runs, "run_seed", some_fail)
    result = CliRunner().invoke(main, ["--seeds", "3", "--jobs", "1"])

    assert result.exit_code == 1
    assert "on purpose" in result.output
    assert "again: bin/simulate --first 1 --seeds 1 --trace trace-1.txt" in result.output
    assert "2 with violations" in result.output


def test_a_seed_that_does_not_repeat_itself_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    digests: Iterator[str] = iter("ab")

    def never_the_same(seed: int) -> SeedReport:
        report = run_seed(seed)
        return SeedReport(seed, (), report.counts, next(digests), report.events, report.seconds)

    monkeypatch.setattr(cluster_runs, "run_seed", never_the_same)

    (report,) = cluster_runs.run_part(range(1))

    assert report.violations == ("not repeatable: digest a, and b the second time",)


def test_a_fault_that_never_occurs_is_an_error_of_the_test(reports: dict[int, SeedReport]) -> None:
    summary = Summary()
    for report in reports.values():
        summary.add(report)
    assert summary.never == []

    summary.seeds = ENOUGH_SEEDS
    del summary.times["fault: stall"]
    assert summary.never == ["stall"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--whole"],
        ["--size", "5"],
        ["--gossip", "--size", "5"],
        ["--json"],
        ["--peers", "--trace", "trace.txt"],
    ],
)
def test_a_flag_that_would_say_nothing_is_refused(flags: list[str]) -> None:
    result = CliRunner().invoke(main, flags)

    assert result.exit_code == 2
    assert "and this plays" in result.output


def test_it_measures_or_plays() -> None:
    assert CliRunner().invoke(main, ["--gossip", "--peers"]).exit_code == 2


def test_a_trace_is_of_one_seed() -> None:
    result = CliRunner().invoke(main, ["--seeds", "2", "--trace", "trace.txt"])

    assert result.exit_code == 2
    assert "--trace is for one seed" in result.output
