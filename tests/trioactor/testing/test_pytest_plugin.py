"""The fixture in a project of somebody else's."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

TESTS = """
    def test_that_holds(simulation):
        async def main(sim):
            return sim.rng.random()
        reports = simulation(main, seeds=3)
        print("seeds", [report.seed for report in reports])
        assert len({report.value for report in reports}) == len(reports)

    def test_that_fails_with_seed_5(simulation):
        async def main(sim):
            sim.note("here we go")
            assert sim.seed != 5, "on purpose"
        simulation(main)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    pytester.makeconftest('pytest_plugins = ["trioactor.testing.pytest_plugin"]')
    pytester.makepyfile(test_mine=TESTS)
    return pytester


def run(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    return project.runpytest_inprocess("-rP", "-p", "no:trio", *options)


def test_the_seed_of_a_failure_is_said_with_the_command_to_run_it_again(project: pytest.Pytester) -> None:
    result = run(project)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: on purpose*",
            "*in the simulation of seed 5*",
            "*here we go*",
            "*pytest 'test_mine.py::test_that_fails_with_seed_5' --simulation-seed 5",
        ]
    )


def test_one_seed_can_be_run_alone(project: pytest.Pytester) -> None:
    run(project, "--simulation-seed", "5").assert_outcomes(passed=1, failed=1)
    again = run(project, "--simulation-seed", "6")

    again.assert_outcomes(passed=2)
    again.stdout.fnmatch_lines(["seeds [[]6]"])


def test_the_number_of_seeds_can_be_chosen_for_all_tests(project: pytest.Pytester) -> None:
    result = run(project, "--simulation-seeds", "5")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["seeds [[]0, 1, 2, 3, 4]"])


def test_the_fixture_alone_does_without_the_options(project: pytest.Pytester) -> None:
    project.makeconftest("from trioactor.testing.pytest_plugin import simulation")
    result = run(project, "-k", "holds")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["seeds [[]0, 1, 2]"])
