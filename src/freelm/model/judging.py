"""Verdict margins of many trees: batches by token budget, order restored."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from freelm.data.packing import Tree, token_budget_batches
from freelm.model.network import FreeLMNetwork

GROUP = 1024
"""Trees that are sorted by length and batched together."""


def compute(network: FreeLMNetwork, precision: str) -> AbstractContextManager[object]:
    """The context in which a network computes: bf16 where asked for, else as the weights are."""
    if precision == "bf16":
        return torch.autocast(network.device.type, dtype=torch.bfloat16)
    return nullcontext()


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
            with compute(network, precision):
                values = network.margins(batch.to(network.device)).cpu().double().numpy()
            place = 0
            for index in indices:
                count = len(group[index].leaves)
                margins[start + index] = values[place : place + count]
                place += count
    return margins
