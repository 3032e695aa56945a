"""Int8: linear layers whose weights and inputs are rounded to eight bits, for CPUs made for it.

Weights are rounded once, with a scale for each output. Inputs are rounded as they come, with a
scale for each token: the scale of a whole batch would let what a token comes to depend on the
tokens that happen to stand beside it. Products of whole numbers are summed exactly and scaled back.
Embeddings, norms, attention and the verdict rows stay in fp32.
"""

from typing import Any

import torch
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
        rounded, scales = _round_rows(weight.detach().float())
        self.register_buffer("rounded", rounded.T.contiguous())
        self.register_buffer("scales", scales[:, 0].clone())
        self.register_buffer("bias", None if bias is None else bias.detach().float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., K) -> (..., N) in fp32."""
        rounded, scales = _round_rows(x.float().flatten(0, -2))
        product = torch._int_mm(rounded, self.rounded).float()
        product.mul_(self.scales).mul_(scales)
        if self.bias is not None:
            product.add_(self.bias)
        return product.unflatten(0, x.shape[:-1])


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


def number_type(model: Any) -> str:
    """What a model computes in, such as `int8` or `torch.float32`, to tell it from another."""
    if any(isinstance(layer, Int8Linear) for layer in model.modules()):
        return "int8"
    return str(next(model.parameters()).dtype)


def _round_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, C) -> whole numbers (R, C), and the scale (R, 1) that each row is to be multiplied by."""
    largest = rows.abs().amax(-1, keepdim=True).clamp_min_(_NOTHING)
    return (rows * (LARGEST / largest)).round_().to(torch.int8), largest / LARGEST
