"""Reading CSV, JSON lines and Parquet files, row by row or as one table.

Row by row, a bad row is reported and the rows after it are read. CSV cells are text as written
(guessing types would turn "007" into 7), blank lines are skipped, and `.gz` files are decompressed.
"""

import csv
import gzip
import io
import re
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from json import JSONDecodeError
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from freelm.errors import DataError, available, os_reason
from freelm.io.memory import memory_limit
from freelm.io.strict_json import parse_json

FORMATS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")

MAX_CELL = 1 << 24
"""Characters of a CSV cell: an unclosed quote must not read the whole file into one cell."""

MAX_LINE = 1 << 26
"""Bytes of a line of JSON."""

CHUNK_ROWS = 10_000
"""Rows that `read_table` holds as Python objects at a time."""

Row = tuple[dict[str, Any], str | None]
"""What could be read of a row, and why it is bad (None if it is good)."""

_UNDECODED = re.compile("[\ud800-\udfff]")


def table_format(path: Path, formats: Sequence[str] = FORMATS) -> str:
    """The format that a file's name ends in, one of `formats`.

    Raises:
        DataError: If it ends in none of them.
    """
    for ending in sorted(formats, key=len, reverse=True):
        if path.name.lower().endswith(ending):
            return ending
    raise DataError(f"{path}: unknown file format; {available(formats)}")


def read_table(path: Path) -> pa.Table:
    """Read an entire file; every row must be good. `.json` is read as JSON lines.

    Raises:
        DataError: If the file is missing, empty, of an unknown format, unreadable or needs more
            memory than `memory_limit`, or if a row is bad (it is named).
    """
    ending = table_format(path, (*FORMATS, ".json"))
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")
    if ending == ".parquet":
        with open_parquet(path) as table:
            check_unique_columns(path, table.schema.names)
            return table.read()
    if ending.startswith(".csv"):
        header = read_csv_header(path)
        empty = pa.schema([(name, pa.string()) for name in header]).empty_table()
        return pa.concat_tables([empty, *_chunks(path, "CSV", read_csv_rows(path))])
    chunks = list(_chunks(path, "JSON lines", read_jsonl_rows(path)))
    try:
        return pa.concat_tables(chunks, promote_options="permissive") if chunks else pa.table({})
    except pa.ArrowException as error:
        raise DataError(f"{path}: a column mixes types ({_first_line(error)})") from None


def _chunks(path: Path, kind: str, rows: Iterator[Row]) -> Iterator[pa.Table]:
    """Rows as tables of up to `CHUNK_ROWS`."""
    before = 0
    while pairs := list(islice(rows, CHUNK_ROWS)):
        for number, (_, problem) in enumerate(pairs, start=before + 1):
            if problem is not None:
                raise DataError(f"{path}: cannot be read as {kind}: row {number}: {problem}")
        before += len(pairs)
        columns = {}
        for name in dict.fromkeys(name for record, _ in pairs for name in record):
            try:
                columns[name] = pa.array([record.get(name) for record, _ in pairs])
            except (pa.ArrowException, OverflowError, UnicodeError) as error:
                raise DataError(
                    f"{path}: column {name!r} cannot be read as one type ({_first_line(error)})"
                ) from None
        yield pa.table(columns)


# -- CSV ------------------------------------------------------------------------------------------


def read_csv_header(path: Path) -> list[str]:
    """The column names of a CSV file.

    Raises:
        DataError: If there are none, one is there twice, or they cannot be read.
    """
    with _csv_reader(path) as reader:
        try:
            header: list[str] = _next_row(reader, [])
        except csv.Error as error:
            raise DataError(f"{path}: its header cannot be read ({error})") from None
    if not _is_text(header):
        raise DataError(f"{path}: its header is not UTF-8; save the file as UTF-8")
    if not header:
        raise DataError(f"{path}: has no header with column names")
    check_unique_columns(path, header)
    return header


def check_unique_columns(path: Path, names: Sequence[str]) -> None:
    """Raise a DataError if a column name is there twice."""
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}: column {name!r} appears twice")


def read_csv_rows(path: Path) -> Iterator[Row]:
    """The rows after the header; quoted cells may hold line ends.

    Raises:
        DataError: If the file cannot be read.
    """
    with _csv_reader(path) as reader:
        header: list[str] = _next_row(reader, [])
        while True:
            line = reader.line_num + 1
            try:
                cells = _next_row(reader, None)
            except csv.Error as error:
                yield {}, f"{_lines(line, reader.line_num)}: {_csv_problem(error)}"
                continue
            if cells is None:
                return
            if not _is_text(cells):
                yield {}, f"{_lines(line, reader.line_num)}: is not UTF-8"
            elif cells:
                yield _csv_row(header, cells)


@contextmanager
def _csv_reader(path: Path) -> Iterator[Any]:
    with (
        _open_bytes(path) as file,
        # A byte that is not UTF-8 becomes an unpaired surrogate, which makes its row a bad one.
        io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text,
    ):
        # Strict: a stray quote makes one bad row instead of silently swallowing the next.
        yield csv.reader(text, strict=True)


_field_limit = threading.Lock()


def _next_row(reader: Any, default: Any) -> Any:
    """Read a row under `MAX_CELL`. The csv module has one limit per process: it is restored."""
    with _field_limit:
        before = csv.field_size_limit(MAX_CELL)
        try:
            return next(reader, default)
        finally:
            csv.field_size_limit(before)


def _csv_row(header: Sequence[str], cells: list[str]) -> Row:
    record: dict[str, Any] = dict.fromkeys(header)
    record.update(zip(header, cells, strict=False))
    if len(cells) == len(header):
        return record, None
    return record, f"the row has {len(cells)} cells and the header {len(header)}"


def _csv_problem(error: csv.Error) -> str:
    if "field larger" in str(error) or "unexpected end" in str(error):
        return "a quoted cell is not closed"
    return f"is not CSV ({error})"


def _lines(first: int, last: int) -> str:
    return f"line {first}" if first >= last else f"lines {first} to {last}"


def _is_text(cells: Sequence[str]) -> bool:
    """Whether all bytes of the cells were UTF-8."""
    return all(cell.isascii() or not _UNDECODED.search(cell) for cell in cells)


# -- JSON lines -----------------------------------------------------------------------------------


def read_jsonl_rows(path: Path) -> Iterator[Row]:
    """The rows of a file with one JSON object per line.

    Raises:
        DataError: If the file cannot be read.
    """
    with _open_bytes(path) as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield {}, f"line {number} is longer than {MAX_LINE:,} bytes"
            elif content.strip():
                yield _json_row(content, number)


def _json_row(line: bytes, number: int) -> Row:
    where = f"line {number}"
    try:
        value = parse_json(line.decode())
        "".join(value if isinstance(value, dict) else ()).encode()
    except UnicodeDecodeError as error:
        return {}, f"{where} is not UTF-8 (byte {error.start} of the line)"
    except UnicodeEncodeError:
        return {}, f"{where} has a key with an unpaired surrogate"
    except JSONDecodeError as error:
        return {}, f"{where} is not JSON ({error.msg} at character {error.pos + 1})"
    except ValueError as error:  # a number of thousands of digits; deep nesting
        return {}, f"{where} cannot be read as JSON ({error})"
    if not isinstance(value, dict):
        return {}, f"{where} is not a JSON object"
    return value, None


# -- Parquet --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParquetTable:
    """An open Parquet file that is read within a memory limit.

    A few kB can hold gigabytes: compressed pages, or a long value that a dictionary repeats. The
    first are known from the metadata. Against the second, texts are read as dictionaries, which
    stay small, and their full size is computed before they are expanded.

    Attributes:
        path: The file.
        file: The file, opened so that texts are read as dictionaries.
        schema: Its columns.
    """

    path: Path
    file: pq.ParquetFile
    schema: pa.Schema

    def read(self) -> pa.Table:
        """The whole file.

        Raises:
            DataError: If it needs more memory than `memory_limit`.
        """
        groups = range(self.file.metadata.num_row_groups)
        self._check_size(sum(self._encoded_size(group) for group in groups))
        tables, total = [self.schema.empty_table()], 0
        for table in self.batches(CHUNK_ROWS):
            total += table.nbytes
            self._check_size(total)
            tables.append(table)
        return pa.concat_tables(tables)

    def batches(
        self,
        size: int,
        row_groups: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """Tables of up to `size` rows.

        Args:
            size: Rows of a table.
            row_groups: Row groups to read; None means all.
            columns: Columns to read; None means all.

        Raises:
            DataError: If a row group or table needs more memory than `memory_limit`.
        """
        wanted = self.schema
        if columns is not None:
            wanted = pa.schema([self.schema.field(name) for name in columns])
        groups = range(self.file.metadata.num_row_groups) if row_groups is None else row_groups
        for group in groups:
            self._check_size(self._encoded_size(group))
            # One reader over several groups would hold the dictionaries of all of them.
            for batch in self.file.iter_batches(
                batch_size=size, row_groups=[group], columns=columns
            ):
                self._check_size(sum(map(_expanded_size, batch.columns)))
                yield pa.Table.from_batches([batch]).cast(wanted)

    def _encoded_size(self, group: int) -> int:
        """Bytes of a row group, decompressed; each value takes an index of 4 bytes at least."""
        metadata = self.file.metadata.row_group(group)
        columns = [metadata.column(i) for i in range(metadata.num_columns)]
        return sum(max(c.total_uncompressed_size, 4 * c.num_values) for c in columns)

    def _check_size(self, size: int) -> None:
        limit = memory_limit()
        if size > limit:
            raise DataError(
                f"{self.path}: needs {size / 1e9:.1f} GB of memory, more than the limit of "
                f"{limit / 1e9:.1f} GB (half of this machine's); split the file"
            )


_PLAIN = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
"""Types that a dictionary cannot be expanded to."""


@contextmanager
def open_parquet(path: Path) -> Iterator[ParquetTable]:
    """Open a Parquet file.

    Raises:
        DataError: If it cannot be read, also while the block reads from it.
    """
    try:
        with pq.ParquetFile(path) as file:
            # Metadata of the whole table (of pandas, of datasets) would be wrong for a part of it.
            schema = pa.schema(
                [field.with_type(_PLAIN.get(field.type, field.type)) for field in file.schema_arrow]
            )
            leaves = file.schema
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            yield ParquetTable(path, file, schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({_first_line(error)})") from None


_TEXTS = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


def _expanded_size(array: pa.Array) -> int:
    """Bytes of an array whose dictionaries are expanded."""
    kind = array.type
    if pa.types.is_dictionary(kind) and kind.value_type in _TEXTS:
        lengths = pc.binary_length(array.dictionary).cast(pa.int64())
        return (pc.sum(lengths.take(array.indices)).as_py() or 0) + 4 * len(array)
    if pa.types.is_struct(kind):
        return sum(map(_expanded_size, array.flatten()))
    if pa.types.is_map(kind):
        return _expanded_size(array.keys) + _expanded_size(array.items) + 4 * len(array)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _expanded_size(array.flatten()) + 4 * len(array)
    return array.nbytes


# -- files in general -----------------------------------------------------------------------------


@contextmanager
def _open_bytes(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed."""
    try:
        compressed = path.name.lower().endswith(".gz")
        with gzip.open(path) if compressed else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is damaged or not a gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({os_reason(error)})") from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
