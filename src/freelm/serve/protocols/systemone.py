"""`POST /v1/systemone`, as `TypeSafeClient.system_one` of typesafe-sdk 0.7.5 calls it.

What a yes/no question (`noul`) is judged by:

| given | P(yes) |
|---|---|
| instructions alone | the statement's own probability (a question gets "Yes." as its answer) |
| `true` and `false` described | the share of `true`, given that one of the two holds |
| only `true` described | its own probability |
| only `false` described | one minus its own probability |
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from freelm.judge.answers import Answer as JudgeAnswer
from freelm.judge.answers import Classification, Verdict
from freelm.judge.answers import Score as JudgeScore
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
from freelm.serve.questions import (
    Content,
    Option,
    Options,
    Predicate,
    as_text,
    build_questions,
    checked_text,
)
from freelm.serve.settings import Settings

# -- request ---------------------------------------------------------------------------------------


class NoulCriteria(RequestModel):
    """What counts as yes and as no."""

    true: Content | None = None
    false: Content | None = None


class Noul(RequestModel):
    """A yes/no question or a statement."""

    type: Literal["noul"]
    instructions: Content | None = None
    criteria: NoulCriteria | None = None


class Choice(RequestModel):
    """Which of some named options? A description says when each applies."""

    type: Literal["choice"]
    instructions: Content | None = None
    criteria: Annotated[dict[str, Content | None], Field(min_length=1, fail_fast=True)]


class Score(RequestModel):
    """Which of some ordered levels? Their order is their score, from 0."""

    type: Literal["score"]
    instructions: Content | None = None
    criteria: Annotated[list[Content], Field(min_length=1, fail_fast=True)]


class Box(RequestModel):
    """A question about a picture; known so that it can be refused clearly."""

    type: Literal["box"]
    instructions: Content | None = None


Question = Annotated[Noul | Choice | Score | Box, Field(discriminator="type")]


class SystemOneRequest(RequestModel):
    """Named questions about one state."""

    model: str
    state: Content
    questions: Annotated[dict[str, Question], Field(min_length=1, fail_fast=True)]
    assets: dict[str, Any] | None = None
    freelm: FreeLMOptions = FreeLMOptions()


# -- response --------------------------------------------------------------------------------------


class NoulAnswer(ResponseModel):
    """The probability of yes."""

    type: Literal["noul"] = "noul"
    noul: float


class ChoiceAnswer(ResponseModel):
    """The likeliest option and all shares; they add up to 1."""

    type: Literal["choice"] = "choice"
    choice: str
    confidence: float
    probabilities: dict[str, float]


class ScoreAnswer(ResponseModel):
    """The expected level, the levels by number, and their shares."""

    type: Literal["score"] = "score"
    score: float
    confidence: float
    legend: dict[str, Content]
    probabilities: dict[str, float]


Answer = NoulAnswer | ChoiceAnswer | ScoreAnswer


class Usage(ResponseModel):
    """Tokens of a request; none are written."""

    input_tokens: int
    output_tokens: int = 0


class SystemOneResponse(ResponseModel):
    """Answers under the names of their questions."""

    model: str
    answers: dict[str, Answer]
    usage: Usage
    freelm: FreeLMInfo


# -- translation -----------------------------------------------------------------------------------


def _questions(request: SystemOneRequest, settings: Settings) -> list[TextQuestions]:
    if request.assets:
        raise bad_request("this model reads text only, no assets", "unsupported_content", "assets")
    asked = [_asked(question, f"questions.{name}") for name, question in request.questions.items()]
    built = build_questions(asked, settings.limits)
    text = checked_text(as_text(request.state), "state")
    return [TextQuestions((text,), built, "state")]


def _respond(request: SystemOneRequest, results: Results) -> SystemOneResponse:
    return SystemOneResponse(
        model=results.model,
        answers={
            name: _answer(question, answer)
            for (name, question), answer in zip(
                request.questions.items(), results.answers[0], strict=True
            )
        },
        usage=Usage(input_tokens=results.num_tokens),
        freelm=results.info,
    )


def _asked(question: Question, param: str) -> Predicate | Options:
    if isinstance(question, Box):
        raise bad_request("this model reads text only, no images", "unsupported_content", param)
    instructions = None if question.instructions is None else as_text(question.instructions)
    if isinstance(question, Noul):
        return _asked_noul(question, instructions, param)
    if isinstance(question, Choice):
        options = [Option(name, _text(value)) for name, value in question.criteria.items()]
    else:
        # A level has no name, only a description.
        options = [Option(str(i), as_text(value)) for i, value in enumerate(question.criteria)]
    return Options(
        question.type, instructions, options, f"{param}.criteria", f"{param}.instructions"
    )


def _asked_noul(question: Noul, instructions: str | None, param: str) -> Predicate | Options:
    criteria = question.criteria or NoulCriteria()
    described = [
        Option(side, as_text(value))
        for side, value in (("true", criteria.true), ("false", criteria.false))
        if value is not None
    ]
    if described:
        return Options(
            "choice", instructions, described, f"{param}.criteria", f"{param}.instructions"
        )
    if instructions is None:
        raise bad_request("give instructions, or criteria for true or false", param=param)
    return Predicate(instructions, f"{param}.instructions")


def _text(content: Content | None) -> str | None:
    return None if content is None else as_text(content)


def _answer(question: Question, answer: JudgeAnswer) -> Answer:
    if isinstance(question, Noul):
        return NoulAnswer(noul=_noul(question, answer))
    assert isinstance(answer, Classification | JudgeScore)
    probabilities = list(answer.probabilities.values())
    if isinstance(question, Choice):
        assert isinstance(answer, Classification)
        names = list(question.criteria)
        return ChoiceAnswer(
            choice=names[int(answer.label or 0)],
            confidence=answer.probability,
            probabilities=dict(zip(names, probabilities, strict=True)),
        )
    assert isinstance(question, Score)
    assert isinstance(answer, JudgeScore)
    return ScoreAnswer(
        score=answer.value,
        confidence=max(probabilities),
        legend={str(i): level for i, level in enumerate(question.criteria)},
        probabilities={str(i): probability for i, probability in enumerate(probabilities)},
    )


def _noul(question: Noul, answer: JudgeAnswer) -> float:
    if isinstance(answer, Verdict):
        return answer.probability
    assert isinstance(answer, Classification)
    if len(answer.probabilities) == 2:
        return answer.probabilities["0"]
    # One side is described: its claim is judged by itself.
    assert question.criteria is not None
    verdict = answer.verdicts["0"]
    return verdict if question.criteria.true is not None else 1.0 - verdict


register(
    JudgingEndpoint(
        paths=("/v1/systemone",),
        request=SystemOneRequest,
        response=SystemOneResponse,
        summary="Named yes/no questions, choices and scores about one state.",
        questions=_questions,
        respond=_respond,
    )
)
