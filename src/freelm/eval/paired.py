"""Paired tests: do two models differ on the same items?

McNemar's test asks it of right and wrong answers, the paired bootstrap of any metric. Both look at
the same rows answered by both, or the same windows of a text measured by both, so they find
differences that two separate intervals hide.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from freelm.errors import DataError, FreeLMError
from freelm.eval.cache import read_cache
from freelm.eval.items import Item, predictions
from freelm.eval.metrics import METRICS, Columns, Metric, Predictions, metric_named
from freelm.eval.results import LOWER_IS_BETTER
from freelm.eval.texts import (
    ENDINGS,
    LAST_WORD,
    PERPLEXITY,
    TEXTS,
    WORD_METRIC,
    TextLoss,
    ending_predictions,
    window_loss,
    word_predictions,
    word_was_right,
)
from freelm.tasks import Task, default_registry

Say = Callable[[str], None]

SIGNIFICANT = 0.05
MIN_WINDOWS = 6
"""Fewer windows show nothing even when all agree: the sign test of 5 has p = 2 / 2^5 > 0.05, and a
bootstrap of them would still call it significant."""

ITEMS = "items"
"""Folder of an evaluation that holds its answers."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same items of a task or text.

    Attributes:
        task: Name of the task or corpus.
        split: Its split.
        metric: Name of the metric.
        ours: Value of the model that was evaluated.
        theirs: Value of the one it is compared with.
        difference: Ours minus theirs.
        low: Lower end of its 95% interval by paired bootstrap.
        high: Upper end.
        p_mcnemar: Exact McNemar p-value of the right answers, None where the metric is none of
            labels.
        n: Items: rows, texts or windows.
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
        better = (self.difference < 0) == (self.metric in LOWER_IS_BETTER)
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
    columns = chosen.columns(ours), chosen.columns(theirs)
    return paired_interval(*columns, chosen.statistic, num_samples, seed)


def paired_interval(
    ours: Columns,
    theirs: Columns,
    statistic: Callable[..., float],
    num_samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95% percentile bootstrap interval of (ours - theirs) of any statistic.

    Args:
        ours: Arrays of shape (N,), one value per item.
        theirs: The other model's, of the same items.
        statistic: Those arrays, or a resample of them -> a figure.
        num_samples: How often N items are drawn with replacement.
        seed: Seed of the draws.
    """
    rng, num_items = np.random.default_rng(seed), len(ours[0])
    differences = np.empty(num_samples)
    for sample in range(num_samples):
        draw = rng.integers(0, num_items, num_items)
        one, other = (statistic(*(column[draw] for column in side)) for side in (ours, theirs))
        differences[sample] = one - other
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


def compare_predictions(
    task: Task, split: str, ours: list[Item], theirs: list[Item], variant: str | None = None
) -> list[Comparison]:
    """Compare two models' answers to the same rows, metric by metric."""
    mine, other = predictions(task, ours), predictions(task, theirs)
    # The right answers are those of labels; an expected level is right to no item.
    return [
        _compared(
            (task.name, split, name), answered, other[name], metric_named(name), name == "accuracy",
            variant,
        )
        for name, answered in mine.items()
    ]  # fmt: skip


def _compared(
    names: tuple[str, str, str],
    ours: Predictions,
    theirs: Predictions,
    metric: Metric,
    is_right_or_wrong: bool = True,
    variant: str | None = None,
) -> Comparison:
    """Two models' answers by one metric; `names` are those of task, split and metric."""
    low, high = paired_bootstrap(ours, theirs, metric)
    values = metric(ours), metric(theirs)
    p = mcnemar(_right(ours), _right(theirs)) if is_right_or_wrong else None
    return Comparison(
        *names, *values, values[0] - values[1], low, high, p, len(ours.targets), variant
    )


def _right(answered: Predictions) -> np.ndarray:
    return np.asarray(answered.targets) == np.asarray(answered.predicted)


def compare_losses(corpus: str, ours: TextLoss, theirs: TextLoss) -> list[Comparison]:
    """Compare how much the same windows of a text surprised two models; n counts windows.

    Raises:
        DataError: If the windows are others or too few.
    """
    if not np.array_equal(ours.targets, theirs.targets):
        raise DataError("the windows predict other numbers of tokens")
    if len(ours.nats) < MIN_WINDOWS:
        raise DataError(
            f"{len(ours.nats)} windows of text are too few; measure {MIN_WINDOWS} or more"
        )
    compared = []
    for metric, of_loss in _OF_LOSS.items():

        def statistic(
            nats: np.ndarray, targets: np.ndarray, of: Callable[[TextLoss], float] = of_loss
        ) -> float:
            return of(replace(ours, nats=nats, targets=targets))

        low, high = paired_interval(
            (ours.nats, ours.targets), (theirs.nats, theirs.targets), statistic
        )
        values = of_loss(ours), of_loss(theirs)
        compared.append(
            Comparison(
                corpus, "test", metric, *values, values[0] - values[1], low, high, None,
                len(ours.nats),
            )
        )  # fmt: skip
    return compared


_OF_LOSS: dict[str, Callable[[TextLoss], float]] = {
    "perplexity": lambda loss: loss.perplexity,
    "bits_per_byte": lambda loss: loss.bits_per_byte,
}


# -- folders ---------------------------------------------------------------------------------------


def compare_folders(
    ours: Path,
    theirs: Path,
    tasks: Mapping[str, Task] | None = None,
    model: str | None = None,
    say: Say = lambda line: None,
) -> list[Comparison]:
    """Compare two evaluations on the rows that both answered and the texts that both measured.

    Args:
        ours: Folder that `freelm eval --out` wrote.
        theirs: Another one.
        tasks: Tasks that are not shipped, by name.
        model: Fingerprint of our model; answers of another one in our folder are passed over.
        say: Told of tasks and texts that cannot be compared.

    Raises:
        DataError: If a folder holds no answers, or none to the same rows or texts.
    """
    for folder in (ours, theirs):
        check_answers(folder)
    compared = _compare_tasks(ours, theirs, tasks or {}, model, say)
    compared += _compare_texts(ours, theirs, model, say)
    if not compared:
        raise DataError(f"{theirs}: holds no answers to the rows or texts of {ours}")
    return [replace(comparison, against=str(theirs)) for comparison in compared]


def _compare_tasks(
    ours: Path, theirs: Path, tasks: Mapping[str, Task], model: str | None, say: Say
) -> list[Comparison]:
    answered = {_identity(key): items for key, items in read_answers(theirs, say)}
    compared: list[Comparison] = []
    for key, items in read_answers(ours, say):
        if _identity(key) not in answered or not _is_comparable(key, model):
            continue
        try:
            task = tasks.get(key["task"]) or default_registry().get(key["task"])
            pair = _same_items(key["task"], items, answered[_identity(key)])
            compared += compare_predictions(task, key["split"], *pair, _variant(task, key))
        except FreeLMError as error:
            say(f"{key['task']}: not compared: {error}")
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
    if not any(path for kind in (ITEMS, TEXTS) for path in (folder / kind).glob("*.jsonl")):
        raise DataError(f"{folder}: holds no answers (no {ITEMS}/*.jsonl); evaluate with --out")


def read_answers(
    folder: Path, say: Say = lambda line: None
) -> Iterator[tuple[dict[str, Any], list[Item]]]:
    """The kept answers of an evaluation: (what they depend on, items) of each file.

    A file that is damaged is told of and passed over.
    """
    for path in sorted((folder / ITEMS).glob("*.jsonl")):
        try:
            yield read_cache(path, lambda line: Item(**line))
        except DataError as error:
            say(f"{error}; it is passed over")


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


# -- texts -----------------------------------------------------------------------------------------

Key = Mapping[str, Any]


@dataclass(frozen=True)
class _TextTest:
    """How what two evaluations measured of a text is compared.

    Attributes:
        piece: Reads a kept piece.
        same: Names of the key that must be equal.
        compare: (our key, our pieces, their pieces) -> the paired tests.
    """

    piece: Callable[[Any], Any]
    same: tuple[str, ...]
    compare: Callable[[Key, list[Any], list[Any]], list[Comparison]]


def _compare_windows(
    key: Key, ours: list[tuple[float, int]], theirs: list[tuple[float, int]]
) -> list[Comparison]:
    both = min(len(ours), len(theirs))
    losses = (TextLoss.of(side[:both], key["bytes_per_token"]) for side in (ours, theirs))
    return compare_losses(key["corpus"], *losses)


def _compare_words(key: Key, ours: list[bool], theirs: list[bool]) -> list[Comparison]:
    both = min(len(ours), len(theirs))
    names = key["corpus"], "test", WORD_METRIC
    mine, other = (word_predictions(side[:both]) for side in (ours, theirs))
    return [_compared(names, mine, other, METRICS["accuracy"])]


def _compare_endings(key: Key, ours: list[Item], theirs: list[Item]) -> list[Comparison]:
    mine, other = (ending_predictions(i) for i in _same_items(key["task"], ours, theirs))
    return [
        _compared((key["task"], key["split"], name), mine[name], other[name], METRICS["accuracy"])
        for name in mine
    ]


_TEXT_TESTS = {
    PERPLEXITY: _TextTest(window_loss, ("file", "window", "tokens"), _compare_windows),
    LAST_WORD: _TextTest(word_was_right, ("file",), _compare_words),
    ENDINGS: _TextTest(lambda line: Item(**line), ("version", "margins"), _compare_endings),
}

_OTHERWISE = {
    "file": "the two evaluations measured different files",
    "window": "the two evaluations measured windows of different lengths",
    "tokens": "the tokenizers of the two models make different tokens of the text, so that no "
    "window of the one is a window of the other; compare their bits per byte of the whole text",
    "version": "the two evaluations asked different versions of the task",
    "margins": "the two evaluations keep different likelihoods",
}


def _compare_texts(ours: Path, theirs: Path, model: str | None, say: Say) -> list[Comparison]:
    """Paired tests of the texts that both measured; what is not comparable is told of."""
    compared: list[Comparison] = []
    for measured, test in _TEXT_TESTS.items():
        for path in sorted((ours / TEXTS).glob(f"*.{measured}.jsonl")):
            other = theirs / TEXTS / path.name
            try:
                key, mine = read_cache(path, test.piece)
                if other.is_file() and model in (None, key.get("model")):
                    their_key, others = read_cache(other, test.piece)
                    _refuse_other_texts(test.same, key, their_key)
                    compared += test.compare(key, mine, others)
            except DataError as error:
                say(f"{path.name}: not compared: {error}")
    return compared


def _refuse_other_texts(names: tuple[str, ...], ours: Key, theirs: Key) -> None:
    for name in names:
        if name not in ours or name not in theirs:
            raise DataError(f"one of the two evaluations does not say its {name!r}; run it again")
        if ours[name] != theirs[name]:
            raise DataError(_OTHERWISE[name])
