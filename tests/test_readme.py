"""Every command of the README is run by a test, or the README says why none does; what it shows is printed.

A command is a line of an `sh` block, or `bin/...` with a flag or an argument in a sentence; `bin/...` alone
is the name of a launcher. Those that are cheap are run here, as they stand, in one workspace.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extras import need
from tests.test_docs import ROOT, program_of, read

# In this order. Settings in the environment leave out what other tests show, and what takes time.
IN_ONE_PROCESS = {"FEDERATION_IN_PROCESS": "1"}
QUICK = {**IN_ONE_PROCESS, "FEDERATION_PICTURE": "0", "FEDERATION_ALONE": "0", "FEDERATION_EPOCHS": "1"}
RUN_HERE: dict[str, dict[str, str]] = {
    "bin/prepare": {},
    "bin/start-provider-mode --rounds 3 --plain": IN_ONE_PROCESS,
    "bin/start-gossip-mode --rounds 3 --plain": {**IN_ONE_PROCESS, "FEDERATION_PICTURE": "0"},
    "bin/simulate-federation --workers 1000 --fraction 0.01 --rounds 100 --epochs 1 --batch-size 10": {},
    "bin/start-provider-mode --source digits --rounds 30": QUICK,
}

# Which test runs a command: the same launcher, with all flags that the README gives it.
RUN_ELSEWHERE = {
    "bin/start-provider-mode": "end_to_end/test_start.py:test_data_is_prepared_when_there_is_none",
    "bin/report --plot FILE.png": "persistence/test_command.py:test_json_on_stdout_is_json_and_nothing_else",
    "bin/provider --rounds 5 --min-workers 3": "end_to_end/test_roles.py:"
    "test_roles_started_by_hand_in_any_order_make_the_same_model",
    "bin/aggregator": "end_to_end/test_roles.py:test_roles_started_by_hand_in_any_order_make_the_same_model",
    "bin/evaluator": "end_to_end/test_roles.py:test_roles_started_by_hand_in_any_order_make_the_same_model",
    "bin/workers --region A --region B --region C": "end_to_end/test_roles.py:"
    "test_roles_started_by_hand_in_any_order_make_the_same_model",
    "bin/provider --run tuesday --rounds 50 --min-workers 3": "end_to_end/test_roles.py:"
    "test_a_provider_that_is_killed_and_started_by_hand_goes_on_with_its_run",
    "bin/start-provider-mode --resume last": "end_to_end/test_start.py:"
    "test_a_run_that_is_stopped_ends_at_once_and_goes_on_to_the_same_bytes",
    "bin/start-provider-mode --tls": "end_to_end/test_tls.py:"
    "test_over_tls_the_model_is_the_same_to_the_last_bit",
    "bin/start-provider-mode --track tensorboard": "end_to_end/test_tracking.py:"
    "test_a_killed_tracker_is_no_matter_of_the_run",
    "bin/track --to mlflow:http://127.0.0.1:5000": "federation/test_tracking.py:"
    "test_a_finished_run_is_told_from_its_record",
    "bin/start-gossip-mode": "end_to_end/test_gossip.py:test_three_rounds_from_one_command",
    "bin/gossip-reporter --output report.jsonl": "end_to_end/test_gossip.py:"
    "test_roles_one_by_one_find_each_other_and_end_when_all_agree",
    **{
        f"bin/gossip-peer --region {name} --min-peers 3 --until-converged": "end_to_end/test_gossip.py:"
        "test_roles_one_by_one_find_each_other_and_end_when_all_agree"
        for name in "ABC"
    },
    "bin/export --out model.safetensors": "federation/test_exports.py:"
    "test_safetensors_come_with_a_file_that_says_what_they_are",
    "bin/export --out model.onnx": "federation/test_exports.py:"
    "test_onnx_runs_and_knows_the_names_of_the_classes",
    "bin/report --format parquet --out rounds.parquet": "persistence/test_table.py:"
    "test_parquet_goes_into_a_file_or_through_a_pipe",
    "bin/prepare --source eurosat": "prep/test_commands.py:"
    "test_real_files_and_the_real_network_from_end_to_end",
    "bin/split-regions --plot regions.png": "end_to_end/test_own_data.py:"
    "test_seven_classes_of_ones_own_are_learnt_in_rounds",
    "bin/split-regions --features mine.npz --partition dirichlet --alpha 0.3": "prep/test_commands.py:"
    "test_a_partition_needs_no_file",
    "bin/prepare --extractor pixels --image-size 32": "prep/test_commands.py:test_synthetic_tiles_as_pixels",
    "bin/simulate-federation --resume last": "federation/test_simulation_resuming.py:"
    "test_a_command_that_is_killed_or_stopped_goes_on",
    "bin/simulate --gossip": "simulation/test_gossip_views.py:"
    "test_the_launcher_writes_json_and_its_status_tells_of_misses",
    "bin/simulate --peers": "simulation/test_gossip_seasons.py:test_the_launcher_tells_a_single_season",
    "python -m build": "wheel.py:_build",
    "pip install dist/trioactor-*.whl": "wheel.py:_install",
    "trioactor-start-provider-mode --rounds 5": "wheel.py:main",
}

# What no test runs, and the words of the README that say why.
RUN_BY_NONE = {
    "bin/test": "runs all tests",
    "bin/extract-features --download --image-size 64": "The first command needs PyTorch, which it installs, "
    "and the network once",
    "bin/benchmark attacks": "`bin/benchmark` takes from minutes to an hour",
    "bin/benchmark runtime": "`bin/benchmark` takes from minutes to an hour",
    "bin/benchmark peers": "`bin/benchmark` takes from minutes to an hour",
    "bin/soak --minutes 10": "`bin/soak --minutes 10`",
}

MACHINES = "### On several machines"  # tests/end_to_end/test_machines.py runs its blocks as they stand


def lines_of(block: str) -> Iterator[str]:
    """Yield the commands of a block, each on one line, without what sends it to the background."""
    for line in block.replace("\\\n", " ").splitlines():
        words = re.sub(r"\s+(&|#.*)$", "", line).split()
        if words:
            yield " ".join(words)


def commands() -> set[str]:
    """Return all commands of the README but those of several machines."""
    before, machines = read("README.md").split(MACHINES)
    rest = before + re.split(r"^### ", machines, maxsplit=1, flags=re.MULTILINE)[1]
    found = {
        line
        for text in re.findall(r"^```sh\n(.*?)^```$", rest, re.DOTALL | re.MULTILINE)
        for line in lines_of(text)
    }
    sentences = re.sub(r"^```.*?^```$", "", rest, flags=re.DOTALL | re.MULTILINE)
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", sentences))
    return found | {span for span in spans if re.match(r"bin/\S+ ", span) and not span.endswith(" --help")}


# --- each is run, or it is said why not -------------------------------------------------------------------


def test_every_command_is_run_by_a_test_or_it_is_said_why_not() -> None:
    """A command that is new in the README is new here, and one that is gone there is gone here."""
    known = [*RUN_HERE, *RUN_ELSEWHERE, *RUN_BY_NONE]

    assert commands() == set(known)
    assert len(known) == len(set(known))


@pytest.mark.parametrize("command", RUN_ELSEWHERE)
def test_the_test_that_runs_a_command_is_there_and_has_its_flags(command: str) -> None:
    name, function = RUN_ELSEWHERE[command].split(":")
    text = (ROOT / "tests" / name).read_text()
    there = {
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    launcher, *words = command.split()
    last = program_of(ROOT / launcher)[-1] if launcher.startswith("bin/") else launcher.split("-", 1)[-1]

    assert function in there
    assert last in text or Path(launcher).name in text
    assert [word for word in words if word.startswith("--") and word not in text] == []


@pytest.mark.parametrize("command", RUN_BY_NONE)
def test_the_readme_says_why_no_test_runs_a_command(command: str) -> None:
    assert RUN_BY_NONE[command] in " ".join(read("README.md").split())


def test_every_step_on_several_machines_is_taken() -> None:
    section = read("README.md").split(MACHINES)[1].split("\n### ")[0]
    steps = re.findall(r"^(\d)\. (?:(?!^\d\. ).)*?^```", section, re.DOTALL | re.MULTILINE)
    taken = re.findall(r"step\((\d), ", (ROOT / "tests/end_to_end/test_machines.py").read_text())

    assert len(steps) == section.count("\n```") // 2
    assert sorted(set(taken)) == steps


# --- and prints what the README shows ---------------------------------------------------------------------


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Return what a command prints, on stderr and then on stdout."""
    launcher, *words = shlex.split(command)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FEDERATION_")}
    done = subprocess.run(
        [sys.executable, "-m", *program_of(ROOT / launcher), *words],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands are run, one after the other."""
    return tmp_path_factory.mktemp("readme")


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """What has been printed so far, by command."""
    return {}


@pytest.mark.parametrize("command", RUN_HERE)
def test_a_command_runs_as_it_stands(command: str, place: Path, printed: dict[str, str]) -> None:
    if "digits" in command:
        need("sklearn")
    printed[command] = run(command, place, RUN_HERE[command])


def shown(command: str) -> list[str]:
    """Return the lines that the README shows right before it says: that is this command."""
    ((_, text),) = re.findall(
        rf"^```(text)\n((?:(?!^```).)*?)^```\n\nThat is `{re.escape(command)}`",
        read("README.md"),
        flags=re.DOTALL | re.MULTILINE,
    )
    return plain(text)


def plain(text: str) -> list[str]:
    """Return lines without what another time or another machine changes: times, fingerprints, bars."""
    text = re.sub(r"\b\d{8}-\d{6}\b", "TIME", text)
    text = re.sub(r"\b\d+\.\d+ s\b", "SECONDS", text)
    text = re.sub(r"\b(?=\w*\d)[0-9a-f]{12}([0-9a-f]{52})?\b", "SHA", text)
    return [" ".join(re.sub("[━╸]", "", line).split()) for line in text.splitlines() if line.strip()]


NUMBER = r"\d+\.\d+"


def test_the_readme_shows_what_the_coordinated_mode_prints(printed: dict[str, str]) -> None:
    """All but the times, and the last bits: another processor rounds otherwise, some samples change sides."""
    command = "bin/start-provider-mode --rounds 3 --plain"
    expected, found = shown(command), plain(printed[command])

    begin = found.index(expected[0])
    found = found[begin : begin + len(expected)]
    assert [re.sub(NUMBER, "#", line) for line in found] == [re.sub(NUMBER, "#", line) for line in expected]
    for ours, theirs in zip(found, expected, strict=True):
        numbers = [[float(one) for one in re.findall(NUMBER, line)] for line in (ours, theirs)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.021, rel=0.05), f"the README says: {theirs}"


def test_the_readme_shows_what_the_gossip_mode_prints(printed: dict[str, str]) -> None:
    """Every number there is another each time, and a round that passes quickly has no line."""
    command = "bin/start-gossip-mode --rounds 3 --plain"
    kinds = [
        [re.sub(r"\d+(\.\d+)?", "#", line) for line in lines]
        for lines in (shown(command), plain(printed[command]))
    ]
    expected, found = ([line.replace("# to #", "#") for line in lines] for lines in kinds)

    ended = found.index(expected[3])
    assert found[ended : ended + len(expected) - 3] == expected[3:]
    assert {line for line in found[:ended] if line.startswith("round ")} == {expected[0]}
