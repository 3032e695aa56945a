import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from freelm.errors import DataError
from freelm.eval import metrics
from freelm.eval.metrics import METRICS, Predictions, bootstrap_interval, majority, metric_named

label_pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


def columns(pairs):
    return np.array(pairs, dtype=float).T


def random_probabilities(rng, sizes):
    return [rng.dirichlet(np.ones(size)) for size in sizes]


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
    everything = Predictions(targets, predicted, positive=2)
    expected = {
        "accuracy": sk.accuracy_score(targets, predicted),
        "f1": sk.f1_score(targets, predicted, labels=[2], average="macro", zero_division=0),
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
    assert metrics.pearson(targets * scale, predicted) == pytest.approx(pearson, abs=1e-12)
    assert metrics.spearman(targets * scale, predicted) == pytest.approx(spearman, abs=1e-12)


@pytest.mark.parametrize("num_labels", [2, 3, 7])
def test_brier_equals_scikit_learn(num_labels):
    one = labelled(num_labels=num_labels)
    expected = sk.brier_score_loss(
        one.targets, np.array(one.probabilities), labels=range(num_labels)
    )
    assert metrics.brier(one.targets, one.probabilities) == pytest.approx(expected, abs=1e-12)


def test_table_and_functions_agree():
    one = labelled()
    for name, metric in METRICS.items():
        function = getattr(metrics, name)
        arguments = {
            "brier": (one.targets, one.probabilities),
            "ece": (one.targets, one.predicted, one.probabilities),
        }.get(name, (one.targets, one.predicted))
        assert metric(one) == function(*arguments), name


# -- worked by hand --------------------------------------------------------------------------------


def test_brier_by_hand():
    # (0.2^2 + 0.1^2 + 0.1^2) and (0.5^2 + 0.7^2 + 0.2^2)
    rows = [np.array([0.8, 0.1, 0.1]), np.array([0.5, 0.3, 0.2])]
    assert metrics.brier([0, 1], rows) == pytest.approx((0.06 + 0.78) / 2)
    # (0.3 - 0)^2 and (0.9 - 1)^2
    binary = [np.array([0.7, 0.3]), np.array([0.1, 0.9])]
    assert metrics.brier([0, 1], binary) == pytest.approx((0.09 + 0.01) / 2)


def test_ece_by_hand():
    confidences = [0.95, 0.97, 0.62, 0.65, 0.66]
    rows = [np.array([p, 1 - p]) for p in confidences]
    targets = [0, 1, 0, 0, 1]
    # bin (14/15, 1]: accuracy 1/2, confidence 0.96; bin (9/15, 10/15]: 2/3 and 1.93/3
    expected = 2 / 5 * abs(1 / 2 - 0.96) + 3 / 5 * abs(2 / 3 - 1.93 / 3)
    assert metrics.ece(targets, np.zeros(5), rows) == pytest.approx(expected)


def test_ece_uses_the_predicted_label_and_its_bins_are_closed_above():
    # Predicted label 1 with 0.2 = 3/15 and 0.15: one bin, (2/15, 3/15].
    rows = [np.array([0.8, 0.2]), np.array([0.85, 0.15])]
    assert metrics.ece([1, 0], [1, 1], rows) == pytest.approx(abs(0.5 - 0.175))


def test_ece_has_fifteen_bins():
    # 0.62 and 0.68 lie on the two sides of 10/15; their gaps must not cancel.
    rows = [np.array([0.62, 0.38]), np.array([0.68, 0.32])]
    assert metrics.ece([0, 1], [0, 0], rows) == pytest.approx((0.38 + 0.68) / 2)
    # 0.61 and 0.66 lie between 9/15 and 10/15; theirs must.
    rows = [np.array([0.61, 0.39]), np.array([0.66, 0.34])]
    assert metrics.ece([0, 1], [0, 0], rows) == pytest.approx(abs(0.39 - 0.66) / 2)


def test_ece_of_a_calibrated_model_is_small_and_of_a_sure_one_is_its_error_rate():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 20_000)
    targets = (rng.random(20_000) >= p).astype(float)
    honest = [np.array([value, 1 - value]) for value in p]
    assert metrics.ece(targets, np.zeros(20_000), honest) < 0.015
    sure = [np.array([1.0, 0.0])] * 20_000
    assert metrics.ece(targets, np.zeros(20_000), sure) == pytest.approx(targets.mean())


def test_items_may_have_different_numbers_of_labels():
    rows = [np.array([0.5, 0.5]), np.array([0.0, 0.0, 1.0])]
    assert metrics.brier([0, 2], rows) == pytest.approx(0.25)
    assert metrics.ece([0, 2], [0, 2], rows) == pytest.approx(0.25)


# -- defined edges ---------------------------------------------------------------------------------


def test_class_never_predicted_counts_zero_in_macro_f1():
    assert metrics.macro_f1([0, 1, 2], [0, 1, 1]) == pytest.approx((1 + 2 / 3 + 0) / 3)


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


@pytest.mark.parametrize(
    "name", ["accuracy", "f1", "macro_f1", "mcc", "pearson", "spearman", "mae"]
)
def test_no_items_are_refused(name):
    with pytest.raises(DataError, match="no items"):
        getattr(metrics, name)([], [])
    with pytest.raises(DataError, match="no items"):
        majority([], name)


def test_no_items_are_refused_for_probabilities():
    with pytest.raises(DataError, match="no items"):
        metrics.brier([], [])
    with pytest.raises(DataError, match="no items"):
        Predictions(np.array([]), np.array([]))


@pytest.mark.parametrize(
    "row", [[np.nan, 0.5], [np.nan, np.nan], [np.inf, 0.0], [-0.5, 1.5], [0.6, 0.6], [1.0]]
)
def test_bad_probabilities_name_the_item(row):
    rows = [np.array([0.5, 0.5]), np.array(row)]
    with pytest.raises(DataError, match="item 1"):
        Predictions(np.zeros(2), np.zeros(2), rows)
    with pytest.raises(DataError, match="item 1"):
        metrics.brier([0, 0], rows)
    with pytest.raises(DataError, match="item 1"):
        metrics.ece([0, 0], [0, 0], rows)


def test_bad_predictions_name_the_item():
    with pytest.raises(DataError, match="item 2: the prediction is nan"):
        Predictions(np.zeros(3), np.array([0, 1, np.nan]))
    with pytest.raises(DataError, match="item 0: the target is inf"):
        metrics.accuracy([np.inf], [0])
    with pytest.raises(DataError, match="one of each per item"):
        metrics.accuracy([1, 2], [1])
    with pytest.raises(DataError, match="3 items, but probabilities of 1"):
        Predictions(np.zeros(3), np.zeros(3), [np.array([0.5, 0.5])])


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_label_without_probability_names_the_item(label):
    rows = [np.array([0.5, 0.5])] * 2
    with pytest.raises(DataError, match=f"item 1: the target is {label}"):
        metrics.brier([0, label], rows)
    with pytest.raises(DataError, match=f"item 1: the prediction is {label}"):
        metrics.ece([0, 0], [0, label], rows)


def test_missing_probabilities_and_unknown_metric():
    with pytest.raises(DataError, match="need the probabilities"):
        METRICS["ece"](Predictions(np.zeros(2), np.zeros(2)))
    with pytest.raises(DataError, match="did you mean 'accuracy'"):
        metric_named("acuracy")
    with pytest.raises(DataError, match="did you mean 'spearman'"):
        majority([0, 1], "spearmann")
    with pytest.raises(DataError, match="unknown metric"):
        bootstrap_interval(labelled(), "bleu")


# -- majority --------------------------------------------------------------------------------------


def test_majority_of_labels():
    targets = [0, 1, 1, 2, 1]
    assert majority(targets, "accuracy") == 0.6
    assert majority(targets, "f1", positive=1) == pytest.approx(0.75)
    assert majority(targets, "f1", positive=2) == pytest.approx(1 / 3)  # 2 for all beats 1 for all
    assert majority([0, 0, 0, 1], "f1") == pytest.approx(0.4)  # always yes, against the majority
    assert majority(targets, "macro_f1") == pytest.approx(0.75 / 3)
    assert majority(targets, "mcc") == 0.0
    assert majority([0, 1], "f1", positive=0) == pytest.approx(2 / 3)  # of equals the smallest


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
    monkeypatch.setattr(metrics, "MAX_DRAWS_AT_ONCE", 7 * 60)
    assert bootstrap_interval(one, "accuracy", num_samples=100) == whole


@settings(max_examples=25)
@given(label_pairs, st.sampled_from(["accuracy", "f1", "macro_f1", "mcc", "pearson", "spearman"]))
def test_bootstrap_is_finite_on_any_labels(pairs, name):
    low, high = bootstrap_interval(Predictions(*columns(pairs)), name, num_samples=20)
    assert -1 <= low <= high <= 1
