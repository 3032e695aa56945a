"""The network: a stock causal language model read in two ways.

The language signal reads next-token logits; the teacher signal reads the verdict at each `[cls]`:

    P(true) = softmax(h[cls] . [E_false, E_true])[true] = sigmoid(h[cls] . (E_true - E_false))

where `E_*` are two rows of the output embedding. Only hidden states at `[cls]` are
multiplied, and only with these two rows.

Shapes: B rows, T tokens, D width, V vocabulary, P propositions.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from peft import PeftModel
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from freelm.data.packing import Batch, attention_mask
from freelm.data.text import IGNORED, LanguageBatch
from freelm.data.tokens import TextForm
from freelm.model.compute.attention import additive_mask, needs_additive_mask
from freelm.model.markers import MarkerRows
from freelm.model.prefix import Prefix

LOGIT_CHUNK = 256
"""Positions whose logits over the vocabulary are held at once (256 x 49,156 x 4 bytes = 50 MB)."""


class FreeLMNetwork(nn.Module):
    """A causal language model that also computes verdicts.

    Args:
        model: A Hugging Face causal language model, or one with a peft adapter.
        form: How propositions are written for it.
        rows: The markers' rows, if the embedding is frozen and they are trained separately.

    Attributes:
        compiled: Compiled forward passes of the model's body, one for training (True) and one for
            judging (False); see `freelm.model.compute.compiling`.
    """

    def __init__(self, model: Any, form: TextForm, rows: MarkerRows | None = None) -> None:
        super().__init__()
        self.model = model
        self.form = form
        self.rows = rows
        self.compiled: dict[bool, Callable[..., Any]] = {}

    @property
    def causal(self) -> Any:
        """The Hugging Face model itself; adapters sit inside its layers."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the base."""
        return self.form.tokenizer

    @property
    def max_positions(self) -> int:
        """The longest path (context and claim) that the base supports, in tokens."""
        return int(self.causal.config.max_position_embeddings)

    def hidden(self, batch: Batch, prefix: Prefix | None = None) -> torch.Tensor:
        """Last hidden states (B, T, D) of a packed batch, after the final norm.

        Args:
            batch: Packed trees; after a prefix, one row whose positions continue the prefix.
            prefix: A context that every token of the batch attends to.
        """
        mask = attention_mask(batch.ends)
        if prefix is not None:
            seen = mask.new_ones(*mask.shape[:3], prefix.length)
            mask = torch.cat([seen, mask], dim=-1)
        if needs_additive_mask(self.causal):
            mask = additive_mask(mask)
        body = self.causal.base_model
        read = body if prefix is not None else self.compiled.get(self.training, body)
        output = read(
            inputs_embeds=self._embedded(batch.ids),
            position_ids=batch.positions,
            attention_mask=mask,
            past_key_values=None if prefix is None else prefix.cache(),
            use_cache=prefix is not None,
        )
        states: torch.Tensor = output.last_hidden_state
        return states

    def prefix(self, ids: torch.Tensor) -> Prefix:
        """Compute a context (1, T) once, for any number of claims about it."""
        cache = DynamicCache()
        self.causal.base_model(
            inputs_embeds=self._embedded(ids), past_key_values=cache, use_cache=True
        )
        return Prefix.of(cache)

    def _embedded(self, ids: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.causal.get_input_embeddings()(ids)
        return embedded if self.rows is None else self.rows.embed(ids, embedded)

    def margins(self, batch: Batch, prefix: Prefix | None = None) -> torch.Tensor:
        """Verdict margins (P,) in fp32: logit of true minus logit of false at each leaf.

        Args:
            batch: As of `hidden`.
            prefix: As of `hidden`.
        """
        leaves = self.hidden(batch, prefix)[batch.leaves[:, 0], batch.leaves[:, 1]]
        with torch.autocast(self.device.type, enabled=False):
            return leaves.float() @ self._verdict_direction()

    def language_loss(self, language: LanguageBatch) -> torch.Tensor:
        """Summed next-token cross-entropy (in nats) of the predicted tokens of a batch.

        Logits are computed in chunks and recomputed in the backward pass, so that the logits of a
        whole batch (2,048 x 49,156 floats = 400 MB, twice with their gradient) never exist at once.
        """
        states = self.hidden(language.batch).flatten(0, 1)
        targets = language.targets.flatten()
        kept = targets != IGNORED
        states, targets = states[kept], targets[kept]
        total = states.new_zeros((), dtype=torch.float32)
        for start in range(0, len(targets), LOGIT_CHUNK):
            chunk = slice(start, start + LOGIT_CHUNK)
            if torch.is_grad_enabled():
                loss = checkpoint(
                    self._chunk_loss, states[chunk], targets[chunk], use_reentrant=False
                )
            else:
                loss = self._chunk_loss(states[chunk], targets[chunk])
            total = total + loss
        return total

    def _chunk_loss(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self.logits(states).float(), targets, reduction="sum")

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Next-token logits (N, V) of hidden states (N, D)."""
        logits: torch.Tensor = self.causal.get_output_embeddings()(states)
        return logits if self.rows is None else self.rows.predict(states, logits)

    def _verdict_direction(self) -> torch.Tensor:
        """(D,) row of the output embedding for true minus the one for false, in fp32."""
        if self.rows is not None:
            rows = self.rows.output[2:]
        else:
            weight = self.causal.get_output_embeddings().weight
            rows = weight[[self.form.false_id, self.form.true_id]]
        return (rows[1].float() - rows[0].float()).contiguous()
