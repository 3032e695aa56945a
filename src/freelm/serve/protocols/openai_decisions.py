"""`POST /v1/decisions`, as `client.decisions.create` of openai 3.51.0 calls it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from freelm.judge.probabilities import expected_level
from freelm.judge.requests import Request
from freelm.serve.claims import (
    Option,
    as_text,
    check_claim_count,
    check_count,
    checked_instructions,
    checked_text,
    option_claims,
    predicate_claim,
)
from freelm.serve.http.errors import bad_request
from freelm.serve.http.limits import Limits
from freelm.serve.judged import Judged
from freelm.serve.protocols.base import FreeLMInfo, FreeLMOptions, RequestModel, ResponseModel

# -- what is asked ---------------------------------------------------------------------------------


class Breakpoint(RequestModel):
    """A hint for prompt caches; accepted, without effect."""

    mode: Literal["explicit"]


class TextPart(RequestModel):
    """A piece of text."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Breakpoint | None = None


class JsonPart(RequestModel):
    """A JSON object or a list of them, read as text."""

    type: Literal["input_json"]
    data: dict[str, Any] | Annotated[list[dict[str, Any]], Field(fail_fast=True)]


class ImagePart(RequestModel):
    """A picture; known so that it can be refused clearly."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["low", "high", "auto", "original"] | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class OutputText(RequestModel):
    """Text of an earlier answer."""

    type: Literal["output_text"]
    text: str


class Refusal(RequestModel):
    """Words by which an earlier answer was declined."""

    type: Literal["refusal"]
    refusal: str


Part = Annotated[
    TextPart | JsonPart | ImagePart | OutputText | Refusal, Field(discriminator="type")
]
Parts = str | Annotated[list[Part], Field(fail_fast=True)]


class MessageItem(RequestModel):
    """A message of a conversation."""

    role: Literal["user", "developer", "system", "assistant"]
    content: Parts
    type: Literal["message"] = "message"
    phase: Literal["commentary", "final_answer"] | None = None


class _Call(RequestModel):
    call_id: str
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class FunctionCall(_Call):
    """A call of a function."""

    type: Literal["function_call"]
    name: str
    arguments: str
    namespace: str | None = None


class FunctionOutput(_Call):
    """What a function gave back."""

    type: Literal["function_call_output"]
    output: Parts


class ToolCall(_Call):
    """A call of a custom tool."""

    type: Literal["custom_tool_call"]
    name: str
    input: str
    namespace: str | None = None


class ToolOutput(_Call):
    """What a custom tool gave back."""

    type: Literal["custom_tool_call_output"]
    output: Parts


Item = MessageItem | FunctionCall | FunctionOutput | ToolCall | ToolOutput


class Predicate(RequestModel):
    """How likely is a statement about the input true?"""

    type: Literal["predicate"]
    instructions: Parts
    name: str | None = None


class ChoiceOption(RequestModel):
    """An option of a choice; the string "true" and the boolean differ."""

    value: str | bool
    description: str | None = None


class Choice(RequestModel):
    """Which of some options fits the input?"""

    type: Literal["choice"]
    instructions: Parts
    choices: Annotated[list[ChoiceOption], Field(min_length=2, fail_fast=True)]
    name: str | None = None


class Level(RequestModel):
    """A level of a score."""

    label: str
    description: str | None = None


class ScoreQuestion(RequestModel):
    """Which of some ordered levels fits the input?"""

    type: Literal["score"]
    instructions: Parts
    levels: Annotated[list[Level], Field(min_length=2, fail_fast=True)]
    name: str | None = None


Question = Annotated[Predicate | Choice | ScoreQuestion, Field(discriminator="type")]


class DecisionRequest(RequestModel):
    """Questions about one input, answered in their order."""

    model: str
    input: str | Annotated[list[Item], Field(min_length=1, fail_fast=True)]
    questions: Annotated[list[Question], Field(min_length=1, fail_fast=True)]
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: str | None = None
    freelm: FreeLMOptions = FreeLMOptions()


# -- what is answered ------------------------------------------------------------------------------


class PredicateAnswer(ResponseModel):
    """P(true) of a statement."""

    type: Literal["predicate"] = "predicate"
    name: str | None
    probability: float


class ChoiceShare(ResponseModel):
    """The probability of an option."""

    value: str | bool
    probability: float


class ChoiceAnswer(ResponseModel):
    """The likeliest option and all shares; they add up to 1."""

    type: Literal["choice"] = "choice"
    name: str | None
    choice: str | bool
    confidence: float
    probabilities: list[ChoiceShare]


class LevelShare(ResponseModel):
    """The probability of a level; `value` counts from 0."""

    label: str
    value: int
    probability: float


class ScoreAnswer(ResponseModel):
    """The expected level and all shares; they add up to 1."""

    type: Literal["score"] = "score"
    name: str | None
    score: float
    confidence: float
    probabilities: list[LevelShare]


class InputDetails(ResponseModel):
    """Nothing is cached between requests."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(ResponseModel):
    """Nothing is written for a decision."""

    reasoning_tokens: int = 0


class Usage(ResponseModel):
    """Tokens of a request."""

    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int = 0
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


Answer = PredicateAnswer | ChoiceAnswer | ScoreAnswer


class Decision(ResponseModel):
    """Answers in the order of the questions."""

    model: str
    answers: list[Answer]
    usage: Usage
    freelm: FreeLMInfo


# -- translation -----------------------------------------------------------------------------------


def decision_claims(asked: DecisionRequest, limits: Limits) -> tuple[Request, list[list[str]]]:
    """The request to judge, and the claims of each question.

    Raises:
        ApiError: 400, if the input or a question cannot be judged or passes a limit.
    """
    check_count("max_questions", limits.max_questions, asked.questions, "questions", "questions")
    claims = [
        _claims(question, limits, f"questions.{i}") for i, question in enumerate(asked.questions)
    ]
    check_claim_count(claims, limits)
    text = checked_text(_input_text(asked.input), "input")
    flat = tuple(dict.fromkeys(claim for group in claims for claim in group))
    return Request((text,), flat), claims


def decide(asked: DecisionRequest, claims: Sequence[Sequence[str]], judged: Judged) -> list[Answer]:
    """Answers of judged claims, in the order of the questions."""
    return [
        _answer(question, group, judged)
        for question, group in zip(asked.questions, claims, strict=True)
    ]


def _claims(question: Predicate | Choice | ScoreQuestion, limits: Limits, place: str) -> list[str]:
    asked_at = f"{place}.instructions"
    instructions = checked_instructions(
        _parts_text(question.instructions, asked_at), limits, asked_at
    )
    if isinstance(question, Predicate):
        return [predicate_claim(instructions, asked_at)]
    if isinstance(question, Choice):
        where, what = f"{place}.choices", "choices"
        check_count("max_options", limits.max_options, question.choices, what, where)
        _refuse_equal([(type(c.value), c.value) for c in question.choices], where)
        options = [Option(_value_name(c.value), c.description) for c in question.choices]
    else:
        where, what = f"{place}.levels", "levels"
        check_count("max_levels", limits.max_levels, question.levels, what, where)
        _refuse_equal([level.label for level in question.levels], where)
        options = [Option(level.label, level.description) for level in question.levels]
    return option_claims(instructions, options, where)


def _value_name(value: str | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def _refuse_equal(values: Sequence[Any], where: str) -> None:
    first: dict[Any, int] = {}
    for i, value in enumerate(values):
        if first.setdefault(value, i) != i:
            raise bad_request(
                f"{where}: {first[value]} and {i} are the same; each must differ",
                "duplicate_option",
                where,
            )


def _answer(
    question: Predicate | Choice | ScoreQuestion, claims: Sequence[str], judged: Judged
) -> Answer:
    if isinstance(question, Predicate):
        return PredicateAnswer(name=question.name, probability=judged.probability(claims[0]))
    shares = judged.shares(claims)
    best = max(range(len(shares)), key=shares.__getitem__)
    if isinstance(question, Choice):
        return ChoiceAnswer(
            name=question.name,
            choice=question.choices[best].value,
            confidence=shares[best],
            probabilities=[
                ChoiceShare(value=option.value, probability=share)
                for option, share in zip(question.choices, shares, strict=True)
            ],
        )
    return ScoreAnswer(
        name=question.name,
        score=expected_level(shares, list(range(len(shares)))),
        confidence=shares[best],
        probabilities=[
            LevelShare(label=level.label, value=i, probability=share)
            for i, (level, share) in enumerate(zip(question.levels, shares, strict=True))
        ],
    )


def _input_text(items: str | list[Item]) -> str:
    """A conversation as text: one message alone as it is, several with their roles before them."""
    if isinstance(items, str):
        return items
    if len(items) == 1 and isinstance(items[0], MessageItem):
        return _parts_text(items[0].content, "input.0.content")
    called: set[tuple[str, str]] = set()
    return "\n".join(_item_line(item, called, f"input.{i}") for i, item in enumerate(items))


def _item_line(item: Item, called: set[tuple[str, str]], place: str) -> str:
    if isinstance(item, MessageItem):
        return f"{item.role}: {_parts_text(item.content, f'{place}.content')}"
    if isinstance(item, FunctionCall | ToolCall):
        called.add((item.type, item.call_id))
        given = item.arguments if isinstance(item, FunctionCall) else item.input
        return f"call: {item.name} {given}"
    if (item.type.removesuffix("_output"), item.call_id) not in called:
        raise bad_request(
            "no call before this output has its call_id", "unknown_call", f"{place}.call_id"
        )
    return f"result: {_parts_text(item.output, f'{place}.output')}"


def _parts_text(content: Parts, place: str) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(_part_text(part, f"{place}.{i}") for i, part in enumerate(content))


def _part_text(part: Part, place: str) -> str:
    if isinstance(part, ImagePart):
        raise bad_request("this model reads text, no images", "unsupported_content", place)
    if isinstance(part, JsonPart):
        return as_text(part.data)
    return part.refusal if isinstance(part, Refusal) else part.text
