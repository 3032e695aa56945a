"""Questions: what a user asks, the claims that it is judged by, and how verdicts become an answer.

Three types: a predicate (is a claim true?), a choice (which label fits?) and a score (which of some
ordered levels?). Python, command line, files and server all ask by way of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freelm.errors import InputError
from freelm.judge.answers import TRUE_FROM, Classification, Score, Verdict
from freelm.judge.combine import expected_level
from freelm.judge.engine import Judgement
from freelm.judge.text_input import check_claims, check_labels, check_text, fill_template

DEFAULT_TEMPLATE = "Here, the text is about {}."

Labels = Sequence[str] | Mapping[str, str]
Thresholds = float | Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Predicate:
    """Is a claim true?

    Attributes:
        claims: The one claim.
    """

    claims: tuple[str, ...]

    def answer(self, judged: Judgement) -> Verdict:
        """The answer that a judgement of the claim comes to."""
        return Verdict(
            self.claims[0], float(judged.probabilities[0]), judged.truncated, judged.windows
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """Which label fits?

    Attributes:
        labels: Names of the labels.
        claims: A claim per label.
        multi: Labels do not exclude one another.
        thresholds: The least P(true) of its own claim with which each label may be the answer.
    """

    labels: tuple[str, ...]
    claims: tuple[str, ...]
    multi: bool
    thresholds: tuple[float, ...]

    def answer(self, judged: Judgement) -> Classification:
        """The answer that a judgement of the labels' claims comes to."""
        own = judged.probabilities
        shared = own if self.multi else judged.shares
        fit = [i for i, least in enumerate(self.thresholds) if own[i] >= least]
        best = max(fit, key=lambda i: judged.margins[i], default=None)
        chosen = fit if self.multi else [i for i in fit if i == best]
        return Classification(
            label=None if best is None else self.labels[best],
            probability=float(shared.max() if best is None else shared[best]),
            probabilities=dict(zip(self.labels, map(float, shared), strict=True)),
            truncated=judged.truncated,
            windows=judged.windows,
            labels=tuple(self.labels[i] for i in chosen),
        )


@dataclass(frozen=True, slots=True)
class Scale:
    """How much? Which of some ordered levels?

    Attributes:
        levels: Names of the levels, lowest first.
        claims: A claim per level.
    """

    levels: tuple[str, ...]
    claims: tuple[str, ...]

    def answer(self, judged: Judgement) -> Score:
        """The answer that a judgement of the levels' claims comes to."""
        probabilities = judged.shares
        return Score(
            value=expected_level(probabilities, list(range(len(self.levels)))),
            level=self.levels[int(judged.margins.argmax())],
            probabilities=dict(zip(self.levels, map(float, probabilities), strict=True)),
            truncated=judged.truncated,
            windows=judged.windows,
        )


Question = Predicate | Choice | Scale


def predicate(claim: object) -> Predicate:
    """A question whether a claim is true.

    Raises:
        InputError: If it is no text.
    """
    return Predicate(check_claims([claim]))


def choice(
    labels: object,
    template: object = DEFAULT_TEMPLATE,
    *,
    multi: bool = False,
    threshold: object = None,
) -> Choice:
    """A question which label fits.

    Args:
        labels: Labels, or a mapping label -> description that goes into the template instead.
        template: Turns a label into a claim; holds one `{}`.
        multi: Labels do not exclude one another.
        threshold: Least P(true) of a label's own claim: one number for all, or label -> number.
            None lets the best label be the answer whatever its own P(true); with `multi` it means
            one half.

    Raises:
        InputError: If labels are missing or equal, the template is wrong, or a threshold is not
            from 0 to 1 or for an unknown label.
    """
    described = check_labels(labels)
    names = tuple(described)
    claims = tuple(fill_template(template, words) for words in described.values())
    default = TRUE_FROM if multi else 0.0
    return Choice(names, claims, multi, _thresholds(threshold, names, default))


def scale(question: object, levels: object) -> Scale:
    """A question how much.

    Args:
        question: What is asked, e.g. "How satisfied is the customer?"
        levels: Names of the levels from lowest to highest, or a mapping name -> description.

    Raises:
        InputError: If the question is no text, or levels are missing or equal.
    """
    described = check_labels(levels)
    asked = check_text(question, "question").strip()
    ended = (w if w.endswith((".", "!", "?")) else f"{w}." for w in described.values())
    return Scale(tuple(described), tuple(f"{asked} {words}" for words in ended))


def parse_question(given: object) -> Question:
    """A question from plain values.

    Args:
        given: One of
            `{"claim": "..."}`,
            `{"labels": [...] or {...}, "template": "... {} ...", "multi": ..., "threshold": ...}`
            (all but the labels optional),
            `{"question": "...", "levels": [...] or {...}}`.

    Raises:
        InputError: If it is of none of these forms.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"must be a mapping, not {type(given).__name__}")
    match dict(given):
        case {"claim": claim, **rest} if not rest:
            return predicate(claim)
        case {"labels": labels, **rest} if set(rest) <= {"template", "multi", "threshold"}:
            return choice(labels, **_typed(rest))
        case {"question": asked, "levels": levels, **rest} if not rest:
            return scale(asked, levels)
    raise InputError(
        "give claim, or labels (and template, multi, threshold), or question and levels; "
        f"not {', '.join(map(str, given)) or 'nothing'}"
    )


def parse_questions(given: object) -> dict[str, Question]:
    """Named questions from plain values, each as `parse_question` takes it.

    Raises:
        InputError: If there is none, or one is wrong (it is named).
    """
    if not isinstance(given, Mapping):
        raise InputError(
            f"questions must be a mapping name -> question, not {type(given).__name__}"
        )
    if not given:
        raise InputError("no questions are given")
    questions = {}
    for name, question in given.items():
        try:
            questions[check_text(name, "a question's name")] = parse_question(question)
        except InputError as error:
            raise InputError(f"question {name!r}: {error}") from None
    return questions


def _typed(options: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(options.get("multi", False), bool):
        raise InputError(f"multi must be true or false, not {options['multi']!r}")
    return dict(options)


def _thresholds(given: object, labels: tuple[str, ...], default: float) -> tuple[float, ...]:
    """The threshold of each label."""
    if given is None:
        return (default,) * len(labels)
    if not isinstance(given, Mapping):
        return (_threshold(given, "threshold"),) * len(labels)
    unknown = [name for name in given if name not in labels]
    if unknown:
        raise InputError(f"threshold is given for {unknown[0]!r}, which is none of the labels")
    return tuple(
        _threshold(given[name], f"threshold of {name!r}") if name in given else default
        for name in labels
    )


def _threshold(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{what} must be between 0 and 1, not {value}")
    return float(value)
