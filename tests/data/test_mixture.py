import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.data.mixture import BLOCK, Interleave, mixing_rates, seeded, shuffled
from freelm.errors import ConfigError

RATES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(1e-3, 1e3), min_size=1)


@pytest.mark.parametrize(
    ("temperature", "cap", "expected"),
    [
        (1.0, None, {"a": 100.0, "b": 400.0, "c": 10000.0}),
        (2.0, None, {"a": 10.0, "b": 20.0, "c": 100.0}),
        (1.0, 400, {"a": 100.0, "b": 400.0, "c": 400.0}),
        (2.0, 400, {"a": 10.0, "b": 20.0, "c": 20.0}),
        (2.0, 64, {"a": 8.0, "b": 8.0, "c": 8.0}),
    ],
)
def test_mixing_rates_match_hand_computed_values(
    temperature: float, cap: int | None, expected: dict[str, float]
) -> None:
    rates = mixing_rates({"a": 100, "b": 400, "c": 10000}, temperature, cap)
    assert rates == pytest.approx(expected)


# -- turns ----------------------------------------------------------------------------------------


def test_every_block_holds_each_source_in_proportion() -> None:
    mixture = Interleave({"a": 1, "b": 2, "c": 5}, seed=3)
    for block in range(3):
        names = [mixture.draw(block * BLOCK + i)[0] for i in range(BLOCK)]
        assert Counter(names) == {"a": BLOCK // 8, "b": BLOCK // 4, "c": BLOCK * 5 // 8}


@given(RATES)
def test_shares_are_exact_to_one_slot_and_never_zero(rates: dict[str, float]) -> None:
    mixture = Interleave(rates, seed=0)
    counts = Counter(mixture.draw(i)[0] for i in range(BLOCK))
    total = sum(rates.values())
    tiny = sum(rate / total * BLOCK < 1 for rate in rates.values())
    for name, rate in rates.items():
        assert counts[name] >= 1
        # Sources lifted to one place take theirs from the others.
        assert abs(counts[name] - rate / total * BLOCK) <= 1 + tiny


@given(RATES, st.integers(0, 9))
def test_the_nth_draw_of_a_source_is_numbered_n(rates: dict[str, float], seed: int) -> None:
    mixture, counts = Interleave(rates, seed), Counter[str]()
    for index in range(2 * BLOCK + 100):
        name, draw = mixture.draw(index)
        assert draw == counts[name]
        counts[name] += 1


def test_draws_do_not_depend_on_earlier_draws() -> None:
    rates = {"a": 1.0, "b": 3.0}
    forward, backward = Interleave(rates, 5), Interleave(rates, 5)
    indices = list(range(0, 20 * BLOCK, 97))  # more blocks than are remembered
    drawn = {i: forward.draw(i) for i in indices}
    assert {i: backward.draw(i) for i in reversed(indices)} == drawn
    assert [Interleave(rates, 6).draw(i) for i in indices] != list(drawn.values())


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_non_positive_rate_is_rejected(rate: float) -> None:
    with pytest.raises(ConfigError, match="rate of 'b'"):
        Interleave({"a": 1.0, "b": rate}, 0)


def test_no_sources_and_too_many_sources_are_rejected() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Interleave({}, 0)
    with pytest.raises(ConfigError, match="at most"):
        Interleave({str(i): 1.0 for i in range(BLOCK + 1)}, 0)
    assert len({Interleave({str(i): 1.0 for i in range(BLOCK)}, 0).draw(i) for i in range(9)}) == 9


@given(st.integers(1, 50), st.integers(0, 99))
def test_every_row_is_drawn_once_per_epoch(size: int, seed: int) -> None:
    for epoch in range(3):
        rows = [shuffled(epoch * size + i, size, seed, "x") for i in range(size)]
        assert sorted(rows) == list(range(size))


def test_each_epoch_source_and_seed_has_its_own_order() -> None:
    def order(epoch: int, seed: int, name: str) -> tuple[int, ...]:
        return tuple(shuffled(epoch * 40 + i, 40, seed, name) for i in range(40))

    orders = {order(*key) for key in itertools.product((0, 1), (0, 1), ("x", "y"))}
    assert len(orders) == 8


def test_a_generator_depends_only_on_its_key() -> None:
    assert seeded(1, "a").random() == seeded(1, "a").random()
    assert seeded(1, "a").random() != seeded(1, "b").random()
    assert seeded(1, "a").random() != seeded(11, "a").random()
