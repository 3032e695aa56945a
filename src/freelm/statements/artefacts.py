"""What can be told from a claim without reading its text: a check of the minimal pairs.

A logistic regression on the words of the claims alone, and a rule on word overlap, should both be
near 50% on pairs of other documents.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from freelm.statements.pairs import Pair, claim_tokens
from freelm.statements.text import overlap


def overlap_accuracy(pairs: Sequence[Pair]) -> float:
    """Share of pairs whose true claim has more of its words in the text; ties count half."""
    signs = [
        np.sign(overlap(pair.true, pair.context) - overlap(pair.false, pair.context))
        for pair in pairs
    ]
    return float(np.mean(0.5 * (1 + np.array(signs))))


def claim_only_accuracy(train: Sequence[Pair], held_out: Sequence[Pair]) -> float:
    """Accuracy on held-out claims of a logistic regression that sees words and word pairs only.

    Args:
        train: Pairs to learn from.
        held_out: Pairs of other documents.
    """
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        HashingVectorizer(analyzer=_words_and_pairs, binary=True),
        SGDClassifier(loss="log_loss", random_state=0),
    )
    model.fit(*_claims(train))
    return float(model.score(*_claims(held_out)))


def _claims(pairs: Sequence[Pair]) -> tuple[list[str], list[int]]:
    claims = [claim for pair in pairs for claim in (pair.true, pair.false)]
    return claims, [1, 0] * len(pairs)


def _words_and_pairs(claim: str) -> list[str]:
    tokens = ["<s>", *claim_tokens(claim)]
    return tokens + [" ".join(two) for two in itertools.pairwise(tokens)]
