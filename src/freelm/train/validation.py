"""Choices during training: how well the rows kept for them are judged, and the temperature."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from freelm.data.packing import build_tree
from freelm.model.calibration import fit_choice_temperature, fit_temperature
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
        choices: Of each row where options compete: its task, margins and truths.
    """

    accuracy: dict[str, float]
    margins: np.ndarray
    truths: np.ndarray
    weights: np.ndarray
    choices: list[tuple[str, np.ndarray, np.ndarray]]

    @property
    def mean_accuracy(self) -> float:
        """Mean over tasks."""
        return float(np.mean(list(self.accuracy.values())))

    def temperature(self) -> float:
        """The temperature that makes the verdicts of these rows most likely."""
        return fit_temperature(self.margins, self.truths, self.weights)

    def choice_temperature(self) -> float:
        """The temperature, on top of the verdicts' own, that makes the right options most likely.

        Every task counts the same.
        """
        rows = Counter(task for task, _, _ in self.choices)
        own = self.temperature()
        return fit_choice_temperature(
            [margins / own for _, margins, _ in self.choices],
            [truths for _, _, truths in self.choices],
            [1 / rows[task] for task, _, _ in self.choices],
        )


def validate(
    network: FreeLMNetwork,
    examples: Mapping[str, Sequence[Example]],
    competing: Collection[str],
    max_context_tokens: int,
    max_tokens: int,
    precision: str,
) -> Validation:
    """Judge the rows kept for choices.

    Args:
        network: The network; left in training mode.
        examples: Task -> labelled examples.
        competing: Tasks whose claims compete as options (choices and scores).
        max_context_tokens: Longer contexts are cut as in training.
        max_tokens: Tokens computed at once.
        precision: `fp32` or `bf16` compute.
    """
    network.eval()
    accuracy, margins, truths, weights, choices = {}, [], [], [], []
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
            if name in competing:
                choices.append((name, values, truths[-1]))
    network.train()
    return Validation(
        accuracy,
        np.concatenate(margins),
        np.concatenate(truths),
        np.concatenate(weights),
        choices,
    )
