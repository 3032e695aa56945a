"""Whole files: the options and the run that `judge`, `classify` and `score` share."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freelm.cli.options import say
from freelm.cli.progress import row_progress
from freelm.errors import InputError
from freelm.files import DEFAULT_PREFIX
from freelm.judge.validation import LongTexts

if TYPE_CHECKING:
    from freelm.api import FreeLM
    from freelm.files.columns import AnswerColumns
    from freelm.files.run import RunResult

STDOUT = Path("-")

Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        help="A file with one text per row: .csv, .jsonl (both also .gz) or .parquet. Its columns "
        "are copied to the output, followed by the answers.",
    ),
]
TextColumn = Annotated[str, typer.Option("--text-column", help="The column with the texts.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        help="The file to write, in any of these formats; it appears when it is complete. "
        "Finished rows are in OUTPUT.partial, and the same command resumes after an interruption. "
        "In CSV, text that begins with = + - @, a tab or a line break and is not a number is "
        "prefixed by an apostrophe, so that no spreadsheet executes it. - writes JSON Lines to "
        "standard output.",
    ),
]
Errors = Annotated[
    Path | None,
    typer.Option(
        "--errors",
        help="A file for bad rows: JSON Lines with row (from 1) and reason. In the output they "
        "keep their position, with empty answers; the exit code is 1.",
    ),
]
Questions = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        help='A YAML file of named questions, instead of the command\'s own: name: {claim: "..."} '
        'or {labels: [a, b], template: "... {}"} or {question: "...", levels: [a, b]}. Columns '
        "begin with the prefix and the name.",
    ),
]
Prefix = Annotated[
    str,
    typer.Option(
        "--prefix",
        help="What the names of the output's new columns begin with, as in freelm_label; may be "
        "empty.",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only the I-th of N parts of the rows (from 1), each of consecutive rows. Every part "
        "needs its own --output; concatenated they are the whole (each CSV file has a header).",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace existing files when the new ones are complete; without it they are an error.",
    ),
]


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The options of whole files as given; `long_texts` is for single texts too."""

    input: Path | None
    text_column: str
    output: Path | None
    errors: Path | None
    questions: Path | None
    prefix: str
    shard: str | None
    overwrite: bool
    long_texts: LongTexts

    def wanted(self, text: str, as_json: bool) -> bool:
        """Whether the command is about a whole file.

        Raises:
            typer.BadParameter: If options contradict each other.
        """
        others = (self.output, self.errors, self.questions, self.shard, self.overwrite)
        if self.input is None:
            if any(others) or self.prefix != DEFAULT_PREFIX:
                raise typer.BadParameter("these options need --input FILE")
            return False
        if self.output is None:
            raise typer.BadParameter("--input needs --output FILE (or - for standard output)")
        if text != "-":
            raise typer.BadParameter("give a text or --input FILE, not both")
        if as_json:
            raise typer.BadParameter("--json is for one text; a file's name sets its format")
        return True


def answer_file(
    options: FileOptions,
    model: "Callable[[], FreeLM]",
    own: "Callable[[str], AnswerColumns] | None",
) -> None:
    """Judge every row of a file and report on standard error.

    Args:
        options: The options of whole files.
        model: Loads the model.
        own: Makes the columns of the command's own question with a prefix; None without one.

    Raises:
        typer.Exit: With 1, if there were bad rows.
    """
    if (own is None) == (options.questions is None):
        raise typer.BadParameter("give either the command's own options or --questions FILE")
    shard = _shard(options.shard)
    columns = _named_columns(options) if own is None else own(options.prefix)
    try:
        outcome = _run(options, model, columns, shard)
    except KeyboardInterrupt:
        again = "" if options.output == STDOUT else "; run the same command again to resume"
        raise KeyboardInterrupt(f"stopped{again}") from None
    if outcome.bad:
        say(f"{outcome.bad:,} of {outcome.rows:,} rows could not be judged")
        for reason in [] if options.errors else outcome.reasons:
            say(f"  {reason}")
        raise typer.Exit(1)


def _run(
    options: FileOptions,
    model: "Callable[[], FreeLM]",
    columns: "AnswerColumns",
    shard: tuple[int, int],
) -> "RunResult":
    from freelm.files.job import FileJob
    from freelm.files.run import check_output, judge_file, stream_file
    from freelm.model.fingerprint import model_identity

    assert options.input is not None
    output = None if options.output == STDOUT else options.output
    check_output(options.input, output, options.errors, options.overwrite)
    job = FileJob(options.input, options.text_column, columns, shard, options.long_texts)
    judges = model()
    with row_progress() as progress:
        if output is None:
            return stream_file(job, judges, sys.stdout.buffer, options.errors, progress)
        identity = model_identity(judges.model)
        outcome = judge_file(
            job, judges, identity, output, options.errors, options.overwrite, progress
        )
    say(f"written: {output} ({outcome.rows:,} rows)")
    return outcome


def _named_columns(options: FileOptions) -> "AnswerColumns":
    from freelm.files.columns import AnswerColumns
    from freelm.io.strict_yaml import read_yaml
    from freelm.judge.questions import parse_questions

    path = options.questions
    assert path is not None
    questions = read_yaml(path, InputError)
    try:
        return AnswerColumns.of_named(parse_questions(questions), options.prefix)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _shard(text: str | None) -> tuple[int, int]:
    """The part and the number of parts."""
    part, _, parts = (text or "1/1").partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise typer.BadParameter(f"--shard is {text!r}; it must be I/N with I from 1 to N")
    return int(part), int(parts)
