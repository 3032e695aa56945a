"""Reading and editing plain English text: sentences, names, numbers, substitutions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from freelm.statements.lexicon import NUMBER_WORDS, word_set

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_CALENDAR = {
    *MONTHS,
    *["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
}
_MONTH = "|".join(MONTHS)

YEAR = re.compile(r"(?<![\w.,–-])(1[1-9]\d\d|20[0-2]\d)(?![\w–%-]|[.,]\d)")
DATE = re.compile(rf"\b(\d{{1,2}} (?:{_MONTH}) \d{{4}}|(?:{_MONTH}) \d{{1,2}}, \d{{4}})\b")
NUMBER = re.compile(
    r"(?<![\w.,$£€–/:#-])(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(?![\w–/:'-]|[.,]\d)"
    rf"|\b({'|'.join(NUMBER_WORDS[2:])})\b(?!-)"
)
_NAME_WORD = r"[A-Z][a-zA-ZÀ-ÿ'’-]*[a-zà-ÿ]"
NAME = re.compile(rf"{_NAME_WORD}(?:(?: (?:of|de|von|van|da|del|la|the))? {_NAME_WORD})*")
_NOT_NAMES = _CALENDAR | word_set("not_names")
_ABBREVIATED = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Sr|Jr|Rev|Gen|Col|Lt|Capt|Prof|Gov|Sen|Rep|vs|etc|No|Vol|Fig|approx|c|ca|"
    r"Inc|Ltd|Co|Corp|Mt|Ft|Jan|Feb|Mar|Apr|Aug|Sept|Sep|Oct|Nov|Dec|i\.e|e\.g|p|pp)|\b[A-Z])\.$"
)
_STOP = re.compile(r"(?<=[.!?])(?:[\"”’')\]]*)\s+(?=[\"“‘'(\[]?[A-Z0-9])")


@lru_cache(maxsize=512)
def split_sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text, in order."""
    sentences: list[str] = []
    start = 0
    for stop in _STOP.finditer(text):
        piece = text[start : stop.start()].rstrip()
        if not _ABBREVIATED.search(piece):
            sentences.append(text[start : stop.end()].strip())
            start = stop.end()
    sentences.append(text[start:].strip())
    return tuple(sentence for sentence in sentences if sentence)


def finish(claim: str) -> str:
    """A claim as a sentence: capital first, one full stop, no spaces before punctuation."""
    claim = re.sub(r"\s+", " ", claim).strip()
    claim = re.sub(r" ([.,;:!?%)\]])", r"\1", claim)
    claim = re.sub(r" (n['’]t|['’](?:s|re|ve|ll|d|m))\b", r"\1", claim)
    claim = re.sub(r"\(\s+", "(", claim).rstrip(" ,;:")
    if claim and not re.search(r"[.!?][\"'”]?$", claim):
        claim += "."
    claim = re.sub(
        r"^(?:However|Also|Moreover|Furthermore|Additionally|In addition|Thus|Therefore), ",
        "",
        claim,
    )
    return claim[:1].upper() + claim[1:]


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text."""
    return re.findall(r"[a-zà-ÿ0-9][a-zà-ÿ0-9'’-]*", text.lower())


@lru_cache(maxsize=4096)
def stems(text: str) -> frozenset[str]:
    """First five letters of the content words in lower case: a rough stem."""
    return frozenset(w[:5] for w in re.findall(r"\b[a-z]{4,}\b", text) if w not in _COMMON)


_COMMON = word_set("common")


def positions(text: str, phrase: str) -> list[int]:
    """Where a word or phrase stands in a text as whole words; `a` also matches `A` at its start."""
    found = []
    for form in {phrase, phrase[:1].upper() + phrase[1:]}:
        start = text.find(form)
        while start >= 0:
            end = start + len(form)
            before, after = text[start - 1 : start], text[end : end + 1]
            is_start = not (before.isalnum() or before in _JOINERS)
            is_end = not (after.isalnum() or after in _JOINERS) or text[end : end + 2] in (
                "'s",
                "’s",
            )
            if is_start and is_end:
                found.append(start)
            start = text.find(form, end)
    return sorted(found)


_JOINERS = ("'", "’", "-", "_")


def occurrences(text: str, phrase: str) -> int:
    """How often a word or phrase stands in a text, see `positions`."""
    return len(positions(text, phrase))


def substitute(text: str, old: str, new: str) -> str:
    """Replace a word or phrase wherever it stands as whole words; `a` and `an` follow.

    The new words take over a capital first letter.
    """
    return _replaced(text, [(start, old, new) for start in positions(text, old)])


def exchange(text: str, first: str, second: str) -> str:
    """Put each of two phrases in the place of the other."""
    places = [(start, first, second) for start in positions(text, first)]
    places += [(start, second, first) for start in positions(text, second)]
    return _replaced(text, places)


def _replaced(text: str, places: list[tuple[int, str, str]]) -> str:
    """Put (start, old, new) into a text, from the end to the start so that places stay right."""
    for start, old, new in sorted(places, reverse=True):
        is_capital = text[start].isupper() and not old[0].isupper()
        shown = new[:1].upper() + new[1:] if is_capital else new
        head = fitting_article(text[:start], shown)
        text = head + shown + text[start + len(old) :]
    return text


def fitting_article(head: str, word: str) -> str:
    """A text that ends in `a` or `an`, with the article that suits the next word."""
    match = _ARTICLE.search(head)
    if not match:
        return head
    if word[:1].isdigit():
        vowel = word.startswith("8") or word in {"11", "18"}
    else:
        small = word.lower()
        vowel = small[:1] in tuple("aeiou") and not small.startswith(_CONSONANT_SOUND)
        vowel = vowel or small.startswith(("hour", "honest", "heir"))
    article = match[1][0] + ("n" if vowel else "")
    return f"{head[: match.start(1)]}{article} "


_ARTICLE = re.compile(r"(?:^|[^\w'’-])([Aa]n?) $")
_CONSONANT_SOUND = ("uni", "use", "usu", "eur", "one", "once", "uk")


@dataclass(frozen=True, slots=True)
class Span:
    """A name or number of a text.

    Attributes:
        text: As written.
        kind: `date`, `year`, `number` or `name`.
        before: The lower-case word before it, which shows its role (`in`, `by`), or "".
        start: Where it begins.
    """

    text: str
    kind: str
    before: str
    start: int


@lru_cache(maxsize=4096)
def find_spans(text: str) -> tuple[Span, ...]:
    """Dates, years, numbers and names of a text, in order; none overlaps another."""
    taken: list[tuple[int, int]] = []
    spans = []
    for kind, pattern in (("date", DATE), ("year", YEAR), ("number", NUMBER), ("name", NAME)):
        for match in pattern.finditer(text):
            start, found = match.start(), match.group()
            if kind == "name":
                start, found = _trimmed_name(text, start, found)
                if not found:
                    continue
            if any(start < end and begin < start + len(found) for begin, end in taken):
                continue
            taken.append((start, start + len(found)))
            before = re.search(r"([a-z]+) (?:the )?$", text[:start])
            spans.append(Span(found, kind, before[1] if before else "", start))
    return tuple(sorted(spans, key=lambda span: span.start))


def _trimmed_name(text: str, start: int, found: str) -> tuple[int, str]:
    """A capitalised run without leading words that are no names; empty if nothing is left."""
    parts = found.split(" ")
    while parts and (parts[0] in _NOT_NAMES or parts[0][0].islower()):
        start += len(parts[0]) + 1
        parts = parts[1:]
    while parts and (parts[-1] in _NOT_NAMES or parts[-1][0].islower()):
        parts = parts[:-1]
    if any(part in _CALENDAR for part in parts):
        return start, ""
    first_of_sentence = start == 0 or text[:start].rstrip()[-1:] in tuple('.!?"“')
    if len(parts) == 1 and first_of_sentence and not stands_inside(text, parts[0]):
        return start, ""
    name = " ".join(parts)
    name = re.sub(r"['’]s$", "", name)
    return start, name if len(name) > 2 else ""


def stands_inside(text: str, word: str) -> bool:
    """Whether a word also stands within a sentence, where only names have a capital."""
    return any(
        start > 1 and (text[start - 2].islower() or text[start - 2] == ",")
        for start in positions(text, word)
    )


def is_alone(text: str, phrase: str) -> bool:
    """Whether each capitalised word of a phrase stands in the text only as part of it."""
    whole = len(positions(text, phrase))
    parts = [part for part in phrase.split() if part[0].isupper() or part[0].isdigit()]
    return all(occurrences(text, part) == whole * parts.count(part) for part in parts)


def is_verbatim(claim: str, context: str) -> bool:
    """Whether the words of a claim stand in the context in this order, without a gap."""
    return f" {' '.join(words(claim))} " in f" {' '.join(words(context))} "


def overlap(claim: str, context: str) -> float:
    """Share of a claim's words that stand in the context."""
    there, asked = set(words(context)), words(claim)
    return sum(word in there for word in asked) / max(1, len(asked))


def is_clean(sentence: str, shortest: int = 5, longest: int = 40) -> bool:
    """Whether a sentence is a plain statement: whole, with paired marks and of usual length."""
    count = len(sentence.split())
    return (
        shortest <= count <= longest
        and sentence[:1].isupper()
        and sentence.endswith(".")
        and not re.search(
            r"[|{}<>=*_\\\[\]@#~]|\.\.|, ,|\( ?[,;)]|,\.| \.|\?|!|;|:|\b(?:of|in|is|was|the|at) ,",
            sentence,
        )
        and sentence.count('"') % 2 == 0
        and sentence.count("(") == sentence.count(")")
    )


def longest_common(first: Sequence[str], second: Sequence[str]) -> float:
    """Shared words of two word lists (as multisets), as a share of the longer."""
    rest = list(second)
    shared = 0
    for word in first:
        if word in rest:
            rest.remove(word)
            shared += 1
    return shared / max(1, len(first), len(second))
