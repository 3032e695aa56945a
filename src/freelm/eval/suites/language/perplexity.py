"""How well a model predicts text that it was not trained on.

Perplexity is measured on the token stream of a test split in windows that do not overlap: a token
sees the tokens before it in its window and document, the first token of each window or document is
not predicted. Bits per byte compare models with different tokenizers.
"""

import hashlib
import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from freelm.api import FreeLM
from freelm.data.packing import Batch, build_tree, collate
from freelm.data.text import (
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
from freelm.eval.metrics import METRICS, bootstrap_interval
from freelm.eval.results import Result
from freelm.eval.texts import (
    LAST_WORD,
    PERPLEXITY,
    WORD_METRIC,
    TextLoss,
    text_file,
    window_loss,
    word_predictions,
    word_was_right,
)
from freelm.io.checksum import file_sha256
from freelm.model.identity import fingerprint
from freelm.model.network import FreeLMNetwork

WINDOW = 512
"""Tokens of a window."""

LAMBADA = "lambada"
"""Corpus whose texts' last word is to be guessed (Paperno et al. 2016, arXiv 1606.06031)."""

HASHED_AT_ONCE = 2**20
"""Tokens of a stream that are read into memory together."""


def evaluate_perplexity(model: FreeLM, corpora: list[str] | None, setting: Setting) -> list[Result]:
    """Perplexity and bits per byte of test splits; LAMBADA accuracy where it is there.

    Args:
        model: The model.
        corpora: Corpora of the data root; None means all that have a test split.
        setting: Data root, limit (windows or texts per corpus) and where what is measured is kept.

    Raises:
        DataError: If there is no data root or a named corpus is missing. One that is damaged is
            told of and left out, unless nothing is left.
    """
    if setting.data_root is None:
        raise DataError("the language suite needs a data root: --data DIR or FREELM_DATA")
    root, results = setting.data_root, list[Result]()
    paths = {n: corpus_file(root, n, "test") for n in corpora or evaluation_corpora(root)}
    faults: dict[str, FreeLMError] = {}
    for name, path in paths.items():
        try:
            if name == LAMBADA:
                results.append(_lambada(model, path, setting))
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


def kept_text(
    model: FreeLM, corpus: str, path: Path, setting: Setting, measured: str, **way: Any
) -> ResultCache:
    """The file that keeps what is measured of a text.

    Args:
        model: The model.
        corpus: Name of the text.
        path: Its file.
        setting: Where what is measured is kept, if anywhere.
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
    facts = {"tokens": _token_digest(stream), "bytes_per_token": _bytes_per_token(stream)}
    kept = kept_text(model, name, path, setting, PERPLEXITY, window=window, **facts)

    def progress(done: int, total: int) -> None:
        setting.progress(name, done, total)

    loss = text_loss(network, stream, setting.limit, progress, window, kept)
    low, high = loss.interval()
    n = int(loss.targets.sum())
    per_byte = 1 / math.log(2) / loss.bytes_per_token
    return [
        Result(
            name, "language", "test", "perplexity", loss.perplexity, n,
            math.exp(low), math.exp(high), None, "language",
        ),
        Result(
            name, "language", "test", "bits_per_byte", loss.bits_per_byte, n,
            low * per_byte, high * per_byte, None, "language",
        ),
    ]  # fmt: skip


@torch.inference_mode()
def text_loss(
    network: FreeLMNetwork,
    stream: TokenStream,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    window: int = WINDOW,
    kept: ResultCache = NO_CACHE,
) -> TextLoss:
    """Run a token stream through a network, window by window.

    Args:
        network: The network, in evaluation mode.
        stream: Tokens of a text.
        limit: Windows at most.
        progress: Told (windows done, windows in all).
        window: Tokens of a window, at most the model's own; a text shorter than one window is one
            window.
        kept: Windows that were measured before are taken over from it, new ones written to it.

    Raises:
        ModelError: If a window's loss is NaN or infinite; it is not kept.
        DataError: If there is no token to predict, or what is kept cannot be read or written.
    """
    window = _fitting(window, network, stream)
    count = min(stream.num_blocks(window), limit or stream.num_blocks(window))
    losses = kept.read(window_loss)[:count]
    if losses:
        progress(len(losses), count)
    for index in range(len(losses), count):
        batch = language_batch([stream.block(index, window)]).to(network.device)
        nats = float(network.language_loss(batch)) if batch.num_targets else 0.0
        if not math.isfinite(nats):
            raise ModelError(
                f"window {index}: the model's loss is not a finite number; its weights are damaged "
                "or overflow in this precision"
            )
        losses.append((nats, batch.num_targets))
        kept.append([{"nats": nats, "targets": batch.num_targets}])
        progress(index + 1, count)
    return TextLoss.of(losses, _bytes_per_token(stream))


def _fitting(window: int, network: FreeLMNetwork, stream: TokenStream) -> int:
    """As many tokens of a window as the model can read and the text has."""
    return min(window, network.max_positions, len(stream.tokens))


def _bytes_per_token(stream: TokenStream) -> float:
    return stream.num_bytes / len(stream.tokens)


def _token_digest(stream: TokenStream) -> str:
    """A short name of a stream's tokens; two models with the same one have the same windows.

    It is not that of the tokenizer: markers change this one, but no token of a text.
    """
    digest = hashlib.sha256()
    for start in range(0, len(stream.tokens), HASHED_AT_ONCE):
        digest.update(stream.tokens[start : start + HASHED_AT_ONCE].astype("<u4").tobytes())
    return digest.hexdigest()[:12]


def _lambada(model: FreeLM, path: Path, setting: Setting) -> Result:
    texts = list(islice(read_documents(path), setting.limit))
    if not texts:
        raise DataError(f"{path}: holds no text")
    kept = kept_text(model, LAMBADA, path, setting, LAST_WORD)
    right = kept.read(word_was_right)[: len(texts)]
    setting.progress(LAMBADA, len(right), len(texts))
    for text in texts[len(right) :]:
        right.append(last_word_is_right(model.model.network, text))
        kept.append([{"right": right[-1]}])
        setting.progress(LAMBADA, len(right), len(texts))
    answers = word_predictions(right)
    low, high = bootstrap_interval(answers, "accuracy")
    return Result(
        LAMBADA, "language", "test", WORD_METRIC, METRICS["accuracy"](answers),
        len(right), low, high, None, "language",
    )  # fmt: skip


@torch.inference_mode()
def last_word_is_right(network: FreeLMNetwork, text: str) -> bool:
    """Whether every token of a text's last word is the likeliest one after those before it."""
    before, _, word = text.rstrip().rpartition(" ")
    context = encode_text(network.tokenizer, before)
    if not context:
        raise DataError(f"text {text!r} has no word before its last")
    answer = encode_text(network.tokenizer, f" {word}")
    tree = build_tree([*context, *answer], [])
    batch: Batch = collate([tree], [[0]]).to(network.device)
    states = network.hidden(batch)[0, len(context) - 1 : -1]
    return bool((network.logits(states).argmax(-1).cpu() == torch.tensor(answer)).all())
