"""`Table`: columns of a kind and rows of values, in every form that other tools open."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from persistence.errors import MissingExtra

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["text", "whole", "number"]


class Column(NamedTuple):
    """A column.

    Attributes:
        name: Its head.
        kind: What its values are where they are not None: text, whole numbers or floats.
    """

    name: str
    kind: Kind


def columns(kinds: Mapping[Kind, str]) -> dict[str, Column]:
    """Return columns by name from their names by kind, with spaces between."""
    return {name: Column(name, kind) for kind, names in kinds.items() for name in names.split()}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads; a missing value is None.

    Attributes:
        columns: The columns, in order.
        rows: The rows, each with a value for every column.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, columns: Iterable[Column], rows: Iterable[Mapping[str, Any]]) -> Table:
        """Make a table of rows by name; what a row does not have is missing."""
        columns = tuple(columns)
        return cls(columns, tuple(tuple(row.get(one.name) for one in columns) for row in rows))

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(one.name for one in self.columns)

    def only(self, *names: str) -> Table:
        """Return the table with these columns alone."""
        places = [self.heads.index(name) for name in names]
        rows = tuple(tuple(row[place] for place in places) for row in self.rows)
        return Table(tuple(self.columns[place] for place in places), rows)

    # --- forms ------------------------------------------------------------------------------

    def as_csv(self) -> str:
        """Return CSV with a line of heads, a missing value empty (RFC 4180, but for the line ends)."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.heads)
        writer.writerows(self.rows)
        return text.getvalue()

    def as_jsonl(self) -> str:
        """Return a JSON object on each line, a missing value null."""
        heads = self.heads
        lines = (json.dumps(dict(zip(heads, row, strict=True)), allow_nan=False) for row in self.rows)
        return "".join(f"{line}\n" for line in lines)

    def as_parquet(self) -> bytes:
        """Return a Parquet file: string, int64 and double, whatever is missing.

        Raises:
            MissingExtra: pyarrow is not installed.
        """
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingExtra("pyarrow", extra="tables") from error
        kinds = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64()}
        arrays = {one.name: pa.array(self._values(one), kinds[one.kind]) for one in self.columns}
        sink = io.BytesIO()
        pq.write_table(pa.table(arrays), sink)
        return sink.getvalue()

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame. Whole numbers are int64, or Int64 in a column where some are missing.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtra("pandas", extra="tables") from error
        series = {}
        for one in self.columns:
            values = self._values(one)
            whole = "Int64" if None in values else "int64"
            series[one.name] = pd.Series(
                values, dtype={"text": "str", "whole": whole, "number": "float64"}[one.kind]
            )
        return pd.DataFrame(series)

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{html.escape(head)}</th>" for head in self.heads)
        rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in self.rows)
        return f'<table class="dataframe"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'

    def _values(self, column: Column) -> list[Any]:
        place = self.columns.index(column)
        return [row[place] for row in self.rows]


def page(words: str, table: Table) -> str:
    """Return what a notebook shows of a result: a line of words, and a table."""
    return f"<p>{html.escape(words)}</p>{table._repr_html_()}"


def _cell(value: Any) -> str:
    if value is None:
        return "<td></td>"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"<td>{html.escape(text)}</td>"
