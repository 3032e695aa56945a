import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from freelm.errors import DataError
from freelm.model.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    binary_cross_entropy,
    fit_choice_temperature,
    fit_temperature,
    temperature_of_options,
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


@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_finds_by_how_much_options_were_too_sure(temperature):
    rng = np.random.default_rng(4)
    sizes = rng.integers(2, 9, 20_000)
    honest = [rng.normal(0, 2, size) for size in sizes]
    truths = []
    for margins in honest:
        odds = np.exp(margins)
        truths.append(np.eye(len(margins))[rng.choice(len(margins), p=odds / odds.sum())])
    found = fit_choice_temperature(
        [m * temperature_of_options(temperature, len(m)) for m in honest], truths
    )
    assert found == pytest.approx(temperature, rel=0.05)


def test_two_claims_that_mirror_each_other_need_a_temperature_of_two():
    margin = 1.3
    odds = np.exp(np.array([margin, -margin]) / temperature_of_options(2.0, 2))
    assert odds[0] / odds.sum() == pytest.approx(1 / (1 + np.exp(-margin)))


@pytest.mark.parametrize("temperature", [0.05, 0.6, 1.0, 3.0])
def test_the_temperature_of_options_comes_nearer_to_one_the_more_there_are(temperature):
    found = temperature_of_options(temperature, np.arange(1, 200))
    assert found[0] == found[1] == pytest.approx(temperature)
    distances = np.abs(found[1:] - 1)
    assert (np.diff(distances) <= 0).all()
    assert distances[-1] < 0.01 * max(1.1, temperature)
    assert (found > 0).all()


def test_graded_truths_and_weights_count_as_repeated_rows():
    margins = [[1.0, 0.0, -1.0], [0.5, 2.0]]
    graded = fit_choice_temperature(margins, [[0.75, 0.25, 0.0], [0.0, 1.0]], [4, 1])
    rows = [margins[0]] * 4 + [margins[1]]
    truths = [[1, 0, 0]] * 3 + [[0, 1, 0], [0, 1]]
    assert graded == pytest.approx(fit_choice_temperature(rows, truths), rel=1e-4)
    # Only the ratio of the truths of a row matters.
    halved = fit_choice_temperature(margins, [[0.3, 0.1, 0.0], [0.0, 0.2]], [4, 1])
    assert graded == pytest.approx(halved, rel=1e-6)


def test_options_that_nothing_is_known_of_keep_their_probabilities():
    assert fit_choice_temperature([], []) == 1.0
    with pytest.raises(DataError, match="margin"):
        fit_choice_temperature([[np.nan, 1.0]], [[0, 1]])
