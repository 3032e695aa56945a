"""How well a model predicts text that it was not trained on.

Perplexity is measured on the tokens of a test split in windows that do not overlap: a token sees
the tokens before it in its window and document; the first token of each window or document is not
predicted. Bits per byte compare models with different tokenizers.
"""

import hashlib
import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from freelm.api import FreeLM
from freelm.data.packing import build_tree, collate
from freelm.data.text import (
    IGNORED,
    TokenStream,
    corpus_file,
    language_batch,
    load_token_stream,
    read_documents,
)
from freelm.data.tokens import encode_text
from freelm.errors import DataError, FreeLMError, ModelError
from freelm.eval.cache import NO_CACHE, ResultCache
from freelm.eval.measure import Setting
from freelm.eval.metrics import METRICS
from freelm.eval.results import Result
from freelm.eval.statistics import bootstrap_interval
from freelm.eval.texts import (
    LAST_WORD,
    PERPLEXITY,
    WORD_METRIC,
    TextLoss,
    Window,
    parse_word,
    text_file,
    token_sizes,
    word_predictions,
)
from freelm.io.checksum import file_sha256
from freelm.model.fingerprint import fingerprint
from freelm.model.network import FreeLMNetwork

NAME = "language"
WINDOW = 512
"""Tokens of a window."""

LAMBADA = "lambada"
"""Corpus whose texts' last word is to be predicted (Paperno et al. 2016, arXiv 1606.06031)."""

HASHED_AT_ONCE = 2**20
"""Tokens of a stream that are read into memory together."""


def evaluate_perplexity(model: FreeLM, corpora: list[str] | None, setting: Setting) -> list[Result]:
    """Perplexity and bits per byte of test splits; accuracy of the last word for LAMBADA.

    Args:
        model: The model.
        corpora: Corpora of the data root; None means all that have a test split.
        setting: How to evaluate.

    Raises:
        DataError: If there is no data root or a named corpus is missing.
        FreeLMError: If every corpus fails; otherwise those that fail are skipped.
    """
    if setting.data_root is None:
        raise DataError("the language suite needs a data root: --data DIR or FREELM_DATA")
    root, results = setting.data_root, list[Result]()
    paths = {n: corpus_file(root, n, "test") for n in corpora or evaluation_corpora(root)}
    faults: dict[str, FreeLMError] = {}
    for name, path in paths.items():
        try:
            if name == LAMBADA:
                results.append(_last_words(model, path, setting))
            else:
                results += _perplexity(model, name, path, setting)
        except FreeLMError as error:
            faults[name] = error
    if faults and not results:
        raise next(iter(faults.values()))
    for name, fault in faults.items():
        setting.skip(f"{name}: skipped: {fault}")
    return results


def evaluation_corpora(data_root: Path) -> list[str]:
    """The corpora of a data root that have a test split."""
    return sorted(path.parent.name for path in data_root.glob("language/*/test.parquet"))


def text_cache(
    model: FreeLM, corpus: str, path: Path, setting: Setting, measured: str, **way: Any
) -> ResultCache:
    """The cache of what is measured of a text.

    Args:
        model: The model.
        corpus: Name of the text.
        path: Its file.
        setting: Says in which folder, if any.
        measured: What is measured, part of the file's name.
        way: What else the figures depend on.
    """
    if setting.out is None:
        return NO_CACHE
    key = {"model": fingerprint(model.model), "corpus": corpus, "file": file_sha256(path)}
    file = text_file(setting.out, corpus, "test", measured)
    return ResultCache(file, {**key, "measured": measured, **way})


def _perplexity(model: FreeLM, name: str, path: Path, setting: Setting) -> list[Result]:
    network = model.model.network
    stream = load_token_stream(path, network.tokenizer)
    window = _fitting(WINDOW, network, stream)
    digest = _token_digest(stream)
    cache = text_cache(model, name, path, setting, PERPLEXITY, window=window, tokens=digest)

    def progress(done: int, total: int) -> None:
        setting.progress(name, done, total)

    loss = text_loss(network, stream, setting.limit, progress, window, cache)
    n = int(loss.targets.sum())
    figures = {"perplexity": loss.perplexity, "bits_per_byte": loss.bits_per_byte}
    return [
        Result(name, "language", "test", metric, value, n, *interval, None, NAME)
        for (metric, value), interval in zip(figures.items(), loss.intervals(), strict=True)
    ]


@torch.inference_mode()
def text_loss(
    network: FreeLMNetwork,
    stream: TokenStream,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    window: int = WINDOW,
    cache: ResultCache = NO_CACHE,
) -> TextLoss:
    """The loss of a network on a token stream, window by window.

    Args:
        network: The network, in evaluation mode.
        stream: Tokens of a text.
        limit: Maximum number of windows.
        progress: Receives (windows done, windows in all).
        window: Tokens of a window, at most the model's own; a shorter text is one window.
        cache: Windows measured before.

    Raises:
        ModelError: If a window's loss is NaN or infinite; it is not cached.
        DataError: If there is no token to predict, or the cache cannot be read or written.
    """
    window = _fitting(window, network, stream)
    count = min(stream.num_blocks(window), limit or stream.num_blocks(window))
    windows = cache.read(Window.parse)[:count]
    if windows:
        progress(len(windows), count)
    sizes = torch.from_numpy(token_sizes(network.tokenizer))
    for index in range(len(windows), count):
        batch = language_batch([stream.block(index, window)])
        num_bytes = int(sizes[batch.targets[batch.targets != IGNORED]].sum())
        nats = float(network.language_loss(batch.to(network.device))) if batch.num_targets else 0.0
        if not math.isfinite(nats):
            raise ModelError(
                f"window {index}: the model's loss is not a finite number; its weights are damaged "
                "or overflow in this precision"
            )
        windows.append(Window(nats, batch.num_targets, num_bytes))
        cache.append([{"nats": nats, "targets": batch.num_targets, "num_bytes": num_bytes}])
        progress(index + 1, count)
    return TextLoss.of(windows)


def _fitting(window: int, network: FreeLMNetwork, stream: TokenStream) -> int:
    """As many tokens of a window as the model can read and the text has."""
    return min(window, network.max_positions, len(stream.tokens))


def _token_digest(stream: TokenStream) -> str:
    """A short hash of a stream's tokens: models that share it have the same windows.

    The tokenizer's own hash will not do: markers change it, but no token of a text.
    """
    digest = hashlib.sha256()
    for start in range(0, len(stream.tokens), HASHED_AT_ONCE):
        digest.update(stream.tokens[start : start + HASHED_AT_ONCE].astype("<u4").tobytes())
    return digest.hexdigest()[:12]


def _last_words(model: FreeLM, path: Path, setting: Setting) -> Result:
    texts = list(islice(read_documents(path), setting.limit))
    if not texts:
        raise DataError(f"{path}: holds no text")
    cache = text_cache(model, LAMBADA, path, setting, LAST_WORD)
    right = cache.read(parse_word)[: len(texts)]
    setting.progress(LAMBADA, len(right), len(texts))
    for text in texts[len(right) :]:
        right.append(predicts_last_word(model.model.network, text))
        cache.append([{"right": right[-1]}])
        setting.progress(LAMBADA, len(right), len(texts))
    answers = word_predictions(right)
    interval = bootstrap_interval(answers, "accuracy")
    value = METRICS["accuracy"](answers)
    return Result(
        LAMBADA, "language", "test", WORD_METRIC, value, len(right), *interval, None, NAME
    )


@torch.inference_mode()
def predicts_last_word(network: FreeLMNetwork, text: str) -> bool:
    """Whether greedy decoding writes the last word of a text after the words before it."""
    before, _, word = text.rstrip().rpartition(" ")
    context = encode_text(network.tokenizer, before)
    if not context:
        raise DataError(f"text {text!r} has no word before its last")
    answer = encode_text(network.tokenizer, f" {word}")
    batch = collate([build_tree([*context, *answer], [])], [[0]]).to(network.device)
    states = network.hidden(batch)[0, len(context) - 1 : -1]
    return bool((network.logits(states).argmax(-1).cpu() == torch.tensor(answer)).all())
