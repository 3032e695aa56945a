"""The judge: exact verdicts for contexts and claims, nothing computed twice.

A request is a context and its claims. Of all requests of a call a plan is made: every different
context once, with every different claim about it once. A context and its claims are one tree; small
trees share batches of a token budget, a large one is read in groups of claims behind its context,
which is computed once. The result is that of judging every proposition alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from freelm.data.packing import Tree, build_tree
from freelm.data.tokens import EncodedContext
from freelm.errors import InputError
from freelm.judge.combine import option_probabilities
from freelm.judge.contexts import ContextCache
from freelm.judge.text_input import LongTexts
from freelm.model.calibration import NO_CHANGE, ChoiceTemperature
from freelm.model.judging import judge_behind, judge_trees, read_prefix
from freelm.model.loading import LoadedModel

DEFAULT_MAX_CONTEXT_TOKENS = 1024
"""Longer contexts are cut, refused or read in windows."""

MIN_CONTEXT_TOKENS = 8
"""A claim that leaves less room than this for its context is refused."""

DEFAULT_MAX_TOKENS = 2048
"""Tokens computed at once; bounds the memory of activations and masks."""

MAX_TREE_TOKENS = 512
"""Larger trees are read in groups of claims: the cost of attention grows with the square."""

GROUP = 512
"""Requests that are planned together; bounds the memory of a call with very many."""

GROUP_TOKENS = 2**19
"""Tokens that are planned together; bounds it where texts are read in windows."""

KEPT_CLAIMS = 8192
"""Claims whose tokens are remembered from call to call."""

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """Claims about one context.

    Attributes:
        context: Parts of the context.
        claims: What is to be judged.
        long_texts: What happens to a context that is too long: `truncate` cuts the end of its
            longest part; `error` refuses it; `windows` reads its longest part in overlapping
            windows and gives each claim the mean of its margins in all of them.
    """

    context: tuple[str, ...]
    claims: tuple[str, ...]
    long_texts: LongTexts = "truncate"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts of one request.

    Attributes:
        margins: (claims,) calibrated margins: logits of P(true), divided by the temperature.
        truncated: Whether a part of the context was left out.
        windows: In how many windows the context was read.
        choice_temperature: Of claims that compete.
    """

    margins: npt.NDArray[np.float64]
    truncated: bool
    windows: int = 1
    choice_temperature: ChoiceTemperature = NO_CHANGE

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(claims,) P(true) of each claim."""
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * self.margins)))

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """(claims,) probability of each claim, given that exactly one of them is true."""
        return option_probabilities(
            self.margins, float(self.choice_temperature.of(len(self.margins)))
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request in tokens: its context in one or several windows, and its claims."""

    windows: list[EncodedContext]
    claims: list[Ids]


class Judge:
    """Judges requests with one model.

    Args:
        model: A loaded model.
        max_context_tokens: Longer contexts are too long; at most the model's window.
        max_tokens: Tokens computed at once.
        context_cache_tokens: Contexts up to this many tokens together are kept for later calls.

    Raises:
        InputError: If `max_context_tokens` is too small for any text.
    """

    def __init__(
        self,
        model: LoadedModel,
        max_context_tokens: int = DEFAULT_MAX_CONTEXT_TOKENS,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        context_cache_tokens: int = 0,
    ) -> None:
        if max_context_tokens < MIN_CONTEXT_TOKENS:
            raise InputError(
                f"max_context_tokens is {max_context_tokens}; "
                f"it must be at least {MIN_CONTEXT_TOKENS}"
            )
        self.model = model
        self.max_context_tokens = max_context_tokens
        self.max_tokens = max_tokens
        self.contexts = ContextCache(context_cache_tokens)
        self._claim = lru_cache(KEPT_CLAIMS)(model.network.form.claim)

    def judge(self, requests: Sequence[Request]) -> list[Judgement]:
        """Judge requests; the answers come in their order.

        Raises:
            InputError: If a claim leaves no room for its context in the model's window, or a
                context is too long and its request says that this is an error.
        """
        return [answer for group in self._groups(requests) for answer in self._judge_group(group)]

    def _groups(self, requests: Sequence[Request]) -> Iterator[list[_Asked]]:
        """Requests in tokens, as many at a time as are planned together."""
        group: list[_Asked] = []
        num_tokens = 0
        for number, request in enumerate(requests):
            name = "the text" if len(requests) == 1 else f"text {number}"
            one = self._encode(request, name)
            group.append(one)
            num_tokens += sum(len(window.ids) for window in one.windows)
            if len(group) == GROUP or num_tokens >= GROUP_TOKENS:
                yield group
                group, num_tokens = [], 0
        if group:
            yield group

    def _judge_group(self, asked: Sequence[_Asked]) -> Iterator[Judgement]:
        plan: dict[Ids, dict[Ids, int]] = {}
        for one in asked:
            for window in one.windows:
                places = plan.setdefault(window.ids, {})
                for claim in one.claims:
                    places.setdefault(claim, len(places))
        margins = self._margins(plan)
        for one in asked:
            per_window = [
                margins[window.ids][[plan[window.ids][claim] for claim in one.claims]]
                for window in one.windows
            ]
            facts = self.model.facts
            yield Judgement(
                np.mean(per_window, axis=0) / facts.temperature,
                any(window.truncated for window in one.windows),
                len(one.windows),
                facts.choice_temperature,
            )

    def _margins(self, plan: dict[Ids, dict[Ids, int]]) -> dict[Ids, npt.NDArray[np.float64]]:
        """Context -> margins of its claims in the order of their places."""
        keep = self.contexts.max_tokens > 0 and len(plan) == 1
        small: dict[Ids, Tree] = {}
        num_tokens = 0
        margins: dict[Ids, npt.NDArray[np.float64]] = {}
        for context, claims in plan.items():
            if keep or context in self.contexts:
                margins[context] = self._behind(context, list(claims))
                continue
            tree = build_tree(context, list(claims))
            if len(tree) > min(MAX_TREE_TOKENS, self.max_tokens) and len(claims) > 1:
                margins[context] = self._behind(context, list(claims))
                continue
            small[context] = tree
            num_tokens += len(tree)
            if num_tokens >= GROUP_TOKENS:
                margins |= self._of_trees(small)
                small, num_tokens = {}, 0
        return margins | self._of_trees(small)

    def _of_trees(self, trees: dict[Ids, Tree]) -> dict[Ids, npt.NDArray[np.float64]]:
        judged = judge_trees(self.model.network, list(trees.values()), self.max_tokens)
        return dict(zip(trees, judged, strict=True))

    def _behind(self, context: Ids, claims: Sequence[Ids]) -> npt.NDArray[np.float64]:
        """Margins of claims behind a context that is read once, or was read in an earlier call."""
        prefix = self.contexts.get(context)
        if prefix is None:
            prefix = read_prefix(self.model.network, context)
            self.contexts.put(context, prefix)
        budget = min(MAX_TREE_TOKENS, self.max_tokens)
        return judge_behind(self.model.network, prefix, claims, budget)

    def _encode(self, request: Request, name: str) -> _Asked:
        form = self.model.network.form
        claims = [self._claim(claim) for claim in request.claims]
        room = self._room(claims)
        if request.long_texts == "windows":
            return _Asked(form.windows(request.context, room), claims)
        context = form.context(request.context, room)
        if context.truncated and request.long_texts == "error":
            raise InputError(
                f"{name} is longer than the {room} tokens that fit beside its claims; "
                "cut it, or have it read in windows"
            )
        return _Asked([context], claims)

    def _room(self, claims: Sequence[Ids]) -> int:
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
