"""The metrics of evaluation, their majority baseline and their bootstrap interval.

A metric first turns predictions into columns, one value per item, and then reduces the columns to
one number. A bootstrap resamples the columns, so whatever is slow is done once per item.

Results where a textbook leaves them open:

- f1 is 0 when the positive class is neither a target nor predicted;
- macro_f1 averages over the classes that are a target or predicted (a class that is never
  predicted counts 0);
- mcc is 0 when the targets or the predictions hold a single class;
- pearson and spearman are 0 when either side is constant, so also for one item.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from freelm.errors import DataError, suggest
from freelm.model.calibration import expected_calibration_error

MAX_DRAWS_AT_ONCE = 2**20
SUM_TOLERANCE = 1e-3

FloatArray = npt.NDArray[np.float64]
Columns = tuple[npt.NDArray[np.generic], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model answered to the items of one split.

    Args:
        targets: Index of the right label, or the raw score of a score question, shape (N,).
        predicted: Index of the answered label, or the answered score, shape (N,).
        probabilities: Per item one probability for each of its labels, summing to 1; items may
            differ in their number of labels. None for score questions.
        positive: The label that counts as found in f1.

    Raises:
        DataError: If there are no items, the lengths differ, or a value is not finite.
    """

    targets: FloatArray
    predicted: FloatArray
    probabilities: Sequence[FloatArray] | None = None
    positive: int = 1

    def __post_init__(self) -> None:
        _pair(self.targets, self.predicted)
        if self.probabilities is not None:
            _check_probabilities(self.probabilities, len(self.targets))


# -- metrics of labels -----------------------------------------------------------------------------


def accuracy(targets: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Share of items whose predicted label is the target; both of shape (N,).

    Raises:
        DataError: As every metric here: no items, different lengths, or a value not finite.
    """
    return _mean(_correct(*_pair(targets, predicted)))


def f1(targets: npt.ArrayLike, predicted: npt.ArrayLike, positive: int = 1) -> float:
    """F1 of one class; 0 where it is neither a target nor predicted.

    Args:
        targets: Indices of the right labels, shape (N,).
        predicted: Indices of the answered labels, shape (N,).
        positive: The class.
    """
    true, answered = _pair(targets, predicted)
    return _f1_of_positive(true == positive, answered == positive)


def macro_f1(targets: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Mean F1 over the classes that are a target or predicted; arguments of shape (N,)."""
    return _macro_f1(*_codes(*_pair(targets, predicted)))


def mcc(targets: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Matthews correlation, for any number of classes; 0 where either side has one class only."""
    return _mcc(*_codes(*_pair(targets, predicted)))


# -- metrics of scores -----------------------------------------------------------------------------


def pearson(targets: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Linear correlation of two arrays of shape (N,); 0 where either is constant."""
    return _pearson(*_pair(targets, predicted))


def spearman(targets: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Rank correlation of two arrays of shape (N,), ties sharing their mean rank."""
    return _spearman(*_pair(targets, predicted))


def mae(targets: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Mean absolute difference of two arrays of shape (N,), in the unit of the scores."""
    return _mean(_absolute_errors(*_pair(targets, predicted)))


# -- metrics of probabilities ----------------------------------------------------------------------


def brier(targets: npt.ArrayLike, probabilities: Sequence[FloatArray]) -> float:
    """Mean over items of the summed squared differences between probabilities and the truth.

    Where no item has more than two labels it is the usual binary score, (p - y)^2, which is half
    of that sum. So it runs from 0 to 1 for two labels and from 0 to 2 for more.

    Args:
        targets: Indices of the right labels, shape (N,).
        probabilities: Per item one probability for each of its labels.

    Raises:
        DataError: If there are no items, or an item's probabilities are not finite, do not sum to
            1, or do not reach its target; the item is named.
    """
    true, _ = _pair(targets, targets)
    _check_probabilities(probabilities, len(true))
    return _mean(_squared_errors(true, probabilities))


def ece(
    targets: npt.ArrayLike, predicted: npt.ArrayLike, probabilities: Sequence[FloatArray]
) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, from 0 to 1.

    Items are put into 15 equally wide bins (a, b] by the probability of their predicted label; the
    result is the mean over items of |accuracy - mean confidence| of their bin.

    Args:
        targets: Indices of the right labels, shape (N,).
        predicted: Indices of the answered labels, shape (N,).
        probabilities: Per item one probability for each of its labels.

    Raises:
        DataError: As `brier`.
    """
    true, answered = _pair(targets, predicted)
    _check_probabilities(probabilities, len(true))
    return expected_calibration_error(
        _confidences(answered, probabilities), _correct(true, answered)
    )


# -- the table -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric in two steps, so that a bootstrap repeats the second one only.

    Args:
        columns: Predictions -> arrays of shape (N,).
        statistic: Those arrays, or a resample of them, -> the metric.
    """

    columns: Callable[[Predictions], Columns]
    statistic: Callable[..., float]

    def __call__(self, predictions: Predictions) -> float:
        """The metric of the predictions.

        Raises:
            DataError: If the metric needs probabilities and there are none.
        """
        return self.statistic(*self.columns(predictions))


def metric_named(name: str) -> Metric:
    """The metric of a name.

    Raises:
        DataError: If there is none; near matches are named.
    """
    if name not in METRICS:
        raise DataError(f"unknown metric {name!r}; {suggest(name, METRICS)}")
    return METRICS[name]


def majority(targets: npt.ArrayLike, metric: str, positive: int = 1, num_labels: int = 2) -> float:
    """The score of `constant_answer`: what a model has to beat; arguments as there."""
    return metric_named(metric)(constant_answer(targets, metric, positive, num_labels))


def constant_answer(
    targets: npt.ArrayLike, metric: str, positive: int = 1, num_labels: int = 2
) -> Predictions:
    """The best answer that ignores the text, given to every item.

    That answer is the most frequent label (the smallest one of equals); for f1 the better one of it
    and the positive class; for mae the median, the best constant; for brier and ece the label
    frequencies as probabilities. Correlations are 0.

    Args:
        targets: Indices of the right labels, or scores, shape (N,).
        metric: Name of the metric.
        positive: The class of f1.
        num_labels: How many labels the question has, as not all of them need occur; for brier.

    Raises:
        DataError: If there are no targets, one is not finite, or the metric is unknown.
    """
    true, _ = _pair(targets, targets)
    values, codes = np.unique(true, return_inverse=True)
    frequencies = np.bincount(codes, minlength=num_labels) / len(true)
    if metric in ("brier", "ece"):
        return Predictions(
            targets=codes.astype(float),
            predicted=np.full(len(true), float(frequencies.argmax())),
            probabilities=[frequencies] * len(true),
        )
    constants = {float(np.median(true) if metric == "mae" else values[frequencies.argmax()])}
    if metric == "f1":
        constants.add(float(positive))
    answers = [Predictions(true, np.full_like(true, c), None, positive) for c in constants]
    return max(answers, key=metric_named(metric))


def bootstrap_interval(
    predictions: Predictions,
    metric: str | Metric,
    num_samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a metric over the items.

    Equal seeds draw the same items for every metric and for every model of the same items.

    Args:
        predictions: What was answered.
        metric: Name of the metric, or one that is not in the table.
        num_samples: How often N items are drawn with replacement.
        seed: Seed of the draws.
        level: Share of the resampled values inside the interval.

    Returns:
        The lower and the upper end.

    Raises:
        DataError: If the metric is unknown or needs probabilities and there are none.
    """
    chosen = metric if isinstance(metric, Metric) else metric_named(metric)
    columns = chosen.columns(predictions)
    rng = np.random.default_rng(seed)
    num_items = len(predictions.targets)
    at_once = max(1, MAX_DRAWS_AT_ONCE // num_items)
    values: list[float] = []
    while len(values) < num_samples:
        rows = min(at_once, num_samples - len(values))
        values += _resampled(chosen, columns, rng.integers(0, num_items, size=(rows, num_items)))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled(metric: Metric, columns: Columns, draws: npt.NDArray[np.int64]) -> list[float]:
    """The metric of each row of `draws`, shape (samples, N)."""
    if metric.statistic is _mean:
        return list(columns[0][draws].mean(axis=1))
    return [metric.statistic(*(column[row] for column in columns)) for row in draws]


# -- columns: one value per item -------------------------------------------------------------------


def _pair(targets: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    true, answered = np.asarray(targets, dtype=float), np.asarray(predicted, dtype=float)
    if true.ndim != 1 or true.shape != answered.shape:
        raise DataError(
            f"targets of shape {true.shape} and predictions of shape {answered.shape}: "
            "one of each per item is needed"
        )
    if not len(true):
        raise DataError("there are no items to score")
    for name, values in (("target", true), ("prediction", answered)):
        if not np.isfinite(values).all():
            item = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(f"item {item}: the {name} is {values[item]}, not a finite number")
    return true, answered


def _check_probabilities(probabilities: Sequence[FloatArray], num_items: int) -> None:
    if len(probabilities) != num_items:
        raise DataError(f"{num_items} items, but probabilities of {len(probabilities)}")
    for item, row in enumerate(probabilities):
        if np.ndim(row) != 1 or len(row) < 2:
            raise DataError(f"item {item}: one probability for each of its labels is needed")
        # Written so that NaN fails it too.
        if not (np.min(row) >= 0 and abs(np.sum(row) - 1) <= SUM_TOLERANCE):
            raise DataError(f"item {item}: {np.asarray(row).tolist()} are not probabilities")


def _labels(labels: FloatArray, probabilities: Sequence[FloatArray], what: str) -> list[int]:
    """The labels as indices into the probabilities of their items."""
    for item, (label, row) in enumerate(zip(labels, probabilities, strict=True)):
        if label != int(label) or not 0 <= label < len(row):
            raise DataError(
                f"item {item}: the {what} is {label:g}, but there are probabilities of "
                f"{len(row)} labels"
            )
    return [int(label) for label in labels]


def _confidences(predicted: FloatArray, probabilities: Sequence[FloatArray]) -> FloatArray:
    labels = _labels(predicted, probabilities, "prediction")
    return np.array([row[label] for label, row in zip(labels, probabilities, strict=True)])


def _squared_errors(targets: FloatArray, probabilities: Sequence[FloatArray]) -> FloatArray:
    errors = np.empty(len(targets))
    labels = _labels(targets, probabilities, "target")
    for item, (label, row) in enumerate(zip(labels, probabilities, strict=True)):
        difference = np.array(row, dtype=float)
        difference[label] -= 1
        errors[item] = difference @ difference
    is_binary = max(len(row) for row in probabilities) == 2
    return errors / 2 if is_binary else errors


def _given(predictions: Predictions) -> Sequence[FloatArray]:
    if predictions.probabilities is None:
        raise DataError("brier and ece need the probabilities of the labels; there are none")
    return predictions.probabilities


def _correct(targets: FloatArray, predicted: FloatArray) -> FloatArray:
    return (targets == predicted).astype(float)


def _absolute_errors(targets: FloatArray, predicted: FloatArray) -> FloatArray:
    return np.abs(targets - predicted)


def _codes(
    targets: FloatArray, predicted: FloatArray
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Labels as numbers from 0, so that they can be counted."""
    _, codes = np.unique(np.concatenate([targets, predicted]), return_inverse=True)
    return codes[: len(targets)], codes[len(targets) :]


# -- statistics: columns -> the metric -------------------------------------------------------------


def _mean(values: FloatArray) -> float:
    return float(values.mean())


def _f1_of_positive(is_target: npt.NDArray[np.bool_], is_answer: npt.NDArray[np.bool_]) -> float:
    found = np.count_nonzero(is_target & is_answer)
    marked = np.count_nonzero(is_target) + np.count_nonzero(is_answer)
    return 2 * found / marked if marked else 0.0


def _counts(
    targets: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Per class: items of it, answers of it, items answered rightly."""
    size = int(max(targets.max(), predicted.max())) + 1
    hits = targets[targets == predicted]
    of_target, of_answer, right = (
        np.bincount(codes, minlength=size).astype(float) for codes in (targets, predicted, hits)
    )
    return of_target, of_answer, right


def _macro_f1(targets: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp]) -> float:
    of_target, of_answer, right = _counts(targets, predicted)
    marked = of_target + of_answer
    seen = marked > 0
    return float(np.mean(2 * right[seen] / marked[seen]))


def _mcc(targets: npt.NDArray[np.intp], predicted: npt.NDArray[np.intp]) -> float:
    of_target, of_answer, right = _counts(targets, predicted)
    squared = float(len(targets)) ** 2
    spread = (squared - of_target @ of_target) * (squared - of_answer @ of_answer)
    if spread == 0:
        return 0.0
    covariance = right.sum() * len(targets) - of_target @ of_answer
    return float(covariance / np.sqrt(spread))


def _pearson(targets: FloatArray, predicted: FloatArray) -> float:
    # Asked of the values themselves: rounding of the mean makes a constant look like noise.
    if np.ptp(targets) == 0 or np.ptp(predicted) == 0:
        return 0.0
    x, y = targets - targets.mean(), predicted - predicted.mean()
    # Scaled first: the squares of very small or large numbers leave the range of floats.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def _spearman(targets: FloatArray, predicted: FloatArray) -> float:
    return _pearson(rankdata(targets), rankdata(predicted))


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric(lambda p: (_correct(*_pair(p.targets, p.predicted)),), _mean),
        "f1": Metric(
            lambda p: (
                np.asarray(p.targets) == p.positive,
                np.asarray(p.predicted) == p.positive,
            ),
            _f1_of_positive,
        ),
        "macro_f1": Metric(lambda p: _codes(*_pair(p.targets, p.predicted)), _macro_f1),
        "mcc": Metric(lambda p: _codes(*_pair(p.targets, p.predicted)), _mcc),
        "pearson": Metric(lambda p: _pair(p.targets, p.predicted), _pearson),
        "spearman": Metric(lambda p: _pair(p.targets, p.predicted), _spearman),
        "mae": Metric(lambda p: (_absolute_errors(*_pair(p.targets, p.predicted)),), _mean),
        "brier": Metric(lambda p: (_squared_errors(np.asarray(p.targets), _given(p)),), _mean),
        "ece": Metric(
            lambda p: (
                _confidences(np.asarray(p.predicted), _given(p)),
                _correct(np.asarray(p.targets), np.asarray(p.predicted)),
            ),
            expected_calibration_error,
        ),
    }
)
