"""What can be told from a claim without reading its text: a check of the minimal pairs.

A logistic regression on the words of the claims alone, and a rule on word overlap, should both be
near 50% on pairs of other documents.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from freelm.statements.pairs import Pair, claim_tokens
from freelm.statements.text import overlap

NUM_FEATURES = 2**18


def overlap_accuracy(pairs: Sequence[Pair]) -> float:
    """Share of pairs whose true claim has more of its words in the text; ties count half."""
    signs = [
        np.sign(overlap(pair.true, pair.context) - overlap(pair.false, pair.context))
        for pair in pairs
    ]
    return float(np.mean(0.5 * (1 + np.array(signs))))


def claim_only_accuracy(
    train: Sequence[Pair], held_out: Sequence[Pair], num_epochs: int = 3, rate: float = 0.1
) -> float:
    """Accuracy on held-out claims of a logistic regression that sees words and word pairs only.

    Trained by AdaGrad, one claim at a time.

    Args:
        train: Pairs to learn from.
        held_out: Pairs of other documents.
        num_epochs: Passes over the training claims.
        rate: Learning rate.
    """
    weights, squares = np.zeros(NUM_FEATURES), np.full(NUM_FEATURES, 1e-6)
    rows = [row for pair in train for row in _rows(pair)]
    order = np.random.default_rng(0)
    for _ in range(num_epochs):
        for index in order.permutation(len(rows)):
            features, label = rows[index]
            error = label - 1 / (1 + np.exp(-weights[features].sum()))
            squares[features] += error**2
            weights[features] += rate * error / np.sqrt(squares[features])
    asked = [row for pair in held_out for row in _rows(pair)]
    return float(np.mean([(weights[features].sum() > 0) == label for features, label in asked]))


def _rows(pair: Pair) -> list[tuple[npt.NDArray[np.int64], int]]:
    return [(_features(pair.true), 1), (_features(pair.false), 0)]


def _features(claim: str) -> npt.NDArray[np.int64]:
    tokens = ["<s>", *claim_tokens(claim)]
    grams = {*tokens, *(" ".join(two) for two in itertools.pairwise(tokens))}
    return np.array(sorted({_hash(gram) for gram in grams}))


def _hash(gram: str) -> int:
    """A hash that does not change from run to run."""
    value = 2166136261
    for byte in gram.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value % NUM_FEATURES
