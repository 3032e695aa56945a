"""From scratch: a small Llama with random weights and a tokenizer trained on the run's own text."""

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from freelm.config import ScratchConfig
from freelm.model.bases import Base

END_OF_TEXT = "<|endoftext|>"

EMBEDDING_STD = 0.3
"""Standard deviation of the random embeddings, which are the output layer as well. Large ones let
the layers tell words apart from the start; `FINAL_NORM` keeps the logits small."""

FINAL_NORM = 0.4
"""Initial weight of the last norm."""


def build_scratch(config: ScratchConfig, texts: Iterable[str], seed: int) -> Base:
    """A base with random weights.

    Args:
        config: Shape of the model and size of its vocabulary.
        texts: What the tokenizer is trained on.
        seed: Seed of the weights.
    """
    tokenizer = train_tokenizer(texts, config.vocab_size)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_heads,
            max_position_embeddings=config.max_positions,
            initializer_range=config.init_std,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            tie_word_embeddings=True,
        )
    )
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_STD)
    torch.nn.init.constant_(model.model.norm.weight, FINAL_NORM)
    return Base(model, tokenizer, "scratch", None)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer (as GPT-2's) trained on some texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT
    )
