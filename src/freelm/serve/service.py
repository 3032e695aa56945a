"""From the bytes of a request to the bytes of its response.

Parsing, validation, tokenization and serialization run on worker threads, so that the event loop
is never blocked; judging and writing run in the engine. A body is parsed once and its texts are
tokenized once.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from freelm.data.tokens import CHARACTERS_PER_TOKEN
from freelm.generate import GenerationRequest, PromptTooLongError
from freelm.judge.questions import distinct_claims
from freelm.judge.requests import (
    ClaimTooLongError,
    ContextTooLongError,
    Judgement,
    PreparedRequest,
    Request,
)
from freelm.serve.backend import Backend, PreparedText
from freelm.serve.batching import Engine
from freelm.serve.http.asgi import Scope
from freelm.serve.http.auth import client_id
from freelm.serve.http.body import read_body
from freelm.serve.http.errors import LAST_EVENT, ApiError, bad_request, too_many_tokens
from freelm.serve.http.keys import client_of
from freelm.serve.http.limits import Limits
from freelm.serve.http.validation import describe_errors
from freelm.serve.protocols.base import (
    Endpoint,
    FreeLMInfo,
    JudgedClaim,
    JudgedText,
    JudgingEndpoint,
    Results,
    TextCollector,
    TextQuestions,
    WritingEndpoint,
)
from freelm.serve.settings import Settings

MAX_WORKERS = 4
"""Threads that parse and tokenize; tokenizers release the GIL."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _JudgingTask:
    """A validated request with its texts tokenized."""

    request: Any
    texts: list[TextQuestions]
    prepared: list[PreparedRequest]


@dataclass(frozen=True, slots=True)
class _WritingTask:
    """A validated request with its prompts tokenized."""

    request: Any
    texts: list[PreparedText]
    collector: TextCollector
    client: str


class Service:
    """Answers requests of all dialects with one engine.

    Args:
        engine: The engine.
        settings: Names and limits.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.name = settings.names[0]
        self._workers = ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="freelm-worker")

    async def judge(self, endpoint: JudgingEndpoint, scope: Scope, body: bytes) -> bytes:
        """Answer a judging request.

        Args:
            endpoint: Its route.
            scope: Its ASGI scope.
            body: Its body as received.

        Returns:
            The response as JSON.

        Raises:
            ApiError: If it cannot be answered.
        """
        started = time.perf_counter()

        def prepare() -> _JudgingTask:
            request = self._parse(endpoint, scope, body)
            texts = endpoint.questions(request, self.settings)
            prepared = prepare_texts(
                self.engine.backend, texts, endpoint.truncates(request), self.settings.limits
            )
            return _JudgingTask(request, texts, prepared)

        def respond() -> bytes:
            seconds = time.perf_counter() - started
            info = self._info(task, judgements, seconds)
            answers = [
                [question.answer(judged) for question in text.questions]
                for text, judged in zip(task.texts, judgements, strict=True)
            ]
            num_tokens = sum(judged.num_tokens for judged in judgements)
            results = Results(self.name, answers, num_tokens, info)
            return endpoint.respond(task.request, results).model_dump_json().encode()

        task = await self._on_worker(prepare)
        _count_tokens(
            scope, sum(one.num_context_tokens + one.num_claim_tokens for one in task.prepared)
        )
        judgements = await self.engine.judge(task.prepared, client_id(scope))
        return await self._on_worker(respond)

    async def prepare_writing(
        self, endpoint: WritingEndpoint, scope: Scope, body: bytes
    ) -> _WritingTask:
        """Parse and validate a writing request.

        Raises:
            ApiError: If it cannot be answered.
        """

        def prepare() -> _WritingTask:
            request = self._parse(endpoint, scope, body)
            limits = self.settings.limits
            texts = [
                _prepare_text(self.engine.backend, text, limits)
                for text in endpoint.texts(request, self.settings)
            ]
            collector = endpoint.collector(request, self.name)
            return _WritingTask(request, texts, collector, client_id(scope))

        task = await self._on_worker(prepare)
        _count_tokens(
            scope,
            sum(sum(text.generator.num_prompt_tokens) + text.max_new_tokens for text in task.texts),
        )
        return task

    async def write(self, task: _WritingTask) -> bytes:
        """Write the texts of a request; returns the response as JSON."""
        async with aclosing(self.engine.write(task.texts, task.client)) as pieces:
            async for index, piece in pieces:
                task.collector.chunk(index, piece)
        return task.collector.response().model_dump_json().encode()

    async def stream(self, task: _WritingTask) -> AsyncGenerator[bytes, None]:
        """Write the texts of a request; yields server-sent events."""
        started = False
        try:
            async with aclosing(self.engine.write(task.texts, task.client)) as pieces:
                async for index, piece in pieces:
                    chunk = task.collector.chunk(index, piece)
                    if chunk is not None:
                        started = True
                        yield _event(chunk.model_dump_json())
        except ApiError as error:
            if not started:
                raise
            yield error.event
        else:
            last = task.collector.last_chunk()
            if last is not None:
                yield _event(last.model_dump_json())
        yield LAST_EVENT

    def check_model(self, name: str | None) -> None:
        """Refuse requests for another model: the server loads nothing on request.

        Raises:
            ApiError: 404.
        """
        names = self.settings.names
        if name is not None and name not in names:
            raise ApiError(
                404,
                f"the model {name[:80]!r} is not served here; this server has {', '.join(names)}",
                "model_not_found",
                "model",
            )

    async def _on_worker(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, function)

    def _parse(self, endpoint: Endpoint, scope: Scope, body: bytes) -> Any:
        value = read_body(scope, body, self.settings.limits)
        try:
            request: Any = endpoint.request.model_validate(value)
        except ValidationError as error:
            raise describe_errors(error.errors(include_url=False), value) from None
        self.check_model(request.model)
        return request

    def _info(
        self, task: _JudgingTask, judgements: Sequence[Judgement], seconds: float
    ) -> FreeLMInfo:
        propositions = None
        if task.request.freelm.propositions:
            propositions = [
                _judged_text(self.engine.backend, text, prepared, judged)
                for text, prepared, judged in zip(
                    task.texts, task.prepared, judgements, strict=True
                )
            ]
        return FreeLMInfo(
            truncated=any(judged.truncated for judged in judgements),
            seconds=round(seconds, 6),
            propositions=propositions,
        )


def _count_tokens(scope: Scope, num_tokens: int) -> None:
    """Count the tokens of a request for its key, those that may be written included.

    Raises:
        ApiError: 429 or 400, if the key may not use so many.
    """
    client = client_of(scope)
    if client is not None:
        client.use("tokens", num_tokens)


def prepare_texts(
    backend: Backend, texts: Sequence[TextQuestions], truncate: bool, limits: Limits
) -> list[PreparedRequest]:
    """Tokenize texts and claims, within the limits of the server.

    A text is cut once, to the room that its longest claim leaves, so that all answers are about
    the same text.

    Args:
        backend: The model.
        texts: Texts with their questions.
        truncate: Whether texts that are too long may be cut.
        limits: Limits of tokens.

    Raises:
        ApiError: 400, if a text or claim, or all together, are too long.
    """
    requests = [_request(text, truncate) for text in texts]
    _check_characters(requests, limits)
    prepared: list[PreparedRequest] = []
    num_tokens = 0
    for request, text in zip(requests, texts, strict=True):
        try:
            one = backend.prepare(request)
        except ClaimTooLongError as error:
            raise bad_request(str(error), "claim_too_long") from None
        except ContextTooLongError:
            raise _context_too_long(limits, text.param) from None
        if max(map(len, one.claim_ids)) > limits.max_claim_tokens:
            raise too_many_tokens("max_claim_tokens", limits.max_claim_tokens, "a claim")
        num_tokens += one.num_context_tokens + one.num_claim_tokens
        if num_tokens > limits.max_request_tokens:
            raise too_many_tokens("max_request_tokens", limits.max_request_tokens, "the request")
        prepared.append(one)
    return prepared


def _request(text: TextQuestions, truncate: bool) -> Request:
    claims = distinct_claims(text.questions)
    return Request(text.context, claims, "truncate" if truncate else "error")


def _check_characters(requests: Sequence[Request], limits: Limits) -> None:
    """Refuse what has too many characters for its tokens, before anything is tokenized."""
    longest_claim = max(len(claim) for request in requests for claim in request.claims)
    if longest_claim > limits.max_claim_tokens * CHARACTERS_PER_TOKEN:
        raise too_many_tokens("max_claim_tokens", limits.max_claim_tokens, "a claim")
    # The characters of a context beyond this number are never read.
    longest = limits.max_context_tokens * CHARACTERS_PER_TOKEN
    characters = sum(
        min(longest, sum(map(len, request.context))) + sum(map(len, request.claims))
        for request in requests
    )
    if characters > limits.max_request_tokens * CHARACTERS_PER_TOKEN:
        raise too_many_tokens("max_request_tokens", limits.max_request_tokens, "the request")


def _context_too_long(limits: Limits, param: str) -> ApiError:
    return bad_request(
        "the text does not fit in front of its claims (limit max_context_tokens of this server is "
        f'{limits.max_context_tokens}); shorten it or send "freelm": {{"truncate": true}}',
        "context_too_long",
        param,
    )


def _prepare_text(backend: Backend, text: GenerationRequest, limits: Limits) -> PreparedText:
    try:
        generator = backend.begin(text)
    except PromptTooLongError as error:
        raise bad_request(str(error), "prompt_too_long", "prompt") from None
    if generator.num_prompt_tokens[0] > limits.max_prompt_tokens:
        raise too_many_tokens("max_prompt_tokens", limits.max_prompt_tokens, "a prompt", "prompt")
    return PreparedText(generator, text.sampling.max_new_tokens)


def _judged_text(
    backend: Backend, text: TextQuestions, prepared: PreparedRequest, judged: Judgement
) -> JudgedText:
    return JudgedText(
        context=list(text.context),
        read=backend.decode(prepared.contexts[0].ids),
        truncated=judged.truncated,
        claims=[
            JudgedClaim(claim=claim, written=backend.decode(ids), probability=float(probability))
            for claim, ids, probability in zip(
                judged.claims, prepared.claim_ids, judged.probabilities, strict=True
            )
        ],
    )


def _event(data: str) -> bytes:
    return b"data: " + data.encode() + b"\n\n"
