"""What a run leaves in its folder, and how another start goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from federation.config import StartConfig
from federation.errors import SettingsError
from federation.results import settings_to_resume, write_settings
from federation.workspace import RunFolder
from persistence import RunRow

CHOSEN = frozenset({"workspace", "resume"})


def run_row(name: str) -> RunRow:
    return RunRow(id=1, name=name, created_unix=1e9, settings={}, seed=0, source="test", synthetic=True)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Return the folder of a run that began with 7 rounds of one epoch."""
    folder = RunFolder(tmp_path / "runs" / "first")
    write_settings(folder, StartConfig(workspace=tmp_path, rounds=7, epochs=1).as_table())
    return folder


def resumed(
    folder: RunFolder, wanted: str = "last", chosen: frozenset[str] = CHOSEN, **given: Any
) -> StartConfig:
    config = StartConfig(workspace=folder.path.parents[1], resume=wanted, **given)
    table, found = settings_to_resume(
        config, wanted, [run_row("first")], chosen, free=frozenset({"rounds"}), fresh=CHOSEN
    )
    assert found == folder
    return StartConfig.from_table(table)


def test_a_run_goes_on_with_what_it_began_with(folder: RunFolder) -> None:
    config = resumed(folder)

    assert (config.rounds, config.epochs, config.resume) == (7, 1, "last")


def test_what_is_free_may_be_given_anew(folder: RunFolder) -> None:
    config = resumed(folder, "first", CHOSEN | {"rounds"}, rounds=9)

    assert (config.rounds, config.epochs) == (9, 1)


def test_what_would_make_it_another_run_is_refused(folder: RunFolder) -> None:
    with pytest.raises(SettingsError, match="--epochs: a run goes on with the settings it began with"):
        resumed(folder, chosen=CHOSEN | {"epochs"}, epochs=3)


def test_a_run_that_there_is_not_is_told_with_the_latest(folder: RunFolder) -> None:
    with pytest.raises(SettingsError, match=r"no run of that name in .*; the latest is first"):
        resumed(folder, "second")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"rounds = ", "--resume first: its settings cannot be read"),
        (b"\xff\xfe", "--resume first: its settings cannot be read"),
        (b"rounds = 3\nlater = 1\n", "later: no setting that this release knows"),
    ],
)
def test_settings_that_cannot_be_gone_on_with_are_told_in_a_line(
    folder: RunFolder, content: bytes, words: str
) -> None:
    folder.settings.write_bytes(content)

    with pytest.raises(SettingsError, match=words):
        resumed(folder)
