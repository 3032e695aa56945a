"""A question and its answer as a statement."""

import re

from freelm.statements.lexicon import load_lexicon
from freelm.statements.text import DATE, MONTHS, YEAR, finish

_BE = r"(?:is|are|was|were)"


def as_question(question: str, answer: str) -> str:
    """A question and its answer, as in `When did it open? In 1911.`."""
    question = re.sub(r"\s+", " ", question).strip().rstrip(" ?.") + "?"
    return f"{question[:1].upper()}{question[1:]} {finish(answer)}"


def as_statement(question: str, answer: str) -> str | None:
    """`When did it open?`, `1911` -> `It opened in 1911.`; None where no rule fits."""
    bare = re.sub(r"\s+", " ", question).strip().rstrip(" ?.")
    bare = bare[:1].upper() + bare[1:]
    if "_" in bare:
        return (
            finish(re.sub(r"_+", answer, bare, count=1))
            if len(re.findall(r"_+", bare)) == 1
            else None
        )
    for rule in (_who, _when, _how_many, _which, _what_is):
        if statement := rule(bare, answer):
            return finish(statement)
    return None


def dated(answer: str) -> str | None:
    """`1911` -> `in 1911`, `2 June 1911` -> `on 2 June 1911`; None if the answer is no date."""
    if re.match(r"(?:in|on|at|by|during|after|before|since) ", answer, re.IGNORECASE):
        return answer[0].lower() + answer[1:]
    if YEAR.fullmatch(answer) or re.fullmatch(
        rf"(?:the )?(?:{'|'.join(MONTHS)})(?: \d{{4}})?|(?:the )?\d{{4}}s|the \d+\w\w century",
        answer,
    ):
        return f"in {answer}"
    if DATE.fullmatch(answer) or re.fullmatch(
        r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day", answer
    ):
        return f"on {answer}"
    return None


def _did(words: str) -> tuple[str, str] | None:
    """`the museum open to visitors` -> (`the museum`, `opened to visitors`)."""
    lexicon = load_lexicon()
    tokens = words.split(" ")
    for index, token in enumerate(tokens):
        if (
            index
            and token in lexicon.past_of
            and tokens[index - 1].lower() not in {"the", "a", "an", "of", "to", "in", "and"}
        ):
            if sum(other in lexicon.past_of for other in tokens[1 : index + 3]) > 1:
                return None
            rest = " ".join([lexicon.past_of[token], *tokens[index + 1 :]])
            return " ".join(tokens[:index]), rest
    return None


def _who(question: str, answer: str) -> str | None:
    lexicon = load_lexicon()
    if match := re.fullmatch(r"Who ([a-z]+) (.+)", question):
        verb, rest = match.groups()
        if verb in {"did", "does", "do"}:
            parts = _did(rest) if verb == "did" else None
            if (
                parts
                and not re.search(r"\b(?:to|for|with|by|from|of)$", parts[1])
                and " " not in parts[1]
            ):
                return f"{parts[0]} {parts[1]} {answer}"
            return None
        if verb in {"is", "was", "has", "had", "will", "can"} or verb in lexicon.past_forms:
            if re.search(r"\b(?:by|to|with|for|from)$", rest) or (
                verb in {"is", "was"} and re.match(r"[A-Z]", rest)
            ):
                return None
            return f"{answer} {verb} {rest}"
    return None


def _when(question: str, answer: str) -> str | None:
    when = dated(answer)
    if when is None:
        return None
    match = re.fullmatch(
        r"(?:When|(?:In |On )?(?:[Ww]hat|[Ww]hich) (?:year|month|day|date)) (did|was|were|is) (.+)",
        question,
    )
    if not match:
        return None
    verb, rest = match.groups()
    rest = re.sub(r" in$", "", rest)
    if verb == "did":
        parts = _did(rest)
        return f"{parts[0]} {parts[1]} {when}" if parts else None
    return _passive(rest, verb, when)


def _passive(rest: str, verb: str, tail: str) -> str | None:
    """`the museum opened` + `was` -> `the museum was opened ...`."""
    lexicon = load_lexicon()
    participles = {*lexicon.participles, "born"}
    tokens = rest.split(" ")
    for index in range(len(tokens) - 1, 0, -1):
        if tokens[index] in participles and index >= len(tokens) - 4:
            return f"{' '.join(tokens[:index])} {verb} {' '.join(tokens[index:])} {tail}"
    return None


def _how_many(question: str, answer: str) -> str | None:
    if not re.fullmatch(r"[\d.,]+(?: (?:million|billion))?|[a-z]+", answer):
        return None
    match = re.fullmatch(
        r"How many ((?:[a-z-]+ ){0,2}[a-z-]+s|people|men|women|children) (did) (.+)", question
    )
    if match and (parts := _did(match[3])) and " " not in parts[1]:
        return f"{parts[0]} {parts[1]} {answer} {match[1]}"
    match = re.fullmatch(
        r"How many ((?:[a-z-]+ ){0,2}[a-z-]+s|people|men|women|children) "
        r"(were|are) (?!there\b)(.+)",
        question,
    )
    if match:
        return f"{answer} {match[1]} {match[2]} {match[3]}"
    match = re.fullmatch(
        r"How many ([a-z -]+s|people|men|women|children) (were|are) there(.*)", question
    )
    if match:
        return f"There {match[2]} {answer} {match[1]}{match[3]}"
    return None


def _which(question: str, answer: str) -> str | None:
    """`Which team won the cup?` -> `The team that won the cup was X`."""
    lexicon = load_lexicon()
    asked = re.fullmatch(r"(?:What|Which) ([a-z-]+ .+)", question)
    tokens = asked[1].split(" ") if asked else []
    verbs = {"is", "was", "has", "had", "did", *lexicon.past_forms}
    index = next((index for index, token in enumerate(tokens[:4]) if token in verbs), 0)
    noun, rest = " ".join(tokens[:index]), " ".join(tokens[index + 1 :])
    if not re.fullmatch(r"(?!of )[a-z -]+", noun) or not rest:
        return None
    verb = tokens[index]
    if verb == "did":
        parts = _did(rest)
        return f"The {noun} that {parts[0]} {parts[1]} was {answer}" if parts else None
    if noun.endswith("s") and not noun.endswith("ss"):
        return None
    is_open = re.search(r"\b(?:in|by|on|for|of|from|to|with)$", rest)
    if verb in {"is", "was"} and (is_open or re.match(r"[A-Z]|(?:the|an?|his|her|its) ", rest)):
        inverted = _inverted(rest, verb)
        return f"The {noun} that {inverted} is {answer}" if inverted else None
    return f"The {noun} that {verb} {rest} {'is' if verb in {'is', 'has'} else 'was'} {answer}"


def _inverted(rest: str, verb: str) -> str | None:
    """`the museum opened in` + `was` -> `the museum was opened in`."""
    lexicon = load_lexicon()
    tokens = rest.split(" ")
    participles = {*lexicon.participles, "born", "located", "based"}
    for index in range(len(tokens) - 1, 0, -1):
        if tokens[index] in participles:
            return f"{' '.join(tokens[:index])} {verb} {' '.join(tokens[index:])}"
    return None


def _what_is(question: str, answer: str) -> str | None:
    match = re.fullmatch(
        rf"What ({_BE}) ((?:the|his|her|its|their|[A-Z][\w'’ ]*['’]s) .+)", question
    )
    if not match or _ends_open(match[2]):
        return None
    return f"{match[2]} {match[1]} {answer}"


def _ends_open(words: str) -> bool:
    last = words.split()[-1]
    lexicon = load_lexicon()
    return last in {
        "in",
        "by",
        "on",
        "for",
        "of",
        "from",
        "to",
        "with",
        "like",
        "as",
        "at",
        "about",
        "called",
        "named",
        "known",
        "do",
        "doing",
        "when",
        "after",
    } or (last in lexicon.participles)
