"""Judges the rows of a file and writes another one, in a run that can be interrupted at any moment.

The answers of each chunk of rows are saved in the work folder next to the output
(`freelm.files.work_folder`); the same call later resumes after the last saved chunk. When all
chunks are there, input and answers are read in parallel and merged into the output, which therefore
does not depend on interruptions. Memory holds one chunk, however many rows there are.

A bad row (no text, not JSON, too few cells ...) keeps its position in the output, with empty
answers.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from freelm.errors import DataError, os_reason
from freelm.files.job import FileJob, Judges, rows_before
from freelm.files.work_folder import WorkFolder
from freelm.files.writer import JsonlWriter, open_writer
from freelm.io.tables import table_format

NUM_REASONS = 3
"""Bad rows whose reasons are part of a `RunResult`."""

Progress = Callable[[int, int], None]
"""Called with the number of finished rows and the number of all rows."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Attributes:
        rows: Rows of the output.
        bad: Rows without answers.
        reasons: `row N: why` of the first bad rows.
    """

    rows: int
    bad: int
    reasons: list[str] = field(default_factory=list)


def check_output(source: Path, output: Path | None, errors: Path | None, overwrite: bool) -> None:
    """Check that a run may write its files.

    Args:
        source: The input.
        output: The output; None for a stream.
        errors: The file of bad rows, if any.
        overwrite: Whether existing files may be replaced.

    Raises:
        DataError: If a file exists, is the input, or has an unknown format.
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
            raise DataError(f"{path}: already exists; --overwrite replaces it when the run is done")


def judge_file(
    job: FileJob,
    judges: Judges,
    model: dict[str, Any],
    output: Path,
    errors: Path | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> RunResult:
    """Judge the rows of a file into another; the same call resumes an interrupted run.

    Args:
        job: The file and the questions.
        judges: The model.
        model: Identifies the model (`freelm.model.fingerprint.model_identity`).
        output: CSV, JSON Lines (both also with `.gz`) or Parquet; it appears when it is complete.
        errors: JSON Lines with one bad row each: its `row`, counted from 1, and the `reason`.
        overwrite: Replace existing output and errors when the new ones are complete.
        progress: Called with the rows finished so far, those of earlier runs included.

    Raises:
        DataError: If something cannot be read or written, or the work folder belongs to another
            run; finished answers stay.
        InputError: If a claim does not fit into the model's window.
    """
    check_output(job.path, output, errors, overwrite)
    work = WorkFolder(output)
    with work.lock():
        work.begin(job.fingerprint(model))
        result = work.result()
        if result is None:
            _answer_chunks(job, judges, work, progress)
            result = asdict(_merge(job, work, table_format(output)))
            work.finish(result)
        work.place(errors)
    return RunResult(**result)


def stream_file(
    job: FileJob,
    judges: Judges,
    file: BinaryIO,
    errors: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> RunResult:
    """Judge the rows of a file into a stream of JSON Lines; such a run cannot be resumed.

    Raises:
        DataError: If the input cannot be read, or the file of errors cannot be written.
        BrokenPipeError: If the reader of the stream is gone.
        InputError: If a claim does not fit into the model's window.
    """
    progress(0, job.num_rows)
    job.check_claims(judges)
    writer, done = JsonlWriter(file), 0
    with _open_lines(errors) as lines:
        bad = _BadRows(lines)
        for position, block in job.chunks():
            answers = job.answer(judges, position, block)
            writer.write(block, answers.table)
            file.flush()
            bad.add(position, answers.reasons)
            done += len(block)
            progress(done, job.num_rows)
    return bad.result(done)


def _answer_chunks(job: FileJob, judges: Judges, work: WorkFolder, progress: Progress) -> None:
    index = work.num_chunks()
    done = min(rows_before(index), job.num_rows)
    progress(done, job.num_rows)
    if done < job.num_rows:
        job.check_claims(judges)
    for position, block in job.chunks(index):
        work.save(index, job.answer(judges, position, block))
        index += 1
        done += len(block)
        progress(done, job.num_rows)


def _merge(job: FileJob, work: WorkFolder, ending: str) -> RunResult:
    """Write output and errors, in the work folder, from the input and all answers."""
    with (
        work.writing(),
        open_writer(work.output, ending, job.source.schema, job.columns.schema) as writer,
        work.errors.open("w", encoding="utf-8") as lines,
    ):
        bad = _BadRows(lines)
        for index, (position, block) in enumerate(job.chunks()):
            answers = work.load(index)
            writer.write(block, answers.table)
            bad.add(position, answers.reasons)
    return bad.result(job.num_rows)


def _open_lines(path: Path | None) -> TextIO:
    try:
        return open(path or os.devnull, "w", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({os_reason(error)})") from None


class _BadRows:
    """Counts bad rows and writes each as a line of JSON."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines
        self._count = 0
        self._reasons: list[str] = []

    def add(self, position: int, reasons: Sequence[str | None]) -> None:
        """Add the bad rows among consecutive ones that begin after `position` rows."""
        for row, reason in enumerate(reasons, start=position + 1):
            if reason is None:
                continue
            self._count += 1
            self._lines.write(json.dumps({"row": row, "reason": reason}, ensure_ascii=False) + "\n")
            if len(self._reasons) < NUM_REASONS:
                self._reasons.append(f"row {row}: {reason}")

    def result(self, rows: int) -> RunResult:
        """The result of a run over so many rows."""
        return RunResult(rows, self._count, self._reasons)
