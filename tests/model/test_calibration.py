from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from freelm.errors import DataError
from freelm.model.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    NO_CHANGE,
    ChoiceTemperature,
    binary_cross_entropy,
    fit_choice_temperature,
    fit_temperature,
)

propositions = st.lists(
    st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1), st.floats(0.01, 10)), min_size=1, max_size=30
)


def loss(margins, truths, weights=None):
    weights = np.ones(len(margins)) if weights is None else weights
    return binary_cross_entropy(np.asarray(margins), np.asarray(truths, float), weights)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 2.5, 10.0])
def test_known_temperature_is_recovered(temperature):
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 50_000)
    truths = rng.random(50_000) < expit(honest)
    assert fit_temperature(honest * temperature, truths) == pytest.approx(temperature, rel=0.05)


def test_graded_truths_recover_the_temperature_exactly():
    honest = np.linspace(-4, 4, 41)
    assert fit_temperature(honest * 3, expit(honest)) == pytest.approx(3, rel=1e-3)


def test_weights_count_like_repetitions():
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 3, 200)
    truths = rng.random(200) < expit(margins / 2)
    weights = rng.integers(1, 5, 200)
    repeated = fit_temperature(np.repeat(margins, weights), np.repeat(truths, weights))
    assert fit_temperature(margins, truths, weights) == pytest.approx(repeated, rel=1e-4)
    assert fit_temperature(margins, truths) != pytest.approx(repeated, rel=1e-3)


@settings(max_examples=200)
@given(propositions)
def test_loss_never_gets_worse(items):
    margins, truths, weights = np.array(items).T
    temperature = fit_temperature(margins, truths, weights)
    assert MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE
    assert loss(margins / temperature, truths, weights) <= loss(margins, truths, weights)


@settings(max_examples=50)
@given(propositions)
def test_no_temperature_of_a_grid_is_better(items):
    margins, truths, weights = np.array(items).T
    best = loss(margins / fit_temperature(margins, truths, weights), truths, weights)
    for temperature in np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 60):
        assert best <= loss(margins / temperature, truths, weights) * (1 + 1e-6) + 1e-12


def test_cross_entropy_by_hand_and_at_huge_margins():
    assert loss([0.0], [0.3]) == pytest.approx(np.log(2))
    assert loss([np.log(4.0)], [1]) == pytest.approx(-np.log(0.8))
    assert loss([1e300, -1e300], [1, 0]) == 0.0
    assert loss([1e9], [0]) == pytest.approx(1e9)
    assert loss([40.0], [1]) == pytest.approx(np.exp(-40), abs=0)


def test_separable_data_stop_at_the_lower_bound():
    assert fit_temperature([-2.0, -1.0, 1.0, 0.5], [0, 0, 1, 1]) == MIN_TEMPERATURE


def test_wrong_verdicts_stop_at_the_upper_bound():
    assert fit_temperature([-2.0, 1.0], [1, 0]) == MAX_TEMPERATURE
    assert fit_temperature([-1e8, 1e8], [1, 0]) == MAX_TEMPERATURE


@pytest.mark.filterwarnings("error")
def test_data_that_say_nothing_change_nothing():
    assert fit_temperature([], []) == 1.0
    assert fit_temperature([0.0, 0.0], [0, 1]) == 1.0
    assert fit_temperature([1e6, -1e6], [1, 0]) == 1.0  # no error at any temperature


@pytest.mark.parametrize(
    ("margins", "truths", "weights", "message"),
    [
        ([0.0, np.nan], [0, 1], None, "proposition 1: its margin cannot be nan"),
        ([np.inf], [1], None, "proposition 0: its margin"),
        ([0.0], [1.5], None, "proposition 0: its truth cannot be 1.5"),
        ([0.0], [np.nan], None, "proposition 0: its truth"),
        ([0.0], [1], [-1], "proposition 0: its weight"),
        ([0.0, 1.0], [1, 0], [0, 0], "all weights are zero"),
        ([0.0, 1.0], [1], None, "one of each per proposition"),
        ([[0.0]], [[1]], None, "one of each per proposition"),
    ],
)
def test_bad_input_is_named(margins, truths, weights, message):
    with pytest.raises(DataError, match=message):
        fit_temperature(margins, truths, weights)


@pytest.mark.parametrize(("two", "many"), [(1.7, 0.6), (0.3, 2.5), (1.0, 1.0)])
def test_finds_by_how_much_options_were_too_sure(two, many):
    rng = np.random.default_rng(4)
    sizes = rng.choice([2, 3, 5, 20], 12_000)
    honest = [rng.normal(0, 2, size) for size in sizes]
    truths = []
    for margins in honest:
        odds = np.exp(margins)
        truths.append(np.eye(len(margins))[rng.choice(len(margins), p=odds / odds.sum())])
    own = ChoiceTemperature(two, many)
    found = fit_choice_temperature([m * own.of(len(m)) for m in honest], truths)
    assert found.two == pytest.approx(two, rel=0.05)
    assert found.many == pytest.approx(many, rel=0.05)


def test_two_claims_that_mirror_each_other_need_a_temperature_of_two():
    margin = 1.3
    odds = np.exp(np.array([margin, -margin]) / ChoiceTemperature(two=2.0).of(2))
    assert odds[0] / odds.sum() == pytest.approx(1 / (1 + np.exp(-margin)))


@pytest.mark.parametrize(("two", "many"), [(0.05, 20.0), (1.8, 0.6), (1.0, 1.0), (3.0, 1.0)])
def test_the_temperature_goes_from_that_of_two_to_that_of_many(two, many):
    found = ChoiceTemperature(two, many).of(np.arange(1, 2000))
    assert found[0] == found[1] == pytest.approx(two)
    assert (np.diff(np.abs(found[1:] - many)) <= 1e-15).all()
    assert found[-1] == pytest.approx(many, rel=0.01, abs=0.01)
    assert (found > 0).all()


def test_the_temperature_of_options_by_hand():
    assert ChoiceTemperature(2.0, 0.5).of([2, 3, 4, 16]) == pytest.approx([2.0, 1.25, 1.0, 0.6])


def test_what_options_always_two_leave_open_stays_as_it_is():
    # Three of four are right at margins of 3 and -3: softmax(3 / T, -3 / T) = 3/4.
    found = fit_choice_temperature([[3.0, -3.0]] * 4, [[1, 0]] * 3 + [[0, 1]])
    assert found.two == pytest.approx(6 / np.log(3), rel=1e-3)
    assert found.many == pytest.approx(1.0, abs=1e-3)


def test_graded_truths_and_weights_count_as_repeated_rows():
    margins = [[1.0, 0.0, -1.0], [0.5, 2.0]]
    graded = fit_choice_temperature(margins, [[0.75, 0.25, 0.0], [0.1, 0.9]], [4, 10])
    rows = [margins[0]] * 4 + [margins[1]] * 10
    truths = [[1, 0, 0]] * 3 + [[0, 1, 0]] + [[1, 0]] + [[0, 1]] * 9
    assert astuple(graded) == pytest.approx(astuple(fit_choice_temperature(rows, truths)), rel=1e-4)
    # Only the ratio of the truths of a row matters.
    halved = fit_choice_temperature(margins, [[0.3, 0.1, 0.0], [0.05, 0.45]], [4, 10])
    assert astuple(graded) == pytest.approx(astuple(halved), rel=1e-4)


def test_options_that_nothing_is_known_of_keep_their_probabilities():
    assert fit_choice_temperature([], []) == NO_CHANGE
    assert NO_CHANGE.of([1, 2, 50]).tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(DataError, match="margin"):
        fit_choice_temperature([[np.nan, 1.0]], [[0, 1]])
