"""Items: how a model answered each row of a split, cached so that an evaluation can resume."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from freelm.errors import DataError, ModelError
from freelm.eval.cache import NO_CACHE, ResultCache
from freelm.eval.metrics import Predictions
from freelm.judge.probabilities import expected_level, option_probabilities, predicate_probabilities
from freelm.judge.requests import Judgement, Request
from freelm.tasks import Example, Phrasing, Rows, Task

FloatArray = npt.NDArray[np.float64]

CHUNK = 128
"""Rows that are judged and cached together."""

ORDER_SEED = 0
"""Seed of the order of rows."""


class Judges(Protocol):
    """Anything that judges requests, such as `FreeLM`."""

    def judge_requests(self, requests: Sequence[Request]) -> list[Judgement]:
        """The judgement of each request, in order."""


@dataclass(frozen=True, slots=True)
class JudgedRow:
    """How one row was answered.

    Attributes:
        id: `task/split/row`.
        target: Index of the right label, or the raw score.
        margins: Calibrated margin of each label's claim.
        digest: Hash of the context, the claims and the right answer.
        choice_temperature: Divides the margins where labels compete.
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
    """The rows that have a label, or `limit` of them, in a fixed random order.

    A smaller limit gives the first rows of a larger one. The order is random because some splits
    are sorted by label (IMDB, Banking77): their first rows all have the same one.

    Args:
        rows: A split of a task.
        phrasing: One of the task's.
        limit: Maximum number of rows, None for all.
        say: Receives a message for each row that has no text.

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
    cache: ResultCache = NO_CACHE,
    progress: Callable[[int], None] = lambda count: None,
) -> list[JudgedRow]:
    """Judge examples, except those whose answers are cached.

    Args:
        judges: The model.
        examples: Labelled examples.
        cache: Answers to the first examples.
        progress: Receives numbers of examples as they are done.

    Raises:
        ModelError: If a verdict is NaN or infinite; the message names the row, which is not cached.
        DataError: If the cached answers are to other rows, or cannot be read or written.
    """
    items = _cached_items(cache, examples)
    progress(len(items))
    for start in range(len(items), len(examples), CHUNK):
        chunk = examples[start : start + CHUNK]
        judged = judges.judge_requests([Request(e.context, e.claims) for e in chunk])
        new = [_item(example, answer) for example, answer in zip(chunk, judged, strict=True)]
        cache.append([asdict(item) for item in new])
        items += new
        progress(len(chunk))
    return items


def _item(example: Example, answer: Judgement) -> JudgedRow:
    if not np.isfinite(answer.margins).all():
        raise ModelError(
            f"{example.id}: the model's verdict is not a finite number; its weights are damaged or "
            "overflow in this precision"
        )
    margins = [float(margin) for margin in answer.margins]
    temperature = float(answer.choice_temperature.of(len(margins)))
    target = float(example.target or 0.0)
    return JudgedRow(example.id, target, margins, _digest(example), temperature)


def _cached_items(cache: ResultCache, examples: Sequence[Example]) -> list[JudgedRow]:
    items = cache.read(lambda line: JudgedRow(**line))[: len(examples)]
    for item, example in zip(items, examples, strict=False):
        if item.id != example.id or item.digest != _digest(example):
            raise DataError(
                f"{cache.path}: holds answers to other rows or claims; delete it and run again"
            )
    return items


def _digest(example: Example) -> str:
    facts = json.dumps([example.context, example.claims, example.target])
    return hashlib.sha256(facts.encode()).hexdigest()[:12]


def predictions(task: Task, items: Sequence[JudgedRow]) -> dict[str, Predictions]:
    """The predictions that each metric is computed from.

    A predicate is true when its own claim is (P >= 0.5); a choice is the option with the largest
    probability; a score is the expected level for correlations and errors, the likeliest level for
    metrics of labels.

    Args:
        task: The task.
        items: Its answered rows.

    Returns:
        Metric -> predictions: the task's own metrics, then Brier and ECE if answers are labels.
    """
    targets = np.array([item.target for item in items])
    if task.question == "score":
        return _score_predictions(task, items, targets)
    if task.question == "predicate":
        true = list(task.label.ids).index("true")
        shares = [predicate_probabilities(item.margins[true], true) for item in items]
    else:
        shares = [item.shares for item in items]
    answered = np.array([float(np.argmax(share)) for share in shares])
    one = Predictions(targets, answered, shares)
    return dict.fromkeys([*task.metrics, "brier", "ece"], one)


def _score_predictions(
    task: Task, items: Sequence[JudgedRow], targets: np.ndarray
) -> dict[str, Predictions]:
    levels = np.array(task.levels)
    shares = [item.shares for item in items]
    expected = Predictions(targets, np.array([expected_level(p, levels) for p in shares]))
    likeliest = Predictions(targets, np.array([levels[int(np.argmax(p))] for p in shares]))
    on_scale = {"pearson", "spearman", "mae"}
    return {name: expected if name in on_scale else likeliest for name in task.metrics}
