"""Markers: the four tokens added to a base, and their embedding rows when the base is frozen.

`[sep]` and `[cls]` are read; `<|false|>` and `<|true|>` are only ever predicted, at `[cls]`.
"""

from typing import Any

import torch
from tokenizers import AddedToken
from torch import nn

from freelm.data.tokens import MARKERS, TextForm, freelm_form

# Each marker's embedding starts as that of a similar token: a break, a question, two answers.
_STARTS = {"[sep]": "\n", "[cls]": "?", "<|false|>": " false", "<|true|>": " true"}


def add_markers(model: Any, tokenizer: Any) -> TextForm:
    """Add the four markers to a base that lacks them; return FreeLM's text form.

    The markers absorb the space before them, so that the stock tokenizer reads the written form
    `context [sep] claim [cls]` as exactly the tokens that are judged here.
    """
    vocabulary = tokenizer.get_vocab()
    missing = [marker for marker in MARKERS if marker not in vocabulary]
    if missing:
        tokens = [AddedToken(m, lstrip=True, special=True, normalized=False) for m in missing]
        tokenizer.add_tokens(tokens, special_tokens=True)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if missing:
        _start_rows(model, tokenizer, missing)
    return freelm_form(tokenizer)


def marker_ids(tokenizer: Any) -> dict[str, int]:
    """Marker -> token id."""
    return {marker: tokenizer.convert_tokens_to_ids(marker) for marker in MARKERS}


@torch.no_grad()
def _start_rows(model: Any, tokenizer: Any, markers: list[str]) -> None:
    """Initialize the rows of new markers from tokens with a similar meaning."""
    for weight in _embeddings(model):
        for marker in markers:
            start = tokenizer.encode(_STARTS[marker], add_special_tokens=False)
            weight[tokenizer.convert_tokens_to_ids(marker)] = weight[start].mean(0)


def _embeddings(model: Any) -> list[torch.Tensor]:
    """The input embedding and, where it is another matrix, the output embedding."""
    weights = [model.get_input_embeddings().weight]
    if not model.config.tie_word_embeddings:
        weights.append(model.get_output_embeddings().weight)
    return weights


class MarkerRows(nn.Module):
    """The markers' rows of a frozen embedding, as separate parameters.

    Training the rows in place would need a gradient of the whole matrix (49,156 x 576 for a 135M
    model) to change four rows of it.

    Args:
        model: A causal language model that has the markers.
        tokenizer: Its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        ids = torch.tensor(list(marker_ids(tokenizer).values()))
        self.register_buffer("ids", ids, persistent=False)
        self.ids: torch.Tensor
        # (4, D) each, in the order of MARKERS; one parameter where the embeddings are tied.
        rows = [nn.Parameter(w[ids].detach().float().clone()) for w in _embeddings(model)]
        self.rows = nn.ParameterList(rows)

    @property
    def output(self) -> torch.Tensor:
        """(4, D) output rows of the markers."""
        return self.rows[-1]

    def embed(self, ids: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """Put the markers' rows into embedded tokens: (B, T) ids, (B, T, D) -> (B, T, D)."""
        is_marker = ids.unsqueeze(-1) == self.ids  # (B, T, 4)
        replaced = is_marker.to(self.rows[0].dtype) @ self.rows[0]
        return torch.where(is_marker.any(-1, keepdim=True), replaced.to(embedded.dtype), embedded)

    def predict(self, states: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Put the markers' logits, from (N, D) states, into (N, V) logits."""
        logits[:, self.ids] = (states @ self.output.to(states.dtype).T).to(logits.dtype)
        return logits

    @torch.no_grad()
    def merge_into(self, model: Any) -> None:
        """Write the rows into a model's embeddings."""
        for weight, rows in zip(_embeddings(model), self.rows, strict=True):
            weight[self.ids] = rows.to(weight.dtype)
