"""From a row of a table to propositions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from freelm.errors import DataError, EmptyRowError, available
from freelm.tasks.definition import Definition, Phrasing, label_key
from freelm.tasks.proposition import Proposition
from freelm.tasks.template import render


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task as propositions, in one phrasing.

    Attributes:
        id: `task/split/row`, for messages and caches.
        context: The parts of the judged text.
        labels: What each claim stands for: label names, or the options of the row.
        claims: One claim per label, in the order of `labels`.
        opposites: The opposite of each claim where the phrasing states one, else empty.
        truths: How true each claim is: 0 or 1, between them for a graded score; None where the
            row has no label.
        target: Index of the right label, or the raw score of a score question; None without label.
    """

    id: str
    context: tuple[str, ...]
    labels: tuple[str, ...]
    claims: tuple[str, ...]
    opposites: tuple[str, ...]
    truths: tuple[float, ...] | None
    target: float | None

    def propositions(self) -> tuple[Proposition, ...]:
        """The propositions of this example, one per claim."""
        return tuple(Proposition(self.context, claim) for claim in self.claims)

    def negated(self) -> Example:
        """The example with claims and opposites exchanged."""
        truths = None if self.truths is None else tuple(1.0 - truth for truth in self.truths)
        return replace(self, claims=self.opposites, opposites=self.claims, truths=truths)


@dataclass(frozen=True, slots=True)
class RowText:
    """A row before its labels are put into words.

    Attributes:
        id: `task/split/row`.
        values: Field name -> text.
        context: The parts of the judged text that are not empty.
        labels: Label names, or the options of the row.
        truths: How true the claim of each label is; None without label.
        target: As `Example.target`.
    """

    id: str
    values: Mapping[str, str]
    context: tuple[str, ...]
    labels: tuple[str, ...]
    truths: tuple[float, ...] | None
    target: float | None

    def example(self, claims: Sequence[str], opposites: Sequence[str] = ()) -> Example:
        """The row with a claim per label."""
        return Example(
            self.id,
            self.context,
            self.labels,
            tuple(claims),
            tuple(opposites),
            self.truths,
            self.target,
        )


def render_row(
    task: Definition, row: Mapping[str, Any], row_id: str, phrasing: Phrasing
) -> Example:
    """Turn a row into propositions.

    Args:
        task: A sound definition.
        row: Column -> value.
        row_id: Name of the row in messages.
        phrasing: One of `phrasings`.

    Raises:
        DataError: As `read_row`.
    """
    return render_phrasing(task, read_row(task, row, row_id), phrasing)


def read_row(task: Definition, row: Mapping[str, Any], row_id: str) -> RowText:
    """Read the texts and the label of a row.

    Raises:
        EmptyRowError: If all parts of the context are empty.
        DataError: If a column is missing, a field is not text, or the label is outside the
            declared set.
    """
    values = {name: _text(task, row, path, row_id) for name, path in task.fields.items()}
    for name, words in task.words.items():
        values[name] = words.get(values[name], values[name])
    parts = (render(part, values).strip() for part in task.context)
    context = tuple(part for part in parts if part)  # a review may have no title
    if not context:
        raise EmptyRowError(f"{row_id}: the context is empty")
    if task.question == "options":
        labels = _row_options(task, row, row_id)
        target = _option_target(task, row, row_id, labels)
    else:
        labels = tuple(task.label.ids)
        target = _label_target(task, row, row_id)
    truths = None if target is None else _truths(task, target, len(labels))
    return RowText(row_id, values, context, labels, truths, target)


def render_phrasing(task: Definition, text: RowText, phrasing: Phrasing) -> Example:
    """The labels of a row in the words of a phrasing."""
    if task.question == "options":
        claims = _option_claims(task, phrasing.template or "", text)
        return text.example(claims, _option_claims(task, phrasing.opposite_template, text))
    return text.example(
        _label_claims(task, phrasing.claims, phrasing.template, text.values),
        _label_claims(task, phrasing.opposites, phrasing.opposite_template, text.values),
    )


def _text(task: Definition, row: Mapping[str, Any], path: str, row_id: str) -> str:
    value = _lookup(row, path, row_id)
    if isinstance(value, list | tuple):
        value = " ".join(str(item) for item in value)
    if isinstance(value, Mapping):
        raise DataError(f"{row_id}: column {path!r} is not text; {available(map(str, value))}")
    return _clean(task, "" if _is_missing(value) else value)


def _clean(task: Definition, value: Any) -> str:
    text = str(value)
    for old, new in task.replace.items():
        text = text.replace(old, new)
    return text.strip()


def _row_options(task: Definition, row: Mapping[str, Any], row_id: str) -> tuple[str, ...]:
    assert task.options is not None
    if task.options.column:
        values = _lookup(row, task.options.column, row_id)
    else:
        values = [_lookup(row, column, row_id) for column in task.options.columns]
    if not isinstance(values, list | tuple) or len(values) < 2:
        raise DataError(f"{row_id}: fewer than two options")
    return tuple(_clean(task, value) for value in values)


def _option_claims(task: Definition, template: str | None, text: RowText) -> tuple[str, ...]:
    if template is None:
        return ()
    claims = []
    for option in text.labels:
        filled = {}
        if task.fill and task.options:
            filled = {"filled": text.values[task.fill].replace(task.options.blank, option)}
        claims.append(render(template, {**text.values, **filled, "option": option}))
    return tuple(claims)


def _label_claims(
    task: Definition, claims: dict[str, str], template: str | None, values: Mapping[str, str]
) -> tuple[str, ...]:
    if claims:
        return tuple(render(claims[name], values) for name in task.label.ids)
    if template is None:
        return ()
    words = task.label.descriptions
    return tuple(render(template, {**values, "label": words[n]}) for n in task.label.ids)


def _option_target(
    task: Definition, row: Mapping[str, Any], row_id: str, options: tuple[str, ...]
) -> float | None:
    raw = _lookup(row, task.label.column, row_id)
    if _is_unlabelled(raw):
        return None
    if task.label.keys:
        keys = [label_key(key) for key in _lookup(row, task.label.keys, row_id)]
        key = label_key(raw)
        if key not in keys:
            raise DataError(f"{row_id}: label {raw!r} is none of the keys {', '.join(keys)}")
        return keys.index(key)
    try:
        index = int(label_key(raw)) - task.label.first
    except (TypeError, ValueError):
        index = -1
    if not 0 <= index < len(options):
        raise DataError(f"{row_id}: label {raw!r} names none of the {len(options)} options")
    return index


def _label_target(task: Definition, row: Mapping[str, Any], row_id: str) -> float | None:
    raw = _lookup(row, task.label.column, row_id)
    keys = [label_key(value) for value in task.label.ids.values()]
    if _is_unlabelled(raw, keys):
        return None
    if task.question == "score":
        return _score_target(task, raw, row_id)
    key = label_key(raw)
    if key not in keys:
        raise DataError(
            f"{row_id}: label {raw!r} in column {task.label.column!r} is outside the declared "
            f"set {', '.join(keys)}"
        )
    return keys.index(key)


def _score_target(task: Definition, raw: Any, row_id: str) -> float:
    levels = task.levels
    try:
        value = float(raw)
    except (TypeError, ValueError):
        value = math.nan
    if not levels[0] <= value <= levels[-1]:
        raise DataError(
            f"{row_id}: score {raw!r} is outside the range {levels[0]:g} to {levels[-1]:g}"
        )
    return value


def one_hot(target: float, num_labels: int) -> tuple[float, ...]:
    """1 at the target, 0 elsewhere."""
    return tuple(float(i == target) for i in range(num_labels))


def _truths(task: Definition, target: float, num_labels: int) -> tuple[float, ...]:
    if task.question != "score":
        return one_hot(target, num_labels)
    # A score between two levels makes both partly true: 3.4 -> level 3 by 0.6, level 4 by 0.4.
    levels = task.levels
    truths = [0.0] * len(levels)
    upper = next(i for i, level in enumerate(levels) if target <= level)
    if levels[upper] == target:
        truths[upper] = 1.0
    else:
        share = (target - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
        truths[upper - 1], truths[upper] = 1.0 - share, share
    return tuple(truths)


def _lookup(row: Mapping[str, Any], path: str, row_id: str) -> Any:
    value: Any = row
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            names = value if isinstance(value, Mapping) else row
            raise DataError(f"{row_id}: no column {path!r}; {available(map(str, names))}")
        value = value[key]
    return value


def _is_unlabelled(raw: Any, declared: Collection[str] = ()) -> bool:
    """The Hub marks rows without a public label by -1 (or leaves them empty).

    Where -1 is one of the declared labels, it is that label.
    """
    return _is_missing(raw) or (label_key(raw) in {"-1", ""} and label_key(raw) not in declared)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
