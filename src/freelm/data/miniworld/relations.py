"""Rows of the tasks that relate two texts: entailment, paraphrase and consistency.

Each mechanism takes the world and the label that its row must have. All of them make rows whose
words alone do not tell the label: negation counts only against the other part, and a false row
often holds the very words of a true one in other roles.
"""

from freelm.data.miniworld.sentences import any_form, class_clause, finish, sentence, two_forms
from freelm.data.miniworld.world import (
    CLASS_OF,
    CLASSES,
    COMPARISONS,
    PLACES,
    Fact,
    NothingOwned,
    World,
)

DENIED_SHARE = 0.2
"""Share of the first texts that deny their fact. Were it one half, no word of either text alone
would say anything of the label, and a small model would find nothing to begin with."""
DISTRACTOR_SHARE = 0.1
"""Share of the first texts of a pair that also say something else."""
SWAP_SHARE = 0.1
"""Share of the unrelated pairs that have the same words in swapped roles."""
SAME_FORM_SHARE = 0.5
"""Share of the related pairs that repeat the words of the first text."""

ENTAILED, NEUTRAL, CONTRADICTED = 0, 1, 2
DIFFERENT, SAME = 0, 1
CONFLICT, AGREE = 0, 1

Pair = tuple[str, str]


def polarity_pair(world: World, kind: str, label: int) -> Pair:
    """A deed or gift, affirmed or denied in both texts (entailed) or in one only (contradicted)."""
    fact = world.fact(kind)
    denied = world.rng.random() < DENIED_SHARE
    other, other_denied = fact, denied
    if label == NEUTRAL:
        other, other_denied = _unrelated(world, fact), world.rng.random() < DENIED_SHARE
    elif label == CONTRADICTED:
        other_denied = not denied
    first, second = _forms(world, fact)
    texts = sentence(fact, first, negated=denied), sentence(other, second, negated=other_denied)
    return _with_distractor(world, texts, (fact, other))


def comparison_pair(world: World, label: int) -> Pair:
    """Who is older than whom: said the other way round (entailed) or reversed (contradicted)."""
    fact = world.fact("compare")
    other = fact
    if label == CONTRADICTED:
        other = fact.swapped()
    elif label == NEUTRAL:
        other = _another_person_or_dimension(world, fact)
    first, second = _forms(world, fact)
    return _with_distractor(world, (sentence(fact, first), sentence(other, second)), (fact, other))


def place_pair(world: World, label: int) -> Pair:
    """Where somebody is: the same place, another place (contradicted) or another person."""
    fact = world.fact("place")
    other = fact
    if label == CONTRADICTED:
        other = world.another(fact, 1)
    elif label == NEUTRAL:
        other = world.another(fact, 0)
    first, second = _forms(world, fact)
    return _with_distractor(world, (sentence(fact, first), sentence(other, second)), (fact, other))


def class_pair(world: World, label: int) -> Pair:
    """Who found an apple found a fruit; whether also a toy is not stated."""
    rng = world.rng
    person, thing = world.owned(
        lambda: (rng.choice(world.people(1)), rng.choice(world.things)),
        lambda drawn: ("find", *drawn),
    )
    others = [things[0] for name, things in CLASSES.items() if name != CLASS_OF[thing]]
    named = rng.choice(others) if label == NEUTRAL else thing
    negated = label == CONTRADICTED or (label == NEUTRAL and rng.random() < 0.5)
    if not world.owns("class", person, CLASS_OF[named]):
        raise NothingOwned
    return f"{person} found the {thing}.", finish(class_clause(person, named, negated=negated))


def wording_pair(world: World, kind: str, label: int) -> Pair:
    """A fact in two forms (same), or two facts that differ in roles or in one word (different)."""
    fact = world.fact(kind)
    first, second = _forms(world, fact)
    other = fact if label == SAME else _unrelated(world, fact)
    return sentence(fact, first), sentence(other, second)


def converse_pair(world: World, label: int) -> Pair:
    """Older against younger: the roles must be exchanged for the pair to mean the same."""
    fact = world.fact("compare")
    first, second = _forms(world, fact)
    if label == SAME:
        return sentence(fact, first), sentence(fact, second)
    other = fact.swapped()
    if world.rng.random() > SWAP_SHARE:
        other = _another_person_or_dimension(world, fact)
    return sentence(fact, first), sentence(other, second)


def report_pair(world: World, kind: str, label: int) -> Pair:
    """Two reports that agree or conflict: entailed and contradicted pairs."""
    wanted = ENTAILED if label == AGREE else CONTRADICTED
    if kind == "compare":
        return comparison_pair(world, wanted)
    if kind == "place":
        return place_pair(world, wanted)
    return polarity_pair(world, kind, wanted)


def _forms(world: World, fact: Fact) -> tuple[int, int]:
    if world.rng.random() < SAME_FORM_SHARE:
        form = any_form(world.rng, fact)
        return form, form
    return two_forms(world.rng, fact)


def _unrelated(world: World, fact: Fact) -> Fact:
    if world.rng.random() < SWAP_SHARE:
        return fact.swapped()
    return world.another(fact, world.rng.randrange(len(fact.roles)))


def _another_person_or_dimension(world: World, fact: Fact) -> Fact:
    if world.rng.random() < 0.5:
        return world.another(fact, world.rng.randrange(2))
    others = [name for name in COMPARISONS if name != fact.relation]
    turned = world.rng.choice([fact, fact.swapped()])
    return world.choice(turned.with_relation(name) for name in others)


def _with_distractor(world: World, pair: Pair, facts: tuple[Fact, Fact]) -> Pair:
    """Put a fact about other people before or after the first text of some pairs."""
    if world.rng.random() >= DISTRACTOR_SHARE:
        return pair
    taken = {role for fact in facts for role in fact.roles if role not in PLACES}
    extra = world.fact(facts[0].kind)
    if taken & set(extra.roles):
        raise NothingOwned
    said = [pair[0], sentence(extra, any_form(world.rng, extra))]
    world.rng.shuffle(said)
    return " ".join(said), pair[1]
