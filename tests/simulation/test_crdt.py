"""A short form of `bin/fuzz-crdt`: some seeds without a violation, and every planted bug found."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tests.gossip.world import Violation
from tests.simulation.crdt.__main__ import PLANTED_RUNS, main
from tests.simulation.crdt.bugs import BUGS, Bug
from tests.simulation.crdt.story import first_violation, run

SEEDS = 1_000


def test_replicas_agree_whatever_becomes_of_their_messages_and_disks() -> None:
    assert first_violation(range(SEEDS)) is None


def test_some_seeds_take_every_kind_of_step() -> None:
    taken = {step for seed in range(100) for step in run(seed)}
    assert taken == {
        "put", "delete", "put_own", "count", "fold", "deliver", "sync", "equivocate", "poison", "collect",
        "collect_rashly", "save", "back_up", "restart",
    }  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    with bug.planted():
        assert first_violation(range(PLANTED_RUNS)) is not None


def test_a_seed_is_told_step_by_step_and_is_the_same_story_again() -> None:
    told: list[list[str]] = [[], []]
    for lines in told:
        run(17, lines.append)
    assert told[0] == told[1]
    assert len(told[0]) >= 8


def test_the_launcher_says_how_to_see_a_violation_again() -> None:
    with next(bug for bug in BUGS if bug.name == "the merge keeps the older").planted():
        found = first_violation(range(100))
        assert found is not None
        with pytest.raises(Violation):
            run(found[0])
        shown = CliRunner().invoke(main, ["--replay", str(found[0])])
    assert shown.exit_code == 1
    assert "Violation: " in shown.output
