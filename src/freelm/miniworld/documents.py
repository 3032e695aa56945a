"""The raw text of the miniworld: short stories, talks and reports of 3 to 12 sentences.

Facts hold within a document, and later sentences repeat earlier ones in other words: a story sums
itself up, a dialogue answers questions, a report says what it is about. So earlier sentences often
determine the next word, and the language signal teaches what the tasks need.
"""

from collections.abc import Callable
from random import Random

from freelm.miniworld import judgements, relations
from freelm.miniworld.sentences import (
    class_clause,
    clause,
    finish,
    sentence,
    two_forms,
    with_article,
)
from freelm.miniworld.world import (
    CLASS_OF,
    FACT_KINDS,
    JOBS,
    TOPICS,
    Fact,
    NothingOwned,
    World,
)

TOPIC_NAMES = {"weather": "the weather"}

NUM_PEOPLE, NUM_THINGS, NUM_PLACES = 3, 3, 2
"""The cast of a document. If it is small, earlier sentences predict later ones."""

Writer = Callable[[World], list[str]]


def restated_story(world: World) -> list[str]:
    """Facts, each repeated in other words."""
    lines = [_introduction(world)]
    for fact in _facts(world, world.rng.randint(2, 4)):
        first, second = two_forms(world.rng, fact)
        again = clause(fact, second)
        lead = world.rng.choice(("In other words, ", "That means that ", "So "))
        lines += [sentence(fact, first), finish(lead + again)]
    return lines


def denied_story(world: World) -> list[str]:
    """Facts and denials, each followed by a true and a false statement."""
    lines = []
    for fact in _facts(world, world.rng.randint(2, 3)):
        denied = world.rng.random() < 0.5
        first, second = two_forms(world.rng, fact)
        same, opposite = (clause(fact, second, negated=n) for n in (denied, not denied))
        lines += [
            sentence(fact, first, negated=denied),
            finish(f"it is true that {same}"),
            finish(f"it is wrong that {opposite}"),
        ]
    return lines


def commented_texts(world: World) -> list[str]:
    """Texts like those of the tasks, each with a true comment."""
    kind = world.rng.choice(list(_COMMENTED))
    lines = []
    for _ in range(world.rng.randint(2, 3)):
        lines += _COMMENTED[kind](world)
    return lines


def _answered(world: World) -> list[str]:
    asks = (
        judgements.of_one_fact,
        judgements.who_of_gift,
        judgements.who_of_deed,
        judgements.who_is_more,
        judgements.where_is,
        judgements.which_colour,
    )
    text, question, answer, _ = world.rng.choice(asks)(world)
    return [text, question, world.rng.choice(_ANSWERS).format(answer)]


def _stated(world: World) -> list[str]:
    kind = world.rng.choice(("deed", "gift", "compare", "place"))
    text, right, _ = relations.statement(world, kind)
    return [text, f"{world.rng.choice(_STATED)} {right}"]


def _worded(world: World) -> list[str]:
    kind = world.rng.choice(("deed", "gift", "compare"))
    text, right, _ = relations.rewording(world, kind)
    return [text, f"{world.rng.choice(_WORDED)} {right}"]


def _reviewed(world: World) -> list[str]:
    label = world.rng.randrange(2)
    makers = (
        judgements.thought_opinion,
        judgements.right_opinion,
        judgements.surprising_opinion,
        judgements.two_opinions,
    )
    text, target = world.rng.choice(makers)(world, label)
    return [text, finish(world.rng.choice(_OPINIONS[label]).format(target))]


def _talked(world: World) -> list[str]:
    label = world.rng.randrange(len(TOPICS))
    makers = (judgements.most_talked_about, judgements.not_talked_about)
    name = list(TOPICS)[label]
    comment = world.rng.choice(_TOPICS).format(TOPIC_NAMES.get(name, name))
    return [*world.rng.choice(makers)(world, label), comment]


def _corrected(world: World) -> list[str]:
    label = world.rng.randrange(2)
    makers = (
        judgements.tense_agreement,
        judgements.number_agreement,
        judgements.reflexive_agreement,
        judgements.word_order,
    )
    return [*world.rng.choice(makers)(world, label), world.rng.choice(_ENGLISH[label])]


_ANSWERS = ("The answer is {}.", "It is {}.")
_STATED = (
    "So:",
    "It is true:",
    "This sentence is true:",
    "The second report says:",
    "Another report agrees:",
)
_WORDED = ("In other words:", "That means:")
_OPINIONS = (
    ("{} was bad", "the opinion of {} is negative"),
    ("{} was good", "the opinion of {} is positive"),
)
_TOPICS = ("The text is about {}.", "The topic is {}.")
_ENGLISH = (
    ("The words are wrong.", "The English is bad."),
    ("The words are correct.", "The English is good."),
)
_COMMENTED: dict[str, Writer] = {
    "answered": _answered,
    "stated": _stated,
    "worded": _worded,
    "reviewed": _reviewed,
    "talked": _talked,
    "corrected": _corrected,
}


def finding(world: World) -> list[str]:
    """Somebody finds things; the text says what kinds of things they are."""
    rng = world.rng
    lines = [_introduction(world)]
    for _ in range(rng.randint(2, 3)):
        (good,) = judgements.reflexive_agreement(world, judgements.ACCEPTABLE)
        person, thing = world.owned(
            lambda: (rng.choice(world.names), rng.choice(world.things)),
            lambda drawn: ("find", *drawn),
        )
        if not world.owns("class", person, CLASS_OF[thing]):
            raise NothingOwned
        lines += [
            good,
            f"{person} found the {thing}.",
            f"{with_article(thing).capitalize()} is {with_article(CLASS_OF[thing])}.",
            f"So {class_clause(person, thing)}.",
        ]
    return lines


def diary(world: World) -> list[str]:
    """Sentences about yesterday, tomorrow and places, all grammatical."""
    rng = world.rng
    makers = (
        judgements.tense_agreement,
        judgements.number_agreement,
        judgements.reflexive_agreement,
        judgements.word_order,
    )
    lines = [rng.choice(makers)(world, judgements.ACCEPTABLE)[0] for _ in range(rng.randint(3, 5))]
    return [*lines, rng.choice(_ENGLISH[1])]


WRITERS: list[tuple[float, Writer]] = [
    (0.30, restated_story),
    (0.08, denied_story),
    (0.50, commented_texts),
    (0.06, finding),
    (0.06, diary),
]
"""Weighted kinds of documents."""


def documents(split: str, count: int, seed: int) -> list[str]:
    """Raw texts of one split.

    Args:
        split: One of `freelm.miniworld.world.SPLITS`; only facts of this split are used.
        count: Number of documents.
        seed: Seed of the world.
    """
    rng = Random(f"{seed}/documents/{split}")
    world = World(rng, split)
    weights, writers = zip(*WRITERS, strict=True)
    texts: list[str] = []
    while len(texts) < count:
        try:
            cast = world.with_cast(NUM_PEOPLE, NUM_THINGS, NUM_PLACES)
            texts.append(" ".join(rng.choices(writers, weights)[0](cast)))
        except NothingOwned:
            continue
    return texts


def _introduction(world: World) -> str:
    person, job = world.owned(
        lambda: (world.rng.choice(world.names), world.rng.choice(JOBS)),
        lambda drawn: ("job", *drawn),
    )
    return f"{person} is {with_article(job)}."


def _facts(world: World, count: int) -> list[Fact]:
    """Facts with different words, so that none contradicts another."""
    facts: dict[frozenset[str], Fact] = {}
    while len(facts) < count:
        fact = world.fact(world.rng.choice(FACT_KINDS))
        # Somebody is in one place only, and a thing has one colour.
        words = fact.roles[:1] if fact.kind in ("place", "colour") else fact.words
        facts.setdefault(frozenset((fact.kind, *words)), fact)
    return list(facts.values())
