import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from freelm.errors import DataError
from freelm.eval import statistics
from freelm.eval.metrics import METRICS, Predictions
from freelm.eval.statistics import (
    bootstrap_interval,
    bootstrap_p_value,
    holm,
    mcnemar,
    paired_bootstrap,
    percentile_interval,
)

label_pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


def columns(pairs):
    return np.array(pairs, dtype=float).T


def labelled(num_items=60, num_labels=3, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = [rng.dirichlet(np.ones(num_labels)) for _ in range(num_items)]
    predicted = np.array([row.argmax() for row in probabilities], dtype=float)
    targets = rng.integers(0, num_labels, num_items).astype(float)
    return Predictions(targets, predicted, probabilities)


# -- bootstrap -------------------------------------------------------------------------------------


def test_bootstrap_covers_the_true_accuracy():
    rng = np.random.default_rng(1)
    covered = 0
    for simulation in range(200):
        targets = np.zeros(150)
        predicted = (rng.random(150) >= 0.7).astype(float)
        low, high = bootstrap_interval(
            Predictions(targets, predicted), "accuracy", num_samples=300, seed=simulation
        )
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 198


@pytest.mark.parametrize("name", METRICS)
def test_bootstrap_holds_the_metric_and_depends_on_the_seed_only(name):
    one = labelled()
    low, high = bootstrap_interval(one, name, num_samples=200, seed=3)
    assert low < high
    assert (low, high) == bootstrap_interval(one, name, num_samples=200, seed=3)
    assert (low, high) != bootstrap_interval(one, name, num_samples=200, seed=4)
    if name != "ece":  # biased upwards in small samples, so its interval may lie above it
        assert low <= METRICS[name](one) <= high


@pytest.mark.parametrize("name", METRICS)
def test_bootstrap_equals_scoring_each_resample(name):
    one = labelled(num_items=25)
    rng = np.random.default_rng(5)
    values = []
    for row in rng.integers(0, 25, size=(40, 25)):
        rows = [one.probabilities[i] for i in row]
        values.append(METRICS[name](Predictions(one.targets[row], one.predicted[row], rows)))
    expected = np.quantile(values, [0.05, 0.95])
    found = bootstrap_interval(one, name, num_samples=40, seed=5, level=0.9)
    assert found == pytest.approx(tuple(expected), abs=1e-12)


def test_bootstrap_does_not_depend_on_how_many_draws_fit_at_once(monkeypatch):
    one = labelled()
    whole = bootstrap_interval(one, "accuracy", num_samples=100)
    monkeypatch.setattr(statistics, "MAX_DRAWS_AT_ONCE", 7 * 60)
    assert bootstrap_interval(one, "accuracy", num_samples=100) == whole


@settings(max_examples=25)
@given(label_pairs, st.sampled_from(["accuracy", "f1", "macro_f1", "mcc", "pearson", "spearman"]))
def test_bootstrap_is_finite_on_any_labels(pairs, name):
    low, high = bootstrap_interval(Predictions(*columns(pairs)), name, num_samples=20)
    assert -1 <= low <= high <= 1


def test_an_unknown_metric_is_refused():
    with pytest.raises(DataError, match="unknown metric"):
        bootstrap_interval(labelled(), "bleu")


# -- paired tests ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("only_ours", "only_theirs"), [(0, 0), (5, 0), (3, 9), (20, 20), (1, 7)])
def test_mcnemar_is_the_exact_binomial_test_of_the_items_that_differ(only_ours, only_theirs):
    ours = [True] * only_ours + [False] * only_theirs + [True] * 13 + [False] * 4
    theirs = [False] * only_ours + [True] * only_theirs + [True] * 13 + [False] * 4
    n, k = only_ours + only_theirs, min(only_ours, only_theirs)
    expected = min(1.0, 2 * binom.cdf(k, n, 0.5)) if n else 1.0
    assert mcnemar(np.array(ours), np.array(theirs)) == pytest.approx(expected)
    assert mcnemar(np.array(theirs), np.array(ours)) == pytest.approx(expected)


def test_equal_models_are_found_different_as_seldom_as_stated():
    rng = np.random.default_rng(0)
    found = sum(mcnemar(rng.random(80) < 0.7, rng.random(80) < 0.7) < 0.05 for _ in range(400))
    assert found / 400 <= 0.05 + 0.02


def test_the_paired_interval_is_narrower_than_two_separate_ones_on_like_answers():
    rng = np.random.default_rng(1)
    targets = np.zeros(400)
    theirs = (rng.random(400) < 0.3).astype(float)
    ours = theirs.copy()
    ours[np.flatnonzero(theirs)[:20]] = 0.0  # 20 of 400 more are right: 5 points
    low, high = percentile_interval(
        paired_bootstrap(Predictions(targets, ours), Predictions(targets, theirs), "accuracy")
    )
    assert 0 < low < 0.05 < high
    assert high - low < 0.05


def test_the_bootstrap_refuses_other_items():
    one, other = Predictions(np.zeros(3), np.zeros(3)), Predictions(np.ones(3), np.zeros(3))
    with pytest.raises(DataError, match="same items"):
        paired_bootstrap(one, other, "accuracy")


def test_the_bootstrap_p_value_agrees_with_the_normal_test():
    differences = np.random.default_rng(0).normal(0.05, 0.02, 100_000)
    assert bootstrap_p_value(differences, 0.05) == pytest.approx(0.0124, abs=0.001)
    assert bootstrap_p_value(differences, -0.05) == bootstrap_p_value(differences, 0.05)
    assert bootstrap_p_value(np.zeros(100), 0.0) == 1.0


# -- many tests ------------------------------------------------------------------------------------


def test_holm_by_hand():
    # Sorted .01, .02, .03, .04 by 4, 3, 2, 1, never falling.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_the_order_and_is_between_the_p_value_and_bonferroni(p_values):
    corrected = holm(p_values)
    for p, found in zip(p_values, corrected, strict=True):
        assert p <= found <= 1.0
    smallest = min(p_values)
    assert corrected[p_values.index(smallest)] == min(1.0, smallest * len(p_values))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)


def test_holm_errs_in_any_of_many_tests_as_seldom_as_stated():
    rng = np.random.default_rng(0)
    errs = sum(min(holm(rng.random(20).tolist())) < 0.05 for _ in range(2000))
    assert errs / 2000 == pytest.approx(0.05, abs=0.015)
