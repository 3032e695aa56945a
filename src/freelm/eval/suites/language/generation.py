"""Generation, measured: does a model repeat itself, and how many different words does it use?

Texts of a corpus's test split give the prompts; what really followed is measured alike, as the
figure to compare with. A few of the written texts go to the report.
"""

import re
from collections.abc import Sequence

import numpy as np

from freelm.api import FreeLM
from freelm.data.text import corpus_file, read_documents
from freelm.errors import DataError
from freelm.eval.measure import Setting
from freelm.eval.results import Result, average
from freelm.eval.suites.language.perplexity import kept_text

PROMPTS = 20
"""Prompts per corpus; each is continued once a seed."""

PROMPT_WORDS = 12
WRITTEN_TOKENS = 64
REFERENCE_WORDS = 48
"""Words of the text that really followed; about as many as 64 tokens hold."""

SAMPLES = 3
"""Written texts of each corpus that the report shows."""

REPEATED = 4
"""Length of the word sequences whose recurrence counts as repetition."""

HUMAN = "what really followed"
"""Variant of the figures of the text that really followed."""

WAYS = {"greedy": 0.0, "sampled": 0.8}
"""How texts are written -> temperature."""


def distinct_n(texts: Sequence[Sequence[str]], n: int) -> float:
    """Different n-grams of all texts together, as a share of their n-grams (Li et al. 2016).

    Args:
        texts: The words of each text.
        n: Length of the n-grams.

    Returns:
        From 0 to 1; 0 where no text has n words.
    """
    grams = [gram for words in texts for gram in _grams(words, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(texts: Sequence[Sequence[str]], n: int = REPEATED) -> float:
    """Share of n-grams that stood before in the same text, over all texts (Welleck et al. 2020).

    Args:
        texts: The words of each text.
        n: Length of the n-grams.

    Returns:
        From 0 (never) to nearly 1; 0 where no text has n words.
    """
    grams = [list(_grams(words, n)) for words in texts]
    total = sum(map(len, grams))
    return 1.0 - sum(len(set(own)) for own in grams) / total if total else 0.0


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def evaluate_generation(model: FreeLM, corpora: Sequence[str], setting: Setting) -> list[Result]:
    """Repetition and distinct-n of texts that continue test documents.

    A corpus whose documents are too short is told of and left out.

    Args:
        model: The model.
        corpora: Corpora of the data root that have a test split.
        setting: Data root, seeds, limit (prompts per corpus at most), where texts are kept.
    """
    results = []
    for corpus in corpora:
        try:
            results += _evaluate_corpus(model, corpus, setting)
        except DataError as error:
            setting.skip(f"{corpus}: generation skipped: {error}")
    return results


def _evaluate_corpus(model: FreeLM, corpus: str, setting: Setting) -> list[Result]:
    prompts, followed = _prompts(corpus, setting)
    results = _figures(corpus, [words_of(text) for text in followed], HUMAN)
    for way, temperature in WAYS.items():
        runs = []
        for seed in range(setting.seeds if temperature else 1):
            texts = _written(model, corpus, way, seed, prompts, setting)
            runs.append(_figures(corpus, [words_of(text) for text in texts], way))
            if seed == 0:
                _show(corpus, way, prompts, texts, setting)
        results += average(runs)
    return results


def _written(
    model: FreeLM, corpus: str, way: str, seed: int, prompts: list[str], setting: Setting
) -> list[str]:
    """How a model continues each prompt, texts that are kept taken over."""
    assert setting.data_root is not None
    path, temperature = corpus_file(setting.data_root, corpus, "test"), WAYS[way]
    facts = {"temperature": temperature, "tokens": WRITTEN_TOKENS}
    kept = kept_text(model, corpus, path, setting, f"{way}-seed-{seed}", **facts)
    before = kept.read(lambda line: (str(line["prompt"]), str(line["text"])))[: len(prompts)]
    if [prompt for prompt, _ in before] != prompts[: len(before)]:
        raise DataError(f"{kept.path}: continues other prompts; delete it and run again")
    texts, shown = [text for _, text in before], f"{corpus} ({way} writing, seed {seed})"
    setting.progress(shown, len(texts), len(prompts))
    for prompt in prompts[len(texts) :]:
        texts.append(model.generate(prompt, WRITTEN_TOKENS, temperature, seed=seed))
        kept.append([{"prompt": prompt, "text": texts[-1]}])
        setting.progress(shown, len(texts), len(prompts))
    return texts


def _prompts(corpus: str, setting: Setting) -> tuple[list[str], list[str]]:
    """Beginnings of test documents and what follows them there."""
    assert setting.data_root is not None
    path = corpus_file(setting.data_root, corpus, "test")
    prompts, followed = [], []
    for document in read_documents(path):
        words = document.split()
        if len(words) >= PROMPT_WORDS + REPEATED:
            prompts.append(" ".join(words[:PROMPT_WORDS]))
            followed.append(" ".join(words[PROMPT_WORDS : PROMPT_WORDS + REFERENCE_WORDS]))
        if len(prompts) == min(PROMPTS, setting.limit or PROMPTS):
            break
    if not prompts:
        raise DataError(f"{path}: no document has {PROMPT_WORDS + REPEATED} words")
    return prompts, followed


def _figures(corpus: str, texts: list[list[str]], variant: str) -> list[Result]:
    measured = {f"distinct_{n}": distinct_n(texts, n) for n in (1, 2, 3)}
    measured["repetition"] = repetition(texts)
    measured["words"] = float(np.mean([len(words) for words in texts]))
    return [
        Result(
            corpus, "language", "test", metric, value, len(texts), None, None, None, "language",
            variant,
        )
        for metric, value in measured.items()
    ]  # fmt: skip


def _show(corpus: str, way: str, prompts: list[str], texts: list[str], setting: Setting) -> None:
    for prompt, text in list(zip(prompts, texts, strict=True))[:SAMPLES]:
        setting.detail(
            {"kind": "sample", "corpus": corpus, "way": way, "prompt": prompt, "text": text}
        )


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
