"""Turns facts into sentences. All forms of one kind mean the same: any two are paraphrases."""

from random import Random

from freelm.miniworld.world import CLASS_OF, COMPARISONS, DEEDS, Fact

FORMS: dict[str, tuple[tuple[str, str], ...]] = {
    "deed": (
        ("{0} {past} {1}", "{0} did not {base} {1}"),
        ("{1} was {past} by {0}", "{1} was not {past} by {0}"),
    ),
    "give": (
        ("{0} gave the {2} to {1}", "{0} did not give the {2} to {1}"),
        ("{1} got the {2} from {0}", "{1} did not get the {2} from {0}"),
        ("the {2} was given to {1} by {0}", "the {2} was not given to {1} by {0}"),
    ),
    "sell": (
        ("{0} sold the {2} to {1}", "{0} did not sell the {2} to {1}"),
        ("{1} bought the {2} from {0}", "{1} did not buy the {2} from {0}"),
        ("the {2} was sold to {1} by {0}", "the {2} was not sold to {1} by {0}"),
    ),
    "compare": (
        ("{0} is {more} than {1}", "{0} is not {more} than {1}"),
        ("{1} is {less} than {0}", "{1} is not {less} than {0}"),
    ),
    "place": (
        ("{0} is in the {1}", "{0} is not in the {1}"),
        ("the {1} is where {0} is", "the {1} is not where {0} is"),
    ),
    "colour": (("the {0} is {1}", "the {0} is not {1}"),),
}
"""Kind of fact (or verb of a gift) -> (affirmative, negative) forms; numbers are roles."""


def num_forms(fact: Fact) -> int:
    """How many forms there are for a fact."""
    return len(_forms(fact))


def clause(fact: Fact, form: int = 0, *, negated: bool = False) -> str:
    """A fact as a clause, without a capital letter or a full stop.

    Args:
        fact: The fact.
        form: Which of the forms of its kind.
        negated: Deny the fact.
    """
    return _forms(fact)[form][negated].format(*fact.roles, **_inflected(fact))


def sentence(fact: Fact, form: int = 0, *, negated: bool = False) -> str:
    """A fact as a complete sentence; arguments as `clause`."""
    return finish(clause(fact, form, negated=negated))


def finish(words: str, mark: str = ".") -> str:
    """Make a clause a sentence: capitalize it and add a mark at the end."""
    return words[0].upper() + words[1:] + mark


def two_forms(rng: Random, fact: Fact) -> tuple[int, int]:
    """Two different forms of a fact (the same one twice if it has only one)."""
    count = num_forms(fact)
    if count == 1:
        return 0, 0
    first, second = rng.sample(range(count), 2)
    return first, second


def any_form(rng: Random, fact: Fact) -> int:
    """A form of a fact."""
    return rng.randrange(num_forms(fact))


def with_article(noun: str) -> str:
    """`an apple`, `a pear`."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def class_clause(person: str, thing: str, *, negated: bool = False) -> str:
    """What follows from "{person} found the {thing}" about the class of the thing."""
    verb = "did not find" if negated else "found"
    return f"{person} {verb} {with_article(CLASS_OF[thing])}"


def _forms(fact: Fact) -> tuple[tuple[str, str], ...]:
    return FORMS[fact.relation if fact.kind == "gift" else fact.kind]


def _inflected(fact: Fact) -> dict[str, str]:
    if fact.kind == "deed":
        return {"base": fact.relation, "past": DEEDS[fact.relation]}
    if fact.kind == "compare":
        more, less = COMPARISONS[fact.relation]
        return {"more": more, "less": less}
    return {}
