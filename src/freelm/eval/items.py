"""Items: how a model answered each row of a split, kept on disk so that evaluation can go on.

The answers of one task are JSON lines under a key (`freelm.eval.cache`) that says what they are
answers to.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from freelm.errors import DataError, ModelError
from freelm.eval.cache import ResultCache
from freelm.eval.metrics import Predictions
from freelm.judge.probabilities import expected_level, option_probabilities, sigmoid
from freelm.judge.requests import Judgement, Request
from freelm.tasks import Example, Phrasing, Rows, Task

FloatArray = npt.NDArray[np.float64]

CHUNK = 128
"""Rows that are judged, and written down, together."""

ORDER_SEED = 0
"""Seed of the order in which the rows of a split are judged."""


class Judges(Protocol):
    """Whatever can judge requests; `FreeLM` is one."""

    def judge_requests(self, requests: Sequence[Request]) -> list[Judgement]:
        """Verdicts of each request, in order."""


@dataclass(frozen=True, slots=True)
class Item:
    """How a row was answered.

    Attributes:
        id: `task/split/row`.
        target: Index of the right label, or the raw score.
        margins: Calibrated margin of each label's claim.
        digest: Of the context and claims that were judged.
        choice_temperature: What margins are divided by where labels compete.
    """

    id: str
    target: float
    margins: list[float]
    digest: str
    choice_temperature: float = 1.0

    @property
    def shares(self) -> FloatArray:
        """The probability of each label, given that exactly one is right."""
        return option_probabilities(self.margins, self.choice_temperature)


def labelled_examples(
    rows: Rows,
    phrasing: Phrasing,
    limit: int | None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Example]:
    """The rows that have a label, or `limit` of them, in an order drawn at random.

    The order is the same every time, so that fewer rows are the beginning of more. Splits that are
    sorted by label are published (IMDB, Banking77): their first rows are all of one class.

    Args:
        rows: A split of a task.
        phrasing: One of the task's.
        limit: Rows at most; None means all.
        say: Told of rows that have no text and are left out.

    Raises:
        DataError: If no row has a label.
    """
    examples = []
    order = np.random.default_rng(ORDER_SEED).permutation(len(rows)).tolist()
    for example in rows.examples(phrasing, order, say):
        if example.target is not None:
            examples.append(example)
        if limit is not None and len(examples) == limit:
            break
    if not examples:
        raise DataError(f"{rows.origin}: split {rows.split!r} has no labels to compare with")
    return examples


def judge_items(
    judges: Judges,
    examples: Sequence[Example],
    cache: Path | None = None,
    key: dict[str, Any] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> list[Item]:
    """Judge examples, taking over answers that are on disk.

    Args:
        judges: The model.
        examples: Labelled examples.
        cache: JSON lines file of answers; None keeps nothing.
        key: What the answers depend on (model, task version, phrasing ...).
        progress: Told how many examples were done.

    Raises:
        ModelError: If a verdict is NaN or infinite (the row is named); it is not kept.
        DataError: If the kept answers are to other rows, or cannot be read or written.
    """
    kept = ResultCache(cache, key or {})
    items = _taken_over(kept, examples)
    progress(len(items))
    for start in range(len(items), len(examples), CHUNK):
        chunk = examples[start : start + CHUNK]
        judged = judges.judge_requests([Request(e.context, e.claims) for e in chunk])
        _refuse_non_finite(chunk, judged)
        new = [
            Item(
                example.id,
                float(example.target or 0.0),
                [float(m) for m in answer.margins],
                _digest(example),
                float(answer.choice_temperature.of(len(answer.margins))),
            )
            for example, answer in zip(chunk, judged, strict=True)
        ]
        kept.append([asdict(item) for item in new])
        items += new
        progress(len(chunk))
    return items


def _refuse_non_finite(examples: Sequence[Example], judged: Sequence[Judgement]) -> None:
    for example, answer in zip(examples, judged, strict=True):
        if not np.isfinite(answer.margins).all():
            raise ModelError(
                f"{example.id}: the model's verdict is not a finite number; its weights are "
                "damaged or overflow in this precision"
            )


def _taken_over(kept: ResultCache, examples: Sequence[Example]) -> list[Item]:
    """The kept answers to the first examples."""
    items = kept.read(lambda line: Item(**line))[: len(examples)]
    for item, example in zip(items, examples, strict=False):
        if item.id != example.id or item.digest != _digest(example):
            raise DataError(
                f"{kept.path}: holds answers to other rows or claims; delete it and run again"
            )
    return items


def _digest(example: Example) -> str:
    """A short name of what is judged and of its right answer."""
    facts = json.dumps([example.context, example.claims, example.target])
    return hashlib.sha256(facts.encode()).hexdigest()[:12]


def predictions(task: Task, items: Sequence[Item]) -> dict[str, Predictions]:
    """What was answered, metric by metric.

    A predicate is true when its own claim is (P >= 0.5); a choice is the option with the largest
    probability; a score is the expected level for correlations and errors, the likeliest level for
    metrics of labels.

    Args:
        task: The task.
        items: The answered rows.

    Returns:
        Metric -> the predictions that it is computed from; the task's own metrics, then Brier and
        ECE where the answers are labels.
    """
    targets = np.array([item.target for item in items])
    if task.question == "score":
        return _score_predictions(task, items, targets)
    if task.question == "predicate":
        place = list(task.label.ids).index("true")
        shares = [_predicate_probabilities(item.margins[place], place) for item in items]
    else:
        shares = [item.shares for item in items]
    answered = np.array([float(np.argmax(share)) for share in shares])
    one = Predictions(targets, answered, shares)
    return dict.fromkeys([*task.metrics, "brier", "ece"], one)


def _predicate_probabilities(margin: float, place: int) -> np.ndarray:
    true = float(sigmoid(margin))
    return np.array([1.0 - true, true] if place == 1 else [true, 1.0 - true])


def _score_predictions(
    task: Task, items: Sequence[Item], targets: np.ndarray
) -> dict[str, Predictions]:
    levels = np.array(task.levels)
    shares = [item.shares for item in items]
    expected = Predictions(targets, np.array([expected_level(p, levels) for p in shares]))
    likeliest = Predictions(targets, np.array([levels[int(np.argmax(p))] for p in shares]))
    on_scale = {"pearson", "spearman", "mae"}
    return {name: expected if name in on_scale else likeliest for name in task.metrics}
