"""`POST /v1/completions`, as `client.completions.create` of openai 3.51.0 calls it.

What a FreeLM cannot do (log probabilities, penalties, suffixes, prompts of token ids) is refused,
never ignored.
"""

import time
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from freelm.errors import InputError
from freelm.generate import Sampling
from freelm.serve.claims import check_characters, check_count, checked_text
from freelm.serve.http.errors import bad_request, limit_exceeded
from freelm.serve.http.limits import Limits
from freelm.serve.protocols.base import RequestModel, ResponseModel
from freelm.serve.writing import Order

_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "logprobs": (None,),
    "logit_bias": (None,),
    "suffix": (None,),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
}
"""Options of the interface that FreeLM has not, with the values that change nothing."""


class StreamOptions(RequestModel):
    """What a stream holds besides text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class CompletionRequest(RequestModel):
    """Texts to be continued."""

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
            raise PydanticCustomError("token_ids", "token ids are not taken, send text")
        return given


class CompletionChoice(ResponseModel):
    """A text, or a piece of it in a stream."""

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


def completion_orders(asked: CompletionRequest, limits: Limits) -> list[Order]:
    """What is to be written: for each prompt `n` continuations.

    Raises:
        ApiError: 400, if a prompt is empty, an option is not supported or a limit is passed.
    """
    for name, harmless in _UNSUPPORTED.items():
        if getattr(asked, name) not in harmless:
            raise bad_request(f"{name} is not supported here", "unsupported_parameter", name)
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    check_count("max_prompts", limits.max_prompts, prompts, "prompts", "prompt")
    check_count("max_stops", limits.max_stops, stops, "stop strings", "stop")
    for i, prompt in enumerate(prompts):
        checked_text(prompt, f"prompt.{i}")
        check_characters(
            "max_prompt_tokens", limits.max_prompt_tokens, prompt, "a prompt", f"prompt.{i}"
        )
    if not all(stops):
        raise bad_request("a stop string is empty", param="stop")
    n = asked.n or 1
    if n > limits.max_n:
        raise limit_exceeded("max_n", limits.max_n, n, "completions", "n")
    samplings = [_sampling(asked, limits, i) for i in range(n)]
    return [
        Order(prompt, sampling, tuple(stops), bool(asked.echo))
        for prompt in prompts
        for sampling in samplings
    ]


def _sampling(asked: CompletionRequest, limits: Limits, number: int) -> Sampling:
    tokens = 16 if asked.max_tokens is None else asked.max_tokens
    if tokens > limits.max_tokens:
        raise limit_exceeded("max_tokens", limits.max_tokens, tokens, "tokens", "max_tokens")
    seed = uuid.uuid4().int >> 66 if asked.seed is None else (asked.seed + number) % 2**63
    try:
        return Sampling(
            max_new_tokens=tokens,
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            seed=seed,
        )
    except InputError as error:
        raise bad_request(str(error), param="temperature") from None


def completion_usage(prompt_tokens: Sequence[int], written: Sequence[int]) -> CompletionUsage:
    """Tokens of the prompts, each once, and of all texts written."""
    read, wrote = sum(prompt_tokens), sum(written)
    return CompletionUsage(prompt_tokens=read, completion_tokens=wrote, total_tokens=read + wrote)
