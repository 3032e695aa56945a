"""Contexts that are kept: a bounded memory of texts that will be asked about again."""

from collections import OrderedDict

from freelm.model.prefix import Prefix


class ContextCache:
    """The most recently used contexts, up to a number of tokens.

    A token of a 135M model takes 46 KB in fp32 (30 layers, keys and values of 192 each).

    Args:
        max_tokens: Tokens of all kept contexts together; 0 keeps none.
    """

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._kept: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()

    def __contains__(self, ids: tuple[int, ...]) -> bool:
        return ids in self._kept

    @property
    def num_tokens(self) -> int:
        """Tokens of the contexts that are kept."""
        return sum(map(len, self._kept))

    def get(self, ids: tuple[int, ...]) -> Prefix | None:
        """The prefix of a context, if it is kept; it counts as used."""
        if ids not in self._kept:
            return None
        self._kept.move_to_end(ids)
        return self._kept[ids]

    def put(self, ids: tuple[int, ...], prefix: Prefix) -> None:
        """Keep a context, dropping those that were used longest ago to make room."""
        if len(ids) > self.max_tokens:
            return
        self._kept[ids] = prefix
        self._kept.move_to_end(ids)
        while self.num_tokens > self.max_tokens:
            self._kept.popitem(last=False)
