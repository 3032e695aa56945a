"""Files of rows written and read by other means, a judge without a model, runs that are killed."""

import csv
import gzip
import io
import json
import os
import resource
import signal
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from freelm.cli.main import run
from freelm.files import job as job_module
from freelm.files import run as files
from freelm.files import work_folder
from freelm.files.columns import AnswerColumns
from freelm.io import atomic
from freelm.judge.questions import choice
from freelm.judge.requests import Judgement, Request

FORMATS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")


class CrcJudge:
    """Verdicts that follow from text and claim alone; remembers how many texts it judged."""

    def __init__(self) -> None:
        self.judged = 0

    def judge_requests(self, requests: Sequence[Request]) -> list[Judgement]:
        self.judged += len(requests)
        return [self._judge(request) for request in requests]

    def _judge(self, request: Request) -> Judgement:
        (text,) = request.context
        margins = [zlib.crc32(f"{text}|{claim}".encode()) / 2**29 - 4 for claim in request.claims]
        return Judgement(request.claims, np.array(margins), len(text) > 100)


def label_columns() -> AnswerColumns:
    return AnswerColumns.of_question(choice(["good", "bad"]))


def some_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of three columns: a number, a text with whatever a format must quote, a fraction."""
    texts = ['She said "so, so".', "Two\nlines, and a\ttab", "Größe, 大きさ", "plain", "cr\rcr"]
    return [
        {"id": i, "text": f"{texts[(i * 7 + seed) % len(texts)]} {i}", "share": i / 4}
        for i in range(count)
    ]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows in the format of the file's name."""
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=7)
        return path
    if ".csv" in path.name:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
        content = text.getvalue().encode()
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read rows of the format of the file's name."""
    if path.name.endswith(".parquet"):
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.name.endswith(".gz") else content).decode()
    if ".csv" in path.name:
        return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    return [json.loads(line) for line in text.split("\n")[:-1]]


# -- functions of processes ------------------------------------------------------------------------


def command_in_child(words: list[str], chunk_rows: int) -> None:
    """Run a command of `freelm` with small chunks."""
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    job_module.CHUNK_ROWS = chunk_rows
    run(words)


def judge_in_child(source: Path, output: Path, errors: Path, kill_at: int) -> None:
    """Judge a file without a model; SIGKILL before the n-th disk operation of the work folder."""
    job_module.CHUNK_ROWS = 4
    _die_on_disk(kill_at)
    job = job_module.FileJob(source, "text", label_columns())
    files.judge_file(job, CrcJudge(), {"name": "crc"}, output, errors)


def judge_on_a_small_disk(source: Path, output: Path, said: Path, num_bytes: int) -> None:
    """Judge a file where no file may grow beyond some bytes; what went wrong goes to a file."""
    sys.stderr = open(said, "w", encoding="utf-8")  # noqa: SIM115
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))
    job = job_module.FileJob(source, "text", label_columns())
    try:
        files.judge_file(job, CrcJudge(), {"name": "crc"}, output)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)


def _die_on_disk(number: int) -> None:
    seen = [0]

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    class Deadly:
        def __init__(self, module: Any, names: Sequence[str]) -> None:
            self._module = module
            for name in names:
                setattr(self, name, deadly(getattr(module, name)))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._module, name)

    os.fsync = lambda handle: None  # a killed process leaves its writes to the system all the same
    atomic.os = Deadly(atomic.os, ["replace", "fsync"])  # type: ignore[assignment]
    work_folder.shutil = Deadly(  # type: ignore[assignment]
        work_folder.shutil, ["copyfile", "rmtree"]
    )
    files.open_writer = deadly(files.open_writer)
