"""`/rerank`, `/score` and `/classify` over an engine whose verdicts are known."""

import math

import pytest
from pydantic import ValidationError

from freelm.serve.http.errors import ApiError
from freelm.serve.protocols.vllm import ClassifyRequest, RerankRequest, ScoreRequest
from tiny_serve import margin_of, shares

pytestmark = pytest.mark.anyio

RELEVANT = "The text answers the question."


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_rerank_orders_by_probability(service):
    documents = [f"document {i}" for i in range(6)]
    asked = RerankRequest(query="what?", documents=documents, top_n=4)
    answer = await service().post("/rerank", asked)
    margins = [margin_of(["what?", document], RELEVANT) for document in documents]
    best = sorted(range(6), key=lambda i: -margins[i])[:4]
    assert [result.index for result in answer.results] == best
    assert [result.document.text for result in answer.results] == [documents[i] for i in best]
    assert answer.results[0].relevance_score == pytest.approx(1 / (1 + math.exp(-margins[best[0]])))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 6 * (1 + 2 + 5)


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        ({"text_1": "q", "text_2": "d"}, [("q", "d")]),
        ({"text_1": "q", "text_2": ["d", "e"]}, [("q", "d"), ("q", "e")]),
        ({"text_1": ["q", "r"], "text_2": ["d", "e"]}, [("q", "d"), ("r", "e")]),
        ({"queries": "q", "documents": ["d", "d"]}, [("q", "d"), ("q", "d")]),
        ({"queries": ["q", "r"], "items": ["d", "e"]}, [("q", "d"), ("r", "e")]),
        ({"data_1": "q", "data_2": ["d", "e"]}, [("q", "d"), ("q", "e")]),
    ],
)
async def test_score_pairs_texts(service, body, pairs):
    answer = await service().post("/score", ScoreRequest.model_validate(body))
    expected = [1 / (1 + math.exp(-margin_of(pair, RELEVANT))) for pair in pairs]
    assert [item.score for item in answer.data] == pytest.approx(expected)
    assert [item.index for item in answer.data] == list(range(len(pairs)))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text_1": "q"},
        {"text_1": "q", "documents": "d"},
        {"text_1": "q", "data_2": "d"},
        {"text_1": "q", "text_2": "d", "queries": "q", "documents": "d"},
        {"queries": "q", "documents": "d", "items": "d"},
        {"text_1": "q", "text_2": []},
    ],
)
def test_other_pairs_are_refused(body):
    with pytest.raises(ValidationError):
        ScoreRequest.model_validate(body)


async def test_lists_that_do_not_match_are_refused(service):
    asked = ScoreRequest(text_1=["a", "b"], text_2=["c", "d", "e"])
    with pytest.raises(ApiError, match="2 texts cannot be paired with 3"):
        await service().post("/score", asked)


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"truncate_prompt_tokens": 5}, "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
        ({"use_activation": False}, "use_activation"),
    ],
)
async def test_what_would_change_the_answer_and_cannot_be_had_is_refused(service, wish, param):
    one = service()
    for path, asked in (
        ("/score", ScoreRequest(text_1="q", text_2="d", **wish)),
        ("/rerank", RerankRequest(query="q", documents=["d"], **wish)),
        ("/classify", ClassifyRequest(input="a", labels=["x", "y"], **wish)),
    ):
        with pytest.raises(ApiError) as refused:
            await one.post(path, asked)
        problem = refused.value
        assert (problem.status, problem.code) == (400, "unsupported_parameter")
        assert problem.param == param


async def test_wishes_that_change_nothing_are_let_in(service):
    asked = ScoreRequest(text_1="q", text_2="d", truncate_prompt_tokens=-1, use_activation=True)
    assert (await service().post("/score", asked)).data[0].index == 0


async def test_one_document_may_come_without_a_list(service):
    alone = await service().post("/rerank", RerankRequest(query="q", documents="d"))
    listed = await service().post("/rerank", RerankRequest(query="q", documents=["d"]))
    assert alone.results == listed.results


async def test_classify(service):
    asked = ClassifyRequest(input=["one", "two"], labels=["rain", "sun"], template="There is {}.")
    answer = await service().post("/classify", asked)
    for item, text in zip(answer.data, ["one", "two"], strict=True):
        expected = shares(text, "There is rain.", "There is sun.")
        assert item.probs == pytest.approx(expected)
        assert item.label == ["rain", "sun"][expected.index(max(expected))]
        assert item.num_classes == 2


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"template": "none"}, "template"),
        ({"template": "{} {}"}, "template"),
        ({"template": "{0.__class__}"}, "template"),
        ({"template": "{} " + "x" * 20_000}, "template"),
        ({"labels": None}, "labels"),
        ({"labels": ["a", "a"]}, "labels"),
        ({"labels": [str(i) for i in range(9)]}, "labels"),
        ({"input": ["a", ""]}, "input.1"),
        ({"input": ["a"] * 9}, "input"),
        ({"input": ["a"] * 8, "labels": list("abcdefgh")}, "questions"),
    ],
)
async def test_what_cannot_be_classified_is_refused(service, change, param):
    one = service(max_texts=8, max_options=8, max_claims=63)
    asked = ClassifyRequest.model_validate({"input": "a", "labels": ["x", "y"], **change})
    with pytest.raises(ApiError) as refused:
        await one.post("/classify", asked)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_unknown_keys_of_pooling_requests_are_ignored_as_vllm_does():
    RerankRequest.model_validate({"query": "q", "documents": ["d"], "priority": 0})
