"""Writing rows with their answers as CSV, JSON Lines or Parquet.

The same blocks of rows always give the same bytes.
"""

import csv
import gzip
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from freelm.files.serialization import csv_cell, json_text
from freelm.files.tables import Block
from freelm.io.atomic import fsync

ROW_GROUP = 16_384
"""Rows of a Parquet row group at most."""

ROW_GROUP_BYTES = 64 << 20
"""A row group is also written when its rows take this many bytes of memory."""


class Writer(ABC):
    """Writes rows with their answers."""

    @abstractmethod
    def write(self, block: Block, answers: pa.Table) -> None:
        """Write rows, each with its row of answers."""

    @abstractmethod
    def close(self) -> None:
        """Write what is buffered; the file stays open."""

    @abstractmethod
    def discard(self) -> None:
        """Abandon the file after an error."""


class _LineWriter(Writer):
    """A text format: rows are written at once."""

    def close(self) -> None:
        """Nothing is buffered."""

    def discard(self) -> None:
        """There is nothing to abandon."""


class JsonlWriter(_LineWriter):
    """One JSON object per line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, block: Block, answers: pa.Table) -> None:
        """Write each row's own keys, then its answers."""
        for record, answer in zip(block.records(), answers.to_pylist(), strict=True):
            self._file.write(f"{json_text({**record, **answer})}\n".encode())


class CsvWriter(_LineWriter):
    """A header, then a line per row; no cell is a formula (`freelm.files.serialization`)."""

    def __init__(self, file: BinaryIO, columns: list[str]) -> None:
        self._columns = columns
        lines = SimpleNamespace(write=lambda line: file.write(line.encode()))
        self._plain = csv.writer(lines, lineterminator="\n")
        self._quoted = csv.writer(lines, lineterminator="\n", quoting=csv.QUOTE_ALL)
        self._row(dict(zip(columns, columns, strict=True)))

    def write(self, block: Block, answers: pa.Table) -> None:
        """Write each row's cells; missing ones are empty."""
        for record, answer in zip(block.records(), answers.to_pylist(), strict=True):
            self._row({**record, **answer})

    def _row(self, record: dict[str, Any]) -> None:
        cells = [csv_cell(record.get(name)) for name in self._columns]
        # Before Python 3.13 the csv module does not quote a carriage return.
        (self._quoted if any("\r" in cell for cell in cells) else self._plain).writerow(cells)


class ParquetWriter(Writer):
    """Row groups of bounded size; every column keeps its type."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, num_own: int) -> None:
        self._own = pa.schema(list(schema)[:num_own])
        self._schema = schema
        self._file = pq.ParquetWriter(file, schema)
        self._buffered: list[pa.Table] = []

    def write(self, block: Block, answers: pa.Table) -> None:
        """Buffer rows and write them when there are enough for a row group."""
        columns = [*block.table(self._own).columns, *answers.columns]
        self._buffered.append(pa.Table.from_arrays(columns, schema=self._schema))
        rows = sum(table.num_rows for table in self._buffered)
        if rows >= ROW_GROUP or sum(table.nbytes for table in self._buffered) >= ROW_GROUP_BYTES:
            self._write_buffered()

    def close(self) -> None:
        """Write the last row group and the footer."""
        self._write_buffered()
        self._file.close()

    def discard(self) -> None:
        """Keep the destructor from writing a footer into a closed file."""
        self._file.is_open = False

    def _write_buffered(self) -> None:
        if self._buffered:
            self._file.write_table(pa.concat_tables(self._buffered))
        self._buffered = []


@contextmanager
def open_writer(path: Path, ending: str, own: pa.Schema, answers: pa.Schema) -> Iterator[Writer]:
    """Open a file for writing; it is on disk when the block ends without an error.

    Args:
        path: The file.
        ending: Its format, one of `freelm.io.tables.FORMATS`.
        own: Columns of the rows themselves.
        answers: Columns of the answers.

    Raises:
        OSError: If it cannot be written.
    """
    with path.open("wb") as raw, _packed(raw, ending) as file:
        writer = _writer(file, ending, own, answers)
        try:
            yield writer
            writer.close()
        except BaseException:
            writer.discard()
            raise
    fsync(path)


def _writer(file: BinaryIO, ending: str, own: pa.Schema, answers: pa.Schema) -> Writer:
    if ending == ".parquet":
        return ParquetWriter(file, pa.schema([*own, *answers]), len(own))
    if ending.startswith(".csv"):
        return CsvWriter(file, [*own.names, *answers.names])
    return JsonlWriter(file)


@contextmanager
def _packed(raw: BinaryIO, ending: str) -> Iterator[BinaryIO]:
    if not ending.endswith(".gz"):
        yield raw
        return
    # Without name and time, so that the same rows give the same bytes.
    with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        yield cast(BinaryIO, packed)
