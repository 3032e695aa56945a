"""Judging a model without verdicts by the likelihood of label words.

`LabelWordJudge` takes the place of a model wherever requests are judged
(`freelm.eval.items.Judges`): the claims are label words, and a margin is the log-likelihood of the
words after the text. A softmax over the margins of a row gives the probability of each label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from freelm.data.packing import Tree, build_tree, collate, pack_rows
from freelm.data.tokens import TextForm
from freelm.errors import InputError
from freelm.judge.engine import MIN_CONTEXT_TOKENS
from freelm.judge.requests import Judgement, Request
from freelm.model.judging import read_prefix
from freelm.model.network import FreeLMNetwork
from freelm.model.prefix import Prefix

ROW_TOKENS = 512
"""Tokens per forward pass."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as a tree of text and label words, with the length of the text."""

    tree: Tree
    num_context: int
    truncated: bool


class LabelWordJudge:
    """Judges requests by the likelihood of their claims, which are label words.

    Args:
        network: The network, in evaluation mode.
        form: How a text and the words after it are written.
        max_context_tokens: Longer texts are cut.
        shots: Token ids of demonstrations that precede every text; they are computed once.

    Raises:
        InputError: If the demonstrations leave no room for a text.
    """

    def __init__(
        self,
        network: FreeLMNetwork,
        form: TextForm,
        max_context_tokens: int,
        shots: Sequence[int] = (),
    ) -> None:
        self.network, self.form = network, form
        self.max_context_tokens = max_context_tokens
        self.window = network.max_positions - len(shots)
        if self.window < MIN_CONTEXT_TOKENS:
            raise InputError(
                f"demonstrations of {len(shots)} tokens fill the model's window of "
                f"{network.max_positions}"
            )
        self._prefix: Prefix | None = read_prefix(network, shots) if shots else None

    def judge_requests(self, requests: Sequence[Request]) -> list[Judgement]:
        """Log-likelihoods of each request's label words, as margins.

        Raises:
            InputError: If label words do not fit the model's window.
        """
        encoded = [self._encode(request) for request in requests]
        found: dict[int, np.ndarray] = {}
        for row in pack_rows([len(one.tree) for one in encoded], ROW_TOKENS):
            found.update(zip(row, self._likelihoods([encoded[i] for i in row]), strict=True))
        return [
            Judgement(request.claims, found[i], encoded[i].truncated)
            for i, request in enumerate(requests)
        ]

    def _encode(self, request: Request) -> _Asked:
        words = [self.form.claim(claim) for claim in request.claims]
        longest = max(map(len, words))
        room = min(self.max_context_tokens, self.window - longest)
        if room < MIN_CONTEXT_TOKENS:
            raise InputError(
                f"label words of {longest} tokens leave no room for a text in a window of "
                f"{self.window} tokens"
            )
        context = self.form.context(request.context, room)
        start = 0 if self._prefix is None else self._prefix.length
        tree = build_tree(context.ids, words, start=start)
        return _Asked(tree, len(context.ids), context.truncated)

    @torch.inference_mode()
    def _likelihoods(self, asked: Sequence[_Asked]) -> list[np.ndarray]:
        """Log-likelihoods of each request's labels, shape (labels,); all requests share one row."""
        trees = [one.tree for one in asked]
        batch = collate(trees, [list(range(len(trees)))]).to(self.network.device)
        states = self.network.hidden(batch, self._prefix)[0]
        logs, start = [], 0
        for one in asked:
            logs.append(self._paths(one, states[start : start + len(one.tree)]))
            start += len(one.tree)
        return logs

    def _paths(self, one: _Asked, states: torch.Tensor) -> np.ndarray:
        """Log-likelihood of each path from the text to a leaf; states of shape (T, D)."""
        above = parents(one.tree)[one.num_context :]
        ids = torch.tensor(one.tree.ids[one.num_context :], device=states.device)
        logits = self.network.logits(states[above]).float()
        steps = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0].double().tolist()
        total = [0.0] * one.num_context
        for parent, step in zip(above, steps, strict=True):
            total.append(total[parent] + step)
        return np.array([total[leaf] for leaf in one.tree.leaves])


def parents(tree: Tree) -> list[int]:
    """The parent of each token of a tree, -1 for the first token."""
    found: list[int] = []
    path: list[int] = []
    for index in range(len(tree)):
        while path and tree.ends[path[-1]] <= index:
            path.pop()
        found.append(path[-1] if path else -1)
        path.append(index)
    return found
