"""AdamW, its learning rate as a pure function of the step, and clipping."""

import math
from typing import Any

import torch
from torch import nn

from freelm.config import OptimizerConfig
from freelm.model.network import FreeLMNetwork

MARKER_RATE = 0.1
"""Learning rate of separately trained marker rows, as a fraction of the rest's.

A verdict margin is h . (E_true - E_false), and the final hidden state h of a trained base is large
(sum of |h| = 670 for SmolLM2-135M): at 1e-3 one Adam step moves every margin by 1.3, and the loss
swings instead of falling.
"""


def build_optimizer(network: FreeLMNetwork, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the trained parameters.

    Only matrices are decayed: no vectors (norms, biases), embeddings or markers.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    markers = list(network.rows.parameters()) if network.rows is not None else []
    embedding = network.causal.get_input_embeddings().weight
    own = {id(p) for p in [*markers, embedding]}
    rest = [p for p in trained if id(p) not in own]
    groups = [
        _group([p for p in rest if p.dim() > 1], config.weight_decay, 1.0),
        _group([p for p in rest if p.dim() <= 1], 0.0, 1.0),
        _group([embedding] if embedding.requires_grad else [], 0.0, config.embedding_rate),
        _group(markers, 0.0, MARKER_RATE),
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def _group(parameters: list[nn.Parameter], weight_decay: float, rate: float) -> dict[str, Any]:
    return {"params": parameters, "weight_decay": weight_decay, "rate": rate}


def learning_rate(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """Learning rate of a step: linear rise, the highest rate, then decay to the last step.

    Args:
        config: Highest rate, length of the rise and of the time at the highest rate, form and end
            of the decay.
        step: Optimizer step, counted from 0.
        num_steps: Steps of the run; the last one has `final_fraction` of the highest rate.
    """
    peak = config.learning_rate
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    decay_start = config.warmup_steps + config.stable_steps
    if config.decay == "constant" or step < decay_start:
        return peak
    done = (step - decay_start) / max(1, num_steps - 1 - decay_start)
    falling = 1.0 - done if config.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return peak * (config.final_fraction + (1.0 - config.final_fraction) * falling)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give the groups of an optimizer a learning rate, each its own fraction of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float | None) -> float:
    """Scale the gradients of each group down to a norm.

    Group by group, because the gradient of the marker rows is large (it is made of final hidden
    states) and would leave next to nothing of the others if all shared one norm.

    Returns:
        The norm of all gradients before.
    """
    norms = [
        float(torch.nn.utils.clip_grad_norm_(group["params"], max_norm or math.inf))
        for group in optimizer.param_groups
    ]
    return math.hypot(*norms)
