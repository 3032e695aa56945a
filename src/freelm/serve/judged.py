"""What the engine gives back for one request."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from freelm.judge.probabilities import option_probabilities
from freelm.model.calibration import NO_CHANGE, ChoiceTemperature


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts of one request.

    Attributes:
        margins: Claim -> calibrated margin, the logit of P(true).
        truncated: Whether a part of the text was left out.
        tokens: Tokens of the text and of all claims.
        choice_temperature: Of claims that compete.
        read: The text as it was read, where that was asked for (`freelm.serve.measure.Size`).
        written: Each claim as it was read, where that was asked for.
    """

    margins: dict[str, float]
    truncated: bool
    tokens: int
    choice_temperature: ChoiceTemperature = NO_CHANGE
    read: str = ""
    written: tuple[str, ...] = ()

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """(claims,) P(true) of each claim."""
        values = np.array(list(self.margins.values()), dtype=float)
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))

    def probability(self, claim: str) -> float:
        """P(true) of a claim by itself."""
        return float(0.5 * (1.0 + np.tanh(0.5 * self.margins[claim])))

    def shares(self, claims: Sequence[str]) -> list[float]:
        """The probability of each claim, given that exactly one of them is true."""
        margins = [self.margins[claim] for claim in claims]
        temperature = float(self.choice_temperature.of(len(claims)))
        return option_probabilities(margins, temperature).tolist()
