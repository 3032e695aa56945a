"""How much a model repeats itself, and how many different words it uses.

Documents of a corpus's test split give the prompts; how they really continue is measured too, for
comparison. A few of the generated texts go to the report.
"""

import re
from collections.abc import Sequence

import numpy as np

from freelm.api import FreeLM
from freelm.data.text import corpus_file, read_documents
from freelm.errors import DataError
from freelm.eval.measure import Setting
from freelm.eval.results import Result, average
from freelm.eval.suites.language.perplexity import text_cache

PROMPTS = 20
"""Prompts per corpus; each is continued once per seed."""

PROMPT_WORDS = 12
WRITTEN_TOKENS = 64
REFERENCE_WORDS = 48
"""Words of the human continuation, about as many as 64 tokens."""

SAMPLES = 3
"""Generated texts of each corpus in the report."""

REPEATED = 4
"""Length of the word sequences whose recurrence counts as repetition."""

HUMAN = "what really followed"
"""Variant of the human continuation."""

WAYS = {"greedy": 0.0, "sampled": 0.8}
"""How texts are generated -> temperature."""


def distinct_n(texts: Sequence[Sequence[str]], n: int) -> float:
    """Share of distinct n-grams among all n-grams of the texts together (Li et al. 2016).

    Args:
        texts: The words of each text.
        n: Length of the n-grams.

    Returns:
        From 0 to 1; 0 where no text has n words.
    """
    grams = [gram for words in texts for gram in _grams(words, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def repetition(texts: Sequence[Sequence[str]], n: int = REPEATED) -> float:
    """Share of n-grams that occurred before in the same text, over all texts (Welleck et al. 2020).

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

    Args:
        model: The model.
        corpora: Corpora of the data root that have a test split; those that fail are skipped.
        setting: How to evaluate; `limit` bounds the prompts per corpus.
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
            texts = _generated(model, corpus, way, seed, prompts, setting)
            runs.append(_figures(corpus, [words_of(text) for text in texts], way))
            if seed == 0:
                _show(corpus, way, prompts, texts, setting)
        results += average(runs)
    return results


def _generated(
    model: FreeLM, corpus: str, way: str, seed: int, prompts: list[str], setting: Setting
) -> list[str]:
    """How a model continues each prompt."""
    assert setting.data_root is not None
    path, temperature = corpus_file(setting.data_root, corpus, "test"), WAYS[way]
    facts = {"temperature": temperature, "tokens": WRITTEN_TOKENS}
    cache = text_cache(model, corpus, path, setting, f"{way}-seed-{seed}", **facts)
    before = cache.read(lambda line: (str(line["prompt"]), str(line["text"])))[: len(prompts)]
    if [prompt for prompt, _ in before] != prompts[: len(before)]:
        raise DataError(f"{cache.path}: continues other prompts; delete it and run again")
    texts, shown = [text for _, text in before], f"{corpus} ({way} text, seed {seed})"
    setting.progress(shown, len(texts), len(prompts))
    for prompt in prompts[len(texts) :]:
        texts.append(model.generate(prompt, WRITTEN_TOKENS, temperature, seed=seed))
        cache.append([{"prompt": prompt, "text": texts[-1]}])
        setting.progress(shown, len(texts), len(prompts))
    return texts


def _prompts(corpus: str, setting: Setting) -> tuple[list[str], list[str]]:
    """The first words of test documents, and the words that follow them."""
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
