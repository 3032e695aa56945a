"""Questions of the judge from what dialects ask, within the limits of the server.

A dialect first describes its questions (`Predicate`, `Options`); `build_questions` counts
claims and characters before it writes a single claim, because each option repeats the instructions.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from freelm.data.tokens import CHARACTERS_PER_TOKEN
from freelm.errors import InputError
from freelm.judge.questions import ChoiceQuestion, PredicateQuestion, Question, ScoreQuestion
from freelm.judge.validation import check_text
from freelm.serve.http.errors import ApiError, bad_request, limit_exceeded, too_many_tokens
from freelm.serve.http.limits import Limits
from freelm.tasks.forms import option_claim, predicate_claim

Content = str | dict[str, Any] | list[Any]
"""Text, or JSON that is read as its text."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """A statement, or a question whose answer is yes or no.

    Attributes:
        instructions: The statement or question.
        param: Path of the instructions in the request.
    """

    instructions: str
    param: str


@dataclass(frozen=True, slots=True)
class Option:
    """One of several answers.

    Attributes:
        name: Its name.
        description: What it means, if the client says so.
    """

    name: str
    description: str | None = None

    @property
    def text(self) -> str:
        """The description, else the name."""
        return self.name if self.description is None else self.description


@dataclass(frozen=True, slots=True)
class Options:
    """A question with several answers, of which one is right.

    Attributes:
        kind: Whether the answers are choices or ordered levels.
        instructions: What is asked; None if the options say it all.
        options: The possible answers.
        param: Path of the options in the request.
        instructions_param: Path of the instructions in the request.
    """

    kind: Literal["choice", "score"]
    instructions: str | None
    options: Sequence[Option]
    param: str
    instructions_param: str


def build_questions(
    asked: Sequence[Predicate | Options], limits: Limits, param: str = "questions"
) -> list[Question]:
    """The judge's questions, in order.

    Labels of choices and levels are the indices of the options.

    Args:
        asked: Descriptions of the questions.
        limits: Limits of the server.
        param: Path of the questions in the request.

    Raises:
        ApiError: 400, if there are too many questions, options or claims, a text is empty or too
            long, or two options of a question become the same claim.
    """
    check_count("max_questions", limits.max_questions, len(asked), "questions", param)
    for question in asked:
        if isinstance(question, Options):
            _check_options(question, limits)
    num_claims = sum(len(q.options) if isinstance(q, Options) else 1 for q in asked)
    check_count("max_claims", limits.max_claims, num_claims, "claims", param)
    for question in asked:
        _check_instructions(question, limits)
    num_characters = sum(map(_num_characters, asked))
    if num_characters > limits.max_request_tokens * CHARACTERS_PER_TOKEN:
        raise too_many_tokens("max_request_tokens", limits.max_request_tokens, "the request", param)
    return [_build(question) for question in asked]


def as_text(content: Content) -> str:
    """Text as it is; JSON as compact text."""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def checked_text(text: str, param: str) -> str:
    """The text.

    Raises:
        ApiError: 400, if it is empty.
    """
    try:
        return check_text(text, param)
    except InputError as error:
        raise bad_request(str(error), param=param) from None


def check_count(limit: str, maximum: int, given: int, what: str, param: str) -> None:
    """Check a number of values against a limit.

    Raises:
        ApiError: 400, naming the limit.
    """
    if given > maximum:
        raise limit_exceeded(limit, maximum, given, what, param)


def check_characters(limit: str, maximum: int, text: str, what: str, param: str) -> None:
    """Check the characters of a text against a limit of tokens.

    Texts this long are refused before a tokenizer, or whatever copies them, sees them.

    Raises:
        ApiError: 400, naming the limit.
    """
    if len(text) > maximum * CHARACTERS_PER_TOKEN:
        raise too_many_tokens(limit, maximum, what, param)


def _check_options(question: Options, limits: Limits) -> None:
    given = len(question.options)
    if question.kind == "choice":
        check_count("max_options", limits.max_options, given, "options", question.param)
    else:
        check_count("max_levels", limits.max_levels, given, "levels", question.param)


def _check_instructions(question: Predicate | Options, limits: Limits) -> None:
    text = question.instructions
    if text is None:
        return
    param = question.param if isinstance(question, Predicate) else question.instructions_param
    check_characters("max_claim_tokens", limits.max_claim_tokens, text, "a claim", param)
    checked_text(text, param)


def _num_characters(question: Predicate | Options) -> int:
    """Characters of all claims of a question."""
    instructions = len(question.instructions or "")
    if isinstance(question, Predicate):
        return instructions
    return sum(instructions + len(option.text) for option in question.options)


def _build(question: Predicate | Options) -> Question:
    if isinstance(question, Predicate):
        asked = question.instructions
        return PredicateQuestion(asked, (predicate_claim(asked),))
    claims = tuple(_option_claims(question))
    labels = tuple(map(str, range(len(claims))))
    if question.kind == "score":
        return ScoreQuestion(labels, claims)
    return ChoiceQuestion(labels, claims)


def _option_claims(question: Options) -> list[str]:
    claims: dict[str, int] = {}
    for i, option in enumerate(question.options):
        param = f"{question.param}.{i}"
        checked_text(option.text, param)
        claim = option_claim(question.instructions, option.name, option.description)
        if claims.setdefault(claim, i) != i:
            raise duplicate_option(claims[claim], i, param)
    return list(claims)


def duplicate_option(first: int, second: int, param: str) -> ApiError:
    """A 400 for two options with the same meaning."""
    return bad_request(
        f"options {first} and {second} are the same; each must differ", "duplicate_option", param
    )
