"""Choices during training: how well the rows kept for them are judged, and the temperature."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from freelm.data.packing import build_tree
from freelm.model.calibration import fit_temperature
from freelm.model.judging import judge_trees
from freelm.model.network import FreeLMNetwork
from freelm.tasks import Example
from freelm.train.losses import verdict_weights


@dataclass(frozen=True, slots=True)
class Validation:
    """How the rows kept for choices were judged.

    Attributes:
        accuracy: Task -> share of rows whose truest claim has the largest margin.
        margins: (N,) all verdict margins.
        truths: (N,) how true the claims are.
        weights: (N,) their weights in the teacher loss.
    """

    accuracy: dict[str, float]
    margins: np.ndarray
    truths: np.ndarray
    weights: np.ndarray

    @property
    def mean_accuracy(self) -> float:
        """Mean over tasks."""
        return float(np.mean(list(self.accuracy.values())))

    def temperature(self) -> float:
        """The temperature that makes the verdicts of these rows most likely."""
        return fit_temperature(self.margins, self.truths, self.weights)


def validate(
    network: FreeLMNetwork,
    examples: Mapping[str, Sequence[Example]],
    max_context_tokens: int,
    max_tokens: int,
    precision: str,
) -> Validation:
    """Judge the rows kept for choices.

    Args:
        network: The network; left in training mode.
        examples: Task -> labelled examples.
        max_context_tokens: Longer contexts are cut as in training.
        max_tokens: Tokens computed at once.
        precision: `fp32` or `bf16` compute.
    """
    network.eval()
    accuracy, margins, truths, weights = {}, [], [], []
    for name, listed in examples.items():
        if not listed:  # a task of a few rows has none to spare
            continue
        trees = [
            build_tree(
                network.form.context(e.context, max_context_tokens).ids,
                [network.form.claim(claim) for claim in e.claims],
            )
            for e in listed
        ]
        judged = judge_trees(network, trees, max_tokens, precision)
        right = [
            np.argmax(m) == np.argmax(e.truths or ()) for m, e in zip(judged, listed, strict=True)
        ]
        accuracy[name] = float(np.mean(right))
        for values, example in zip(judged, listed, strict=True):
            on_true, on_false = verdict_weights(example.truths or ())
            margins.append(values)
            truths.append(np.array(example.truths))
            weights.append(np.array(on_true) + np.array(on_false))
    network.train()
    return Validation(accuracy, *(np.concatenate(part) for part in (margins, truths, weights)))
