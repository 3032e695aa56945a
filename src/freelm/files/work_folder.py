"""`OUTPUT.partial`: the answers of an unfinished run, until its output is complete.

    fingerprint.json        what determines the answers
    chunk-00000000.arrow    answers of the first chunk of rows, then of the next ...
    output, errors.jsonl    merged when every row is done
    result.json             marks these two as complete

Every file is written atomically (`freelm.io.atomic`): if it exists, it is complete.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from freelm.errors import DataError, os_reason
from freelm.io.atomic import atomic_file, atomic_write, durable_rename

FINGERPRINT, RESULT = "fingerprint.json", "result.json"

_DESCRIPTIONS = {
    "version": "the FreeLM version",
    "model": "the model",
    "questions": "the questions",
    "input": "the input file",
    "text_column": "the text column",
    "long_texts": "--long-texts",
    "shard": "the shard",
    "chunk_rows": "the chunk size",
}
"""Key of a fingerprint -> its description in messages."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of consecutive rows.

    Attributes:
        table: A column per answer; nulls for a bad row.
        reasons: Why a row is bad; None for a good one.
    """

    table: pa.Table
    reasons: list[str | None]


class WorkFolder:
    """The work folder of an output.

    Args:
        output: The output file.
    """

    def __init__(self, output: Path) -> None:
        self.target = output
        self.path = output.with_name(f"{output.name}.partial")
        self.output = self.path / "output"
        self.errors = self.path / "errors.jsonl"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Create and lock the folder; the lock ends with the process, however that ends.

        Raises:
            DataError: If another process has locked it, or it cannot be created.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise DataError(f"{self.path}: another run is writing this output") from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn an OSError of the block, such as a full disk, into a clear message.

        Raises:
            DataError: Instead of the OSError.
        """
        try:
            yield
        except OSError as error:
            where = error.filename or self.path
            raise DataError(
                f"{where}: cannot be written ({os_reason(error)}); the answers so far are in "
                f"{self.path}: solve this and run the same command again"
            ) from None

    def begin(self, fingerprint: dict[str, Any]) -> None:
        """Start a run, or check that it continues the one that the folder belongs to.

        Args:
            fingerprint: What determines the answers.

        Raises:
            DataError: If the folder has answers of another run (the difference is named).
        """
        old = self._read(FINGERPRINT)
        if old == fingerprint:
            return
        if old is not None and (self.num_chunks() or self.result() is not None):
            changed = [
                words for key, words in _DESCRIPTIONS.items() if old.get(key) != fingerprint[key]
            ]
            raise DataError(
                f"{self.path}: has answers of an unfinished run, and since then "
                f"{' and '.join(changed)} changed; repeat that run to finish it, or delete the "
                "folder to start over"
            )
        with self.writing():
            for path in self.path.glob("[!.]*"):
                path.unlink()
            atomic_write(self.path / FINGERPRINT, json.dumps(fingerprint, indent=1))

    def num_chunks(self) -> int:
        """Number of saved chunks, from the first without a gap."""
        count = 0
        while self._chunk(count).is_file():
            count += 1
        return count

    def save(self, index: int, answers: Answers) -> None:
        """Save the answers of a chunk."""
        # The reasons are the last column and have no name, since any name can be an answer's.
        table = answers.table.append_column("", pa.array(answers.reasons, pa.string()))
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, table.schema) as writer:
            writer.write_table(table)
        with self.writing():
            atomic_write(self._chunk(index), memoryview(buffer.getvalue()))

    def load(self, index: int) -> Answers:
        """Load the answers of a chunk.

        Raises:
            DataError: If they cannot be read.
        """
        path = self._chunk(index)
        try:
            table = pa.ipc.open_file(path.read_bytes()).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(
                f"{path}: cannot be read ({error}); delete it and run the same command again"
            ) from None
        *_, reasons = table.columns
        return Answers(table.remove_column(table.num_columns - 1), reasons.to_pylist())

    def finish(self, result: dict[str, Any]) -> None:
        """Mark output and errors in the folder as complete, with the result of the run."""
        with self.writing():
            atomic_write(self.path / RESULT, json.dumps(result))

    def result(self) -> dict[str, Any] | None:
        """The result given to `finish`, if the output still exists; else None."""
        exists = self.output.exists() or self.target.exists()
        return self._read(RESULT) if exists and self._read(FINGERPRINT) else None

    def is_placed(self) -> bool:
        """Whether `place` was interrupted after it had moved the output."""
        return self.result() is not None and not self.output.exists()

    def place(self, errors: Path | None) -> None:
        """Move the output and the file of bad rows to their destinations; remove the folder."""
        with self.writing():
            if self.output.exists():
                durable_rename(self.output, self.target)
            if errors is not None:  # may be on another disk, where a rename fails
                with atomic_file(errors) as temporary:
                    shutil.copyfile(self.errors, temporary)
        self._remove()

    def _remove(self) -> None:
        """Remove the folder; the marker that the output is complete goes last."""
        for path in sorted(self.path.glob("chunk-*")):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def _chunk(self, index: int) -> Path:
        return self.path / f"chunk-{index:08d}.arrow"

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        return json.loads(path.read_bytes()) if path.is_file() else None
