import random
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from freelm.api import FreeLM
from freelm.data import tokens
from freelm.data.packing import build_tree
from freelm.errors import InputError
from freelm.judge import engine
from freelm.judge.engine import Judge
from freelm.judge.probabilities import option_probabilities
from freelm.judge.requests import (
    ClaimTooLongError,
    ContextTooLongError,
    Judgement,
    Request,
)
from freelm.model.calibration import ChoiceTemperature
from freelm.model.compute.precision import has_int8_units
from freelm.model.loading import load_model
from freelm.model.network import FreeLMNetwork

TEXTS = [
    "The film is a delight from the first scene to the last.",
    "A cat sleeps on the mat.",
    "In 2019 there were 42 houses in the village. Each had a door, and the dog is not there.",
]
CLAIMS = (
    "Here, the movie review is positive.",
    "Here, the movie review is negative.",
    "Here, the movie review is not there.",
    "The dog is there.",
    "Yes",
)


def alone(model, context, claim):
    """The margin of one proposition by a stock forward pass over it alone."""
    network = model.model.network
    form = network.form
    return tiny.plain_margin(network.causal, form, form.context(context).ids, form.claim(claim))


def margins(judge, requests):
    return [answer.margins for answer in judge.judge(requests)]


@pytest.fixture
def judge(model):
    return Judge(model.model)


def random_requests(seed, count=20):
    rng = random.Random(seed)
    words = " ".join(TEXTS).split()
    requests = []
    for _ in range(count):
        parts = tuple(
            " ".join(rng.choices(words, k=rng.randint(1, 40))) for _ in range(rng.randint(1, 3))
        )
        requests.append(Request(parts, tuple(rng.sample(CLAIMS, rng.randint(1, len(CLAIMS))))))
    return requests


@pytest.mark.parametrize("seed", range(3))
def test_equals_judging_each_proposition_alone(model, judge, seed):
    requests = random_requests(seed)
    for request, found in zip(requests, margins(judge, requests), strict=True):
        expected = [alone(model, request.context, claim) for claim in request.claims]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_verdicts_of_the_tiny_model_differ_enough_to_tell_them_apart(judge):
    found = np.concatenate(margins(judge, random_requests(0)))
    assert np.std(found) > 0.05


def test_answers_come_in_the_order_of_requests_of_very_different_lengths(model, judge):
    requests = random_requests(5, 12)
    shuffled = requests[::-1]
    for one, other in zip(margins(judge, requests), margins(judge, shuffled)[::-1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for request, found in zip(requests, margins(judge, requests), strict=True):
        assert found[0] == pytest.approx(alone(model, request.context, request.claims[0]), abs=1e-5)


def test_neighbours_in_a_batch_change_nothing(judge):
    requests = random_requests(1)
    together = margins(judge, requests)
    for request, found in zip(requests, together, strict=True):
        np.testing.assert_allclose(margins(judge, [request])[0], found, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 33, 64, 200, 100_000])
def test_the_token_budget_changes_nothing(model, judge, budget):
    requests = random_requests(2)
    small = Judge(model.model, max_tokens=budget)
    for one, other in zip(margins(judge, requests), margins(small, requests), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


MANY = tuple(f"The house number is {i}." for i in range(60))


@pytest.fixture
def passes(monkeypatch):
    """Tokens of each forward pass: (context read alone, claims behind it, whole trees)."""
    seen = {"prefix": [], "behind": [], "trees": []}
    own = FreeLMNetwork.margins, FreeLMNetwork.prefix

    def margins_of(network, batch, prefix=None):
        seen["trees" if prefix is None else "behind"].append(batch.num_tokens)
        return own[0](network, batch, prefix)

    def prefix_of(network, ids):
        seen["prefix"].append(ids.numel())
        return own[1](network, ids)

    monkeypatch.setattr(FreeLMNetwork, "margins", margins_of)
    monkeypatch.setattr(FreeLMNetwork, "prefix", prefix_of)
    return seen


def test_a_request_beyond_the_budget_reads_its_context_once_and_its_claims_in_groups(model, passes):
    request = Request((TEXTS[2],), MANY)
    found = margins(Judge(model.model, max_tokens=100), [request])[0]
    assert len(passes["prefix"]) == 1
    assert len(passes["behind"]) > 2
    assert max(passes["behind"]) <= 100
    assert not passes["trees"]
    expected = [alone(model, request.context, claim) for claim in MANY]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_claims_that_begin_alike_fill_a_group_with_what_they_do_not_share(model, passes):
    claims = tuple(f"It is not at all clear whether the answer is {n}." for n in range(40))
    lengths = [len(model.model.network.form.claim(claim)) for claim in claims]
    margins(Judge(model.model, max_tokens=100), [Request((TEXTS[2],), claims)])
    assert len(passes["behind"]) < sum(lengths) / 100
    assert max(passes["behind"]) <= 100
    assert min(passes["behind"][:-1]) > 50


def test_a_text_that_is_asked_about_twice_is_read_once(model, judge, passes):
    requests = [
        Request((TEXTS[0],), CLAIMS[:2]),
        Request((TEXTS[1],), CLAIMS[:1]),
        Request((TEXTS[0],), CLAIMS[1:3]),
    ]
    together = margins(judge, requests)
    form = model.model.network.form
    trees = [(TEXTS[0], CLAIMS[:3]), (TEXTS[1], CLAIMS[:1])]
    assert sum(passes["trees"]) == sum(
        len(build_tree(form.context((text,)).ids, [form.claim(c) for c in claims]))
        for text, claims in trees
    )
    for request, found in zip(requests, together, strict=True):
        expected = [alone(model, request.context, claim) for claim in request.claims]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_many_requests_are_planned_in_groups(model, judge, monkeypatch):
    requests = random_requests(3, 17)
    whole = margins(judge, requests)
    monkeypatch.setattr(engine, "MAX_GROUP_REQUESTS", 5)
    for one, other in zip(whole, margins(judge, requests), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# -- contexts that are kept ------------------------------------------------------------------------


def test_a_kept_context_is_not_read_again(model, passes):
    judge = Judge(model.model, prefix_cache_tokens=1000)
    for claim in CLAIMS:
        found = margins(judge, [Request((TEXTS[0],), (claim,))])[0]
        np.testing.assert_allclose(found, [alone(model, (TEXTS[0],), claim)], atol=1e-5)
    assert len(passes["prefix"]) == 1
    assert not passes["trees"]


def test_a_call_about_many_texts_keeps_none_but_uses_those_that_are_kept(model, passes):
    judge = Judge(model.model, prefix_cache_tokens=1000)
    judge.judge([Request((TEXTS[0],), CLAIMS[:1])])
    found = margins(judge, [Request((text,), CLAIMS) for text in TEXTS])
    assert len(passes["prefix"]) == 1
    assert len(passes["behind"]) == 2
    for text, values in zip(TEXTS, found, strict=True):
        expected = [alone(model, (text,), claim) for claim in CLAIMS]
        np.testing.assert_allclose(values, expected, atol=1e-5)


def test_nothing_is_kept_unless_asked_for(judge):
    judge.judge([Request((TEXTS[0],), MANY)])
    assert judge.prefix_cache.num_tokens == 0


# -- equal claims ----------------------------------------------------------------------------------


def test_equal_claims_get_equal_verdicts_and_one_place(judge):
    request = Request((TEXTS[0],), (CLAIMS[0], CLAIMS[1], CLAIMS[0]))
    found = margins(judge, [request])[0]
    assert len(found) == 3
    assert found[0] == found[2] != found[1]


def test_one_claim_that_begins_another_is_judged_by_itself(model, judge):
    claims = ("The dog", "The dog is there.", "The dog is")
    found = margins(judge, [Request((TEXTS[1],), claims)])[0]
    expected = [alone(model, (TEXTS[1],), claim) for claim in claims]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_requests_no_answers(judge):
    assert judge.judge([]) == []


# -- probabilities ---------------------------------------------------------------------------------


def test_margins_are_divided_by_the_temperature(model):
    request = [Request((TEXTS[0],), CLAIMS)]
    warm = replace(model.model, facts=replace(model.facts, temperature=2.5))
    np.testing.assert_allclose(
        margins(Judge(warm), request)[0] * 2.5, margins(Judge(model.model), request)[0], atol=1e-9
    )


def test_probability_is_the_sigmoid_of_the_margin_at_any_size():
    judged = Judgement(CLAIMS, np.array([0.0, 2.0, -2.0, 800.0, -800.0]))
    expected = [0.5, 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2)), 1.0, 0.0]
    np.testing.assert_allclose(judged.probabilities, expected, atol=1e-12)


# -- rough types of numbers ------------------------------------------------------------------------

TOLERANCES = {"bf16": 0.03, "int8": 0.01}
"""How far P(true) may move with the company that it is computed in; twice what was found.

A batch of another shape sums in another order. In bf16, whose numbers have 8 bits, every sum may
then come out 2**-8 of its size apart (found: 0.014). In int8 sums of products are exact and scales
are each token's own, so that only what fp32 leaves between two layers, 1e-7, can tip a number from
one rounding to the next, by 1/127 of its token's largest (found: 0.0044). With one scale for a
whole batch it was 0.07 to 0.14.
"""

USUAL = {"bf16": 0.002, "int8": 1e-5}
"""The same for half of all claims: in int8 hardly any number is ever tipped (found: 9e-5, 3e-8)."""


@pytest.fixture(params=list(TOLERANCES))
def rough(request, freelm_folder):
    """A type of numbers, and a judge that computes in it."""
    if request.param == "int8" and not has_int8_units(torch.device("cpu")):
        pytest.skip("this CPU has no int8 instructions")
    return request.param, Judge(FreeLM.from_pretrained(freelm_folder, dtype=request.param).model)


def check_near(dtype, found, expected):
    off = np.concatenate(
        [np.abs(a.probabilities - b.probabilities) for a, b in zip(found, expected, strict=True)]
    )
    assert off.max() <= TOLERANCES[dtype]
    assert np.median(off) <= USUAL[dtype]


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_change_no_more_than_the_tolerance_of_a_rough_type(rough, seed):
    dtype, judge = rough
    requests = random_requests(seed)
    alone = [judge.judge([request])[0] for request in requests]
    check_near(dtype, judge.judge(requests), alone)


@pytest.mark.parametrize("budget", [1, 33, 64, 200, 100_000])
def test_the_token_budget_changes_no_more_than_the_tolerance_of_a_rough_type(rough, budget):
    dtype, judge = rough
    requests = random_requests(2)
    small = Judge(judge.model, max_tokens=budget)
    check_near(dtype, small.judge(requests), judge.judge(requests))


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_texts_changes_no_more_than_the_tolerance_of_a_rough_type(
    rough, seed, monkeypatch
):
    dtype, judge = rough
    # Texts of a group are sorted: let the groups differ.
    monkeypatch.setattr(engine, "MAX_GROUP_REQUESTS", 6)
    requests = random_requests(seed)
    places = random.Random(seed).sample(range(len(requests)), len(requests))
    shuffled = dict(zip(places, judge.judge([requests[i] for i in places]), strict=True))
    check_near(dtype, [shuffled[i] for i in range(len(requests))], judge.judge(requests))


@pytest.mark.parametrize("budget", [100, 2048])
def test_the_order_of_options_changes_no_more_than_the_tolerance_of_a_rough_type(rough, budget):
    dtype, judge = rough
    requests = [replace(request, claims=CLAIMS + MANY[:20]) for request in random_requests(4)]
    turned = [replace(request, claims=request.claims[::-1]) for request in requests]
    small = Judge(judge.model, max_tokens=budget)
    found = [replace(one, margins=one.margins[::-1]) for one in small.judge(turned)]
    check_near(dtype, found, small.judge(requests))


def test_int8_is_near_fp32_and_not_the_same(freelm_folder, judge):
    if not has_int8_units(torch.device("cpu")):
        pytest.skip("this CPU has no int8 instructions")
    requests = random_requests(0)
    rough = FreeLM.from_pretrained(freelm_folder, dtype="int8").judge_requests(requests)
    off = [
        a.probabilities - b.probabilities for a, b in zip(rough, judge.judge(requests), strict=True)
    ]
    assert 0 < np.abs(np.concatenate(off)).max() < 0.1


def test_bf16_is_close_to_fp32(freelm_folder, judge):
    request = [Request((TEXTS[0],), CLAIMS)]
    rough = margins(Judge(load_model(str(freelm_folder), torch.bfloat16)), request)[0]
    exact = margins(judge, request)[0]
    assert not np.array_equal(rough, exact)
    np.testing.assert_allclose(rough, exact, atol=0.2)


# -- length ----------------------------------------------------------------------------------------


def spied_trees(monkeypatch):
    seen = []
    own = engine.judge_trees

    def spy(network, trees, *rest):
        seen.extend(trees)
        return own(network, trees, *rest)

    monkeypatch.setattr(engine, "judge_trees", spy)
    return seen


def test_a_long_context_is_cut_at_its_end_and_the_claim_stays_whole(model, monkeypatch):
    seen = spied_trees(monkeypatch)
    claim = CLAIMS[0]
    judged = Judge(model.model, max_context_tokens=40).judge(
        [Request((" ".join(TEXTS * 5),), (claim,)), Request((TEXTS[1],), (claim,))]
    )
    assert [answer.truncated for answer in judged] == [True, False]
    form = model.model.network.form
    ids = seen[0].ids
    assert ids[40:] == form.claim(claim)
    assert ids[39:40] == form.turn
    assert ids[:39] == form.context((" ".join(TEXTS * 5),)).ids[:39]


def test_a_short_question_beside_a_long_passage_stays_whole(model, monkeypatch):
    seen = spied_trees(monkeypatch)
    question = "Is the dog there?"
    Judge(model.model, max_context_tokens=60).judge(
        [Request((" ".join(TEXTS * 5), question), (CLAIMS[0],))]
    )
    form = model.model.network.form
    tail = (*form.joint, *form.claim(question)[: -len(form.end)], *form.turn)
    assert seen[0].ids[60 - len(tail) : 60] == tail


def test_context_and_claim_together_fill_the_window_and_no_more(model, monkeypatch):
    seen = spied_trees(monkeypatch)
    claim = "The dog is there. " * 20
    judged = Judge(model.model, max_context_tokens=10**6).judge(
        [Request(("word " * 5000,), (claim,))]
    )
    assert judged[0].truncated
    assert len(seen[0]) == max(seen[0].positions) + 1 == tiny.MAX_POSITIONS


def test_a_context_that_just_fits_is_not_called_truncated(model):
    form = model.model.network.form
    length = len(form.context((TEXTS[0],)).ids)
    request = [Request((TEXTS[0],), (CLAIMS[0],))]
    assert not Judge(model.model, max_context_tokens=length).judge(request)[0].truncated
    assert Judge(model.model, max_context_tokens=length - 1).judge(request)[0].truncated


def test_a_claim_longer_than_the_window_is_refused_by_its_length(judge):
    claim = "The dog is there. " * 400
    with pytest.raises(InputError, match=r"a claim of \d+ tokens leaves no room .* 512 tokens"):
        judge.judge([Request((TEXTS[0],), (CLAIMS[0], claim))])


@pytest.mark.parametrize("text", ["x" * 1_000_000, "word " * 200_000, "\n" * 1000 + "é" * 999_000])
def test_of_a_million_characters_only_those_that_can_fit_are_tokenized(judge, text, monkeypatch):
    seen = []
    own = tokens.encode_text
    monkeypatch.setattr(
        tokens,
        "encode_text",
        lambda tokenizer, text: seen.append(len(text)) or own(tokenizer, text),
    )
    judged = judge.judge([Request((text,), (CLAIMS[0],))])[0]
    assert sum(seen) < 70 * tiny.MAX_POSITIONS
    assert judged.truncated
    assert np.isfinite(judged.margins).all()


# -- texts that are too long -----------------------------------------------------------------------


def test_a_long_text_can_be_refused(model):
    judge = Judge(model.model, max_context_tokens=40)
    short, long = (Request((TEXTS[1] * n,), CLAIMS[:1], "error") for n in (1, 30))
    judge.judge([short])
    with pytest.raises(InputError, match="text 1 is longer than the 40 tokens available"):
        judge.judge([short, long])


def test_the_only_text_has_no_number(model):
    judge = Judge(model.model, max_context_tokens=40)
    with pytest.raises(InputError, match=r"^the text is longer than the 40 tokens"):
        judge.judge([Request((TEXTS[1] * 30,), CLAIMS[:1], "error")])


@pytest.mark.parametrize("bound", [1, 300])
def test_texts_of_many_windows_are_planned_apart(model, monkeypatch, bound):
    judge = Judge(model.model, max_context_tokens=40)
    requests = [Request((" ".join(TEXTS * n),), CLAIMS, "windows") for n in (1, 5, 2, 6, 1)]
    whole = judge.judge(requests)
    monkeypatch.setattr(engine, "MAX_GROUP_TOKENS", bound)
    planned = []
    own = Judge._margins
    monkeypatch.setattr(Judge, "_margins", lambda j, plan: planned.append(plan) or own(j, plan))
    apart = judge.judge(requests)
    assert len(planned) == (5 if bound == 1 else 3)
    for one, other in zip(whole, apart, strict=True):
        np.testing.assert_allclose(one.margins, other.margins, atol=1e-5)
        assert one.windows == other.windows


def test_windows_give_the_mean_of_what_each_window_says(model):
    form = model.model.network.form
    judge = Judge(model.model, max_context_tokens=40)
    request = Request((" ".join(TEXTS * 4),), CLAIMS, "windows")
    judged = judge.judge([request])[0]
    windows = form.windows(request.context, 40)
    assert judged.windows == len(windows) > 3
    assert not judged.truncated
    network = model.model.network
    single = [
        [tiny.plain_margin(network.causal, form, w.ids, form.claim(c)) for c in CLAIMS]
        for w in windows
    ]
    np.testing.assert_allclose(judged.margins, np.mean(single, axis=0), atol=1e-5)


def test_a_text_that_fits_is_one_window(model, judge):
    request = Request((TEXTS[0],), CLAIMS)
    windowed = judge.judge([replace(request, long_texts="windows")])[0]
    assert windowed.windows == 1
    np.testing.assert_allclose(windowed.margins, margins(judge, [request])[0], atol=1e-5)


@pytest.mark.parametrize("text", ["x" * 200_000, "word " * 40_000])
def test_a_very_long_text_is_read_whole_in_windows(model, text):
    judge = Judge(model.model, max_context_tokens=400, max_tokens=4096)
    judged = judge.judge([Request((text,), CLAIMS[:1], "windows")])[0]
    assert judged.windows > 20
    assert not judged.truncated


def test_options_that_compete_are_divided_by_their_own_temperature(model):
    facts = replace(model.facts, temperature=2.0, choice_temperature=ChoiceTemperature(3.0, 1.0))
    other = Judge(replace(model.model, facts=facts))
    request = Request((TEXTS[0],), tuple(MANY[:3]))
    (raw,), (found,) = Judge(model.model).judge([request]), other.judge([request])
    np.testing.assert_allclose(found.margins, raw.margins / 2, atol=1e-6)
    np.testing.assert_allclose(found.shares, option_probabilities(raw.margins / (2 * 2)), atol=1e-6)
    answer = FreeLM(other.model, other).classify(TEXTS[0], ["film", "village", "dog"])
    plain = model.classify(TEXTS[0], ["film", "village", "dog"])
    odds = [np.log(list(a.probabilities.values())) for a in (answer, plain)]
    np.testing.assert_allclose(np.diff(odds[0]), np.diff(odds[1]) / 4, atol=1e-5)


# -- prepared requests -----------------------------------------------------------------------------


def test_a_prepared_request_knows_its_size_and_is_judged_without_tokenizing(
    model, judge, monkeypatch
):
    requests = [*random_requests(7, 6), Request((" ".join(TEXTS * 40),), CLAIMS, "windows")]
    expected = judge.judge(requests)
    prepared = [judge.prepare(request) for request in requests]
    form = model.model.network.form
    for request, one in zip(requests[:-1], prepared, strict=False):
        assert one.num_context_tokens == len(form.context(request.context).ids)
        assert one.num_claim_tokens == sum(len(form.claim(claim)) for claim in request.claims)
    monkeypatch.setattr(tokens, "encode_text", None)
    for one, other in zip(judge.judge_prepared(prepared), expected, strict=True):
        np.testing.assert_array_equal(one.margins, other.margins)
        assert one == replace(other, margins=one.margins)


@pytest.mark.parametrize("budget", [1, 30, 60, 10_000])
def test_parts_of_a_request_share_its_context_and_join_to_its_judgement(model, budget):
    judge = Judge(model.model, max_context_tokens=40)
    prepared = judge.prepare(Request((" ".join(TEXTS * 5),), (*CLAIMS, *MANY[:9])))
    parts = prepared.split(budget)
    assert sum((part.claims for part in parts), ()) == prepared.claims
    assert all(part.contexts == prepared.contexts for part in parts)
    for part in parts:
        size = part.num_context_tokens + part.num_claim_tokens
        assert size <= budget or len(part.claims) == 1
    joined = Judgement.join(judge.judge_prepared(parts))
    (whole,) = judge.judge_prepared([prepared])
    np.testing.assert_allclose(joined.margins, whole.margins, atol=1e-5)
    assert replace(joined, margins=whole.margins) == whole


def test_what_does_not_fit_has_an_error_of_its_own(model):
    judge = Judge(model.model, max_context_tokens=40)
    with pytest.raises(ContextTooLongError):
        judge.prepare(Request((TEXTS[1] * 30,), CLAIMS, "error"))
    with pytest.raises(ClaimTooLongError):
        judge.prepare(Request((TEXTS[1],), ("The dog is there. " * 400,)))


def test_a_text_that_cannot_fit_is_refused_without_tokenizing_it(judge, monkeypatch):
    judge.prepare(Request((TEXTS[0],), CLAIMS))
    monkeypatch.setattr(tokens, "encode_text", None)
    with pytest.raises(ContextTooLongError):
        judge.prepare(Request(("word " * 200_000,), CLAIMS, "error"))


def test_what_the_model_reads_can_be_shown(judge):
    prepared = judge.prepare(Request((TEXTS[1], "Is it?"), CLAIMS[:1]))
    shown = judge.decode((*prepared.contexts[0].ids, *prepared.claim_ids[0]))
    assert shown == f"{TEXTS[1]}[sep] Is it?[sep] {CLAIMS[0]}[cls]"
