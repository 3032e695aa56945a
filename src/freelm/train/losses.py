"""The teacher loss: what the verdicts of packed examples cost.

The language loss is `FreeLMNetwork.language_loss`; it never leaves the network, because the logits
of a whole batch are never held.

Shapes: P propositions of a batch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from freelm.data.teacher import TeacherExample


def verdict_weights(truths: Sequence[float]) -> tuple[list[float], list[float]]:
    """Weights of the true and the false side of each claim of one example.

    The true mass and the false mass of an example weigh one half each, however many false claims
    there are, so that a verdict's prior is one half.

    Returns:
        (weights of log P(true), weights of log P(false)), each one per claim.
    """
    true_mass = sum(truths)
    false_mass = len(truths) - true_mass
    share = 0.5 if true_mass > 0 and false_mass > 0 else 1.0
    on_true = [share * truth / true_mass if true_mass > 0 else 0.0 for truth in truths]
    on_false = [share * (1 - truth) / false_mass if false_mass > 0 else 0.0 for truth in truths]
    return on_true, on_false


def teacher_loss(
    margins: torch.Tensor, examples: Sequence[TeacherExample], listwise_weight: float = 0.0
) -> torch.Tensor:
    """Summed loss of some examples.

    Per example: the cross-entropy of every claim's verdict, weighted by `verdict_weights`; with
    a `listwise_weight`, the cross-entropy of a softmax over its options, where exactly one is true.

    Args:
        margins: (P,) verdict margins, logit P(true), of all claims of the examples in order.
        examples: The examples.
        listwise_weight: Weight of the softmax over options.
    """
    on_true, on_false = [], []
    for example in examples:
        true, false = verdict_weights(example.truths)
        on_true += true
        on_false += false
    weight_true = margins.new_tensor(on_true)
    weight_false = margins.new_tensor(on_false)
    total = (weight_true * F.softplus(-margins) + weight_false * F.softplus(margins)).sum()
    if listwise_weight > 0:
        total = total + listwise_weight * _listwise_loss(margins, examples)
    return total


def _listwise_loss(margins: torch.Tensor, examples: Sequence[TeacherExample]) -> torch.Tensor:
    total, start = margins.new_zeros(()), 0
    for example in examples:
        stop = start + len(example.claims)
        if example.one_of and len(example.claims) > 1:
            signs = margins.new_tensor(example.signs)
            speaks_for = [
                truth if sign > 0 else 1 - truth
                for truth, sign in zip(example.truths, example.signs, strict=True)
            ]
            target = margins.new_tensor(speaks_for.index(max(speaks_for)), dtype=torch.long)
            total = total + F.cross_entropy(margins[start:stop] * signs, target)
        start = stop
    return total
