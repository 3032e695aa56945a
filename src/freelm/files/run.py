"""Whole files: the same questions about every row, in a run that can be stopped at any moment.

Rows are judged in chunks. The answers of a chunk go to the work folder beside the output
(`freelm.files.work_folder`); the same call goes on after the last one that is there. When all
are there, input and answers are read side by side and become the output, which thereby does not
depend on where the run was stopped. Memory holds one chunk, whatever the number of rows.

A bad row (no text, no JSON, too few cells ...) keeps its place in the output, with empty answers.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

import numpy as np
import pyarrow as pa

from freelm.errors import DataError, InputError, ModelError, available
from freelm.files.columns import AnswerColumns
from freelm.files.reader import ParquetSource, open_source
from freelm.files.tables import Block, table_format
from freelm.files.work_folder import Answers, WorkFolder
from freelm.files.writer import JsonlWriter, open_writer
from freelm.io.checksum import file_sha256
from freelm.judge.requests import Judgement, Request
from freelm.judge.validation import LongTexts, check_long_texts, check_text

CHUNK_ROWS = 256
"""Rows judged and kept together: what a kill costs at most, and what is sorted by length."""

NUM_SHOWN = 3
"""Reasons of bad rows that an outcome repeats."""

Progress = Callable[[int, int], None]
"""Told how many rows are done, of how many."""


class Judges(Protocol):
    """Whatever can judge requests; `FreeLM` is one."""

    def judge_requests(self, requests: Sequence[Request]) -> list[Judgement]:
        """Verdicts of each request, in order."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        rows: Rows of the output.
        bad: Those of them that have no answers.
        reasons: `row N: why` of the first bad ones.
    """

    rows: int
    bad: int
    reasons: list[str] = field(default_factory=list)


class FileJob:
    """Questions about the rows of a file.

    Args:
        path: The file: CSV, JSON lines (both also with `.gz`) or Parquet.
        text_column: The column of the texts.
        columns: What is asked.
        shard: (i, n): only the i-th (from 1) of n equal parts, each of consecutive rows. The
            outputs of all parts, one after the other, are the output of the whole.
        long_texts: What happens to texts that are too long; with `error` they are bad rows.

    Raises:
        DataError: If the file cannot be read, has no such column or has a column of an answer.
        InputError: If `long_texts` is none of what there is.
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
        self._seen = _file_times(path)
        self.source = open_source(path)
        self._check_columns()
        part, parts = shard
        self.start = (part - 1) * self.source.num_rows // parts
        self.stop = part * self.source.num_rows // parts

    @property
    def num_rows(self) -> int:
        """Rows to be judged."""
        return self.stop - self.start

    def chunks(self, first: int = 0) -> Iterator[tuple[int, Block]]:
        """(number of rows before it in the file, rows) of each chunk, from the `first` one on.

        Raises:
            DataError: If the file has been changed since it was opened.
        """
        place = self.start + first * CHUNK_ROWS
        for block in self.source.blocks(place, self.stop, CHUNK_ROWS):
            self._refuse_change(_file_times(self.path) != self._seen)
            yield place, block
            place += len(block)
        self._refuse_change(place < self.stop)

    def state(self, model: dict[str, Any]) -> dict[str, Any]:
        """What the answers depend on, as JSON values.

        Args:
            model: Says which model it is (`freelm.model.identity.model_identity`).
        """
        return {
            "version": metadata.version("freelm"),
            "model": model,
            "questions": self.columns.fingerprint(),
            "input": {"sha256": file_sha256(self.path), "rows": self.source.num_rows},
            "text_column": self.text_column,
            "long_texts": self.long_texts,
            "shard": list(self.shard),
            "chunk_rows": CHUNK_ROWS,
        }

    def answer(self, judges: Judges, before: int, block: Block) -> Answers:
        """Judge the rows of a chunk.

        Args:
            judges: The model.
            before: Rows before it in the file.
            block: The rows.

        Raises:
            ModelError: If a verdict is NaN or infinite (the row is named).
        """
        values = block.values(self.text_column)
        reasons = [block.faults.get(i) or self._fault(value) for i, value in enumerate(values)]
        asked = [i for i, reason in enumerate(reasons) if reason is None]
        claims, long_texts = self.columns.claims, self.long_texts
        requests = [Request((values[i],), claims, long_texts) for i in asked]
        cells: list[list[Any] | None] = [None] * len(values)
        for i, judged in zip(asked, _judge(judges, requests), strict=True):
            if isinstance(judged, InputError):
                reasons[i] = str(judged)
            elif not np.isfinite(judged.margins).all():
                raise ModelError(
                    f"row {before + i + 1}: the verdict is not a finite number; the weights of "
                    "the model are damaged or overflow in this precision"
                )
            else:
                cells[i] = self.columns.cells(judged)
        return Answers(self.columns.table(cells), reasons)

    def _fault(self, value: object) -> str | None:
        """Why a value cannot be judged, or None."""
        if value is None:
            return f"column {self.text_column!r} has no value"
        try:
            check_text(value, f"column {self.text_column!r}")
        except InputError as error:
            return str(error)
        return None

    def _refuse_change(self, changed: bool) -> None:
        if changed:
            raise DataError(f"{self.path}: was changed while it was read; run again")

    def _check_columns(self) -> None:
        names, own = self.source.schema.names, self.columns.schema.names
        if self.text_column not in names and (names or self.source.num_rows):
            raise DataError(f"{self.path}: has no column {self.text_column!r}; {available(names)}")
        if isinstance(self.source, ParquetSource):
            kind = self.source.schema.field(self.text_column).type
            if not _is_text(kind):
                raise DataError(f"{self.path}: column {self.text_column!r} holds {kind}, not text")
        for name in own:
            if name in names:
                raise DataError(
                    f"{self.path}: already has a column {name!r}, which an answer needs; "
                    "choose another --prefix for the columns of the answers"
                )


def check_output(source: Path, output: Path | None, errors: Path | None, overwrite: bool) -> None:
    """See that a run may write where it is to write.

    Args:
        source: The input.
        output: The output; None means a stream.
        errors: The file of bad rows, if any.
        overwrite: Whether files that are there may be replaced.

    Raises:
        DataError: If a file is there already, is the input, or has no known format.
    """
    written = [path for path in (output, errors) if path is not None]
    if len({path.resolve() for path in (source, *written)}) <= len(written):
        raise DataError(f"{source}: input, output and errors must be different files")
    if output is not None:
        table_format(output)
        if WorkFolder(output).is_placed():
            return
    for path in written:
        if path.is_dir():
            raise DataError(f"{path}: is a folder")
        if path.exists() and not overwrite:
            raise DataError(f"{path}: is there already; --overwrite replaces it when all is done")


def judge_file(
    job: FileJob,
    judges: Judges,
    model: dict[str, Any],
    output: Path,
    errors: Path | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Judge the rows of a file into another; the same call goes on where one was stopped.

    Args:
        job: What is judged.
        judges: The model.
        model: Says which model it is (`freelm.model.identity.model_identity`).
        output: CSV, JSON lines (both also with `.gz`) or Parquet; there when it is whole.
        errors: JSON lines, a bad row each: its `row`, counted from 1, and the `reason`.
        overwrite: Replace output and errors that are there, when the new ones are whole.
        progress: Told how many rows are done, first those of runs before.

    Raises:
        DataError: If something cannot be read or written, or the work folder holds the answers of
            another run; what was done is kept.
        InputError: If a claim does not fit the model's window.
    """
    check_output(job.path, output, errors, overwrite)
    work = WorkFolder(output)
    with work.lock():
        work.begin(job.state(model))
        facts = work.outcome()
        if facts is None:
            _answer_chunks(job, judges, work, progress)
            facts = asdict(_put_together(job, work, table_format(output)))
            work.finish(facts)
        work.place(errors)
    return Outcome(**facts)


def stream_file(
    job: FileJob,
    judges: Judges,
    file: BinaryIO,
    errors: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Judge the rows of a file into a stream of JSON lines; nothing is kept to go on from.

    Raises:
        DataError: If the input cannot be read, or the file of errors cannot be written.
        BrokenPipeError: If the reader of the stream has gone.
        InputError: If a claim does not fit the model's window.
    """
    _try_claims(job, judges)
    writer, done = JsonlWriter(file), 0
    with _open_lines(errors) as lines:
        bad = _BadRows(lines)
        for before, block in job.chunks():
            answers = job.answer(judges, before, block)
            writer.write(block, answers.table)
            file.flush()
            bad.note(before, answers.reasons)
            done += len(block)
            progress(done, job.num_rows)
    return bad.outcome(done)


def _answer_chunks(job: FileJob, judges: Judges, work: WorkFolder, progress: Progress) -> None:
    index = work.num_chunks()
    done = min(index * CHUNK_ROWS, job.num_rows)
    progress(done, job.num_rows)
    if done < job.num_rows:
        _try_claims(job, judges)
    for before, block in job.chunks(index):
        work.save(index, job.answer(judges, before, block))
        index += 1
        done += len(block)
        progress(done, job.num_rows)


def _put_together(job: FileJob, work: WorkFolder, ending: str) -> Outcome:
    """Make output and errors, in the work folder, of the input and all answers."""
    with (
        work.writing(),
        open_writer(work.output, ending, job.source.schema, job.columns.schema) as writer,
        work.errors.open("w", encoding="utf-8") as lines,
    ):
        bad = _BadRows(lines)
        for index, (before, block) in enumerate(job.chunks()):
            answers = work.load(index)
            writer.write(block, answers.table)
            bad.note(before, answers.reasons)
    return bad.outcome(job.num_rows)


def _open_lines(path: Path | None) -> TextIO:
    try:
        return open(path or os.devnull, "w", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from None


class _BadRows:
    """Counts bad rows and writes each as a line of JSON."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines
        self._count = 0
        self._reasons: list[str] = []

    def note(self, before: int, reasons: Sequence[str | None]) -> None:
        """Note the bad rows among consecutive ones, `before` of which come before them."""
        for row, reason in enumerate(reasons, start=before + 1):
            if reason is None:
                continue
            self._count += 1
            self._lines.write(json.dumps({"row": row, "reason": reason}, ensure_ascii=False) + "\n")
            if len(self._reasons) < NUM_SHOWN:
                self._reasons.append(f"row {row}: {reason}")

    def outcome(self, rows: int) -> Outcome:
        """What a run over so many rows came to."""
        return Outcome(rows, self._count, self._reasons)


def _try_claims(job: FileJob, judges: Judges) -> None:
    """Refuse claims that no text fits beside before anything is done."""
    judges.judge_requests([Request(("text",), job.columns.claims)])


def _judge(judges: Judges, requests: Sequence[Request]) -> list[Judgement | InputError]:
    """Judge requests; one that is refused has its error and costs the others nothing."""
    if not requests:
        return []
    try:
        return list(judges.judge_requests(requests))
    except InputError as error:
        if len(requests) == 1:
            return [error]
    middle = len(requests) // 2
    return [*_judge(judges, requests[:middle]), *_judge(judges, requests[middle:])]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_kind(kind) for is_kind in (*texts, pa.types.is_null))


def _file_times(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None if it has gone."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns
