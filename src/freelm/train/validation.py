"""Validation during training: accuracy on the validation rows, and temperatures fitted to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, count

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
class Validation:
    """Validation rows and the margins of their claims.

    Attributes:
        examples: Task -> labelled rows.
        margins: Task -> for each row (claims,) margins before any temperature.
        competing: Tasks whose claims compete as options (choices and scores).
    """

    examples: Mapping[str, Sequence[Example]]
    margins: Mapping[str, Sequence[np.ndarray]]
    competing: Collection[str]

    @property
    def accuracy(self) -> dict[str, float]:
        """Task -> share of rows whose truest claim has the largest margin."""
        right: dict[str, list[bool]] = {}
        for task, example, margins in self.rows():
            is_right = np.argmax(margins) == np.argmax(example.truths or ())
            right.setdefault(task, []).append(bool(is_right))
        return {task: float(np.mean(each)) for task, each in right.items()}

    @property
    def mean_accuracy(self) -> float:
        """Mean over tasks."""
        return float(np.mean(list(self.accuracy.values())))

    def temperature(self) -> float:
        """The temperature that makes the verdicts of these rows most likely.

        Claims are weighted as in the teacher loss.
        """
        truths = [example.truths or () for _, example, _ in self.rows()]
        weights = [verdict_weights(each) for each in truths]
        return fit_temperature(
            np.concatenate([margins for _, _, margins in self.rows()]),
            np.concatenate(truths),
            np.concatenate([np.array(true) + np.array(false) for true, false in weights]),
        )

    def choice_temperature(self) -> ChoiceTemperature:
        """The second temperature, which makes the correct options most likely.

        Every task has the same weight.
        """
        rows = [row for row in self.rows() if row[0] in self.competing]
        own = self.temperature()
        return fit_choice_temperature(
            [margins / own for _, _, margins in rows],
            [example.truths or () for _, example, _ in rows],
            [1 / len(self.margins[task]) for task, _, _ in rows],
        )

    def split(self, fold: int, folds: int) -> tuple[Validation, Validation]:
        """The rows of a fold, which are every `folds`-th from `fold` on, and all others."""
        numbers = count()
        inside = {
            task: [next(numbers) % folds == fold for _ in examples]
            for task, examples in self.examples.items()
        }
        outside = {task: [not chosen for chosen in each] for task, each in inside.items()}
        return self._select(inside), self._select(outside)

    def _select(self, inside: Mapping[str, Sequence[bool]]) -> Validation:
        return Validation(
            {task: list(compress(self.examples[task], inside[task])) for task in inside},
            {task: list(compress(self.margins[task], inside[task])) for task in inside},
            self.competing,
        )

    def rows(self) -> Iterator[tuple[str, Example, np.ndarray]]:
        """(task, example, margins) of each row."""
        for task, examples in self.examples.items():
            for example, margins in zip(examples, self.margins[task], strict=True):
                yield task, example, margins


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
    margins: dict[str, list[np.ndarray]] = {}
    for name, listed in examples.items():  # very small tasks have no validation rows
        trees = [
            build_tree(
                network.form.context(e.context, max_context_tokens).ids,
                [network.form.claim(claim) for claim in e.claims],
            )
            for e in listed
        ]
        margins[name] = judge_trees(network, trees, max_tokens, precision) if trees else []
    network.train()
    return Validation(examples, margins, competing)
