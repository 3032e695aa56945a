"""Temperature scaling: one number that calibrates probabilities without changing their order.

Verdicts have one; competing options have a second one, which depends on their number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from freelm.errors import DataError, FreeLMError

MIN_TEMPERATURE = 0.05
MAX_TEMPERATURE = 20.0
NUM_ECE_BINS = 15
_NEARNESS = 1e-6
"""Nats that a pair of choice temperatures costs for being e times too large or too small."""
_SEARCH = {
    "initial_simplex": [[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]],
    "xatol": 1e-6,
    "fatol": 1e-12,
}

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChoiceTemperature:
    """The second temperature, by which margins of competing options are divided.

    Two claims that contradict each other say the same twice: their margins are z and -z, their
    softmax is sigmoid(2 z), and a temperature of 2 makes it sigmoid(z) again. With L options
    each is contradicted by L - 1 others, so the double counting shrinks as 1 / (L - 1); the limit
    for many options is a separate temperature. (Our own rule; docs/LOG.md
    has the best temperatures of tasks by their number of options.)

    Attributes:
        two: For two options.
        many: The limit for many options.
    """

    two: PositiveFloat = 1.0
    many: PositiveFloat = 1.0

    def of(self, count: npt.ArrayLike) -> FloatArray:
        """The temperature of L options: many + (two - many) / (L - 1).

        Args:
            count: L; one option has nothing to compete with.

        Returns:
            Of the shape of `count`; positive, since it lies between the two.
        """
        others = np.maximum(np.asarray(count, dtype=float) - 1.0, 1.0)
        return np.asarray(self.many + (self.two - self.many) / others)


NO_CHANGE = ChoiceTemperature()


def fit_temperature(
    margins: npt.ArrayLike, truths: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """The temperature T that makes sigmoid(margin / T) fit the truths best.

    It minimises the mean binary cross-entropy over T from 0.05 to 20; the loss is convex in 1 / T,
    so a one-dimensional search finds the optimum. The result never fits worse than T = 1,
    and is 1 if the data do not determine it (no items, or a loss that does not depend on T).
    Separable data would need T = 0 and get the lower bound.

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

    def loss(temperature: float) -> float:
        return binary_cross_entropy(z / temperature, y, w)

    found = _optimizer().minimize_scalar(
        lambda log: loss(float(np.exp(log))),
        bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)),
        method="bounded",
    )
    # The search stops short of its bounds. Of equal losses the first wins: no change.
    return min((1.0, float(np.exp(found.x)), MIN_TEMPERATURE, MAX_TEMPERATURE), key=loss)


def fit_choice_temperature(
    margins: Sequence[npt.ArrayLike],
    truths: Sequence[npt.ArrayLike],
    weights: npt.ArrayLike | None = None,
) -> ChoiceTemperature:
    """The temperatures by which softmaxes over all options fit the truths best.

    It minimises the mean cross-entropy over both, each from 0.05 to 20. Where the data leave open
    what they are (options always as many, or no questions), it is the pair nearest to 1.

    Args:
        margins: Of each question, the margin of each option's claim; their numbers may differ.
        truths: Of each question, how true each claim is, from 0 to 1; not all 0.
        weights: How much each question counts, shape (N,); None means equally.

    Raises:
        DataError: As `fit_temperature`.
    """
    count = np.ones(len(margins)) if weights is None else np.asarray(weights, dtype=float)
    if not len(margins):
        return NO_CHANGE
    z = [np.asarray(m, dtype=float) for m in margins]
    y = [np.asarray(t, dtype=float) for t in truths]
    starts = np.cumsum([0, *map(len, z)])[:-1]
    flat, sizes = np.concatenate(z), [len(m) for m in z]
    each = np.repeat(count / count.sum(), sizes)
    _check(flat, np.concatenate(y), each)
    target = np.concatenate(y) / np.repeat(np.add.reduceat(np.concatenate(y), starts), sizes)

    def loss(logs: FloatArray) -> float:
        temperature = ChoiceTemperature(*np.exp(logs).tolist())
        scaled = flat / np.repeat(temperature.of(sizes), sizes)
        total = np.repeat(np.logaddexp.reduceat(scaled, starts), sizes)
        # What the data leave open is decided by nearness to 1, what they say is not.
        return float((each * target) @ (total - scaled) + _NEARNESS * logs @ logs)

    bounds = [(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))] * 2
    unchanged = np.zeros(2)
    found = _optimizer().minimize(
        loss, unchanged, method="Nelder-Mead", bounds=bounds, options=_SEARCH
    )
    return ChoiceTemperature(*np.exp(min((unchanged, found.x), key=loss)).tolist())


def expected_calibration_error(confidences: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """How far confidence and accuracy lie apart, from 0 to 1.

    Answers are put into 15 equally wide bins (a, b] by their probability; the result is the mean
    over answers of |accuracy - mean confidence| of their bin.

    Args:
        confidences: Probability of each answer, shape (N,).
        correct: Whether each answer is right, shape (N,).
    """
    sure, right = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
    edges = np.linspace(0, 1, NUM_ECE_BINS + 1)[1:-1]
    bins = np.digitize(sure, edges, right=True)
    # |accuracy - confidence| of a bin, weighted by its share, is |sum of differences| / N.
    gaps = np.bincount(bins, weights=right - sure)
    return float(np.abs(gaps).sum() / len(right))


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


def _optimizer() -> Any:
    """`scipy.optimize`, which only fitting needs.

    Raises:
        FreeLMError: If SciPy is not installed.
    """
    try:
        import scipy.optimize
    except ModuleNotFoundError:
        raise FreeLMError("fitting temperatures needs SciPy: pip install 'freelm[train]'") from None
    return scipy.optimize
