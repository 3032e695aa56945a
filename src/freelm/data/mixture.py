"""Mixtures: which source and row an index gets, as pure functions of seed and index.

Any process can ask for any index in any order, and a resumed run sees the same examples as an
uninterrupted one.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from freelm.errors import ConfigError

BLOCK = 1024
"""Indices per block of an `Interleave`; a source's share is exact to one part in this many."""


def seeded(*key: int | str) -> np.random.Generator:
    """A random generator determined by its key."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


class Interleave:
    """Sources that alternate at fixed rates.

    In every block of `BLOCK` indices each source has a fixed number of slots, shuffled by
    (seed, block), so that the number of earlier draws of a source is known without counting.

    Args:
        rates: Source -> positive rate; only ratios matter.
        seed: Seed of the order.

    Raises:
        ConfigError: If there is no source or a rate is not positive and finite.
    """

    def __init__(self, rates: Mapping[str, float], seed: int) -> None:
        if not rates:
            raise ConfigError("a mixture needs at least one source")
        for name, rate in rates.items():
            if not (np.isfinite(rate) and rate > 0):
                raise ConfigError(f"rate of {name!r} must be a positive number, not {rate}")
        if len(rates) > BLOCK:
            raise ConfigError(f"a mixture holds at most {BLOCK} sources, not {len(rates)}")
        self.names = list(rates)
        self.seed = seed
        self.slots = _slots(np.array(list(rates.values()), dtype=float))
        self._block = lru_cache(maxsize=8)(self._make_block)

    def _make_block(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Source of each index of a block, and how often it occurs earlier in the block."""
        sources = np.repeat(np.arange(len(self.names)), self.slots)
        sources = seeded(self.seed, "interleave", block).permutation(sources)
        before = np.zeros(BLOCK, dtype=np.int64)
        for source in range(len(self.names)):
            where = np.flatnonzero(sources == source)
            before[where] = np.arange(len(where))
        return sources, before

    def draw(self, index: int) -> tuple[str, int]:
        """The source at an index, and how many times it was drawn before."""
        block, place = divmod(index, BLOCK)
        sources, before = self._block(block)
        source = int(sources[place])
        return self.names[source], block * int(self.slots[source]) + int(before[place])


def _slots(rates: np.ndarray) -> np.ndarray:
    """Slots of each source in a block, by largest remainders; at least one each."""
    exact = rates / rates.sum() * BLOCK
    places = np.maximum(1, np.floor(exact).astype(np.int64))
    while places.sum() < BLOCK:
        places[np.argmax(exact - places)] += 1
    while places.sum() > BLOCK:
        shrinkable = np.where(places > 1, exact - places, np.inf)
        places[np.argmin(shrinkable)] -= 1
    return places


@lru_cache(maxsize=256)
def _permutation(key: tuple[int | str, ...], size: int) -> np.ndarray:
    return seeded(*key).permutation(size)


def shuffled(draw: int, size: int, seed: int, name: str) -> int:
    """The row of a source's n-th draw: every row once per epoch, each epoch in a new order."""
    epoch, place = divmod(draw, size)
    return int(_permutation((seed, name, epoch), size)[place])


def mixing_rates(
    sizes: Mapping[str, int], temperature: float = 1.0, cap: int | None = None
) -> dict[str, float]:
    """Mixing rates of T5 (arXiv 1910.10683, section 3.5.2): min(size, cap) ** (1 / temperature).

    Args:
        sizes: Source -> number of rows.
        temperature: 1 is proportional to size; large values approach equal shares.
        cap: Rows beyond this many do not raise a source's rate; None means no cap.
    """
    return {
        name: float(min(size, cap) if cap else size) ** (1.0 / temperature)
        for name, size in sizes.items()
    }
