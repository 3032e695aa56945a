"""A minimal pair, how it is varied, and the balance that keeps claims from telling their label."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from freelm.statements.changes import Change, mirror
from freelm.statements.lexicon import word_set
from freelm.statements.rewordings import use_synonym
from freelm.statements.text import is_verbatim, overlap, words


@dataclass(frozen=True, slots=True)
class Pair:
    """A true and a false claim about one text.

    Attributes:
        context: The text.
        true: The claim that follows from it.
        false: The claim that does not.
        kind: What tells them apart, e.g. `number`.
        source: Set or corpus of the text.
        document: Key of the document; pairs of one document stay in one split.
    """

    context: str
    true: str
    false: str
    kind: str
    source: str
    document: str


Pool = Mapping[str, list[str]]
"""Word -> sentences that hold it, from which distractors are drawn."""


def make_pairs(
    context: str,
    claim: str,
    change: Change,
    rng: random.Random,
    source: str,
    document: str,
    pool: Pool,
) -> Iterator[Pair]:
    """Turn a true claim and its false change into a pair, in one or two wordings to choose from.

    Half of the substitutions are made in the context, so that the changed claim is the true one.
    A word that only the false claim has is then brought in by a sentence about something else.
    Synonyms keep new and copied words from giving the label away: they go to the true claim alone,
    or to both where that would put a word on one side too often.
    """
    true, false = claim, change.claim
    if rng.random() < 0.5 and (mirrored := mirror(context, claim, change)):
        context, true, false = mirrored
    context = _with_distractor(context, true, false, pool, rng)
    seed = rng.random()
    other_true, other_false = (use_synonym(one, random.Random(seed)) for one in (true, false))
    pair = Pair(context, true, false, change.kind, source, document)
    is_told_by_words = overlap(true, context) > overlap(false, context)
    if other_true != true and (is_told_by_words or is_verbatim(true, context)):
        yield replace(pair, true=other_true)
        if other_false != false:
            yield replace(pair, true=other_true, false=other_false)
    elif other_false != false and rng.random() < 0.3:
        yield replace(pair, true=other_true, false=other_false)
    yield pair


def _with_distractor(context: str, true: str, false: str, pool: Pool, rng: random.Random) -> str:
    """The context with a sentence that holds the words which only the false claim has."""
    there = {*words(context), *words(true)}
    missing = [word for word in words(false) if word not in there]
    if len(missing) != 1:
        return context
    mine = (content_words(true) | content_words(false)) - {missing[0][:5]}
    options = pool.get(missing[0], [])
    for sentence in rng.sample(options, min(len(options), 12)):
        if not mine & content_words(sentence) and sentence not in context:
            return f"{context} {sentence}" if rng.random() < 0.5 else f"{sentence} {context}"
    return context


_FUNCTION = word_set("function")


@lru_cache(maxsize=8192)
def content_words(text: str) -> frozenset[str]:
    """Words of a text that carry content, cut to five letters."""
    return frozenset(word[:5] for word in words(text) if word not in _FUNCTION)


def make_pool(sentences: Iterable[str], longest: int = 24, most: int = 40) -> dict[str, list[str]]:
    """Index short sentences by their words."""
    pool: dict[str, list[str]] = defaultdict(list)
    for sentence in sentences:
        if len(sentence.split()) <= longest:
            for word in dict.fromkeys(words(sentence)):
                if len(pool[word]) < most:
                    pool[word].append(sentence)
    return dict(pool)


class Balance:
    """Accepts pairs so that every word is as often on the true as on the false side.

    Args:
        tolerance: How far the sides of a word may differ, as a share of its pairs.
        verbatim: Largest share of pairs whose true claim is copied from the text.
    """

    def __init__(self, tolerance: float = 0.05, verbatim: float = 0.08) -> None:
        self.tolerance = tolerance
        self.verbatim = verbatim
        self.net: Counter[str] = Counter()
        self.total: Counter[str] = Counter()
        self.num_pairs = 0
        self.num_verbatim = 0

    def accept(self, pair: Pair) -> bool:
        """Take a pair if it keeps the balance; it is counted then."""
        is_copy = is_verbatim(pair.true, pair.context)
        if is_copy and self.num_verbatim + 1 > self.verbatim * (self.num_pairs + 1):
            return False
        moves = _moves(pair)
        for feature, step in moves.items():
            slack = 25 if feature.startswith("<") else 3
            allowed = max(slack, self.tolerance * (self.total[feature] + 1))
            if abs(self.net[feature] + step) > max(allowed, abs(self.net[feature])):
                return False
        for feature, step in moves.items():
            self.net[feature] += step
            self.total[feature] += 1
        self.num_pairs += 1
        self.num_verbatim += is_copy
        return True


def _moves(pair: Pair) -> dict[str, int]:
    """Feature -> 1 if it speaks for the true side of a pair, -1 for the false side."""
    true, false = Counter(claim_tokens(pair.true)), Counter(claim_tokens(pair.false))
    moves = dict.fromkeys(true - false, 1) | dict.fromkeys(false - true, -1)
    length = sum(true.values()) - sum(false.values())
    copied = overlap(pair.true, pair.context) - overlap(pair.false, pair.context)
    for name, difference in (("<length>", length), ("<overlap>", copied)):
        if abs(difference) > 1e-9:
            moves[name] = 1 if difference > 0 else -1
    return moves


def claim_tokens(claim: str) -> list[str]:
    """Words of a claim, with its negations as one token."""
    return re.findall(r"n['’]t\b|[a-zà-ÿ0-9]+(?:[.,]\d+)*", claim.lower().replace("n't", " n't"))


def relabel(pair: Pair, kind: str) -> Pair:
    """The same pair as another kind."""
    return replace(pair, kind=kind)
