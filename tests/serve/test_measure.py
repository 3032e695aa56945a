from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.data.packing import build_tree
from freelm.judge.requests import Request
from freelm.serve.http.errors import ApiError
from freelm.serve.http.limits import Limits
from freelm.serve.measure import Measure, Size, refuse_endless, split_claims


def measure(model, most=64, **limits):
    network = model.model.network
    limits = Limits(max_context_tokens=most, **limits)
    return Measure(network.form, network.max_positions, limits)


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
    with pytest.raises(ApiError, match="max_context_tokens 64") as refused:
        measure(model)(request, False)
    assert refused.value.code == "context_too_long"
    assert measure(model)(request, True).context == 64


def test_a_text_of_exactly_the_limit_is_not_cut(model):
    form = model.model.network.form
    request = Request(("The film is good and the dog sleeps in the sun.",), ("It is.",))
    exact = len(form.context(request.context).ids)
    assert measure(model, exact)(request, False).context == exact
    with pytest.raises(ApiError, match="shorten it"):
        measure(model, exact - 1)(request, False)


def test_a_claim_that_fills_the_window_is_refused(model):
    claim = "word " * model.model.network.max_positions
    with pytest.raises(ApiError, match="leaves no room") as refused:
        measure(model, max_claim_tokens=10**6)(Request(("a",), (claim,)), True)
    assert refused.value.code == "claim_too_long"


def test_a_claim_of_more_tokens_than_its_limit_is_refused_by_its_name(model):
    claim = "The dog sleeps in the sun."
    exact = len(model.model.network.form.claim(claim))
    request = Request(("a text",), ("Rain.", claim))
    assert measure(model, max_claim_tokens=exact)(request, False).claims[1] == exact
    with pytest.raises(
        ApiError, match=f"more than {exact - 1} tokens.*max_claim_tokens"
    ) as refused:
        measure(model, max_claim_tokens=exact - 1)(request, True)
    assert (refused.value.status, refused.value.code) == (400, "limit_exceeded")


def test_what_is_far_too_long_is_refused_before_its_tokens_are_looked_at():
    limits = Limits(max_claim_tokens=2, max_context_tokens=8)
    blind = Measure(None, 100, limits)
    with pytest.raises(ApiError, match="max_claim_tokens"):
        blind(Request(("a",), ("x" * 129,)), True)
    only_claims = Measure(SimpleNamespace(claim=lambda _: (1, 2)), 100, limits)
    with pytest.raises(ApiError, match="max_context_tokens 8"):
        only_claims(Request(("a", "x" * 513), ("y",)), False)


@pytest.mark.parametrize("truncate", [False, True])
def test_what_is_read_is_said_in_the_models_own_form(model, truncate):
    network = model.model.network
    text = "The dog sleeps. " * (100 if truncate else 1)
    request = Request((text, "Where?"), ("In the sun.", "A literal [cls]."))
    plain, shown = (measure(model)(request, truncate, shown) for shown in (False, True))
    assert (plain.read, plain.written) == ("", ())
    assert (shown.context, shown.claims) == (plain.context, plain.claims)
    ids = network.form.context(request.context, 64).ids
    assert shown.read == network.tokenizer.decode(list(ids))
    assert shown.read.startswith("The dog sleeps.")
    assert shown.read.endswith(" Where?[sep]")
    assert (len(shown.read) < len(text)) == truncate
    assert shown.written == (" In the sun.[cls]", " A literal [cls].[cls]")


@pytest.mark.parametrize(
    ("context", "claims", "refused"),
    [
        (("x" * 512,), ("y" * 64,) * 2, False),
        (("x" * 512,), ("y" * 64,) * 3, True),
        (("x" * 10**6,), ("y" * 64,), False),  # of which 512 characters may be read
        (("x" * 10**6, "z" * 10**6), ("y" * 64,) * 3, True),
    ],
)
def test_requests_are_refused_by_their_characters_alone(context, claims, refused):
    # Room for two claims beside the text.
    limits = Limits(max_context_tokens=8, max_request_tokens=10)
    requests = [Request(context, claims)]
    if not refused:
        refuse_endless(requests, limits)
        return
    with pytest.raises(ApiError, match="more than 10 tokens, the limit max_request_tokens"):
        refuse_endless(requests, limits)


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
