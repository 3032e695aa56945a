import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from freelm.errors import DataError
from freelm.eval.metrics import METRICS, Predictions, majority, metric_named

label_pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


def columns(pairs):
    return np.array(pairs, dtype=float).T


def random_probabilities(rng, sizes):
    return [rng.dirichlet(np.ones(size)) for size in sizes]


def score(name, targets, predicted, probabilities=None):
    return METRICS[name](Predictions(np.array(targets), np.array(predicted), probabilities))


def labelled(num_items=60, num_labels=3, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = random_probabilities(rng, [num_labels] * num_items)
    predicted = np.array([row.argmax() for row in probabilities], dtype=float)
    targets = rng.integers(0, num_labels, num_items).astype(float)
    return Predictions(targets, predicted, probabilities)


# -- equal to scikit-learn and scipy ---------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(label_pairs)
def test_label_metrics_equal_scikit_learn(pairs):
    targets, predicted = columns(pairs)
    everything = Predictions(targets, predicted)
    expected = {
        "accuracy": sk.accuracy_score(targets, predicted),
        "f1": sk.f1_score(targets, predicted, labels=[1], average="macro", zero_division=0),
        "macro_f1": sk.f1_score(targets, predicted, average="macro", zero_division=0),
        "mcc": sk.matthews_corrcoef(targets, predicted),
        "mae": sk.mean_absolute_error(targets, predicted),
    }
    for name, value in expected.items():
        assert METRICS[name](everything) == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("scale", [1e-170, 1.0, 1e170])
def test_correlations_equal_scipy(seed, scale):
    rng = np.random.default_rng(seed)
    # Rounded, so that ranks are tied.
    targets, noise = rng.normal(size=(2, 30)).round(1)
    predicted = targets + 2 * noise
    pearson = stats.pearsonr(targets, predicted).statistic
    spearman = stats.spearmanr(targets, predicted).statistic
    scaled = targets * scale
    assert score("pearson", scaled, predicted) == pytest.approx(pearson, abs=1e-12)
    assert score("spearman", scaled, predicted) == pytest.approx(spearman, abs=1e-12)


@pytest.mark.parametrize("num_labels", [2, 3, 7])
def test_brier_equals_scikit_learn(num_labels):
    one = labelled(num_labels=num_labels)
    expected = sk.brier_score_loss(
        one.targets, np.array(one.probabilities), labels=range(num_labels)
    )
    assert METRICS["brier"](one) == pytest.approx(expected, abs=1e-12)


# -- worked by hand --------------------------------------------------------------------------------


def test_brier_by_hand():
    # (0.2^2 + 0.1^2 + 0.1^2) and (0.5^2 + 0.7^2 + 0.2^2)
    rows = [np.array([0.8, 0.1, 0.1]), np.array([0.5, 0.3, 0.2])]
    assert score("brier", [0, 1], [0, 1], rows) == pytest.approx((0.06 + 0.78) / 2)
    # (0.3 - 0)^2 and (0.9 - 1)^2
    binary = [np.array([0.7, 0.3]), np.array([0.1, 0.9])]
    assert score("brier", [0, 1], [0, 1], binary) == pytest.approx((0.09 + 0.01) / 2)


def test_ece_by_hand():
    confidences = [0.95, 0.97, 0.62, 0.65, 0.66]
    rows = [np.array([p, 1 - p]) for p in confidences]
    targets = [0, 1, 0, 0, 1]
    # bin (14/15, 1]: accuracy 1/2, confidence 0.96; bin (9/15, 10/15]: 2/3 and 1.93/3
    expected = 2 / 5 * abs(1 / 2 - 0.96) + 3 / 5 * abs(2 / 3 - 1.93 / 3)
    assert score("ece", targets, np.zeros(5), rows) == pytest.approx(expected)


def test_ece_uses_the_predicted_label_and_its_bins_are_closed_above():
    # Predicted label 1 with 0.2 = 3/15 and 0.15: one bin, (2/15, 3/15].
    rows = [np.array([0.8, 0.2]), np.array([0.85, 0.15])]
    assert score("ece", [1, 0], [1, 1], rows) == pytest.approx(abs(0.5 - 0.175))


def test_ece_has_fifteen_bins():
    # 0.62 and 0.68 lie on the two sides of 10/15; their gaps must not cancel.
    rows = [np.array([0.62, 0.38]), np.array([0.68, 0.32])]
    assert score("ece", [0, 1], [0, 0], rows) == pytest.approx((0.38 + 0.68) / 2)
    # 0.61 and 0.66 lie between 9/15 and 10/15; theirs must.
    rows = [np.array([0.61, 0.39]), np.array([0.66, 0.34])]
    assert score("ece", [0, 1], [0, 0], rows) == pytest.approx(abs(0.39 - 0.66) / 2)


def test_ece_of_a_calibrated_model_is_small_and_of_a_sure_one_is_its_error_rate():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 20_000)
    targets = (rng.random(20_000) >= p).astype(float)
    honest = [np.array([value, 1 - value]) for value in p]
    assert score("ece", targets, np.zeros(20_000), honest) < 0.015
    sure = [np.array([1.0, 0.0])] * 20_000
    assert score("ece", targets, np.zeros(20_000), sure) == pytest.approx(targets.mean())


def test_items_may_have_different_numbers_of_labels():
    rows = [np.array([0.5, 0.5]), np.array([0.0, 0.0, 1.0])]
    assert score("brier", [0, 2], [0, 2], rows) == pytest.approx(0.25)
    assert score("ece", [0, 2], [0, 2], rows) == pytest.approx(0.25)


# -- defined edges ---------------------------------------------------------------------------------


def test_class_never_predicted_counts_zero_in_macro_f1():
    assert score("macro_f1", [0, 1, 2], [0, 1, 1]) == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(
    ("name", "targets", "predicted", "expected"),
    [
        ("f1", [0, 0], [0, 0], 0.0),
        ("f1", [1, 1], [0, 0], 0.0),
        ("macro_f1", [1, 1], [1, 1], 1.0),
        ("mcc", [1, 1], [1, 1], 0.0),
        ("mcc", [0, 1], [1, 1], 0.0),
        ("pearson", [1.0, 2.0, 3.0], [0.1, 0.1, 0.1], 0.0),
        ("spearman", [2.0, 2.0], [1.0, 3.0], 0.0),
        ("pearson", [3.0], [3.0], 0.0),
        ("accuracy", [3.0], [3.0], 1.0),
    ],
)
def test_single_classes_and_constants(name, targets, predicted, expected):
    assert METRICS[name](Predictions(np.array(targets), np.array(predicted))) == expected


@pytest.mark.parametrize("name", METRICS)
def test_no_items_are_refused(name):
    with pytest.raises(DataError, match="no items"):
        Predictions(np.array([]), np.array([]))
    with pytest.raises(DataError, match="no items"):
        majority([], name)


@pytest.mark.parametrize(
    "row", [[np.nan, 0.5], [np.nan, np.nan], [np.inf, 0.0], [-0.5, 1.5], [0.6, 0.6], [1.0]]
)
def test_bad_probabilities_name_the_item(row):
    rows = [np.array([0.5, 0.5]), np.array(row)]
    with pytest.raises(DataError, match="item 1"):
        Predictions(np.zeros(2), np.zeros(2), rows)


def test_bad_predictions_name_the_item():
    with pytest.raises(DataError, match="item 2: the prediction is nan"):
        Predictions(np.zeros(3), np.array([0, 1, np.nan]))
    with pytest.raises(DataError, match="item 0: the target is inf"):
        Predictions(np.array([np.inf]), np.zeros(1))
    with pytest.raises(DataError, match="one of each per item"):
        Predictions(np.ones(2), np.ones(1))
    with pytest.raises(DataError, match="3 items, but probabilities of 1"):
        Predictions(np.zeros(3), np.zeros(3), [np.array([0.5, 0.5])])


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_label_without_probability_names_the_item(label):
    rows = [np.array([0.5, 0.5])] * 2
    with pytest.raises(DataError, match=f"item 1: the target is {label}"):
        score("brier", [0, label], [0, 0], rows)
    with pytest.raises(DataError, match=f"item 1: the prediction is {label}"):
        score("ece", [0, 0], [0, label], rows)


def test_missing_probabilities_and_unknown_metric():
    with pytest.raises(DataError, match="need the probabilities"):
        METRICS["ece"](Predictions(np.zeros(2), np.zeros(2)))
    with pytest.raises(DataError, match="did you mean 'accuracy'"):
        metric_named("acuracy")
    with pytest.raises(DataError, match="did you mean 'spearman'"):
        majority([0, 1], "spearmann")


# -- majority --------------------------------------------------------------------------------------


def test_majority_of_labels():
    targets = [0, 1, 1, 2, 1]
    assert majority(targets, "accuracy") == 0.6
    assert majority(targets, "f1") == pytest.approx(0.75)
    assert majority([0, 0, 0, 1], "f1") == pytest.approx(0.4)  # always yes, against the majority
    assert majority(targets, "macro_f1") == pytest.approx(0.75 / 3)
    assert majority(targets, "mcc") == 0.0
    assert majority([0, 1], "accuracy") == 0.5


def test_majority_of_scores():
    targets = [0.0, 1.0, 1.5, 5.0]
    assert majority(targets, "pearson") == majority(targets, "spearman") == 0.0
    best = min(np.abs(np.array(targets) - c).mean() for c in np.linspace(0, 5, 501))
    assert majority(targets, "mae") == pytest.approx(best)


def test_majority_of_probabilities():
    # The frequencies 0.2, 0.6, 0.2: 1 - sum of squares.
    assert majority([0, 1, 1, 2, 1], "brier", num_labels=3) == pytest.approx(1 - 0.44)
    assert majority([0, 1, 1, 2, 1], "ece") == pytest.approx(0.0)
    assert majority([1, 1, 0, 0], "brier") == pytest.approx(0.25)
    assert majority([1, 1, 0, 0], "brier", num_labels=3) == pytest.approx(0.5)
    assert majority([1, 1], "brier") == 0.0
