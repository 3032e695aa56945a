"""Problems of the keys that forms are made of: asks, names, descriptions, statement, symmetric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from freelm.errors import TaskError, available
from freelm.tasks.definition import Definition
from freelm.tasks.forms import CHECKS, FORMS
from freelm.tasks.proposition import normalise
from freelm.tasks.template import template_fields


def form_problems(task: Definition) -> Iterator[str]:
    """Problems of the keys that forms are made of, one line each."""
    yield from _question_problems(task)
    yield from _name_problems(task)
    yield from _description_problems(task)
    yield from _statement_problems(task)
    yield from _pair_problems(task)
    for form in task.without_forms:
        if form not in FORMS:
            yield f"without_forms: unknown form {form!r}; {available(FORMS)}"
        if form == "sentence":
            yield "without_forms: every task has sentences"


def _question_problems(task: Definition) -> Iterator[str]:
    for question in task.asks:
        yield from _field_problems("asks", question, task.fields)
        if not question.rstrip().endswith(("?", "}")):
            yield f"asks: {question!r} does not end with a question mark"
    if task.asks_if is None:
        return
    if task.question != "choice":
        yield "asks_if: only for question kind 'choice'; a predicate's question goes into asks"
        return
    if isinstance(task.asks_if, dict):
        yield from _label_problems("asks_if", task.asks_if, task)
        questions: Iterable[str] = task.asks_if.values()
        allowed = set(task.fields)
    else:
        questions, allowed = [task.asks_if], {*task.fields, "label"}
        if "{label}" not in task.asks_if:
            yield "asks_if: the template lacks {label}; or give a question per label"
    for question in questions:
        yield from _field_problems("asks_if", question, allowed)
        if not question.endswith("?"):
            yield f"asks_if: {question!r} does not end with a question mark"


def _name_problems(task: Definition) -> Iterator[str]:
    if not task.names:
        return
    if task.question == "options":
        yield "names: the options of the row are the names"
        return
    for label in task.names:
        if label not in task.label.ids:
            yield f"names: unknown label {label!r}; {available(task.label.ids)}"
    for names in task.name_sets:
        for label, name in names.items():
            if not name.strip() or set(name) & set("{}"):
                yield f"names: {label!r} needs a name without braces, not {name!r}"
        if len(set(map(normalise, names.values()))) < len(names):
            yield f"names: two labels have the same name: {', '.join(names.values())}"


def _description_problems(task: Definition) -> Iterator[str]:
    if not task.descriptions:
        return
    if task.question not in ("choice", "score"):
        yield "descriptions: only for question kinds 'choice' and 'score'"
        return
    yield from _label_problems("descriptions", task.descriptions, task)
    for words in task.descriptions.values():
        yield from _field_problems("descriptions", words, task.fields)


def _statement_problems(task: Definition) -> Iterator[str]:
    statement = task.statement
    if statement is None:
        return
    if task.question not in ("choice", "predicate"):
        yield "statement: only for question kinds 'choice' and 'predicate'"
    for name in (*statement.context, statement.claim):
        if name not in task.fields:
            yield f"statement: unknown field {name!r}; {available(task.fields)}"
    if statement.claim in statement.context:
        yield f"statement: field {statement.claim!r} is both context and claim"
    for label in statement.true:
        if label not in task.label.ids:
            yield f"statement.true: unknown label {label!r}; {available(task.label.ids)}"
    if not statement.check:
        return
    if set(statement.check) != set(CHECKS):
        yield f"statement.check: give labels for each of {', '.join(CHECKS)}"
    checked = sorted(label for labels in statement.check.values() for label in labels)
    if checked != sorted(task.label.ids):
        yield "statement.check: name each label exactly once"


def _pair_problems(task: Definition) -> Iterator[str]:
    if task.symmetric is None:
        return
    for name in task.symmetric:
        if name not in task.fields:
            yield f"symmetric: unknown field {name!r}; {available(task.fields)}"
    if task.symmetric[0] == task.symmetric[1]:
        yield "symmetric: give two different fields"


def _label_problems(key: str, given: dict[str, str], task: Definition) -> Iterator[str]:
    """Labels that a mapping lacks, unknown labels, and labels with the same words."""
    for label in task.label.ids:
        if label not in given:
            yield f"{key}: label {label!r} is missing"
    for label in given:
        if label not in task.label.ids:
            yield f"{key}: unknown label {label!r}; {available(task.label.ids)}"
    if len(set(map(normalise, given.values()))) < len(given):
        yield f"{key}: two labels have the same words"


def _field_problems(where: str, template: str, allowed: Iterable[str]) -> Iterator[str]:
    try:
        used = template_fields(template)
    except TaskError as error:
        yield f"{where}: {error}"
        return
    for name in used:
        if name not in allowed:
            yield f"{where}: unknown field {name!r}; {available(allowed)}"
