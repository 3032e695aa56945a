"""`FreeLMClassifier`: a scikit-learn classifier of texts that needs no training rows, or few."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from freelm.api import FreeLM
from freelm.errors import FreeLMError, InputError
from freelm.judge.questions import ChoiceQuestion, choice
from freelm.judge.requests import Request
from freelm.judge.validation import LongTexts, check_list, check_text
from freelm.model.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE
from freelm.tasks.forms import DEFAULT_TEMPLATE

try:
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted
except ModuleNotFoundError:
    raise FreeLMError(
        "FreeLMClassifier needs scikit-learn: pip install 'freelm[sklearn]'"
    ) from None

FloatArray = npt.NDArray[np.float64]

TEMPLATES = (
    DEFAULT_TEMPLATE,
    "The text is about {}.",
    "This text is {}.",
    "The right category is {}.",
)
"""Wordings that `fit` chooses from. Without rows the first is used, as in `FreeLM.classify`."""

PENALTY = 1.0
"""Weight of the squared biases and of the squared log temperature against the summed
cross-entropy of the rows: one row hardly moves them, a hundred rows determine them."""


class FreeLMClassifier(ClassifierMixin, BaseEstimator):
    """Classify texts with a FreeLM model.

    `fit(None, labels)` is zero-shot: predictions are those of `FreeLM.classify`. `fit(X, y)`
    chooses the template with the lowest cross-entropy on the rows, and fits a temperature and one
    bias per class, which moves the class's threshold. The model's weights never change.

    A pickle holds the model's name and no weights; the model must exist where it is loaded.
    Classifiers of one process share a loaded model, so clones and cross-validation load it once.

    Args:
        model: What `FreeLM.from_pretrained` takes: a shipped name or a folder.
        labels: Class -> the words that describe it; None uses the class itself as words.
        templates: Wordings to choose from, each with one `{}`.
        dtype: Number type, as in `FreeLM.from_pretrained`.
        device: Device, as in `FreeLM.from_pretrained`.
        long_texts: What to do with texts that are too long, as in `FreeLM.from_pretrained`.

    Attributes:
        classes_: The classes, sorted, shape (L,).
        template_: The template that was chosen.
        temperature_: What log-odds of classes are divided by.
        biases_: What is added to the log-odds of each class, shape (L,).

    Example:
        >>> classifier = FreeLMClassifier().fit(None, ["weather", "sport", "money"])
        >>> classifier.predict(["Rain is on its way."])
        array(['weather'], dtype='<U7')
    """

    def __init__(
        self,
        model: str = "freelm-135m",
        labels: Mapping[Any, str] | None = None,
        templates: Sequence[str] = TEMPLATES,
        dtype: str = "auto",
        device: str | None = None,
        long_texts: LongTexts = "truncate",
    ) -> None:
        self.model = model
        self.labels = labels
        self.templates = templates
        self.dtype = dtype
        self.device = device
        self.long_texts = long_texts

    def fit(self, X: Any, y: Any) -> FreeLMClassifier:
        """Fit to labelled texts, or to no texts.

        Args:
            X: Texts, shape (N,), or None.
            y: The class of each text, shape (N,). Without texts, the classes.

        Returns:
            This classifier.

        Raises:
            InputError: If a text is empty or not a string, numbers of texts and classes differ,
                a class has no label, or there is no template.
            ModelError: If the model does not exist or is damaged.
        """
        targets = np.asarray(y)
        check_classification_targets(targets)
        classes, indices = np.unique(targets, return_inverse=True)
        questions = self._questions(classes)
        fitted = (0, 1.0, np.zeros(len(classes)))
        if X is not None:
            texts = _texts(X)
            if len(texts) != len(targets):
                raise InputError(f"{len(texts)} texts have {len(targets)} classes")
            fitted = self._choose(questions, texts, indices)
        best, self.temperature_, self.biases_ = fitted
        self.template_ = list(self.templates)[best]
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """The probability of each class.

        Args:
            X: Texts, shape (N,).

        Returns:
            Probabilities in the order of `classes_`, each row summing to 1, shape (N, L).

        Raises:
            InputError: If a text is empty or not a string.
        """
        check_is_fitted(self)
        question = self._question(self.classes_, self.template_)
        logits = self._logits([question], _texts(X))[0]
        return np.asarray(softmax(logits / self.temperature_ + self.biases_, axis=1))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The likeliest class of each text, shape (N,).

        Raises:
            InputError: If a text is empty or not a string.
        """
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def __sklearn_tags__(self) -> Any:
        """Input is a list of strings, not a table of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def _choose(
        self, questions: list[ChoiceQuestion], texts: list[str], indices: npt.NDArray[np.intp]
    ) -> tuple[int, float, FloatArray]:
        """The index of the best wording, its temperature and its biases."""
        fits = [_fit(logits, indices) for logits in self._logits(questions, texts)]
        best = min(range(len(fits)), key=lambda i: fits[i][0])
        return best, *fits[best][1:]

    def _questions(self, classes: npt.NDArray[Any]) -> list[ChoiceQuestion]:
        if isinstance(self.templates, str) or not len(self.templates):
            raise InputError("templates must be a list with at least one template")
        return [self._question(classes, template) for template in self.templates]

    def _question(self, classes: npt.NDArray[Any], template: str) -> ChoiceQuestion:
        names = classes.tolist()
        described = {} if self.labels is None else self.labels
        missing = [name for name in names if self.labels is not None and name not in described]
        if missing:
            raise InputError(f"labels has no words for class {missing[0]!r}")
        return choice({str(name): described.get(name, str(name)) for name in names}, template)

    def _logits(self, questions: list[ChoiceQuestion], texts: list[str]) -> list[FloatArray]:
        """Per question the log-odds of the classes, shape (N, L); a softmax makes shares of them.

        Claims of all questions share one reading of each text.
        """
        claims = tuple(dict.fromkeys(claim for question in questions for claim in question.claims))
        model = _loaded(str(self.model), self.dtype, self.device)
        found = model.judge_requests([Request((text,), claims, self.long_texts) for text in texts])
        empty = np.zeros((0, len(questions[0].claims)))
        logits = []
        for question in questions:
            own = [judgement.select(question.claims) for judgement in found]
            rows = [one.margins / float(one.choice_temperature.of(len(one.margins))) for one in own]
            logits.append(np.stack(rows) if rows else empty)
        return logits


def _fit(logits: FloatArray, indices: npt.NDArray[np.intp]) -> tuple[float, float, FloatArray]:
    """Temperature and biases that minimise the penalised cross-entropy.

    Args:
        logits: Log-odds of the classes, shape (N, L).
        indices: Index of the right class, shape (N,).

    Returns:
        The penalised cross-entropy summed over rows in nats, the temperature, the biases (L,).
    """
    number = logits.shape[1]
    right = np.eye(number)[indices]

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        scaled = logits * np.exp(-parameters[0])
        log_shares = log_softmax(scaled + parameters[1:], axis=1)
        errors = np.exp(log_shares) - right
        gradient = np.array([-(errors * scaled).sum(), *errors.sum(axis=0)])
        penalty = PENALTY * float(parameters @ parameters)
        return penalty - float((right * log_shares).sum()), gradient + 2 * PENALTY * parameters

    bounds = [(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)), *[(None, None)] * number]
    found = minimize(loss, np.zeros(number + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.fun), float(np.exp(found.x[0])), np.asarray(found.x[1:])


def _texts(X: Any) -> list[str]:
    return [check_text(text, f"text {i}") for i, text in enumerate(check_list(X, "X"))]


@lru_cache(maxsize=2)
def _loaded(name: str, dtype: Any, device: str | None) -> FreeLM:
    """A loaded model, shared by all classifiers of the process."""
    return FreeLM.from_pretrained(name, dtype=dtype, device=device)
