"""Prefixes: what a model remembers of a context, so that claims about it need not read it again."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values of a context in every layer.

    Attributes:
        layers: For each layer its keys and its values, (1, heads, length, head width) each.
        length: Tokens of the context.
    """

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    length: int

    @classmethod
    def of(cls, cache: DynamicCache) -> "Prefix":
        """The prefix in the cache of a forward pass over a context."""
        layers: list[Any] = cache.layers
        return cls(tuple((x.keys, x.values) for x in layers), cache.get_seq_length())

    def cache(self) -> Cache:
        """The prefix as a read-only cache."""
        return Cache(layers=[_FixedLayer(keys, values) for keys, values in self.layers])


class _FixedLayer(DynamicLayer):
    """A layer of a cache that stays as it is, so that one prefix serves any number of batches."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The prefix's keys and values followed by those of the claims."""
        assert self.keys is not None
        assert self.values is not None
        return (
            torch.cat([self.keys, key_states], dim=-2),
            torch.cat([self.values, value_states], dim=-2),
        )
