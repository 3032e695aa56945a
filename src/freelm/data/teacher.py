"""The teacher signal: which row, form and claims an index of the battery gets.

Like the mixtures that it draws from, a pure function of seed and index.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import numpy as np

from freelm.data.changes import CHANGE_RATES, CHANGES, changed
from freelm.data.mixture import Interleave, mixing_rates, seeded
from freelm.errors import ConfigError, DataError, suggest
from freelm.tasks import Example, Rows, Task
from freelm.tasks.forms import FORMS, Form, Wording, wordings

SCORE_STRATA = 4
"""Parts of a scale, from lowest to highest scores, that a task's rows are spread over."""

MAX_UNUSABLE = 100
"""Consecutive rows that may be skipped; more than that means that something is wrong."""

CACHED_EPOCHS = 2
"""Epochs of a task whose order is cached."""


@dataclass(frozen=True, slots=True)
class TeacherExample:
    """Claims of one row as they are trained on.

    Attributes:
        id: `task/split/row`.
        context: Parts of the context.
        claims: The drawn claims.
        truths: How true each claim is, 0 to 1.
        signs: +1 if the claim asserts its option, -1 if it is the option's opposite.
        one_of: Whether exactly one of the options is true, so that a softmax over them makes sense.
    """

    id: str
    context: tuple[str, ...]
    claims: tuple[str, ...]
    truths: tuple[float, ...]
    signs: tuple[int, ...]
    one_of: bool


FORM_RATES: dict[Form, float] = {
    "sentence": 0.25,
    "opposite": 0.1,
    "question": 0.15,
    "option": 0.15,
    "label": 0.05,
    "description": 0.05,
    "criteria": 0.05,
    "statement": 0.15,
    "check": 0.05,
}
"""Rates of `teacher.forms: all`."""

OPPOSITE_SHARE = 0.5
"""Share of the claims of the form `opposite` that are replaced by their opposites: a model has to
see a claim and its opposite about the same text."""

NO_SHARE = 0.25
"""Share of yes/no questions about labels that are answered with "No."."""


@dataclass(frozen=True)
class Variation:
    """How the examples of a teacher signal vary. The default is sentences of task definitions.

    Attributes:
        forms: Form -> rate; only ratios matter. A task that lacks a form gets the others; empty
            means sentences only.
        changes: Change of `freelm.data.changes.CHANGES` -> probability.
        swap_rate: Probability that the two fields of a symmetric task are exchanged.
        level_mass: Probability mass that each neighbour of a score's level gets.
    """

    forms: Mapping[Form, float] = field(default_factory=dict)
    changes: Mapping[str, float] = field(default_factory=dict)
    swap_rate: float = 0.0
    level_mass: float = 0.0

    @classmethod
    def of(
        cls,
        forms: str | Mapping[str, float],
        changes: str | Mapping[str, float],
        swap_rate: float,
        level_mass: float,
    ) -> Self:
        """The variation that a configuration states.

        Args:
            forms: `sentences`, `all` or form -> rate.
            changes: `none`, `all` or change -> probability.
            swap_rate: As the attribute.
            level_mass: As the attribute.

        Raises:
            ConfigError: If a form or change is unknown.
        """
        form_rates = _rates("forms", forms, {"sentences": {}, "all": FORM_RATES}, FORMS)
        change_rates = _rates("changes", changes, {"none": {}, "all": CHANGE_RATES}, CHANGES)
        return cls(cast(dict[Form, float], form_rates), change_rates, swap_rate, level_mass)


def _rates(
    key: str,
    given: str | Mapping[str, float],
    presets: Mapping[str, Mapping[Any, float]],
    names: Iterable[str],
) -> dict[str, float]:
    """Rates under `teacher.<key>`, with the name of a preset looked up."""
    rates = dict(presets[given] if isinstance(given, str) else given)
    for name in rates:
        if name not in names:
            raise ConfigError(f"teacher.{key}: unknown {name!r}; {suggest(name, names)}")
    return rates


class TeacherSignal:
    """The teacher signal: each index has one row of the battery, in one form, with some claims.

    A row that cannot be used (for example because its text is empty) is skipped in favor of the
    next one and recorded in `unusable`, row -> reason: one bad row does not stop a run.

    Args:
        rows: Training rows of each task.
        excluded: Task name -> row numbers that are never drawn (overlaps, validation rows).
        seed: Seed of everything that is drawn.
        temperature: Temperature of `mixing_rates`.
        cap: Cap of `mixing_rates`.
        weights: Task name -> factor on its rate; 1 for other tasks.
        group_size: Consecutive rows of one task, in one wording, with labels in nearly the task's
            own proportions.
        max_false_claims: Maximum number of false claims per example, drawn at random.
        opposite_rate: Chance that a sentence is replaced by its stated opposite.
        variation: Forms, changes and orders that are drawn.
    """

    def __init__(
        self,
        rows: Sequence[Rows],
        excluded: Mapping[str, Sequence[int]],
        seed: int,
        temperature: float = 1.0,
        cap: int | None = None,
        weights: Mapping[str, float] | None = None,
        group_size: int = 1,
        max_false_claims: int = 3,
        opposite_rate: float = 0.0,
        variation: Variation = Variation(),
    ) -> None:
        self.seed = seed
        self.variation = variation
        self.max_false_claims = max_false_claims
        self.opposite_rate = opposite_rate
        self._rows = {r.task.name: r for r in rows}
        self._swapped = {r.task.name: _with_swapped_fields(r) for r in rows}
        self._wordings = {r.task.name: _drawn_wordings(r.task, variation.forms) for r in rows}
        self._drawable = {
            name: np.setdiff1d(np.arange(len(r)), np.array(excluded.get(name, []), dtype=np.int64))
            for name, r in self._rows.items()
        }
        for name, kept in self._drawable.items():
            if not len(kept):
                raise ConfigError(f"task {name!r}: no training row is left after exclusions")
        sizes = {name: len(kept) for name, kept in self._drawable.items()}
        self.group_size = group_size
        self._strata = {name: _strata(r, self._drawable[name]) for name, r in self._rows.items()}
        self._orders: dict[str, dict[int, np.ndarray]] = {}
        self.unusable: dict[str, str] = {}
        rates = mixing_rates(sizes, temperature, cap)
        for name, factor in (weights or {}).items():
            if name in rates:
                rates[name] *= factor
        rates = {name: rate * self._rows[name].task.weight for name, rate in rates.items()}
        self.interleave = Interleave(rates, seed)

    @property
    def sizes(self) -> dict[str, int]:
        """Task -> training rows that can be drawn."""
        return {name: len(kept) for name, kept in self._drawable.items()}

    def example(self, index: int) -> TeacherExample:
        """The training example at an index."""
        group, place = divmod(index, self.group_size)
        name, draw = self.interleave.draw(group)
        wording = self._wording(name, group)
        random = seeded(self.seed, "variation", index)
        swap = random.random() < self.variation.swap_rate
        rows = self._swapped[name] if swap else self._rows[name]
        # Opposites are drawn claim by claim, so the sentences are rendered.
        rendered = replace(wording, form="sentence") if wording.form == "opposite" else wording
        example = self._usable(rows, draw * self.group_size + place, rendered)
        score = rows.task.question == "score"
        if score and self.variation.level_mass > 0 and example.truths is not None:
            truths = with_neighbours(example.truths, self.variation.level_mass)
            example = replace(example, truths=truths)
        drawn = draw_claims(
            example,
            seeded(self.seed, "example", index),
            self.max_false_claims,
            self._opposite_rate(wording),
            one_of=not score and wording.form != "statement",
        )
        names = part_names(rows.task, wording)
        return replace(drawn, context=changed(drawn.context, names, self.variation.changes, random))

    def _wording(self, name: str, group: int) -> Wording:
        """The wording of a group: first a form is drawn, then one of its wordings."""
        drawn = self._wordings[name]
        random = seeded(self.seed, "phrasing", group)
        if len(drawn) == 1:
            (choices,) = drawn.values()
        else:
            rates = np.array([self.variation.forms[form] for form in drawn])
            form = list(drawn)[random.choice(len(rates), p=rates / rates.sum())]
            choices = drawn[form]
        return choices[random.integers(len(choices))]

    def _opposite_rate(self, wording: Wording) -> float:
        match wording.form:
            case "opposite":
                return OPPOSITE_SHARE
            case "question":
                return NO_SHARE
            case _:
                return self.opposite_rate

    def _usable(self, rows: Rows, draw: int, wording: Wording) -> Example:
        """The row of a source's n-th draw, or the first usable one after it.

        Raises:
            DataError: If `MAX_UNUSABLE` consecutive rows cannot be used.
        """
        name = rows.task.name
        kept = self._drawable[name]
        epoch, place = divmod(draw, len(kept))
        place = int(self._order(name, epoch)[place])
        reason = ""
        for further in range(MAX_UNUSABLE):
            row = int(kept[(place + further) % len(kept)])
            try:
                return rows.form(row, wording)
            except DataError as error:
                reason = str(error)
                self.unusable[f"{name}/{rows.split}/{row}"] = reason
        raise DataError(f"{MAX_UNUSABLE} consecutive rows cannot be used; the last: {reason}")

    def _order(self, name: str, epoch: int) -> np.ndarray:
        """Order of a task's rows in an epoch: shuffled, with each label spread evenly.

        Only the orders of two epochs are cached: a step can reach into the next epoch.
        """
        orders = self._orders.setdefault(name, {})
        if epoch not in orders:
            random = seeded(self.seed, name, epoch)
            orders[epoch] = spread_evenly(self._strata[name], random)
            while len(orders) > CACHED_EPOCHS:
                del orders[next(iter(orders))]
        return orders[epoch]


def _with_swapped_fields(rows: Rows) -> Rows:
    """Rows whose two symmetric fields are exchanged; the same rows if the task has none."""
    if rows.task.symmetric is None:
        return rows
    first, second = rows.task.symmetric
    fields = rows.task.fields
    swapped = {**fields, first: fields[second], second: fields[first]}
    return replace(rows, task=rows.task.model_copy(update={"fields": swapped}))


def _drawn_wordings(task: Task, rates: Mapping[Form, float]) -> dict[Form, tuple[Wording, ...]]:
    """The wordings of each form that is drawn and that the task has words for."""
    drawn = {form: wordings(task, form) for form in FORMS if rates.get(form, 0) > 0}
    drawn = {form: found for form, found in drawn.items() if found}
    return drawn or {"sentence": wordings(task, "sentence")}


def part_names(task: Task, wording: Wording) -> list[str]:
    """Names of the parts of a context by their fields; empty if a part is not a single field."""
    if wording.form in ("statement", "check") and task.statement:
        fields = task.statement.context
    else:
        fields = [part[1:-1] for part in task.context]
    names = [name.replace("_", " ").capitalize() for name in fields if name in task.fields]
    return names if len(names) == len(fields) else []


def with_neighbours(truths: Sequence[float], mass: float) -> tuple[float, ...]:
    """Truths of a score's levels after each level passed some mass to its neighbours.

    Args:
        truths: How true each level is.
        mass: Share passed to each neighbour; a level at an end of the scale keeps one share.
    """
    padded = [truths[0], *truths, truths[-1]]
    return tuple(
        (1 - 2 * mass) * own + mass * (below + above)
        for below, own, above in zip(padded, truths, padded[2:], strict=False)
    )


def spread_evenly(strata: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A random order of items in which the items of every stratum are evenly spaced.

    Args:
        strata: (N,) stratum of each item.
        random: Random generator.

    Returns:
        (N,) indices of the items.
    """
    keys = np.empty(len(strata))
    for stratum in np.unique(strata):
        own = random.permutation(np.flatnonzero(strata == stratum))
        keys[own] = (np.arange(len(own)) + random.random()) / len(own)
    return np.argsort(keys, kind="stable")


def _strata(rows: Rows, kept: np.ndarray) -> np.ndarray:
    """Stratum of each row: its label, or for scores the part of the scale that it lies in."""
    labels = rows.labels()
    values = np.array([labels[i] for i in kept], dtype=object)
    if rows.task.question == "score":
        ranks = np.argsort(np.argsort(values.astype(float), kind="stable"), kind="stable")
        return ranks * SCORE_STRATA // len(ranks)
    return np.unique(values.astype(str), return_inverse=True)[1]


def draw_claims(
    example: Example,
    random: np.random.Generator,
    max_false_claims: int,
    opposite_rate: float,
    one_of: bool,
) -> TeacherExample:
    """Choose which claims of an example are trained on.

    Keeps all claims that are true to some degree and at most `max_false_claims` false ones.
    With probability `opposite_rate` a claim is replaced by its opposite, whose truth is 1 - truth.
    """
    assert example.truths is not None
    true = [i for i, truth in enumerate(example.truths) if truth > 0]
    false = [i for i, truth in enumerate(example.truths) if truth == 0]
    if len(false) > max_false_claims:
        false = sorted(random.choice(false, size=max_false_claims, replace=False).tolist())
    claims, truths, signs = [], [], []
    for i in sorted(true + false):
        swap = bool(example.opposites) and random.random() < opposite_rate
        claims.append(example.opposites[i] if swap else example.claims[i])
        truths.append(1.0 - example.truths[i] if swap else example.truths[i])
        signs.append(-1 if swap else 1)
    return TeacherExample(
        example.id, example.context, tuple(claims), tuple(truths), tuple(signs), one_of
    )
