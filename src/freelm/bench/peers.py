"""Peers: other pipelines for zero-shot classification.

Their heads have random weights, on which speed does not depend; nothing is downloaded.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, pipeline

from freelm.bench.runner import BenchmarkError
from freelm.bench.subjects import backbone

Classify = Callable[[list[str], list[str]], Any]


def zero_shot_pipeline(dtype: torch.dtype, device: str) -> Classify:
    """Transformers' zero-shot-classification pipeline: one forward pass per label."""
    base = backbone(dtype)
    config = base.model.config
    config.num_labels = 3
    config.id2label = {0: "contradiction", 1: "neutral", 2: "entailment"}
    config.label2id = {name: number for number, name in config.id2label.items()}
    config.pad_token_id = base.tokenizer.eos_token_id
    base.tokenizer.pad_token = base.tokenizer.eos_token
    model = AutoModelForSequenceClassification.from_config(config).to(dtype).eval()
    model.base_model.load_state_dict(base.model.base_model.state_dict())
    classify: Classify = pipeline(
        "zero-shot-classification", model=model, tokenizer=base.tokenizer, device=device
    )
    return classify


DEBERTA_V3_BASE = {
    "vocab_size": 128100,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "layer_norm_eps": 1e-7,
    "max_relative_positions": -1,
    "position_biased_input": False,
    "type_vocab_size": 0,
}
"""`config.json` of microsoft/deberta-v3-base, the encoder of gliclass-base."""


def gliclass_pipeline(dtype: torch.dtype, device: str) -> Classify:
    """GLiClass's own pipeline: a text and all labels in one pass of an encoder.

    It uses the backbone's tokenizer, so that texts have the same length in all systems.

    Raises:
        BenchmarkError: If gliclass is not installed.
    """
    try:
        from gliclass import GLiClassModel, GLiClassModelConfig, ZeroShotClassificationPipeline
    except ImportError:
        raise BenchmarkError(
            "gliclass is not installed: pip install freelm[bench], or drop it from --peers"
        ) from None
    tokenizer = backbone(torch.float32).tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_tokens(["<<LABEL>>", "<<SEP>>", "<<EXAMPLE>>"], special_tokens=True)
    label, separator, example = tokenizer.convert_tokens_to_ids(
        ["<<LABEL>>", "<<SEP>>", "<<EXAMPLE>>"]
    )
    config = GLiClassModelConfig(
        encoder_config={"model_type": "deberta-v2", **DEBERTA_V3_BASE},
        encoder_model="none",  # it would look for an adapter here
        class_token_index=label,
        text_token_index=separator,
        example_token_index=example,
    )
    model = GLiClassModel(config, from_pretrained=False).to(dtype).eval()
    pipe = ZeroShotClassificationPipeline(
        model,
        tokenizer,
        max_classes=256,
        classification_type="single-label",
        device=device,
        progress_bar=False,
    )
    classify: Classify = pipe
    return classify
