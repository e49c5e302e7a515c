"""Frozen rows as columns: the fields of a dataclass, named as the columns of its table are."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def insert(
    connection: sqlite3.Connection, table: str, columns: Mapping[str, Any], *, replace: bool = False
) -> None:
    """Insert one row. Names of tables and columns come from our own code, never from outside."""
    verb = "INSERT OR REPLACE" if replace else "INSERT"
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    connection.execute(f"{verb} INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))


def insert_many(connection: sqlite3.Connection, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows of the same columns, a thousand as one statement."""
    rest = iter(rows)
    for first in rest:
        names, marks = ", ".join(first), ", ".join("?" * len(first))
        values = (tuple(row.values()) for row in chain([first], rest))
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)  # noqa: S608


def columns_of(row: DataclassInstance) -> dict[str, Any]:
    """Return the fields of a row, which are named as its columns are."""
    return {one.name: plain(getattr(row, one.name)) for one in fields(row)}


def plain(value: Any) -> Any:
    """Return what a column can hold: Python's own numbers, and None for one that is not finite."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None  # SQLite keeps NaN as NULL anyway
    return value


def without(row: sqlite3.Row, *columns: str) -> dict[str, Any]:
    """Return the row as a dict, but for some of its columns."""
    return {name: value for name, value in dict(row).items() if name not in columns}
