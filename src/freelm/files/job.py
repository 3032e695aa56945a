"""Questions about the rows of a file: reads the rows in chunks and answers a chunk at a time."""

from collections.abc import Iterator, Sequence
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from freelm.errors import DataError, InputError, ModelError, available
from freelm.files.columns import AnswerColumns
from freelm.files.reader import ParquetSource, open_source
from freelm.files.tables import Block
from freelm.files.work_folder import Answers
from freelm.io.checksum import file_sha256
from freelm.judge.requests import Judgement, Request
from freelm.judge.validation import LongTexts, check_long_texts, check_text

FIRST_CHUNK_ROWS, CHUNK_ROWS = 8, 256
"""Rows of the first chunk and of a full one. A chunk is judged and saved as a whole: it is what a
kill costs at most, and the rows that are sorted by length for speed. Each chunk doubles the one
before it, so that a slow run saves its first rows and reports its speed early."""


def chunk_rows(index: int) -> int:
    """Rows of a chunk: 8, 16, 32, ... 256, 256, ..."""
    return min(FIRST_CHUNK_ROWS << min(index, 32), CHUNK_ROWS)


def rows_before(index: int) -> int:
    """Rows of all chunks before one."""
    return sum(map(chunk_rows, range(index)))


class Judges(Protocol):
    """Anything that judges requests, such as `FreeLM`."""

    def judge_requests(self, requests: Sequence[Request]) -> list[Judgement]:
        """The judgement of each request, in order."""


class FileJob:
    """Questions about the rows of a file.

    Args:
        path: The file: CSV, JSON Lines (both also with `.gz`) or Parquet.
        text_column: The column with the texts.
        columns: The questions and the columns of their answers.
        shard: (i, n): only the i-th (from 1) of n parts, each of consecutive rows. The outputs of
            all parts, concatenated, are the output of the whole file.
        long_texts: What to do with texts that are too long; with `error` they are bad rows.

    Raises:
        DataError: If the file cannot be read, lacks the text column or already has a column of an
            answer.
        InputError: If `long_texts` is unknown.
    """

    def __init__(
        self,
        path: Path,
        text_column: str,
        columns: AnswerColumns,
        shard: tuple[int, int] = (1, 1),
        long_texts: LongTexts = "truncate",
    ) -> None:
        self.long_texts = check_long_texts(long_texts)
        self.path = path
        self.text_column = text_column
        self.columns = columns
        self.shard = shard
        self._opened = _size_and_time(path)
        self.source = open_source(path)
        self._check_columns()
        part, parts = shard
        self.start = (part - 1) * self.source.num_rows // parts
        self.stop = part * self.source.num_rows // parts

    @property
    def num_rows(self) -> int:
        """Number of rows to judge."""
        return self.stop - self.start

    def chunks(self, first: int = 0) -> Iterator[tuple[int, Block]]:
        """(number of rows before it in the file, rows) of each chunk from the `first` one.

        Raises:
            DataError: If the file has changed since it was opened.
        """
        position = self.start + rows_before(first)
        sizes = map(chunk_rows, count(first))
        for block in self.source.blocks(position, self.stop, sizes):
            self._check_unchanged(_size_and_time(self.path) == self._opened)
            yield position, block
            position += len(block)
        self._check_unchanged(position >= self.stop)

    def fingerprint(self, model: dict[str, Any]) -> dict[str, Any]:
        """What determines the answers, as JSON values.

        Args:
            model: Identifies the model (`freelm.model.fingerprint.model_identity`).
        """
        return {
            "version": metadata.version("freelm"),
            "model": model,
            "questions": self.columns.fingerprint(),
            "input": {"sha256": file_sha256(self.path), "rows": self.source.num_rows},
            "text_column": self.text_column,
            "long_texts": self.long_texts,
            "shard": list(self.shard),
            "chunk_rows": [FIRST_CHUNK_ROWS, CHUNK_ROWS],
        }

    def check_claims(self, judges: Judges) -> None:
        """Judge a short text, so that claims that leave no room for any text fail at once.

        Raises:
            InputError: If a claim does not fit into the model's window.
        """
        judges.judge_requests([Request(("text",), self.columns.claims)])

    def answer(self, judges: Judges, position: int, block: Block) -> Answers:
        """Judge the rows of a chunk.

        Args:
            judges: The model.
            position: Number of rows before the chunk in the file.
            block: The rows.

        Raises:
            ModelError: If a verdict is NaN or infinite (the row is named).
        """
        values = block.values(self.text_column)
        reasons = [block.faults.get(i) or self._why_bad(value) for i, value in enumerate(values)]
        good = [i for i, reason in enumerate(reasons) if reason is None]
        requests = [Request((values[i],), self.columns.claims, self.long_texts) for i in good]
        cells: list[list[Any] | None] = [None] * len(values)
        for i, judgement in zip(good, _judge_each(judges, requests), strict=True):
            if isinstance(judgement, InputError):
                reasons[i] = str(judgement)
            elif not np.isfinite(judgement.margins).all():
                raise ModelError(
                    f"row {position + i + 1}: the verdict is not a finite number; the model's "
                    "weights are damaged or overflow in this number type"
                )
            else:
                cells[i] = self.columns.cells(judgement)
        return Answers(self.columns.table(cells), reasons)

    def _why_bad(self, value: object) -> str | None:
        """Why a value cannot be judged; None if it can."""
        if value is None:
            return f"column {self.text_column!r} has no value"
        try:
            check_text(value, f"column {self.text_column!r}")
        except InputError as error:
            return str(error)
        return None

    def _check_unchanged(self, unchanged: bool) -> None:
        if not unchanged:
            raise DataError(f"{self.path}: changed while it was being read; run again")

    def _check_columns(self) -> None:
        names = self.source.schema.names
        if self.text_column not in names and (names or self.source.num_rows):
            raise DataError(f"{self.path}: has no column {self.text_column!r}; {available(names)}")
        if isinstance(self.source, ParquetSource):
            kind = self.source.schema.field(self.text_column).type
            if not _is_text(kind):
                raise DataError(f"{self.path}: column {self.text_column!r} is {kind}, not text")
        for name in self.columns.schema.names:
            if name in names:
                raise DataError(
                    f"{self.path}: already has a column {name!r}, which an answer needs; choose "
                    "another --prefix for the columns of the answers"
                )


def _judge_each(judges: Judges, requests: Sequence[Request]) -> list[Judgement | InputError]:
    """Judge requests; one that fails becomes its error and does not affect the others."""
    if not requests:
        return []
    try:
        return list(judges.judge_requests(requests))
    except InputError as error:
        if len(requests) == 1:
            return [error]
    middle = len(requests) // 2
    return [*_judge_each(judges, requests[:middle]), *_judge_each(judges, requests[middle:])]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(kind) for is_kind in (*texts, pa.types.is_null))


def _size_and_time(path: Path) -> tuple[int, int] | None:
    """Size and modification time of a file; None if it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
