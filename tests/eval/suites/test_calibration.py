import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from freelm.api import FreeLM
from freelm.eval.items import JudgedRow, predictions
from freelm.eval.measure import Setting
from freelm.eval.metrics import METRICS, Predictions
from freelm.eval.suites import calibration
from freelm.eval.suites.calibration import (
    AFTER,
    BEFORE,
    area_under_risk_coverage,
    coverage_at_error,
    evaluate_calibration,
    reliability_table,
    risk_coverage,
    unscaled,
)
from freelm.judge.probabilities import option_probabilities
from freelm.model.calibration import NUM_ECE_BINS
from freelm.tasks import default_registry
from tiny_freelm import save_freelm

TOPIC = default_registry().get("miniworld_topic")


@pytest.fixture
def answered():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.3, 1.0, 500)
    return sure, (rng.random(500) < sure**2).astype(float)


def test_the_table_is_that_of_scikit_learn(answered):
    sure, right = answered
    bins = [b for b in reliability_table(sure, right) if b.count]
    accuracy, confidence = calibration_curve(right, sure, n_bins=NUM_ECE_BINS)
    assert [b.accuracy for b in bins] == pytest.approx(accuracy)
    assert [b.confidence for b in bins] == pytest.approx(confidence)


def test_the_weighted_gap_of_the_table_is_the_ece(answered):
    sure, right = answered
    table = reliability_table(sure, right)
    assert sum(b.count for b in table) == len(sure)
    gap = sum(b.count * abs(b.accuracy - b.confidence) for b in table) / len(sure)
    rows = [np.array([p, 1 - p]) for p in sure]
    assert gap == pytest.approx(METRICS["ece"](Predictions(1 - right, np.zeros(len(sure)), rows)))


def test_risk_coverage_by_hand():
    coverage, risk = risk_coverage(np.array([0.6, 0.9, 0.7, 0.8]), np.array([0.0, 1.0, 0.0, 1.0]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk == pytest.approx([0, 0, 1 / 3, 1 / 2])


def test_coverage_at_an_error_by_hand():
    sure = np.array([0.9, 0.8, 0.7, 0.7, 0.6])
    right = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    assert coverage_at_error(sure, right, 0.05) == 0.4  # the two of 0.7 come together
    assert coverage_at_error(sure, right, 0.2) == 1.0
    assert coverage_at_error(sure, right, 0.25) == 1.0
    assert coverage_at_error(sure, 1 - right, 0.05) == 0.0
    assert coverage_at_error(np.array([0.7, 0.7]), np.array([1.0, 0.0]), 0.05) == 0.0


def test_accuracy_of_sure_answers_counts_only_them():
    targets = np.array([0.0, 0.0, 1.0, 0.0])
    rows = [np.array([p, 1 - p]) for p in (0.95, 0.9, 0.99, 0.6)]
    answered = Predictions(targets, np.zeros(4), rows)
    found = {
        r.metric: r for r in calibration._figures(TOPIC, "test", answered, AFTER, num_labels=2)
    }
    sure = found["accuracy_at_0.9"]
    assert (sure.value, sure.n) == (pytest.approx(2 / 3), 3)
    assert 0 < sure.low < 2 / 3 < sure.high < 1
    unsure = Predictions(targets, np.zeros(4), [np.array([0.6, 0.4])] * 4)
    found = calibration._figures(TOPIC, "test", unsure, AFTER, num_labels=2)
    assert "accuracy_at_0.9" not in {r.metric for r in found}


def test_equal_confidences_are_answered_together_in_any_order():
    sure = np.array([0.5] * 6)
    for right in ([1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]):
        assert area_under_risk_coverage(sure, np.array(right, dtype=float)) == 0.5


def test_the_end_of_the_curve_is_the_error_rate(answered):
    sure, right = answered
    assert risk_coverage(sure, right)[1][-1] == pytest.approx(1 - right.mean())
    assert area_under_risk_coverage(sure, right) < 1 - right.mean()


def test_scaling_margins_keeps_the_answers_and_changes_how_sure_they_are():
    task = default_registry().get("miniworld_topic")
    items = [
        JudgedRow("a", 1.0, [0.5, 2.0, -1.0, 0.0], "d", 1.5),
        JudgedRow("b", 0.0, [0.1, 0.2, 0.0, 0.0], "d", 1.5),
    ]
    before, after = (predictions(task, i)["ece"] for i in (unscaled(items, 3.0), items))
    assert before.predicted.tolist() == after.predicted.tolist()
    for one, other in zip(before.probabilities, after.probabilities, strict=True):
        assert one.max() > other.max()


def test_answers_without_scaling_are_those_of_the_raw_margins():
    [item] = unscaled([JudgedRow("a", 1.0, [0.5, 2.0], "d", 1.5)], 3.0)
    assert item.shares == pytest.approx(option_probabilities([1.5, 6.0]))


@pytest.fixture(scope="module")
def hot(tmp_path_factory):
    """A tiny model with a temperature of its own."""
    return FreeLM.from_pretrained(save_freelm(tmp_path_factory.mktemp("hot") / "m", 4.0))


def test_before_equals_the_same_weights_at_temperature_one(hot, model, world):
    told = []
    tasks = [default_registry().get("miniworld_topic")]
    found = evaluate_calibration(hot, tasks, Setting(world, detail=told.append))
    plain = evaluate_calibration(model, tasks, Setting(world))
    values = {(r.metric, r.variant): r.value for r in found}
    for result in plain:
        if result.variant == AFTER:
            assert values[result.metric, BEFORE] == pytest.approx(result.value, rel=1e-4)
    assert values["ece", BEFORE] != pytest.approx(values["ece", AFTER])
    assert [d["variant"] for d in told] == [BEFORE, AFTER]
    assert told[0]["coverage"][-1] == 1.0
    assert all(r.suite == "calibration" and r.low <= r.high for r in found)


def test_score_task_is_reported_and_skipped(model, world, monkeypatch):
    registry = default_registry()
    said = []
    tasks = [registry.get("stsb"), registry.get("miniworld_qa")]
    found = evaluate_calibration(model, tasks, Setting(world, skip=said.append))
    assert {r.task for r in found} == {"miniworld_qa"}
    assert "stsb: skipped: a score question" in said[0]
    assert calibration.AURC.statistic is area_under_risk_coverage
    assert METRICS["ece"] is not calibration.AURC
