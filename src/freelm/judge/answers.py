"""The answers of a model: small frozen dataclasses that convert to JSON. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Any, Literal

TRUE_FROM = 0.5
"""P(true) from which a claim counts as true."""

CheckResult = Literal["supported", "contradicted", "not_stated"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one claim.

    Attributes:
        claim: The claim as it was given.
        probability: P(true), from 0 to 1.
        truncated: Whether the text was too long and its end was cut.
        windows: Number of windows the text was read in; more than 1 only with
            `long_texts="windows"`.
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
        """The answer as JSON values, in a fixed order."""
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

    Every label has its own claim. `verdicts` holds P(true) of these claims; a label fits if
    its verdict is at least its threshold. That rule is the same for one label and for several
    (`multi`).

    Attributes:
        label: The likeliest of the labels that fit; None if none fits.
        probability: `probabilities[label]`; the highest probability if `label` is None.
        probabilities: Label -> probability, in the order given. They sum to 1: exactly one label
            is right. With `multi`, the same as `verdicts`.
        verdicts: Label -> P(true) of its own claim: the number that thresholds are compared with.
        truncated: Whether the text was too long and its end was cut.
        windows: Number of windows the text was read in; more than 1 only with
            `long_texts="windows"`.
        labels: With `multi`, all labels that fit; else `label` alone, or nothing.
    """

    label: str | None
    probability: float
    probabilities: dict[str, float]
    verdicts: dict[str, float]
    truncated: bool
    windows: int = 1
    labels: tuple[str, ...] = ()

    @property
    def verdict(self) -> float:
        """`verdicts[label]`; the highest verdict if `label` is None."""
        return max(self.verdicts.values()) if self.label is None else self.verdicts[self.label]

    def top(self, n: int) -> list[tuple[str, float]]:
        """The `n` likeliest labels with their probabilities, best first; ties sorted by name."""
        ranked = sorted(self.probabilities.items(), key=lambda item: (-item[1], item[0]))
        return ranked[: max(n, 0)]

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, in a fixed order."""
        return {
            "label": self.label,
            "labels": list(self.labels),
            "probability": float(self.probability),
            "verdict": float(self.verdict),
            "probabilities": _floats(self.probabilities),
            "verdicts": _floats(self.verdicts),
            "truncated": bool(self.truncated),
            "windows": int(self.windows),
        }


@dataclass(frozen=True, slots=True)
class Score:
    """The answer to a question of degree.

    Attributes:
        value: The expected level: 0 is the lowest, the number of levels minus 1 the highest.
        level: The name of the likeliest level.
        probabilities: Level -> probability, in the order of the levels; they sum to 1.
        truncated: Whether the text was too long and its end was cut.
        windows: Number of windows the text was read in; more than 1 only with
            `long_texts="windows"`.
    """

    value: float
    level: str
    probabilities: dict[str, float]
    truncated: bool
    windows: int = 1

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, in a fixed order."""
        return {
            "value": float(self.value),
            "level": self.level,
            "probabilities": _floats(self.probabilities),
            "truncated": bool(self.truncated),
            "windows": int(self.windows),
        }


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a text supports or contradicts a claim.

    Attributes:
        claim: The claim as it was given.
        result: `supported`, `contradicted` or `not_stated`, whichever is likeliest.
        probabilities: The probability of each of the three; they sum to 1.
        truncated: Whether the text was too long and its end was cut.
        windows: Number of windows the text was read in; more than 1 only with
            `long_texts="windows"`.
    """

    claim: str
    result: CheckResult
    probabilities: dict[str, float]
    truncated: bool
    windows: int = 1

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, in a fixed order."""
        return {
            "claim": self.claim,
            "result": self.result,
            "probabilities": _floats(self.probabilities),
            "truncated": bool(self.truncated),
            "windows": int(self.windows),
        }


@dataclass(frozen=True, slots=True)
class SentenceCheck:
    """Whether sources support one sentence of an answer.

    Attributes:
        sentence: The sentence.
        result: `supported`, `contradicted` or `not_stated`, as the passage says that decides.
        probabilities: The probability of each of the three in that passage; they sum to 1.
        source: Index of the source with that passage.
        passage: The passage.
        truncated: Whether a passage was too long and its end was cut.
    """

    sentence: str
    result: CheckResult
    probabilities: dict[str, float]
    source: int
    passage: str
    truncated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, in a fixed order."""
        return {
            "sentence": self.sentence,
            "result": self.result,
            "probabilities": _floats(self.probabilities),
            "source": int(self.source),
            "passage": self.passage,
            "truncated": bool(self.truncated),
        }


@dataclass(frozen=True, slots=True)
class AnswerCheck:
    """Whether sources support an answer.

    Attributes:
        sentences: The result of each distinct sentence of the answer, in order.
    """

    sentences: tuple[SentenceCheck, ...]

    @property
    def weakest(self) -> SentenceCheck:
        """The sentence that decides about the answer.

        The likeliest contradicted one; without one, the one least likely to be supported.
        """
        contradicted = [one for one in self.sentences if one.result == "contradicted"]
        if contradicted:
            return max(contradicted, key=lambda one: one.probabilities["contradicted"])
        unstated = [one for one in self.sentences if one.result == "not_stated"]
        return min(unstated or self.sentences, key=lambda one: one.probabilities["supported"])

    @property
    def result(self) -> CheckResult:
        """`contradicted` if any sentence is, `supported` if all are, else `not_stated`."""
        return self.weakest.result

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, in a fixed order."""
        return {
            "result": self.result,
            "sentences": [sentence.as_dict() for sentence in self.sentences],
        }


@dataclass(frozen=True, slots=True)
class Ranked:
    """One document of a ranking.

    Attributes:
        index: Its index in the list that was given.
        document: Its text.
        probability: How likely it answers the query, from 0 to 1.
        truncated: Whether it was too long and its end was cut.
        windows: Number of windows it was read in; more than 1 only with `long_texts="windows"`.
    """

    index: int
    document: str
    probability: float
    truncated: bool = False
    windows: int = 1

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON values, in a fixed order."""
        return {
            "index": int(self.index),
            "document": self.document,
            "probability": float(self.probability),
            "truncated": bool(self.truncated),
            "windows": int(self.windows),
        }


Answer = Verdict | Classification | Score | Check


def _floats(probabilities: dict[str, float]) -> dict[str, float]:
    """The same with Python floats: `json` refuses NumPy's float32."""
    return {name: float(value) for name, value in probabilities.items()}
