"""Changes that make a true claim false: values, names, roles, opposites, negation, attempts."""

import random
import re
from dataclasses import dataclass

from freelm.statements.lexicon import NUMBER_WORDS, load_lexicon, third_person, word_set
from freelm.statements.text import (
    Span,
    exchange,
    find_spans,
    fitting_article,
    is_alone,
    occurrences,
    split_sentences,
    stems,
    substitute,
)

PLACE_WORDS = {"in", "at", "near", "from", "to", "within", "into"}
_AUXILIARIES = [
    "is",
    "are",
    "was",
    "were",
    "will",
    "would",
    "can",
    "could",
    "has",
    "have",
    "had",
    "does",
    "do",
    "did",
    "should",
    "must",
    "may",
    "might",
]
_QUANTIFIED = re.compile(
    r"^(?:some|all|every|many|most|few|several|any|each|no|none|nobody|no one|both|"
    r"either|neither|only|everyone|everybody|someone|somebody|not|more|at least|at most|fewer|less|"
    r"people)\b|\bonly\b|\beven\b",
    re.IGNORECASE,
)
_CLAUSES = re.compile(
    r"\b(?:who|that|which|whose|because|unless|until|although|though|if|when|while|but|whether|what|where|"
    r"how|why|than|so|as if)\b"
)


@dataclass(frozen=True, slots=True)
class Change:
    """A false version of a claim.

    Attributes:
        claim: The false claim.
        kind: What was changed: `number`, `date_time`, `entity`, `location`, `role`, `negation`, ...
        old: Phrase that was replaced, or "" if the change is no substitution.
        new: What replaced it.
    """

    claim: str
    kind: str
    old: str = ""
    new: str = ""


def find_changes(claim: str, context: str, source: str, rng: random.Random) -> list[Change]:
    """All changes that the rules find for a true claim, in random order.

    Args:
        claim: True given the context.
        context: The text.
        source: The sentence of the context that the claim rests on; the whole context if unknown.
        rng: Draws among the replacements of each change.
    """
    found: list[Change] = [
        *_value_changes(claim, context, source, rng),
        *_role_changes(claim),
        *_word_changes(claim, context, source, rng),
        *_attempt_changes(claim, context),
        *negations(claim),
    ]
    rng.shuffle(found)
    return [change for change in found if change.claim != claim]


def mirror(context: str, claim: str, change: Change) -> tuple[str, str, str] | None:
    """Apply a substitution to the context instead, so that the changed claim is the true one.

    Half of the pairs are mirrored: then nothing can be learnt from a claim without its text.

    Returns:
        (context, true claim, false claim), or None if the substitution is not safe in the context.
    """
    old, new = change.old, change.new
    if not old or not occurrences(context, old) or exchange(claim, old, new) != change.claim:
        return None
    if old[0].isupper() or old[0].isdigit():
        if not is_alone(context, old) or (occurrences(context, new) and not is_alone(context, new)):
            return None
    elif occurrences(context, old) + occurrences(context, new) != 1:
        return None
    return exchange(context, old, new), change.claim, claim


# Values: numbers, dates, names


def _value_changes(claim: str, context: str, source: str, rng: random.Random) -> list[Change]:
    others = _spans_elsewhere(claim, context, source)
    changes = []
    num_years = sum(span.kind == "year" for span in find_spans(claim))
    for span in find_spans(claim):
        if occurrences(claim, span.text) != 1 or (span.kind == "year" and num_years > 1):
            continue  # two years out of order would show that a claim is false
        fitting = [other for other in others if _fits(span, other)]
        if fitting:
            new = rng.choice(fitting).text
        elif span.kind in ("number", "year") and rng.random() < 0.5:
            new = nearby_value(span, rng)
        else:
            continue
        if occurrences(claim, new) or new == span.text:
            continue
        changed = substitute(claim, span.text, new)
        changes.append(Change(changed, _value_kind(span), span.text, new))
    numbers = [span for span in find_spans(claim) if span.kind == "number"]
    if len(numbers) == 2 and numbers[0].text != numbers[1].text:
        first, second = numbers[0].text, numbers[1].text
        if not re.search(rf"{first}\W+(?:and|or|to|of|by|times)\W+{second}", claim):
            changes.append(Change(exchange(claim, first, second), "number", first, second))
    return changes


def _value_kind(span: Span) -> str:
    if span.kind == "name":
        return "location" if span.before in PLACE_WORDS else "entity"
    return "number" if span.kind == "number" else "date_time"


def _spans_elsewhere(claim: str, context: str, source: str) -> list[Span]:
    """Values in sentences of the context that speak of something else than the claim."""
    mine, spans = stems(claim), []
    for sentence in split_sentences(context):
        if sentence == source or mine & stems(sentence):
            continue
        spans += [span for span in find_spans(sentence) if not occurrences(source, span.text)]
    return spans


def _fits(span: Span, other: Span) -> bool:
    """Whether another value fits in a value's place: same kind, form and word before it."""
    if span.kind != other.kind or span.text in other.text or other.text in span.text:
        return False
    if span.kind == "name":
        is_subject = span.start == 0 and other.start == 0
        return is_subject or (span.before == other.before and span.before != "")
    if span.kind == "number":
        return span.text[0].isdigit() == other.text[0].isdigit() and abs(
            len(span.text) - len(other.text)
        ) <= (1 if span.text[0].isdigit() else 9)
    return True


def nearby_value(span: Span, rng: random.Random) -> str:
    """Another number or year of about the same size, written in the same way."""
    if span.text in NUMBER_WORDS:
        number = NUMBER_WORDS.index(span.text)
        near = [n for n in range(2, 13) if n != number and abs(n - number) <= 3]
        return NUMBER_WORDS[rng.choice(near)] if near else span.text
    if span.kind == "year":
        return str(min(2025, int(span.text) + rng.choice([-15, -11, -8, -6, -4, 4, 6, 8, 11, 15])))
    plain = span.text.replace(",", "")
    value = float(plain) if "." in plain else int(plain)
    if value < 2:
        return span.text
    factor = rng.choice([0.5, 0.6, 0.75, 0.8, 1.25, 1.4, 1.5, 2])
    decimals = len(plain.split(".")[1]) if "." in plain else 0
    moved = round(value * factor, decimals) if decimals else max(2, round(value * factor))
    if moved == value:
        moved = value + 1
    return f"{moved:,}" if "," in span.text else f"{moved:.{decimals}f}" if decimals else str(moved)


def _role_changes(claim: str) -> list[Change]:
    """Exchange two names that stand on the two sides of a verb."""
    lexicon = load_lexicon()
    names = [span for span in find_spans(claim) if span.kind == "name"]
    if len(names) != 2 or set(re.findall(r"[a-z]+", claim)) & lexicon.symmetric:
        return []
    first, second = names[0].text, names[1].text
    between = claim[names[0].start + len(first) : names[1].start]
    verbs = set(re.findall(r"[a-z]+", between)) & (set(lexicon.base_of) | {"is", "was", "to"})
    if not verbs or first in second or second in first or "," in between or "'" in between:
        return []
    places = [name.before in PLACE_WORDS | {"of", "on", "as", "a", "an"} for name in names]
    if any(places) and [name.before for name in names] != ["from", "to"]:
        return []  # a person and a place exchanged make nonsense, not a false claim
    if any(_is_modifier(name, claim) for name in names):
        return []
    return [Change(exchange(claim, first, second), "role", first, second)]


def _is_modifier(name: Span, claim: str) -> bool:
    """Whether a name qualifies the noun after it, as in `the Paris office` or `a Swedish diver`."""
    return qualifies(claim[name.start + len(name.text) :])


def qualifies(rest: str) -> bool:
    """Whether the text after a name begins with a noun that the name qualifies."""
    after = re.match(r"(?:['’]s)? ([a-z]+)", rest)
    lexicon = load_lexicon()
    return after is not None and not (
        after[1] in lexicon.base_of or after[1] in lexicon.third_persons or after[1] in _FOLLOWING
    )


_FOLLOWING = set(_AUXILIARIES) | word_set("following")


# Words


def _word_changes(claim: str, context: str, source: str, rng: random.Random) -> list[Change]:
    lexicon = load_lexicon()
    tokens = claim.rstrip(".").split()
    changes: list[Change] = []
    covered: set[int] = set()
    for size in (4, 3, 2, 1):
        for start in range(len(tokens) - size + 1):
            span = range(start, start + size)
            if covered & set(span):
                continue
            phrase = " ".join(tokens[start : start + size]).rstrip(",")
            if start == 0 and phrase not in lexicon.classes:
                phrase = phrase[:1].lower() + phrase[1:]
            options = _replacements(phrase)
            if not options:
                continue
            covered |= set(span)
            new, kind = rng.choice(options)
            if occurrences(claim, phrase) != 1 or occurrences(claim, new):
                continue
            if _is_guarded(phrase, new, tokens, start, size) or _is_near(
                new, claim, context, source
            ):
                continue
            changes.append(Change(substitute(claim, phrase, new), kind, phrase, new))
    return changes


def _replacements(phrase: str) -> list[tuple[str, str]]:
    lexicon = load_lexicon()
    options = list(lexicon.opposites.get(phrase, []))
    options += [(new, "modality") for new in lexicon.attempts.get(phrase, [])]
    if phrase in lexicon.classes:
        kind, others = lexicon.classes[phrase]
        options += [(other, kind) for other in others]
    return options


def _is_near(new: str, claim: str, context: str, source: str) -> bool:
    """Whether the replacement stands in a sentence that may speak of the same thing."""
    if not occurrences(context, new):
        return False
    mine = stems(claim)
    return any(
        occurrences(sentence, new) and (sentence == source or mine & stems(sentence))
        for sentence in split_sentences(context)
    )


_NOT_BEFORE = {
    "known": {"as", "for", "to"},
    "unknown": {"to"},
    "first": {"name", "world", "lady", "aid", "place", "time"},
    "second": {"world"},
    "higher": {"education"},
    "well": {"as", "known"},
    "lost": {"his", "her", "their"},
    "failed": {"to"},
    "like": {"a"},
    "set": {"up"},
    "liked": {"to"},
    "loved": {"to"},
    "opened": {"with"},
    "closed": {"with"},
    "some": {"of", "time", "sort", "kind", "point"},
    "next": {"to"},
    "previous": {"to"},
    "last": {"year", "week", "month", "name"},
    "even": {"if"},
    "same": {"year", "time", "as"},
    "high": {"school"},
    "early": {"age"},
}
_NOT_AFTER = {
    "old": {"years", "year", "months"},
    "first": {"at", "his", "her", "one"},
    "last": {"at", "for"},
    "second": {"per", "a", "every"},
    "minute": {"the"},
    "end": {"would", "to", "not", "will"},
    "many": {"how", "as", "so"},
    "day": {"one", "every", "each", "per", "a", "next"},
    "well": {"as"},
    "no": {"or"},
    "same": {"the"},
    "some": {"for"},
    "child": {"only"},
    "more": {"any", "no", "once"},
    "most": {"for", "at"},
    "least": {"at"},
    "above": {"the"},
    "long": {"as"},
}


def _is_guarded(phrase: str, new: str, tokens: list[str], start: int, size: int) -> bool:
    """Whether a word has another sense or grammar here than the tables assume."""
    before = tokens[start - 1].lower() if start else ""
    after = tokens[start + size].lower().rstrip(",") if start + size < len(tokens) else ""
    if tokens[start][0].isupper() and start and phrase[0].islower():
        return True
    if after in _NOT_BEFORE.get(phrase, ()) or before in _NOT_AFTER.get(phrase, ()):
        return True
    if phrase in {"began", "started", "begins", "ended", "ends"}:
        return after == "to" or after.endswith("ing") or after == "with"
    if phrase in {"over", "under"}:
        return not after[:1].isdigit() and after not in NUMBER_WORDS
    if phrase == "most":
        return (new == "least") == (after.endswith("s") or after in {"of", "people"})
    if phrase == "no" and new in {"many", "several"}:
        return not after.endswith("s") or before in {"is", "was"}
    if phrase in {"more", "fewer"}:
        return not after.endswith("s")
    if phrase in {"increase", "decrease", "end", "start", "beginning", "support"}:
        return before not in {"the", "an", "a", "will", "to"}
    if phrase in {"best", "worst"}:
        return before not in {"the", "his", "her", "its", "their"} or after == "known"
    return phrase in {"no", "some"} and not after


# Attempts


def _attempt_changes(claim: str, context: str) -> list[Change]:
    """`failed to build` and `built`; `planned to build` and `built`; and back."""
    lexicon = load_lexicon()
    changes = []
    for phrase in (*lexicon.failures, *lexicon.unrealised):
        if phrase not in claim:
            continue
        match = re.search(rf"\b{phrase} ([a-z]+)\b", claim)
        past = lexicon.past_of.get(match[1]) if match else None
        if match and past and match[1] != "be" and not occurrences(context, past):
            done = claim[: match.start()] + past + claim[match.end() :]
            changes.append(Change(done, "modality", match.group(), past))
    verb = main_verb(claim)
    if (
        verb
        and verb.form == "past"
        and re.match(r"(?:He|She|They|[A-Z]\w+(?: [A-Z]\w+)*) [a-z]+", claim)
    ):
        base = lexicon.base_of[verb.word]
        if base in _UNWILLED or claim.startswith(("Something", "Nothing", "Everything", "It ")):
            return changes
        for phrase in load_lexicon().failures:
            denied = verb.replaced(f"{phrase} {base}")
            changes.append(Change(denied, "modality", verb.word, f"{phrase} {base}"))
    return changes


_UNWILLED = word_set("unwilled")


# Negation


@dataclass(frozen=True, slots=True)
class Verb:
    """The main verb of a claim: its word, form (`auxiliary`, `past`, `present`) and place."""

    claim: str
    word: str
    form: str
    index: int

    def replaced(self, words: str) -> str:
        """The claim with other words in the verb's place."""
        tokens = self.claim.split(" ")
        tokens[self.index] = words
        return " ".join(tokens)


def main_verb(claim: str) -> Verb | None:
    """The main verb of a short claim, or None where the rules are not sure."""
    lexicon = load_lexicon()
    tokens = [token.rstrip(".,") for token in claim.split(" ")]
    head = " ".join(tokens[:8])
    for index, token in enumerate(tokens[:8]):
        if token in _AUXILIARIES:
            before = " ".join(tokens[:index])
            is_noun = index and tokens[index - 1].lower() in {"the", "a", "to", "in"}
            if not index or _CLAUSES.search(before) or "," in claim.split(token)[0] or is_noun:
                return None
            return Verb(claim, token, "auxiliary", index)
    if _CLAUSES.search(head) or any(token in _AUXILIARIES[:4] for token in tokens):
        return None
    thirds = lexicon.third_persons
    for index, token in enumerate(tokens[1:5], start=1):
        if token in lexicon.past_forms and tokens[index - 1].lower() not in {
            "the",
            "a",
            "an",
            "of",
        }:
            following = tokens[index + 1] if index + 1 < len(tokens) else ""
            subject = " ".join(tokens[:index])
            sure = re.fullmatch(
                r"(?:[A-Z][\w'’.-]*(?: [A-Z][\w'’.-]*)*|(?:The|A|An) [a-z-]+)", subject
            )
            return None if following == "by" or not sure else Verb(claim, token, "past", index)
        if token in thirds and index + 1 < len(tokens):
            sure = re.fullmatch(
                r"(?:[A-Z][\w'’-]*|(?:The|A|An) (?:[a-z-]+ ){0,2}[a-z-]+[^s])",
                " ".join(tokens[:index]),
            )
            return Verb(claim, token, "present", index) if sure else None
    return None


def negations(claim: str) -> list[Change]:
    """The claim with `not` put in or taken out, where the rules are sure of the grammar."""
    removed = _without_negation(claim)
    if removed:
        return [Change(removed, "negation")]
    if _QUANTIFIED.search(claim) or re.search(
        r"\b(?:no|not|never|nor|none|nothing|n't|by)\b|n't", claim
    ):
        return []
    there = re.match(r"(There (?:is|are|was|were)) (?:an? |some )?([a-z].*)", claim)
    if there and not there[2].startswith(("the ", "two", "three", "many", "several")):
        return [Change(f"{there[1]} no {there[2]}", "negation")]
    verb = main_verb(claim)
    if verb is None or _CLAUSES.search(claim):
        return []
    lexicon = load_lexicon()
    if verb.form == "auxiliary":
        following = claim.split(" ")[verb.index + 1 : verb.index + 2]
        if verb.word in {"has", "have", "had", "does", "do", "did"}:
            if not following or following[0].rstrip(".") not in lexicon.base_of:
                return []
            if verb.word in {"does", "do", "did"}:
                return []
        negated = {"can": "cannot"}.get(verb.word, f"{verb.word} not")
        if verb.word in {"may", "might", "should", "must"}:
            return []
        return [Change(verb.replaced(negated), "negation")]
    if verb.form == "past":
        return [Change(verb.replaced(f"did not {lexicon.base_of[verb.word]}"), "negation")]
    return [Change(verb.replaced(f"does not {lexicon.third_persons[verb.word]}"), "negation")]


def _without_negation(claim: str) -> str | None:
    """The claim without its only negation, or None."""
    lexicon = load_lexicon()
    if (
        len(
            re.findall(
                r"\b(?:not|never|no|nor|cannot|nobody|none|neither|without)\b|n['’]t\b", claim
            )
        )
        != 1
    ):
        return None
    if re.search(
        r"\b(?:not only|not just|not necessarily|not all|not every|no longer|"
        r"not until|not yet|whether|any|at all|ever|either|anyone|anything|at once)\b",
        claim,
    ):
        return None
    if match := re.search(r"\b(did|does|do)(?: not|n['’]t) (?:ever )?([a-z]+)\b", claim):
        form = lexicon.past_of.get(match[2])
        if form is None:
            return None
        form = {"did": form, "does": third_person(match[2]), "do": match[2]}[match[1]]
        if match[2] == "have":
            form = {"did": "had", "does": "has", "do": "have"}[match[1]]
        return claim[: match.start()] + form + claim[match.end() :]
    if match := re.search(
        r"\b(is|are|was|were|will|would|could|has|have|had|should|must) not (?!any\b)", claim
    ):
        return claim[: match.start()] + match[1] + " " + claim[match.end() :]
    if match := re.search(r"\b(is|are|was|were|would|could|has|have|had)n['’]t (?!any\b)", claim):
        return claim[: match.start()] + match[1] + " " + claim[match.end() :]
    if match := re.search(r"\bcannot (?!be sure|but)", claim):
        return claim[: match.start()] + "can " + claim[match.end() :]
    if match := re.search(r"^(There (?:is|was)) no ([a-z]+)", claim):
        article = "some" if match[2].endswith("s") else "a"
        head = fitting_article(f"{match[1]} {article} ", match[2])
        return head + claim[match.start(2) :]
    if match := re.search(r"^(There (?:are|were)) no ", claim):
        return f"{match[1]} {claim[match.end() :]}"
    return None
