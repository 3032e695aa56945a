"""Tokenization of requests: once, within the limits, and the same text for all claims."""

import asyncio

import pytest

from freelm.generate import GenerationRequest
from freelm.judge.questions import PredicateQuestion
from freelm.judge.requests import Judgement
from freelm.serve.backend import ModelBackend
from freelm.serve.batching import Engine
from freelm.serve.http.errors import ApiError
from freelm.serve.http.limits import Limits
from freelm.serve.protocols.base import TextQuestions
from freelm.serve.service import _prepare_text, prepare_texts
from tiny_serve import OracleBackend


def about(context, *claims):
    parts = (context,) if isinstance(context, str) else context
    questions = [PredicateQuestion(claim, (claim,)) for claim in claims]
    return TextQuestions(parts, questions, "input")


def prepare(backend, *texts, truncate=False, **limits):
    return prepare_texts(backend, texts, truncate, Limits(**limits))


@pytest.fixture
def backend(model):
    return ModelBackend(model)


def test_token_ids_are_those_of_the_models_own_form(backend, model):
    form = model.model.network.form
    parts, claims = ("The film is good.", "Is it?"), ("It is.", "The dog sleeps.")
    [prepared] = prepare(backend, about(parts, *claims))
    assert [context.ids for context in prepared.contexts] == [form.context(parts).ids]
    assert prepared.claim_ids == tuple(map(form.claim, claims))


def test_a_claim_of_several_questions_is_judged_once():
    [prepared] = prepare(OracleBackend(), about("a text", "one.", "two.", "one."))
    assert prepared.claims == ("one.", "two.")


def test_all_parts_of_a_request_rest_on_the_same_cut_text(backend, model):
    """The room of a text does not depend on which of its claims share a batch."""
    window = model.model.network.max_positions
    long = "word " * (window // 16)
    claims = ["It is short.", *(f"It is {i}." for i in range(100)), f"It is {long}."]
    [prepared] = prepare(
        backend, about("word " * 2 * window, *claims), truncate=True,
        max_claim_tokens=10_000, max_context_tokens=window,
    )  # fmt: skip
    judged = []

    class Watched(ModelBackend):
        def judge_prepared(self, requests):
            judged.extend(requests)
            return super().judge_prepared(requests)

    engine = Engine(Watched(model), Limits(batch_tokens=64))
    engine.start()
    try:
        [found] = asyncio.run(engine.judge([prepared]))
    finally:
        engine.close()
    assert len(judged) > 1
    assert {part.contexts for part in judged} == {prepared.contexts}
    alone: list[Judgement] = model.engine.judge_prepared([prepared])
    assert found.margins == pytest.approx(alone[0].margins, abs=1e-4)


def test_a_text_is_cut_only_on_request(backend, model):
    text = about("word " * 3 * model.engine.max_context_tokens, "It is long.")
    with pytest.raises(ApiError, match='"truncate": true') as refused:
        prepare(backend, text)
    assert (refused.value.code, refused.value.param) == ("context_too_long", "input")
    [prepared] = prepare(backend, text, truncate=True)
    assert prepared.truncated


def test_a_claim_that_fills_the_window_is_refused(backend, model):
    claim = "word " * model.model.network.max_positions
    with pytest.raises(ApiError, match="leaves no room") as refused:
        prepare(backend, about("a", claim), max_claim_tokens=10**6, max_request_tokens=10**6)
    assert refused.value.code == "claim_too_long"


def test_a_claim_of_more_tokens_than_its_limit_is_refused_by_its_name():
    text = about("a text", "Rain.", "one two three four")
    [prepared] = prepare(OracleBackend(), text, max_claim_tokens=4)
    assert len(prepared.claim_ids[1]) == 4
    with pytest.raises(ApiError, match=r"more than 3 tokens.*max_claim_tokens") as refused:
        prepare(OracleBackend(), text, max_claim_tokens=3)
    assert (refused.value.status, refused.value.code) == (400, "limit_exceeded")


def test_a_request_of_more_tokens_than_its_limit_is_refused_by_its_name():
    backend = OracleBackend()
    texts = [about(f"text {i}", "a claim") for i in range(10)]
    assert len(prepare(backend, *texts, max_request_tokens=40)) == 10
    backend.prepared.clear()
    with pytest.raises(ApiError, match=r"more than 12 tokens.*max_request_tokens") as refused:
        prepare(backend, *texts, max_request_tokens=12)
    assert (refused.value.status, refused.value.code) == (400, "limit_exceeded")
    assert len(backend.prepared) == 4  # the others are not even tokenized


@pytest.mark.parametrize(
    ("context", "claims", "refused"),
    [
        (("x" * 512,), ("y" * 64, "z" * 64), False),
        (("x" * 512,), ("y" * 64, "z" * 64, "w"), True),
        (("x" * 10**6,), ("y" * 64,), False),  # of which at most 512 characters are read
        (("x" * 10**6, "z" * 10**6), ("y" * 64, "z" * 64, "w"), True),
        (("a",), ("y" * 129,), True),
    ],
)
def test_what_is_far_too_long_is_refused_before_it_is_tokenized(context, claims, refused):
    backend = OracleBackend()
    # Room for two claims of one token besides the text.
    limits = {"max_context_tokens": 8, "max_request_tokens": 10, "max_claim_tokens": 2}
    if refused:
        with pytest.raises(ApiError, match="tokens, the limit max_"):
            prepare(backend, about(context, *claims), **limits)
    else:
        prepare(backend, about(context, *claims), **limits)
    assert (backend.prepared == []) == refused


def test_a_prompt_is_refused_by_its_tokens(backend, model):
    prompt = "The film is"
    exact = len(model.model.network.tokenizer.encode(prompt, add_special_tokens=False))
    text = _prepare_text(backend, GenerationRequest(prompt), Limits(max_prompt_tokens=exact))
    assert text.generator.num_prompt_tokens == [exact]
    with pytest.raises(ApiError, match=f"{exact - 1} tokens.*max_prompt_tokens") as refused:
        _prepare_text(backend, GenerationRequest(prompt), Limits(max_prompt_tokens=exact - 1))
    assert (refused.value.code, refused.value.param) == ("limit_exceeded", "prompt")
    long = GenerationRequest("word " * model.model.network.max_positions)
    with pytest.raises(ApiError, match="window") as refused:
        _prepare_text(backend, long, Limits(max_prompt_tokens=10**6))
    assert refused.value.code == "prompt_too_long"
