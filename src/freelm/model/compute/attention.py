"""How attention is computed: fused, or eagerly as two matrix products and a softmax.

torch's fused attention saves memory on long rows. In bf16 on a CPU its backward pass, on the short
rows of a teacher step, takes two to five times as long as eager attention: 99 heads of 176
positions take 30 ms forward and backward instead of 12, 162 of 112 positions 29 instead of 7
(torch 2.13, two cores; docs/LOG.md, "Training in bf16 on a CPU").
"""

from typing import Any

import torch

_EAGER = "eager"


def use_eager_attention(model: Any) -> None:
    """Switch a Hugging Face model to eager attention; its results are the same."""
    model.set_attn_implementation(_EAGER)


def needs_additive_mask(model: Any) -> bool:
    """Whether a model adds its attention mask to the scores; fused attention takes booleans."""
    implementation: str = model.config._attn_implementation
    return implementation == _EAGER


def additive_mask(mask: torch.Tensor) -> torch.Tensor:
    """A boolean mask as numbers: 0 where it is true, else the lowest one of the compute type."""
    device = mask.device.type
    computed = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if computed else torch.get_default_dtype()
    lowest = torch.finfo(dtype).min
    return torch.zeros((), dtype=dtype, device=mask.device).masked_fill(~mask, lowest)
