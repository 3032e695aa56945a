from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.errors import EmptyRowError
from freelm.tasks import Task
from freelm.tasks.forms import (
    CHECKS,
    DEFAULT_TEMPLATE,
    FORMS,
    Form,
    answer_claim,
    check_claims,
    label_claim,
    option_claim,
    predicate_claim,
    render_form,
    sentence,
    wordings,
)
from toy_tasks import CHOICE, OPTIONS, PREDICATE, SCORE, make

WORDS = st.text(alphabet="abc {}.!?'", min_size=1, max_size=20).filter(str.strip)
MOOD: dict[str, Any] = {
    "asks": "What is the mood?",
    "names": {"bad": ["bad", "sad"], "fair": ["fair", "so-so"], "good": ["good", "happy"]},
    "asks_if": {"bad": "Is it bad?", "fair": "Is it fair?", "good": "Is it good?"},
    "descriptions": {"bad": "All went wrong.", "fair": "Some did.", "good": "None did."},
}
PAIR: dict[str, Any] = {
    "fields": {"premise": "premise", "hypothesis": "hypothesis"},
    "context": ["{premise}", "{hypothesis}"],
}


def rendered(task: Task, form: Form, row: dict[str, Any]) -> list[tuple[str, float]]:
    """Claims of all wordings of a form, with their truth."""
    found = []
    for wording in wordings(task, form):
        example = render_form(task, row, "toy/train/0", wording)
        assert example.truths is not None
        found += zip(example.claims, example.truths, strict=True)
    return found


# -- claims as strings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (sentence(" joy "), "joy."),
        (sentence("Really?"), "Really?"),
        (answer_claim(" How much? ", "4 stars"), "How much? 4 stars."),
        (predicate_claim(" Is it spam? "), "Is it spam? Yes."),
        (predicate_claim(" It is spam "), "It is spam"),
        (label_claim("joy"), "Here, the text is about joy."),
        (label_claim("joy {}", "It is {}!"), "It is joy {}!"),
        (label_claim("The writer is happy."), "The writer is happy."),
        (label_claim("Yes.", "He says: {}"), "He says: Yes."),
        (option_claim(None, "joy"), "Here, the text is about joy."),
        (option_claim(None, "joy", "great pleasure"), "Here, the text is about great pleasure."),
        (option_claim(None, "joy", "It is great."), "It is great."),
        (option_claim("What?", "joy"), "What? joy."),
        (option_claim("What?", "joy", "It is great."), "What? It is great."),
    ],
)
def test_claims(claim: str, expected: str) -> None:
    assert claim == expected


@given(WORDS)
def test_a_sentence_ends_once_and_stays(words: str) -> None:
    assert sentence(words).endswith((".", "!", "?"))
    assert sentence(sentence(words)) == sentence(words)


@given(WORDS)
def test_labels_are_inert(words: str) -> None:
    assert label_claim(words, "A {} b") == f"A {words.strip()} b"


def test_the_claims_of_a_check_share_their_statement() -> None:
    claims = check_claims("Ben has the key")
    assert list(claims) == list(CHECKS) == ["supported", "contradicted", "not_stated"]
    assert claims["contradicted"] == "Ben has the key. The text contradicts this."


# -- forms of a task -------------------------------------------------------------------------------


def test_a_choice_in_every_form() -> None:
    task, row = make(CHOICE, **MOOD), {"sentence": "Rain.", "label": 2}
    assert rendered(task, "sentence", row) == [
        ("It is bad.", 0),
        ("It is fair.", 0),
        ("It is good.", 1),
    ]
    assert rendered(task, "opposite", row) == [("Not bad.", 1), ("Not fair.", 1), ("Not good.", 0)]
    assert rendered(task, "question", row) == [
        ("Is it bad? Yes.", 0),
        ("Is it fair? Yes.", 0),
        ("Is it good? Yes.", 1),
    ]
    options = rendered(task, "option", row)
    assert [claim for claim, truth in options if truth] == [
        "What is the mood? good.",
        "What is the mood? Good.",
        "What is the mood? happy.",
        "What is the mood? Happy.",
    ]
    assert ("Here, the text is about so-so.", 0) in rendered(task, "label", row)
    assert rendered(task, "description", row)[0] == ("All went wrong.", 0)
    assert rendered(task, "criteria", row)[2] == ("What is the mood? None did.", 1)
    assert not wordings(task, "statement")
    assert not wordings(task, "check")


def test_questions_about_labels_have_no_as_the_opposite() -> None:
    task = make(CHOICE, **MOOD)
    (wording,) = wordings(task, "question")
    example = render_form(task, {"sentence": "Rain.", "label": 0}, "r", wording)
    assert example.opposites == ("Is it bad? No.", "Is it fair? No.", "Is it good? No.")


def test_a_template_asks_about_every_label() -> None:
    task = make(CHOICE, asks_if="Is the mood {label}?")
    row = {"sentence": "Rain.", "label": 1}
    assert rendered(task, "question", row)[1] == ("Is the mood fair? Yes.", 1)
    described = make(CHOICE, asks_if="Is it {label}?", label__descriptions={"fair": "a {so-so}"})
    assert rendered(described, "question", row)[1] == ("Is it a {so-so}? Yes.", 1)


def test_without_names_options_are_called_by_their_ids_with_spaces() -> None:
    ids = {"very_bad": 0, "very_good": 1}
    phrasing = {"name": "p", "claims": {"very_bad": "Bad.", "very_good": "Good."}}
    task = make(CHOICE, label__ids=ids, phrasings=[phrasing], asks="How is it?")
    row = {"sentence": "Rain.", "label": 1}
    assert ("How is it? very good.", 1) in rendered(task, "option", row)
    assert ("Here, the text is about very bad.", 0) in rendered(task, "label", row)


def test_a_predicate_is_answered_by_yes_and_no() -> None:
    task = make(PREDICATE, asks="Is it so?")
    row = {"sentence": "Rain.", "label": 0}
    assert rendered(task, "question", row) == [("Is it so? No.", 1), ("Is it so? Yes.", 0)]
    assert not any(wordings(task, form) for form in ("option", "label", "description", "criteria"))


def test_a_choice_whose_options_are_yes_and_no_is_asked_like_a_predicate() -> None:
    phrasing = {"name": "p", "claims": {"bad": "Bad.", "good": "Good."}}
    ids, names = {"bad": 0, "good": 1}, {"bad": "No", "good": "Yes"}
    task = make(CHOICE, label__ids=ids, phrasings=[phrasing], asks="Is it good?", names=names)
    row = {"sentence": "Rain.", "label": 1}
    assert rendered(task, "question", row) == [("Is it good? No.", 0), ("Is it good? Yes.", 1)]
    assert not wordings(task, "option")
    assert ("Here, the text is about good.", 1) in rendered(task, "label", row)


def test_levels_of_a_score_have_several_names_and_graded_truths() -> None:
    names = {"low": ["bad", "1 star"], "middle": ["fair", "2 stars"], "high": ["good", "4 stars"]}
    task = make(SCORE, asks="How good is it?", names=names)
    claims = rendered(task, "option", {"sentence": "Rain.", "label": 2})
    assert ("How good is it? 2 stars.", 0.5) in claims
    assert ("How good is it? good.", 0.5) in claims
    assert not wordings(task, "label")


def test_the_options_of_a_row_answer_its_question() -> None:
    task = make(
        OPTIONS,
        fields={"text": "sentence", "question": "question"},
        context=["{text}", "{question}?"],
        asks=["{question}?", "What is right?"],
    )
    row = {
        "sentence": "Rain.",
        "question": "why",
        "choice1": "Clouds.",
        "choice2": "x",
        "answer": 0,
    }
    first, second = (render_form(task, row, "r", wording) for wording in wordings(task, "option"))
    assert first.claims == ("why? Clouds.", "why? x.")
    assert first.context == ("Rain.",)  # the question is in the claim
    assert second.claims[0] == "What is right? Clouds."
    assert second.context == ("Rain.", "why?")


def test_a_question_that_is_the_whole_context_stays() -> None:
    task = make(OPTIONS, asks="{text}")
    row = {"sentence": "Why?", "choice1": "a", "choice2": "b", "answer": 0}
    assert render_form(task, row, "r", wordings(task, "option")[0]).context == ("Why?",)


@pytest.mark.parametrize(
    ("label", "answer"), [(0, "contradicted"), (1, "not_stated"), (2, "supported")]
)
def test_statements_and_checks(label: int, answer: str) -> None:
    statement = {
        "context": "premise",
        "claim": "hypothesis",
        "true": "good",
        "check": {"supported": "good", "contradicted": "bad", "not_stated": ["fair"]},
    }
    task = make(CHOICE, **PAIR, statement=statement)
    row = {"premise": "It rains.", "hypothesis": "It is wet", "label": label}
    assert rendered(task, "statement", row) == [("It is wet.", float(answer == "supported"))]
    expected = [(f"It is wet. {words}", float(name == answer)) for name, words in CHECKS.items()]
    assert rendered(task, "check", row) == expected
    for form in ("statement", "check"):
        assert render_form(task, row, "r", wordings(task, form)[0]).context == ("It rains.",)
    assert not wordings(task, "label")  # the labels say how two texts are related


@pytest.mark.parametrize("empty", ["premise", "hypothesis"])
def test_a_row_without_a_text_to_judge_is_refused(empty: str) -> None:
    statement = {"context": "premise", "claim": "hypothesis", "true": "good"}
    task = make(CHOICE, **PAIR, statement=statement)
    row = {"premise": "It rains.", "hypothesis": "It is wet.", "label": 0, empty: " "}
    with pytest.raises(EmptyRowError, match=r"r: the (claim|context) is empty"):
        render_form(task, row, "r", wordings(task, "statement")[0])


@pytest.mark.parametrize("form", FORMS)
def test_a_form_can_be_excluded(form: Form) -> None:
    assert not wordings(make(CHOICE, **MOOD, without_forms=[form]), form)


@pytest.mark.parametrize("form", FORMS)
def test_a_row_without_label_has_claims_without_truth(form: Form) -> None:
    statement = {"context": "premise", "claim": "hypothesis", "true": "good"}
    statement["check"] = {"supported": "good", "contradicted": "bad", "not_stated": "fair"}  # type: ignore[assignment]
    task = make(CHOICE, **PAIR, **MOOD, statement=statement)
    row = {"premise": "It rains.", "hypothesis": "It is wet.", "label": -1}
    for wording in wordings(task, form):
        example = render_form(task, row, "r", wording)
        assert example.truths is None
        assert example.target is None


def test_held_out_phrasings_are_not_trained_in_any_form() -> None:
    for form in FORMS:
        for wording in wordings(make(CHOICE, **MOOD), form):
            assert wording.phrasing is None or not wording.phrasing.held_out


def test_the_default_template_has_one_blank() -> None:
    assert DEFAULT_TEMPLATE.count("{}") == 1
