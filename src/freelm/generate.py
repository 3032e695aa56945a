"""Writing text: the language model side of a FreeLM."""

from dataclasses import dataclass

import torch

from freelm.data.tokens import MARKERS, encode_text
from freelm.errors import InputError
from freelm.model.network import FreeLMNetwork

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.001, 1000.0
"""Beyond these a distribution is a single token or none, and logits overflow."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: Tokens written at most.
        temperature: 0 takes the likeliest token; larger values flatten the distribution.
        top_p: Only the likeliest tokens with this much probability together are drawn from.
        seed: Seed of the draws.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if self.temperature and not MIN_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE:
            raise InputError(
                f"temperature must be 0, or from {MIN_TEMPERATURE} to {MAX_TEMPERATURE}, "
                f"not {self.temperature}"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must be 0 or more and below 2**63, not {self.seed}")


@torch.inference_mode()
def generate_text(network: FreeLMNetwork, prompt: str, sampling: Sampling) -> str:
    """Continue a prompt; the markers are never written.

    Args:
        network: The network, in evaluation mode.
        prompt: What the text begins with.
        sampling: How tokens are chosen.

    Returns:
        The continuation without the prompt.

    Raises:
        InputError: If the prompt fills the model's window.
    """
    ids = encode_text(network.tokenizer, prompt)
    if len(ids) >= network.max_positions:
        raise InputError(
            f"the prompt has {len(ids)} tokens; the model's window is {network.max_positions}"
        )
    present = network.tokenizer.get_vocab()
    banned = [[present[marker]] for marker in MARKERS if marker in present]
    room = network.max_positions - len(ids)
    drawing = (
        {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p}
        if sampling.temperature > 0
        else {"do_sample": False}
    )
    torch.manual_seed(sampling.seed)
    output = network.causal.generate(
        torch.tensor([ids], device=network.device),
        attention_mask=torch.ones(1, len(ids), device=network.device, dtype=torch.long),
        max_new_tokens=min(sampling.max_new_tokens, room),
        bad_words_ids=banned or None,
        pad_token_id=network.tokenizer.eos_token_id,
        **drawing,
    )
    text: str = network.tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)
    return text
