"""Writing text: the one token loop of the Python API, the command line, evaluation and the server.

`TextGenerator` continues one or several prompts, one token per step, and returns text as soon as it
is final, so that a caller can stream it, do other work between steps, or cancel a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import torch

from freelm.data.tokens import MARKERS, encode_text
from freelm.errors import InputError
from freelm.model.network import FreeLMNetwork

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.001, 1000.0
"""Beyond these a distribution is a single token or uniform, and logits overflow."""

BATCH_TEXTS = 16
"""Texts that `generate_texts` continues at the same time; bounds memory."""

INCOMPLETE_CHARACTER = "\ufffd"
"""What a tokenizer decodes the first bytes of a character to while the others are missing."""

FinishReason = Literal["stop", "length"]


class PromptTooLongError(InputError):
    """A prompt fills the model's window."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen, and how many.

    At temperature 0 the next token is the likeliest one. Otherwise it is drawn from
    softmax(logits / temperature), restricted to the likeliest tokens whose probabilities sum to
    `top_p` (the token that crosses it included) and renormalized. Nothing else shapes the
    distribution; only the four markers are never written. Draws come from a generator seeded for
    each text; PyTorch's global random state is neither read nor changed.

    Attributes:
        max_new_tokens: Maximum number of tokens to write.
        temperature: 0 for the likeliest token, or from 0.001 to 1000.
        top_p: Above 0; 1 samples from all tokens.
        seed: Seed of the draws.

    Raises:
        InputError: If a value is not a number or out of range.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind, words in (
            ("max_new_tokens", Integral, "an integer"),
            ("seed", Integral, "an integer"),
            ("temperature", Real, "a number"),
            ("top_p", Real, "a number"),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind):
                raise InputError(f"{name} must be {words}, not {value!r}")
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if self.temperature and not MIN_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE:
            raise InputError(
                f"temperature must be 0, or from {MIN_TEMPERATURE} to {MAX_TEMPERATURE}, "
                f"not {self.temperature}"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be 0 or more and below 2**63, not {self.seed}")


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A text to write.

    Attributes:
        prompt: Its beginning.
        sampling: How tokens are chosen.
        stop: Strings that end the text; they are not part of it.
        echo: Whether the text begins with the prompt.
    """

    prompt: str
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    echo: bool = False


@dataclass(frozen=True, slots=True)
class TextPiece:
    """The next piece of a text.

    Attributes:
        text: New text; may be empty.
        finish_reason: Why the text has ended: `stop` (end of text or a stop string), `length`
            (`max_new_tokens` or the model's window), or None if it is not finished.
        num_prompt_tokens: Tokens of the prompt.
        num_new_tokens: Tokens written so far.
    """

    text: str
    finish_reason: FinishReason | None
    num_prompt_tokens: int
    num_new_tokens: int


class TextGenerator:
    """Continues prompts one token at a time. Not thread-safe.

    Several prompts run as one batch, padded on the left. In fp32 a text does not depend on the
    others of its batch, apart from rounding.

    Args:
        network: The network, in evaluation mode.
        requests: The texts to write.

    Raises:
        PromptTooLongError: If a prompt fills the model's window.
    """

    def __init__(self, network: FreeLMNetwork, requests: Sequence[GenerationRequest]) -> None:
        self._network = network
        self._texts = [_Text(network, request) for request in requests]
        self._active = list(range(len(requests)))
        self._cancelled: set[int] = set()
        vocabulary = network.tokenizer.get_vocab()
        self._banned = [vocabulary[marker] for marker in MARKERS if marker in vocabulary]
        self._end_tokens = _end_tokens(network)
        self._cache: Any = None
        self._mask = torch.empty(0)

    @property
    def finished(self) -> bool:
        """Whether every text has ended."""
        return not self._active

    @property
    def num_prompt_tokens(self) -> list[int]:
        """Tokens of each prompt; known before the first step."""
        return [len(text.prompt) for text in self._texts]

    def cancel(self, index: int) -> None:
        """Stop writing one text; no further step returns a piece of it."""
        self._cancelled.add(index)

    def step(self) -> list[tuple[int, TextPiece]]:
        """Write one token of every unfinished text.

        Returns:
            The index and next piece of each.
        """
        self._keep([row for row, i in enumerate(self._active) if i not in self._cancelled])
        if not self._active:
            return []
        pieces = []
        for index, logits in zip(self._active, self._next_logits(), strict=True):
            text = self._texts[index]
            pieces.append((index, text.add(text.choose(logits), self._end_tokens)))
        self._keep([row for row, (_, piece) in enumerate(pieces) if piece.finish_reason is None])
        return pieces

    @torch.inference_mode()
    def _next_logits(self) -> torch.Tensor:
        """(B, V) next-token logits of the active texts in fp32, markers at minus infinity."""
        device = self._network.device
        texts = [self._texts[i] for i in self._active]
        if self._cache is None:
            width = max(len(text.prompt) for text in texts)
            rows = [[0] * (width - len(text.prompt)) + text.prompt for text in texts]
            self._mask = torch.tensor(
                [[0] * (width - len(text.prompt)) + [1] * len(text.prompt) for text in texts],
                device=device,
            )
            positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
        else:
            rows = [text.new[-1:] for text in texts]
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(texts), 1)], dim=-1)
            positions = self._mask.sum(-1, keepdim=True) - 1
        output = self._network.causal(
            input_ids=torch.tensor(rows, device=device),
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = output.past_key_values
        logits: torch.Tensor = output.logits[:, -1].float()
        logits[:, self._banned] = -torch.inf
        return logits

    def _keep(self, rows: list[int]) -> None:
        """Drop the other rows of the batch."""
        if len(rows) == len(self._active):
            return
        self._active = [self._active[row] for row in rows]
        if self._cache is not None and rows:
            index = torch.tensor(rows, device=self._mask.device)
            self._cache.batch_select_indices(index)
            self._mask = self._mask[index]


class _Text:
    """One text being written."""

    def __init__(self, network: FreeLMNetwork, request: GenerationRequest) -> None:
        self._tokenizer = network.tokenizer
        self._request = request
        self.prompt = encode_text(network.tokenizer, request.prompt)
        room = network.max_positions - len(self.prompt)
        if room < 1:
            raise PromptTooLongError(
                f"the prompt has {len(self.prompt)} tokens; the model's window is "
                f"{network.max_positions}"
            )
        self.new: list[int] = []
        self._max_new = min(request.sampling.max_new_tokens, room)
        self._generator = torch.Generator(network.device).manual_seed(int(request.sampling.seed))
        self._text = request.prompt if request.echo else ""
        self._start = len(self._text)
        self._returned = 0

    def choose(self, logits: torch.Tensor) -> int:
        """The next token, from (V,) logits."""
        return choose_token(logits, self._request.sampling, self._generator)

    def add(self, token: int, end_tokens: frozenset[int]) -> TextPiece:
        """Append a token and return the text that is final."""
        if token in end_tokens:
            return self._piece("stop")
        self.new.append(token)
        decoded = self._tokenizer.decode(self.new, skip_special_tokens=True)
        self._text = self._text[: self._start] + decoded
        found = [self._text.find(stop, self._start) for stop in self._request.stop]
        end = min((place for place in found if place >= 0), default=None)
        if end is not None:
            self._text = self._text[:end]
            return self._piece("stop")
        return self._piece("length" if len(self.new) >= self._max_new else None)

    def _piece(self, finish_reason: FinishReason | None) -> TextPiece:
        end = len(self._text) - (0 if finish_reason else self._num_pending())
        text = self._text[self._returned : end]
        self._returned = max(self._returned, end)
        return TextPiece(text, finish_reason, len(self.prompt), len(self.new))

    def _num_pending(self) -> int:
        """Characters at the end that can still become a stop string or another character."""
        text = self._text[self._start :]
        pending = len(text) - len(text.rstrip(INCOMPLETE_CHARACTER))
        for stop in self._request.stop:
            for length in range(min(len(stop) - 1, len(text)), pending, -1):
                if text.endswith(stop[:length]):
                    pending = length
                    break
        return pending


def choose_token(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Choose the next token as `Sampling` states.

    Args:
        logits: (V,) next-token logits.
        sampling: Temperature and `top_p`.
        generator: Source of the draw, on the device of the logits.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities = torch.softmax(logits / sampling.temperature, -1)
    if sampling.top_p == 1:  # a running sum of fp32 numbers can reach 1 before the last token
        return int(torch.multinomial(probabilities, 1, generator=generator))
    ordered, tokens = torch.sort(probabilities, descending=True)
    ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0
    return int(tokens[torch.multinomial(ordered, 1, generator=generator)])


def generate_texts(network: FreeLMNetwork, prompts: Sequence[str], sampling: Sampling) -> list[str]:
    """Continue prompts; the markers are never written.

    Args:
        network: The network, in evaluation mode.
        prompts: The beginnings of the texts.
        sampling: How tokens are chosen; each text starts from its seed.

    Returns:
        The continuations without the prompts.

    Raises:
        PromptTooLongError: If a prompt fills the model's window.
    """
    written: list[str] = []
    for first in range(0, len(prompts), BATCH_TEXTS):
        batch = prompts[first : first + BATCH_TEXTS]
        generator = TextGenerator(network, [GenerationRequest(p, sampling) for p in batch])
        texts = [""] * len(batch)
        while not generator.finished:
            for index, piece in generator.step():
                texts[index] += piece.text
        written += texts
    return written


def _end_tokens(network: FreeLMNetwork) -> frozenset[int]:
    ends = network.causal.generation_config.eos_token_id
    if ends is None:
        ends = network.tokenizer.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset(ends if isinstance(ends, list) else [ends])
