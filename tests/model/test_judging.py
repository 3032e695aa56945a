import random

import numpy as np
import pytest
import torch

import freelm.model.judging as judging_module
from freelm.data.packing import build_tree, collate
from freelm.model.judging import judge_trees
from freelm.model.markers import add_markers
from freelm.model.network import FreeLMNetwork
from tiny import make_model, make_tokenizer, plain_margin

QUESTIONS = [
    (
        [random.Random(n).randrange(1, 400) for _ in range(1 + 5 * n)],
        [[random.Random(10 * n + c).randrange(1, 400), 3, c + 1] for c in range(1 + n % 4)],
    )
    for n in range(10)
]


@pytest.fixture(scope="module")
def network() -> FreeLMNetwork:
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer))
    return FreeLMNetwork(model, add_markers(model, tokenizer)).eval()


@pytest.mark.parametrize("max_tokens", [1, 40, 200, 5000])
@pytest.mark.parametrize("group", [1, 3, 1024])
def test_answers_come_in_order_whatever_the_batches(
    network: FreeLMNetwork, monkeypatch: pytest.MonkeyPatch, max_tokens: int, group: int
) -> None:
    monkeypatch.setattr(judging_module, "GROUP", group)
    trees = [build_tree(context, claims) for context, claims in QUESTIONS]
    found = judge_trees(network, trees, max_tokens)
    assert len(found) == len(QUESTIONS)
    for margins, (context, claims) in zip(found, QUESTIONS, strict=True):
        alone = [plain_margin(network.causal, network.form, context, claim) for claim in claims]
        np.testing.assert_allclose(margins, alone, rtol=0, atol=1e-5)


def test_no_trees_no_answers(network: FreeLMNetwork) -> None:
    assert judge_trees(network, [], 100) == []


def test_bf16_is_near_fp32_and_margins_are_made_in_fp32(network: FreeLMNetwork) -> None:
    trees = [build_tree(context, claims) for context, claims in QUESTIONS]
    exact = np.concatenate(judge_trees(network, trees, 500))
    rough = np.concatenate(judge_trees(network, trees, 500, "bf16"))
    assert not np.array_equal(exact, rough)
    np.testing.assert_allclose(rough, exact, rtol=0.1, atol=0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert network.margins(collate(trees[:1], [[0]])).dtype == torch.float32


def test_judging_leaves_no_gradient(network: FreeLMNetwork) -> None:
    judge_trees(network, [build_tree([1], [[2]])], 10)
    assert all(parameter.grad is None for parameter in network.parameters())
