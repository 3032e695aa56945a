"""What the sender of a wrong body is told: the place in the body, plain words, and a code."""

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from freelm.serve.app import make_app
from tiny_serve import OracleBackend, client

pytestmark = pytest.mark.anyio

SAY = {"type": "predicate", "instructions": "It rains."}
CHOICE = {"type": "choice", "instructions": "Which?"}


@pytest.fixture
def anyio_backend():
    return "asyncio"


def decision(**change):
    return "/v1/decisions", {"model": "tiny", "input": "x", "questions": [SAY], **change}


def questions(*given):
    return decision(questions=list(given))


def system_one(question):
    return "/v1/systemone", {"model": "tiny", "state": "x", "questions": {"choice": question}}


def prompt(given):
    return "/v1/completions", {"model": "tiny", "prompt": given}


EMPTY = [
    (
        questions(SAY, {**CHOICE, "instructions": "", "choices": [{"value": "a"}, {"value": "b"}]}),
        "invalid_value",
        "questions.1.instructions",
        "is empty",
    ),
    *(
        (
            system_one({"type": kind, "instructions": " ", "criteria": criteria}),
            "invalid_value",
            "questions.choice.instructions",
            "is empty",
        )
        for kind, criteria in [
            ("choice", {"a": None}),
            ("score", ["a", "b"]),
            ("noul", {"true": "a"}),
        ]
    ),
]


@pytest.mark.parametrize(
    ("asked", "code", "param", "words"),
    [
        (decision(inputs="y"), "unknown_key", "inputs", "inputs is an unknown key"),
        (questions({"type": "predicate"}), "missing_field", "questions.0.instructions", "missing"),
        (questions(), "too_few_items", "questions", "needs at least 1, and none is given"),
        (questions({}), "missing_field", "questions.0.type", "is missing"),
        (
            questions({**SAY, "type": "predicat"}),
            "invalid_value",
            "questions.0.type",
            "must be one of 'predicate', 'choice', 'score'",
        ),
        (questions(CHOICE), "missing_field", "questions.0.choices", "is missing"),
        (
            questions(SAY, {**CHOICE, "choices": [{"value": "a"}]}),
            "too_few_items",
            "questions.1.choices",
            "needs at least 2, and 1 is given",
        ),
        (questions({**CHOICE, "choices": "ab"}), "invalid_type", "questions.0.choices", "a list"),
        (
            questions({**CHOICE, "choices": [{"value": "a"}, {"value": 1}]}),
            "invalid_type",
            "questions.0.choices.1.value",
            "must be a string or true or false",
        ),
        (decision(input=3), "invalid_type", "input", "must be a string or a list"),
        (decision(freelm={"truncate": "yes"}), "invalid_type", "freelm.truncate", "true or false"),
        (
            system_one({"type": "choice", "criteria": {}}),
            "too_few_items",
            "questions.choice.criteria",
            "needs at least 1, and none is given",
        ),
        *EMPTY,
        (("/rerank", {"query": "q", "documents": []}), "too_few_items", "documents", "at least 1"),
        (
            ("/rerank", {"query": "q", "documents": ["a", 1]}),
            "invalid_type",
            "documents.1",
            "documents.1 must be a string",
        ),
        (("/score", {"text_1": "a"}), "invalid_value", None, "give one pair of text_1 and text_2"),
        (prompt([1, 2]), "invalid_value", "prompt", "token ids are not supported, send text"),
        (prompt([[1, 2]]), "invalid_value", "prompt", "token ids are not supported, send text"),
        (prompt([]), "too_few_items", "prompt", "needs at least 1, and none is given"),
        (("/v1/decisions", "text"), "invalid_type", None, "the body must be an object"),
    ],
)
async def test_a_fault_has_its_place_its_words_and_its_code(
    engine, settings, asked, code, param, words
):
    path, body = asked
    async with client(make_app(engine(OracleBackend()), settings())) as http:
        answer = await http.post(path, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert words in error["message"]
    for internal in ("Input", "valid string", "list[", "validation"):
        assert internal not in error["message"]
