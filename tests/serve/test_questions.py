import pytest

from freelm.api import FreeLM
from freelm.judge.requests import Request
from freelm.serve import questions
from freelm.serve.http.errors import ApiError
from freelm.serve.http.limits import Limits
from freelm.serve.questions import Option, Options, Predicate, as_text, build_questions


def claims(*asked, **limits):
    return [question.claims for question in build_questions(asked, Limits(**limits))]


def choice(instructions, *options):
    return Options("choice", instructions, options, "questions.3.choices", "questions.3.asked")


@pytest.mark.parametrize(
    ("instructions", "claim"),
    [
        ("The film is good.", "The film is good."),
        (" It rains \n", "It rains"),
        ("Is it spam?", "Is it spam? Yes."),
    ],
)
def test_a_statement_is_its_claim_and_a_question_is_answered_yes(instructions, claim):
    assert claims(Predicate(instructions, "x")) == [(claim,)]


def test_options_answer_their_question():
    options = [Option("calm"), Option("angry", "An upset message."), Option("x", "Eager")]
    assert claims(choice("What is the tone?", *options)) == [
        (
            "What is the tone? calm.",
            "What is the tone? An upset message.",
            "What is the tone? Eager.",
        )
    ]


def test_options_without_a_question():
    options = [Option("sport"), Option("x", "It is about money."), Option("y", "money")]
    assert claims(choice(None, *options)) == [
        ("Here, the text is about sport.", "It is about money.", "Here, the text is about money.")
    ]


def test_braces_in_options_have_no_meaning():
    assert claims(choice(None, Option("{}"), Option("{0.__class__}"))) == [
        ("Here, the text is about {}.", "Here, the text is about {0.__class__}.")
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
    with pytest.raises(ApiError, match="options 0 and 1 are the same") as refused:
        claims(choice("Which?", *options))
    assert refused.value.param == "questions.3.choices.1"


@pytest.mark.parametrize("options", [[Option("")], [Option("a", " \n")]])
def test_empty_options_are_refused(options):
    with pytest.raises(ApiError, match="is empty"):
        claims(choice("Which?", *options))


@pytest.mark.parametrize(
    ("instructions", "message"), [("x" * 129, "max_claim_tokens"), (" ", "is empty")]
)
def test_instructions_that_fit_no_claim_are_refused_by_their_place(instructions, message):
    with pytest.raises(ApiError, match=message) as refused:
        claims(choice(instructions, Option("a")), max_claim_tokens=2)
    assert refused.value.param == "questions.3.asked"


@pytest.mark.parametrize(
    ("limits", "name"),
    [({"max_claims": 1_999}, "max_claims"), ({"max_request_tokens": 1_000}, "max_request_tokens")],
)
def test_claims_are_counted_before_the_first_is_written(monkeypatch, limits, name):
    def build(_):
        raise AssertionError("a claim was written before the claims were counted")

    monkeypatch.setattr(questions, "_build", build)
    options = [Option(f"{i}") for i in range(200)]
    with pytest.raises(ApiError, match=name):
        claims(*[choice("x" * 1_000, *options)] * 10, **limits)


def test_levels_are_asked_as_freelm_asks_them(model: FreeLM):
    asked = Options("score", "How good is it?", [Option("bad"), Option("good")], "x", "y")
    (question,) = build_questions([asked], Limits())
    judgement = model.judge_requests([Request(("The film is fine.",), question.claims)])[0]
    answer = question.answer(judgement)
    scored = model.score("The film is fine.", "How good is it?", ["bad", "good"])
    assert list(answer.probabilities.values()) == list(scored.probabilities.values())
    assert answer.value == scored.value


def test_json_is_read_as_its_text():
    assert as_text({"a": ["é", None]}) == '{"a": ["é", null]}'
    assert as_text("{}") == "{}"


def test_the_default_limits_allow_the_maxima_of_the_dialects():
    limits = Limits()
    assert limits.max_questions >= 400
    assert limits.max_options >= 255
