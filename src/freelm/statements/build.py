"""Writes the minimal pairs as the task `statements` of a data root."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from freelm.errors import DataError
from freelm.statements.artefacts import claim_only_accuracy, overlap_accuracy
from freelm.statements.entailment import entailment_pairs
from freelm.statements.pairs import Balance, Pair
from freelm.statements.passages import passage_pairs
from freelm.statements.reading import reading_pairs

VALIDATION_SHARE = 50
"""One document in so many goes to validation."""
CORPORA = {"wikipedia_en_2014": 16, "english_novels": 300}
"""Corpus -> windows drawn from each document."""


@dataclass(frozen=True)
class Summary:
    """What was built.

    Attributes:
        counts: (group of sources, kind) -> number of pairs.
        claim_only: Accuracy of a bag of words that sees the validation claims without their texts.
        overlap: Share of validation pairs whose true claim shares more words with its text.
    """

    counts: Counter[tuple[str, str]]
    claim_only: float
    overlap: float


def build_statements(root: Path, out: Path, seed: int, say: Callable[[str], None]) -> Summary:
    """Write `teacher/statements/{train,validation}.parquet` below a folder.

    Args:
        root: Data root with the sets that the pairs are made from; only training splits are read.
        out: Folder of the new data root.
        seed: Seed of all draws; the same seed gives the same files.
        say: Receives progress.

    Raises:
        DataError: If the data root has none of the sets.
    """
    splits: dict[str, list[Pair]] = {"train": [], "validation": []}
    counts: Counter[tuple[str, str]] = Counter()
    for group, candidates in sources(root, seed).items():
        accepted = 0
        for pair in select(candidates):
            splits[split_of(pair.document)].append(pair)
            counts[group, pair.kind] += 1
            accepted += 1
        say(f"{group}: {accepted} pairs")
    if not all(splits.values()):
        raise DataError(f"{root}: has too few rows of the sets that statements are made from")
    folder = out / "teacher" / "statements"
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for split, pairs in splits.items():
        pq.write_table(to_table(pairs, number), folder / f"{split}.parquet", compression="zstd")
        number += len(pairs)
    train, validation = splits["train"], splits["validation"]
    return Summary(counts, claim_only_accuracy(train, validation), overlap_accuracy(validation))


def sources(root: Path, seed: int) -> dict[str, Iterator[Pair]]:
    """Group of sources -> its candidate pairs."""
    return {
        "entailment": entailment_pairs(root, seed),
        "reading": reading_pairs(root, seed),
        "passages": passage_pairs(root, seed, CORPORA),
    }


def select(candidates: Iterable[Pair]) -> Iterator[Pair]:
    """Sound pairs in order, each claim of a text once, words balanced between the two sides."""
    balance = Balance()
    seen: set[bytes] = set()
    for pair in candidates:
        keys = [_key(pair.context, claim) for claim in (pair.true, pair.false)]
        if pair.true.lower() == pair.false.lower() or any(key in seen for key in keys):
            continue
        if balance.accept(pair):
            seen.update(keys)
            yield pair


def _key(context: str, claim: str) -> bytes:
    return hashlib.blake2b(f"{context}\x00{claim}".lower().encode(), digest_size=12).digest()


def split_of(document: str) -> str:
    """The split of all pairs of a document."""
    digest = hashlib.blake2b(document.encode(), digest_size=4).digest()
    return "train" if int.from_bytes(digest, "big") % VALIDATION_SHARE else "validation"


def to_table(pairs: list[Pair], first: int) -> pa.Table:
    """A row per pair: its text, both claims and the number (0 or 1) of the true one.

    The true claim comes first in every second pair. Both claims lie in one row because they share
    the text, which is then read once, and because a softmax over the two teaches what tells them
    apart.
    """
    rows = []
    for number, pair in enumerate(pairs, start=first):
        answer = number % 2
        claims = (pair.false, pair.true) if answer else (pair.true, pair.false)
        rows.append(
            {
                "context": pair.context,
                "first": claims[0],
                "second": claims[1],
                "answer": answer,
                "kind": pair.kind,
                "source": pair.source,
            }
        )
    return pa.Table.from_pylist(rows)
