"""Questions that users ask, the claims they become, and the answers made from verdicts.

    question -> question.claims -> Judgement -> question.answer(judgement)

This is the only path from a question to an answer: the Python API, the command line, files and the
server all take it. Claims are worded by `freelm.tasks.forms`, as in training.

| question | claims | answer |
|---|---|---|
| predicate: is it true? | the claim; a question gets "Yes." as its answer | `Verdict` |
| choice: which label? | one per label | `Classification` |
| score: how much? | one per level, lowest first | `Score` |
| check: does the text say so? | supported, contradicted, not stated | `Check` |
| rank: which documents answer a query? | one, about query and each document | list of `Ranked` |

`answer` accepts any judgement that covers the question's claims, so that several questions about
one text can share a request.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freelm.errors import InputError
from freelm.judge.answers import TRUE_FROM, Check, Classification, Ranked, Score, Verdict
from freelm.judge.probabilities import expected_level
from freelm.judge.requests import Judgement, Request
from freelm.judge.validation import (
    LongTexts,
    check_claims,
    check_labels,
    check_list,
    check_template,
    check_text,
)
from freelm.tasks.forms import (
    CHECKS,
    DEFAULT_TEMPLATE,
    label_claim,
    option_claim,
    predicate_claim,
)
from freelm.tasks.forms import check_claims as claims_of_check

RELEVANCE_CLAIM = "The text answers the question."
"""What `FreeLM.rank` judges about a query and each document."""

Labels = Sequence[str] | Mapping[str, str]
"""Labels, or label -> description."""

Thresholds = float | Mapping[str, float]
"""One threshold for all labels, or label -> threshold."""


@dataclass(frozen=True, slots=True)
class PredicateQuestion:
    """Is a claim true?

    Attributes:
        claim: The claim as the user wrote it.
        claims: The claim as it is judged.
    """

    claim: str
    claims: tuple[str, ...]

    def answer(self, judgement: Judgement) -> Verdict:
        """The verdict, from a judgement that covers the claim."""
        own = judgement.select(self.claims)
        return Verdict(self.claim, float(own.probabilities[0]), own.truncated, own.windows)


@dataclass(frozen=True, slots=True)
class ChoiceQuestion:
    """Which label fits?

    A label fits if P(true) of its own claim, its verdict, is at least its threshold. The answer is
    the likeliest label that fits, or none; with `multi` it is all labels that fit.

    Attributes:
        labels: Names of the labels; all different.
        claims: One claim per label.
        multi: Whether any number of labels can be right, not exactly one.
        thresholds: One threshold per label; empty if every label fits.
    """

    labels: tuple[str, ...]
    claims: tuple[str, ...]
    multi: bool = False
    thresholds: tuple[float, ...] = ()

    def answer(self, judgement: Judgement) -> Classification:
        """The classification, from a judgement that covers the claims."""
        own = judgement.select(self.claims)
        verdicts = own.probabilities
        probabilities = verdicts if self.multi else own.shares
        thresholds = self.thresholds or (0.0,) * len(self.labels)
        fitting = [i for i, least in enumerate(thresholds) if verdicts[i] >= least]
        best = max(fitting, key=lambda i: own.margins[i], default=None)
        chosen = fitting if self.multi or best is None else [best]
        return Classification(
            label=None if best is None else self.labels[best],
            probability=float(probabilities.max() if best is None else probabilities[best]),
            probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
            verdicts=dict(zip(self.labels, verdicts.tolist(), strict=True)),
            truncated=own.truncated,
            windows=own.windows,
            labels=tuple(self.labels[i] for i in chosen),
        )


@dataclass(frozen=True, slots=True)
class ScoreQuestion:
    """How much? Which of some ordered levels?

    Attributes:
        levels: Names of the levels, lowest first; all different.
        claims: One claim per level.
    """

    levels: tuple[str, ...]
    claims: tuple[str, ...]

    def answer(self, judgement: Judgement) -> Score:
        """The score, from a judgement that covers the claims."""
        own = judgement.select(self.claims)
        shares = own.shares
        return Score(
            value=expected_level(shares, range(len(self.levels))),
            level=self.levels[int(own.margins.argmax())],
            probabilities=dict(zip(self.levels, shares.tolist(), strict=True)),
            truncated=own.truncated,
            windows=own.windows,
        )


@dataclass(frozen=True, slots=True)
class CheckQuestion:
    """Does the text support a claim, contradict it, or not say?

    Attributes:
        claim: The claim as the user wrote it.
        claims: The three claims that are judged, in the order of `freelm.tasks.forms.CHECKS`.
    """

    claim: str
    claims: tuple[str, ...]

    def answer(self, judgement: Judgement) -> Check:
        """The result, from a judgement that covers the three claims."""
        own = judgement.select(self.claims)
        results = tuple(CHECKS)
        return Check(
            claim=self.claim,
            result=results[int(own.margins.argmax())],
            probabilities=dict(zip(results, own.shares.tolist(), strict=True)),
            truncated=own.truncated,
            windows=own.windows,
        )


@dataclass(frozen=True, slots=True)
class RankQuestion:
    """Which documents answer a query?

    Every document is judged by itself, so this question has one request per document.

    Attributes:
        query: The query.
        documents: The documents.
    """

    query: str
    documents: tuple[str, ...]

    def requests(self, long_texts: LongTexts) -> list[Request]:
        """One request per document."""
        return [
            Request((self.query, document), (RELEVANCE_CLAIM,), long_texts)
            for document in self.documents
        ]

    def answer(self, judgements: Sequence[Judgement]) -> list[Ranked]:
        """The documents, likeliest first, from the judgements of `requests`."""
        ranked = [
            Ranked(i, text, float(found.probabilities[0]), found.truncated, found.windows)
            for i, (text, found) in enumerate(zip(self.documents, judgements, strict=True))
        ]
        return sorted(ranked, key=lambda document: -document.probability)


Question = PredicateQuestion | ChoiceQuestion | ScoreQuestion | CheckQuestion


def distinct_claims(questions: Iterable[Question]) -> tuple[str, ...]:
    """The distinct claims of some questions: one request with these answers all of them."""
    return tuple(dict.fromkeys(claim for question in questions for claim in question.claims))


# -- making questions ------------------------------------------------------------------------------


def predicate(claim: object) -> PredicateQuestion:
    """Ask whether a claim is true.

    Args:
        claim: A statement, or a yes/no question.

    Raises:
        InputError: If it is not a non-empty string.
    """
    (checked,) = check_claims([claim])
    return PredicateQuestion(checked, (predicate_claim(checked),))


def choice(
    labels: object,
    template: object = DEFAULT_TEMPLATE,
    *,
    multi: bool = False,
    threshold: object = None,
) -> ChoiceQuestion:
    """Ask which label fits.

    Args:
        labels: Labels, or a mapping label -> description. The description fills the template.
        template: Turns a label into a claim; contains one `{}`.
        multi: Whether any number of labels can be right, not exactly one.
        threshold: Lowest verdict with which a label fits: one number for all labels, or
            label -> number. Labels without one always fit; with `multi`, from 0.5.

    Raises:
        InputError: If labels are missing or equal, the template is wrong, or a threshold is not
            between 0 and 1 or is for an unknown label.
    """
    described = check_labels(labels)
    names = tuple(described)
    wording = check_template(template)
    claims = tuple(label_claim(words, wording) for words in described.values())
    default = TRUE_FROM if multi else 0.0
    return ChoiceQuestion(names, claims, multi, _thresholds(threshold, names, default))


def score(question: object, levels: object) -> ScoreQuestion:
    """Ask how much.

    Args:
        question: For example "How satisfied is the customer?"
        levels: Names of the levels from lowest to highest, or a mapping name -> description.

    Raises:
        InputError: If the question is not a text, or levels are missing or equal.
    """
    described = check_labels(levels)
    asked = check_text(question, "question")
    claims = tuple(option_claim(asked, words) for words in described.values())
    return ScoreQuestion(tuple(described), claims)


def check(claim: object) -> CheckQuestion:
    """Ask whether the text supports a claim, contradicts it, or does not say.

    Raises:
        InputError: If the claim is not a text.
    """
    (checked,) = check_claims([claim])
    return CheckQuestion(checked, tuple(claims_of_check(checked).values()))


def rank(query: object, documents: object) -> RankQuestion:
    """Ask which documents answer a query.

    Raises:
        InputError: If the query or a document is not a text, or there are no documents.
    """
    asked = check_text(query, "query")
    texts = [
        check_text(document, f"document {i}")
        for i, document in enumerate(check_list(documents, "documents"))
    ]
    if not texts:
        raise InputError("no documents are given")
    return RankQuestion(asked, tuple(texts))


def parse_question(value: object) -> Question:
    """Make a question from plain values, as `FreeLM.decide` and question files take them.

    Args:
        value: One of
            `{"claim": "..."}`,
            `{"labels": [...] or {...}, "template": "... {} ...", "multi": ..., "threshold": ...}`
            (all but the labels optional),
            `{"question": "...", "levels": [...] or {...}}`,
            `{"check": "..."}`.

    Raises:
        InputError: If it has none of these forms.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"must be a mapping, not {type(value).__name__}")
    match dict(value):
        case {"claim": claim, **rest} if not rest:
            return predicate(claim)
        case {"labels": labels, **rest} if set(rest) <= {"template", "multi", "threshold"}:
            return choice(labels, **_check_options(rest))
        case {"question": asked, "levels": levels, **rest} if not rest:
            return score(asked, levels)
        case {"check": claim, **rest} if not rest:
            return check(claim)
    raise InputError(
        "give claim, or labels (with template, multi, threshold), or question and levels, or "
        f"check; not {', '.join(map(str, value)) or 'nothing'}"
    )


def parse_questions(value: object) -> dict[str, Question]:
    """Make named questions from plain values, each as `parse_question` takes it.

    Raises:
        InputError: If there are no questions, or one is invalid (the message names it).
    """
    if not isinstance(value, Mapping):
        raise InputError(
            f"questions must be a mapping name -> question, not {type(value).__name__}"
        )
    if not value:
        raise InputError("no questions are given")
    questions = {}
    for name, question in value.items():
        try:
            questions[check_text(name, "a question's name")] = parse_question(question)
        except InputError as error:
            raise InputError(f"question {name!r}: {error}") from None
    return questions


def _check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(options.get("multi", False), bool):
        raise InputError(f"multi must be true or false, not {options['multi']!r}")
    return dict(options)


def _thresholds(value: object, labels: tuple[str, ...], default: float) -> tuple[float, ...]:
    """One threshold per label."""
    if value is None:
        return (default,) * len(labels)
    if not isinstance(value, Mapping):
        return (_check_threshold(value, "threshold"),) * len(labels)
    unknown = [name for name in value if name not in labels]
    if unknown:
        raise InputError(f"threshold is given for {unknown[0]!r}, which is not one of the labels")
    return tuple(
        _check_threshold(value[name], f"threshold of {name!r}") if name in value else default
        for name in labels
    )


def _check_threshold(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{what} must be between 0 and 1, not {value}")
    return float(value)
