"""Rows in blocks, as they go from a file that is read to one that is written."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from freelm.errors import DataError, available
from freelm.files.serialization import json_text, plain_type, sound_text

FORMATS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")


def table_format(path: Path) -> str:
    """The format that a file's name says it has, one of `FORMATS`.

    Raises:
        DataError: If it says none of them.
    """
    for ending in FORMATS:
        if path.name.lower().endswith(ending):
            return ending
    raise DataError(f"{path}: unknown kind of file; {available(FORMATS)}")


class Block(ABC):
    """Consecutive rows.

    Attributes:
        faults: Place in the block -> why the row there could not be read.
    """

    faults: Mapping[int, str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def values(self, column: str) -> list[Any]:
        """The values of a column; None where a row has none."""

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """The rows as column -> value, of JSON's types where that is possible."""

    @abstractmethod
    def table(self, schema: pa.Schema) -> pa.Table:
        """The rows as a table of these columns."""


class RecordBlock(Block):
    """Rows of a text format."""

    def __init__(self, records: list[dict[str, Any]], faults: Mapping[int, str]) -> None:
        self._records = records
        self.faults = faults

    def __len__(self) -> int:
        return len(self._records)

    def values(self, column: str) -> list[Any]:
        """The values, of whatever type each of them has."""
        return [record.get(column) for record in self._records]

    def records(self) -> list[dict[str, Any]]:
        """The rows as they were read."""
        return self._records

    def table(self, schema: pa.Schema) -> pa.Table:
        """The rows in types; in a column of text, what is none is written as JSON."""
        columns = [_typed(self.values(field.name), field.type) for field in schema]
        return pa.Table.from_arrays(columns, schema=schema)


class ArrowBlock(Block):
    """Rows of a format with types."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.faults = {}

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def values(self, column: str) -> list[Any]:
        """The values as Python has them."""
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
    except pa.ArrowInvalid:  # a whole number beyond 2**53 in a column that also has fractions
        return pa.array(json.loads(json_text(values), parse_int=float), kind)


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    return sound_text(value) if isinstance(value, str) else json_text(value)
