"""`POST /v1/completions`, as `client.completions.create` of openai 3.51.0 calls it.

Options that FreeLM does not have (log probabilities, penalties, suffixes, prompts of token ids) are
refused, never ignored.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from freelm.errors import InputError
from freelm.generate import GenerationRequest, Sampling, TextPiece
from freelm.serve.http.errors import bad_request
from freelm.serve.http.limits import Limits
from freelm.serve.protocols.base import RequestModel, ResponseModel, WritingEndpoint, register
from freelm.serve.questions import check_characters, check_count, checked_text
from freelm.serve.settings import Settings

DEFAULT_MAX_TOKENS = 16
"""As in OpenAI's interface."""

_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "logprobs": (None,),
    "logit_bias": (None,),
    "suffix": (None,),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
}
"""Options that FreeLM does not have, with the values that change nothing."""


class StreamOptions(RequestModel):
    """What a stream contains besides text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class CompletionRequest(RequestModel):
    """Texts to continue."""

    model: str
    prompt: str | Annotated[list[str], Field(min_length=1, fail_fast=True)]
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(None, description="16 unless given.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        None, description="1 unless given; 0 takes the likeliest token."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: str | Annotated[list[str], Field(fail_fast=True)] | None = None
    echo: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    best_of: int | None = None
    logprobs: int | None = None
    logit_bias: Annotated[dict[str, float], Field(fail_fast=True)] | None = None
    suffix: str | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _no_token_ids(cls, given: Any) -> Any:
        if isinstance(given, list) and given and isinstance(given[0], int | list):
            raise PydanticCustomError("token_ids", "token ids are not supported, send text")
        return given


class CompletionChoice(ResponseModel):
    """A text, or in a stream a piece of it."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None
    logprobs: None = None


class CompletionUsage(ResponseModel):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(ResponseModel):
    """Continuations of all prompts, those of the first prompt first."""

    id: str = Field(default_factory=lambda: f"cmpl-{uuid.uuid4().hex}")
    object: Literal["text_completion"] = "text_completion"
    created: int = Field(default_factory=lambda: int(time.time()))
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | None = None


class CompletionCollector:
    """Makes responses of the pieces of all texts of a request.

    Args:
        request: The request.
        model: Name of the model.
    """

    def __init__(self, request: CompletionRequest, model: str) -> None:
        prompts = 1 if isinstance(request.prompt, str) else len(request.prompt)
        self._per_prompt = request.n or 1
        options = request.stream_options
        self._include_usage = options is not None and bool(options.include_usage)
        self._template = Completion(model=model, choices=[])
        self._pieces: list[list[TextPiece]] = [[] for _ in range(prompts * self._per_prompt)]

    def chunk(self, index: int, piece: TextPiece) -> Completion | None:
        """Take a piece in; returns its event, unless it has nothing to say."""
        self._pieces[index].append(piece)
        if not (piece.text or piece.finish_reason):
            return None
        choice = CompletionChoice(index=index, text=piece.text, finish_reason=piece.finish_reason)
        return self._template.model_copy(update={"choices": [choice]})

    def last_chunk(self) -> Completion | None:
        """The usage, if the request asks for it."""
        if not self._include_usage:
            return None
        return self._template.model_copy(update={"usage": self._usage()})

    def response(self) -> Completion:
        """All texts, those of the first prompt first."""
        choices = [
            CompletionChoice(
                index=i,
                text="".join(piece.text for piece in pieces),
                finish_reason=pieces[-1].finish_reason,
            )
            for i, pieces in enumerate(self._pieces)
        ]
        return self._template.model_copy(update={"choices": choices, "usage": self._usage()})

    def _usage(self) -> CompletionUsage:
        """Tokens of the prompts, each counted once, and of all texts."""
        last = [pieces[-1] for pieces in self._pieces]
        prompt = sum(piece.num_prompt_tokens for piece in last[:: self._per_prompt])
        written = sum(piece.num_new_tokens for piece in last)
        return CompletionUsage(
            prompt_tokens=prompt, completion_tokens=written, total_tokens=prompt + written
        )


def _texts(request: CompletionRequest, settings: Settings) -> list[GenerationRequest]:
    """For each prompt `n` texts."""
    limits = settings.limits
    for name, neutral in _UNSUPPORTED.items():
        if getattr(request, name) not in neutral:
            raise bad_request(f"{name} is not supported here", "unsupported_parameter", name)
    prompts = _checked_prompts(request, limits)
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    check_count("max_stops", limits.max_stops, len(stops), "stop strings", "stop")
    if not all(stops):
        raise bad_request("a stop string is empty", param="stop")
    n = request.n or 1
    check_count("max_n", limits.max_n, n, "completions", "n")
    samplings = [_sampling(request, limits, i) for i in range(n)]
    return [
        GenerationRequest(prompt, sampling, tuple(stops), bool(request.echo))
        for prompt in prompts
        for sampling in samplings
    ]


def _checked_prompts(request: CompletionRequest, limits: Limits) -> Sequence[str]:
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    check_count("max_prompts", limits.max_prompts, len(prompts), "prompts", "prompt")
    for i, prompt in enumerate(prompts):
        param = f"prompt.{i}"
        checked_text(prompt, param)
        check_characters("max_prompt_tokens", limits.max_prompt_tokens, prompt, "a prompt", param)
    return prompts


def _sampling(request: CompletionRequest, limits: Limits, number: int) -> Sampling:
    tokens = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    check_count("max_tokens", limits.max_tokens, tokens, "tokens", "max_tokens")
    seed = uuid.uuid4().int >> 66 if request.seed is None else (request.seed + number) % 2**63
    try:
        return Sampling(
            max_new_tokens=tokens,
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=seed,
        )
    except InputError as error:
        raise bad_request(str(error), param="temperature") from None


register(
    WritingEndpoint(
        paths=("/v1/completions",),
        request=CompletionRequest,
        response=Completion,
        summary="Continuations of texts; with `stream` as server-sent events.",
        texts=_texts,
        collector=CompletionCollector,
    )
)
