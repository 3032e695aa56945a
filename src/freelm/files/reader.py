"""Reading CSV, JSON Lines and Parquet files in blocks of rows; bad rows are reported, none is lost.

A file is streamed, never held in memory. Opening it reads it once, for its columns, their types and
the number of rows. Blank lines are not rows. CSV cells are text; a JSON column has the type that
all its values share, or is text.
"""

import csv
import gzip
import io
import json
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from freelm.errors import DataError, os_reason
from freelm.files.tables import ArrowBlock, Block, RecordBlock, table_format

MAX_CELL = 1 << 24
"""Longest CSV cell in characters: an unclosed quote must not fill the memory."""

_UNDECODED = re.compile("[\ud800-\udfff]")

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
    def _rows(self) -> Iterator[tuple[dict[str, Any], str | None]]:
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
        header = self._header()
        num_rows = sum(1 for _ in self._rows())
        return num_rows, pa.schema([(name, pa.string()) for name in header])

    def _header(self) -> list[str]:
        with self._cells() as reader:
            try:
                header: list[str] = _next_cells(reader, [])
            except csv.Error as error:
                raise DataError(f"{self.path}: its header cannot be read ({error})") from None
        if not _is_text(header):
            raise DataError(f"{self.path}: its header is not UTF-8; save the file as UTF-8")
        if not header:
            raise DataError(f"{self.path}: has no header with column names")
        for name in header:
            if header.count(name) > 1:
                raise DataError(f"{self.path}: column {name!r} appears twice")
        return header

    def _rows(self) -> Iterator[tuple[dict[str, Any], str | None]]:
        with self._cells() as reader:
            header: list[str] = _next_cells(reader, [])
            while True:
                line = reader.line_num + 1
                try:
                    cells = _next_cells(reader)
                except csv.Error as error:
                    yield {}, f"{_lines(line, reader.line_num)}: {_csv_fault(error)}"
                    continue
                if cells is None:
                    return
                if not _is_text(cells):
                    yield {}, f"{_lines(line, reader.line_num)}: is not UTF-8"
                elif cells:
                    yield _csv_row(header, cells)

    @contextmanager
    def _cells(self) -> Iterator[Any]:
        with (
            _reading(self.path) as file,
            # Bytes that are not UTF-8 become unpaired surrogates, by which bad rows are found.
            io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text,
        ):
            # Strict: a stray quote makes one bad row instead of silently merging two rows.
            yield csv.reader(text, strict=True)


def _next_cells(reader: Any, default: Any = None) -> Any:
    """The cells of the next row, up to `MAX_CELL` long; the limit of csv is process-wide."""
    limit = csv.field_size_limit(MAX_CELL)
    try:
        return next(reader, default)
    finally:
        csv.field_size_limit(limit)


def _csv_row(header: Sequence[str], cells: list[str]) -> tuple[dict[str, Any], str | None]:
    record: dict[str, Any] = dict.fromkeys(header)
    record.update(zip(header, cells, strict=False))
    if len(cells) == len(header):
        return record, None
    return record, f"the row has {len(cells)} cells and the header {len(header)}"


def _csv_fault(error: csv.Error) -> str:
    if "field larger" in str(error) or "unexpected end" in str(error):
        return "a quoted cell is not closed"
    return f"is not CSV ({error})"


def _lines(first: int, last: int) -> str:
    return f"line {first}" if first >= last else f"lines {first} to {last}"


def _is_text(cells: Sequence[str]) -> bool:
    """Whether all bytes of the cells were UTF-8."""
    return all(cell.isascii() or not _UNDECODED.search(cell) for cell in cells)


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

    def _rows(self) -> Iterator[tuple[dict[str, Any], str | None]]:
        with _reading(self.path) as file:
            for number, line in enumerate(file, start=1):
                content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if content.strip():
                    yield _json_row(content, number)


def _json_row(line: bytes, number: int) -> tuple[dict[str, Any], str | None]:
    where = f"line {number}"
    try:
        value = json.loads(line.decode())
        "".join(value if isinstance(value, dict) else ()).encode()
    except UnicodeDecodeError as error:
        return {}, f"{where} is not UTF-8 (byte {error.start} of the line)"
    except UnicodeEncodeError:
        return {}, f"{where} has a key with an unpaired surrogate"
    except json.JSONDecodeError as error:
        return {}, f"{where} is not JSON ({error.msg} at character {error.pos + 1})"
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; deep nesting
        return {}, f"{where} cannot be read as JSON ({error})"
    if not isinstance(value, dict):
        return {}, f"{where} is not a JSON object"
    return value, None


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
        with self._file() as file:
            # pandas' and datasets' metadata would be wrong once columns are added.
            schema = file.schema_arrow.remove_metadata()
            num_rows = file.metadata.num_rows
        for name in schema.names:
            if schema.names.count(name) > 1:
                raise DataError(f"{self.path}: column {name!r} appears twice")
        return num_rows, schema

    def blocks(self, start: int, stop: int, sizes: Iterator[int]) -> Iterator[Block]:
        """The rows; row groups before `start` are not read."""
        with self._file() as file:
            groups, skipped = _groups_from(file.metadata, start)
            batches = file.iter_batches(batch_size=SCAN_ROWS, row_groups=groups)
            tables = (pa.Table.from_batches([batch]) for batch in batches)
            for table in _regrouped(tables, start - skipped, stop - start, sizes):
                yield ArrowBlock(table.replace_schema_metadata(None))

    @contextmanager
    def _file(self) -> Iterator[pq.ParquetFile]:
        with _reading(self.path) as file:
            try:
                with pq.ParquetFile(file) as parquet:
                    yield parquet
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                reason = str(error).splitlines()[0]
                raise DataError(f"{self.path}: cannot be read as Parquet ({reason})") from None


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


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed."""
    try:
        packed = path.name.lower().endswith(".gz")
        with gzip.open(path) if packed else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged or not a gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({os_reason(error)})") from None
