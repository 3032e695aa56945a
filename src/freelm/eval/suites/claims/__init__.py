"""480 hand-written claims about 60 short texts; each false one is worded like a true one.

The texts and claims were written for FreeLM and ship with it. A pair is one true and one false
claim of a text in nearly the same words, so that neither the topic nor word overlap tells them
apart. One claim of each text also has three rewordings, which must get the same verdict, and an
opposite, which must get the other one. For development: never trained on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from freelm.api import FreeLM
from freelm.errors import InputError
from freelm.eval.measure import Setting
from freelm.eval.results import Result, interval, value_with_spread
from freelm.eval.sections import Block, Findings, Table
from freelm.eval.suite import Suite, Tasks
from freelm.judge.requests import Request

NAME = "claims"
FAMILY = "reading"
SPLIT = "validation"
FOLDER = Path(__file__).parent

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim about a text.

    Attributes:
        id: E.g. `dev-001-5`.
        kind: What reading it takes, e.g. `role`; a text has one true and one false claim of a kind.
        label: 1 if the text states or clearly implies it.
        text: The claim.
        rewordings: The same in other words; empty for most.
        opposite: What is true if and only if the claim is not; None for most.
    """

    id: str
    kind: str
    label: int
    text: str
    rewordings: tuple[str, ...] = ()
    opposite: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimText:
    """A text and its claims."""

    id: str
    domain: str
    text: str
    claims: tuple[Claim, ...]

    @property
    def asked(self) -> tuple[str, ...]:
        """Everything that is judged about the text, each wording once."""
        listed = [claim.text for claim in self.claims]
        for claim in self.claims:
            listed += [*claim.rewordings, *([claim.opposite] if claim.opposite else [])]
        return tuple(dict.fromkeys(listed))


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says about one text.

    Attributes:
        labels: (C,) labels of the claims.
        probabilities: (C,) P(true) of the claims.
        pairs: For each pair of a true and a false claim of one kind, whether the true one is ranked
            higher: 1, 0, or 0.5 for a tie.
        rewordings: For each reworded claim, one truth value per rewording: same verdict or not.
        opposites: For each claim with an opposite, whether both got the same verdict.
    """

    labels: FloatArray
    probabilities: FloatArray
    pairs: tuple[float, ...]
    rewordings: tuple[tuple[bool, ...], ...]
    opposites: tuple[bool, ...]


@cache
def shipped_texts() -> tuple[ClaimText, ...]:
    """The texts and claims of the suite."""
    reworded = yaml.safe_load((FOLDER / "rewordings.yaml").read_text(encoding="utf-8"))
    texts = []
    for line in (FOLDER / "claims.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        claims = []
        for facts in row["claims"]:
            extra = reworded.get(facts["id"], {})
            claims.append(
                Claim(
                    id=facts["id"],
                    kind=facts["kind"],
                    label=facts["label"],
                    text=facts["claim"],
                    rewordings=tuple(extra.get("rewordings", ())),
                    opposite=extra.get("opposite"),
                )
            )
        texts.append(ClaimText(row["text_id"], row["domain"], row["text"], tuple(claims)))
    return tuple(texts)


def evaluate_claims(model: FreeLM, tasks: Tasks, setting: Setting) -> list[Result]:
    """The figures of the shipped claims, in all, by kind and by domain.

    Args:
        model: The model.
        tasks: Must be None: the suite has no tasks.
        setting: How to evaluate; `limit` is a number of claims and is rounded up to complete texts.

    Raises:
        InputError: If tasks were requested.
    """
    if tasks is not None:
        raise InputError("the claims suite has no tasks: leave out --tasks")
    texts = shipped_texts()
    if setting.limit is not None:
        order = np.random.default_rng(0).permutation(len(texts))
        texts = tuple(texts[index] for index in sorted(order[: -(-setting.limit // 8)]))
    if not model.facts.markers:
        model = model.with_prompt("true-or-false")
    answers = []
    for number, text in enumerate(texts, start=1):
        answers.append(_answers(model, text))
        setting.progress(NAME, number, len(texts))
    results = _figures(answers, None)
    for kind in sorted({claim.kind for text in texts for claim in text.claims}):
        of_kind = (_of_kind(text, one, kind) for text, one in zip(texts, answers, strict=True))
        results += _figures([one for one in of_kind if one is not None], f"kind {kind}", _BY_GROUP)
    for domain in sorted({text.domain for text in texts}):
        chosen = [one for text, one in zip(texts, answers, strict=True) if text.domain == domain]
        results += _figures(chosen, f"domain {domain}", _BY_GROUP)
    return results


def _answers(model: FreeLM, text: ClaimText) -> Answers:
    asked = text.asked
    judged = model.judge_requests([Request((text.text,), asked)])[0].probabilities
    truth = {claim: float(probability) for claim, probability in zip(asked, judged, strict=True)}
    reworded = [claim for claim in text.claims if claim.rewordings]
    return Answers(
        labels=np.array([claim.label for claim in text.claims], dtype=float),
        probabilities=np.array([truth[claim.text] for claim in text.claims]),
        pairs=_pairs(text.claims, truth),
        rewordings=tuple(
            tuple(_says(truth[other]) == _says(truth[claim.text]) for other in claim.rewordings)
            for claim in reworded
        ),
        opposites=tuple(
            _says(truth[claim.opposite]) == _says(truth[claim.text])
            for claim in reworded
            if claim.opposite
        ),
    )


def _says(probability: float) -> bool:
    """The verdict of a probability."""
    return probability > 0.5


def _pairs(claims: Sequence[Claim], truth: dict[str, float]) -> tuple[float, ...]:
    ranked = []
    for kind in dict.fromkeys(claim.kind for claim in claims):
        of_kind = {claim.label: truth[claim.text] for claim in claims if claim.kind == kind}
        ranked.append(float(0.5 * (1 + np.sign(of_kind[1] - of_kind[0]))))
    return tuple(ranked)


def _of_kind(text: ClaimText, answers: Answers, kind: str) -> Answers | None:
    """The part of a text's answers that is about one kind, None if there is none."""
    chosen = [index for index, claim in enumerate(text.claims) if claim.kind == kind]
    if not chosen:
        return None
    kinds = list(dict.fromkeys(claim.kind for claim in text.claims))
    pair = (answers.pairs[kinds.index(kind)],)
    return Answers(answers.labels[chosen], answers.probabilities[chosen], pair, (), ())


# -- figures ---------------------------------------------------------------------------------------


NUM_RESAMPLES = 1000
NUM_BINS = 15
_BY_GROUP = ("accuracy", "true_accepted", "false_rejected", "pair_accuracy")
_BASELINES = {"accuracy": 0.5, "pair_accuracy": 0.5}
"""What an answer that ignores the text gets."""


def _sums(answers: Answers) -> dict[str, tuple[FloatArray, int]]:
    """Metric -> (sums over a text's items, number of items).

    A share has one sum. The calibration error has one per bin of confidence: right answers less the
    confidence in them. Over several texts every metric is the sum of |sums| divided by the items.
    """
    says = answers.probabilities > 0.5
    is_right = (says == answers.labels).astype(float)
    is_true = answers.labels == 1
    confidence = np.maximum(answers.probabilities, 1 - answers.probabilities)
    bins = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    alike = [same for claim in answers.rewordings for same in claim]
    return {
        "accuracy": _share(is_right),
        "true_accepted": _share(is_right[is_true]),
        "false_rejected": _share(is_right[~is_true]),
        "pair_accuracy": _share(answers.pairs),
        "ece": (
            np.bincount(bins, is_right - confidence, NUM_BINS).astype(float),
            len(is_right),
        ),
        "rewordings_agree": _share(alike),
        "all_rewordings_agree": _share([all(claim) for claim in answers.rewordings]),
        "opposites_alike": _share(answers.opposites),
    }


def _share(values: npt.ArrayLike) -> tuple[FloatArray, int]:
    array = np.asarray(values, dtype=float)
    return np.array([array.sum()]), len(array)


def _figures(
    answers: Sequence[Answers], variant: str | None, metrics: Sequence[str] | None = None
) -> list[Result]:
    """The metrics of some texts, with 95% intervals from resampling texts."""
    draws = np.random.default_rng(0).integers(0, len(answers), (NUM_RESAMPLES, len(answers)))
    by_text = [_sums(one) for one in answers]
    results = []
    for metric in metrics or by_text[0]:
        sums = np.stack([sums[metric][0] for sums in by_text])  # (texts, bins)
        items = np.array([sums[metric][1] for sums in by_text])  # (texts,)
        drawn = np.abs(sums[draws].sum(axis=1)).sum(axis=1) / items[draws].sum(axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        value = float(np.abs(sums.sum(axis=0)).sum() / items.sum())
        results.append(
            Result(
                NAME, FAMILY, SPLIT, metric, value, int(items.sum()),
                float(low), float(high), _BASELINES.get(metric), NAME, variant,
            )
        )  # fmt: skip
    return results


# -- report ----------------------------------------------------------------------------------------


def _section(findings: Findings) -> list[Block]:
    results = findings.of(NAME)
    overall = [result for result in results if result.variant is None]
    rows = [(r.metric, value_with_spread(r), interval(r), f"{r.n:,}") for r in overall]
    blocks: list[Block] = [
        findings.paragraph(
            "480 claims about 60 short texts, written by hand. Each false claim is worded like a "
            "true one; a pair is right if the true claim has the higher probability. Intervals: "
            "95%, by resampling texts."
        ),
        Table(("metric", "value", "95% interval", "n"), rows),
    ]
    for group in ("kind", "domain"):
        variants = (result.variant or "" for result in results)
        names = dict.fromkeys(name for name in variants if name.startswith(f"{group} "))
        found = {(r.variant, r.metric): value_with_spread(r) for r in results}
        cells = [
            (name.removeprefix(f"{group} "), *(found[name, metric] for metric in _BY_GROUP))
            for name in names
        ]
        blocks.append(Table((group, *_BY_GROUP), cells))
    return blocks


def _summary(findings: Findings) -> list[str]:
    found = {r.metric: r for r in findings.of(NAME) if r.variant is None}
    accuracy, pairs = found["accuracy"], found["pair_accuracy"]
    return [
        f"Hand-written claims: {value_with_spread(accuracy)} right ({interval(accuracy)}); the "
        f"true one of a pair ranked higher in {value_with_spread(pairs)} ({interval(pairs)})."
    ]


SUITE = Suite(
    name=NAME,
    title="Claims",
    measure=evaluate_claims,
    section=_section,
    summary=_summary,
    order=35,
    accepts=lambda task: False,
)
