"""The judge: P(true) of claims about contexts, without computing anything twice.

All requests of a call are planned together: each distinct context once, with each distinct claim
about it once. A context and its claims form one tree. Small trees share batches under a token
budget; for a large one the context is computed once and its claims follow in groups.

In fp32 the result equals judging every proposition alone to 1e-5. bf16 and int8 round: a claim's
P(true) also moves with the other texts of its batch, by up to 0.014 in bf16 and 0.005 in int8 with
tiny random models (tests/judge/test_engine.py), and it differs from fp32's by 0.004 to 0.006 in
bf16 and 0.019 to 0.025 in int8 on average over GLUE rows (docs/BENCHMARKS.md; measure your own with
`freelm bench precision`).
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from freelm.data.packing import Tree, build_tree
from freelm.data.tokens import CHARACTERS_PER_TOKEN
from freelm.errors import InputError
from freelm.judge.prefix_cache import PrefixCache
from freelm.judge.probabilities import FloatArray
from freelm.judge.requests import (
    ClaimTooLongError,
    ContextTooLongError,
    Ids,
    Judgement,
    PreparedRequest,
    Request,
)
from freelm.model.judging import judge_behind, judge_trees, read_prefix
from freelm.model.loading import LoadedModel

DEFAULT_MAX_CONTEXT_TOKENS = 1024
"""Longer contexts are cut, refused or read in windows."""

MIN_CONTEXT_TOKENS = 8
"""A claim that leaves fewer tokens than this for its context is refused."""

DEFAULT_MAX_TOKENS = 2048
"""Tokens computed at once; bounds the memory of activations and masks."""

MAX_TREE_TOKENS = 512
"""Larger trees are computed in groups of claims: the cost of attention is quadratic."""

MAX_GROUP_REQUESTS = 512
"""Requests planned together; bounds memory for calls with very many requests."""

MAX_GROUP_TOKENS = 2**19
"""Context tokens planned together; bounds memory where texts are read in windows."""

CLAIM_CACHE_SIZE = 8192
"""Claims whose token ids are cached between calls."""

_Plan = dict[Ids, dict[Ids, int]]
"""Context -> its distinct claims, each with its index."""


class Judge:
    """Judges requests with one model.

    Args:
        model: A loaded model.
        max_context_tokens: Longest context in tokens; the model's window may allow less.
        max_tokens: Tokens computed at once.
        prefix_cache_tokens: Size of the cache of contexts that are judged one per call; 0 for none.

    Raises:
        InputError: If `max_context_tokens` is too small for any text.
    """

    def __init__(
        self,
        model: LoadedModel,
        max_context_tokens: int = DEFAULT_MAX_CONTEXT_TOKENS,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        prefix_cache_tokens: int = 0,
    ) -> None:
        if max_context_tokens < MIN_CONTEXT_TOKENS:
            raise InputError(
                f"max_context_tokens is {max_context_tokens}; "
                f"it must be at least {MIN_CONTEXT_TOKENS}"
            )
        self.model = model
        self.max_context_tokens = max_context_tokens
        self.max_tokens = max_tokens
        self.prefix_cache = PrefixCache(prefix_cache_tokens)
        self._encode_claim = lru_cache(CLAIM_CACHE_SIZE)(model.network.form.claim)

    def judge(self, requests: Sequence[Request]) -> list[Judgement]:
        """Judge requests; the answers are in their order.

        Raises:
            ClaimTooLongError: If a claim leaves no room for its context in the model's window.
            ContextTooLongError: If a context is too long and its request forbids cutting it.
        """
        single = len(requests) == 1
        prepared = (
            self.prepare(request, "the text" if single else f"text {i}")
            for i, request in enumerate(requests)
        )
        return [
            judgement for group in _groups(prepared) for judgement in self.judge_prepared(group)
        ]

    def prepare(self, request: Request, name: str = "the text") -> PreparedRequest:
        """Tokenize a request.

        May be called from any thread.

        Args:
            request: The request.
            name: How error messages refer to its context.

        Raises:
            ClaimTooLongError: If a claim leaves no room for the context in the model's window.
            ContextTooLongError: If the context is too long and the request forbids cutting it.
        """
        form = self.model.network.form
        claim_ids = tuple(map(self._encode_claim, request.claims))
        room = self._room(claim_ids)
        if request.long_texts == "windows":
            contexts = tuple(form.windows(request.context, room))
            return PreparedRequest(request.claims, claim_ids, contexts)
        refuses = request.long_texts == "error"
        longest = max(map(len, request.context))
        if not (refuses and longest > room * CHARACTERS_PER_TOKEN):
            context = form.context(request.context, room)
            if not (refuses and context.truncated):
                return PreparedRequest(request.claims, claim_ids, (context,))
        raise ContextTooLongError(
            f"{name} is longer than the {room} tokens available for it; "
            "shorten it, or have it cut or read in windows (long_texts)"
        )

    def judge_prepared(self, requests: Sequence[PreparedRequest]) -> list[Judgement]:
        """Judge tokenized requests; the answers are in their order."""
        plan: _Plan = {}
        for request in requests:
            for context in request.contexts:
                claims = plan.setdefault(context.ids, {})
                for ids in request.claim_ids:
                    claims.setdefault(ids, len(claims))
        margins = self._margins(plan)
        facts = self.model.facts
        judgements = []
        for request in requests:
            per_window = [
                margins[context.ids][[plan[context.ids][ids] for ids in request.claim_ids]]
                for context in request.contexts
            ]
            judgements.append(
                Judgement(
                    claims=request.claims,
                    margins=np.mean(per_window, axis=0) / facts.temperature,
                    truncated=request.truncated,
                    windows=len(request.contexts),
                    choice_temperature=facts.choice_temperature,
                    num_context_tokens=request.num_context_tokens,
                    num_claim_tokens=request.num_claim_tokens,
                )
            )
        return judgements

    def decode(self, ids: Sequence[int]) -> str:
        """Decode token ids, markers included."""
        tokenizer = self.model.network.form.tokenizer
        return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def _margins(self, plan: _Plan) -> dict[Ids, FloatArray]:
        """Context -> margins of its claims in the order of their indices."""
        use_cache = self.prefix_cache.max_tokens > 0 and len(plan) == 1
        small: dict[Ids, Tree] = {}
        num_tokens = 0
        margins: dict[Ids, FloatArray] = {}
        for context, claims in plan.items():
            if use_cache or context in self.prefix_cache:
                margins[context] = self._margins_after_prefix(context, list(claims))
                continue
            tree = build_tree(context, list(claims))
            if len(tree) > min(MAX_TREE_TOKENS, self.max_tokens) and len(claims) > 1:
                margins[context] = self._margins_after_prefix(context, list(claims))
                continue
            small[context] = tree
            num_tokens += len(tree)
            if num_tokens >= MAX_GROUP_TOKENS:
                margins |= self._margins_of_trees(small)
                small, num_tokens = {}, 0
        return margins | self._margins_of_trees(small)

    def _margins_of_trees(self, trees: dict[Ids, Tree]) -> dict[Ids, FloatArray]:
        judged = judge_trees(self.model.network, list(trees.values()), self.max_tokens)
        return dict(zip(trees, judged, strict=True))

    def _margins_after_prefix(self, context: Ids, claims: Sequence[Ids]) -> FloatArray:
        """Margins of claims about a context, which is computed now or cached."""
        prefix = self.prefix_cache.get(context)
        if prefix is None:
            prefix = read_prefix(self.model.network, context)
            self.prefix_cache.put(context, prefix)
        budget = min(MAX_TREE_TOKENS, self.max_tokens)
        return judge_behind(self.model.network, prefix, claims, budget)

    def _room(self, claims: Sequence[Ids]) -> int:
        """Tokens available to a context in front of its longest claim."""
        window = self.model.network.max_positions
        longest = max(map(len, claims))
        room = min(self.max_context_tokens, window - longest)
        if room < MIN_CONTEXT_TOKENS:
            raise ClaimTooLongError(
                f"a claim of {longest} tokens leaves no room for its text in the model's window "
                f"of {window} tokens; shorten the claim"
            )
        return room


def _groups(requests: Iterator[PreparedRequest]) -> Iterator[list[PreparedRequest]]:
    """Split requests into groups that are planned together."""
    group: list[PreparedRequest] = []
    num_tokens = 0
    for request in requests:
        group.append(request)
        num_tokens += request.num_context_tokens
        if len(group) == MAX_GROUP_REQUESTS or num_tokens >= MAX_GROUP_TOKENS:
            yield group
            group, num_tokens = [], 0
    if group:
        yield group
