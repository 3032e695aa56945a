"""`/rerank`, `/score`, `/classify`: the text part of vLLM's pooling interfaces.

As there, unknown keys are ignored. A classifier of vLLM has its labels in the model; a FreeLM takes
any, so a request names them in `labels`, with an optional `template`.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from freelm.errors import InputError
from freelm.inference.engine import Request
from freelm.inference.predictor import RELEVANCE_CLAIM
from freelm.inference.questions import DEFAULT_TEMPLATE
from freelm.inference.text_input import check_labels, fill_template
from freelm.serve.claims import check_claim_count, check_count, checked_text
from freelm.serve.judged import Judged
from freelm.serve.limits import Limits
from freelm.serve.problems import refuse
from freelm.serve.schemas.common import Answered, Asked, Report, Wishes

Texts = str | Annotated[list[str], Field(min_length=1)]


class _Pooling(Asked):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    model: str | None = None
    truncate_prompt_tokens: Literal[-1] | None = Field(
        None, description="-1 cuts texts that are too long; other lengths are not supported."
    )
    freelm: Wishes = Wishes()

    @property
    def truncate(self) -> bool:
        """Whether texts that are too long may be cut."""
        return self.freelm.truncate or self.truncate_prompt_tokens == -1


class RerankRequest(_Pooling):
    """Documents to be ordered by how likely they answer a query."""

    query: str
    documents: Annotated[list[str], Field(min_length=1)]
    top_n: Annotated[int, Field(ge=0)] = Field(0, description="Best ones to return; 0 means all.")


class ScoreRequest(_Pooling):
    """Pairs of texts: one query for all documents, or one for each.

    Either `text_1` and `text_2`, or `queries` and `documents`, which mean the same.
    """

    text_1: Texts | None = None
    text_2: Texts | None = None
    queries: Texts | None = None
    documents: Texts | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "ScoreRequest":
        texts, named = (self.text_1, self.text_2), (self.queries, self.documents)
        if sorted([texts.count(None), named.count(None)]) != [0, 2]:
            raise ValueError("give text_1 and text_2, or queries and documents")
        return self


class ClassifyRequest(_Pooling):
    """Texts to be classified by labels of the request."""

    input: Texts
    labels: Annotated[list[str], Field(min_length=2)]
    template: str = DEFAULT_TEMPLATE


class Usage(Answered):
    """Tokens of a request."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class RerankDocument(Answered):
    """A document as it was given."""

    text: str


class RerankResult(Answered):
    """A document's place in the request and its P(true)."""

    index: int
    document: RerankDocument
    relevance_score: float


class RerankResponse(Answered):
    """Documents, the likeliest first."""

    id: str = Field(default_factory=lambda: f"rerank-{uuid.uuid4().hex}")
    model: str
    usage: Usage
    results: list[RerankResult]
    freelm: Report


class PairScore(Answered):
    """P(true) of a pair."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreResponse(Answered):
    """Scores in the order of the pairs."""

    id: str = Field(default_factory=lambda: f"score-{uuid.uuid4().hex}")
    object: Literal["list"] = "list"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str
    data: list[PairScore]
    usage: Usage
    freelm: Report


class TextClass(Answered):
    """The likeliest label of a text and the shares of all, in the order of the labels."""

    index: int
    label: str
    probs: list[float]
    num_classes: int


class ClassifyResponse(Answered):
    """Classes in the order of the texts."""

    id: str = Field(default_factory=lambda: f"classify-{uuid.uuid4().hex}")
    object: Literal["list"] = "list"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str
    data: list[TextClass]
    usage: Usage
    freelm: Report


# -- translation -----------------------------------------------------------------------------------


def rerank_requests(asked: RerankRequest, limits: Limits) -> list[Request]:
    """One request a document, judged as `FreeLM.rank` does.

    Raises:
        Problem: 400, if a text is empty or there are too many.
    """
    query = checked_text(asked.query, "query")
    return _pairs([query], asked.documents, limits, ("query", "documents"))


def score_requests(asked: ScoreRequest, limits: Limits) -> list[Request]:
    """One request a pair.

    Raises:
        Problem: 400, if a text is empty, there are too many, or the lists do not match.
    """
    if asked.text_1 is not None and asked.text_2 is not None:
        return _pairs(_listed(asked.text_1), _listed(asked.text_2), limits, ("text_1", "text_2"))
    queries, documents = _listed(asked.queries or []), _listed(asked.documents or [])
    return _pairs(queries, documents, limits, ("queries", "documents"))


def classify_requests(asked: ClassifyRequest, limits: Limits) -> tuple[list[Request], list[str]]:
    """One request a text, and the claim of each label.

    Raises:
        Problem: 400, if a text or label is empty, labels are equal, the template is wrong, or a
            limit is passed.
    """
    texts = _listed(asked.input)
    check_count("max_texts", limits.max_texts, texts, "texts", "input")
    check_count("max_options", limits.max_options, asked.labels, "labels", "labels")
    try:
        labels = check_labels(asked.labels)
    except InputError as error:
        raise refuse(str(error), param="labels") from None
    try:
        claims = [fill_template(asked.template, words) for words in labels.values()]
    except InputError as error:
        raise refuse(str(error), param="template") from None
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
        for i, (document, found) in enumerate(zip(asked.documents, judged, strict=True))
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
    asked: ClassifyRequest, claims: Sequence[str], judged: Sequence[Judged]
) -> list[TextClass]:
    """The class of each text."""
    classes = []
    for i, found in enumerate(judged):
        shares = found.shares(claims)
        label = asked.labels[max(range(len(shares)), key=shares.__getitem__)]
        classes.append(TextClass(index=i, label=label, probs=shares, num_classes=len(shares)))
    return classes


def usage(judged: Sequence[Judged]) -> Usage:
    """Tokens of all requests together."""
    tokens = sum(found.tokens for found in judged)
    return Usage(prompt_tokens=tokens, total_tokens=tokens)


def _listed(texts: Texts) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _pairs(
    queries: list[str], documents: list[str], limits: Limits, names: tuple[str, str]
) -> list[Request]:
    check_count("max_texts", limits.max_texts, documents, "texts", names[1])
    if len(queries) not in (1, len(documents)):
        raise refuse(
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
