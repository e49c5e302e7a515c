"""What settings are: a frozen dataclass whose fields are flags, variables and keys of a file at once.

A settings object that exists is sound: `__post_init__` checks it, and the error names the flag, what was
found, what is allowed and the fix. `federation.config` has the settings of each role, and `federation.flags`
makes command lines of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from federation.errors import SettingsError

# A setting beyond these is a slip of the hand, not a wish: it would run for years or fill the memory.
MANY = 1_000_000
A_DAY_SECONDS = 86_400.0


def setting(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    metavar: str | None = None,
    section: str = "",
) -> Any:
    """Return a dataclass field that is also a flag.

    Args:
        default: Its default.
        help: Its line of help.
        least: The least number that is allowed.
        most: The greatest number that is allowed.
        above: A bound that the number must be greater than.
        choices: The texts that are allowed.
        metavar: What stands for the value in the help.
        section: Under which heading the help shows it; by default that of its class.
    """
    metadata = {
        "help": help,
        "least": least,
        "most": most,
        "above": above,
        "choices": choices,
        "metavar": metavar,
        "section": section,
    }
    return field(default=default, metadata=metadata)


def flag_of(name: str) -> str:
    """Return the flag of a field: `batch_size` is `--batch-size`."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings. Checks every field by what its `setting` allows.

    Raises:
        SettingsError: A value is not allowed.
    """

    # Settings that say where and how, not what: the record of a run leaves them out.
    LOCAL: ClassVar[frozenset[str]] = frozenset(
        {"workspace", "plain", "track", "listen", "provider", "provider_file"}
        | {"tls", "tls_cert", "tls_key", "tls_ca"}
    )

    # Under which heading the help shows the settings that a class adds.
    SECTION: ClassVar[str] = "Options"

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one, getattr(self, one.name))

    def as_table(self) -> dict[str, Any]:
        """Return the settings as TOML knows values; what is not set is left out."""
        table: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, tuple):
                table[one.name] = [str(item) for item in value]
            elif isinstance(value, bool | int | float):
                table[one.name] = value
            elif value is not None:
                table[one.name] = str(value)
        return table

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Return the settings that `as_table` has made a table of; values may be what they were, too.

        Raises:
            SettingsError: A value is not allowed, or there is no such setting.
        """
        kinds = get_type_hints(cls)
        unknown = sorted(table.keys() - {one.name for one in fields(cls)})
        if unknown:
            raise SettingsError(
                f"{', '.join(unknown)}: no setting that this release knows; go on with the one that wrote it"
            )

        def valued(name: str, value: Any) -> Any:
            kind = kinds[name]
            if isinstance(value, list) and get_origin(kind) is tuple:
                return tuple(value)
            return Path(value) if isinstance(value, str) and Path in (kind, *get_args(kind)) else value

        return cls(**{name: valued(name, value) for name, value in table.items()})

    def for_record(self) -> dict[str, Any]:
        """Return what the record of a run keeps: all that has a say in what is learnt."""
        return {name: value for name, value in self.as_table().items() if name not in self.LOCAL}

    def as_flags(self) -> list[str]:
        """Return the flags that give a role these settings, where they differ from the defaults."""
        flags: list[str] = []
        for one in fields(self):
            value = getattr(self, one.name)
            if value == one.default:
                continue
            if isinstance(value, bool):
                flags += [flag_of(one.name) if value else flag_of(f"no_{one.name}")]
            elif isinstance(value, tuple):
                flags += [part for item in value for part in (flag_of(one.name), str(item))]
            else:
                flags += [flag_of(one.name), str(value)]
        return flags


def _check(one: Field[Any], value: Any) -> None:
    allowed = one.metadata
    flag = flag_of(one.name)
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"{flag} {value}: give a finite number")
    if isinstance(value, int | float) and not isinstance(value, bool):
        least, most, above = allowed["least"], allowed["most"], allowed["above"]
        low = (least is not None and value < least) or (above is not None and value <= above)
        if low or (most is not None and value > most):
            raise SettingsError(f"{flag} {value:,}: {_range_in_words(least, most, above)} is allowed")
    if isinstance(value, str) and allowed["choices"] and value not in allowed["choices"]:
        raise SettingsError(f"{flag} {value}: use one of {', '.join(allowed['choices'])}")


def _range_in_words(least: float | None, most: float | None, above: float | None) -> str:
    start = f"{least:,} or more" if least is not None else f"more than {above:,}"
    return start if most is None else f"{start}, up to {most:,},"
