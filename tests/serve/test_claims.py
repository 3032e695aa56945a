import pytest

from freelm.api import FreeLM
from freelm.serve.claims import (
    Option,
    as_text,
    checked_instructions,
    option_claims,
    predicate_claim,
)
from freelm.serve.http.errors import ApiError
from freelm.serve.http.limits import Limits


@pytest.mark.parametrize(
    ("instructions", "claim"),
    [
        ("The film is good.", "The film is good."),
        (" It rains \n", "It rains"),
        ("Is it spam?", "Is it spam? Yes."),
    ],
)
def test_a_statement_is_its_claim_and_a_question_is_answered_yes(instructions, claim):
    assert predicate_claim(instructions, "x") == claim


def test_options_answer_their_question():
    options = [Option("calm"), Option("angry", "An upset message."), Option("x", "Eager")]
    assert option_claims("What is the tone?", options, "x") == [
        "What is the tone? calm.",
        "What is the tone? An upset message.",
        "What is the tone? Eager.",
    ]


def test_options_without_a_question():
    options = [Option("sport"), Option("x", "It is about money")]
    assert option_claims(None, options, "x") == [
        "Here, the text is about sport.",
        "It is about money.",
    ]


def test_braces_of_a_template_have_no_meaning_in_options():
    assert option_claims(None, [Option("{}"), Option("{0.__class__}")], "x") == [
        "Here, the text is about {}.",
        "Here, the text is about {0.__class__}.",
    ]


@pytest.mark.parametrize(
    "options",
    [
        [Option("a"), Option(" a ")],
        [Option("a"), Option("b", "a")],
        [Option("a", "same."), Option("b", "same")],
    ],
)
def test_options_that_say_the_same_are_refused(options):
    with pytest.raises(ApiError, match="options 0 and 1 say the same") as refused:
        option_claims("Which?", options, "questions.3.choices")
    assert refused.value.param == "questions.3.choices.1"


@pytest.mark.parametrize("options", [[Option("")], [Option("a", " \n")]])
def test_empty_words_are_refused(options):
    with pytest.raises(ApiError, match="is empty"):
        option_claims("Which?", options, "x")


@pytest.mark.parametrize(("words", "message"), [("x" * 129, "max_claim_tokens"), (" ", "is empty")])
def test_instructions_that_no_claim_could_hold_are_refused_by_their_place(words, message):
    place = "questions.3.instructions"
    with pytest.raises(ApiError, match=message) as refused:
        checked_instructions(words, Limits(max_claim_tokens=2), place)
    assert refused.value.param == place


def test_levels_are_asked_as_freelm_asks_them(model: FreeLM):
    from freelm.judge.probabilities import option_probabilities
    from freelm.judge.requests import Request

    claims = option_claims("How good is it?", [Option("bad"), Option("good")], "x")
    judged = model.judge_requests([Request(("The film is fine.",), tuple(claims))])[0]
    scored = model.score("The film is fine.", "How good is it?", ["bad", "good"])
    assert list(scored.probabilities.values()) == pytest.approx(
        option_probabilities(judged.margins).tolist()
    )


def test_json_is_read_as_its_text():
    assert as_text({"a": ["é", None]}) == '{"a": ["é", null]}'
    assert as_text("{}") == "{}"


def test_defaults_let_the_interfaces_own_maxima_through():
    limits = Limits()
    assert limits.max_questions >= 400
    assert limits.max_options >= 255
