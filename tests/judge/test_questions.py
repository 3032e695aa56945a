from dataclasses import replace

import numpy as np
import pytest

from freelm.errors import InputError
from freelm.judge.probabilities import option_probabilities
from freelm.judge.questions import (
    CheckQuestion,
    ChoiceQuestion,
    PredicateQuestion,
    ScoreQuestion,
    check,
    choice,
    distinct_claims,
    parse_question,
    parse_questions,
    predicate,
    score,
)
from freelm.judge.requests import Judgement

MARGINS = np.array([-1.0, 2.0, 1.5])
OWN = 1 / (1 + np.exp(-MARGINS))
LABELS = ("a", "b", "c")


def judgement_of(question, margins=MARGINS):
    return Judgement(question.claims, np.asarray(margins), truncated=True, windows=3)


def answer_to(question, margins=MARGINS):
    return question.answer(judgement_of(question, margins))


def test_answers_say_how_the_text_was_read():
    answers = [
        answer_to(predicate("x"), MARGINS[:1]),
        answer_to(choice(LABELS)),
        answer_to(score("How?", LABELS)),
        answer_to(check("It rains.")),
    ]
    assert [(a.truncated, a.windows) for a in answers] == [(True, 3)] * 4


def test_questions_that_share_a_judgement_get_the_answers_of_their_own():
    questions = [predicate("x"), choice(LABELS), score("How?", LABELS), check("x"), predicate("x")]
    claims = distinct_claims(questions)
    assert len(claims) == len(set(claims)) == 1 + 3 + 3 + 3
    margins = np.linspace(-2, 3, len(claims))[::-1]
    together = Judgement(claims, margins)
    for question in questions:
        own = margins[[claims.index(claim) for claim in question.claims]]
        assert question.answer(together) == question.answer(Judgement(question.claims, own))


def test_a_question_as_claim_is_answered_by_yes_and_reported_as_it_was_asked():
    question = predicate(" Is it raining? ")
    assert question.claims == ("Is it raining? Yes.",)
    assert answer_to(question, [0.0]).claim == "Is it raining?"


def test_a_choice_without_threshold_is_the_likeliest_label():
    answer = answer_to(choice(LABELS))
    assert (answer.label, answer.labels) == ("b", ("b",))
    assert list(answer.probabilities.values()) == pytest.approx(option_probabilities(MARGINS))
    assert answer.probability == answer.probabilities["b"]
    assert list(answer.verdicts.values()) == pytest.approx(OWN)
    assert answer.verdict == answer.verdicts["b"]


def test_a_label_below_its_own_threshold_gives_way_to_the_next_that_fits():
    answer = answer_to(choice(LABELS, threshold={"b": 0.99, "c": 0.5}))
    assert (answer.label, answer.labels) == ("c", ("c",))
    assert answer.probability == answer.probabilities["c"]
    assert answer.verdict == answer.verdicts["c"]


def test_no_label_fits():
    answer = answer_to(choice(LABELS, threshold=0.95))
    assert (answer.label, answer.labels) == (None, ())
    assert answer.probability == max(answer.probabilities.values())
    assert answer.verdict == max(answer.verdicts.values()) < 0.95


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.85, 0.99, {"a": 0.2, "b": 0.9}])
def test_labels_fit_by_the_verdicts_that_the_answer_shows(multi, threshold):
    question = choice(LABELS, multi=multi, threshold=threshold)
    answer = answer_to(question)
    fitting = [
        label
        for label, least in zip(LABELS, question.thresholds, strict=True)
        if answer.verdicts[label] >= least
    ]
    best = max(fitting, key=answer.verdicts.__getitem__, default=None)
    assert answer.label == best
    if multi:
        assert answer.labels == tuple(fitting)
        assert answer.probabilities == answer.verdicts
    else:
        assert answer.labels == (() if best is None else (best,))


def test_with_multi_a_label_fits_from_one_half():
    assert answer_to(choice(LABELS, multi=True)).labels == ("b", "c")


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (1.5, "threshold must be between 0 and 1, not 1.5"),
        (True, "threshold must be between 0 and 1"),
        ("0.5", "threshold must be between 0 and 1"),
        ({"d": 0.5}, "threshold is given for 'd', which is not one of the labels"),
        ({"a": -1}, "threshold of 'a' must be between 0 and 1, not -1"),
    ],
)
def test_a_wrong_threshold_is_named(threshold, message):
    with pytest.raises(InputError, match=message):
        choice(LABELS, threshold=threshold)


@pytest.mark.parametrize(
    ("margins", "result"),
    [([2, 0, 1], "supported"), ([0, 2, 1], "contradicted"), ([0, 1, 2], "not_stated")],
)
def test_a_check_is_the_likeliest_of_three(margins, result):
    answer = answer_to(check("It rains."), margins)
    assert answer.claim == "It rains."
    assert answer.result == result == max(answer.probabilities, key=answer.probabilities.get)
    assert list(answer.probabilities.values()) == pytest.approx(option_probabilities(margins))


def test_plain_values_become_the_questions_they_describe():
    assert parse_question({"claim": "It rains."}) == PredicateQuestion("It rains.", ("It rains.",))
    assert parse_question(
        {"labels": {"x": "one", "y": "two"}, "template": "It is {}.", "multi": True}
    ) == ChoiceQuestion(("x", "y"), ("It is one.", "It is two."), True, (0.5, 0.5))
    assert parse_question({"question": "How much?", "levels": ["no", "yes!"]}) == ScoreQuestion(
        ("no", "yes!"), ("How much? no.", "How much? yes!")
    )
    assert isinstance(parse_question({"check": "It rains."}), CheckQuestion)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "no questions are given"),
        ([], "must be a mapping name -> question, not list"),
        ({"q": 5}, "question 'q': must be a mapping, not int"),
        ({"q": {}}, "question 'q': give claim, or labels .* not nothing"),
        ({"q": {"claim": "x", "labels": ["a", "b"]}}, "question 'q': give claim"),
        ({"q": {"labels": ["a", "b"], "multi": "yes"}}, "multi must be true or false, not 'yes'"),
        ({"q": {"labels": ["a"]}}, "question 'q': at least two labels"),
        ({"": {"claim": "x"}}, "a question's name is empty"),
    ],
)
def test_wrong_questions_are_named(value, message):
    with pytest.raises(InputError, match=message):
        parse_questions(value)


def test_a_claim_that_was_not_judged_is_an_error():
    with pytest.raises(KeyError):
        predicate("y").answer(replace(judgement_of(choice(LABELS)), claims=LABELS))
