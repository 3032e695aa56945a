import numpy as np
import pytest

from freelm.errors import InputError
from freelm.judge.combine import option_probabilities
from freelm.judge.engine import Judgement
from freelm.judge.questions import (
    Choice,
    Predicate,
    Scale,
    choice,
    parse_question,
    parse_questions,
    predicate,
    scale,
)

MARGINS = np.array([-1.0, 2.0, 1.5])
JUDGED = Judgement(MARGINS, truncated=True, windows=3)
OWN = 1 / (1 + np.exp(-MARGINS))
LABELS = ("a", "b", "c")


def test_answers_pass_on_what_is_known_of_the_text():
    answers = [
        predicate("x").answer(Judgement(MARGINS[:1], True, 3)),
        choice(LABELS).answer(JUDGED),
        scale("How?", LABELS).answer(JUDGED),
    ]
    assert [(a.truncated, a.windows) for a in answers] == [(True, 3)] * 3


def test_a_choice_without_threshold_is_the_likeliest_label():
    answer = choice(LABELS).answer(JUDGED)
    assert (answer.label, answer.labels) == ("b", ("b",))
    assert list(answer.probabilities.values()) == pytest.approx(option_probabilities(MARGINS))
    assert answer.probability == answer.probabilities["b"]


def test_a_label_below_its_own_threshold_gives_way_to_the_next_that_fits():
    answer = choice(LABELS, threshold={"b": 0.99, "c": 0.5}).answer(JUDGED)
    assert (answer.label, answer.labels) == ("c", ("c",))
    assert answer.probability == answer.probabilities["c"]


def test_no_label_fits():
    answer = choice(LABELS, threshold=0.95).answer(JUDGED)
    assert (answer.label, answer.labels) == (None, ())
    assert answer.probability == max(answer.probabilities.values())


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (None, ("b", "c")),
        (0.85, ("b",)),
        (0.1, ("a", "b", "c")),
        ({"a": 0.2, "b": 0.9}, ("a", "c")),
        (0.99, ()),
    ],
)
def test_labels_that_do_not_exclude_one_another_fit_by_their_own_verdicts(threshold, expected):
    answer = choice(LABELS, multi=True, threshold=threshold).answer(JUDGED)
    assert answer.labels == expected
    assert list(answer.probabilities.values()) == pytest.approx(OWN)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (1.5, "threshold must be between 0 and 1, not 1.5"),
        (True, "threshold must be between 0 and 1"),
        ("0.5", "threshold must be between 0 and 1"),
        ({"d": 0.5}, "threshold is given for 'd', which is none of the labels"),
        ({"a": -1}, "threshold of 'a' must be between 0 and 1, not -1"),
    ],
)
def test_a_wrong_threshold_is_named(threshold, message):
    with pytest.raises(InputError, match=message):
        choice(LABELS, threshold=threshold)


def test_plain_values_become_the_questions_they_describe():
    assert parse_question({"claim": "It rains."}) == Predicate(("It rains.",))
    assert parse_question(
        {"labels": {"x": "one", "y": "two"}, "template": "It is {}.", "multi": True}
    ) == Choice(("x", "y"), ("It is one.", "It is two."), True, (0.5, 0.5))
    assert parse_question({"question": "How much?", "levels": ["no", "yes!"]}) == Scale(
        ("no", "yes!"), ("How much? no.", "How much? yes!")
    )


@pytest.mark.parametrize(
    ("given", "message"),
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
def test_wrong_questions_are_named(given, message):
    with pytest.raises(InputError, match=message):
        parse_questions(given)
