"""Questions about a text or each text of a file: `judge`, `classify`, `score`."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freelm.cli.files import (
    Errors,
    FileOptions,
    Input,
    Output,
    Overwrite,
    Prefix,
    Questions,
    Shard,
    TextColumn,
    answer_file,
)
from freelm.cli.options import (
    DEFAULT_MODEL,
    Compile,
    Device,
    Dtype,
    Json,
    Long,
    Model,
    Text,
    Threads,
    comma_list,
    load_judge,
    print_json,
    read_text,
)
from freelm.files import DEFAULT_PREFIX

if TYPE_CHECKING:
    from freelm.api import FreeLM
    from freelm.files.columns import AnswerColumns
    from freelm.judge.answers import Classification, Score, Verdict


@dataclass(frozen=True)
class Asked:
    """What the options that `judge`, `classify` and `score` share came to.

    Attributes:
        text: The argument; `-` is standard input.
        as_json: Whether to write JSON.
        files: The options of whole files.
        load: Loads the model.
    """

    text: str
    as_json: bool
    files: FileOptions
    load: "Callable[[], FreeLM]"

    def answer_file(self, own: "Callable[[str], AnswerColumns] | None") -> bool:
        """Answer a whole file if the options ask for one.

        Args:
            own: Makes the columns of the command's own question with a prefix; None without one.

        Returns:
            Whether they did.
        """
        if not self.files.wanted(self.text, self.as_json):
            return False
        answer_file(self.files, self.load, own)
        return True


def _shared_options(
    text: Text = "-",
    model: Model = DEFAULT_MODEL,
    dtype: Dtype = "auto",
    device: Device = None,
    threads: Threads = None,
    compile_model: Compile = False,
    long_texts: Long = "truncate",
    as_json: Json = False,
    input_file: Input = None,
    text_column: TextColumn = "text",
    output: Output = None,
    errors: Errors = None,
    questions: Questions = None,
    prefix: Prefix = DEFAULT_PREFIX,
    shard: Shard = None,
    overwrite: Overwrite = False,
) -> Asked:
    files = FileOptions(
        input_file, text_column, output, errors, questions, prefix, shard, overwrite, long_texts
    )
    load = partial(
        load_judge, model, dtype=dtype, device=device, compile=compile_model, long_texts=long_texts
    )
    return Asked(text, as_json, files, load)


def _with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare the shared options after the command's own, for typer, which reads the signature."""
    shared = inspect.signature(_shared_options).parameters
    _, *own = inspect.signature(command).parameters.values()
    text, *others = shared.values()
    parameters = [text, *own, *others]

    def wrapped(**given: Any) -> None:
        asked = _shared_options(**{name: given.pop(name) for name in shared})
        command(asked, **given)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped


@_with_shared_options
def judge(
    asked: Asked,
    claim: Annotated[
        list[str] | None, typer.Option("--claim", help="A claim about the text; may be repeated.")
    ] = None,
) -> None:
    """Judge how likely claims about a text, or about each text of a file, are true.

    Example: freelm judge "The soup was cold." --claim "The guest is satisfied."
    """

    def own(prefix: str) -> "AnswerColumns":
        from freelm.files.columns import AnswerColumns

        return AnswerColumns.of_claims(claim or [], prefix)

    if asked.answer_file(own if claim else None):
        return
    if not claim:
        raise typer.BadParameter("give --claim")
    verdicts = asked.load().judge(read_text(asked.text), claim)
    if asked.as_json:
        print_json(verdict.as_dict() for verdict in verdicts)
        return
    for verdict in verdicts:
        word = "true " if verdict.is_true else "false"
        print(f"{word}  {verdict.probability:.3f}  {verdict.claim}{_note(verdict)}")


@_with_shared_options
def classify(
    asked: Asked,
    labels: Annotated[
        str | None, typer.Option("--labels", help="Labels, separated by commas.")
    ] = None,
    template: Annotated[
        str | None, typer.Option("--template", help='Claim with {}, e.g. "The text is about {}."')
    ] = None,
    multi: Annotated[
        bool, typer.Option("--multi", help="Any number of labels can be right.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="A label fits only if P(true) of its own claim, its verdict, is at least this.",
        ),
    ] = None,
) -> None:
    """Find the label that fits a text, or each text of a file.

    Example: freelm classify "Rain is on its way." --labels weather,sport,money
    """
    chosen = {} if template is None else {"template": template}

    def own(prefix: str) -> "AnswerColumns":
        from freelm.files.columns import AnswerColumns
        from freelm.judge.questions import choice

        return AnswerColumns.of_question(
            choice(comma_list(labels or ""), multi=multi, threshold=threshold, **chosen), prefix
        )

    has_own = labels is not None or template is not None or multi or threshold is not None
    if asked.answer_file(own if has_own else None):
        return
    if labels is None:
        raise typer.BadParameter("give --labels")
    answer = asked.load().classify(
        read_text(asked.text), comma_list(labels), multi=multi, threshold=threshold, **chosen
    )
    if asked.as_json:
        print_json([answer.as_dict()])
        return
    print(f"{answer.label or '(none)'}{_note(answer)}")
    shows_verdicts = threshold is not None and not multi
    _print_probabilities(
        answer.top(len(answer.probabilities)), answer.verdicts if shows_verdicts else None
    )


@_with_shared_options
def score(
    asked: Asked,
    question: Annotated[
        str | None, typer.Option("--question", help="The question about the text.")
    ] = None,
    levels: Annotated[
        str | None, typer.Option("--levels", help="Levels, lowest first, with commas.")
    ] = None,
) -> None:
    """Answer a question of degree about a text, or about each text of a file.

    Example: freelm score "Never again." --question "How happy is the guest?" --levels low,high
    """

    def own(prefix: str) -> "AnswerColumns":
        from freelm.files.columns import AnswerColumns
        from freelm.judge.questions import score as score_question

        return AnswerColumns.of_question(
            score_question(question or "", comma_list(levels or "")), prefix
        )

    if asked.answer_file(own if question is not None or levels is not None else None):
        return
    if question is None or levels is None:
        raise typer.BadParameter("give --question and --levels")
    answer = asked.load().score(read_text(asked.text), question, comma_list(levels))
    if asked.as_json:
        print_json([answer.as_dict()])
        return
    print(f"{answer.value:.2f}  {answer.level}{_note(answer)}")
    _print_probabilities(list(answer.probabilities.items()))


def _print_probabilities(
    probabilities: list[tuple[str, float]], verdicts: Mapping[str, float] | None = None
) -> None:
    """One line per option; with verdicts, the numbers that the threshold is compared with."""
    width = max(len(name) for name, _ in probabilities)
    for name, probability in probabilities:
        verdict = f"  (verdict {verdicts[name]:.3f})" if verdicts else ""
        print(f"  {name:{width}}  {probability:.3f}{verdict}")


def _note(answer: "Verdict | Classification | Score") -> str:
    if answer.truncated:
        return "  (the text was too long and was cut)"
    return f"  (read in {answer.windows} windows)" if answer.windows > 1 else ""
