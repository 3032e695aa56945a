"""Statements that follow from a sentence, in other words than the sentence.

Each rule takes a sentence without its full stop and gives statements that are true whenever the
sentence is. Rules are narrow: where the grammar is not sure they give nothing.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from freelm.statements.lexicon import NUMBER_WORDS, load_lexicon, word_set
from freelm.statements.text import MONTHS, NAME, find_spans, finish, occurrences, substitute

_MONTH = "|".join(MONTHS)
_NAME = r"(?:The )?[A-Z][\w'’.-]*(?: (?:(?:of|de|von|van|the) )?[A-Z][\w'’.-]*)*"
_NOUN = r"(?:[Tt]he|[Aa]n?|[Hh]is|[Hh]er|[Ii]ts|[Tt]heir) (?:[a-z-]+ ){0,2}[a-z-]+"
_CLAUSE = re.compile(
    r",|;|\b(?:and|but|or|that|which|who|whose|whom|while|when|where|because|although|though|if|as|than|so)\b"
)
_TIME = (
    rf"(?:(?:in|since|by|until|during) (?:(?:early|late|mid) )?(?:(?:{_MONTH}) )?\d{{4}}"
    rf"|on (?:\d{{1,2}} (?:{_MONTH})|(?:{_MONTH}) \d{{1,2}},?)(?: \d{{4}})?)"
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A true statement and the sentence it rests on.

    Attributes:
        claim: The statement.
        source: The sentence.
        rule: Name of the rule that made it.
    """

    claim: str
    source: str
    rule: str


def reword(sentence: str) -> list[Statement]:
    """All statements that the rules draw from one sentence."""
    bare = sentence.rstrip(". ")
    found: dict[str, Statement] = {}
    for rule in RULES:
        for claim in rule(bare):
            claim = finish(claim)
            if 4 <= len(claim.split()) <= 28 and _is_sound(claim):
                found.setdefault(claim, Statement(claim, sentence, rule.__name__.strip("_")))
    return list(found.values())


def _is_sound(claim: str) -> bool:
    return not re.search(
        r"\b(?:he|she|it|they|who|which|and|or|of|the|a|in|to) ?\.$|\( |, ?\.|,,", claim
    ) and (claim.count("(") == claim.count(")") and claim.count('"') % 2 == 0)


def use_synonym(claim: str, rng: random.Random) -> str:
    """The claim with one word or phrase replaced by a synonym; unchanged if it has none."""
    lexicon = load_lexicon()
    lowered = claim.lower()
    present = [
        (phrase, other)
        for phrase, others in lexicon.synonyms.items()
        if phrase.lower() in lowered and occurrences(claim, phrase) == 1
        for other in others
        if occurrences(claim, other) == 0 and _synonym_fits(claim, phrase)
    ]
    if not present:
        return claim
    phrase, other = rng.choice(sorted(present))
    return substitute(claim, phrase, other)


def _synonym_fits(claim: str, phrase: str) -> bool:
    """Keep synonyms out of idioms and of senses that they do not share."""
    at = re.search(rf"\b{re.escape(phrase)}\b(?: ([\w-]+))?(?: ([\w-]+))?", claim, re.IGNORECASE)
    if at is None:
        return False
    after, further = (at[1] or "").lower(), (at[2] or "").lower()
    before = claim[: at.start()].split()[-1].lower() if claim[: at.start()].split() else ""
    match phrase:
        case "about" | "approximately" | "roughly":
            return after[:1].isdigit() or after in NUMBER_WORDS
        case "like" | "use" | "uses" | "ended" | "near" | "fast" | "outside" | "ill" | "hard":
            return False
        case "also" | "likewise":
            return False
        case "many":
            return before not in {"as", "so", "how", "too", "not"}
        case "to":
            return False
        case "began" | "started" | "begins" | "starts" | "stopped" | "ceased":
            return after != "with"
        case "before":
            return after in {"the", "a", "his", "her", "its", "their"} or after.isdigit()
        case "known as" | "called":
            return before not in {"so"} and after not in {"for", "up", "upon", "off"}
        case "founded" | "established" | "completed in" | "finished in":
            return before in {"was", "were", "he", "she", "they", "been"}
        case "received" | "helped" | "assisted":
            return before not in {
                "was",
                "were",
                "been",
                "be",
                "is",
                "are",
                "and",
                "well",
            } and after not in {"by", "to"}
        case "was given" | "was able to" | "were able to":
            return True
        case "took place" | "happened":
            return after != "to"
        case "large" | "big" | "important" | "famous":
            return after not in {"number", "for", "to", "scale"} and before not in {"as"}
        case "a number of" | "several" | "numerous":
            return True
        case "wrote" | "defeated" | "needed" | "required" | "created by" | "made by":
            return before not in {"was", "were", "been", "is", "are"} or phrase.endswith("by")
        case "became" | "reached" | "attended" | "obtained" | "remained" | "earned" | "gained":
            return before not in {"was", "were", "been"} and phrase != "became"
        case "people" | "persons" | "picture" | "photo" | "image" | "rock" | "stone":
            return phrase not in {"people", "picture", "rock", "stone", "image"}
        case "road" | "street" | "company" | "firm" | "companies" | "firms":
            return phrase in {"firm", "firms"} or (phrase == "company" and before in {"the", "a"})
        case "difficult" | "well-known" | "happy":
            return after != "for" or further != ""
    return True


# Rules


def _whole_sentence(sentence: str) -> Iterator[str]:
    if not re.search(r"[()]", sentence) and len(sentence.split()) <= 22 and has_verb(sentence):
        yield sentence


def has_verb(sentence: str) -> bool:
    """Whether a sentence surely has a finite verb; headings and lists have none."""
    past = load_lexicon().past_forms
    return any(token in past or token in _FINITE for token in sentence.split())


_FINITE = {"is", "are", "was", "were", "has", "have", "had", "can", "will", "may"}


def _fronted_time(sentence: str) -> Iterator[str]:
    """`In 1911, the museum opened` -> `the museum opened in 1911`."""
    match = re.fullmatch(
        r"((?:In|On|During|By|Since|After|Before|At|From|Until) [^,]{3,40}), "
        r"((?:the|a|an|he|she|it|they|his|her|its|[A-Z])[^,;]{8,110})",
        sentence,
    )
    if (
        match
        and not _CLAUSE.search(match[2])
        and not re.search(r"\b\w+ing\b|\bhis\b|\bher\b", match[1])
    ) and not re.search(rf"\b{_TIME}\b", match[2]):
        front = match[1]
        lowered = front[0].lower() + front[1:]
        yield f"{match[2]} {lowered}"


def _trailing_time(sentence: str) -> Iterator[str]:
    """`The museum opened in 1911` -> `In 1911 the museum opened`."""
    match = re.fullmatch(rf"([^,;()]{{8,110}}?) ({_TIME})", sentence)
    if (
        match
        and not _CLAUSE.search(match[1])
        and not re.search(rf"{_TIME}|\b(?:is|was|were)$", match[1])
    ):
        subject = match[1]
        if re.match(r"(?:The|A|An|He|She|It|They|His|Her|Its|Their|This|These) ", subject):
            subject = subject[0].lower() + subject[1:]
        yield f"{match[2][0].upper()}{match[2][1:]}, {subject}"


def _to_active(sentence: str) -> Iterator[str]:
    """`The bridge was built by Ann Bell in 1868` -> `Ann Bell built the bridge in 1868`."""
    lexicon = load_lexicon()
    match = re.fullmatch(
        rf"([A-Z][^,;()]{{1,50}}?) (?:was|were) ([a-z]+) by ({_NAME}|the [a-z]+)"
        r"((?: (?:in|on|at|for|during|after|with|from|to) [^,;()]{3,60})?)",
        sentence,
    )
    if not match:
        return
    subject, participle, agent, rest = match.groups()
    base = lexicon.base_of.get(participle)
    if base is None or lexicon.participle_of[base] != participle or _CLAUSE.search(subject + rest):
        return
    if re.match(r"(?:In|On|At|By|During|After|Before|When|Since|From|There) ", subject):
        return
    objects = {"It": "it", "He": "him", "She": "her", "They": "them"}
    if subject in objects:
        subject = objects[subject]
    elif re.match(r"(?:The|A|An|His|Her|Its|Their) ", subject):
        subject = subject[0].lower() + subject[1:]
    yield f"{agent} {lexicon.past_of[base]} {subject}{rest}"


_TRANSITIVE = word_set("transitive")


def _to_passive(sentence: str) -> Iterator[str]:
    """`Ann Bell designed the bridge in 1868` -> `The bridge was designed by Ann Bell in 1868`."""
    lexicon = load_lexicon()
    match = re.fullmatch(
        rf"({_NAME}) ([a-z]+) ({_NAME}|the [a-z-]+(?: [a-z-]+)?|an? (?:[a-z-]+ )?[a-z-]+)"
        rf"((?: {_TIME}| (?:in|at) {_NAME})?)",
        sentence,
    )
    if not match or match[2] not in _TRANSITIVE:
        return
    agent, past, thing, rest = match.groups()
    base = lexicon.past_forms.get(past)
    if (
        base is None
        or agent.split()[0] in _PRONOUNS
        or re.search(r"\b(?:more|most|first|back|ly)$|ly$", thing)
    ):
        return
    were = "were" if re.search(r"[a-z]s$", thing) and not thing[0].isupper() else "was"
    if agent.startswith("The "):
        agent = "the " + agent[4:]
    yield f"{thing} {were} {lexicon.participle_of[base]} by {agent}{rest}"


_PRONOUNS = {
    "He",
    "She",
    "It",
    "They",
    "We",
    "I",
    "You",
    "This",
    "That",
    "These",
    "Those",
    "There",
    "The",
    "In",
    "On",
    "At",
}
_NOT_SUBJECTS = (_PRONOUNS - {"The"}) | {
    "However",
    "Although",
    "Also",
    "Then",
    "Thus",
    "Today",
    "After",
    "Before",
}


def _apposition(sentence: str) -> Iterator[str]:
    """`Anna Bell, a French painter, moved to Rome` -> `Anna Bell was a French painter`."""
    lexicon = load_lexicon()
    for match in re.finditer(rf"^({_NAME}), ((?:an?|the) [^,;()]{{4,70}}), ([a-z]+)", sentence):
        name, noun, verb = match.groups()
        if name.split()[0] in _NOT_SUBJECTS:
            continue
        past = verb in lexicon.past_forms or verb in {"was", "were", "had"}
        present = verb in {"is", "has", "are"}
        if (past or present) and not re.search(r"\b(?:and|or) (?:the|a|an) [A-Z]", noun):
            yield f"{name} {'was' if past else 'is'} {noun}"
            rest = sentence[match.end(2) + 1 :].strip()
            if not re.search(r"[()]", rest):
                yield f"{name} {rest}"


def _relative(sentence: str) -> Iterator[str]:
    """`Anna Bell, who was born in Rome, painted it` -> `Anna Bell was born in Rome`."""
    match = re.fullmatch(
        rf"({_NAME}), (?:who|which) ([a-z]+) ([^,;()]{{3,90}}), ([a-z]+) ([^;]{{2,}})", sentence
    )
    if match and match[1].split()[0] not in _PRONOUNS - {"The"}:
        name, verb, rest, main, tail = match.groups()
        if has_verb(verb) and has_verb(main):
            yield f"{name} {verb} {rest}"
            yield f"{name} {main} {tail}"


def _lede(sentence: str) -> Iterator[str]:
    """`Ann Bell (born 7 May 1960) is a painter` -> `Ann Bell was born in May 1960`, and more."""
    match = re.match(rf"({_NAME})(?: \(([^()]*)\))? (is|was) ((?:an?|the|one of) .+)", sentence)
    if not match or match[1].split()[0] in _PRONOUNS - {"The"}:
        return
    name, aside, verb, noun = match.groups()
    cut = re.split(
        r",| (?:who|which|that|where|when|and (?:is|was|the)|best|since|until|"
        r"because|but|although)\b",
        noun,
    )[0]
    if len(cut.split()) >= 2 and not re.search(r"\b(?:of|in|by|the|for|with|a|an|one|and)$", cut):
        yield f"{name} {verb} {cut}"
        professions = re.fullmatch(
            r"(an? (?:[A-Z][a-z-]+ )?)([a-z]+(?: [a-z]+)?) and ([a-z]+(?: [a-z]+)?)", cut
        )
        if professions:
            yield f"{name} {verb} {professions[1]}{professions[3]}"
            yield f"{name} {verb} {professions[1]}{professions[2]}"
    yield from _life(name, aside or "")


def _life(name: str, aside: str) -> Iterator[str]:
    day = rf"((?:\d{{1,2}} )?(?:{_MONTH}) (?:\d{{1,2}}, )?\d{{4}}|\d{{4}})"
    dates = re.search(rf"(?:born )?{day}\s*[–-]\s*{day}", aside)
    born = re.search(rf"\bborn (?:on |in )?{day}", aside)
    first = dates[1] if dates else born[1] if born else None
    if first is None or len(name.split()) < 2:
        return
    for label, date in (("was born", first), ("died", dates[2] if dates else None)):
        if date:
            year = date[-4:]
            yield f"{name} {label} in {year}"
            if month := re.search(rf"({_MONTH})", date):
                yield f"{name} {label} in {month[1]} {year}"
                yield f"{name} {label} in the month of {month[1]}"


def _shared_subject(sentence: str) -> Iterator[str]:
    """`He joined the navy in 1914 and served in France` -> `He served in France`."""
    lexicon = load_lexicon()
    match = re.match(rf"({_NAME}|He|She|They|It|{_NOUN}) ([a-z]+) ", sentence)
    if not match or match[2] not in lexicon.past_forms or match[1] == "There":
        return
    subject, rest = match[1], sentence[match.end(1) + 1 :]
    parts = re.split(r",? and (?=[a-z]+ )", rest)
    if len(parts) != 2 or re.search(r"[()]", sentence):
        return
    verb = parts[1].split()[0]
    if verb in {"was", "were", "had"} or verb in lexicon.past_forms:
        is_participle = verb in lexicon.participles and re.search(
            r"\b(?:was|were|been|had)\b", parts[0]
        )
        if not is_participle and not re.search(r"\b(?:both|either|between)\b", parts[0]):
            yield f"{subject} {parts[1]}"
            yield f"{subject} {parts[0]}"


def _contrast(sentence: str) -> Iterator[str]:
    """`A, but B` -> `A` and `B`; `Although A, B` -> `A` and `B`."""
    start = r"(?:he|she|it|they|the|his|her|its|their|[A-Z][a-z]+)"
    match = re.fullmatch(
        rf"([^,;()]{{12,}}),? (?:but|although|though|whereas) ({start} [^;()]{{8,}})", sentence
    )
    if match and not re.search(
        r"\b(?:said|claimed|thought|believed|that|if|not only|either)\b", match[1]
    ):
        yield match[1]
        yield match[2]
    match = re.fullmatch(
        rf"(?:Although|Though|While|Whereas) ({start} [^,;()]{{8,}}), ({start} [^;()]{{8,}})",
        sentence,
    )
    if match:
        yield match[1]
        yield match[2]


def _reason(sentence: str) -> Iterator[str]:
    """`A because B` -> `Because B, A` and `B`; `A, so B` stays."""
    match = re.fullmatch(
        r"((?:He|She|It|They|The|[A-Z][a-z]+) [^,;()]{8,}?),? because "
        r"((?:he|she|it|they|the|his|her|its|[A-Z][a-z]+) [^;()]{5,})",
        sentence,
    )
    if (
        match
        and not re.search(r"\b(?:not|n't|that|only|partly|said|mainly)\b", match[1])
        and "," not in match[2]
    ):
        first = (
            match[1]
            if re.match(r"[A-Z][a-z]+ [A-Z]", match[1])
            else match[1][0].lower() + match[1][1:]
        )
        yield f"Because {match[2]}, {first}"
        yield match[2]
        yield match[1]


def _condition(sentence: str) -> Iterator[str]:
    """`If A, B` <-> `B if A`."""
    match = re.fullmatch(
        r"(If|Unless) ([^,;()]{8,}), ((?:the|a|an|he|she|it|they|this|you|we|one) [^,;()]{8,})",
        sentence,
    )
    if match and " then " not in match[3]:
        yield f"{match[3]} {match[1].lower()} {match[2]}"
    match = re.fullmatch(
        r"((?:The|A|An|He|She|It|They|You|We) [^,;()]{8,}) (if|unless) ([^,;()]{8,})", sentence
    )
    if match and not re.search(r"\b(?:as|asked|wondered|see|know|only|even|doubt)$", match[1]):
        yield f"{match[2].capitalize()} {match[3]}, {match[1][0].lower()}{match[1][1:]}"


def _without_aside(sentence: str) -> Iterator[str]:
    """Drop brackets and remarks set off by commas that add no condition."""
    shorter = re.sub(r" \([^()]*\)", "", sentence)
    shorter = re.sub(
        r"^(?:However|Also|Moreover|In addition|Furthermore|Additionally|Today|Then|Later), ",
        "",
        shorter,
    )
    if shorter != sentence and len(shorter.split()) <= 24 and not re.search(r"[()]", shorter):
        yield shorter


def _coarser_date(sentence: str) -> Iterator[str]:
    """`on 2 June 1911` -> `in June 1911` and `in 1911`."""
    match = re.search(
        rf"\bon (?:\d{{1,2}} ({_MONTH})|({_MONTH}) \d{{1,2}},?) (\d{{4}})\b,?", sentence
    )
    if match and len(sentence.split()) <= 22 and not re.search(r"[()]", sentence):
        head, tail = sentence[: match.start()], sentence[match.end() :]
        yield f"{head}in {match[1] or match[2]} {match[3]}{tail}"
        yield f"{head}in {match[3]}{tail}"


RULES: tuple[Callable[[str], Iterator[str]], ...] = (
    _fronted_time,
    _trailing_time,
    _to_active,
    _to_passive,
    _apposition,
    _relative,
    _lede,
    _shared_subject,
    _contrast,
    _reason,
    _condition,
    _without_aside,
    _coarser_date,
    _whole_sentence,
)


# Pronouns


def subject_of_article(first: str) -> tuple[str, str] | None:
    """(full name, short name) of the person whom an article is about, from its first sentence."""
    match = re.match(
        rf"({_NAME})(?:,? [A-Z]\w*\.?)?(?: \([^()]*\))?,? (?:is|was) (?:an?|the) ", first
    )
    if not match:
        return None
    name = match[1]
    parts = [
        part for part in name.split() if part not in {"Sir", "Dr", "Dr.", "Jr.", "Lord", "St."}
    ]
    if len(parts) < 2 or len(parts) > 4 or not NAME.fullmatch(parts[-1]) or name.startswith("The "):
        return None
    return name, parts[-1]


def resolve_pronoun(sentence: str, name: str) -> str | None:
    """Put a name for a leading `He`, `She`, `His` or `Her`; None if there is none."""
    match = re.match(r"(He|She|His|Her) (?=[a-z])", sentence)
    if not match:
        return None
    ending = "'" if name.endswith("s") else "'s"
    return (name if match[1] in {"He", "She"} else name + ending) + " " + sentence[match.end() :]


def pronoun_is_sure(sentences: list[str], index: int, short: str) -> bool:
    """Whether a leading pronoun can only mean the article's person.

    Nobody else may be named in the sentences since the person was last named or meant.
    """
    for sentence in reversed(sentences[:index]):
        names = [
            span
            for span in find_spans(sentence)
            if span.kind == "name"
            and span.before not in {"in", "at", "of", "for", "from", "to", "the"}
        ]
        if any(short not in span.text for span in names):
            return False
        if re.match(rf"(?:He|She|His|Her)\b|.*\b{re.escape(short)}\b", sentence):
            return True
    return False
