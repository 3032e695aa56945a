"""The answers of a model: small, frozen, and ready for JSON. Nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Any

TRUE_FROM = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one claim.

    Attributes:
        claim: The claim that was judged.
        probability: P(true), from 0 to 1.
        truncated: Whether the text was too long and only a part of it was read.
        windows: In how many windows it was read; more than one only where that was asked for.
    """

    claim: str
    probability: float
    truncated: bool
    windows: int = 1

    @property
    def is_true(self) -> bool:
        """Whether the claim is at least as likely true as false."""
        return self.probability >= TRUE_FROM

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, keys in a fixed order."""
        return {
            "claim": self.claim,
            "is_true": bool(self.is_true),
            "probability": float(self.probability),
            "truncated": bool(self.truncated),
            "windows": int(self.windows),
        }


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to a choice between labels.

    Attributes:
        label: The answer; None where no label reached its threshold.
        probability: The probability of `label`, or the highest one where there is none.
        probabilities: Label -> probability, in the order of the labels as they were given.
        truncated: Whether the text was too long and only a part of it was read.
        windows: In how many windows it was read; more than one only where that was asked for.
        labels: All labels that fit: any number where they do not exclude one another, else `label`.
    """

    label: str | None
    probability: float
    probabilities: dict[str, float]
    truncated: bool
    windows: int = 1
    labels: tuple[str, ...] = ()

    @property
    def confidence(self) -> float:
        """The highest probability of any label."""
        return max(self.probabilities.values())

    def top(self, n: int) -> list[tuple[str, float]]:
        """The `n` most likely labels with their probabilities, best first; equals by name."""
        ranked = sorted(self.probabilities.items(), key=lambda item: (-item[1], item[0]))
        return ranked[: max(n, 0)]

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, keys in a fixed order."""
        return {
            "label": self.label,
            "labels": list(self.labels),
            "probability": float(self.probability),
            "probabilities": _floats(self.probabilities),
            "truncated": bool(self.truncated),
            "windows": int(self.windows),
        }


@dataclass(frozen=True, slots=True)
class Score:
    """The answer to a question of how much.

    Attributes:
        value: The expected level, in the unit of the levels.
        level: The name of the most likely level.
        probabilities: Level -> probability, in the order of the levels.
        truncated: Whether the text was too long and only a part of it was read.
        windows: In how many windows it was read; more than one only where that was asked for.
    """

    value: float
    level: str
    probabilities: dict[str, float]
    truncated: bool
    windows: int = 1

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, keys in a fixed order."""
        return {
            "value": float(self.value),
            "level": self.level,
            "probabilities": _floats(self.probabilities),
            "truncated": bool(self.truncated),
            "windows": int(self.windows),
        }


@dataclass(frozen=True, slots=True)
class Ranked:
    """One document of a ranking.

    Attributes:
        index: Its place, from 0, in the list that was given.
        document: Its text.
        probability: How likely it answers the query, from 0 to 1.
        truncated: Whether it was too long and only a part of it was read.
        windows: In how many windows it was read; more than one only where that was asked for.
    """

    index: int
    document: str
    probability: float
    truncated: bool = False
    windows: int = 1

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, keys in a fixed order."""
        return {
            "index": int(self.index),
            "document": self.document,
            "probability": float(self.probability),
            "truncated": bool(self.truncated),
            "windows": int(self.windows),
        }


def _floats(probabilities: dict[str, float]) -> dict[str, float]:
    """The same with Python's own floats: json refuses numpy's float32."""
    return {name: float(value) for name, value in probabilities.items()}
