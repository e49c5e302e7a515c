"""A command line made of settings: each field of a settings class is a flag and an environment variable.

A value comes from the flag, else from the environment, else from the file of `--config`, else from the
default; `--show-config` says which.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from federation.errors import SettingsError
from federation.settings import Settings, flag_of

S = TypeVar("S", bound=Settings)
F = TypeVar("F", bound=Callable[..., Any])

ENVIRONMENT_PREFIX = "FEDERATION_"

# How alike two names are of which one is taken for the other mistyped, 0 to 1 (`difflib`).
MISTYPED = 0.8

# Where a command keeps what its file says: the path, and the line of each setting.
_FILE = "federation.flags.file"


def variable_of(name: str) -> str:
    """Return the environment variable of a field: `batch_size` is `FEDERATION_BATCH_SIZE`."""
    return ENVIRONMENT_PREFIX + name.upper()


def flags_for(settings: type[Settings]) -> Callable[[F], F]:
    """Give a click command the flags of a settings class, `--config` for a file, and `--show-config`."""

    def decorate(command: F) -> F:
        kinds = typing.get_type_hints(settings)
        shown = typing.cast(F, _shows_config(settings, command))
        for one in reversed(_in_reading_order(settings)):
            shown = click.option(
                *_names(one, kinds[one.name]),
                **_how(one, kinds[one.name]),
                cls=_SettingOption,
                section=_section_of(settings, one),
            )(shown)
        shown = click.option(
            "--show-config",
            is_flag=True,
            help="Print every setting, its value and where it comes from; start nothing.",
        )(shown)
        return click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar=variable_of("config"),
            is_eager=True,
            expose_value=False,
            callback=functools.partial(_read_config, {one.name: kinds[one.name] for one in fields(settings)}),
            help="TOML file of these settings; flags and the environment come before it.",
        )(shown)

    return decorate


class SettingsCommand(click.Command):
    """A command with the flags of a settings class.

    Its help has them by sections, and an error says where the value at fault comes from.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command`."""
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            whence = _whence(ctx, error.param.name) if error.param and error.param.name else ""
            if not whence:
                raise
            text = error.message.rstrip(".") + whence
            raise click.BadParameter(text, error.ctx, error.param, error.param_hint) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Command`. What is the command's own comes first."""
        sections: dict[str, list[tuple[str, str]]] = {Settings.SECTION: []}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is not None and isinstance(one, click.Option):  # arguments stand in the text above
                section = one.section if isinstance(one, _SettingOption) else Settings.SECTION
                sections.setdefault(section, []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class _SettingOption(click.Option):
    """A flag that knows under which heading the help shows it."""

    def __init__(self, *names: Any, section: str, **how: Any) -> None:
        super().__init__(*names, **how)
        self.section = section


def settings_of(kind: type[S], flags: Mapping[str, Any]) -> S:
    """Return the settings that the flags of the present command make.

    Raises:
        click.UsageError: They are not sound. The text says where the value at fault comes from.
    """
    try:
        return kind(**flags)
    except SettingsError as error:
        flag = re.match(r"--([a-z][a-z-]*[a-z])", str(error))
        whence = _whence(click.get_current_context(), flag[1].replace("-", "_")) if flag else ""
        raise click.UsageError(f"{error}{whence}") from error


# --- where a value comes from ---------------------------------------------------------------


def _shows_config(settings: type[Settings], command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def shown(*arguments: Any, show_config: bool, **flags: Any) -> Any:
        if not show_config:
            return command(*arguments, **flags)
        for line in _explained(settings, click.get_current_context(), flags):
            click.echo(line)
        settings_of(settings, flags)  # what is wrong with them is said behind them
        return None

    return shown


def _explained(settings: type[Settings], context: click.Context, flags: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line of TOML for each setting, with its origin as the comment: `--config` takes it as it is."""
    rows = []
    for one in _in_reading_order(settings):
        value = flags[one.name]
        if value is None:
            rows.append((f"# {one.name} is not set", ""))
            continue
        rows.append((f"{one.name} = {_in_toml(value)}", _origin(context, one.name)))
    width = max(len(text) for text, origin in rows if origin)
    for text, origin in rows:
        yield f"{text:<{width}}  # {origin}" if origin else text


def _whence(context: click.Context, name: str) -> str:
    """Return the origin of a value for an error text, where that is not plain to see."""
    origin = _origin(context, name)
    return f" (from {origin})" if origin and not origin.startswith(("flag", "default")) else ""


def _origin(context: click.Context, name: str) -> str:
    """Return in words where the value of a setting comes from; empty when it is no setting."""
    match context.get_parameter_source(name):
        case ParameterSource.COMMANDLINE:
            return f"flag {flag_of(name)}"
        case ParameterSource.ENVIRONMENT:
            return variable_of(name)
        case ParameterSource.DEFAULT_MAP:
            path, lines = context.meta[_FILE]
            return f"{path}, line {lines[name]}"
        case ParameterSource.DEFAULT:
            return "default"
    return ""


def unknown_variables(environment: Iterable[str], known: Iterable[type[Settings]]) -> Iterator[str]:
    """Yield a line for each variable that is no setting and nearly one, with the one that was meant."""
    names = {one.name.upper() for kind in known for one in fields(kind)} | {"CONFIG"}
    for variable in sorted(environment):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        near = difflib.get_close_matches(name, names, 1, MISTYPED)
        if name != variable and name not in names and near:
            yield f"{variable} in the environment changes nothing; did you mean {variable_of(near[0])}?"


# --- flags from fields ----------------------------------------------------------------------


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


def _section_of(settings: type[Settings], one: Field[Any]) -> str:
    """Return the heading of a field: its own, or that of the class that has declared it first."""
    declarers = [kind for kind in settings.__mro__ if one.name in inspect.get_annotations(kind)]
    return str(one.metadata["section"]) or str(declarers[-1].__dict__.get("SECTION", Settings.SECTION))


def _names(one: Field[Any], kind: Any) -> list[str]:
    flag = flag_of(one.name)
    if _without_none(kind) is bool and one.default is not False:
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
    if _without_none(kind) is bool:
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


# --- the file -------------------------------------------------------------------------------


def _read_config(
    kinds: Mapping[str, Any], context: click.Context, _parameter: click.Parameter, path: Path | None
) -> None:
    if path is None:
        return
    try:
        context.default_map, lines = read_config(path, kinds)
    except SettingsError as error:
        raise click.UsageError(str(error), context) from error
    context.meta[_FILE] = path, lines


def read_config(path: Path, kinds: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the settings in a TOML file, one table whose keys are the fields' names, and their lines.

    Args:
        path: The file. Keys may be written with '-' or '_'.
        kinds: The names that are allowed, each with its type.

    Raises:
        SettingsError: It cannot be read, is no TOML, or holds an unknown key or a value of another type; the
            text names the line.
    """
    try:
        text = path.read_text()
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config {path}: it cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--config {path}: it is not TOML ({error})") from error
    found, lines = {}, {}
    for key, value in table.items():
        name, line = key.replace("-", "_"), _line_of(text, key)
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(kinds))}"
            raise SettingsError(f"{path}, line {line}: unknown setting {key!r}; {hint}")
        wanted = _wanted(kinds[name], value)
        if wanted:
            raise SettingsError(f"{path}, line {line}: {key} is {_in_toml(value)}; give {wanted}")
        found[name], lines[name] = value, line
    return found, lines


def _wanted(kind: Any, value: Any) -> str:
    """Return in words what a value should have been; empty when it is that."""
    plain = _without_none(kind)
    if typing.get_origin(plain) is tuple:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return "" if fits else 'a list of texts, like ["A", "B"]'
    if plain is bool:
        return "" if isinstance(value, bool) else "true or false"
    if plain is int:
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    if plain is float:
        return "" if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
    return "" if isinstance(value, str) else "a text in quotes"


def _in_toml(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_in_toml, value))}]"
    if isinstance(value, Path):
        value = str(value)
    import tomli_w  # not needed by a command that runs

    return tomli_w.dumps({"_": value}).removeprefix("_ = ").strip()


def _line_of(text: str, key: str) -> int:
    start = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[].=]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if start.match(line)), 1)
