"""Texts: what is measured of them piece by piece, and what comes of the pieces.

The suite `language` measures and keeps the pieces; paired tests read those of two evaluations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freelm.errors import DataError
from freelm.eval.items import Item
from freelm.eval.metrics import Predictions

TEXTS = "texts"
"""Folder of an evaluation that holds what was measured of texts, piece by piece."""

PERPLEXITY = "perplexity"
LAST_WORD = "last-word"
ENDINGS = "endings"

WORD_METRIC = "last_word_accuracy"


def text_file(folder: Path, name: str, split: str, measured: str) -> Path:
    """Where an evaluation keeps what is measured of a text.

    Args:
        folder: That of the evaluation.
        name: Of the corpus or task.
        split: Its split.
        measured: What is measured.
    """
    return folder / TEXTS / f"{name}.{split}.{measured}.jsonl"


# -- windows ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextLoss:
    """How much a text surprised a model.

    Attributes:
        nats: (W,) summed loss of each window.
        targets: (W,) predicted tokens of each window.
        bytes_per_token: UTF-8 bytes of the text per token.
    """

    nats: np.ndarray
    targets: np.ndarray
    bytes_per_token: float

    @classmethod
    def of(cls, windows: Sequence[tuple[float, int]], bytes_per_token: float) -> "TextLoss":
        """The loss of (nats, predicted tokens) of windows, without those that predict nothing.

        Raises:
            DataError: If there is no token to predict.
        """
        predicting = [window for window in windows if window[1]]
        if not predicting:
            raise DataError("no token of the text stands behind another one of its document")
        nats, targets = (np.array(column) for column in zip(*predicting, strict=True))
        return cls(nats, targets, bytes_per_token)

    @property
    def per_token(self) -> float:
        """Nats per predicted token."""
        return float(self.nats.sum() / self.targets.sum())

    @property
    def perplexity(self) -> float:
        """Exponential of nats per token."""
        return math.exp(self.per_token)

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte."""
        return self.per_token / math.log(2) / self.bytes_per_token

    def interval(self, num_samples: int = 1000, seed: int = 0) -> tuple[float, float]:
        """95% percentile bootstrap interval of nats per token, over windows."""
        rng = np.random.default_rng(seed)
        draws = rng.integers(0, len(self.nats), (num_samples, len(self.nats)))
        values = self.nats[draws].sum(1) / self.targets[draws].sum(1)
        low, high = np.percentile(values, [2.5, 97.5])
        return float(low), float(high)


def window_loss(line: Any) -> tuple[float, int]:
    """A kept window: its nats and how many tokens were predicted.

    Raises:
        ValueError: If these cannot be those of a window.
    """
    nats, targets = line["nats"], line["targets"]
    if not math.isfinite(nats) or nats < 0 or type(targets) is not int or targets < 0:
        raise ValueError(line)
    return float(nats), targets


# -- words and endings -----------------------------------------------------------------------------


def word_was_right(line: Any) -> bool:
    """Whether a kept last word was guessed.

    Raises:
        ValueError: If the line does not say.
    """
    if line["right"] not in (True, False):
        raise ValueError(line)
    return bool(line["right"])


def word_predictions(right: Sequence[bool]) -> Predictions:
    """Guessed words (1) and others (0) as answers where 1 is always right."""
    return Predictions(np.ones(len(right)), np.array(right, dtype=float))


def ending_predictions(items: Sequence[Item]) -> dict[str, Predictions]:
    """The likeliest ending of each row, metric by metric.

    Args:
        items: Rows whose margins are the log-likelihoods of the endings, then those per byte.
    """
    targets = np.array([item.target for item in items])
    halves = [np.reshape(item.margins, (2, -1)) for item in items]
    answered = np.array([half.argmax(axis=1) for half in halves], dtype=float)
    return {
        "completion_accuracy": Predictions(targets, answered[:, 0]),
        "completion_accuracy_norm": Predictions(targets, answered[:, 1]),
    }
