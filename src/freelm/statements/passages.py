"""Source (c): sentences of raw text, reworded by rules, against the same with one false change."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from freelm.statements.bounds import bounded
from freelm.statements.changes import Change, find_changes
from freelm.statements.pairs import Pair, make_pairs, make_pool, relabel
from freelm.statements.rewordings import (
    Statement,
    pronoun_is_sure,
    resolve_pronoun,
    reword,
    subject_of_article,
    use_synonym,
)
from freelm.statements.text import (
    find_spans,
    is_clean,
    is_verbatim,
    occurrences,
    split_sentences,
    substitute,
)

MOST_WORDS = 110
"""Words of a context drawn from a document."""


def passage_pairs(root: Path, seed: int, corpora: dict[str, int]) -> Iterator[Pair]:
    """Candidate pairs of raw text.

    Args:
        root: Data root.
        seed: Seed of the draws.
        corpora: Corpus -> windows drawn from each document.
    """
    for corpus, num_windows in corpora.items():
        path = root / "language" / corpus / "train.parquet"
        if not path.is_file():
            continue
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=32, columns=["text"]):
                for text in batch.column(0).to_pylist():
                    rng = random.Random(f"{seed}/{corpus}/{number}")
                    yield from _document_pairs(text, corpus, f"{corpus}/{number}", num_windows, rng)
                    number += 1


def _document_pairs(
    text: str, corpus: str, document: str, num_windows: int, rng: random.Random
) -> Iterator[Pair]:
    runs = list(_runs(text))
    sentences = [sentence for run in runs for sentence in run]
    if len(sentences) < 3:
        return
    person = subject_of_article(sentences[0])
    pool = make_pool(sentences)
    for _ in range(num_windows):
        run = rng.choice(runs)
        window = _window(run, rng)
        if len(window) >= 2:
            yield from _window_pairs(window, sentences, person, pool, corpus, document, rng)


def _runs(text: str) -> Iterator[list[str]]:
    """Runs of plain sentences that stand one after another."""
    for paragraph in re.split(r"\n\s*\n|\n(?=[A-Z])", text):
        run: list[str] = []
        for sentence in split_sentences(re.sub(r"\s+", " ", paragraph)):
            if is_clean(sentence):
                run.append(sentence)
            else:
                if len(run) > 1:
                    yield run
                run = []
        if len(run) > 1:
            yield run


def _window(run: list[str], rng: random.Random) -> list[str]:
    start = rng.randrange(len(run))
    window: list[str] = []
    for sentence in run[start : start + 5]:
        if sum(len(one.split()) for one in window) + len(sentence.split()) > MOST_WORDS:
            break
        window.append(sentence)
    return window


def _window_pairs(
    window: list[str],
    document_sentences: list[str],
    person: tuple[str, str] | None,
    pool: dict[str, list[str]],
    corpus: str,
    document: str,
    rng: random.Random,
) -> Iterator[Pair]:
    context = " ".join(window)
    statements = _statements(window, person)
    rng.shuffle(statements)
    statements.sort(key=lambda one: one.rule == "whole_sentence")
    kinds: set[str] = set()
    for statement in statements[:6]:
        claim = statement.claim
        if is_verbatim(claim, context) and use_synonym(claim, rng) == claim and rng.random() < 0.8:
            continue
        for change in find_changes(claim, context, statement.source, rng)[:4]:
            kind = "coreference" if _is_about_who(statement, change) else change.kind
            if kind not in kinds:
                kinds.add(kind)
                made = make_pairs(context, claim, change, rng, corpus, document, pool)
                yield from (relabel(pair, kind) for pair in made)
        if limits := bounded(claim, rng):
            yield from make_pairs(context, *limits, rng, corpus, document, {})
        if unsaid := _unsaid(claim, window, document_sentences, rng):
            yield from make_pairs(context, claim, unsaid, rng, corpus, document, {})


def _statements(window: list[str], person: tuple[str, str] | None) -> list[Statement]:
    found = []
    for index, sentence in enumerate(window):
        for statement in reword(sentence):
            name = person and (person[0] if occurrences(" ".join(window), person[0]) else person[1])
            if person and name and pronoun_is_sure(window, index, person[1]):
                resolved = resolve_pronoun(statement.claim, person[1])
                if resolved:
                    found.append(Statement(resolved, sentence, "pronoun"))
                    continue
            found.append(statement)
    return [
        one
        for one in found
        if not re.match(r"(?:This|These|That|Those|Such|Here|There) ", one.claim)
    ]


def _is_about_who(statement: Statement, change: Change) -> bool:
    return (
        statement.rule == "pronoun" and bool(change.old) and statement.claim.startswith(change.old)
    )


def _unsaid(
    claim: str, window: list[str], sentences: list[str], rng: random.Random
) -> Change | None:
    """A detail of another part of the document in place of one that the text states."""
    if rng.random() < 0.7:
        return None
    context = " ".join(window)
    names = [span for span in find_spans(claim) if span.kind == "name" and span.before]
    if not names or (is_verbatim(claim, context) and rng.random() < 0.5):
        return None
    span = rng.choice(names)
    away = [
        other.text
        for sentence in rng.sample(sentences, min(12, len(sentences)))
        if sentence not in window
        for other in find_spans(sentence)
        if other.kind == "name"
        and other.before == span.before
        and not occurrences(context, other.text)
    ]
    away = [text for text in away if text not in span.text and span.text not in text]
    if not away or occurrences(claim, span.text) != 1:
        return None
    new = rng.choice(away)
    return Change(substitute(claim, span.text, new), "not_stated", span.text, new)
