"""`freelm judge`, `freelm classify`, `freelm score`: one text, one question."""

from typing import Annotated

import typer

from freelm.cli.options import (
    DEFAULT_MODEL,
    Json,
    Model,
    Text,
    comma_list,
    load,
    print_json,
    read_text,
)


def judge(
    claim: Annotated[
        list[str], typer.Option("--claim", help="A claim about the text; may be repeated.")
    ],
    text: Text = "-",
    model: Model = DEFAULT_MODEL,
    as_json: Json = False,
) -> None:
    """Say how likely claims about a text are true.

    Example: freelm judge "The soup was cold." --claim "The guest is satisfied." --model DIR
    """
    verdicts = load(model).judge(read_text(text), claim)
    if as_json:
        print_json(verdict.as_dict() for verdict in verdicts)
        return
    for verdict in verdicts:
        word = "true " if verdict.is_true else "false"
        print(f"{word}  {verdict.probability:.3f}  {verdict.claim}{_note(verdict.truncated)}")


def classify(
    labels: Annotated[str, typer.Option("--labels", help="Labels, separated by commas.")],
    text: Text = "-",
    template: Annotated[
        str | None, typer.Option("--template", help='Claim with {}, e.g. "The text is about {}."')
    ] = None,
    multi: Annotated[
        bool, typer.Option("--multi", help="Labels do not exclude one another.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="No label when the best one's own P(true) is below."),
    ] = None,
    model: Model = DEFAULT_MODEL,
    as_json: Json = False,
) -> None:
    """Say which label fits a text.

    Example: freelm classify "Rain is on its way." --labels weather,sport,money --model DIR
    """
    chosen = {} if template is None else {"template": template}
    answer = load(model).classify(
        read_text(text), comma_list(labels), multi=multi, threshold=threshold, **chosen
    )
    if as_json:
        print_json([answer.as_dict()])
        return
    print(f"{answer.label or '(none)'}{_note(answer.truncated)}")
    _print_shares(answer.top(len(answer.probabilities)))


def score(
    question: Annotated[str, typer.Option("--question", help="What is asked about the text.")],
    levels: Annotated[str, typer.Option("--levels", help="Levels, lowest first, with commas.")],
    text: Text = "-",
    model: Model = DEFAULT_MODEL,
    as_json: Json = False,
) -> None:
    """Say how much: which of some ordered levels answers a question about a text.

    Example: freelm score "Never again." --question "How happy is the guest?" --levels low,high
    """
    answer = load(model).score(read_text(text), question, comma_list(levels))
    if as_json:
        print_json([answer.as_dict()])
        return
    print(f"{answer.value:.2f}  {answer.level}{_note(answer.truncated)}")
    _print_shares(list(answer.probabilities.items()))


def _print_shares(shares: list[tuple[str, float]]) -> None:
    width = max(len(name) for name, _ in shares)
    for name, share in shares:
        print(f"  {name:{width}}  {share:.3f}")


def _note(truncated: bool) -> str:
    return "  (the text was too long and was cut)" if truncated else ""
