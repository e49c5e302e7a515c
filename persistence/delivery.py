"""Where what `bin/report` has to say goes: to stdout or into a file, as text or as bytes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, RenderableType

from persistence.canvas import save
from persistence.errors import MissingExtra
from persistence.selection import Wish
from persistence.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The forms that are a table of plain rows.
OF_ROWS = ("csv", "jsonl", "parquet")


class CannotShow(ValueError):
    """What is wished cannot be shown. The text says why, and the fix."""


def deliver_rows(table: Table, wish: Wish) -> None:
    """Write a table in the form that is wished, one of `OF_ROWS`.

    Raises:
        CannotShow: The file cannot be written, a package is missing, or bytes would go to a terminal.
    """
    if wish.form == "parquet" and wish.out is None and sys.stdout.isatty():
        raise CannotShow("--format parquet: it is no text for a terminal; add --out FILE")
    deliver(rows_in(table, wish.form), wish)


def rows_in(table: Table, form: str) -> str | bytes:
    """Return a table in one of the forms of `OF_ROWS`.

    Raises:
        CannotShow: A package is missing.
    """
    match form:
        case "csv":
            return table.as_csv()
        case "jsonl":
            return table.as_jsonl()
    try:
        return table.as_parquet()
    except MissingExtra as error:
        raise CannotShow(f"--format {form}: {error}") from error


def deliver_json(told: Any, wish: Wish) -> None:
    """Write something as indented JSON. Raises CannotShow: the file cannot be written."""
    deliver(json.dumps(told, indent=2, allow_nan=False) + "\n", wish)


def deliver_shown(shown: RenderableType, wish: Wish) -> None:
    """Write what people look at, as wide as the terminal. Raises CannotShow: the file cannot be written."""
    console = Console(highlight=False)
    if wish.out is None:
        console.print(shown)
        return
    with console.capture() as captured:
        console.print(shown)
    deliver(captured.get(), wish)


def deliver(content: str | bytes, wish: Wish) -> None:
    """Write text or bytes. Raises CannotShow: the file cannot be written."""
    if wish.out is None:
        click.echo(content, nl=False)
        return
    write_file(wish.out, content, "--out")
    click.echo(f"the {wish.form} is in {wish.out}", err=True)


def write_csv(table: Table, path: Path) -> None:
    """Write a table into the file of --csv, and say so. Raises CannotShow: it cannot be written."""
    write_file(path, table.as_csv(), "--csv")
    click.echo(f"the CSV is in {path}", err=True)


def write_picture(figure: Figure, path: Path) -> None:
    """Write a picture into the file of --plot, and say so.

    Raises:
        CannotShow: It cannot be written, or its ending names no format.
    """
    try:
        save(figure, path)
    except ValueError as error:
        raise CannotShow(f"--plot {path}: {error}") from error
    except OSError as error:
        raise CannotShow(f"--plot {path}: cannot be written: {error.strerror}; give another path") from error
    click.echo(f"the picture is in {path}", err=True)


def write_file(path: Path, content: str | bytes, flag: str) -> None:
    """Write a file that a flag names. Raises CannotShow: it cannot be written."""
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise CannotShow(f"{flag} {path}: cannot be written: {error.strerror}; give another path") from error
