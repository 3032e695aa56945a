"""Scores of an arm with their 95% intervals: bootstrap over items, Student's t over seeds.

Each resample draws the items of every task with replacement, the same items for all seeds and arms;
so differences between arms are paired. With several seeds, a draw of Student's t times the standard
error of their mean is added: what other seeds could change. Resampling two or three seeds would
understate that, since most resamples repeat the same ones. The same seed in two arms is no pair.
With one seed an interval covers other items, but not another training run. Tasks are fixed: a mean
over tasks is about these tasks.

Shapes: R resamples, S seeds, N items, W windows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from freelm.compare.measure import SeedResult, TaskAnswers, TextAnswers
from freelm.data.mixture import seeded
from freelm.eval.metrics import metric_named

RESAMPLES = 1000
LEVEL = (2.5, 97.5)
"""Percentiles of a 95% interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        value: The mean.
        low: Lower end of its 95% interval.
        high: Upper end.
        spread: Standard deviation over seeds (n - 1 in the denominator), None for one seed.
    """

    value: float
    low: float
    high: float
    spread: float | None = None


def score(runs: Sequence[SeedResult], tasks: Sequence[str]) -> Estimate | None:
    """Mean over some tasks of each one's first metric; None where one of them was not measured."""
    drawn = _score_draws(runs, tasks)
    return None if drawn is None else _estimate(*drawn)


def difference(
    runs: Sequence[SeedResult], others: Sequence[SeedResult], tasks: Sequence[str]
) -> Estimate | None:
    """The score of one arm minus that of another, on the same items."""
    one, other = _score_draws(runs, tasks), _score_draws(others, tasks, "other")
    if one is None or other is None:
        return None
    low, high = np.percentile(one[1] - other[1], LEVEL)
    return Estimate(float(one[0].mean() - other[0].mean()), float(low), float(high))


def over_constant(runs: Sequence[SeedResult], tasks: Sequence[str]) -> Estimate | None:
    """A score minus that of the best answer that ignores the text, on the same items.

    That answer is chosen on all items and is the same in every resample.
    """
    ignoring = [
        replace(run, tasks=[replace(answers, columns=answers.constant) for answers in run.tasks])
        for run in runs
    ]
    return difference(runs, ignoring, tasks)


def majority(runs: Sequence[SeedResult], tasks: Sequence[str]) -> float:
    """Mean over some tasks of the best answer that ignores the text."""
    found = {answers.task: answers.majority for answers in runs[0].tasks}
    return float(np.mean([found[task] for task in tasks]))


def perplexity(runs: Sequence[SeedResult]) -> Estimate | None:
    """Exponential of nats per token, averaged over seeds; None where no text was measured."""
    drawn = _text_draws(runs, lambda text: 1.0)
    if drawn is None:
        return None
    by_seed, draws = drawn
    low, high = np.percentile(draws, LEVEL)
    spread = _spread(np.exp(by_seed))
    return Estimate(math.exp(by_seed.mean()), math.exp(low), math.exp(high), spread)


def bits_per_byte(runs: Sequence[SeedResult]) -> Estimate | None:
    """Bits per UTF-8 byte, comparable between models with different tokenizers."""
    drawn = _text_draws(runs, lambda text: 1 / math.log(2) / text.bytes_per_token)
    return None if drawn is None else _estimate(*drawn)


# -- draws: (S,) values of the seeds, (R,) their resampled means ----------------------------------


def _score_draws(
    runs: Sequence[SeedResult], tasks: Sequence[str], whose: str = "one"
) -> tuple[np.ndarray, np.ndarray] | None:
    by_task = []
    for task in tasks:
        listed = [answers for run in runs for answers in run.tasks if answers.task == task]
        if not listed or len(listed) < len(runs):
            return None
        by_task.append(listed)
    if not by_task:
        return None
    values = np.mean([[answers.value for answers in listed] for listed in by_task], axis=0)
    drawn = np.mean([np.stack([_resampled(a) for a in listed], 1) for listed in by_task], axis=0)
    return values, drawn.mean(1) + _other_seeds(values, whose)


def _resampled(answers: TaskAnswers) -> np.ndarray:
    """(R,) the metric on each resample of the items."""
    draws = _item_draws(answers.task, len(answers))
    statistic = metric_named(answers.metric).statistic
    return np.array([statistic(*(column[d] for column in answers.columns)) for d in draws])


def _text_draws(
    runs: Sequence[SeedResult], factor: Callable[[TextAnswers], float]
) -> tuple[np.ndarray, np.ndarray] | None:
    if not runs or not all(run.text for run in runs):
        return None
    values, drawn = [], []
    for run in runs:  # the mean over the models of a seed
        values.append(np.mean([t.nats.sum() / t.targets.sum() * factor(t) for t in run.text]))
        drawn.append(np.mean([_resampled_text(t) * factor(t) for t in run.text], axis=0))
    by_seed = np.array(values)
    return by_seed, np.mean(drawn, axis=0) + _other_seeds(by_seed)


def _resampled_text(text: TextAnswers) -> np.ndarray:
    """(R,) nats per token on each resample of the windows."""
    draws = _item_draws(text.corpus, len(text.nats))
    resampled: np.ndarray = text.nats[draws].sum(1) / text.targets[draws].sum(1)
    return resampled


def _item_draws(name: str, count: int) -> np.ndarray:
    """(R, count) the items of each resample, a pure function of name and count."""
    return seeded("compare", name, count).integers(0, count, (RESAMPLES, count))


def _other_seeds(by_seed: np.ndarray, whose: str = "one") -> np.ndarray:
    """(S,) -> (R,): deviations of the mean of other seeds; 0 for one seed.

    Args:
        by_seed: Values of the seeds.
        whose: Arms that are compared draw independently of each other.
    """
    spread = _spread(by_seed)
    if spread is None:
        return np.zeros(RESAMPLES)
    # Evenly spaced quantiles in random order: with so few seeds, drawn tails would vary too much.
    places = (np.arange(RESAMPLES) + 0.5) / RESAMPLES
    quantiles = stats.t.ppf(places, len(by_seed) - 1)
    order = seeded("compare", "seeds", whose).permutation(RESAMPLES)
    moved: np.ndarray = quantiles[order] * spread / math.sqrt(len(by_seed))
    return moved


def _estimate(by_seed: np.ndarray, draws: np.ndarray) -> Estimate:
    low, high = np.percentile(draws, LEVEL)
    return Estimate(float(by_seed.mean()), float(low), float(high), _spread(by_seed))


def _spread(by_seed: np.ndarray) -> float | None:
    return float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None
