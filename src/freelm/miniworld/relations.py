"""Rows of the tasks that relate statements: entailment, paraphrase and consistency.

Each function gives a text, a true statement about it and a false one in nearly the same words: the
false one names somebody else, exchanges the roles or affirms what is denied.
"""

from freelm.miniworld.sentences import any_form, class_clause, finish, sentence, two_forms
from freelm.miniworld.world import CLASS_OF, CLASSES, Fact, NothingOwned, World

DENIED_SHARE = 0.25
"""Share of the deeds and gifts that the text denies."""
SWAP_SHARE = 0.3
"""Share of the wrong statements that exchange the roles of the right one."""
OPPOSITE_SHARE = 0.3
"""Share of the wrong statements about deeds and gifts that differ by a negation."""
SAME_FORM_SHARE = 0.4
"""Share of the right statements that repeat the words of the text."""
DISTRACTOR_SHARE = 0.1
"""Share of texts that also mention other people."""

Statements = tuple[str, str, list[str]]
"""A text, the true statement, the false ones."""


def statement(world: World, kind: str) -> Statements:
    """A statement that follows from a text, and one that does not."""
    fact = world.fact(kind)
    denied = kind in ("deed", "gift") and world.rng.random() < DENIED_SHARE
    if world.rng.random() < SAME_FORM_SHARE:
        first = second = any_form(world.rng, fact)
    else:
        first, second = two_forms(world.rng, fact)
    right = sentence(fact, second, negated=denied)
    wrong = _wrong(world, fact, second, denied=denied)
    return _with_distractor(world, fact, sentence(fact, first, negated=denied)), right, [wrong]


def rewording(world: World, kind: str) -> Statements:
    """A sentence in another form (right), and another fact in that form (wrong)."""
    fact = world.fact(kind)
    first, second = two_forms(world.rng, fact)
    wrong = sentence(_another_fact(world, fact), second)
    return sentence(fact, first), sentence(fact, second), [wrong]


def class_statement(world: World) -> Statements:
    """Whoever found an apple found a fruit, not a toy."""
    rng = world.rng
    person, thing = world.owned(
        lambda: (rng.choice(world.people(1)), rng.choice(world.things)),
        lambda drawn: ("find", *drawn),
    )
    other = rng.choice([things[0] for name, things in CLASSES.items() if name != CLASS_OF[thing]])
    if not all(world.owns("class", person, CLASS_OF[named]) for named in (thing, other)):
        raise NothingOwned
    right, wrong = (finish(class_clause(person, named)) for named in (thing, other))
    return f"{person} found the {thing}.", right, [wrong]


def _wrong(world: World, fact: Fact, form: int, *, denied: bool) -> str:
    if fact.kind in ("deed", "gift") and world.rng.random() < OPPOSITE_SHARE:
        return sentence(fact, form, negated=not denied)
    return sentence(_another_fact(world, fact), form, negated=denied)


def _another_fact(world: World, fact: Fact) -> Fact:
    """A fact that differs from another one in its roles' order or in one of them."""
    swappable = fact.kind in ("deed", "gift", "compare")
    # Somebody else in a comparison may be older too; only exchanged roles are certainly wrong.
    if fact.kind == "compare" or (swappable and world.rng.random() < SWAP_SHARE):
        return fact.swapped()
    role = world.rng.randrange(len(fact.roles)) if swappable else 1
    return world.another(fact, role)


def _with_distractor(world: World, fact: Fact, text: str) -> str:
    """Put a sentence about other people and things before or after some texts."""
    if world.rng.random() >= DISTRACTOR_SHARE:
        return text
    extra = world.fact(fact.kind)
    if set(fact.roles) & set(extra.roles):
        raise NothingOwned
    said = [text, sentence(extra, any_form(world.rng, extra))]
    world.rng.shuffle(said)
    return " ".join(said)
