"""Role by role, each started by hand, as on several machines."""

from __future__ import annotations

import json
import re
import signal
import time

from tests.end_to_end.conftest import Workspace


def test_roles_started_by_hand_in_any_order_make_the_same_model(workspace: Workspace) -> None:
    members = [
        workspace.begin("federation", "workers", "--region", "A", "--region", "B", "--region", "C"),
        workspace.begin("federation", "evaluator"),
        workspace.begin("federation", "aggregator"),
    ]
    provider = workspace.begin("federation", "provider", "--rounds", "2", "--no-alone", "--min-workers", "3")

    assert provider.wait() == 0, provider.stderr
    for member in members:
        assert member.wait() == 0, member.stderr
    assert not (workspace.path / "address.json").exists()

    launched = workspace.start("--rounds", "2", "--no-alone", "--no-picture", "--in-process")
    assert launched.wait() == 0, launched.stderr
    shas = [re.search(r"SHA-256 +(\w+)", one.stdout) for one in (provider, launched)]
    assert all(shas)
    assert len({sha[1] for sha in shas if sha}) == 1


def test_a_provider_that_is_killed_and_started_by_hand_goes_on_with_its_run(workspace: Workspace) -> None:
    """At another port, as the system chooses: who works for it finds that in its file."""
    job = ("--run", "by-hand", "--rounds", "12", "--epochs", "100", "--no-alone", "--min-workers", "3")
    members = [
        workspace.begin("federation", "workers", "--region", "A", "--region", "B", "--region", "C"),
        workspace.begin("federation", "evaluator"),
        workspace.begin("federation", "aggregator"),
    ]
    first = workspace.begin("federation", "provider", *job)
    first.wait_for("round  3/12")
    before = json.loads((workspace.path / "address.json").read_text())["port"]
    first.send(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL

    again = workspace.begin("federation", "provider", *job)
    again.wait_for("round  6/12")
    assert before != json.loads((workspace.path / "address.json").read_text())["port"]

    assert again.wait() == 0, again.stderr
    for member in members:
        assert member.wait() == 0, member.stderr
    undisturbed = workspace.start("--in-process", "--no-picture", *job[2:])
    assert undisturbed.wait() == 0, undisturbed.stderr
    shas = [re.search(r"SHA-256 +(\w+)", one.stdout) for one in (again, undisturbed)]
    assert all(shas)
    assert len({sha[1] for sha in shas if sha}) == 1


def test_a_role_is_told_where_the_provider_is(workspace: Workspace) -> None:
    provider = workspace.begin(
        "federation", "provider", "--rounds", "1", "--no-alone", "--provider-file", "here.json"
    )
    provider.until((workspace.folder / "here.json").exists, "address")
    found = json.loads((workspace.folder / "here.json").read_text())
    where = f"{found['host']}:{found['port']}"
    members = [
        workspace.begin("federation", "aggregator", "--provider", where),
        workspace.begin("federation", "evaluator", FEDERATION_PROVIDER=where),
        workspace.begin("federation", "workers", "--region", "A", "--provider", where),
    ]

    assert provider.wait() == 0, provider.stderr
    for member in members:
        assert member.wait() == 0, member.stderr


def test_a_provider_that_is_stopped_ends_the_run_for_everyone(workspace: Workspace) -> None:
    provider = workspace.begin(
        "federation", "provider", "--rounds", "500", "--epochs", "100", "--min-workers", "1"
    )
    members = [
        workspace.begin("federation", "aggregator"),
        workspace.begin("federation", "evaluator"),
        workspace.begin("federation", "workers", "--region", "A"),
    ]
    provider.wait_for("round   2/500")
    provider.send(signal.SIGINT)

    assert provider.wait() == 130
    for member in members:
        assert member.wait() == 1
        assert "the run has ended: stopped Ctrl-C" in member.stderr


def test_cleanup_ends_what_runs_in_the_workspace_and_only_that(workspace: Workspace) -> None:
    provider = workspace.begin("federation", "provider")
    worker = workspace.begin("federation", "workers", "--region", "A")
    worker.wait_for("takes part")
    gone = workspace.path / "processes" / "1.json"
    gone.write_text('{"role": "provider", "pid": 1, "started_ticks": -5}')

    cleanup = workspace.begin("federation", "cleanup")

    assert cleanup.wait() == 0, cleanup.stderr
    assert f"ended provider (pid {provider.process.pid})" in cleanup.stdout
    assert f"ended workers (pid {worker.process.pid})" in cleanup.stdout
    assert "1.json: no such process" in cleanup.stdout
    assert provider.wait() == 143
    worker.wait()
    assert not list(workspace.path.glob("processes/*"))


def test_a_role_ends_when_it_is_asked_to(workspace: Workspace) -> None:
    aggregator = workspace.begin("federation", "aggregator")
    aggregator.until(lambda: any(workspace.path.glob("processes/*.json")), "entry as running")
    aggregator.send(signal.SIGTERM)
    asked = time.monotonic()

    assert aggregator.wait() == 143
    assert time.monotonic() - asked < 2.0
    assert aggregator.stderr == ""
