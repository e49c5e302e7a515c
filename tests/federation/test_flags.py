"""Where a setting comes from, as `--show-config` and errors say it, and what a file may hold."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from federation.__main__ import main
from federation.config import ProviderConfig, StartConfig, WorkersConfig
from federation.flags import read_config, unknown_variables
from federation.settings import flag_of


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment)


def shown(result: Result) -> dict[str, tuple[str, str]]:
    """Return each setting's value, as text, and its origin."""
    assert result.exit_code == 0, result.output
    rows = {}
    for line in result.stdout.splitlines():
        if not line.startswith("#"):
            setting, _, origin = line.partition("  # ")
            name, _, value = setting.partition(" = ")
            rows[name] = value.strip(), origin
    return rows


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.toml"
    path.write_text('# my job\nrounds = 7\n\n"batch-size" = 64\nseed = 1\n')
    return path


def test_each_value_is_shown_with_where_it_comes_from(job: Path) -> None:
    rows = shown(
        run(
            "start",
            "--config",
            str(job),
            "--show-config",
            "--seed=4",
            FEDERATION_EPOCHS="3",
            FEDERATION_SEED="2",
        )
    )

    assert rows["rounds"] == ("7", f"{job}, line 2")
    assert rows["batch_size"] == ("64", f"{job}, line 4")
    assert rows["epochs"] == ("3", "FEDERATION_EPOCHS")
    assert rows["seed"] == ("4", "flag --seed"), "the flag comes before the environment and the file"
    assert rows["workspace"] == ('"workspace"', "default")


def test_what_is_not_set_is_said_to_be_so() -> None:
    assert "# tls_cert is not set" in run("provider", "--show-config").stdout.splitlines()


@pytest.mark.parametrize(
    ("role", "flags"),
    [
        ("start", ["--source=digits", "--no-alone", "--name=my-run"]),
        ("provider", ["--min-workers=3", "--provider-file=here.json"]),
        ("workers", ["--region=A", "--region=dir/region_\"odd'.npz", "--provider=[::1]:7000"]),
    ],
)
def test_what_is_shown_is_a_file_that_gives_the_same_settings(
    tmp_path: Path, role: str, flags: list[str]
) -> None:
    first = run(role, *flags, "--show-config")
    (tmp_path / "saved.toml").write_text(first.stdout)

    again = shown(run(role, "--config", str(tmp_path / "saved.toml"), "--show-config"))

    assert {name: value for name, (value, _) in again.items()} == {
        name: value for name, (value, _) in shown(first).items()
    }
    assert all("saved.toml, line" in origin for _, origin in again.values())


def test_settings_that_are_not_sound_are_shown_all_the_same() -> None:
    result = run("start", "--rounds=0", "--show-config")

    assert result.exit_code == 2
    assert "rounds = 0" in result.stdout
    assert "--rounds 0: 1 or more" in result.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("rounds = 0", "--rounds 0: 1 or more, up to 1,000,000, is allowed (from "),
        ("rounds = 3.5", "rounds is 3.5; give a whole number"),
        ("rounds = true", "rounds is true; give a whole number"),
        ("learning-rate = '0.1'", 'learning-rate is "0.1"; give a number'),
        ("alone = 'no'", 'alone is "no"; give true or false'),
        ("workspace = 3", "workspace is 3; give a text in quotes"),
        ("source = 'mnist'", "'mnist' is not one of"),
        ("roundz = 3", "unknown setting 'roundz'; did you mean 'rounds'?"),
    ],
)
def test_a_wrong_value_in_a_file_is_named_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "job.toml"
    path.write_text(f"# rounds = 5\nsamples = 100\n{line}\n")

    result = run("start", "--config", str(path))

    assert result.exit_code == 2
    assert words in result.stderr
    assert f"{path}, line 3" in result.stderr


def test_regions_in_a_file_are_a_list(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('region = "AB"\n')

    result = run("workers", "--config", str(tmp_path / "job.toml"))

    assert 'line 1: region is "AB"; give a list of texts, like ["A", "B"]' in result.stderr


@pytest.mark.parametrize("value", ["0", "many"])
def test_a_wrong_value_in_the_environment_is_named_with_its_variable(value: str) -> None:
    result = run("start", FEDERATION_ROUNDS=value)

    assert result.exit_code == 2
    assert result.stderr.strip().endswith("(from FEDERATION_ROUNDS)")


def test_a_wrong_flag_needs_no_word_about_where_it_comes_from() -> None:
    assert "(from" not in run("start", "--rounds=0").stderr


def test_a_key_whose_name_begins_another_has_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "file.toml"
    path.write_text("rounds_more = 1\nrounds = 2\n")

    _, lines = read_config(path, {"rounds": int, "rounds_more": int})

    assert lines == {"rounds_more": 1, "rounds": 2}


def test_a_mistyped_variable_is_told_with_the_one_that_was_meant() -> None:
    known = (StartConfig, ProviderConfig, WorkersConfig)
    seen = ["FEDERATION_ROUND", "FEDERATION_EPOCHS", "FEDERATION_CONFIG", "FEDERATION_OTHER", "ROUND"]

    assert list(unknown_variables(seen, known)) == [
        "FEDERATION_ROUND in the environment changes nothing; did you mean FEDERATION_ROUNDS?"
    ]
    result = run("start", "--show-config", FEDERATION_ROUND="3")
    assert result.exit_code == 0
    assert "warning: FEDERATION_ROUND in the environment changes nothing" in result.stderr


def test_every_role_can_show_its_settings() -> None:
    for name, command in main.commands.items():
        options: list[Any] = [one for one in command.params if isinstance(one, click.Option)]
        if any(option.name == "config" for option in options):
            assert shown(run(name, "--show-config")), name


def test_the_help_has_the_flags_by_sections() -> None:
    help_text = run("start", "--help").stdout

    sections = [line.removesuffix(":") for line in help_text.splitlines() if re.fullmatch(r"[A-Z]\w+:", line)]
    assert sections == ["Options", "Training", "Rounds", "Strategy", "Files", "Network"]
    rounds = help_text.partition("\nRounds:\n")[2].partition("\nStrategy:\n")[0]
    assert "--quorum" in rounds
    assert "--momentum" not in rounds
    shown = set(re.findall(r"^  (--[a-z0-9-]+)", help_text, re.MULTILINE))
    assert {flag_of(one.name) for one in fields(StartConfig)} <= shown, "none is left out"
