"""What is measured of texts piece by piece, and what figures come of the pieces.

The suite `language` measures and caches the pieces; `freelm.eval.comparison` pairs those of two
evaluations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freelm.errors import DataError
from freelm.eval.folder import TEXTS
from freelm.eval.items import JudgedRow
from freelm.eval.metrics import FloatArray, Predictions

PERPLEXITY = "perplexity"
LAST_WORD = "last-word"
ENDINGS = "endings"

WORD_METRIC = "last_word_accuracy"


def text_file(folder: Path, name: str, split: str, measured: str) -> Path:
    """The cache file of what is measured of a corpus or task, in the folder of an evaluation."""
    return folder / TEXTS / f"{name}.{split}.{measured}.jsonl"


# -- windows ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """The loss of a model on one window of a text.

    Attributes:
        nats: Summed loss of the predicted tokens.
        targets: Number of predicted tokens.
        num_bytes: UTF-8 bytes of the predicted tokens.
    """

    nats: float
    targets: int
    num_bytes: int

    @classmethod
    def parse(cls, line: Any) -> "Window":
        """A cached window.

        Raises:
            ValueError: If the numbers cannot be those of a window.
        """
        counts = line["targets"], line["num_bytes"]
        finite = math.isfinite(line["nats"]) and line["nats"] >= 0
        if not finite or any(type(count) is not int or count < 0 for count in counts):
            raise ValueError(line)
        return cls(float(line["nats"]), *counts)


@dataclass(frozen=True, slots=True)
class TextLoss:
    """The loss of a model on a text.

    Attributes:
        nats: Summed loss of each window, shape (W,).
        targets: Predicted tokens of each window, shape (W,).
        num_bytes: UTF-8 bytes of the predicted tokens of each window, shape (W,).
    """

    nats: FloatArray
    targets: FloatArray
    num_bytes: FloatArray

    @classmethod
    def of(cls, windows: Sequence[Window]) -> "TextLoss":
        """The loss of windows, without those that predict nothing.

        Raises:
            DataError: If no token is predicted.
        """
        counted = [(w.nats, w.targets, w.num_bytes) for w in windows if w.targets]
        if not counted:
            raise DataError("the text has no token that follows another one of its document")
        return cls(*(np.array(column) for column in zip(*counted, strict=True)))

    @property
    def per_token(self) -> float:
        """Nats per predicted token."""
        return float(self.nats.sum() / self.targets.sum())

    @property
    def perplexity(self) -> float:
        """Exponential of nats per token."""
        return math.exp(self.per_token)

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes per predicted token."""
        return float(self.num_bytes.sum() / self.targets.sum())

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte of the predicted tokens."""
        return self.per_token / math.log(2) / self.bytes_per_token

    def intervals(
        self, num_samples: int = 1000, seed: int = 0
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """95% percentile bootstrap intervals of perplexity and bits per byte, over windows."""
        count = len(self.nats)
        draws = np.random.default_rng(seed).integers(0, count, (num_samples, count))
        nats = self.nats[draws].sum(1)
        per_token = np.percentile(nats / self.targets[draws].sum(1), [2.5, 97.5])
        # A draw may hold only windows of separators, which have no bytes.
        num_bytes = np.maximum(1, self.num_bytes[draws].sum(1))
        low, high = np.percentile(nats / math.log(2) / num_bytes, [2.5, 97.5])
        return (math.exp(per_token[0]), math.exp(per_token[1])), (float(low), float(high))


def token_sizes(tokenizer: Any) -> np.ndarray:
    """UTF-8 bytes that each token adds to a text, shape (V,); special tokens add none.

    Args:
        tokenizer: A fast tokenizer with a byte-level or a SentencePiece vocabulary.
    """
    added = tokenizer.get_added_vocab()
    is_byte_level = '"ByteLevel"' in tokenizer.backend_tokenizer.to_str()
    sizes = np.zeros(max(tokenizer.get_vocab().values()) + 1, dtype=np.int64)
    for token, index in tokenizer.get_vocab().items():
        if index in tokenizer.all_special_ids:
            continue
        if is_byte_level and token not in added:
            sizes[index] = len(token)  # one character stands for each byte
        elif token.startswith("<0x") and token.endswith(">") and len(token) == 6:
            sizes[index] = 1
        else:
            sizes[index] = len(token.replace("\u2581", " ").encode())
    return sizes


# -- words and endings -----------------------------------------------------------------------------


def parse_word(line: Any) -> bool:
    """Whether a cached last word was predicted.

    Raises:
        ValueError: If the line does not say.
    """
    if line["right"] not in (True, False):
        raise ValueError(line)
    return bool(line["right"])


def word_predictions(right: Sequence[bool]) -> Predictions:
    """Predicted words (1) and others (0) as answers to items whose target is 1."""
    return Predictions(np.ones(len(right)), np.array(right, dtype=float))


def ending_predictions(items: Sequence[JudgedRow]) -> dict[str, Predictions]:
    """The likeliest ending of each row, metric by metric.

    Args:
        items: Rows whose margins are the log-likelihoods of the endings, then those per byte.
    """
    targets = np.array([item.target for item in items])
    halves = [np.reshape(item.margins, (2, -1)) for item in items]
    likeliest = np.array([half.argmax(axis=1) for half in halves], dtype=float)
    return {
        "completion_accuracy": Predictions(targets, likeliest[:, 0]),
        "completion_accuracy_norm": Predictions(targets, likeliest[:, 1]),
    }
