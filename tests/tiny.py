"""Tiny bases for tests: real architectures, random weights, a tokenizer of a few hundred tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from freelm.data.tokens import TextForm
from freelm.model.scratch import train_tokenizer

KINDS = ("llama", "gpt2", "qwen2", "qwen3")

MAX_POSITIONS = 512

SENTENCES = (
    "The film is a delight from the first scene to the last.",
    "Here, the movie review is emotionally positive.",
    "Here, the movie review is emotionally negative.",
    "A cat sleeps on the mat, and the dog is not there.",
    "The first sentence implies the second; is that true or false?",
    "Is the statement true or false? Answer: True",
    "Is the statement true or false? Answer: False",
    "Is the following correct? Yes or no? Answer: Yes",
    "Is the following correct? Yes or no? Answer: No",
    "The student is right. The student is wrong.\nRead the text.",
    "In 2019 there were 42 houses in the village.\n\nEach had a door.",
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 450 tokens; the same one at every call."""
    return train_tokenizer(SENTENCES * 3, 450)


def make_model(kind: str, vocab_size: int, tied: bool = True, seed: int = 0) -> Any:
    """A causal language model with 2 layers, width 32 and seeded weights, in evaluation mode.

    Weights are larger than a fresh model's, so that outputs differ by much more than rounding.
    """
    common = {
        "vocab_size": vocab_size,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "tie_word_embeddings": tied,
    }
    modern = {
        **common,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_POSITIONS,
    }
    model: Any
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**modern))
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**modern))
    elif kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**modern, head_dim=8))
    elif kind == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": MAX_POSITIONS}
        model = GPT2LMHeadModel(GPT2Config(**common, **sizes))
    else:
        raise ValueError(kind)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = parameter.dim() == 1 and bool((parameter == 1).all())
            parameter.copy_(1 + 0.1 * noise if is_norm else 0.2 * noise)
    return model.eval()


@torch.no_grad()
def plain_margin(model: Any, form: TextForm, context: Sequence[int], claim: Sequence[int]) -> float:
    """The verdict margin of one proposition by a stock forward pass over it alone."""
    logits = model(input_ids=torch.tensor([[*context, *claim]])).logits[0, -1]
    return float(logits[form.true_id] - logits[form.false_id])
