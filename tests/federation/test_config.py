"""Settings: what is allowed, what an error says, and the way to a command line and back."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from federation.config import (
    Address,
    AggregatorConfig,
    EvaluatorConfig,
    ProviderConfig,
    StartConfig,
    WorkersConfig,
    worker_name,
)
from federation.errors import SettingsError
from federation.flags import flags_for
from federation.settings import Settings

ALL = [StartConfig, ProviderConfig, AggregatorConfig, EvaluatorConfig, WorkersConfig]


def parsed(kind: type[Settings], arguments: list[str], **environment: str) -> Settings:
    """Return the settings that a command line makes."""
    seen: list[Settings] = []

    @click.command()
    @flags_for(kind)
    def command(**flags: Any) -> None:
        seen.append(kind(**flags))

    result = CliRunner().invoke(command, arguments, env=environment, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


@pytest.mark.parametrize("kind", ALL)
def test_an_empty_command_line_gives_the_defaults(kind: type[Settings]) -> None:
    assert parsed(kind, []) == kind()


@pytest.mark.parametrize("kind", ALL)
def test_every_flag_has_its_line_of_help(kind: type[Settings]) -> None:
    for one in fields(kind):
        assert one.metadata["help"].endswith((".", "].")), one.name


providers = st.builds(
    ProviderConfig,
    rounds=st.integers(1, 1000),
    learning_rate=st.floats(0, 10, exclude_min=True),
    mu=st.floats(0, 10),
    seed=st.integers(0, 2**32),
    alone=st.booleans(),
    run=st.sampled_from(["", "20261124-a_run.2"]),
    workspace=st.sampled_from([Path("workspace"), Path("else where")]),
    listen=st.sampled_from(["127.0.0.1:0", "[::1]:7000"]),
    provider_file=st.sampled_from([None, Path("here.json")]),
)


@given(providers)
def test_settings_come_back_from_their_own_flags(config: ProviderConfig) -> None:
    assert parsed(ProviderConfig, config.as_flags()) == config


def test_regions_come_back_from_their_own_flags() -> None:
    config = WorkersConfig(region=("A", "far/region_Z.npz"))

    assert parsed(WorkersConfig, config.as_flags()) == config


def test_a_flag_comes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("rounds = 1\nepochs = 1\nbatch-size = 7\n")

    config = parsed(
        StartConfig,
        ["--config", str(tmp_path / "job.toml"), "--rounds", "3"],
        FEDERATION_ROUNDS="2",
        FEDERATION_EPOCHS="2",
    )

    assert isinstance(config, StartConfig)
    assert (config.rounds, config.epochs, config.batch_size) == (3, 2, 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rounds = 3\n[training]\nepochs = 2\n", "line 2: unknown setting 'training'"),
        ("rouns = 3\n", "line 1: unknown setting 'rouns'; did you mean 'rounds'?"),
        ("rounds == 3\n", "it is not TOML"),
    ],
)
def test_a_file_with_a_mistake_says_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "job.toml"
    path.write_text(text)

    @click.command()
    @flags_for(StartConfig)
    def command(**_flags: Any) -> None:
        raise AssertionError("it must not come to this")

    result = CliRunner().invoke(command, ["--config", str(path)])

    assert result.exit_code == 2
    assert words in result.output


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rounds": 0}, "--rounds 0: 1 or more, up to 1,000,000, is allowed"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0: more than 0.0 is allowed"),
        ({"learning_rate": math.inf}, "--learning-rate inf: give a finite number"),
        ({"mu": -1.0}, "--mu -1.0: 0.0 or more is allowed"),
        ({"source": "mnist"}, "--source mnist: use one of synthetic, digits"),
        ({"listen": "7000"}, "--listen 7000: give HOST:PORT"),
        ({"listen": "host:70000"}, "--listen host:70000: give HOST:PORT, the port from 0 to 65535"),
        ({"name": "../up"}, "--name '../up': use up to 80 letters"),
        ({"samples": 10}, "--samples 10: 50 or more"),
        ({"min_workers": 4}, "--min-workers 4: 1 or more, up to 3, is allowed"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_fix(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as error:
        StartConfig(**values)

    assert words in str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"provider": "host:1", "provider_file": Path("x")}, "both say where the Provider is"),
        ({"provider": "host:0"}, "port 0 cannot be reached"),
        ({"region": ()}, "--region: give at least one"),
        ({"region": ("A", "elsewhere/region_A.npz")}, "--region A: given twice"),
    ],
)
def test_settings_of_workers_that_contradict_each_other(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        WorkersConfig(**values)


def test_a_region_is_a_name_in_the_dataset_or_a_file() -> None:
    config = WorkersConfig(workspace=Path("w"))

    assert config.region_file("A") == Path("w/dataset/region_A.npz")
    assert config.region_file("./mine.npz") == Path("mine.npz")
    assert WorkersConfig(dataset=Path("d")).region_file("A") == Path("d/region_A.npz")
    assert [worker_name(one) for one in ("A", "d/region_A.npz", "d/lake.npz")] == ["A", "A", "lake"]


def test_the_digits_have_a_dataset_of_their_own() -> None:
    assert StartConfig(source="digits").dataset == Path("workspace/digits/dataset")


def test_the_record_keeps_what_has_a_say_in_the_learning() -> None:
    kept = ProviderConfig(rounds=3, provider_file=Path("x")).for_record()

    assert kept["rounds"] == 3
    assert not {"workspace", "listen", "provider_file"} & kept.keys()


@pytest.mark.parametrize("text", ["127.0.0.1:7000", "[::1]:0", "host.example:65535"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(Address.parse(text, "--listen")) == text
