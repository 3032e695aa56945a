"""Int8: linear layers whose weights and inputs are rounded to eight bits, for CPUs with int8 units.

Weights are rounded once, with a scale for each output. Inputs are rounded as they arrive, with a
scale for each token: with one scale for a batch, the result for a token would depend on the other
tokens in it. Integer products are summed exactly and scaled back.
Embeddings, norms, attention and the verdict rows stay in fp32.

Judging may round every layer (`quantize_linear_layers`). Training with an adapter may round the
frozen weights (`quantize_frozen_layers`), in the forward and in the backward pass; trained
weights, and everything measured with the model, stay exact.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

LARGEST = 127
"""Numbers run from -127 to 127, so that a number and its opposite are rounded alike."""

_NOTHING = 1e-30
"""Stands for the largest value of a row that is all zeros."""


class Int8Linear(nn.Module):
    """`x @ weight.T + bias`, both factors rounded to eight bits.

    Args:
        weight: (N, K) in fp32.
        bias: (N,) or None.
    """

    rounded: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        rounded, scales = _round_weight(weight)
        self.register_buffer("rounded", rounded)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if bias is None else bias.detach().float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., K) -> (..., N) in fp32."""
        product = _rounded_product(x.flatten(0, -2), self.rounded, self.scales)
        if self.bias is not None:
            product.add_(self.bias)
        return product.unflatten(0, x.shape[:-1])


class FrozenInt8Linear(nn.Module):
    """A frozen linear layer that rounds in training mode and is exact otherwise.

    The gradient of its input is an integer product, of weights rounded with a scale for
    each input (as in SwitchBack, arXiv 2304.13013, whose gradients of weights stay exact; here the
    weights have none). So is the forward pass, unless the layer has more inputs than outputs:
    what comes out of a gated layer has outliers, which eight bits represent badly (docs/LOG.md,
    "Training beside rounded weights").

    Args:
        exact: The layer, `nn.Linear` or GPT-2's `Conv1D`, in fp32.
    """

    back: torch.Tensor
    back_scales: torch.Tensor
    forth: torch.Tensor | None
    forth_scales: torch.Tensor | None

    def __init__(self, exact: nn.Linear | Conv1D) -> None:
        super().__init__()
        self.exact = exact
        outputs, inputs = self.weight.shape
        for name, weight in (("back", self.weight.T), ("forth", self.weight)):
            kept = name == "back" or inputs <= outputs
            rounded, scales = _round_weight(weight) if kept else (None, None)
            self.register_buffer(name, rounded, persistent=False)
            self.register_buffer(f"{name}_scales", scales, persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """(N, K) in fp32."""
        weight = self.exact.weight.detach()
        return weight.T if isinstance(self.exact, Conv1D) else weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., K) -> (..., N) in fp32."""
        if not self.training:
            exact: torch.Tensor = self.exact(x)
            return exact
        product = _training_product(
            x.flatten(0, -2),
            self.weight,
            self.forth,
            self.forth_scales,
            self.back,
            self.back_scales,
        )
        product = product.unflatten(0, x.shape[:-1])
        bias = self.exact.bias
        return product if bias is None else product + bias


class _TrainingProduct(torch.autograd.Function):
    """A product, rounded or exact, whose gradient is rounded."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        forth: torch.Tensor | None,
        forth_scales: torch.Tensor | None,
        back: torch.Tensor,
        back_scales: torch.Tensor,
    ) -> torch.Tensor:
        """(R, K) -> (R, N)."""
        ctx.save_for_backward(back, back_scales)
        if forth is None or forth_scales is None:
            return F.linear(x, weight)
        return _rounded_product(x, forth, forth_scales)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """(R, N) -> (R, K), and nothing for what is frozen."""
        return _rounded_product(gradient, *ctx.saved_tensors), None, None, None, None, None


@torch.compiler.allow_in_graph  # compiling would fail on the backward pass of changing lengths
def _training_product(*tensors: torch.Tensor | None) -> torch.Tensor:
    product: torch.Tensor = _TrainingProduct.apply(*tensors)
    return product


def quantize_linear_layers(model: nn.Module) -> None:
    """Put an `Int8Linear` in the place of every linear layer of a model.

    Args:
        model: The body of a language model, in fp32. Its output embedding must not be in it: that
            holds the verdict rows.
    """
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, Int8Linear(layer.weight, layer.bias))
            elif isinstance(layer, Conv1D):  # GPT-2's linear layers hold their weights transposed
                setattr(parent, name, Int8Linear(layer.weight.T, layer.bias))


def quantize_frozen_layers(adapted: nn.Module) -> None:
    """Round the frozen weights of a model with an adapter during training.

    Args:
        adapted: A peft model in fp32.
    """
    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            frozen: Any = layer.base_layer
            layer.base_layer = FrozenInt8Linear(frozen)


def number_type(model: Any) -> str:
    """What a model computes in, such as `int8` or `torch.float32`, to tell it from another."""
    if any(isinstance(layer, Int8Linear) for layer in model.modules()):
        return "int8"
    return str(next(model.parameters()).dtype)


def _rounded_product(x: torch.Tensor, rounded: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """(R, K) times integers (K, N) with a scale (N,) for each output -> (R, N) in fp32."""
    rows, row_scales = _round_rows(x.float())
    return torch._int_mm(rows, rounded).float().mul_(scales).mul_(row_scales)


def _round_weight(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, K) -> integers (K, N), and the scale (N,) of each output."""
    rounded, scales = _round_rows(weight.detach().float())
    return rounded.T.contiguous(), scales[:, 0].clone()


def _round_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, C) -> integers (R, C), and the scale (R, 1) that each row is to be multiplied by."""
    largest = rows.abs().amax(-1, keepdim=True).clamp_min_(_NOTHING)
    return (rows * (LARGEST / largest)).round_().to(torch.int8), largest / LARGEST
