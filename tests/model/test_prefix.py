import random

import numpy as np
import pytest
import torch

from freelm.model.judging import judge_behind, read_prefix
from freelm.model.markers import add_markers
from freelm.model.network import FreeLMNetwork
from tiny import KINDS, make_model, make_tokenizer, plain_margin

RNG = random.Random(0)
CONTEXT = [RNG.randrange(1, 400) for _ in range(23)]
CLAIMS = [(7, 8, 9), (7, 8), (7, 5, 6, 6), (300,), (9, 9, 9, 1, 2, 3), (7, 8, 9, 10)]


@pytest.fixture(params=KINDS)
def network(request: pytest.FixtureRequest) -> FreeLMNetwork:
    tokenizer = make_tokenizer()
    model = make_model(request.param, len(tokenizer))
    return FreeLMNetwork(model, add_markers(model, tokenizer)).eval()


@pytest.mark.parametrize("max_tokens", [1, 5, 1000])
def test_claims_behind_a_prefix_are_judged_as_each_alone(
    network: FreeLMNetwork, max_tokens: int
) -> None:
    found = judge_behind(network, read_prefix(network, CONTEXT), CLAIMS, max_tokens)
    with torch.no_grad():
        alone = [plain_margin(network.causal, network.form, CONTEXT, claim) for claim in CLAIMS]
    np.testing.assert_allclose(found, alone, rtol=0, atol=1e-5)
    assert np.std(found) > 0.01


def test_a_prefix_serves_again_and_stays_as_it_is(network: FreeLMNetwork) -> None:
    prefix = read_prefix(network, CONTEXT)
    before = [(keys.clone(), values.clone()) for keys, values in prefix.layers]
    first = judge_behind(network, prefix, CLAIMS, 5)
    again = judge_behind(network, prefix, CLAIMS[::-1], 1000)[::-1]
    np.testing.assert_allclose(first, again, rtol=0, atol=1e-5)
    assert prefix.length == len(CONTEXT)
    for (keys, values), (old_keys, old_values) in zip(prefix.layers, before, strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)
