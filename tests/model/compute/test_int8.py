from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.pytorch_utils import Conv1D

import tiny
from freelm.data.packing import build_tree, collate
from freelm.model.compute.int8 import (
    LARGEST,
    FrozenInt8Linear,
    Int8Linear,
    number_type,
    quantize_linear_layers,
)
from freelm.model.markers import add_markers
from freelm.model.network import FreeLMNetwork

SHAPES = [(1, 8, 8), (3, 33, 17), (40, 576, 64)]


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    """Values of very different size from row to row."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values * torch.logspace(-2, 2, shape[0])[:, None]


@torch.no_grad()
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_it_is_off_by_no_more_than_the_rounding_of_both_factors(
    rows: int, inputs: int, outputs: int
) -> None:
    x, weight, bias = some(rows, inputs), some(outputs, inputs, seed=1), torch.randn(outputs)
    found = Int8Linear(weight, bias)(x)
    step_x = x.abs().amax(1, keepdim=True) / LARGEST / 2
    step_w = weight.abs().amax(1) / LARGEST / 2
    bound = x.abs().sum(1, keepdim=True) * step_w + step_x * weight.abs().sum(1)
    bound = bound + inputs * step_x * step_w
    off = (found - F.linear(x, weight, bias)).abs()
    assert (off <= 1.001 * bound + 1e-5).all()
    assert (off.mean() / F.linear(x, weight).abs().mean()) < 0.05


@torch.no_grad()
def test_whole_numbers_stay_what_they_are() -> None:
    x, weight = torch.randint(-LARGEST, LARGEST + 1, (5, 64)).float(), torch.eye(64)[:9] * LARGEST
    x[:, 0] = LARGEST
    assert torch.equal(Int8Linear(weight, None)(x), F.linear(x, weight))
    assert torch.equal(Int8Linear(weight, torch.ones(9))(x), F.linear(x, weight) + 1)


@torch.no_grad()
def test_the_largest_sums_do_not_overflow() -> None:
    x, weight = torch.ones(4, 1536), torch.ones(8, 1536)
    torch.testing.assert_close(Int8Linear(weight, None)(x), F.linear(x, weight))
    torch.testing.assert_close(Int8Linear(-weight, None)(x), F.linear(x, -weight))


@torch.no_grad()
@pytest.mark.parametrize("shape", [(7, 1, 32), (2, 9, 32)])
def test_what_stands_beside_a_token_changes_nothing_of_it(shape: tuple[int, ...]) -> None:
    layer = Int8Linear(some(16, 32), torch.randn(16))
    x = some(100, 32, seed=2)
    together = layer(x)
    for i in range(len(x)):
        assert torch.equal(layer(x[i : i + 1]), together[i : i + 1])
    odd = torch.randn(shape)
    assert layer(odd).shape == (*shape[:-1], 16)
    assert torch.equal(layer(odd).flatten(0, -2), layer(odd.reshape(-1, 32)))


@torch.no_grad()
def test_a_row_of_zeros_gives_the_bias() -> None:
    layer = Int8Linear(torch.zeros(3, 8), torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(layer(torch.zeros(2, 8)), torch.tensor([[1.0, 2.0, 3.0]] * 2))


def frozen(inputs: int, outputs: int, transposed: bool) -> FrozenInt8Linear:
    """A layer with a bias, as Llama or as GPT-2 hold it."""
    weight, bias = some(outputs, inputs, seed=1), torch.randn(outputs)
    layer = Conv1D(outputs, inputs) if transposed else nn.Linear(inputs, outputs)
    layer.weight.data = weight.T.contiguous() if transposed else weight
    layer.bias.data = bias
    return FrozenInt8Linear(layer.requires_grad_(False))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (16, 48), (48, 16)])
def test_a_frozen_layer_rounds_forth_and_back_in_training_alone(
    inputs: int, outputs: int, transposed: bool
) -> None:
    layer = frozen(inputs, outputs, transposed)
    x = some(18, inputs, seed=3).unflatten(0, (2, 9)).requires_grad_()
    upstream = some(18, outputs, seed=4).unflatten(0, (2, 9))
    exact = F.linear(x, layer.weight, layer.exact.bias)
    (gradient,) = torch.autograd.grad(exact, x, upstream)

    torch.testing.assert_close(layer.eval()(x), exact)
    (same,) = torch.autograd.grad(layer(x), x, upstream)
    torch.testing.assert_close(same, gradient)

    found = layer.train()(x)
    (back,) = torch.autograd.grad(found, x, upstream)
    if inputs <= outputs:  # the judging layer rounds the same way, and its errors are bounded above
        assert torch.equal(found, Int8Linear(layer.weight, layer.exact.bias)(x))
    else:
        torch.testing.assert_close(found, exact)
    assert torch.equal(back, Int8Linear(layer.weight.T, None)(upstream))


@pytest.fixture(params=tiny.KINDS)
def network(request: pytest.FixtureRequest) -> FreeLMNetwork:
    tokenizer = tiny.make_tokenizer()
    model = tiny.make_model(request.param, len(tokenizer))
    return FreeLMNetwork(model, add_markers(model, tokenizer)).eval()


@torch.no_grad()
def test_every_linear_layer_is_replaced_and_verdicts_stay_near(network: FreeLMNetwork) -> None:
    batch = collate([build_tree([5, 6, 7, 8, 9], [[3, 1], [3, 2], [4]])], [[0]])
    exact = network.margins(batch)
    rows = network.causal.get_output_embeddings().weight.clone()
    body: Any = network.causal.base_model
    others = [m for m in body.modules() if isinstance(m, torch.nn.Embedding)]
    assert number_type(network) == "torch.float32"
    quantize_linear_layers(body)
    assert number_type(network) == "int8"
    left = [p for p in body.parameters() if p.dim() == 2]
    assert {id(p) for p in left} == {id(m.weight) for m in others}
    assert torch.equal(network.causal.get_output_embeddings().weight, rows)
    found = network.margins(batch)
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.3 * float(exact.abs().max()))
