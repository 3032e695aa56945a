"""AdamW, its learning rate as a pure function of the step, and clipping."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from freelm.config import OptimizerConfig


def build_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trained parameters; vectors (norms, biases) are not decayed."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def learning_rate(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """Learning rate of a step: linear rise, then decay to the last step.

    Args:
        config: Highest rate, length of the rise, form and end of the fall.
        step: Optimizer step, counted from 0.
        num_steps: Steps of the run; the last one has `final_fraction` of the highest rate.
    """
    peak = config.learning_rate
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return peak
    done = (step - config.warmup_steps) / max(1, num_steps - 1 - config.warmup_steps)
    falling = 1.0 - done if config.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return peak * (config.final_fraction + (1.0 - config.final_fraction) * falling)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all groups of an optimizer one learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float | None) -> float:
    """Scale gradients down to a norm; returns the norm that they had."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm or math.inf)
    return float(norm)
