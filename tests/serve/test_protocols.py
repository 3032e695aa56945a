"""Bodies of very many faults: the first ones are said, the others never looked at."""

import pytest
from pydantic import ValidationError

from freelm.serve.protocols.completions import CompletionRequest
from freelm.serve.protocols.openai_decisions import DecisionRequest
from freelm.serve.protocols.systemone import SystemOneRequest
from freelm.serve.protocols.vllm import ClassifyRequest, RerankRequest, ScoreRequest

MANY = 20_000
ONES = [1] * MANY
NAMED = {f"k{i}": 1 for i in range(MANY)}
SAY = {"type": "predicate", "instructions": "It rains."}


def decision(**change):
    return DecisionRequest, {"model": "m", "input": "x", "questions": [SAY], **change}


def system_one(**change):
    noul = {"type": "noul", "instructions": "It rains."}
    return SystemOneRequest, {"model": "m", "state": "x", "questions": {"a": noul}, **change}


def completion(**change):
    return CompletionRequest, {"model": "m", "prompt": "x", **change}


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        decision(input=ONES),
        decision(input=[{"role": "user", "content": ONES}] * 10),
        decision(input=[{"role": "user", "content": [{"type": "input_json", "data": ONES}]}]),
        decision(input=[{"role": "user", "content": [{"type": "input_text"}] * MANY}]),
        decision(input=[{"type": "function_call_output", "call_id": "1", "output": ONES}]),
        decision(input=[NAMED]),
        decision(questions=ONES),
        decision(questions=[{"type": "choice"}] * MANY),
        decision(questions=[{**SAY, "instructions": ONES}] * 10),
        decision(questions=[{"type": "choice", "instructions": "?", "choices": ONES}] * 10),
        decision(questions=[{"type": "score", "instructions": "?", "levels": ONES}] * 10),
        decision(**NAMED),
        decision(freelm=NAMED),
        system_one(questions=NAMED),
        system_one(questions={"a": {"type": "choice", "criteria": NAMED}}),
        system_one(questions={"a": {"type": "score", "criteria": ONES}}),
        system_one(questions={"a": {"type": "noul", **NAMED}}),
        system_one(**NAMED),
        completion(prompt=ONES),
        completion(stop=ONES),
        completion(logit_bias=dict.fromkeys(NAMED, "x")),
        completion(**NAMED),
        (RerankRequest, {"query": "q", "documents": ONES}),
        (ScoreRequest, {"text_1": ONES, "text_2": ONES, "queries": ONES, "items": ONES}),
        (ClassifyRequest, {"input": ONES, "labels": ONES}),
    ],
)
def test_thousands_of_faults_come_to_a_few(schema, body):
    with pytest.raises(ValidationError) as refused:
        schema.model_validate(body)
    assert 1 <= refused.value.error_count() <= 40


def test_a_few_unknown_keys_are_each_named():
    schema, body = decision(inptu="x", modle="y")
    with pytest.raises(ValidationError) as refused:
        schema.model_validate(body)
    assert {fault["loc"] for fault in refused.value.errors()} == {("inptu",), ("modle",)}


def test_very_many_unknown_keys_are_one_fault():
    schema, body = decision(**NAMED)
    with pytest.raises(ValidationError, match="20003 keys are given; 7 are known"):
        schema.model_validate(body)
