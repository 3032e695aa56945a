import shutil
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import tiny
from freelm.config import LoraSettings
from freelm.data.packing import build_tree, collate
from freelm.errors import ModelError
from freelm.model.adapters import add_lora
from freelm.model.compute.compiling import compile_network
from freelm.model.compute.int8 import quantize_frozen_layers, quantize_linear_layers
from freelm.model.markers import add_markers
from freelm.model.network import FreeLMNetwork

TREES = [build_tree(range(3, 9 + 7 * n), [[n + 1, 2], [n + 1, 3], [4] * (n + 1)]) for n in range(5)]


@pytest.fixture
def network() -> FreeLMNetwork:
    tokenizer = tiny.make_tokenizer()
    model = tiny.make_model("llama", len(tokenizer))
    return FreeLMNetwork(model, add_markers(model, tokenizer)).eval()


def margins(network: FreeLMNetwork) -> list[torch.Tensor]:
    """Margins of batches of different numbers of rows and lengths, and behind a prefix."""
    with torch.inference_mode():
        batches = [
            collate(TREES[i:j], [[n] for n in range(j - i)]) for i in range(4) for j in (4, 5)
        ]
        found = [network.margins(batch) for batch in batches]
        prefix = network.prefix(torch.tensor([[5, 6, 7]]))
        return [*found, network.margins(collate([build_tree((), [[8, 9]], 3)], [[0]]), prefix)]


def test_whole_trees_are_read_by_what_was_compiled_and_others_are_not(
    network: FreeLMNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def pretend(function: Any, dynamic: bool) -> Any:
        def call(**arguments: Any) -> Any:
            seen.append(arguments["inputs_embeds"].shape[0])
            return function(**arguments)

        return call

    monkeypatch.setattr(torch, "compile", pretend)
    eager = margins(network)
    compile_network(network)
    assert seen == [1, 3]  # one row and several were tried
    for one, other in zip(margins(network), eager, strict=True):
        assert torch.equal(one, other)
    assert len(seen) == 2 + len(eager) - 1


def test_a_machine_that_cannot_compile_is_told_of_and_the_model_stays_usable(
    network: FreeLMNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**arguments: Any) -> None:
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: fail)
    with pytest.raises(ModelError, match=r"\(No working C\+\+ compiler found\); a CPU") as told:
        compile_network(network)
    assert "\n" not in str(told.value)
    assert margins(network)


def test_what_was_compiled_for_training_is_not_used_for_judging(
    network: FreeLMNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def pretend(function: Any, dynamic: bool) -> Any:
        return lambda **arguments: seen.append(network.training) or function(**arguments)

    monkeypatch.setattr(torch, "compile", pretend)
    compile_network(network.train())
    assert seen == [True, True]
    assert all(p.grad is None for p in network.parameters())
    margins(network.eval())
    assert seen == [True, True]
    network.train().margins(collate(TREES, [[0], [1], [2], [3], [4]]))
    assert seen == [True] * 3


COMPILER = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler"
)


@pytest.mark.slow
@COMPILER
def test_gradients_of_compiled_passes_are_those_of_eager_ones(network: FreeLMNetwork) -> None:
    def gradients() -> list[torch.Tensor]:
        network.zero_grad(set_to_none=True)
        network.margins(collate(TREES, [[0, 1], [2, 3, 4]])).sum().backward()
        found = [p.grad for p in network.parameters() if p.grad is not None]
        network.zero_grad(set_to_none=True)
        return found

    network.train()
    eager = gradients()
    torch._dynamo.reset()
    compile_network(network)
    for one, other in zip(gradients(), eager, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@COMPILER
def test_rounded_products_compile_in_both_directions(network: FreeLMNetwork) -> None:
    adapted = add_lora(network.causal, LoraSettings(rank=2))
    torch.manual_seed(0)
    for parameter in adapted.parameters():
        if parameter.requires_grad:  # the added matrices start at nothing
            parameter.data += 0.1 * torch.randn_like(parameter)
    quantize_frozen_layers(adapted)
    network = FreeLMNetwork(adapted, network.form).train()

    def gradients() -> list[torch.Tensor]:
        network.zero_grad(set_to_none=True)
        network.margins(collate(TREES, [[0, 1], [2, 3, 4]])).sum().backward()
        return [p.grad.clone() for p in network.parameters() if p.grad is not None]

    eager = gradients()
    torch._dynamo.reset()
    compile_network(network)
    with torch._dynamo.config.patch(error_on_recompile=True):
        found = gradients()
    assert len(found) == len(eager) > 0
    for one, other in zip(found, eager, strict=True):
        cosine = F.cosine_similarity(one.flatten(), other.flatten(), dim=0)
        assert cosine > 0.99  # a sum in another order may round to the next whole number


@pytest.mark.slow
@COMPILER
@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-4), ("int8", 0.2)])
def test_compiled_equals_eager(network: FreeLMNetwork, dtype: str, tolerance: float) -> None:
    if dtype == "int8":
        quantize_linear_layers(network.causal.base_model)
    eager = margins(network)
    torch._dynamo.reset()
    compile_network(network)
    with torch._dynamo.config.patch(error_on_recompile=True):
        found = margins(network)
    for one, other in zip(found, eager, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)
