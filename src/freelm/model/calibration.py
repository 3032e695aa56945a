"""Temperature scaling: one number that makes probabilities honest, their order unchanged.

Verdicts have one, and options that compete have another on top of it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from freelm.errors import DataError

MIN_TEMPERATURE = 0.05
MAX_TEMPERATURE = 20.0

FloatArray = npt.NDArray[np.float64]


def fit_temperature(
    margins: npt.ArrayLike, truths: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """The temperature T that makes sigmoid(margin / T) fit the truths best.

    It minimises the mean binary cross-entropy over T from 0.05 to 20; the loss is convex in 1 / T,
    so a one-dimensional search finds the best T there is. The result never fits worse than T = 1,
    and is 1 where the data say nothing (no items, or a loss that does not depend on T). Separable
    data want T = 0 and end at the lower bound.

    Args:
        margins: logit P(true) of each proposition, shape (N,).
        truths: How true each proposition is, from 0 to 1, shape (N,).
        weights: How much each proposition counts, shape (N,); None means equally.

    Returns:
        The temperature.

    Raises:
        DataError: If the shapes differ, a margin is not finite, a truth is outside 0 to 1, or the
            weights are negative or all zero.
    """
    z, y = np.asarray(margins, dtype=float), np.asarray(truths, dtype=float)
    w = np.ones_like(z) if weights is None else np.asarray(weights, dtype=float)
    _check(z, y, w)
    if not len(z):
        return 1.0
    return _best(lambda temperature: binary_cross_entropy(z / temperature, y, w))


def temperature_of_options(temperature: float, count: npt.ArrayLike) -> FloatArray:
    """What the margins of L options that compete are divided by: 1 + (T - 1) / (L - 1).

    The two claims of two options say one thing twice: were each the other's opposite, z and -z,
    their softmax would be sigmoid(2 z), and T = 2 would make it sigmoid(z) again. Each of many
    options is spoken against by one of L - 1 others, so what is counted twice shrinks as 1 /
    (L - 1). (Our own rule; docs/LOG.md has the temperatures of tasks by their number of options.)

    Args:
        temperature: T, that of two options.
        count: L, how many options there are; one option has nothing to compete with.

    Returns:
        Temperatures, of the shape of `count`.
    """
    return 1.0 + (temperature - 1.0) / np.maximum(np.asarray(count, dtype=float) - 1.0, 1.0)


def fit_choice_temperature(
    margins: Sequence[npt.ArrayLike],
    truths: Sequence[npt.ArrayLike],
    weights: npt.ArrayLike | None = None,
) -> float:
    """The temperature of two options by which softmaxes over all options fit the truths best.

    It minimises the mean cross-entropy, searched for as in `fit_temperature`; what it means for
    more than two options says `temperature_of_options`.

    Args:
        margins: Of each question, the margin of each option's claim; their numbers may differ.
        truths: Of each question, how true each claim is, from 0 to 1; not all 0.
        weights: How much each question counts, shape (N,); None means equally.

    Returns:
        The temperature; 1 where there are no questions.

    Raises:
        DataError: As `fit_temperature`.
    """
    count = np.ones(len(margins)) if weights is None else np.asarray(weights, dtype=float)
    if not len(margins):
        return 1.0
    z = [np.asarray(m, dtype=float) for m in margins]
    y = [np.asarray(t, dtype=float) for t in truths]
    starts = np.cumsum([0, *map(len, z)])[:-1]
    flat, sizes = np.concatenate(z), [len(m) for m in z]
    each = np.repeat(count / count.sum(), sizes)
    _check(flat, np.concatenate(y), each)
    target = np.concatenate(y) / np.repeat(np.add.reduceat(np.concatenate(y), starts), sizes)

    def cross_entropy(temperature: float) -> float:
        scaled = flat / np.repeat(temperature_of_options(temperature, sizes), sizes)
        total = np.repeat(np.logaddexp.reduceat(scaled, starts), sizes)
        return float((each * target) @ (total - scaled))

    return _best(cross_entropy)


def _best(loss: Callable[[float], float]) -> float:
    """The temperature with the smallest loss."""
    found = minimize_scalar(
        lambda log_temperature: loss(float(np.exp(log_temperature))),
        bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)),
        method="bounded",
    )
    # The search stops short of its bounds. Of equal losses the first wins: no change.
    return min((1.0, float(np.exp(found.x)), MIN_TEMPERATURE, MAX_TEMPERATURE), key=loss)


def binary_cross_entropy(margins: FloatArray, truths: FloatArray, weights: FloatArray) -> float:
    """Weighted mean cross-entropy of verdicts, in nats; all of shape (N,), any finite margin."""
    # Two terms, not softplus(z) - y z: the difference loses the last bits of a large margin.
    losses = truths * np.logaddexp(0, -margins) + (1 - truths) * np.logaddexp(0, margins)
    return float(weights @ losses / weights.sum())


def _check(margins: FloatArray, truths: FloatArray, weights: FloatArray) -> None:
    if margins.ndim != 1 or not margins.shape == truths.shape == weights.shape:
        raise DataError(
            f"margins of shape {margins.shape}, truths of shape {truths.shape} and weights of "
            f"shape {weights.shape}: one of each per proposition is needed"
        )
    for name, values, good in (
        ("margin", margins, np.isfinite(margins)),
        ("truth", truths, (truths >= 0) & (truths <= 1)),
        ("weight", weights, np.isfinite(weights) & (weights >= 0)),
    ):
        if not good.all():
            item = int(np.flatnonzero(~good)[0])
            raise DataError(f"proposition {item}: its {name} cannot be {values[item]}")
    if len(weights) and not weights.any():
        raise DataError("all weights are zero")
