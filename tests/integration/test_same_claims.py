"""Training, the Python API and the server put a question into the same claims."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from freelm.judge import questions
from freelm.serve.http.limits import Limits
from freelm.serve.questions import Option, Options, Predicate, build_questions
from freelm.tasks.forms import Form, render_form, wordings
from toy_tasks import CHOICE, PREDICATE, make

WORDS = st.text(alphabet="abc019' ,.!?-", max_size=20).map(lambda words: f"a{words.strip()}")
PAIRS = st.tuples(WORDS, WORDS).map(lambda pair: [f"first {pair[0]}", f"second {pair[1]}"])
ASKED = WORDS.map(lambda words: f"{words.rstrip(' ?')}?")


def trained(base: dict[str, Any], form: Form, **words: Any) -> list[str]:
    """The claims of a task in the first wording of a form."""
    task = make(base, **words)
    row = {"sentence": "Rain.", "label": 0}
    return list(render_form(task, row, "r", wordings(task, form)[0]).claims)


def two_labels(names: list[str]) -> dict[str, Any]:
    return {
        "label__ids": {"a": 0, "b": 1},
        "phrasings": [{"name": "p", "claims": {"a": "It is a.", "b": "It is b."}}],
        "names": dict(zip("ab", names, strict=True)),
    }


def served(asked: Options | Predicate) -> list[str]:
    """The claims of a question of the server."""
    (question,) = build_questions([asked], Limits())
    return list(question.claims)


def served_options(question: str | None, options: list[Option]) -> list[str]:
    return served(Options("choice", question, options, "options", "instructions"))


@given(ASKED, PAIRS)
def test_options_of_a_question(asked: str, names: list[str]) -> None:
    claims = trained(CHOICE, "option", asks=asked, **two_labels(names))
    assert claims == list(questions.score(asked, names).claims)
    assert claims == served_options(asked, [Option(name) for name in names])


@given(ASKED, PAIRS)
def test_criteria_of_a_question(asked: str, descriptions: list[str]) -> None:
    described = dict(zip("ab", descriptions, strict=True))
    words = {**two_labels(["one", "two"]), "descriptions": described}
    claims = trained(CHOICE, "criteria", asks=asked, **words)
    assert claims == list(questions.score(asked, described).claims)
    assert claims == served_options(asked, [Option(n, w) for n, w in described.items()])


@given(PAIRS)
def test_labels_alone(names: list[str]) -> None:
    claims = trained(CHOICE, "label", **two_labels(names))
    assert claims == list(questions.choice(names).claims)
    assert claims == served_options(None, [Option(name) for name in names])


@given(PAIRS)
def test_descriptions_alone(descriptions: list[str]) -> None:
    described = dict(zip("ab", descriptions, strict=True))
    words = {**two_labels(["one", "two"]), "descriptions": described}
    claims = trained(CHOICE, "description", **words)
    assert claims == list(questions.choice(described).claims)
    assert claims == served_options(None, [Option(n, w) for n, w in described.items()])


@given(ASKED)
def test_a_predicate(asked: str) -> None:
    yes = trained(PREDICATE, "question", asks=asked)[1]
    assert (yes,) == questions.predicate(asked).claims
    assert [yes] == served(Predicate(asked, "instructions"))
