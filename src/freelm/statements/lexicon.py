"""The word tables of `lexicon.yaml`, ready for look-up."""

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from freelm.errors import DataError
from freelm.io.strict_yaml import read_yaml

NUMBER_WORDS = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
]


@dataclass(frozen=True)
class Lexicon:
    """Word tables.

    Attributes:
        opposites: Word or phrase -> [(opposite, kind)].
        classes: Word -> (kind, the other words of its class).
        synonyms: Word or phrase -> words that may replace it.
        attempts: Phrase such as "agreed to" -> phrases that deny it.
        failures: Phrases before an infinitive that say it was not carried out.
        unrealised: Phrases before an infinitive that leave open whether it was.
        base_of: Past form or participle -> base form.
        past_forms: Past form -> base form; participles that are no past form are not here.
        third_persons: Third person -> base form.
        participles: All past participles.
        past_of: Base form -> past form.
        participle_of: Base form -> past participle.
        symmetric: Words that make a relation symmetric.
    """

    opposites: dict[str, list[tuple[str, str]]]
    classes: dict[str, tuple[str, tuple[str, ...]]]
    synonyms: dict[str, list[str]]
    attempts: dict[str, list[str]]
    failures: tuple[str, ...]
    unrealised: tuple[str, ...]
    base_of: dict[str, str]
    past_forms: dict[str, str]
    third_persons: dict[str, str]
    participles: frozenset[str]
    past_of: dict[str, str]
    participle_of: dict[str, str]
    symmetric: frozenset[str]


@lru_cache(maxsize=1)
def load_lexicon() -> Lexicon:
    """The shipped word tables."""
    raw = _raw()
    opposites: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for kind, pairs in raw["opposites"].items():
        for first, second in _pairs(pairs):
            opposites[first].append((second, kind))
            opposites[second].append((first, kind))
    classes = {}
    for group in raw["classes"]:
        words = tuple(word.strip() for word in group["words"].split(","))
        for word in words:
            classes[word] = (group["kind"], tuple(other for other in words if other != word))
    past_of, participle_of = _verb_forms(raw["verbs"])
    base_of = {form: base for table in (participle_of, past_of) for base, form in table.items()}
    return Lexicon(
        opposites=dict(opposites),
        classes=classes,
        synonyms=_both_ways(raw["synonyms"]),
        attempts=_both_ways(raw["attempts"]),
        failures=tuple(phrase.strip() for phrase in raw["failures"].split(",")),
        unrealised=tuple(phrase.strip() for phrase in raw["unrealised"].split(",")),
        base_of=base_of,
        past_forms={past: base for base, past in past_of.items()},
        third_persons={third_person(base): base for base in past_of if base != "be"},
        participles=frozenset(participle_of.values()),
        past_of=past_of,
        participle_of=participle_of,
        symmetric=frozenset(raw["symmetric"].split()),
    )


@lru_cache(maxsize=1)
def _raw() -> dict[str, Any]:
    raw: dict[str, Any] = read_yaml(Path(__file__).with_name("lexicon.yaml"), DataError)
    return raw


def word_set(name: str) -> frozenset[str]:
    """One of the plain word lists."""
    return frozenset(_raw()["words"][name].split())


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = []
    for entry in text.split("|"):
        first, second = (side.strip() for side in entry.split(" / "))
        pairs.append((first, second))
    return pairs


def _both_ways(text: str) -> dict[str, list[str]]:
    table: dict[str, list[str]] = defaultdict(list)
    for first, second in _pairs(text):
        table[first].append(second)
        table[second].append(first)
    return dict(table)


def _verb_forms(raw: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    past, participle = {}, {}
    for entry in raw["irregular"].split("|"):
        base, past[base], participle[base] = entry.split()
    for base in raw["regular"].split():
        past[base] = participle[base] = regular_past(base)
    return past, participle


def regular_past(base: str) -> str:
    """The past form of a regular verb: `stop` -> `stopped`, `carry` -> `carried`."""
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    short = len(base) <= 4 and sum(letter in "aeiou" for letter in base) == 1
    if (short or base in _DOUBLING) and base[-1] not in "aeiouwxy" and base[-2] in "aeiou":
        return base + base[-1] + "ed"
    return base + "ed"


_DOUBLING = {
    "admit",
    "permit",
    "refer",
    "prefer",
    "occur",
    "submit",
    "transfer",
    "control",
    "equip",
}


def third_person(base: str) -> str:
    """The third person of a verb: `carry` -> `carries`, `go` -> `goes`."""
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")
