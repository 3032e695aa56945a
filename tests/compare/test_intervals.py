import math

import numpy as np
import pytest
from scipy import stats

from freelm.compare import intervals
from freelm.compare.measure import SeedResult, TaskAnswers, TextAnswers
from freelm.eval.metrics import Predictions, constant_answer, metric_named
from freelm.eval.statistics import bootstrap_interval


def answers(task, right, metric="accuracy"):
    targets = np.ones(len(right))
    of = metric_named(metric).columns
    columns = of(Predictions(targets, np.array(right, dtype=float)))
    half = of(Predictions(targets, (np.arange(len(right)) % 2).astype(float)))
    return TaskAnswers(task, "f", "test", metric, columns, half)


def skewed(task, targets, predicted, metric="accuracy"):
    """Answers to items of which 1 is the most frequent target."""
    of = metric_named(metric).columns
    constant = of(constant_answer(targets, metric))
    return TaskAnswers(task, "f", "test", metric, of(Predictions(targets, predicted)), constant)


def run(**tasks):
    return SeedResult([answers(task, right) for task, right in tasks.items()], [])


def text(nats, seed=0, corpus="c"):
    rng = np.random.default_rng(seed)
    targets = np.full(50, 31)
    return TextAnswers(corpus, targets * (nats + 0.1 * rng.standard_normal(50)), targets, 4.0)


RNG = np.random.default_rng(0)
GOOD, FAIR = (RNG.random(200) < share for share in (0.9, 0.6))


def test_a_score_is_the_mean_over_tasks_and_seeds():
    runs = [run(a=[1, 1, 1, 0], b=[1, 0]), run(a=[1, 0, 0, 0], b=[1, 1])]
    found = intervals.score(runs, ["a", "b"])
    assert found.value == pytest.approx(((0.75 + 0.5) / 2 + (0.25 + 1.0) / 2) / 2)
    assert found.low <= found.value <= found.high
    assert found.spread == pytest.approx(np.std([0.625, 0.625], ddof=1))
    assert intervals.score(runs[:1], ["a"]).spread is None
    assert intervals.majority(runs, ["a", "b"]) == 0.5


def test_the_interval_of_one_task_and_seed_is_the_bootstrap_interval():
    found = intervals.score([run(a=GOOD)], ["a"])
    low, high = bootstrap_interval(
        Predictions(np.ones(200), GOOD.astype(float)), "accuracy", num_samples=4000
    )
    assert found.low == pytest.approx(low, abs=0.012)
    assert found.high == pytest.approx(high, abs=0.012)


def test_seeds_that_differ_widen_the_interval():
    equal = intervals.score([run(a=GOOD), run(a=GOOD)], ["a"])
    apart = intervals.score([run(a=GOOD), run(a=~GOOD)], ["a"])
    assert apart.high - apart.low > 3 * (equal.high - equal.low)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_of_seeds_alone_the_interval_is_students(count):
    """Where all items are answered alike, only the seeds vary."""
    runs = [run(a=np.full(50, seed % 2 == 0)) for seed in range(count)]
    values = np.array([float(seed % 2 == 0) for seed in range(count)])
    found = intervals.score(runs, ["a"])
    low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert found.low == pytest.approx(low, rel=0.1)
    assert found.high == pytest.approx(high, rel=0.1)


def test_intervals_of_few_seeds_hold_what_other_seeds_come_to(monkeypatch):
    """Seeds drawn with replacement would hold it in some 75% of the studies."""
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    rng, held = np.random.default_rng(2), 0
    for _ in range(120):
        seeds = np.clip(rng.normal(0.7, 0.06, 3), 0, 1)
        found = intervals.score([run(a=rng.random(300) < p) for p in seeds], ["a"])
        held += found.low <= 0.7 <= found.high
    assert held >= 0.9 * 120


def test_arms_of_equal_seeds_differ_by_as_much_as_other_seeds_may():
    apart = [run(a=GOOD), run(a=~GOOD)]
    found = intervals.difference(apart, apart, ["a"])
    assert found.value == 0
    assert found.high - found.low > 1  # their seeds are no pairs


def test_gains_over_the_best_constant_are_paired():
    rng = np.random.default_rng(3)
    targets = (rng.random(400) < 0.7).astype(float)
    constant = np.ones(400)
    better = np.where(rng.random(400) < 0.15, targets, constant)
    found = intervals.over_constant([SeedResult([skewed("a", targets, better)], [])], ["a"])
    score = intervals.score([SeedResult([skewed("a", targets, better)], [])], ["a"])
    assert found.value == pytest.approx((better == targets).mean() - targets.mean())
    assert found.low > 0  # never worse than the constant on any row, better on some
    assert score.low < targets.mean() < score.value
    same = intervals.over_constant([SeedResult([skewed("a", targets, constant)], [])], ["a"])
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_few_models_as_good_as_the_constant_are_said_to_beat_it(monkeypatch):
    """Beside a constant whose score is taken as known, it would be one in twelve."""
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    rng, claimed = np.random.default_rng(4), 0
    for _ in range(200):
        targets = (rng.random(200) < 0.7).astype(float)
        answered = np.where(rng.random(200) < 0.7, targets, 1 - targets)
        measured = SeedResult([skewed("a", targets, answered)], [])
        claimed += intervals.over_constant([measured], ["a"]).low > 0
    assert claimed <= 0.05 * 200


def test_the_best_constant_is_the_one_of_its_metric():
    targets = np.array([0.0, 0.0, 0.0, 1.0])
    of_f1 = skewed("a", targets, targets, "f1")
    assert of_f1.majority == pytest.approx(0.4)  # always 1, not the most frequent label
    assert skewed("a", targets, targets).majority == 0.75
    assert skewed("a", targets, targets, "mcc").majority == 0


def test_differences_are_paired():
    worse = GOOD.copy()
    worse[np.flatnonzero(GOOD)[:8]] = False
    found = intervals.difference([run(a=GOOD)], [run(a=worse)], ["a"])
    assert found.value == pytest.approx(8 / 200)
    assert found.low > 0
    alone = intervals.score([run(a=GOOD)], ["a"])
    assert found.high - found.low < alone.high - alone.low
    same = intervals.difference([run(a=GOOD)], [run(a=GOOD)], ["a"])
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_what_was_not_measured_has_no_figure():
    assert intervals.score([run(a=GOOD)], ["a", "b"]) is None
    assert intervals.score([], ["a"]) is None
    assert intervals.score([run(a=GOOD)], []) is None
    assert intervals.difference([run(a=GOOD)], [], ["a"]) is None
    assert intervals.over_constant([], ["a"]) is None
    assert intervals.perplexity([run(a=GOOD)]) is None
    assert intervals.bits_per_byte([]) is None


def test_other_metrics_are_computed_on_the_items_that_are_drawn():
    rng = np.random.default_rng(1)
    scores = rng.random(60)
    metric = metric_named("pearson")
    columns = metric.columns(Predictions(scores, scores + 0.1 * rng.standard_normal(60)))
    measured = SeedResult([TaskAnswers("s", "f", "test", "pearson", columns, columns)], [])
    found = intervals.score([measured], ["s"])
    assert found.value == metric.statistic(*columns)
    assert found.low < found.value < found.high <= 1


def test_perplexity_is_averaged_over_seeds_and_models_in_nats():
    runs = [SeedResult([], [text(1.0)]), SeedResult([], [text(2.0, 1), text(4.0, 2)])]
    per_token = [t.nats.sum() / t.targets.sum() for r in runs for t in r.text]
    nats = (per_token[0] + (per_token[1] + per_token[2]) / 2) / 2
    found = intervals.perplexity(runs)
    assert found.value == pytest.approx(math.exp(nats))
    assert found.low < found.value < found.high
    bits = intervals.bits_per_byte(runs)
    assert bits.value == pytest.approx(nats / math.log(2) / 4)
