"""Forms: how a question and its labels become claims.

A model must be trained on every form in which a question can reach it. So the claims of training,
the Python API, files and the server are all rendered here.

- sentence: "The reviewer liked the film.", a claim of a phrasing or of a user;
- opposite: "The reviewer did not like the film.";
- question: "Did the reviewer like the film? Yes.", a predicate;
- option: "What does the reviewer feel? Joy.", a choice, or "How good is it? 4 stars.", a score;
- label: "Here, the text is about joy.", as `classify(text, labels)` asks;
- description: "The reviewer is happy.", as `classify(text, {label: description})` asks;
- criteria: "What does the reviewer feel? The reviewer is happy.", a choice with criteria;
- statement: "Ben has the key.", any statement about a text, true only if it is entailed;
- check: "Ben has the key. The text contradicts this.", one of the three answers to a statement.

The first half renders strings. The second half renders a row of a task in each form that its
definition has words for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

from freelm.errors import EmptyRowError
from freelm.tasks.definition import CheckAnswer, Definition, Phrasing
from freelm.tasks.rendering import Example, RowText, one_hot, read_row, render_phrasing
from freelm.tasks.template import render

Form = Literal[
    "sentence",
    "opposite",
    "question",
    "option",
    "label",
    "description",
    "criteria",
    "statement",
    "check",
]
FORMS: tuple[Form, ...] = get_args(Form)

DEFAULT_TEMPLATE = "Here, the text is about {}."
"""The template of `classify` where the user gives none."""

YES, NO = "Yes.", "No."
SENTENCE_ENDS = (".", "!", "?")

CHECKS: dict[CheckAnswer, str] = {
    "supported": "The text supports this.",
    "contradicted": "The text contradicts this.",
    "not_stated": "The text does not say.",
}
"""What follows a statement in the claims of a check."""

# -- claims as strings -----------------------------------------------------------------------------


def sentence(words: str) -> str:
    """Words without surrounding white space, with a full stop unless a sentence ends there."""
    words = words.strip()
    return words if words.endswith(SENTENCE_ENDS) else f"{words}."


def answer_claim(question: str, answer: str) -> str:
    """A question followed by an answer: "What does the writer feel? Joy."."""
    return f"{question.strip()} {sentence(answer)}"


def predicate_claim(asked: str) -> str:
    """The claim of a predicate: a question gets "Yes." as its answer, a statement is the claim."""
    asked = asked.strip()
    return answer_claim(asked, YES) if asked.endswith("?") else asked


def label_claim(words: str, template: str = DEFAULT_TEMPLATE) -> str:
    """A label or its description in place of a template's first `{}`.

    A description that is a sentence ("The customer wants a refund.") is already a claim, so it
    does not go into the default template. Braces inside the words have no meaning.
    """
    words = words.strip()
    if template == DEFAULT_TEMPLATE and words.endswith(SENTENCE_ENDS):
        return words
    return template.replace("{}", words, 1)


def option_claim(question: str | None, name: str, description: str | None = None) -> str:
    """The claim of one option or level.

    Args:
        question: What is asked; None if the client gave labels alone.
        name: What the option is called.
        description: What it means; it replaces the name.
    """
    words = name if description is None else description
    return label_claim(words) if question is None else answer_claim(question, words)


def check_claims(statement: str) -> dict[CheckAnswer, str]:
    """The claims of a check: is a statement supported, contradicted or not stated?"""
    return {answer: f"{sentence(statement)} {words}" for answer, words in CHECKS.items()}


# -- the forms of a task ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Wording:
    """One way to put the labels of a task into claims.

    Attributes:
        form: The form.
        phrasing: Its phrasing, for sentences and opposites.
        question: Template of the question, where the form has one.
        answers: Label -> template of what follows the question or fills the default template.
    """

    form: Form
    phrasing: Phrasing | None = None
    question: str | None = None
    answers: Mapping[str, str] | None = None


def wordings(task: Definition, form: Form) -> tuple[Wording, ...]:
    """The wordings of a form that a task trains on; empty if it has no words for the form."""
    if form in task.without_forms:
        return ()
    return tuple(_WORDINGS[form](task))


def render_form(task: Definition, row: Mapping[str, Any], row_id: str, wording: Wording) -> Example:
    """Turn a row into claims of one form.

    Args:
        task: A sound definition.
        row: Column -> value.
        row_id: Name of the row in messages.
        wording: One of the task's.

    Raises:
        DataError: As `freelm.tasks.rendering.read_row`.
    """
    text = read_row(task, row, row_id)
    match wording.form:
        case "sentence":
            assert wording.phrasing is not None
            return render_phrasing(task, text, wording.phrasing)
        case "opposite":
            assert wording.phrasing is not None
            return render_phrasing(task, text, wording.phrasing).negated()
        case "statement":
            return _statement(task, text)
        case "check":
            return _check(task, text)
        case _:
            return _answers(task, text, wording)


def _answers(task: Definition, text: RowText, wording: Wording) -> Example:
    """Claims made of a question and answers, or of the default template and labels."""
    if wording.form == "question" and task.asks_if:
        questions = [render(_yes_no_question(task, label), text.values) for label in text.labels]
        yes, no = ([answer_claim(q, answer) for q in questions] for answer in (YES, NO))
        return text.example(yes, no)
    if wording.answers is None:
        words = list(text.labels)  # the row's own options
    else:
        words = [render(wording.answers[label], text.values) for label in text.labels]
    if wording.form in ("label", "description"):
        return text.example([label_claim(answer) for answer in words])
    assert wording.question is not None
    question = render(wording.question, text.values)
    if wording.question in task.context and len(text.context) > 1:
        # The question is part of the claim, as it is when a user asks it about the passage.
        text = replace(text, context=tuple(p for p in text.context if p != question.strip()))
    return text.example([answer_claim(question, answer) for answer in words])


def _statement(task: Definition, text: RowText) -> Example:
    assert task.statement is not None
    truths = None
    if text.target is not None:
        truths = (float(text.labels[int(text.target)] in task.statement.true),)
    return Example(
        text.id,
        _statement_context(task, text),
        ("true",),
        (sentence(text.values[task.statement.claim]),),
        (),
        truths,
        None if truths is None else truths[0],
    )


def _check(task: Definition, text: RowText) -> Example:
    assert task.statement is not None
    claims = check_claims(text.values[task.statement.claim])
    target = None
    if text.target is not None:
        label = text.labels[int(text.target)]
        target = next(i for i, answer in enumerate(claims) if label in task.statement.check[answer])
    return Example(
        text.id,
        _statement_context(task, text),
        tuple(claims),
        tuple(claims.values()),
        (),
        None if target is None else one_hot(target, len(claims)),
        target,
    )


def _statement_context(task: Definition, text: RowText) -> tuple[str, ...]:
    assert task.statement is not None
    if not text.values[task.statement.claim]:
        raise EmptyRowError(f"{text.id}: the claim is empty")
    context = tuple(filter(None, (text.values[name] for name in task.statement.context)))
    if not context:
        raise EmptyRowError(f"{text.id}: the context is empty")
    return context


# -- which wordings a task has ---------------------------------------------------------------------


def _sentences(form: Form, task: Definition) -> list[Wording]:
    return [
        Wording(form, phrasing)
        for phrasing in task.training_phrasings
        if form == "sentence" or phrasing.opposites or phrasing.opposite_template
    ]


def _questions(task: Definition) -> list[Wording]:
    if task.asks_if:
        return [Wording("question")]
    if not task.is_yes_no:
        return []
    return [Wording("question", None, asked, task.name_sets[0]) for asked in task.asks]


def _options(task: Definition) -> list[Wording]:
    if task.is_yes_no:
        return []
    if task.question == "options":
        return [Wording("option", None, asked) for asked in task.asks]
    names = [words for given in task.name_sets for words in _cases(given)]
    return [Wording("option", None, asked, words) for asked in task.asks for words in names]


def _labels(task: Definition) -> list[Wording]:
    if not _is_about_one_text(task):
        return []
    sets = [task.id_words] if task.is_yes_no else task.name_sets
    return [Wording("label", None, None, words) for given in sets for words in _cases(given)]


def _descriptions(task: Definition) -> list[Wording]:
    if not _is_about_one_text(task):
        return []
    return [Wording("description", None, None, words) for words in _described(task)]


def _criteria(task: Definition) -> list[Wording]:
    if task.question not in ("choice", "score") or task.is_yes_no:
        return []
    described = _described(task)
    return [Wording("criteria", None, asked, words) for asked in task.asks for words in described]


def _statements(task: Definition) -> list[Wording]:
    return [Wording("statement")] if task.statement else []


def _checks(task: Definition) -> list[Wording]:
    return [Wording("check")] if task.statement and task.statement.check else []


_WORDINGS: dict[Form, Callable[[Definition], list[Wording]]] = {
    "sentence": partial(_sentences, "sentence"),
    "opposite": partial(_sentences, "opposite"),
    "question": _questions,
    "option": _options,
    "label": _labels,
    "description": _descriptions,
    "criteria": _criteria,
    "statement": _statements,
    "check": _checks,
}


def _is_about_one_text(task: Definition) -> bool:
    """Whether labels can be classes of a text; those of pairs say how two texts are related."""
    return task.question == "choice" and not task.statement and not task.symmetric


def _described(task: Definition) -> list[Mapping[str, str]]:
    literal = {name: _literal(words) for name, words in task.label.descriptions.items()}
    return [words for words in (task.descriptions, literal) if words]


def _cases(words: Mapping[str, str]) -> list[Mapping[str, str]]:
    """Names as they are stated, and with a capital where that differs: users write both."""
    capital = {label: name[:1].upper() + name[1:] for label, name in words.items()}
    return [words] if capital == words else [words, capital]


def _yes_no_question(task: Definition, label: str) -> str:
    if isinstance(task.asks_if, dict):
        return task.asks_if[label]
    words = task.label.descriptions.get(label) or task.name_sets[0][label]
    return (task.asks_if or "").replace("{label}", _literal(words))


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
