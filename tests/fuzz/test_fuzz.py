"""The fuzzed laws on the kept inputs and on some thousands by chance; and the fuzzer itself, which must bite.

`bin/fuzz` tries as many as one likes.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from cbor2 import loads
from click.testing import CliRunner

from tests.fuzz import __main__ as launcher
from tests.fuzz.corpus import folder_of, inputs_in
from tests.fuzz.dear import DEAR
from tests.fuzz.drill import drill
from tests.fuzz.mutate import mutated, spans
from tests.fuzz.targets import SEPARATOR, TARGETS, Cost, Target
from tests.fuzz.watch import Finding, Trial, held_in
from trioactor.codec import check_items
from trioactor.errors import WireError
from trioactor.frames import CONTROL_FRAMES, Tells
from trioactor.framing import BEGIN, PIECE
from trioactor.limits import Limits

KEPT = {name: inputs_in([folder_of(name)]) for name in TARGETS}

# Some seconds in all.
FRAMES = {"framing": 8000, "codec": 3000, "handshake": 200}

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(("target", "name"), [(target, name) for target in KEPT for name in KEPT[target]])
def test_every_input_that_is_kept_is_stood(target: str, name: str) -> None:
    """Each that ever broke something is among them."""
    TARGETS[target].run(KEPT[target][name])


def test_every_kind_of_frame_is_among_those_that_are_kept() -> None:
    kinds = set()
    for data in KEPT["codec"].values():
        first = loads(data.partition(SEPARATOR)[0])[0]
        if isinstance(first, str | int):
            kinds.add(str if isinstance(first, str) else first)

    assert kinds >= {str, BEGIN, PIECE, Tells.number, *CONTROL_FRAMES}


@pytest.mark.parametrize("name", DEAR)
def test_the_dearest_frames_have_just_the_items_that_are_allowed(name: str) -> None:
    """So none that is longer is dearer; what more items cost is seen in those with more than are allowed."""
    payload = DEAR[name].partition(SEPARATOR)[0]

    if name == "more items than are allowed":
        with pytest.raises(WireError, match="more than 16,384 items"):
            check_items(payload, Limits().items, WireError)
    else:
        check_items(payload, Limits().items, WireError)
    assert TARGETS["codec"].run(DEAR[name]).cpu_seconds > 0


@pytest.mark.parametrize("target", TARGETS)
def test_no_law_is_broken_by_inputs_of_chance(target: str, tmp_path: Path) -> None:
    trial = Trial(TARGETS[target], FRAMES[target], tmp_path, judges_cost=False)

    drill(trial, list(KEPT[target].values()), seed=0)

    assert trial.tally.frames >= FRAMES[target]
    assert 0 < trial.tally.accepted < trial.tally.frames, "some are understood, and some are not"


def test_the_same_seed_makes_the_same_inputs() -> None:
    kept = list(KEPT["codec"].values())

    def some(seed: str) -> list[bytes]:
        chance = random.Random(seed)
        return [mutated(chance, kept, 1000) for _ in range(100)]

    assert some("a") == some("a") != some("b")
    assert len(set(some("a"))) > 60
    assert max(map(len, some("a"))) <= 1000


def test_items_are_found_where_they_stand() -> None:
    data = bytes.fromhex("82 61 61 a1 61 6b d8 1b 42 00 01")  # ["a", {"k": 27(h'0001')}]

    assert {data[span].hex() for span in spans(data)} == {
        "6161",
        "616b",
        "420001",
        "d81b420001",
        "a1616bd81b420001",
        data.hex(),
    }


def planted(data: bytes) -> Cost:
    """Stumbles over one byte, and is slow over another."""
    if 0xEE in data:
        raise ValueError("one byte too strange")
    return Cost(1, 1, len(data), 0.011 if 0xDD in data else 0.0)


@pytest.mark.parametrize(("byte", "complaint"), [(0xEE, "one byte too strange"), (0xDD, "11.0 ms of CPU")])
def test_an_error_that_is_planted_is_found_kept_and_tried_again(
    byte: int, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target("framing", planted, floor_ms=10, longest=100)
    seeds = [bytes([byte ^ 0x10]), b"\x00"]

    with pytest.raises(Finding, match=complaint):
        drill(Trial(target, 100_000, tmp_path), seeds, seed=1)

    (kept,) = tmp_path.iterdir()
    assert byte in kept.read_bytes()
    monkeypatch.setitem(TARGETS, "framing", target)
    again = CliRunner().invoke(launcher.main, ["--target", "framing", "--replay", str(kept)])
    assert again.exit_code == 1
    assert complaint in again.output


HANGS = """
import sys
from pathlib import Path
from tests.fuzz.targets import Target
from tests.fuzz.watch import BlackBox, Trial

folder = Path(sys.argv[1])
target = Target("codec", lambda data: sum(range(10**13)), 10, 10)  # in C, where no signal is handled
Trial(target, 1, folder, box=BlackBox(folder / "now", hang_seconds=1)).attempt(b"for ever")
"""


def test_an_input_that_hangs_is_held_and_its_process_ended(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert launcher.HUNG in ended.stderr
    assert "in <lambda>" in ended.stderr, "where it was is said"
    assert held_in(tmp_path / "now") == b"for ever"


def test_slowness_that_is_the_machines_is_no_finding(tmp_path: Path) -> None:
    costs = iter([0.5, 0.3, 0.001])
    trial = Trial(Target("codec", lambda _: Cost(1, 1, 1, next(costs)), 10, 10), 1, tmp_path)

    trial.attempt(b"x")

    assert trial.tally.dearest_ms == 1


def test_a_replay_needs_its_target(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"")

    told = CliRunner().invoke(launcher.main, ["--replay", str(tmp_path / "input")])

    assert told.exit_code == 2
    assert "--replay is for one target" in told.output


def test_memory_that_grows_and_a_process_that_dies_are_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the process that tries the inputs says, or does not say, decides."""

    def run(program: str) -> str:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        (tmp_path / "python").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "python").chmod(0o755)
        monkeypatch.setattr(launcher, "EXPLORING", 0)
        arguments = ["--target", "codec", "--frames", "10", "--findings", str(tmp_path)]
        told = CliRunner().invoke(launcher.main, arguments)
        assert told.exit_code == 1
        return told.output

    grown = """echo '{"inputs": 1, "frames": 10, "accepted": 1, "grown_kib": 40000}'"""
    assert "memory has grown by 39.1 MiB in 10 frames, 32 MiB are allowed" in run(grown)
    found = """echo '{"finding": "a law is broken", "file": "/tmp/x/codec-123"}'"""
    assert "again: bin/fuzz --target codec --replay" in run(found)
    hung = run(r"printf '\5\0\0\0\0\0\0\0again' > $7; echo 'Timeout (0:00:10)!' >&2; exit 1")
    assert "an input of 5 bytes took more than 10 s" in hung
    (kept,) = (file for file in tmp_path.iterdir() if file.name.startswith("codec-"))
    assert kept.read_bytes() == b"again"
    assert f"again: bin/fuzz --target codec --replay {os.path.relpath(kept)}" in hung
    died = run("echo help >&2; kill -SEGV $$")
    assert "ended with status -11" in died
    assert "again: bin/fuzz --target codec --frames 10 --seed 0" in died


def test_the_launcher_steers_and_sums_up(tmp_path: Path) -> None:
    flags = ["--target", "framing", "--frames", "5000", "--findings", str(tmp_path)]
    told = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert told.returncode == 0, told.stderr
    assert "framing   by chance" in told.stdout
    assert "nothing broke" in told.stdout
    assert not list(tmp_path.iterdir())
