"""Validation during training: accuracy on the validation rows, and temperatures fitted to them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from freelm.data.packing import build_tree
from freelm.model.calibration import (
    ChoiceTemperature,
    fit_choice_temperature,
    fit_temperature,
)
from freelm.model.judging import judge_trees
from freelm.model.network import FreeLMNetwork
from freelm.tasks import Example
from freelm.train.losses import verdict_weights


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """A validation row and its margins.

    Attributes:
        task: Name of its task.
        competes: Whether its claims compete as options (choices and scores).
        example: The row.
        margins: One per claim, before any temperature.
    """

    task: str
    competes: bool
    example: Example
    margins: np.ndarray

    @property
    def truths(self) -> np.ndarray:
        """How true each claim is."""
        return np.array(self.example.truths or ())

    @property
    def is_right(self) -> bool:
        """Whether its truest claim has the largest margin."""
        return bool(np.argmax(self.margins) == np.argmax(self.truths))


@dataclass(frozen=True, slots=True)
class Validation:
    """The judged validation rows.

    Attributes:
        rows: All rows, grouped by task.
    """

    rows: list[JudgedRow]

    @property
    def accuracy(self) -> dict[str, float]:
        """Task -> share of rows whose truest claim has the largest margin."""
        right: dict[str, list[bool]] = {}
        for row in self.rows:
            right.setdefault(row.task, []).append(row.is_right)
        return {task: float(np.mean(each)) for task, each in right.items()}

    @property
    def mean_accuracy(self) -> float:
        """Mean over tasks."""
        return float(np.mean(list(self.accuracy.values())))

    def temperature(self) -> float:
        """The temperature that makes the verdicts of these rows most likely.

        Claims are weighted as in the teacher loss.
        """
        weights = [verdict_weights(row.example.truths or ()) for row in self.rows]
        return fit_temperature(
            np.concatenate([row.margins for row in self.rows]),
            np.concatenate([row.truths for row in self.rows]),
            np.concatenate([np.array(true) + np.array(false) for true, false in weights]),
        )

    def choice_temperature(self) -> ChoiceTemperature:
        """The second temperature, which makes the correct options most likely.

        Every task has the same weight.
        """
        competing = [row for row in self.rows if row.competes]
        count = Counter(row.task for row in competing)
        own = self.temperature()
        return fit_choice_temperature(
            [row.margins / own for row in competing],
            [row.truths for row in competing],
            [1 / count[row.task] for row in competing],
        )


def validate(
    network: FreeLMNetwork,
    examples: Mapping[str, Sequence[Example]],
    competing: Collection[str],
    max_context_tokens: int,
    max_tokens: int,
    precision: str,
) -> Validation:
    """Judge the validation rows.

    Args:
        network: The network; left in training mode.
        examples: Task -> labelled examples.
        competing: Tasks whose claims compete as options (choices and scores).
        max_context_tokens: Longer contexts are cut as in training.
        max_tokens: Tokens computed at once.
        precision: `fp32` or `bf16` compute.
    """
    network.eval()
    rows = []
    for name, listed in examples.items():  # very small tasks have no validation rows
        trees = [
            build_tree(
                network.form.context(e.context, max_context_tokens).ids,
                [network.form.claim(claim) for claim in e.claims],
            )
            for e in listed
        ]
        judged = judge_trees(network, trees, max_tokens, precision) if trees else []
        rows += [
            JudgedRow(name, name in competing, example, margins)
            for example, margins in zip(listed, judged, strict=True)
        ]
    network.train()
    return Validation(rows)
