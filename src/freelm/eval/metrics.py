"""The metrics of evaluation and the best answer that ignores the text.

A metric turns predictions into columns, one value per item, and reduces the columns to one number.
A bootstrap resamples the columns, so whatever is slow is computed once per item.

Where textbooks leave the result open:

- f1 is 0 when the positive class is neither a target nor predicted;
- macro_f1 averages over the classes that are a target or predicted (a class that is never
  predicted counts 0);
- mcc is 0 when the targets or the predictions hold a single class;
- pearson and spearman are 0 when either side is constant, also for a single item;
- brier sums squared errors over the labels of an item and halves the sum where no item has more
  than two labels, so it runs from 0 to 1 for two labels and from 0 to 2 for more;
- ece puts items into 15 equally wide bins (a, b] by the probability of their predicted label and
  is the mean over items of |accuracy - mean confidence| of their bin.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from freelm.errors import DataError, suggest
from freelm.model.calibration import expected_calibration_error

POSITIVE = 1
"""The positive class of f1."""

SUM_TOLERANCE = 1e-3
"""How far the probabilities of an item may sum from 1."""

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.intp]
Columns = tuple[npt.NDArray[np.generic], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model answered to the items of one split.

    Args:
        targets: Index of the right label, or the raw score of a score question, shape (N,).
        predicted: Index of the predicted label, or the predicted score, shape (N,).
        probabilities: Per item one probability for each of its labels, summing to 1; items may
            differ in their number of labels. None for score questions.

    Raises:
        DataError: If there are no items, the lengths differ, or a value is not finite.
    """

    targets: FloatArray
    predicted: FloatArray
    probabilities: Sequence[FloatArray] | None = None

    def __post_init__(self) -> None:
        _check_pair(np.asarray(self.targets), np.asarray(self.predicted))
        if self.probabilities is not None:
            _check_probabilities(self.probabilities, len(self.targets))

    @property
    def is_right(self) -> BoolArray:
        """Whether each prediction is the target, shape (N,)."""
        return np.asarray(self.targets) == np.asarray(self.predicted)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric in two steps, so that a bootstrap repeats only the second.

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
        DataError: If there is no such metric; the message lists similar names.
    """
    if name not in METRICS:
        raise DataError(f"unknown metric {name!r}; {suggest(name, METRICS)}")
    return METRICS[name]


# -- the best answer that ignores the text ---------------------------------------------------------


def majority(targets: npt.ArrayLike, metric: str, num_labels: int = 2) -> float:
    """The score of `constant_answer`, which a model has to beat; arguments as there."""
    return metric_named(metric)(constant_answer(targets, metric, num_labels))


def constant_answer(targets: npt.ArrayLike, metric: str, num_labels: int = 2) -> Predictions:
    """The best answer that ignores the text, given to every item.

    It is the most frequent label (the smallest one of equals); for f1 the better one of it and
    `POSITIVE`; for mae the median, the best constant; for brier and ece the label frequencies
    as probabilities. Correlations are 0.

    Args:
        targets: Indices of the right labels, or scores, shape (N,).
        metric: Name of the metric.
        num_labels: Number of labels of the question, not all of which need occur; for brier.

    Raises:
        DataError: If there are no targets, one is not finite, or the metric is unknown.
    """
    true = np.asarray(targets, dtype=float)
    _check_pair(true, true)
    values, codes = np.unique(true, return_inverse=True)
    frequencies = np.bincount(codes, minlength=num_labels) / len(true)
    if metric in ("brier", "ece"):
        likeliest = np.full(len(true), float(frequencies.argmax()))
        return Predictions(codes.astype(float), likeliest, [frequencies] * len(true))
    constants = {float(np.median(true) if metric == "mae" else values[frequencies.argmax()])}
    if metric == "f1":
        constants.add(float(POSITIVE))
    answers = [Predictions(true, np.full_like(true, c)) for c in constants]
    return max(answers, key=metric_named(metric))


# -- checks ----------------------------------------------------------------------------------------


def _check_pair(targets: npt.NDArray[np.generic], predicted: npt.NDArray[np.generic]) -> None:
    if targets.ndim != 1 or targets.shape != predicted.shape:
        raise DataError(
            f"targets of shape {targets.shape} and predictions of shape {predicted.shape}: one of "
            "each per item is needed"
        )
    if not len(targets):
        raise DataError("there are no items to score")
    for name, values in (("target", targets), ("prediction", predicted)):
        finite = np.isfinite(values.astype(float))
        if not finite.all():
            item = int(np.flatnonzero(~finite)[0])
            raise DataError(f"item {item}: the {name} is {values[item]}, not a finite number")


def _check_probabilities(probabilities: Sequence[FloatArray], num_items: int) -> None:
    if len(probabilities) != num_items:
        raise DataError(f"{num_items} items, but probabilities of {len(probabilities)}")
    for item, row in enumerate(probabilities):
        if np.ndim(row) != 1 or len(row) < 2:
            raise DataError(f"item {item}: one probability for each of its labels is needed")
        # `not (...)` so that NaN fails too.
        if not (np.min(row) >= 0 and abs(np.sum(row) - 1) <= SUM_TOLERANCE):
            raise DataError(f"item {item}: {np.asarray(row).tolist()} are not probabilities")


def _label_indices(labels: FloatArray, probabilities: Sequence[FloatArray], what: str) -> list[int]:
    """The labels as indices into the probabilities of their items."""
    for item, (label, row) in enumerate(zip(labels, probabilities, strict=True)):
        if label != int(label) or not 0 <= label < len(row):
            raise DataError(
                f"item {item}: the {what} is {label:g}, but there are probabilities of "
                f"{len(row)} labels"
            )
    return [int(label) for label in labels]


# -- columns: predictions -> one value per item ----------------------------------------------------


def _probabilities(predictions: Predictions) -> Sequence[FloatArray]:
    if predictions.probabilities is None:
        raise DataError("brier and ece need the probabilities of the labels; there are none")
    return predictions.probabilities


def _both(predictions: Predictions) -> tuple[FloatArray, FloatArray]:
    return np.asarray(predictions.targets, float), np.asarray(predictions.predicted, float)


def _right(predictions: Predictions) -> tuple[FloatArray]:
    return (predictions.is_right.astype(float),)


def _is_positive(predictions: Predictions) -> tuple[BoolArray, BoolArray]:
    targets, predicted = _both(predictions)
    return targets == POSITIVE, predicted == POSITIVE


def _absolute_errors(predictions: Predictions) -> tuple[FloatArray]:
    targets, predicted = _both(predictions)
    return (np.abs(targets - predicted),)


def _codes(predictions: Predictions) -> tuple[Codes, Codes]:
    """Targets and predictions as numbers from 0, so that they can be counted."""
    both = np.concatenate(_both(predictions))
    codes = np.unique(both, return_inverse=True)[1]
    return codes[: len(both) // 2], codes[len(both) // 2 :]


def _squared_errors(predictions: Predictions) -> tuple[FloatArray]:
    probabilities = _probabilities(predictions)
    labels = _label_indices(_both(predictions)[0], probabilities, "target")
    errors = np.empty(len(labels))
    for item, (label, row) in enumerate(zip(labels, probabilities, strict=True)):
        difference = np.array(row, dtype=float)
        difference[label] -= 1
        errors[item] = difference @ difference
    is_binary = max(len(row) for row in probabilities) == 2
    return (errors / 2 if is_binary else errors,)


def confidences(predictions: Predictions) -> tuple[FloatArray, FloatArray]:
    """Probability of each predicted label, shape (N,), and 1 where it is right, else 0.

    Raises:
        DataError: If there are no probabilities.
    """
    probabilities = _probabilities(predictions)
    labels = _label_indices(_both(predictions)[1], probabilities, "prediction")
    sure = np.array([row[label] for label, row in zip(labels, probabilities, strict=True)])
    return sure, *_right(predictions)


# -- statistics: columns -> the metric -------------------------------------------------------------


def mean(values: FloatArray) -> float:
    """The mean, shape (N,) -> one number."""
    return float(values.mean())


def _f1(is_target: BoolArray, is_predicted: BoolArray) -> float:
    found = np.count_nonzero(is_target & is_predicted)
    marked = np.count_nonzero(is_target) + np.count_nonzero(is_predicted)
    return 2 * found / marked if marked else 0.0


def _counts(targets: Codes, predicted: Codes) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Per class: items of it, predictions of it, items predicted rightly."""
    size = int(max(targets.max(), predicted.max())) + 1
    hits = targets[targets == predicted]
    of_target, of_prediction, right = (
        np.bincount(codes, minlength=size).astype(float) for codes in (targets, predicted, hits)
    )
    return of_target, of_prediction, right


def _macro_f1(targets: Codes, predicted: Codes) -> float:
    of_target, of_prediction, right = _counts(targets, predicted)
    marked = of_target + of_prediction
    seen = marked > 0
    return float(np.mean(2 * right[seen] / marked[seen]))


def _mcc(targets: Codes, predicted: Codes) -> float:
    of_target, of_prediction, right = _counts(targets, predicted)
    squared = float(len(targets)) ** 2
    spread = (squared - of_target @ of_target) * (squared - of_prediction @ of_prediction)
    if spread == 0:
        return 0.0
    covariance = right.sum() * len(targets) - of_target @ of_prediction
    return float(covariance / np.sqrt(spread))


def _pearson(targets: FloatArray, predicted: FloatArray) -> float:
    # Tested on the values themselves: rounding of the mean makes a constant look like noise.
    if np.ptp(targets) == 0 or np.ptp(predicted) == 0:
        return 0.0
    x, y = targets - targets.mean(), predicted - predicted.mean()
    # Scaled first: squares of very small or large numbers leave the range of floats.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def _spearman(targets: FloatArray, predicted: FloatArray) -> float:
    from scipy.stats import rankdata

    return _pearson(rankdata(targets), rankdata(predicted))


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric(_right, mean),
        "f1": Metric(_is_positive, _f1),
        "macro_f1": Metric(_codes, _macro_f1),
        "mcc": Metric(_codes, _mcc),
        "pearson": Metric(_both, _pearson),
        "spearman": Metric(_both, _spearman),
        "mae": Metric(_absolute_errors, mean),
        "brier": Metric(_squared_errors, mean),
        "ece": Metric(confidences, expected_calibration_error),
    }
)
