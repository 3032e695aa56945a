"""Changes of rows: those that should not change an answer, and controls that should.

A perturbation is a pure function of an example and a seed. The random ones draw from a generator
keyed by (name, seed, row), so a row is changed in the same way whatever rows come with it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from freelm.data.changes import (
    ORDINALS,
    named_parts,
    with_distractors,
    with_typos,
    without_punctuation,
)
from freelm.data.mixture import seeded
from freelm.tasks import Example, Task

NO_TEXT = "(no text)"
"""The context where only the claims are shown; a context cannot be empty."""

Draw = np.random.Generator
Text = Callable[[str, Draw], str]


@dataclass(frozen=True)
class Perturbation:
    """A change of rows.

    Attributes:
        name: Used in file names and tables.
        change: (example, generator) -> the changed example.
        applies: Whether it is possible for the rows of a task.
        drawn: Whether the change depends on the seed.
        control: Whether answers should get worse; those that do not rest on too little.
    """

    name: str
    change: Callable[[Example, Draw], Example]
    applies: Callable[[Task], bool] = lambda task: True
    drawn: bool = False
    control: bool = False

    def __call__(self, example: Example, seed: int = 0) -> Example:
        """The changed example."""
        return self.change(example, seeded(self.name, seed, example.id))


def shuffled_words(text: str, draw: Draw) -> str:
    """The same words in random order: what a bag of words can still answer."""
    words = text.split()
    return " ".join(words[i] for i in draw.permutation(len(words)))


def _on_text(change: Text) -> Callable[[Example, Draw], Example]:
    return lambda example, draw: replace(
        example, context=tuple(change(part, draw) for part in example.context)
    )


# -- fields ----------------------------------------------------------------------------------------


def named_fields(example: Example) -> Example:
    """Numbered parts, so that a claim about "the second text" stays clear."""
    return replace(example, context=named_parts(example.context))


def reordered_fields(example: Example) -> Example:
    """Numbered parts, the last one first."""
    return replace(example, context=named_fields(example).context[::-1])


def joined_fields(example: Example) -> Example:
    """All parts in one, one per line."""
    return replace(example, context=("\n".join(example.context),))


def last_field_only(example: Example) -> Example:
    """The last part alone: the hypothesis-only control (Poliak et al. 2018)."""
    return replace(example, context=example.context[-1:])


def claims_only(example: Example) -> Example:
    """Claims about no text: what the options alone give away."""
    return replace(example, context=(NO_TEXT,))


def _has_fields(task: Task) -> bool:
    return 2 <= len(task.context) <= len(ORDINALS)


# -- options ---------------------------------------------------------------------------------------


def shuffled_options(example: Example, draw: Draw) -> Example:
    """The labels, their claims and the right answer in another order."""
    order = [int(i) for i in draw.permutation(len(example.labels))]
    return replace(
        example,
        labels=tuple(example.labels[i] for i in order),
        claims=tuple(example.claims[i] for i in order),
        opposites=tuple(example.opposites[i] for i in order) if example.opposites else (),
        truths=None if example.truths is None else tuple(example.truths[i] for i in order),
        target=None if example.target is None else float(order.index(int(example.target))),
    )


def with_opposites(example: Example) -> Example:
    """The claims, followed by their opposites."""
    return replace(example, claims=(*example.claims, *example.opposites))


def _typos(percent: int) -> Perturbation:
    change = _on_text(lambda text, draw: with_typos(text, percent / 100, draw))
    return Perturbation(f"typos-{percent}", change, drawn=True)


def _distractors(count: int) -> Perturbation:
    def change(example: Example, draw: Draw) -> Example:
        return replace(example, context=with_distractors(example.context, count, draw))

    return Perturbation(f"distractors-{count}", change, drawn=True)


PERTURBATIONS = (
    _typos(5),
    _typos(20),
    Perturbation("lower-case", _on_text(lambda text, draw: text.lower())),
    Perturbation("upper-case", _on_text(lambda text, draw: text.upper())),
    Perturbation("no-punctuation", _on_text(lambda text, draw: without_punctuation(text))),
    _distractors(1),
    _distractors(3),
    Perturbation("fields-named", lambda example, draw: named_fields(example), _has_fields),
    Perturbation("fields-joined", lambda example, draw: joined_fields(example), _has_fields),
    Perturbation("fields-reordered", lambda example, draw: reordered_fields(example), _has_fields),
    Perturbation("words-shuffled", _on_text(shuffled_words), drawn=True, control=True),
    Perturbation(
        "last-field-only",
        lambda example, draw: last_field_only(example),
        _has_fields,
        control=True,
    ),
    Perturbation(
        "claims-only",
        lambda example, draw: claims_only(example),
        lambda task: task.question == "options",
        control=True,
    ),
)
"""The changes whose effect on the first metric of a task is measured."""
