"""Probabilities from margins: single claims, competing options, expected levels."""

import math

import numpy as np
import numpy.typing as npt

from freelm.errors import ModelError

FloatArray = npt.NDArray[np.float64]


def sigmoid(margins: npt.ArrayLike) -> FloatArray:
    """P(true) of margins (logits) of any shape; tanh, unlike exp, cannot overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(margins, dtype=float))))


def predicate_probabilities(margin: float, true: int) -> FloatArray:
    """Probabilities of the two labels of a predicate.

    Args:
        margin: Calibrated margin of its claim.
        true: Index of the label for true, 0 or 1.
    """
    probability = float(sigmoid(margin))
    return np.array([1.0 - probability, probability] if true else [probability, 1.0 - probability])


def option_probabilities(margins: npt.ArrayLike, temperature: float = 1.0) -> FloatArray:
    """The probability of each option, given that exactly one of them is right.

    Let the claims be true independently, p_i = P(claim i) = sigmoid(z_i). Then

        P(only i is true) = p_i * prod_{j != i} (1 - p_j) = p_i / (1 - p_i) * prod_j (1 - p_j)

    The product is the same for every i, so given that exactly one claim is true its probabilities
    are proportional to the odds p_i / (1 - p_i) = exp(z_i): P(i) = softmax(z)_i. Reordering the
    options reorders the result and changes nothing else.

    Real claims are not independent: evidence for one option is also evidence against the others, so
    it is counted more than once. A temperature corrects this (`ChoiceTemperature`).

    Args:
        margins: z, the calibrated logit P(true) of each option's claim, shape (L,).
        temperature: Temperature for this number of options; 1 leaves z unchanged.

    Returns:
        Probabilities, shape (L,).

    Raises:
        ModelError: If there is no margin, or one is NaN or infinite (the option is named).
    """
    z = np.asarray(margins, dtype=float)
    if z.ndim != 1 or not len(z):
        raise ModelError(f"margins have shape {z.shape}; expected one margin per option")
    _check_finite(z)
    odds = np.exp((z - z.max()) / temperature)
    # fsum is exact, hence independent of the order of the options; np.sum is not.
    return np.asarray(odds / math.fsum(odds))


def expected_level(probabilities: npt.ArrayLike, levels: npt.ArrayLike) -> float:
    """The mean level of a score question, in the unit of its levels.

    Args:
        probabilities: The probability of each level, summing to 1, shape (L,).
        levels: The number of each level, shape (L,).

    Raises:
        ModelError: If the shapes differ, there is no level, or a value is NaN or infinite.
    """
    p, numbers = np.asarray(probabilities, dtype=float), np.asarray(levels, dtype=float)
    if p.ndim != 1 or not len(p) or p.shape != numbers.shape:
        raise ModelError(
            f"probabilities have shape {p.shape} and levels {numbers.shape}; "
            "expected one probability per level"
        )
    _check_finite(p)
    _check_finite(numbers)
    # Rounding must not push a certain answer above the highest level.
    return float(np.clip(math.fsum(p * numbers), numbers.min(), numbers.max()))


def _check_finite(values: FloatArray) -> None:
    if not np.isfinite(values).all():
        option = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ModelError(
            f"option {option}: its value is {values[option]}, not a finite number; the model's "
            "weights are damaged or overflow in this number type"
        )
