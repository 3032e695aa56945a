import random

import pytest
import torch

import tiny
from freelm.data.packing import build_tree, collate
from freelm.model.compute.attention import additive_mask, use_eager_attention
from freelm.model.markers import add_markers
from freelm.model.network import FreeLMNetwork


def make_network(kind: str) -> FreeLMNetwork:
    tokenizer = tiny.make_tokenizer()
    model = tiny.make_model(kind, len(tokenizer))
    return FreeLMNetwork(model, add_markers(model, tokenizer)).eval()


def padded_batch():
    """Two rows of trees, the second one with padding."""
    source = random.Random(0)
    trees = [
        build_tree(
            [source.randrange(1, 400) for _ in range(length)],
            [[source.randrange(1, 400) for _ in range(3)] for _ in range(2)],
        )
        for length in (9, 4, 6)
    ]
    return collate(trees, [[0, 1], [2]])


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_plain_products_equal_fused_attention_forth_and_back(kind):
    batch, margins, gradients = padded_batch(), [], []
    for plainly in (False, True):
        network = make_network(kind)
        if plainly:
            use_eager_attention(network.causal)
        found = network.margins(batch)
        found.pow(2).sum().backward()
        margins.append(found.detach())
        gradients.append(network.causal.get_input_embeddings().weight.grad)
    torch.testing.assert_close(margins[1], margins[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)
    assert float(gradients[0].abs().max()) > 0.01  # equality would say nothing of zeros


def test_plain_products_behind_a_context_that_was_read_before():
    network = make_network("llama")
    use_eager_attention(network.causal)
    context, claims = [5, 6, 7, 8], [[3, 9], [3, 10], [11]]
    with torch.no_grad():
        whole = network.margins(collate([build_tree(context, claims)], [[0]]))
        prefix = network.prefix(torch.tensor([context]))
        behind = build_tree((), claims, start=len(context))
        found = network.margins(collate([behind], [[0]]), prefix)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)


def test_a_mask_is_added_in_the_type_that_is_computed_in():
    mask = torch.tensor([[True, False]])
    assert additive_mask(mask).tolist() == [[0.0, torch.finfo(torch.float32).min]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert additive_mask(mask).dtype == torch.bfloat16
