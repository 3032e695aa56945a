"""A bounded cache of contexts that have been read, for further questions about the same text."""

from collections import OrderedDict

from freelm.model.prefix import Prefix


class PrefixCache:
    """Least-recently-used cache: context token ids -> keys and values of every layer.

    One token of a 135M model takes 46 KB in fp32 (30 layers, keys and values of 192 each).

    Args:
        max_tokens: Tokens of all cached contexts together; 0 disables the cache.
    """

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._prefixes: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()

    def __contains__(self, ids: tuple[int, ...]) -> bool:
        return ids in self._prefixes

    @property
    def num_tokens(self) -> int:
        """Tokens of all cached contexts."""
        return sum(map(len, self._prefixes))

    def get(self, ids: tuple[int, ...]) -> Prefix | None:
        """Return the prefix of a context and mark it as recently used, or None."""
        if ids not in self._prefixes:
            return None
        self._prefixes.move_to_end(ids)
        return self._prefixes[ids]

    def put(self, ids: tuple[int, ...], prefix: Prefix) -> None:
        """Add a context; evict the least recently used ones until it fits.

        A context larger than the whole cache is not added.
        """
        if len(ids) > self.max_tokens:
            return
        self._prefixes[ids] = prefix
        self._prefixes.move_to_end(ids)
        while self.num_tokens > self.max_tokens:
            self._prefixes.popitem(last=False)
