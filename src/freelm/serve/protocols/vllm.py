"""`/rerank`, `/score`, `/classify`: the text part of vLLM's pooling interfaces.

As in vLLM, unknown keys are ignored. Known keys that would change the answer and are not supported
are refused. A vLLM classifier has its labels in the model; FreeLM takes any labels, so a request
names them in `labels`, with an optional `template`, or the server has defaults (`--labels`).
"""

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from freelm.errors import InputError
from freelm.judge.answers import Classification, Verdict
from freelm.judge.questions import RELEVANCE_CLAIM, ChoiceQuestion, PredicateQuestion, choice
from freelm.serve.http.errors import ApiError, bad_request
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
from freelm.serve.questions import check_characters, check_count, checked_text
from freelm.serve.settings import Settings
from freelm.tasks.forms import DEFAULT_TEMPLATE

Texts = str | Annotated[list[str], Field(min_length=1, fail_fast=True)]


class _Pooling(RequestModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    model: str | None = None
    truncate_prompt_tokens: int | None = Field(
        None, description="-1 cuts texts that are too long; other lengths are not supported."
    )
    use_activation: bool | None = Field(
        None, description="Answers are probabilities; `false` is not supported."
    )
    freelm: FreeLMOptions = FreeLMOptions()

    @property
    def truncates(self) -> bool:
        """Whether texts that are too long may be cut."""
        return self.freelm.truncate or self.truncate_prompt_tokens == -1

    def check_supported(self) -> None:
        """Refuse options that would change the answer.

        Raises:
            ApiError: 400, naming the option.
        """
        if self.truncate_prompt_tokens not in (None, -1):
            raise _unsupported(
                "truncate_prompt_tokens",
                f"cutting texts to {self.truncate_prompt_tokens} tokens is not supported here; "
                "-1 cuts those that are too long",
            )
        if self.use_activation is False:
            raise _unsupported("use_activation", "scores are always probabilities here")


PAIRS = (
    ("text_1", "text_2"),
    ("data_1", "data_2"),
    ("queries", "documents"),
    ("queries", "items"),
)
"""vLLM's names for the first and the second texts of a score."""


class RerankRequest(_Pooling):
    """Documents to be ordered by how likely they answer a query."""

    query: str
    documents: Texts
    top_n: Annotated[int, Field(ge=0)] = Field(0, description="Best ones to return; 0 means all.")


class ScoreRequest(_Pooling):
    """Pairs of texts: one query for all documents, or one for each.

    They come as `text_1` and `text_2`, `data_1` and `data_2`, `queries` and `documents`, or
    `queries` and `items`, which all mean the same.
    """

    text_1: Texts | None = None
    text_2: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """The names that this request has its texts under."""
        given = {name for names in PAIRS for name in names if getattr(self, name) is not None}
        for pair in PAIRS:
            if given == set(pair):
                return pair
        raise ValueError(f"give one pair of {', '.join(f'{a} and {b}' for a, b in PAIRS)}")

    @model_validator(mode="after")
    def _one_pair(self) -> "ScoreRequest":
        _ = self.pair
        return self


class ClassifyRequest(_Pooling):
    """Texts to be classified by labels, those of the request or of the server."""

    input: Texts
    labels: Annotated[list[str], Field(min_length=2, fail_fast=True)] | None = Field(
        None, description="May be left out where the server has some."
    )
    template: str = DEFAULT_TEMPLATE


class Usage(ResponseModel):
    """Tokens of a request."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class RerankDocument(ResponseModel):
    """A document as it was given."""

    text: str


class RerankResult(ResponseModel):
    """A document's place in the request and its P(true)."""

    index: int
    document: RerankDocument
    relevance_score: float


class RerankResponse(ResponseModel):
    """Documents, the likeliest first."""

    id: str = Field(default_factory=lambda: f"rerank-{uuid.uuid4().hex}")
    model: str
    usage: Usage
    results: list[RerankResult]
    freelm: FreeLMInfo


class PairScore(ResponseModel):
    """P(true) of a pair."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreResponse(ResponseModel):
    """Scores in the order of the pairs."""

    id: str = Field(default_factory=lambda: f"score-{uuid.uuid4().hex}")
    object: Literal["list"] = "list"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str
    data: list[PairScore]
    usage: Usage
    freelm: FreeLMInfo


class TextClass(ResponseModel):
    """The likeliest label of a text and the shares of all, in the order of the labels."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class ClassifyResponse(ResponseModel):
    """Classes in the order of the texts."""

    id: str = Field(default_factory=lambda: f"classify-{uuid.uuid4().hex}")
    object: Literal["list"] = "list"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str
    data: list[TextClass]
    usage: Usage
    freelm: FreeLMInfo


# -- translation -----------------------------------------------------------------------------------

_RELEVANCE = (PredicateQuestion(RELEVANCE_CLAIM, (RELEVANCE_CLAIM,)),)


def _rerank_questions(request: RerankRequest, settings: Settings) -> list[TextQuestions]:
    request.check_supported()
    return _pairs(request.query, request.documents, settings, ("query", "documents"))


def _rerank_response(request: RerankRequest, results: Results) -> RerankResponse:
    ranked = sorted(
        (
            RerankResult(index=i, document=RerankDocument(text=document), relevance_score=score)
            for i, (document, score) in enumerate(
                zip(_as_list(request.documents), _scores(results), strict=True)
            )
        ),
        key=lambda result: -result.relevance_score,
    )
    return RerankResponse(
        model=results.model,
        results=ranked[: request.top_n or None],
        usage=_usage(results),
        freelm=results.info,
    )


def _score_questions(request: ScoreRequest, settings: Settings) -> list[TextQuestions]:
    request.check_supported()
    first, second = request.pair
    return _pairs(getattr(request, first), getattr(request, second), settings, request.pair)


def _score_response(request: ScoreRequest, results: Results) -> ScoreResponse:
    return ScoreResponse(
        model=results.model,
        data=[PairScore(index=i, score=score) for i, score in enumerate(_scores(results))],
        usage=_usage(results),
        freelm=results.info,
    )


def _classify_questions(request: ClassifyRequest, settings: Settings) -> list[TextQuestions]:
    request.check_supported()
    limits = settings.limits
    texts, labels = _as_list(request.input), _labels(request, settings)
    check_count("max_texts", limits.max_texts, len(texts), "texts", "input")
    check_count("max_options", limits.max_options, len(labels), "labels", "labels")
    check_count("max_claims", limits.max_claims, len(texts) * len(labels), "claims", "questions")
    check_characters(
        "max_claim_tokens", limits.max_claim_tokens, request.template, "a claim", "template"
    )
    question = _classification(labels, request.template)
    return [
        TextQuestions((checked_text(text, param),), (question,), param)
        for text, param in zip(texts, _params("input", request.input), strict=True)
    ]


def _classify_response(request: ClassifyRequest, results: Results) -> ClassifyResponse:
    classes = []
    for i, (answer,) in enumerate(results.answers):
        assert isinstance(answer, Classification)
        assert answer.label is not None
        probabilities = list(answer.probabilities.values())
        classes.append(
            TextClass(
                index=i, label=answer.label, probs=probabilities, num_classes=len(probabilities)
            )
        )
    return ClassifyResponse(
        model=results.model, data=classes, usage=_usage(results), freelm=results.info
    )


def _classification(labels: Sequence[str], template: str) -> ChoiceQuestion:
    try:
        choice(labels)
    except InputError as error:
        raise bad_request(str(error), param="labels") from None
    try:
        return choice(labels, template)
    except InputError as error:
        raise bad_request(str(error), param="template") from None


def _labels(request: ClassifyRequest, settings: Settings) -> Sequence[str]:
    labels = request.labels or settings.labels
    if not labels:
        raise bad_request(
            "name labels, because this server has no default ones (--labels)", param="labels"
        )
    return labels


def _scores(results: Results) -> list[float]:
    """P(true) of the only question about each text."""
    scores = []
    for (answer,) in results.answers:
        assert isinstance(answer, Verdict)
        scores.append(answer.probability)
    return scores


def _usage(results: Results) -> Usage:
    return Usage(prompt_tokens=results.num_tokens, total_tokens=results.num_tokens)


def _unsupported(name: str, message: str) -> ApiError:
    return bad_request(message, "unsupported_parameter", name)


def _as_list(texts: Texts) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _params(name: str, texts: Texts) -> list[str]:
    """Paths of texts in the request: a single text is not in a list."""
    return [name] if isinstance(texts, str) else [f"{name}.{i}" for i in range(len(texts))]


def _pairs(
    queries: Texts, documents: Texts, settings: Settings, names: tuple[str, str]
) -> list[TextQuestions]:
    """One text per pair: a query, which may be the same for all, and a document."""
    firsts, seconds = _as_list(queries), _as_list(documents)
    check_count("max_texts", settings.limits.max_texts, len(seconds), "texts", names[1])
    if len(firsts) not in (1, len(seconds)):
        raise bad_request(
            f"{len(firsts)} texts cannot be paired with {len(seconds)}; "
            "give one for all or one for each",
            param=names[0],
        )
    firsts = [
        checked_text(query, param)
        for query, param in zip(firsts, _params(names[0], queries), strict=True)
    ]
    if len(firsts) == 1:
        firsts *= len(seconds)
    return [
        TextQuestions((query, checked_text(document, param)), _RELEVANCE, param)
        for query, document, param in zip(
            firsts, seconds, _params(names[1], documents), strict=True
        )
    ]


def _truncates(request: _Pooling) -> bool:
    return request.truncates


register(
    JudgingEndpoint(
        paths=("/rerank", "/v1/rerank", "/v2/rerank"),
        request=RerankRequest,
        response=RerankResponse,
        summary="Documents ordered by how likely they answer a query.",
        questions=_rerank_questions,
        respond=_rerank_response,
        truncates=_truncates,
    )
)
register(
    JudgingEndpoint(
        paths=("/score", "/v1/score"),
        request=ScoreRequest,
        response=ScoreResponse,
        summary="How likely each second text answers its first.",
        questions=_score_questions,
        respond=_score_response,
        truncates=_truncates,
    )
)
register(
    JudgingEndpoint(
        paths=("/classify", "/v1/classify"),
        request=ClassifyRequest,
        response=ClassifyResponse,
        summary="Which of some labels fits each text.",
        questions=_classify_questions,
        respond=_classify_response,
        truncates=_truncates,
    )
)
