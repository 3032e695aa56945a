import math

import numpy as np
import pytest

from freelm.compare import intervals
from freelm.compare.measure import Measured, TaskAnswers, TextAnswers
from freelm.eval.metrics import Predictions, bootstrap_interval, metric_named


def answers(task, right, metric="accuracy"):
    targets = np.ones(len(right))
    columns = metric_named(metric).columns(Predictions(targets, np.array(right, dtype=float)))
    return TaskAnswers(task, "f", "test", metric, columns, 0.5)


def run(**tasks):
    return Measured([answers(task, right) for task, right in tasks.items()], [])


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


def test_differences_are_paired():
    worse = GOOD.copy()
    worse[np.flatnonzero(GOOD)[:8]] = False
    found = intervals.difference([run(a=GOOD)], [run(a=worse)], ["a"])
    assert found.value == pytest.approx(8 / 200)
    assert found.is_off_zero
    alone = intervals.score([run(a=GOOD)], ["a"])
    assert found.high - found.low < alone.high - alone.low
    same = intervals.difference([run(a=GOOD)], [run(a=GOOD)], ["a"])
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert not same.is_off_zero


def test_what_was_not_measured_has_no_figure():
    assert intervals.score([run(a=GOOD)], ["a", "b"]) is None
    assert intervals.score([], ["a"]) is None
    assert intervals.score([run(a=GOOD)], []) is None
    assert intervals.difference([run(a=GOOD)], [], ["a"]) is None
    assert intervals.perplexity([run(a=GOOD)]) is None
    assert intervals.bits_per_byte([]) is None


def test_other_metrics_are_computed_on_the_items_that_are_drawn():
    rng = np.random.default_rng(1)
    scores = rng.random(60)
    metric = metric_named("pearson")
    columns = metric.columns(Predictions(scores, scores + 0.1 * rng.standard_normal(60)))
    measured = Measured([TaskAnswers("s", "f", "test", "pearson", columns, 0.0)], [])
    found = intervals.score([measured], ["s"])
    assert found.value == metric.statistic(*columns)
    assert found.low < found.value < found.high <= 1


def test_perplexity_is_averaged_over_seeds_and_models_in_nats():
    runs = [Measured([], [text(1.0)]), Measured([], [text(2.0, 1), text(4.0, 2)])]
    per_token = [t.nats.sum() / t.targets.sum() for r in runs for t in r.text]
    nats = (per_token[0] + (per_token[1] + per_token[2]) / 2) / 2
    found = intervals.perplexity(runs)
    assert found.value == pytest.approx(math.exp(nats))
    assert found.low < found.value < found.high
    bits = intervals.bits_per_byte(runs)
    assert bits.value == pytest.approx(nats / math.log(2) / 4)
