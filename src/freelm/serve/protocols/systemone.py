"""`POST /v1/systemone`, as `TypeSafeClient.system_one` of typesafe-sdk 0.7.5 calls it.

What a yes/no question (`noul`) is judged by:

| given | P(yes) |
|---|---|
| instructions alone | the statement's own probability (a question gets "Yes." as its answer) |
| `true` and `false` described | the share of `true`, given that one of the two holds |
| only `true` described | its own probability |
| only `false` described | one minus its own probability |
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from freelm.judge.probabilities import expected_level
from freelm.judge.requests import Request
from freelm.serve.claims import (
    Content,
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


# -- what is answered ------------------------------------------------------------------------------


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


def system_one_claims(
    asked: SystemOneRequest, limits: Limits
) -> tuple[Request, dict[str, list[str]]]:
    """The request to judge, and the claims of each question.

    Raises:
        ApiError: 400, if the state or a question cannot be judged or passes a limit.
    """
    if asked.assets:
        raise bad_request("this model reads text, no assets", "unsupported_content", "assets")
    names = list(asked.questions)
    check_count("max_questions", limits.max_questions, names, "questions", "questions")
    claims = {
        name: _claims(question, limits, f"questions.{name}")
        for name, question in asked.questions.items()
    }
    check_claim_count(list(claims.values()), limits)
    text = checked_text(as_text(asked.state), "state")
    flat = tuple(dict.fromkeys(claim for group in claims.values() for claim in group))
    return Request((text,), flat), claims


def answer_system_one(
    asked: SystemOneRequest, claims: Mapping[str, Sequence[str]], judged: Judged
) -> dict[str, Answer]:
    """Answers of judged claims, under the names of their questions."""
    return {
        name: _answer(question, claims[name], judged) for name, question in asked.questions.items()
    }


def _claims(question: Question, limits: Limits, place: str) -> list[str]:
    if isinstance(question, Box):
        raise bad_request("this model reads text, no images", "unsupported_content", place)
    asked = None
    if question.instructions is not None:
        asked = checked_instructions(
            as_text(question.instructions), limits, f"{place}.instructions"
        )
    where = f"{place}.criteria"
    if isinstance(question, Noul):
        return _noul_claims(question, asked, place)
    if isinstance(question, Choice):
        check_count("max_options", limits.max_options, list(question.criteria), "options", where)
        options = [Option(name, _text(words)) for name, words in question.criteria.items()]
    else:
        check_count("max_levels", limits.max_levels, question.criteria, "levels", where)
        # A level has no name: its words are its description.
        options = [Option(str(i), as_text(words)) for i, words in enumerate(question.criteria)]
    return option_claims(asked, options, where)


def _noul_claims(question: Noul, asked: str | None, place: str) -> list[str]:
    described = [
        Option(side, _text(words)) for side, words in _sides(question) if words is not None
    ]
    if described:
        return option_claims(asked, described, f"{place}.criteria")
    if asked is None:
        raise bad_request("give instructions, or criteria that describe true or false", param=place)
    return [predicate_claim(asked, f"{place}.instructions")]


def _sides(question: Noul) -> list[tuple[str, Content | None]]:
    criteria = question.criteria or NoulCriteria()
    return [("true", criteria.true), ("false", criteria.false)]


def _text(words: Content | None) -> str | None:
    return None if words is None else as_text(words)


def _answer(question: Question, claims: Sequence[str], judged: Judged) -> Answer:
    if isinstance(question, Noul):
        return NoulAnswer(noul=_noul(question, claims, judged))
    shares = judged.shares(claims)
    best = max(range(len(shares)), key=shares.__getitem__)
    if isinstance(question, Choice):
        named = dict(zip(question.criteria, shares, strict=True))
        choice = list(question.criteria)[best]
        return ChoiceAnswer(choice=choice, confidence=shares[best], probabilities=named)
    assert isinstance(question, Score)  # a box has been refused
    numbers = list(range(len(shares)))
    return ScoreAnswer(
        score=expected_level(shares, numbers),
        confidence=shares[best],
        legend={str(i): words for i, words in enumerate(question.criteria)},
        probabilities={str(i): share for i, share in zip(numbers, shares, strict=True)},
    )


def _noul(question: Noul, claims: Sequence[str], judged: Judged) -> float:
    if len(claims) == 2:
        return judged.shares(claims)[0]
    own = judged.probability(claims[0])
    sides = dict(_sides(question))
    only_false = sides["true"] is None and sides["false"] is not None
    return 1.0 - own if only_false else own
