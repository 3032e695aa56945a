"""How likely the language model finds a text after another one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from freelm.data.packing import build_tree, token_budget_batches
from freelm.data.text import document_separator
from freelm.data.tokens import encode_text
from freelm.errors import InputError
from freelm.model.network import FreeLMNetwork

MAX_TOKENS = 2048
"""Tokens per forward pass."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The likelihood of a continuation.

    Attributes:
        log: Natural logarithm of its probability given the context.
        is_greedy: Whether each of its tokens is the likeliest one.
    """

    log: float
    is_greedy: bool


def encode_pair(network: FreeLMNetwork, context: str, continuation: str) -> tuple[list[int], int]:
    """Token ids of a context with its continuation, and how many of them are the continuation's.

    As in lm-evaluation-harness, spaces at the end of the context are moved to the continuation and
    the two are encoded together. An empty context is replaced by the end-of-text token.

    Raises:
        InputError: If the continuation has no token or does not fit the window.
    """
    stripped = context.rstrip()
    continuation = context[len(stripped) :] + continuation
    tokenizer = network.tokenizer
    before = encode_text(tokenizer, stripped) if stripped else [document_separator(tokenizer)]
    both = encode_text(tokenizer, stripped + continuation)
    answer = both[len(before) :] if stripped else both
    ids = [*before, *answer]
    if not answer:
        raise InputError(f"the continuation {continuation!r} adds no token to its context")
    if len(answer) > network.max_positions:
        raise InputError(
            f"a continuation of {len(answer)} tokens does not fit the model's window of "
            f"{network.max_positions}"
        )
    # Drop the oldest tokens; the last token is predicted and never read, hence one more.
    return ids[-network.max_positions - 1 :], len(answer)


def continuation_likelihoods(
    network: FreeLMNetwork,
    pairs: Sequence[tuple[str, str]],
    progress: Callable[[int], None] = lambda count: None,
) -> list[Likelihood]:
    """How likely each continuation is after its context.

    Args:
        network: The network, in evaluation mode.
        pairs: (context, continuation) texts.
        progress: Receives numbers of pairs as they are done.

    Raises:
        InputError: As `encode_pair`.
    """
    return token_likelihoods(network, [encode_pair(network, *pair) for pair in pairs], progress)


@torch.inference_mode()
def token_likelihoods(
    network: FreeLMNetwork,
    sequences: Sequence[tuple[list[int], int]],
    progress: Callable[[int], None] = lambda count: None,
) -> list[Likelihood]:
    """How likely the last tokens of sequences are after those before them.

    Args:
        network: The network, in evaluation mode.
        sequences: (token ids, how many of the last ones count). At least one token precedes these,
            and all but the last token fit the window.
        progress: Receives numbers of sequences as they are done.
    """
    found: dict[int, Likelihood] = {}
    # A sequence is a tree of one claim, so that its leaf says where its last token lies.
    trees = [build_tree([], [ids[:-1]]) for ids, _ in sequences]
    longest = max((len(tree) for tree in trees), default=1)
    for indices, batch in token_budget_batches(trees, max(MAX_TOKENS, longest), longest):
        states = network.hidden(batch.to(network.device))
        for index, (row, last) in zip(indices, batch.leaves.tolist(), strict=True):
            ids, count = sequences[index]
            logits = network.logits(states[row, last - count + 1 : last + 1]).float()
            answer = torch.tensor(ids[-count:], device=logits.device)
            places = torch.arange(count, device=logits.device)
            log = logits.log_softmax(-1)[places, answer].double().sum()
            found[index] = Likelihood(float(log), bool((logits.argmax(-1) == answer).all()))
        progress(len(indices))
    return [found[index] for index in range(len(sequences))]


def text_likelihood(network: FreeLMNetwork, text: str) -> float:
    """Log-likelihood of a text of any length after the end-of-text token.

    Every token is predicted once, in windows of the model's length; the last window reads as far
    back as it can (the rolling likelihood of lm-evaluation-harness).
    """
    ids, window = encode_text(network.tokenizer, text), network.max_positions
    ids = [document_separator(network.tokenizer), *ids]
    sequences = []
    for start in range(1, len(ids), window):
        end = min(start + window, len(ids))
        sequences.append((ids[max(0, end - window - 1) : end], end - start))
    return sum(likelihood.log for likelihood in token_likelihoods(network, sequences))
