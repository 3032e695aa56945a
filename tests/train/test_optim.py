import math

import pytest
import torch
from torch import nn

import tiny
from freelm.config import LoraSettings, OptimizerConfig
from freelm.model.adapters import add_lora
from freelm.model.markers import MarkerRows, add_markers
from freelm.model.network import FreeLMNetwork
from freelm.train.optim import (
    MARKER_RATE,
    build_optimizer,
    clip_gradients,
    learning_rate,
    set_learning_rate,
)


def network(kind="llama", tied=True, lora=False):
    tokenizer = tiny.make_tokenizer()
    model = tiny.make_model(kind, len(tokenizer), tied)
    form = add_markers(model, tokenizer)
    if not lora:
        return FreeLMNetwork(model, form)
    rows = MarkerRows(model, tokenizer)
    return FreeLMNetwork(add_lora(model, LoraSettings(rank=2)), form, rows)


@pytest.mark.parametrize(
    ("settings", "num_steps", "expected"),
    [
        (
            {"warmup_steps": 4, "decay": "linear"},
            9,
            [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0],
        ),
        (
            {"warmup_steps": 4, "decay": "linear", "final_fraction": 0.2},
            9,
            [0.25, 0.5, 0.75, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2],
        ),
        (
            {"warmup_steps": 2, "decay": "cosine"},
            7,
            [0.5, 1.0, 1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0.0],
        ),
        (
            {"warmup_steps": 2, "decay": "cosine", "final_fraction": 0.1},
            5,
            [0.5, 1.0, 1.0, 0.55, 0.1],
        ),
        ({"warmup_steps": 2, "decay": "constant"}, 5, [0.5, 1.0, 1.0, 1.0, 1.0]),
        (
            {"warmup_steps": 2, "stable_steps": 3, "decay": "linear"},
            8,
            [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0],
        ),
        ({"warmup_steps": 0, "decay": "linear"}, 5, [1.0, 0.75, 0.5, 0.25, 0.0]),
        ({"warmup_steps": 10}, 3, [0.1, 0.2, 0.3]),
        ({"warmup_steps": 0}, 1, [1.0]),
    ],
)
@pytest.mark.parametrize("peak", [1.0, 3e-4])
def test_learning_rate(settings, num_steps, expected, peak):
    config = OptimizerConfig(learning_rate=peak, **settings)
    rates = [learning_rate(config, step, num_steps) for step in range(num_steps)]
    assert rates == pytest.approx([peak * fraction for fraction in expected], abs=1e-12)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_full_training_decays_matrices_only(kind, tied):
    net = network(kind, tied)
    config = OptimizerConfig(weight_decay=0.3, embedding_rate=0.2)
    matrices, vectors, embeddings = build_optimizer(net, config).param_groups
    assert [g["weight_decay"] for g in (matrices, vectors, embeddings)] == [0.3, 0.0, 0.0]
    assert [g["rate"] for g in (matrices, vectors, embeddings)] == [1.0, 1.0, 0.2]
    assert {p.dim() for p in matrices["params"]} == {2}
    assert {p.dim() for p in vectors["params"]} == {1}
    assert embeddings["params"] == [net.causal.get_input_embeddings().weight]
    listed = [id(p) for g in (matrices, vectors, embeddings) for p in g["params"]]
    assert sorted(listed) == sorted({id(p) for p in net.parameters()})


@pytest.mark.parametrize("tied", [True, False])
def test_marker_rows_have_their_own_rate_and_no_decay(tied):
    net = network(tied=tied, lora=True)
    config = OptimizerConfig(weight_decay=0.3, learning_rate=0.5)
    adapter, markers = build_optimizer(net, config).param_groups
    assert {id(p) for p in markers["params"]} == {id(p) for p in net.rows.parameters()}
    assert len(markers["params"]) == (1 if tied else 2)
    assert (markers["weight_decay"], markers["rate"]) == (0.0, MARKER_RATE)
    assert (adapter["weight_decay"], adapter["rate"]) == (0.3, 1.0)
    listed = {id(p) for group in (adapter, markers) for p in group["params"]}
    assert listed == {id(p) for p in net.parameters() if p.requires_grad}


def test_each_group_gets_its_fraction_of_the_rate():
    optimizer = build_optimizer(network(lora=True), OptimizerConfig())
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25 * MARKER_RATE]


def test_one_step_is_adamw():
    net = network()
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.5, beta1=0.8, beta2=0.9)
    optimizer = build_optimizer(net, config)
    matrix = net.causal.model.layers[0].mlp.up_proj.weight
    vector = net.causal.model.norm.weight
    before = [matrix.detach().clone(), vector.detach().clone()]
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 0.01)
    set_learning_rate(optimizer, 0.1)
    optimizer.step()
    # The first step of Adam is the rate, whatever the size of the gradient.
    assert torch.allclose(matrix, before[0] * (1 - 0.1 * 0.5) - 0.1, atol=1e-5)
    assert torch.allclose(vector, before[1] - 0.1, atol=1e-5)


@pytest.fixture
def two_groups():
    """Gradients of norms 5 and 12 in two groups."""
    one, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    one.grad, other.grad = torch.tensor([3.0, 4.0]), torch.tensor([-12.0])
    return torch.optim.SGD([{"params": [one]}, {"params": [other]}], lr=1.0), one, other


def test_clipping_scales_each_group_to_the_norm(two_groups):
    optimizer, one, other = two_groups
    assert clip_gradients(optimizer, 1.0) == pytest.approx(13)
    assert one.grad.tolist() == pytest.approx([0.6, 0.8], abs=1e-5)
    assert other.grad.tolist() == pytest.approx([-1.0], abs=1e-5)


@pytest.mark.parametrize("max_norm", [None, 100.0])
def test_small_gradients_and_no_limit_change_nothing(two_groups, max_norm):
    optimizer, one, other = two_groups
    assert clip_gradients(optimizer, max_norm) == pytest.approx(13)
    assert one.grad.tolist() == [3, 4]
    assert other.grad.tolist() == [-12]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_norm_of_a_gradient_that_is_not_finite_is_not_finite(two_groups, bad):
    optimizer, one, _ = two_groups
    one.grad[0] = bad
    assert not math.isfinite(clip_gradients(optimizer, 1.0))
