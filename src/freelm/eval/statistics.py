"""Uncertainty: bootstrap intervals, paired tests and their correction for many tests.

The bootstraps draw their own indices instead of calling `scipy.stats.bootstrap`: equal seeds draw
the same items for every metric and model, which makes figures comparable and reproducible.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from freelm.errors import DataError
from freelm.eval.metrics import (
    BoolArray,
    Columns,
    FloatArray,
    Metric,
    Predictions,
    mean,
    metric_named,
)

SIGNIFICANT = 0.05
"""p-values below this are significant."""

MAX_DRAWS_AT_ONCE = 2**20
"""Indices that are drawn and held in memory together."""


def bootstrap_interval(
    predictions: Predictions,
    metric: str | Metric,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a metric over the items.

    Args:
        predictions: What was predicted.
        metric: A metric or the name of one.
        num_samples: How often N items are drawn with replacement.
        seed: Seed of the draws.
        level: Share of the resampled values inside the interval.

    Returns:
        The lower and the upper end.

    Raises:
        DataError: If the metric is unknown or needs probabilities and there are none.
    """
    chosen = metric if isinstance(metric, Metric) else metric_named(metric)
    columns = chosen.columns(predictions)
    values: list[float] = []
    for draws in _draws(len(predictions.targets), num_samples, seed):
        if chosen.statistic is mean:
            values += list(columns[0][draws].mean(axis=1))
        else:
            values += [chosen.statistic(*(column[row] for column in columns)) for row in draws]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draws(num_items: int, num_samples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Blocks of resamples, shape (samples, N), `num_samples` in all."""
    rng = np.random.default_rng(seed)
    at_once = max(1, MAX_DRAWS_AT_ONCE // num_items)
    for start in range(0, num_samples, at_once):
        yield rng.integers(0, num_items, size=(min(at_once, num_samples - start), num_items))


def paired_bootstrap(
    ours: Predictions,
    theirs: Predictions,
    metric: str | Metric,
    num_samples: int = 1000,
    seed: int = 0,
) -> FloatArray:
    """Bootstrap distribution of (ours - theirs), both drawn with the same items.

    Returns:
        The differences, shape (num_samples,).

    Raises:
        DataError: If the two do not have the same items, or the metric is unknown.
    """
    if len(ours.targets) != len(theirs.targets) or not np.array_equal(ours.targets, theirs.targets):
        raise DataError("only answers to the same items can be paired")
    chosen = metric if isinstance(metric, Metric) else metric_named(metric)
    columns = chosen.columns(ours), chosen.columns(theirs)
    return paired_differences(*columns, chosen.statistic, num_samples, seed)


def paired_differences(
    ours: Columns,
    theirs: Columns,
    statistic: Callable[..., float],
    num_samples: int = 1000,
    seed: int = 0,
) -> FloatArray:
    """Bootstrap distribution of (ours - theirs) of any statistic.

    Args:
        ours: Arrays of shape (N,), one value per item.
        theirs: The other model's, of the same items.
        statistic: Those arrays, or a resample of them, -> a figure.
        num_samples: How often N items are drawn with replacement.
        seed: Seed of the draws.

    Returns:
        The differences, shape (num_samples,).
    """
    rng, num_items = np.random.default_rng(seed), len(ours[0])
    differences = np.empty(num_samples)
    for sample in range(num_samples):
        draw = rng.integers(0, num_items, num_items)
        one, other = (statistic(*(column[draw] for column in side)) for side in (ours, theirs))
        differences[sample] = one - other
    return differences


def percentile_interval(values: FloatArray) -> tuple[float, float]:
    """The 95% percentile interval of a bootstrap distribution, shape (num_samples,)."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_p_value(differences: FloatArray, difference: float) -> float:
    """Two-sided p-value that a difference is 0, by the standard error of its bootstrap.

    The normal approximation gives p-values small enough for a correction over many tests, which
    counting the draws on either side of 0 cannot do with 1000 draws.

    Args:
        differences: Its bootstrap distribution, shape (num_samples,).
        difference: The difference of the figures themselves.
    """
    from scipy.stats import norm

    error = float(np.std(differences, ddof=1))
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * norm.sf(abs(difference) / error))


def mcnemar(ours_right: BoolArray, theirs_right: BoolArray) -> float:
    """Exact two-sided p-value of McNemar's test (McNemar 1947).

    Only items that exactly one of the two gets right count; if the models are equally good, each of
    these is as likely to be ours, so their number is binomial with p = 1/2.

    Args:
        ours_right: Whether the one model is right, shape (N,).
        theirs_right: Whether the other is, shape (N,).

    Raises:
        DataError: If the shapes differ.
    """
    from scipy.stats import binomtest

    ours, theirs = np.asarray(ours_right, dtype=bool), np.asarray(theirs_right, dtype=bool)
    if ours.shape != theirs.shape:
        raise DataError(f"answers of shape {ours.shape} and {theirs.shape} cannot be paired")
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    if only_ours + only_theirs == 0:
        return 1.0
    return float(binomtest(only_ours, only_ours + only_theirs, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the same order.

    Calling those below 0.05 significant errs in any of them with a probability of at most 0.05.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
