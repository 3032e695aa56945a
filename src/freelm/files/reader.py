"""Reading CSV, JSON Lines and Parquet files in blocks of rows; bad rows are reported, none is lost.

A file is streamed, never held in memory. Opening it reads it once, for its columns, their types and
the number of rows. Blank lines are not rows. CSV cells are text; a JSON column has the type that
all its values share, or is text.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from freelm.errors import DataError
from freelm.files.tables import ArrowBlock, Block, RecordBlock
from freelm.io.tables import (
    Row,
    check_unique_columns,
    open_parquet,
    read_csv_header,
    read_csv_rows,
    read_jsonl_rows,
    table_format,
)

SCAN_ROWS = 256
"""Rows that are read together."""


class Source(ABC):
    """A file of rows.

    Args:
        path: The file.

    Attributes:
        num_rows: Rows, bad ones included.
        schema: The columns, with types for a typed output format.

    Raises:
        DataError: If it cannot be read in its format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_rows, self.schema = self._scan()

    @abstractmethod
    def _scan(self) -> tuple[int, pa.Schema]: ...

    @abstractmethod
    def blocks(self, start: int, stop: int, sizes: Iterator[int]) -> Iterator[Block]:
        """The rows from `start` (counted from 0) up to, not including, `stop`.

        Args:
            start: First row.
            stop: End.
            sizes: Rows of each block; endless.
        """


class _LineSource(Source):
    """A text format: rows are read sequentially from the first."""

    @abstractmethod
    def _rows(self) -> Iterator[Row]:
        """(what could be read of a row, why it is bad or None) for each row."""

    def blocks(self, start: int, stop: int, sizes: Iterator[int]) -> Iterator[Block]:
        """The rows; those before `start` are read and skipped."""
        rows = islice(self._rows(), start, stop)
        while pairs := list(islice(rows, next(sizes))):
            faults = {i: fault for i, (_, fault) in enumerate(pairs) if fault is not None}
            yield RecordBlock([record for record, _ in pairs], faults)


class CsvSource(_LineSource):
    """Rows of a comma-separated file with a header; quoted cells may contain line breaks."""

    def _scan(self) -> tuple[int, pa.Schema]:
        header = read_csv_header(self.path)
        num_rows = sum(1 for _ in self._rows())
        return num_rows, pa.schema([(name, pa.string()) for name in header])

    def _rows(self) -> Iterator[Row]:
        return read_csv_rows(self.path)


class JsonlSource(_LineSource):
    """Rows of a file with one JSON object per line."""

    def _scan(self) -> tuple[int, pa.Schema]:
        num_rows, kinds = 0, dict[str, pa.DataType]()
        rows = (record for record, _ in self._rows())
        while records := list(islice(rows, SCAN_ROWS)):
            num_rows += len(records)
            for name in dict.fromkeys(name for record in records for name in record):
                values = [record[name] for record in records if name in record]
                kinds[name] = _shared_type(kinds.get(name, pa.null()), values)
        return num_rows, pa.schema([(name, _storable(kind)) for name, kind in kinds.items()])

    def _rows(self) -> Iterator[Row]:
        return read_jsonl_rows(self.path)


def _shared_type(known_type: pa.DataType, values: list[Any]) -> pa.DataType:
    """Extend a column's type to these values; text if there is no common type."""
    try:
        both = [pa.schema([("", kind)]) for kind in (known_type, pa.array(values).type)]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except (pa.ArrowException, OverflowError, UnicodeError):
        return pa.string()


def _storable(kind: pa.DataType) -> pa.DataType:
    """A type that Parquet can store: text instead of only nulls or only `{}`."""
    if pa.types.is_struct(kind) and "struct<>" not in str(kind):
        return pa.struct([field.with_type(_storable(field.type)) for field in kind])
    if pa.types.is_list(kind) and "struct<>" not in str(kind):
        return pa.list_(_storable(kind.value_type))
    return pa.string() if pa.types.is_null(kind) or pa.types.is_nested(kind) else kind


class ParquetSource(Source):
    """Rows of a Parquet file, read one row group at a time."""

    def _scan(self) -> tuple[int, pa.Schema]:
        with open_parquet(self.path) as table:
            check_unique_columns(self.path, table.schema.names)
            return table.file.metadata.num_rows, table.schema

    def blocks(self, start: int, stop: int, sizes: Iterator[int]) -> Iterator[Block]:
        """The rows; row groups before `start` are not read."""
        with open_parquet(self.path) as table:
            groups, skipped = _groups_from(table.file.metadata, start)
            tables = table.batches(SCAN_ROWS, groups)
            for block in _regrouped(tables, start - skipped, stop - start, sizes):
                yield ArrowBlock(block)


def _groups_from(metadata: pq.FileMetaData, start: int) -> tuple[list[int], int]:
    """The row groups with rows from `start` on, and the number of rows before them."""
    before = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if before + rows > start:
            return list(range(group, metadata.num_row_groups)), before
        before += rows
    return [], start


def _regrouped(
    tables: Iterator[pa.Table], skip: int, count: int, sizes: Iterator[int]
) -> Iterator[pa.Table]:
    """`count` rows after the first `skip`, in tables of the given sizes."""
    pending: list[pa.Table] = []
    size = min(next(sizes), count)
    for table in tables:
        rows = table.slice(skip)
        skip -= table.num_rows - rows.num_rows
        pending.append(rows)
        while count and sum(part.num_rows for part in pending) >= size:
            whole = pa.concat_tables(pending)
            yield whole.slice(0, size)
            pending = [whole.slice(size)]
            count -= size
            size = min(next(sizes), count)
        if not count:
            return


def open_source(path: Path) -> Source:
    """Open a file of rows.

    Raises:
        DataError: If it is missing, of an unknown format or not in the format of its name.
    """
    ending = table_format(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if ending == ".parquet":
        return ParquetSource(path)
    return CsvSource(path) if ending.startswith(".csv") else JsonlSource(path)
