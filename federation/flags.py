"""A command line made of settings: each field of a settings class is a flag and an environment variable."""

from __future__ import annotations

import difflib
import inspect
import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from federation.config import Settings, flag_of
from federation.errors import SettingsError

S = TypeVar("S", bound=Settings)
F = TypeVar("F", bound=Callable[..., Any])

ENVIRONMENT_PREFIX = "FEDERATION_"


def variable_of(name: str) -> str:
    """Return the environment variable of a field: `batch_size` is `FEDERATION_BATCH_SIZE`."""
    return ENVIRONMENT_PREFIX + name.upper()


def flags_for(settings: type[Settings]) -> Callable[[F], F]:
    """Give a click command the flags of a settings class, and `--config` for a file of them.

    A value comes from the flag, else from the environment, else from the file, else from the default.
    """

    def decorate(command: F) -> F:
        kinds = typing.get_type_hints(settings)
        for one in reversed(_in_reading_order(settings)):
            command = click.option(*_names(one, kinds[one.name]), **_how(one, kinds[one.name]))(command)
        return click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar=variable_of("config"),
            is_eager=True,
            expose_value=False,
            callback=_read_config,
            help="TOML file of these settings; flags and the environment come before it.",
        )(command)

    return decorate


def _in_reading_order(settings: type[Settings]) -> list[Field[Any]]:
    """Return the fields of the bases as the class names them, then its own.

    (`dataclasses.fields` begins with the last base.)
    """
    own, *bases = settings.__mro__
    declared = [inspect.get_annotations(one) for one in (*bases, own)]
    return sorted(
        fields(settings),
        key=lambda one: max(place for place, names in enumerate(declared) if one.name in names),
    )


def _names(one: Field[Any], kind: Any) -> list[str]:
    flag = flag_of(one.name)
    if kind is bool and one.default is True:
        return [one.name, f"{flag}/--no-{flag.removeprefix('--')}"]
    return [one.name, flag]


def _how(one: Field[Any], kind: Any) -> dict[str, Any]:
    metadata = one.metadata
    how: dict[str, Any] = {
        "help": metadata["help"],
        "envvar": variable_of(one.name),
        "show_default": one.default not in ("", None, MISSING) and not isinstance(one.default, bool),
    }
    if one.default is not MISSING:
        how["default"] = one.default
    if kind is bool:
        return {**how, "is_flag": True}
    if metadata["metavar"]:
        how["metavar"] = metadata["metavar"]
    if typing.get_origin(kind) is tuple:
        return {**how, "multiple": True, "type": str}
    plain = _without_none(kind)
    if metadata["choices"]:
        return {**how, "type": click.Choice(metadata["choices"])}
    return {**how, "type": click.Path(path_type=Path) if plain is Path else plain}


def _without_none(kind: Any) -> Any:
    if isinstance(kind, types.UnionType):
        (kind,) = (one for one in typing.get_args(kind) if one is not type(None))
    return kind


def _read_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        context.default_map = read_config(path, {name.name or "" for name in context.command.params})
    except SettingsError as error:
        raise click.UsageError(str(error), context) from error


def read_config(path: Path, known: set[str]) -> dict[str, Any]:
    """Return the settings in a TOML file: one table, whose keys are the fields' names.

    Args:
        path: The file. Keys may be written with '-' or '_'.
        known: The names that are allowed.

    Raises:
        SettingsError: It cannot be read, is no TOML, or holds an unknown key; the text names the line.
    """
    try:
        text = path.read_text()
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config {path}: it cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--config {path}: it is not TOML ({error})") from error
    found = {key.replace("-", "_"): value for key, value in table.items()}
    for key in table:
        if key.replace("-", "_") not in known:
            near = difflib.get_close_matches(key.replace("-", "_"), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            raise SettingsError(f"{path}, line {_line_of(text, key)}: unknown setting {key!r}; {hint}")
    return found


def _line_of(text: str, key: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip(" [\"'").startswith(key):
            return number
    return 1
