"""`POST /v1/decisions`, as `client.decisions.create` of openai 3.51.0 calls it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from freelm.judge.answers import Answer as JudgeAnswer
from freelm.judge.answers import Classification, Score, Verdict
from freelm.serve import questions
from freelm.serve.http.errors import bad_request
from freelm.serve.protocols.base import (
    FreeLMInfo,
    FreeLMOptions,
    JudgingEndpoint,
    RequestModel,
    ResponseModel,
    Results,
    TextQuestions,
    register,
)
from freelm.serve.questions import Option, Options, as_text, checked_text, duplicate_option
from freelm.serve.settings import Settings

# -- request ---------------------------------------------------------------------------------------


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


# -- response --------------------------------------------------------------------------------------


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


def _questions(request: DecisionRequest, settings: Settings) -> list[TextQuestions]:
    asked = [_asked(question, f"questions.{i}") for i, question in enumerate(request.questions)]
    built = questions.build_questions(asked, settings.limits)
    text = checked_text(_input_text(request.input), "input")
    return [TextQuestions((text,), built, "input")]


def _respond(request: DecisionRequest, results: Results) -> Decision:
    return Decision(
        model=results.model,
        answers=[
            _answer(question, answer)
            for question, answer in zip(request.questions, results.answers[0], strict=True)
        ],
        usage=Usage(input_tokens=results.num_tokens, total_tokens=results.num_tokens),
        freelm=results.info,
    )


def _asked(question: Question, param: str) -> questions.Predicate | Options:
    instructions_param = f"{param}.instructions"
    instructions = _parts_text(question.instructions, instructions_param)
    if isinstance(question, Predicate):
        return questions.Predicate(instructions, instructions_param)
    if isinstance(question, Choice):
        param = f"{param}.choices"
        _check_distinct([(type(c.value), c.value) for c in question.choices], param)
        options = [Option(_value_name(c.value), c.description) for c in question.choices]
        return Options("choice", instructions, options, param, instructions_param)
    param = f"{param}.levels"
    _check_distinct([level.label for level in question.levels], param)
    levels = [Option(level.label, level.description) for level in question.levels]
    return Options("score", instructions, levels, param, instructions_param)


def _value_name(value: str | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value


def _check_distinct(values: Sequence[Any], param: str) -> None:
    first: dict[Any, int] = {}
    for i, value in enumerate(values):
        if first.setdefault(value, i) != i:
            raise duplicate_option(first[value], i, param)


def _answer(question: Question, answer: JudgeAnswer) -> Answer:
    if isinstance(question, Predicate):
        assert isinstance(answer, Verdict)
        return PredicateAnswer(name=question.name, probability=answer.probability)
    assert isinstance(answer, Classification | Score)
    probabilities = list(answer.probabilities.values())
    if isinstance(question, Choice):
        assert isinstance(answer, Classification)
        return ChoiceAnswer(
            name=question.name,
            choice=question.choices[int(answer.label or 0)].value,
            confidence=answer.probability,
            probabilities=[
                ChoiceShare(value=option.value, probability=probability)
                for option, probability in zip(question.choices, probabilities, strict=True)
            ],
        )
    assert isinstance(answer, Score)
    return ScoreAnswer(
        name=question.name,
        score=answer.value,
        confidence=max(probabilities),
        probabilities=[
            LevelShare(label=level.label, value=i, probability=probability)
            for i, (level, probability) in enumerate(
                zip(question.levels, probabilities, strict=True)
            )
        ],
    )


def _input_text(items: str | list[Item]) -> str:
    """A conversation as text: a single message as it is, several with their roles in front."""
    if isinstance(items, str):
        return items
    if len(items) == 1 and isinstance(items[0], MessageItem):
        return _parts_text(items[0].content, "input.0.content")
    called: set[tuple[str, str]] = set()
    return "\n".join(_item_line(item, called, f"input.{i}") for i, item in enumerate(items))


def _item_line(item: Item, called: set[tuple[str, str]], param: str) -> str:
    if isinstance(item, MessageItem):
        return f"{item.role}: {_parts_text(item.content, f'{param}.content')}"
    if isinstance(item, FunctionCall | ToolCall):
        called.add((item.type, item.call_id))
        given = item.arguments if isinstance(item, FunctionCall) else item.input
        return f"call: {item.name} {given}"
    if (item.type.removesuffix("_output"), item.call_id) not in called:
        raise bad_request(
            "no earlier call has the call_id of this output", "unknown_call", f"{param}.call_id"
        )
    return f"result: {_parts_text(item.output, f'{param}.output')}"


def _parts_text(content: Parts, param: str) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(_part_text(part, f"{param}.{i}") for i, part in enumerate(content))


def _part_text(part: Part, param: str) -> str:
    if isinstance(part, ImagePart):
        raise bad_request("this model reads text only, no images", "unsupported_content", param)
    if isinstance(part, JsonPart):
        return as_text(part.data)
    return part.refusal if isinstance(part, Refusal) else part.text


register(
    JudgingEndpoint(
        paths=("/v1/decisions",),
        request=DecisionRequest,
        response=Decision,
        summary="Predicates, choices and scores about one input, answered in order.",
        questions=_questions,
        respond=_respond,
    )
)
