import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freelm.errors import ModelError
from freelm.judge.probabilities import expected_level, option_probabilities

margins_of_any_size = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=12)


def enumerated(probabilities):
    """P(i | exactly one is true) by summing over all outcomes of independent claims."""
    mass = np.zeros(len(probabilities))
    for outcome in itertools.product([False, True], repeat=len(probabilities)):
        if sum(outcome) == 1:
            mass[outcome.index(True)] += np.prod(
                np.where(outcome, probabilities, 1 - probabilities)
            )
    return mass / mass.sum()


@pytest.mark.parametrize("size", range(1, 7))
@pytest.mark.parametrize("seed", range(10))
def test_equals_enumeration_of_independent_claims(size, seed):
    margins = np.random.default_rng(seed).normal(0, 3, size)
    expected = enumerated(1 / (1 + np.exp(-margins)))
    assert option_probabilities(margins) == pytest.approx(expected, abs=1e-12)


@given(margins_of_any_size)
def test_are_probabilities_at_any_margin(margins):
    found = option_probabilities(margins)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert found[np.argmax(margins)] == found.max()


@given(margins_of_any_size, st.randoms(use_true_random=False))
def test_order_of_the_options_never_matters(margins, random):
    order = list(range(len(margins)))
    random.shuffle(order)
    found = option_probabilities(margins)
    assert np.array_equal(option_probabilities(np.array(margins)[order]), found[order])


@pytest.mark.parametrize("seed", range(20))
def test_order_never_matters_where_rounding_would(seed):
    rng = np.random.default_rng(seed)
    margins, order = rng.normal(0, 3, 20), rng.permutation(20)
    found = option_probabilities(margins)
    assert np.array_equal(option_probabilities(margins[order]), found[order])


def test_a_temperature_divides_the_margins():
    margins = np.array([0.3, -2.0, 1.1, 0.4, -0.2])
    assert option_probabilities(margins, 1.8) == pytest.approx(option_probabilities(margins / 1.8))


@given(margins_of_any_size, st.floats(-1e4, 1e4))
def test_a_common_shift_changes_nothing(margins, shift):
    moved = option_probabilities(np.array(margins) + shift)
    assert moved == pytest.approx(option_probabilities(margins), abs=1e-10)


def test_extremes_by_hand():
    assert option_probabilities([1e4, -1e4]).tolist() == [1.0, 0.0]
    assert option_probabilities([-1e4, -1e4]).tolist() == [0.5, 0.5]
    assert option_probabilities([1e4, 1e4, 1e4, 1e4]).tolist() == [0.25] * 4
    assert option_probabilities([-3.0]).tolist() == [1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_name_the_option(bad):
    with pytest.raises(ModelError, match="option 1"):
        option_probabilities([0.0, bad])
    with pytest.raises(ModelError, match="option 1"):
        expected_level([0.5, bad], [1, 2])
    with pytest.raises(ModelError, match="option 1"):
        expected_level([0.5, 0.5], [1, bad])


def test_wrong_shapes_are_refused():
    for margins in ([], [[0.0, 1.0]], 0.0):
        with pytest.raises(ModelError, match="one margin per option"):
            option_probabilities(margins)
    for probabilities, levels in (([], []), ([1.0], [1, 2]), ([[1.0]], [[1.0]])):
        with pytest.raises(ModelError, match="one probability per level"):
            expected_level(probabilities, levels)


def test_expected_level_by_hand():
    assert expected_level([0.2, 0.3, 0.5], [0, 1, 5]) == pytest.approx(2.8)
    assert isinstance(expected_level([1.0], [3]), float)
    # Rounded, these sum to a little more than 1.
    assert expected_level([1.2e-16, 1.2e-16, 1.0], [4, 4.5, 5]) == 5


@given(margins_of_any_size)
def test_expected_level_stays_in_range(margins):
    levels = np.arange(len(margins)) / 3 + 0.1
    assert levels[0] <= expected_level(option_probabilities(margins), levels) <= levels[-1]
