"""Blocks of rows: what readers return and writers take."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

import pyarrow as pa

from freelm.files.serialization import json_text, plain_type, sound_text


class Block(ABC):
    """Consecutive rows.

    Attributes:
        faults: Index in the block -> why that row could not be read.
    """

    faults: Mapping[int, str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def values(self, column: str) -> list[Any]:
        """The values of a column; None where a row has no value."""

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """The rows as mappings column -> value, with JSON types where possible."""

    @abstractmethod
    def table(self, schema: pa.Schema) -> pa.Table:
        """The rows as a table with these columns."""


class RecordBlock(Block):
    """Rows of a text format."""

    def __init__(self, records: list[dict[str, Any]], faults: Mapping[int, str]) -> None:
        self._records = records
        self.faults = faults

    def __len__(self) -> int:
        return len(self._records)

    def values(self, column: str) -> list[Any]:
        """The values, each with the type it has in the file."""
        return [record.get(column) for record in self._records]

    def records(self) -> list[dict[str, Any]]:
        """The rows as they were read."""
        return self._records

    def table(self, schema: pa.Schema) -> pa.Table:
        """The rows in typed columns; in a text column, other values become JSON."""
        columns = [_typed(self.values(field.name), field.type) for field in schema]
        return pa.Table.from_arrays(columns, schema=schema)


class ArrowBlock(Block):
    """Rows of a typed format."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.faults = {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def values(self, column: str) -> list[Any]:
        """The values as Python objects."""
        return cast(list[Any], self._table.column(column).to_pylist())

    def records(self) -> list[dict[str, Any]]:
        """The rows with times and decimals as text."""
        plain = pa.schema([(field.name, plain_type(field.type)) for field in self._table.schema])
        return cast(list[dict[str, Any]], self._table.cast(plain).to_pylist())

    def table(self, schema: pa.Schema) -> pa.Table:
        """The rows as they were read."""
        return self._table


def _typed(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return pa.array([_as_text(value) for value in values], kind)
    try:
        return pa.array(values, kind)
    except pa.ArrowInvalid:  # an integer beyond 2**53 in a column of floats
        return pa.array(json.loads(json_text(values), parse_int=float), kind)


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    return sound_text(value) if isinstance(value, str) else json_text(value)
