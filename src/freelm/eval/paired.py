"""Paired tests: do two models differ on the same items?

McNemar's test asks it of right and wrong answers, the paired bootstrap of any metric. Both look at
the same rows answered by both, so they find differences that two separate intervals hide.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from freelm.errors import DataError, FreeLMError
from freelm.eval.items import Item, predictions
from freelm.eval.metrics import Metric, Predictions, metric_named
from freelm.tasks import Task, default_registry

SIGNIFICANT = 0.05
ITEMS = "items"
"""Folder of an evaluation that holds its answers."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same items of a task.

    Attributes:
        task: Name of the task.
        split: Its split.
        metric: Name of the metric.
        ours: Value of the model that was evaluated.
        theirs: Value of the one it is compared with.
        difference: Ours minus theirs.
        low: Lower end of its 95% interval by paired bootstrap.
        high: Upper end.
        p_mcnemar: Exact McNemar p-value of the right answers, None where the metric is none of
            labels.
        n: Items.
        variant: How the rows were changed, None where they were not.
        against: Folder of the other evaluation.
    """

    task: str
    split: str
    metric: str
    ours: float
    theirs: float
    difference: float
    low: float
    high: float
    p_mcnemar: float | None
    n: int
    variant: str | None = None
    against: str | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the interval of the difference leaves out zero and McNemar's test agrees."""
        outside = self.low > 0 or self.high < 0
        return outside and (self.p_mcnemar is None or self.p_mcnemar < SIGNIFICANT)

    @property
    def standing(self) -> str:
        """How ours stands to theirs, in words."""
        if not self.is_significant:
            return "no significant difference"
        lower_is_better = self.metric in ("mae", "brier", "ece")
        better = (self.difference < 0) == lower_is_better
        return f"significantly {'better' if better else 'worse'}"

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        sizes = f"{self.ours:.3f} against {self.theirs:.3f} on {self.n:,} items"
        return f"{self.task}, {self.metric}: {self.standing} ({sizes})"

    def as_json(self) -> str:
        """The comparison as one line of JSON."""
        return json.dumps({**asdict(self), "significant": self.is_significant})


def mcnemar(ours_right: np.ndarray, theirs_right: np.ndarray) -> float:
    """Exact two-sided p-value of McNemar's test (McNemar 1947).

    Only items that exactly one of the two answers rightly count; if the models are equally good,
    each is as likely to be ours, so their number is binomial with p = 1/2.

    Args:
        ours_right: (N,) whether the one model is right.
        theirs_right: (N,) whether the other is.
    """
    ours, theirs = np.asarray(ours_right, dtype=bool), np.asarray(theirs_right, dtype=bool)
    if ours.shape != theirs.shape:
        raise DataError(f"answers of shape {ours.shape} and {theirs.shape} cannot be paired")
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    if only_ours + only_theirs == 0:
        return 1.0
    return float(binomtest(only_ours, only_ours + only_theirs, 0.5).pvalue)


def paired_bootstrap(
    ours: Predictions,
    theirs: Predictions,
    metric: str | Metric,
    num_samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95% percentile bootstrap interval of (ours - theirs), both drawn with the same items.

    Raises:
        DataError: If the two do not have the same items, or the metric is unknown.
    """
    if len(ours.targets) != len(theirs.targets) or not np.array_equal(ours.targets, theirs.targets):
        raise DataError("only answers to the same items can be paired")
    chosen = metric if isinstance(metric, Metric) else metric_named(metric)
    sides = chosen.columns(ours), chosen.columns(theirs)
    rng = np.random.default_rng(seed)
    differences = np.empty(num_samples)
    for sample in range(num_samples):
        draw = rng.integers(0, len(ours.targets), len(ours.targets))
        one, other = (chosen.statistic(*(column[draw] for column in side)) for side in sides)
        differences[sample] = one - other
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


def compare_predictions(
    task: Task, split: str, ours: list[Item], theirs: list[Item], variant: str | None = None
) -> list[Comparison]:
    """Compare two models' answers to the same rows, metric by metric."""
    compared = []
    mine, other = predictions(task, ours), predictions(task, theirs)
    for name, answered in mine.items():
        statistic = metric_named(name)
        values = statistic(answered), statistic(other[name])
        low, high = paired_bootstrap(answered, other[name], name)
        # The right answers are those of labels; an expected level is right to no item.
        p = mcnemar(_right(answered), _right(other[name])) if name in _OF_LABELS else None
        compared.append(
            Comparison(
                task.name, split, name, *values, values[0] - values[1], low, high, p, len(ours),
                variant,
            )
        )  # fmt: skip
    return compared


_OF_LABELS = ("accuracy",)


def _right(answered: Predictions) -> np.ndarray:
    return np.asarray(answered.targets) == np.asarray(answered.predicted)


def compare_folders(
    ours: Path,
    theirs: Path,
    tasks: Mapping[str, Task] | None = None,
    model: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Comparison]:
    """Compare two evaluations on the rows that both answered.

    Args:
        ours: Folder that `freelm eval --out` wrote.
        theirs: Another one.
        tasks: Tasks that are not shipped, by name.
        model: Fingerprint of our model; answers of another one in our folder are passed over.
        say: Told of tasks that cannot be compared.

    Raises:
        DataError: If a folder holds no answers, or no answers to the same rows.
    """
    answered = {_identity(key): items for key, items in read_answers(theirs, say)}
    compared: list[Comparison] = []
    for key, items in read_answers(ours, say):
        if _identity(key) not in answered or not _is_comparable(key, model):
            continue
        try:
            task = (tasks or {}).get(key["task"]) or default_registry().get(key["task"])
            pair = _same_items(key["task"], items, answered[_identity(key)])
            found = compare_predictions(task, key["split"], *pair, _variant(task, key))
            compared += [replace(comparison, against=str(theirs)) for comparison in found]
        except FreeLMError as error:
            say(f"{key['task']}: not compared: {error}")
    if not compared:
        raise DataError(f"{theirs}: holds no answers to the rows of {ours}")
    return compared


def _is_comparable(key: Mapping[str, Any], model: str | None) -> bool:
    """Whether answers are our model's, to rows that figures are reported on, one a label."""
    own = model is None or key.get("model") == model
    trained = str(key.get("split")).startswith("train")  # the choice of a base's prompt
    return own and not trained and key.get("variant") not in _NOT_ANSWERS


def _variant(task: Task, key: Mapping[str, Any]) -> str | None:
    """How the rows were changed; another phrasing is a change too."""
    if key.get("variant"):
        return str(key["variant"])
    usual = key["phrasing"] == task.training_phrasings[0].name
    return None if usual else f"phrasing {key['phrasing']}"


_NOT_ANSWERS = ("opposites",)
"""Variants whose margins are not one a label."""


def check_answers(folder: Path) -> None:
    """Refuse a folder that is none of an evaluation with answers.

    Raises:
        DataError: If it holds none.
    """
    if not any((folder / ITEMS).glob("*.jsonl")):
        raise DataError(f"{folder}: holds no answers (no {ITEMS}/*.jsonl); evaluate with --out")


def read_answers(
    folder: Path, say: Callable[[str], None] = lambda line: None
) -> Iterator[tuple[dict[str, Any], list[Item]]]:
    """The kept answers of an evaluation: (what they depend on, items) of each file.

    Raises:
        DataError: If the folder holds none.
    """
    check_answers(folder)
    for path in sorted((folder / ITEMS).glob("*.jsonl")):
        head, *lines = path.read_text(encoding="utf-8").split("\n")
        try:
            key = json.loads(head)["key"]
            yield key, [Item(**json.loads(line)) for line in lines if line]
        except (ValueError, TypeError, KeyError):
            say(f"{path}: holds a damaged line; it is passed over")


def _identity(key: Mapping[str, Any]) -> tuple[Any, ...]:
    names = ("task", "version", "split", "phrasing", "variant")
    return tuple(key.get(name) for name in names)


def _same_items(name: str, ours: list[Item], theirs: list[Item]) -> tuple[list[Item], list[Item]]:
    """The rows that both answered, in one order.

    Raises:
        DataError: If there are none, or one id stands for different rows.
    """
    others = {item.id: item for item in theirs}
    both = [(item, others[item.id]) for item in ours if item.id in others]
    if not both:
        raise DataError(f"{name}: the two evaluations answered different rows")
    for one, other in both:
        if one.digest != other.digest:
            raise DataError(f"{one.id}: the two evaluations judged different texts or claims")
    return [one for one, _ in both], [other for _, other in both]
