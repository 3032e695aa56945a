import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.data.packing import build_tree
from freelm.inference.engine import Request
from freelm.serve.measure import Measure, Size, split_claims
from freelm.serve.problems import Problem


def measure(model, most=64):
    network = model.model.network
    return Measure(network.form, network.max_positions, most)


def test_a_size_is_that_of_the_tokens_that_are_judged(model):
    form = model.model.network.form
    request = Request(("The film is good.", "Is it?"), ("It is.", "The dog sleeps."))
    size = measure(model)(request, False)
    tree = build_tree(form.context(request.context).ids, [form.claim(c) for c in request.claims])
    assert size.context == len(form.context(request.context).ids)
    assert size.claims == tuple(len(form.claim(claim)) for claim in request.claims)
    assert size.tokens >= len(tree)


def test_a_text_is_cut_only_on_request_and_exactly_as_the_judge_cuts(model):
    request = Request(("word " * 300,), ("It is long.",))
    with pytest.raises(Problem, match="max_context_tokens 64") as refused:
        measure(model)(request, False)
    assert refused.value.code == "context_too_long"
    assert measure(model)(request, True).context == 64


def test_a_text_of_exactly_the_limit_is_not_cut(model):
    form = model.model.network.form
    request = Request(("The film is good and the dog sleeps.",), ("It is.",))
    exact = len(form.context(request.context).ids)
    assert measure(model, exact)(request, False).context == exact
    with pytest.raises(Problem, match="shorten it"):
        measure(model, exact - 1)(request, False)


def test_a_claim_that_fills_the_window_is_refused(model):
    claim = "word " * model.model.network.max_positions
    with pytest.raises(Problem, match="leaves no room") as refused:
        measure(model)(Request(("a",), (claim,)), True)
    assert refused.value.code == "claim_too_long"


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(0, 40), st.integers(1, 99)
)
def test_claims_are_split_in_order_and_within_the_budget(sizes, context, budget):
    request = Request(("text",), tuple(f"claim {i}" for i in range(len(sizes))))
    parts = split_claims(request, Size(context, tuple(sizes)), budget)
    assert [claim for part, _ in parts for claim in part.claims] == list(request.claims)
    assert all(part.context == request.context for part, _ in parts)
    lengths = dict(zip(request.claims, sizes, strict=True))
    for part, tokens in parts:
        assert tokens == context + sum(lengths[claim] for claim in part.claims)
        assert tokens <= budget or len(part.claims) == 1
