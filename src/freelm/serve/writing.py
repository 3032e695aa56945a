"""Writing one token at a time, so that judgements need not wait for the end of a text."""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from freelm.data.tokens import MARKERS, encode_text
from freelm.generate import Sampling
from freelm.model.network import FreeLMNetwork
from freelm.serve.http.errors import bad_request, too_many_tokens

UNFINISHED = "\ufffd"
"""What a tokenizer shows for the first bytes of a character whose others are still to come."""


@dataclass(frozen=True, slots=True)
class Order:
    """A text to be written.

    Attributes:
        prompt: How it begins.
        sampling: How tokens are chosen.
        stops: Strings at which it ends; they are not part of it.
        echo: Whether the prompt comes first.
    """

    prompt: str
    sampling: Sampling
    stops: tuple[str, ...] = ()
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text that is being written.

    Attributes:
        text: More of it; may be empty.
        finish: Why it has ended, or None where it goes on.
        prompt_tokens: Tokens of the prompt.
        written_tokens: Tokens written so far.
    """

    text: str
    finish: Literal["stop", "length"] | None
    prompt_tokens: int
    written_tokens: int


class Writing:
    """A text in the making. Used by one thread.

    Args:
        network: The network, in evaluation mode.
        order: What is wanted.
        max_prompt_tokens: The server's limit for a prompt.

    Raises:
        ApiError: 400, if the prompt passes its limit or fills the model's window.
    """

    def __init__(self, network: FreeLMNetwork, order: Order, max_prompt_tokens: int) -> None:
        self._network = network
        self._order = order
        self._prompt = encode_text(network.tokenizer, order.prompt)
        if len(self._prompt) > max_prompt_tokens:
            raise too_many_tokens("max_prompt_tokens", max_prompt_tokens, "a prompt", "prompt")
        room = network.max_positions - len(self._prompt)
        if room < 1:
            raise bad_request(
                f"the prompt has {len(self._prompt)} tokens; the model's window is "
                f"{network.max_positions}",
                "prompt_too_long",
                "prompt",
            )
        self._most = min(order.sampling.max_new_tokens, room)
        self._ends = _end_tokens(network)
        present = network.tokenizer.get_vocab()
        self._banned = [present[marker] for marker in MARKERS if marker in present]
        self._generator = torch.Generator(network.device).manual_seed(order.sampling.seed)
        self._written: list[int] = []
        self._cache: Any = None
        self._text = order.prompt if order.echo else ""
        self._start = len(self._text)
        self._given = 0

    def step(self) -> Piece:
        """Write one more token."""
        token = self._next_token()
        if token in self._ends:
            return self._piece("stop")
        self._written.append(token)
        decoded = self._network.tokenizer.decode(self._written, skip_special_tokens=True)
        self._text = self._text[: self._start] + decoded
        stop = self._first_stop()
        if stop is not None:
            self._text = self._text[:stop]
            return self._piece("stop")
        return self._piece("length" if len(self._written) >= self._most else None)

    @torch.inference_mode()
    def _next_token(self) -> int:
        ids = self._written[-1:] or self._prompt
        output = self._network.causal(
            input_ids=torch.tensor([ids], device=self._network.device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache = output.past_key_values
        logits = output.logits[0, -1].float()
        logits[self._banned] = -torch.inf
        return choose_token(logits, self._order.sampling, self._generator)

    def _first_stop(self) -> int | None:
        """Where the first stop string begins, after the prompt."""
        found = [self._text.find(stop, self._start) for stop in self._order.stops]
        return min((place for place in found if place >= 0), default=None)

    def _piece(self, finish: Literal["stop", "length"] | None) -> Piece:
        """What may be given out: not what could still turn into a stop string or a character."""
        end = len(self._text) if finish else len(self._text) - self._held_back()
        text = self._text[self._given : end]
        self._given = max(self._given, end)
        return Piece(text, finish, len(self._prompt), len(self._written))

    def _held_back(self) -> int:
        text = self._text[self._start :]
        held = len(text) - len(text.rstrip(UNFINISHED))
        for stop in self._order.stops:
            for length in range(min(len(stop) - 1, len(text)), held, -1):
                if text.endswith(stop[:length]):
                    held = length
                    break
        return held


def choose_token(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """The next token: the likeliest one at temperature 0, else a draw.

    Args:
        logits: (V,) next-token logits.
        sampling: Temperature and `top_p`; the tokens that are drawn from are the likeliest ones,
            as many as it takes for `top_p` of the probability.
        generator: Source of the draw.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    ordered, tokens = torch.sort(torch.softmax(logits / sampling.temperature, -1), descending=True)
    before = ordered.cumsum(-1) - ordered
    ordered[before >= sampling.top_p] = 0
    return int(tokens[torch.multinomial(ordered, 1, generator=generator)])


def _end_tokens(network: FreeLMNetwork) -> frozenset[int]:
    ends = network.causal.generation_config.eos_token_id
    if ends is None:
        ends = network.tokenizer.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset(ends if isinstance(ends, list) else [ends])
