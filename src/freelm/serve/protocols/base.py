"""What dialects share: strict models, endpoints and their registry, and the key `freelm`.

A dialect turns its requests into questions of `freelm.judge` and the answers into its responses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from freelm.generate import GenerationRequest, TextPiece
from freelm.judge.answers import Answer
from freelm.judge.questions import Question
from freelm.serve.settings import Settings

UNKNOWN_KEYS = 8
"""Unknown keys that are reported one by one."""

# -- models ----------------------------------------------------------------------------------------


class RequestModel(BaseModel):
    """Part of a request: values are not converted, unknown keys are refused.

    Describing thousands of errors in one body would take a second. So validation of a list or
    mapping stops at its first error (`fail_fast`), and an object with many unknown keys is one
    error.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _limit_unknown_keys(cls, value: Any) -> Any:
        known = cls.model_fields
        forbids = cls.model_config.get("extra") == "forbid"
        if forbids and isinstance(value, dict) and len(value) > len(known) + UNKNOWN_KEYS:
            raise PydanticCustomError(
                "too_many_keys",
                "{given} keys are given; {known} are known",
                {"given": len(value), "known": len(known)},
            )
        return value


class ResponseModel(BaseModel):
    """Part of a response."""

    model_config = ConfigDict(frozen=True)


class FreeLMOptions(RequestModel):
    """FreeLM's own options, under the key `freelm` of any judging request."""

    truncate: bool = Field(False, description="Cut texts that are too long instead of refusing.")
    propositions: bool = Field(False, description="Return every claim that was judged.")


class JudgedClaim(ResponseModel):
    """A claim and P(true) of it alone."""

    claim: str
    written: str = Field(description="The claim as the model reads it, after the text.")
    probability: float


class JudgedText(ResponseModel):
    """The claims that were judged about one text.

    A proposition is `read` followed by the `written` of a claim.
    """

    context: list[str] = Field(description="Parts of the text as given.")
    read: str = Field(description="The text as the model reads it, after cutting.")
    truncated: bool
    claims: list[JudgedClaim]


class FreeLMInfo(ResponseModel):
    """FreeLM's own part of a response, under the key `freelm`."""

    truncated: bool = Field(description="Whether a text was cut.")
    seconds: float = Field(description="From the arrival of the request to its answer.")
    propositions: list[JudgedText] | None = None


# -- endpoints -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextQuestions:
    """A text and the questions about it.

    Attributes:
        context: Parts of the text.
        questions: At least one.
        param: Path of the text in the request, for error messages.
    """

    context: tuple[str, ...]
    questions: Sequence[Question]
    param: str


@dataclass(frozen=True, slots=True)
class Results:
    """What a response is made of.

    Attributes:
        model: Name of the model.
        answers: For each text the answers to its questions.
        num_tokens: Tokens of all texts and claims.
        info: The value of the key `freelm`.
    """

    model: str
    answers: list[list[Answer]]
    num_tokens: int
    info: FreeLMInfo


@dataclass(frozen=True, kw_only=True)
class JudgingEndpoint:
    """A route that answers questions about texts.

    Attributes:
        paths: Its paths; all are POST routes.
        request: Model of the request. It has the fields `model` and `freelm`.
        response: Model of the response.
        summary: One line for the API description.
        questions: Request and settings -> texts with their questions. Raises `ApiError`.
        respond: Request and results -> response.
        truncates: Whether a request allows cutting texts that are too long.
    """

    paths: tuple[str, ...]
    request: type[RequestModel]
    response: type[ResponseModel]
    summary: str
    questions: Callable[[Any, Settings], list[TextQuestions]]
    respond: Callable[[Any, Results], ResponseModel]
    truncates: Callable[[Any], bool] = lambda request: bool(request.freelm.truncate)


class TextCollector(Protocol):
    """Makes responses of the pieces of the texts of one request."""

    def chunk(self, index: int, piece: TextPiece) -> ResponseModel | None:
        """Take a piece in; returns its event of a stream, if it has one."""

    def last_chunk(self) -> ResponseModel | None:
        """The last event of a stream, if it has one besides the pieces."""

    def response(self) -> ResponseModel:
        """The response without streaming."""


@dataclass(frozen=True, kw_only=True)
class WritingEndpoint:
    """A route that writes texts.

    Attributes:
        paths: Its paths; all are POST routes.
        request: Model of the request. It has the fields `model` and `stream`.
        response: Model of the response and of every event of a stream.
        summary: One line for the API description.
        texts: Request and settings -> texts to write. Raises `ApiError`.
        collector: Request and name of the model -> collector of the pieces.
    """

    paths: tuple[str, ...]
    request: type[RequestModel]
    response: type[ResponseModel]
    summary: str
    texts: Callable[[Any, Settings], list[GenerationRequest]]
    collector: Callable[[Any, str], TextCollector]


Endpoint = JudgingEndpoint | WritingEndpoint

ENDPOINTS: list[Endpoint] = []


def register(endpoint: Endpoint) -> None:
    """Add an endpoint to the server.

    Raises:
        ValueError: If one of its paths is taken.
    """
    taken = {path for other in ENDPOINTS for path in other.paths}
    for path in endpoint.paths:
        if path in taken:
            raise ValueError(f"{path} is registered twice")
    ENDPOINTS.append(endpoint)
