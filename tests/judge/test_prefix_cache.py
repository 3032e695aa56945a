from freelm.judge.prefix_cache import PrefixCache
from freelm.model.prefix import Prefix

ONE, TWO, THREE = (1,) * 4, (2,) * 4, (3,) * 4
PREFIXES = {ids: Prefix((), len(ids)) for ids in (ONE, TWO, THREE)}


def cache_of(max_tokens, *contexts):
    cache = PrefixCache(max_tokens)
    for ids in contexts:
        cache.put(ids, PREFIXES[ids])
    return cache


def test_what_was_put_in_comes_out():
    cache = cache_of(8, ONE, TWO)
    assert cache.get(ONE) is PREFIXES[ONE]
    assert cache.get(TWO) is PREFIXES[TWO]
    assert cache.get(THREE) is None


def test_the_context_used_longest_ago_makes_room():
    cache = cache_of(8, ONE, TWO)
    cache.get(ONE)
    cache.put(THREE, PREFIXES[THREE])
    assert (ONE in cache, TWO in cache, THREE in cache) == (True, False, True)
    assert cache.num_tokens == 8


def test_a_context_larger_than_the_cache_is_not_kept_and_drops_nothing():
    cache = cache_of(5, ONE)
    cache.put((9,) * 6, Prefix((), 6))
    assert (9,) * 6 not in cache
    assert ONE in cache


def test_the_same_context_again_takes_no_more_room():
    assert cache_of(8, ONE, ONE, ONE).num_tokens == 4
