"""Verdict margins of many trees, or of many claims behind one context; order restored."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from freelm.data.packing import Tree, build_tree, collate, token_budget_batches
from freelm.model.compute.precision import autocast
from freelm.model.network import FreeLMNetwork
from freelm.model.prefix import Prefix

GROUP = 1024
"""Trees that are sorted by length and batched together."""


@torch.inference_mode()
def judge_trees(
    network: FreeLMNetwork, trees: Sequence[Tree], max_tokens: int, precision: str = "fp32"
) -> list[np.ndarray]:
    """Margins of each tree's claims.

    Args:
        network: The network, in evaluation mode.
        trees: Packed propositions.
        max_tokens: Tokens computed at once, padding included; a longer tree runs alone.
        precision: `fp32` or `bf16` compute.

    Returns:
        For each tree one array (claims,) of logits of P(true).
    """
    margins: list[np.ndarray] = [np.zeros(0)] * len(trees)
    for start in range(0, len(trees), GROUP):
        group = trees[start : start + GROUP]
        longest = max(len(tree) for tree in group)
        for indices, batch in token_budget_batches(group, max_tokens, min(longest, max_tokens)):
            with autocast(network.device, precision):
                values = network.margins(batch.to(network.device)).cpu().double().numpy()
            place = 0
            for index in indices:
                count = len(group[index].leaves)
                margins[start + index] = values[place : place + count]
                place += count
    return margins


@torch.inference_mode()
def read_prefix(network: FreeLMNetwork, context: Sequence[int]) -> Prefix:
    """Read a context's token ids once for any number of claims about it."""
    return network.prefix(torch.tensor([list(context)], device=network.device))


@torch.inference_mode()
def judge_behind(
    network: FreeLMNetwork, prefix: Prefix, claims: Sequence[tuple[int, ...]], max_tokens: int
) -> np.ndarray:
    """Margins of claims about a context that was read before.

    Args:
        network: The network, in evaluation mode.
        prefix: The context.
        claims: Token ids of each claim.
        max_tokens: Tokens of claims computed at once; a longer claim runs alone.

    Returns:
        (claims,) logits of P(true).
    """
    margins = np.zeros(len(claims))
    # In the order of their tokens, so that claims that begin alike come into one group.
    order = sorted(range(len(claims)), key=lambda i: claims[i])
    for group in _groups(order, claims, max_tokens):
        tree = build_tree((), [claims[i] for i in group], start=prefix.length)
        batch = collate([tree], [[0]]).to(network.device)
        margins[group] = network.margins(batch, prefix).cpu().double().numpy()
    return margins


def _groups(
    order: Sequence[int], claims: Sequence[tuple[int, ...]], budget: int
) -> Iterator[list[int]]:
    """Consecutive claims whose trie has at most `budget` tokens, at least one claim each.

    In their order a claim adds to the trie what it does not share with the one before it.
    """
    group: list[int] = []
    size = 0
    for index in order:
        added = len(claims[index])
        if group:
            added -= _shared_start(claims[group[-1]], claims[index])
        if group and size + added > budget:
            yield group
            group, size, added = [], 0, len(claims[index])
        group.append(index)
        size += added
    if group:
        yield group


def _shared_start(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that two claims begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
