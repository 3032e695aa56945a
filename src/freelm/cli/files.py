"""Whole files in place of one text: what `judge`, `classify` and `score` have in common."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from freelm.cli.options import say
from freelm.cli.progress import row_progress
from freelm.errors import InputError
from freelm.judge.validation import LongTexts

if TYPE_CHECKING:
    from freelm.api import FreeLM
    from freelm.files.columns import AnswerColumns
    from freelm.files.run import Outcome

STDOUT = Path("-")
DEFAULT_PREFIX = "freelm_"

Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        help="A file of texts, a row each: .csv, .jsonl (both also .gz) or .parquet. Its columns "
        "are carried over and the answers added.",
    ),
]
TextColumn = Annotated[str, typer.Option("--text-column", help="The column of the texts.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        help="The file to write, of the same kinds; there when it is whole. The work so far is in "
        "OUTPUT.partial, and the same command goes on after an interruption. In CSV, text that "
        "begins with = + - @, a tab or a carriage return and is no number gets an apostrophe "
        "before it, so that no spreadsheet runs it. - writes JSON lines to standard output as "
        "they come.",
    ),
]
Errors = Annotated[
    Path | None,
    typer.Option(
        "--errors",
        help="A file for bad rows: JSON lines of row (from 1) and reason. In the output they keep "
        "their place, with empty answers; the exit code is 1.",
    ),
]
Questions = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        help='A YAML file of named questions, in place of the command\'s own: name: {claim: "..."} '
        'or {labels: [a, b], template: "... {}"} or {question: "...", levels: [a, b]}. Columns '
        "begin with the name.",
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
        help="Only the I-th of N parts of the rows (from 1), consecutive rows each. Every part has "
        "an --output of its own; one after the other they are the whole (a CSV file's header is in "
        "each).",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace files that are there, when the new ones are whole; else they are refused.",
    ),
]


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The options of whole files, as they were given; the last one is of single texts too."""

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
        """Whether it is a whole file that is asked about.

        Raises:
            typer.BadParameter: If options do not go together.
        """
        others = (self.output, self.errors, self.questions, self.shard, self.overwrite)
        if self.input is None:
            if any(others) or self.prefix != DEFAULT_PREFIX:
                raise typer.BadParameter("options of whole files need --input FILE")
            return False
        if self.output is None:
            raise typer.BadParameter("--input needs --output FILE (or - for standard output)")
        if text != "-":
            raise typer.BadParameter("give a text or --input FILE, not both")
        if as_json:
            raise typer.BadParameter("--json is for one text; --output says the format of a file")
        return True


def answer_file(
    options: FileOptions,
    model: "Callable[[], FreeLM]",
    own: "Callable[[str], AnswerColumns] | None",
) -> None:
    """Ask about every row of a file and say on standard error what came of it.

    Args:
        options: The options of whole files.
        model: Loads the model.
        own: Makes the columns of the command's own question with a prefix; None without one.

    Raises:
        typer.Exit: With 1, if there were bad rows.
    """
    if (own is None) == (options.questions is None):
        raise typer.BadParameter("ask by the command's own options or by --questions FILE.yaml")
    shard = _shard(options.shard)
    columns = _named_columns(options) if own is None else own(options.prefix)
    try:
        outcome = _run(options, model, columns, shard)
    except KeyboardInterrupt:
        again = "" if options.output == STDOUT else "; run the same command again to go on"
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
) -> "Outcome":
    from freelm.files.run import FileJob, check_output, judge_file, stream_file
    from freelm.model.identity import model_identity

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
