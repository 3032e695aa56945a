"""The judge: exact verdicts for contexts and claims, each context computed once.

A request is a context and its claims; its propositions are one tree. Trees of many requests share
batches of a token budget, and a request that exceeds the budget is split into groups of claims. The
result is that of judging every proposition alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from freelm.data.packing import Tree, build_tree
from freelm.errors import InputError
from freelm.model.judging import judge_trees
from freelm.model.saving import LoadedModel

DEFAULT_MAX_CONTEXT_TOKENS = 1024
"""Longer contexts lose the end of their longest part unless the caller allows more."""

MIN_CONTEXT_TOKENS = 8
"""A claim that leaves less room than this for its context is refused."""

DEFAULT_MAX_TOKENS = 2048
"""Tokens computed at once; bounds the memory of activations and masks."""


@dataclass(frozen=True, slots=True)
class Request:
    """Claims about one context.

    Attributes:
        context: Parts of the context.
        claims: What is to be judged.
    """

    context: tuple[str, ...]
    claims: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts of one request.

    Attributes:
        margins: (claims,) calibrated margins: logits of P(true), divided by the temperature.
        truncated: Whether a part of the context was left out.
    """

    margins: npt.NDArray[np.float64]
    truncated: bool

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(claims,) P(true) of each claim."""
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * self.margins)))


class Judge:
    """Judges requests with one model.

    Args:
        model: A loaded model.
        precision: `fp32` or `bf16` compute.
        max_context_tokens: Longer contexts are cut; at most the model's window.
        max_tokens: Tokens computed at once.

    Raises:
        InputError: If `max_context_tokens` is too small for any text.
    """

    def __init__(
        self,
        model: LoadedModel,
        precision: str = "fp32",
        max_context_tokens: int = DEFAULT_MAX_CONTEXT_TOKENS,
        max_tokens: int = DEFAULT_MAX_TOKENS,
    ) -> None:
        if max_context_tokens < MIN_CONTEXT_TOKENS:
            raise InputError(
                f"max_context_tokens is {max_context_tokens}; "
                f"it must be at least {MIN_CONTEXT_TOKENS}"
            )
        self.model = model
        self.precision = precision
        self.max_context_tokens = max_context_tokens
        self.max_tokens = max_tokens

    def judge(self, requests: Sequence[Request]) -> list[Judgement]:
        """Judge requests; the answers come in their order.

        Raises:
            InputError: If a claim leaves no room for its context in the model's window.
        """
        trees: list[Tree] = []
        owners: list[int] = []
        truncated: list[bool] = []
        for number, request in enumerate(requests):
            own, cut = self._trees(request)
            trees += own
            owners += [number] * len(own)
            truncated.append(cut)
        margins: list[list[npt.NDArray[np.float64]]] = [[] for _ in requests]
        judged = judge_trees(self.model.network, trees, self.max_tokens, self.precision)
        for owner, values in zip(owners, judged, strict=True):
            margins[owner].append(values / self.model.facts.temperature)
        return [
            Judgement(np.concatenate(parts), cut)
            for parts, cut in zip(margins, truncated, strict=True)
        ]

    def _trees(self, request: Request) -> tuple[list[Tree], bool]:
        """The trees of a request: one, or several where its claims exceed the budget."""
        form = self.model.network.form
        claims = [form.claim(claim) for claim in request.claims]
        context = form.context(request.context, self._room(claims))
        budget = max(self.max_tokens - len(context.ids), max(map(len, claims)))
        trees = [build_tree(context.ids, group) for group in _groups(claims, budget)]
        return trees, context.truncated

    def _room(self, claims: Sequence[tuple[int, ...]]) -> int:
        """Tokens that a context may have beside its longest claim."""
        window = self.model.network.max_positions
        longest = max(map(len, claims))
        room = min(self.max_context_tokens, window - longest)
        if room < MIN_CONTEXT_TOKENS:
            raise InputError(
                f"a claim of {longest} tokens leaves no room for its text in the model's window "
                f"of {window} tokens; shorten the claim"
            )
        return room


def _groups(claims: Sequence[tuple[int, ...]], budget: int) -> Iterator[list[tuple[int, ...]]]:
    """Consecutive claims of at most `budget` tokens together."""
    group: list[tuple[int, ...]] = []
    size = 0
    for claim in claims:
        if group and size + len(claim) > budget:
            yield group
            group, size = [], 0
        group.append(claim)
        size += len(claim)
    yield group
