"""`/rerank`, `/score`, `/classify`: the text part of vLLM's pooling interfaces.

As there, unknown keys are ignored; known ones that would change the answer and cannot be had are
refused. A classifier of vLLM has its labels in the model; a FreeLM takes any, so a request names
them in `labels`, with an optional `template`, or the server has some for requests that do not.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from freelm.api import RELEVANCE_CLAIM
from freelm.errors import InputError
from freelm.judge.requests import Request
from freelm.judge.validation import check_labels, check_template
from freelm.serve.claims import check_characters, check_claim_count, check_count, checked_text
from freelm.serve.http.errors import ApiError, bad_request
from freelm.serve.http.limits import Limits
from freelm.serve.judged import Judged
from freelm.serve.protocols.base import FreeLMInfo, FreeLMOptions, RequestModel, ResponseModel
from freelm.tasks.forms import DEFAULT_TEMPLATE, label_claim

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

    def checked_truncate(self) -> bool:
        """Whether texts that are too long may be cut.

        Raises:
            ApiError: 400, if something is wished for that cannot be had.
        """
        if self.truncate_prompt_tokens not in (None, -1):
            raise _unsupported(
                "truncate_prompt_tokens",
                f"cutting texts to {self.truncate_prompt_tokens} tokens is not supported here; "
                "-1 cuts those that are too long",
            )
        if self.use_activation is False:
            raise _unsupported(
                "use_activation", "the answers are probabilities; they cannot be had without"
            )
        return self.freelm.truncate or self.truncate_prompt_tokens == -1


PAIRS = (
    ("text_1", "text_2"),
    ("data_1", "data_2"),
    ("queries", "documents"),
    ("queries", "items"),
)
"""What vLLM calls the first and the second texts of a score."""


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


def rerank_requests(asked: RerankRequest, limits: Limits) -> list[Request]:
    """One request a document, judged as `FreeLM.rank` does.

    Raises:
        ApiError: 400, if a text is empty or there are too many.
    """
    query = checked_text(asked.query, "query")
    return _pairs([query], _listed(asked.documents), limits, ("query", "documents"))


def score_requests(asked: ScoreRequest, limits: Limits) -> list[Request]:
    """One request a pair.

    Raises:
        ApiError: 400, if a text is empty, there are too many, or the lists do not match.
    """
    firsts, seconds = (_listed(getattr(asked, name)) for name in asked.pair)
    return _pairs(firsts, seconds, limits, asked.pair)


def classify_requests(
    asked: ClassifyRequest, labels: Sequence[str], limits: Limits
) -> tuple[list[Request], list[str]]:
    """One request a text, and the claim of each label.

    Raises:
        ApiError: 400, if there is no label, a text or label is empty, labels are equal, the
            template is wrong, or a limit is exceeded.
    """
    texts = _listed(asked.input)
    if not labels:
        raise bad_request(
            "name labels: the server was started without any (--labels)", param="labels"
        )
    check_count("max_texts", limits.max_texts, texts, "texts", "input")
    check_count("max_options", limits.max_options, labels, "labels", "labels")
    check_characters(
        "max_claim_tokens", limits.max_claim_tokens, asked.template, "a claim", "template"
    )
    try:
        checked = check_labels(labels)
    except InputError as error:
        raise bad_request(str(error), param="labels") from None
    try:
        template = check_template(asked.template)
        claims = [label_claim(words, template) for words in checked.values()]
    except InputError as error:
        raise bad_request(str(error), param="template") from None
    check_claim_count([claims] * len(texts), limits)
    requests = [
        Request((checked_text(text, f"input.{i}"),), tuple(claims)) for i, text in enumerate(texts)
    ]
    return requests, claims


def rank(asked: RerankRequest, judged: Sequence[Judged]) -> list[RerankResult]:
    """Documents, the likeliest first; equals in their order."""
    results = [
        RerankResult(
            index=i,
            document=RerankDocument(text=document),
            relevance_score=found.probability(RELEVANCE_CLAIM),
        )
        for i, (document, found) in enumerate(zip(_listed(asked.documents), judged, strict=True))
    ]
    ordered = sorted(results, key=lambda result: -result.relevance_score)
    return ordered[: asked.top_n or None]


def pair_scores(judged: Sequence[Judged]) -> list[PairScore]:
    """P(true) of each pair."""
    return [
        PairScore(index=i, score=found.probability(RELEVANCE_CLAIM))
        for i, found in enumerate(judged)
    ]


def text_classes(
    labels: Sequence[str], claims: Sequence[str], judged: Sequence[Judged]
) -> list[TextClass]:
    """The class of each text; labels and claims have one order."""
    classes = []
    for i, found in enumerate(judged):
        shares = found.shares(claims)
        label = labels[max(range(len(shares)), key=shares.__getitem__)]
        classes.append(TextClass(index=i, label=label, probs=shares, num_classes=len(shares)))
    return classes


def places(name: str, texts: Texts) -> list[str]:
    """Where the texts under a name stand in the body."""
    return [name] if isinstance(texts, str) else [f"{name}.{i}" for i in range(len(texts))]


def usage(judged: Sequence[Judged]) -> Usage:
    """Tokens of all requests together."""
    tokens = sum(found.tokens for found in judged)
    return Usage(prompt_tokens=tokens, total_tokens=tokens)


def _unsupported(name: str, message: str) -> ApiError:
    return bad_request(message, "unsupported_parameter", name)


def _listed(texts: Texts) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _pairs(
    queries: list[str], documents: list[str], limits: Limits, names: tuple[str, str]
) -> list[Request]:
    check_count("max_texts", limits.max_texts, documents, "texts", names[1])
    if len(queries) not in (1, len(documents)):
        raise bad_request(
            f"{len(queries)} texts cannot be paired with {len(documents)}; "
            "give one for all or one for each",
            param=names[0],
        )
    queries = [checked_text(query, f"{names[0]}.{i}") for i, query in enumerate(queries)]
    paired = queries * len(documents) if len(queries) == 1 else queries
    return [
        Request((query, checked_text(document, f"{names[1]}.{i}")), (RELEVANCE_CLAIM,))
        for i, (query, document) in enumerate(zip(paired, documents, strict=True))
    ]
