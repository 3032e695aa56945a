"""Comparisons: do two models differ on the same items?

Two evaluations are compared row by row and window by window, which finds differences that two
separate intervals hide.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from freelm.errors import DataError, FreeLMError
from freelm.eval.cache import read_cache
from freelm.eval.folder import ITEMS, TEXTS
from freelm.eval.items import JudgedRow, predictions
from freelm.eval.metrics import METRICS, FloatArray, Metric, Predictions, metric_named
from freelm.eval.results import LOWER_IS_BETTER
from freelm.eval.statistics import (
    SIGNIFICANT,
    mcnemar,
    paired_bootstrap,
    paired_differences,
    percentile_interval,
)
from freelm.eval.texts import (
    ENDINGS,
    LAST_WORD,
    PERPLEXITY,
    WORD_METRIC,
    TextLoss,
    Window,
    ending_predictions,
    parse_word,
    word_predictions,
)
from freelm.tasks import Task, default_registry

Say = Callable[[str], None]
Key = Mapping[str, Any]

MIN_WINDOWS = 6
"""Fewer windows show nothing even when all agree: the sign test of 5 has p = 2 / 2^5 > 0.05, and a
bootstrap of them would still call it significant."""

UNCOMPARED_VARIANTS = ("opposites",)
"""Variants whose margins are not one per label."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same items of a task or text.

    Attributes:
        task: Name of the task or corpus.
        split: Its split.
        metric: Name of the metric.
        ours: Value of the model that was evaluated.
        theirs: Value of the model it is compared with.
        difference: Ours minus theirs.
        low: Lower end of its 95% interval by paired bootstrap.
        high: Upper end.
        p_mcnemar: Exact McNemar p-value of the right answers, None for other metrics.
        n: Number of items: rows, texts or windows.
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
        """Whether the interval of the difference excludes zero and McNemar's test agrees."""
        outside = self.low > 0 or self.high < 0
        return outside and (self.p_mcnemar is None or self.p_mcnemar < SIGNIFICANT)

    @property
    def standing(self) -> str:
        """How ours compares with theirs, in words."""
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


def compare_predictions(
    task: Task,
    split: str,
    ours: list[JudgedRow],
    theirs: list[JudgedRow],
    variant: str | None = None,
) -> list[Comparison]:
    """Compare two models' answers to the same rows, metric by metric."""
    mine, other = predictions(task, ours), predictions(task, theirs)
    compared = [
        # McNemar's test is of right answers; the expected level of a score is right to no item.
        _compare((task.name, split, name), mine[name], other[name], name, name == "accuracy")
        for name in mine
    ]
    return [replace(comparison, variant=variant) for comparison in compared]


def _compare(
    names: tuple[str, str, str],
    ours: Predictions,
    theirs: Predictions,
    metric: str | Metric,
    with_mcnemar: bool = True,
) -> Comparison:
    """Two models' answers by one metric; `names` are those of task, split and metric."""
    chosen = metric if isinstance(metric, Metric) else metric_named(metric)
    interval = percentile_interval(paired_bootstrap(ours, theirs, chosen))
    values = chosen(ours), chosen(theirs)
    p = mcnemar(ours.is_right, theirs.is_right) if with_mcnemar else None
    return Comparison(*names, *values, values[0] - values[1], *interval, p, len(ours.targets))


def compare_losses(corpus: str, ours: TextLoss, theirs: TextLoss) -> list[Comparison]:
    """Compare the losses of two models on the same windows of a text; n counts windows.

    Raises:
        DataError: If the windows differ or are too few.
    """
    if not np.array_equal(ours.targets, theirs.targets):
        raise DataError("the windows predict different numbers of tokens")
    count = len(ours.nats)
    if count < MIN_WINDOWS:
        raise DataError(f"{count} windows of text are too few; measure {MIN_WINDOWS} or more")
    mine, other = ((loss.nats, loss.targets, loss.num_bytes) for loss in (ours, theirs))
    compared = []
    for metric in ("perplexity", "bits_per_byte"):

        def statistic(*columns: FloatArray, of: str = metric) -> float:
            return float(getattr(TextLoss(*columns), of))

        interval = percentile_interval(paired_differences(mine, other, statistic))
        values = statistic(*mine), statistic(*other)
        difference = values[0] - values[1]
        compared.append(
            Comparison(corpus, "test", metric, *values, difference, *interval, None, count)
        )
    return compared


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
        model: Fingerprint of our model; other answers in our folder are ignored.
        say: Receives a message for each task and text that cannot be compared.

    Raises:
        DataError: If a folder has no answers, or none to the same rows or texts.
    """
    for folder in (ours, theirs):
        check_answers(folder)
    compared = _compare_tasks(ours, theirs, tasks or {}, model, say)
    compared += _compare_texts(ours, theirs, model, say)
    if not compared:
        raise DataError(f"{theirs}: has no answers to the rows or texts of {ours}")
    return [replace(comparison, against=str(theirs)) for comparison in compared]


def check_answers(folder: Path) -> None:
    """Check that a folder holds the answers of an evaluation.

    Raises:
        DataError: If it does not.
    """
    if not any(path for kind in (ITEMS, TEXTS) for path in (folder / kind).glob("*.jsonl")):
        raise DataError(f"{folder}: holds no answers (no {ITEMS}/*.jsonl); evaluate with --out")


def _compare_tasks(
    ours: Path, theirs: Path, tasks: Mapping[str, Task], model: str | None, say: Say
) -> list[Comparison]:
    others = {_identity(key): items for key, items in read_answers(theirs, say)}
    compared: list[Comparison] = []
    for key, items in read_answers(ours, say):
        if _identity(key) not in others or not _is_comparable(key, model):
            continue
        try:
            task = tasks.get(key["task"]) or default_registry().get(key["task"])
            pair = _same_items(key["task"], items, others[_identity(key)])
            compared += compare_predictions(task, key["split"], *pair, _variant(task, key))
        except FreeLMError as error:
            say(f"{key['task']}: not compared: {error}")
    return compared


def read_answers(
    folder: Path, say: Say = lambda line: None
) -> Iterator[tuple[Key, list[JudgedRow]]]:
    """Key and items of each file of cached answers; damaged files are skipped."""
    for path in sorted((folder / ITEMS).glob("*.jsonl")):
        try:
            yield read_cache(path, lambda line: JudgedRow(**line))
        except DataError as error:
            say(f"{error}; the file is skipped")


def _identity(key: Key) -> tuple[Any, ...]:
    return tuple(key.get(name) for name in ("task", "version", "split", "phrasing", "variant"))


def _is_comparable(key: Key, model: str | None) -> bool:
    """Whether answers are our model's, one per label, to rows that figures are reported on."""
    own = model is None or key.get("model") == model
    training = str(key.get("split")).startswith("train")  # from the choice of a base's prompt
    return own and not training and key.get("variant") not in UNCOMPARED_VARIANTS


def _variant(task: Task, key: Key) -> str | None:
    """How the rows were changed; another phrasing is a change too."""
    if key.get("variant"):
        return str(key["variant"])
    usual = key["phrasing"] == task.training_phrasings[0].name
    return None if usual else f"phrasing {key['phrasing']}"


def _same_items(
    name: str, ours: list[JudgedRow], theirs: list[JudgedRow]
) -> tuple[list[JudgedRow], list[JudgedRow]]:
    """The rows that both answered, in one order.

    Raises:
        DataError: If there are none, or rows of one id differ.
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


@dataclass(frozen=True)
class _TextTest:
    """How to compare what two evaluations measured of a text.

    Attributes:
        parse: Reads a cached piece.
        same: Entries of the key that must be equal.
        compare: (our key, our pieces, their pieces) -> the comparisons.
    """

    parse: Callable[[Any], Any]
    same: tuple[str, ...]
    compare: Callable[[Key, list[Any], list[Any]], list[Comparison]]


def _compare_windows(key: Key, ours: list[Window], theirs: list[Window]) -> list[Comparison]:
    both = min(len(ours), len(theirs))
    losses = (TextLoss.of(side[:both]) for side in (ours, theirs))
    return compare_losses(key["corpus"], *losses)


def _compare_words(key: Key, ours: list[bool], theirs: list[bool]) -> list[Comparison]:
    both = min(len(ours), len(theirs))
    mine, other = (word_predictions(side[:both]) for side in (ours, theirs))
    return [_compare((key["corpus"], "test", WORD_METRIC), mine, other, METRICS["accuracy"])]


def _compare_endings(key: Key, ours: list[JudgedRow], theirs: list[JudgedRow]) -> list[Comparison]:
    mine, other = (ending_predictions(i) for i in _same_items(key["task"], ours, theirs))
    return [
        _compare((key["task"], key["split"], name), mine[name], other[name], METRICS["accuracy"])
        for name in mine
    ]


_TEXT_TESTS = {
    PERPLEXITY: _TextTest(Window.parse, ("file", "window", "tokens"), _compare_windows),
    LAST_WORD: _TextTest(parse_word, ("file",), _compare_words),
    ENDINGS: _TextTest(lambda line: JudgedRow(**line), ("version", "margins"), _compare_endings),
}

_DIFFERENCES = {
    "file": "the two evaluations measured different files",
    "window": "the two evaluations measured windows of different lengths",
    "tokens": "the tokenizers of the two models split the text differently, so they have no common "
    "windows; compare bits per byte of the entire text",
    "version": "the two evaluations asked different versions of the task",
    "margins": "the two evaluations cached different likelihoods",
}


def _compare_texts(ours: Path, theirs: Path, model: str | None, say: Say) -> list[Comparison]:
    compared: list[Comparison] = []
    for measured, test in _TEXT_TESTS.items():
        for path in sorted((ours / TEXTS).glob(f"*.{measured}.jsonl")):
            other = theirs / TEXTS / path.name
            try:
                key, mine = read_cache(path, test.parse)
                if other.is_file() and model in (None, key.get("model")):
                    their_key, others = read_cache(other, test.parse)
                    _check_same_text(test.same, key, their_key)
                    compared += test.compare(key, mine, others)
            except DataError as error:
                say(f"{path.name}: not compared: {error}")
    return compared


def _check_same_text(names: tuple[str, ...], ours: Key, theirs: Key) -> None:
    for name in names:
        if name not in ours or name not in theirs:
            raise DataError(f"one of the two evaluations does not state its {name!r}; run it again")
        if ours[name] != theirs[name]:
            raise DataError(_DIFFERENCES[name])
