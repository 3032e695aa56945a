"""`OUTPUT.partial`: the answers to a file's rows so far, until the output is whole.

    state.json              what the answers depend on
    chunk-00000000.arrow    answers to the first rows, then those to the next ones ...
    output, errors.jsonl    put together when every row is done
    outcome.json            says that these two are whole

Every file is written beside its place, flushed and renamed, so that whatever has its name is whole.
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

from freelm.errors import DataError
from freelm.io.atomic import atomic_file, atomic_write, durable_rename

_WORDS = {
    "version": "the version of FreeLM",
    "model": "the model",
    "questions": "the questions",
    "input": "the input file",
    "text_column": "the text column",
    "long_texts": "the way of long texts",
    "shard": "the shard",
    "chunk_rows": "the size of chunks",
}


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers to consecutive rows.

    Attributes:
        table: A column per answer; nulls where a row is bad.
        reasons: Why a row is bad, None where it is not.
    """

    table: pa.Table
    reasons: list[str | None]


class WorkFolder:
    """The work folder of an output.

    Args:
        output: The file that is to be made.
    """

    def __init__(self, output: Path) -> None:
        self.target = output
        self.path = output.with_name(f"{output.name}.partial")
        self.output = self.path / "output"
        self.errors = self.path / "errors.jsonl"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder, making it; it is free again when the process ends, however it ends.

        Raises:
            DataError: If another process holds it or it cannot be made.
        """
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise DataError(f"{self.path}: another run is using it") from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around whatever writes: a full disk costs none of the work done.

        Raises:
            DataError: In place of an OSError.
        """
        try:
            yield
        except OSError as error:
            where = error.filename or self.path
            raise DataError(
                f"{where}: cannot be written ({error.strerror or error}); the answers so far are "
                f"kept in {self.path}: mend this and run the same command again"
            ) from None

    def begin(self, state: dict[str, Any]) -> None:
        """Note what the answers depend on, or see that it is what it was.

        Raises:
            DataError: If the folder holds answers to something else (the difference is named).
        """
        old = self._read("state.json")
        if old == state:
            return
        if old is not None and (self.num_chunks() or self.outcome() is not None):
            names = [word for key, word in _WORDS.items() if old.get(key) != state[key]]
            raise DataError(
                f"{self.path}: holds answers of a run that was not finished, and since then "
                f"{' and '.join(names)} changed; run it as before to finish it, or delete the "
                "folder to start over"
            )
        with self.writing():
            for path in self.path.glob("[!.]*"):
                path.unlink()
            atomic_write(self.path / "state.json", json.dumps(state, indent=1))

    def num_chunks(self) -> int:
        """Chunks that are there, from the first on without a gap."""
        count = 0
        while self._chunk(count).is_file():
            count += 1
        return count

    def save(self, index: int, answers: Answers) -> None:
        """Keep the answers of a chunk."""
        # Reasons come last and without a name: any name may be that of an answer.
        table = answers.table.append_column("", pa.array(answers.reasons, pa.string()))
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, table.schema) as writer:
            writer.write_table(table)
        with self.writing():
            atomic_write(self._chunk(index), memoryview(buffer.getvalue()))

    def load(self, index: int) -> Answers:
        """The answers of a chunk.

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

    def finish(self, outcome: dict[str, Any]) -> None:
        """Note that output and errors lie whole in the folder."""
        with self.writing():
            atomic_write(self.path / "outcome.json", json.dumps(outcome))

    def outcome(self) -> dict[str, Any] | None:
        """What `finish` noted, if it did and the output is still there."""
        is_there = self.output.exists() or self.target.exists()
        return self._read("outcome.json") if is_there and self._read("state.json") else None

    def is_placed(self) -> bool:
        """Whether the output is in its place, and only what `place` does after that was left."""
        return self.outcome() is not None and not self.output.exists()

    def place(self, errors: Path | None) -> None:
        """Put the output and the file of errors in their places and remove the folder."""
        with self.writing():
            if self.output.exists():
                durable_rename(self.output, self.target)
            if errors is not None:  # may be on another disk, where a rename does not reach
                with atomic_file(errors) as temporary:
                    shutil.copyfile(self.errors, temporary)
        self._remove()

    def _remove(self) -> None:
        """Remove the folder; what says that the output is in its place goes last."""
        for path in sorted(self.path.glob("chunk-*")):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def _chunk(self, index: int) -> Path:
        return self.path / f"chunk-{index:08d}.arrow"

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        return json.loads(path.read_bytes()) if path.is_file() else None
