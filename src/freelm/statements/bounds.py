"""Numbers and years put as bounds: `350 men` -> `more than 300 men`, `fewer than 300 men`."""

import random
import re

from freelm.statements.changes import Change
from freelm.statements.text import NUMBER, YEAR, find_spans

SHARE = 0.12
"""Share of the claims with a value that are put as a bound; more would crowd out other kinds."""


def bounded(claim: str, rng: random.Random) -> tuple[str, Change] | None:
    """A true claim that bounds a number or year of a claim, and its false counterpart.

    Returns:
        (true claim, change to the false one), or None if the claim has no such value.
    """
    if rng.random() > SHARE:
        return None
    spans = [span for span in find_spans(claim) if span.kind in ("year", "number")]
    if len(spans) != 1:
        return None
    span = spans[0]
    head, tail = claim[: span.start], claim[span.start + len(span.text) :]
    if span.kind == "year":
        return _bounded_year(head, span.text, tail, rng)
    return _bounded_number(head, span.text, tail, rng)


def _bounded_year(head: str, year: str, tail: str, rng: random.Random) -> tuple[str, Change] | None:
    if (
        not YEAR.fullmatch(year)
        or not re.search(r"\b[Ii]n $", head)
        or tail[:1] not in {".", " ", ","}
        or re.search(r"\b(?:[Ll]ate|[Ee]arly|[Mm]id|and|or|both) [Ii]n $", head)
    ):
        return None
    step = rng.choice([2, 3, 5, 8, 10, 15])
    is_later = rng.random() < 0.5
    bound = int(year) - step if is_later else int(year) + step
    if bound > 2024:
        return None
    words = ("after", "before") if is_later else ("before", "after")
    capital = head.endswith("In ")
    true, false = (
        f"{head[:-3]}{word.capitalize() if capital else word} {bound}{tail}" for word in words
    )
    return true, Change(false, "date_time")


def _bounded_number(
    head: str, number: str, tail: str, rng: random.Random
) -> tuple[str, Change] | None:
    plain = number.replace(",", "")
    if not plain.isdigit() or not NUMBER.fullmatch(number) or not re.match(r" [a-z]{4,}s\b", tail):
        return None
    if int(plain) < 10 or re.search(
        r"\b(?:the|of|about|over|under|than|nearly|almost|only|approximately|"
        r"some|top|last|first|least|most|to|and|between|around|[A-Z]\w*) $",
        head,
    ):
        return None
    value = int(plain)
    unit = 10 ** max(0, len(plain) - 2)
    low = (value - 1) // unit * unit - rng.choice([0, unit, 2 * unit])
    high = (value // unit + 1) * unit + rng.choice([0, unit, 2 * unit])
    is_more = rng.random() < 0.5
    bound = low if is_more else high
    if bound <= 1:
        return None
    shown = f"{bound:,}" if bound >= 10_000 or "," in number else str(bound)
    words = ("more than", "fewer than") if is_more else ("fewer than", "more than")
    true, false = (f"{head}{word} {shown}{tail}" for word in words)
    return true, Change(false, "comparison")
