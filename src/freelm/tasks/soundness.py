"""Problems of a task definition that can be found without its data."""

from __future__ import annotations

from freelm.errors import TaskError, available
from freelm.tasks.definition import Definition, Phrasing, label_key
from freelm.tasks.form_soundness import form_problems
from freelm.tasks.proposition import normalise
from freelm.tasks.template import template_fields

OPTION_FIELDS = ("option", "filled")


def problems(task: Definition) -> list[str]:
    """All problems of a definition, one line each; empty if it is sound."""
    found: list[str] = []
    found += _template_problems(task)
    found += _label_problems(task)
    found += _phrasing_problems(task)
    found += form_problems(task)
    return found


def _template_problems(task: Definition) -> list[str]:
    found = []
    names = set(task.fields)
    if task.question == "options":
        names_in_claims = names | {"option"} | ({"filled"} if task.fill else set())
    else:
        names_in_claims = names | {"label"}
    templates = [(f"context part {i + 1}", t, names) for i, t in enumerate(task.context)]
    for phrasing in task.phrasings:
        where = f"phrasing {phrasing.name!r}"
        for text in (*phrasing.claims.values(), *phrasing.opposites.values()):
            templates.append((where, text, names))
        for given in (phrasing.template, phrasing.opposite_template):
            if given is not None:
                templates.append((where, given, names_in_claims))
    for where, template, allowed in templates:
        try:
            used = template_fields(template)
        except TaskError as error:
            found.append(f"{where}: {error}")
            continue
        for name in used:
            if name not in allowed:
                found.append(f"{where}: unknown field {name!r}; {available(allowed)}")
    if not any(_fields_or_none(t) for t in task.context):
        found.append("context: no part uses a field")
    for name in task.words:
        if name not in task.fields:
            found.append(f"words: unknown field {name!r}; {available(task.fields)}")
    return found


def _label_problems(task: Definition) -> list[str]:
    found = []
    if task.question == "options":
        if task.options is None or bool(task.options.columns) == bool(task.options.column):
            found.append("options: give either columns or column")
        if task.fill and task.fill not in task.fields:
            found.append(f"options.fill: unknown field {task.fill!r}; {available(task.fields)}")
        if task.label.ids:
            found.append("label.ids: an options question takes its labels from the row")
        return found
    if task.options is not None:
        found.append("options: only for question kind 'options'")
    ids = task.label.ids
    if task.question == "predicate" and set(ids) != {"true", "false"}:
        found.append("label.ids: a predicate has exactly the labels 'true' and 'false'")
    if len(ids) < 2:
        found.append("label.ids: at least two labels are needed")
    if len({label_key(value) for value in ids.values()}) < len(ids):
        found.append("label.ids: two labels have the same value")
    if task.question == "score":
        numbers = [v for v in ids.values() if isinstance(v, int | float)]
        if len(numbers) < len(ids) or numbers != sorted(numbers):
            found.append("label.ids: the levels of a score need numbers in rising order")
    for name in task.label.descriptions:
        if name not in ids:
            found.append(f"label.descriptions: unknown label {name!r}; {available(ids)}")
    return found


def _phrasing_problems(task: Definition) -> list[str]:
    found = []
    names = [phrasing.name for phrasing in task.phrasings]
    if len(set(names)) < len(names):
        found.append("phrasings: two have the same name")
    if not any(not phrasing.held_out for phrasing in task.phrasings):
        found.append("phrasings: all are held out, none is left for training")
    for phrasing in task.phrasings:
        found += [f"phrasing {phrasing.name!r}: {p}" for p in _claim_problems(task, phrasing)]
    found += _repeated_claims(task)
    return found


def _claim_problems(task: Definition, phrasing: Phrasing) -> list[str]:
    if bool(phrasing.claims) == (phrasing.template is not None):
        return ["give either claims or template"]
    if phrasing.opposites and phrasing.opposite_template is not None:
        return ["give either opposites or opposite_template"]
    if task.question == "options":
        if phrasing.template is None:
            return ["an options question needs a template with {option} or {filled}"]
        used = _fields_or_none(phrasing.template) or []
        return [] if set(used) & set(OPTION_FIELDS) else ["template lacks {option} or {filled}"]
    found = []
    for kind, mapping in (("claims", phrasing.claims), ("opposites", phrasing.opposites)):
        if mapping:
            missing = [name for name in task.label.ids if name not in mapping]
            extra = [name for name in mapping if name not in task.label.ids]
            found += [f"label {name!r} is missing in {kind}" for name in missing]
            found += [f"unknown label {name!r} in {kind}" for name in extra]
    for text in (phrasing.template, phrasing.opposite_template):
        if text is not None:
            if "label" not in (_fields_or_none(text) or []):
                found.append("template lacks {label}")
            missing = [n for n in task.label.ids if n not in task.label.descriptions]
            found += [f"label {name!r} has no description" for name in missing]
    return found


def _repeated_claims(task: Definition) -> list[str]:
    """Claims with the same words: within a phrasing, or in a held-out and a training phrasing."""
    found = []
    seen: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for phrasing in task.phrasings:
        own: dict[str, str] = {}
        for label, claim in raw_claims(task, phrasing):
            words = normalise(claim)
            if words in own and own[words] != label:
                found.append(
                    f"phrasing {phrasing.name!r}: the claims of {own[words]!r} and {label!r} "
                    f"are equal: {claim!r}"
                )
            own.setdefault(words, label)
            seen[phrasing.held_out].setdefault(words, phrasing.name)
    for words, name in seen[True].items():
        if words in seen[False]:
            found.append(
                f"held-out phrasing {name!r} repeats a claim of training phrasing "
                f"{seen[False][words]!r}: {words!r}"
            )
    return found


def raw_claims(task: Definition, phrasing: Phrasing) -> list[tuple[str, str]]:
    """(label, claim template) of a phrasing, with descriptions filled in."""
    if phrasing.claims:
        return list(phrasing.claims.items())
    template = phrasing.template or ""
    if task.question == "options":
        return [("option", template)]
    return [
        (name, template.replace("{label}", words))
        for name, words in task.label.descriptions.items()
    ]


def _fields_or_none(template: str) -> list[str] | None:
    try:
        return template_fields(template)
    except TaskError:
        return None
