"""How attention is computed: fused, or as the plain products it is written as.

torch's fused attention saves memory on long rows. In bf16 on a CPU its backward pass, on the short
rows of a teacher step, takes two to five times as long as plain products and a softmax: 99 heads of
176 positions 30 ms forth and back beside 12, 162 of 112 positions 29 beside 7 (torch 2.13, two
cores; docs/LOG.md, "Training in bf16 on a CPU").
"""

from typing import Any

import torch

_PLAIN = "eager"
"""What transformers calls plain products."""


def attend_plainly(model: Any) -> None:
    """Have a Hugging Face model compute attention as plain products; its results are the same."""
    model.set_attn_implementation(_PLAIN)


def takes_added_mask(model: Any) -> bool:
    """Whether a model adds its attention mask to the scores; fused attention takes booleans."""
    attends: str = model.config._attn_implementation
    return attends == _PLAIN


def added_mask(mask: torch.Tensor) -> torch.Tensor:
    """0 where a boolean mask is true, and the lowest number of the type computed in elsewhere."""
    device = mask.device.type
    computed = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if computed else torch.get_default_dtype()
    lowest = torch.finfo(dtype).min
    return torch.zeros((), dtype=dtype, device=mask.device).masked_fill(~mask, lowest)
