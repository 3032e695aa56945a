"""The raw text of the miniworld: short stories, talks and reports of 3 to 12 sentences.

Facts hold within a document, and later sentences take up earlier ones in other words: a story
sums itself up, a dialogue answers questions, a report says what it is about. So the next word is
often decided by what was said before, and the language signal teaches what the tasks need.
"""

from collections.abc import Callable
from random import Random

from freelm.data.miniworld import judgements, relations
from freelm.data.miniworld.sentences import (
    class_clause,
    clause,
    finish,
    sentence,
    two_forms,
    with_article,
)
from freelm.data.miniworld.world import (
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
"""The cast of a document. A small one makes what was said before tell what comes next."""

Writer = Callable[[World], list[str]]


def restated_story(world: World) -> list[str]:
    """Facts, each said again in other words."""
    lines = [_introduction(world)]
    for fact in _facts(world, world.rng.randint(2, 4)):
        first, second = two_forms(world.rng, fact)
        again = clause(fact, second)
        lead = world.rng.choice(("In other words, ", "That means that ", "So "))
        lines += [sentence(fact, first), finish(lead + again)]
    return lines


def denied_story(world: World) -> list[str]:
    """Facts and denials, each followed by what is true and what is wrong."""
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


def dialogue(world: World) -> list[str]:
    """Facts, questions about them, and the answers."""
    lines = []
    askers = world.people(2)
    asks = (
        judgements.who_of_gift,
        judgements.who_of_deed,
        judgements.who_is_more,
        judgements.where_is,
        judgements.which_colour,
    )
    for _ in range(world.rng.randint(1, 2)):
        text, question, answer, _ = world.rng.choice(asks)(world)
        lines += [
            text,
            f"{askers[0]} asked: {question}",
            f"{askers[1]} said: The {world.rng.choice(('', 'correct '))}answer is {answer}.",
        ]
    return lines


def compared_sentences(world: World) -> list[str]:
    """Pairs of sentences, each with a comment on how the second one stands to the first."""
    lines = []
    for _ in range(world.rng.randint(1, 3)):
        relation = world.rng.randrange(3)
        pair = _any_pair(world, relation)
        lines += [*pair, world.rng.choice(_COMMENTS[relation])]
    return lines


def _any_pair(world: World, relation: int) -> tuple[str, str]:
    kind = world.rng.choice(("deed", "gift", "compare", "place"))
    if kind == "compare":
        return relations.comparison_pair(world, relation)
    if kind == "place":
        return relations.place_pair(world, relation)
    return relations.polarity_pair(world, kind, relation)


_COMMENTS = (
    (
        "The two sentences mean the same.",
        "The second sentence must be true.",
        "The second sentence follows from the first.",
        "The two reports tell the same story.",
    ),
    (
        "The two sentences mean different things.",
        "The second sentence may be true.",
        "The second sentence does not follow from the first.",
        "The two reports tell different stories.",
    ),
    (
        "The second sentence says the opposite.",
        "The second sentence must be wrong.",
        "The second sentence conflicts with the first.",
        "The two reports do not agree.",
    ),
)
"""Comments on a second sentence that is entailed, not stated, or contradicted by the first."""


def review(world: World) -> list[str]:
    """Opinions, each summed up as good or bad."""
    rng = world.rng
    lines = [_introduction(world)]
    makers = (
        judgements.thought_opinion,
        judgements.right_opinion,
        judgements.surprising_opinion,
        judgements.two_opinions,
    )
    for _ in range(rng.randint(2, 3)):
        label = rng.randrange(2)
        text, target = rng.choice(makers)(world, label)
        lines += [text, rng.choice(_SUMMARIES[label]).format(target)]
    return lines


_SUMMARIES = (
    (
        "In short, {0} was bad.",
        "So the opinion of {0} is negative.",
        "So people did not like {0}.",
    ),
    ("In short, {0} was good.", "So the opinion of {0} is positive.", "So people liked {0}."),
)


def talk(world: World) -> list[str]:
    """What people talked about, and what the topic is."""
    rng = world.rng
    label = rng.randrange(len(TOPICS))
    name = list(TOPICS)[label]
    named = TOPIC_NAMES.get(name, name)
    (text,) = rng.choice((judgements.most_talked_about, judgements.not_talked_about))(world, label)
    noun, other = rng.sample(TOPICS[name], 2)
    return [
        text,
        rng.choice(_TOPIC_COMMENTS).format(named),
        f"The {noun} and the {other} belong to {named}.",
    ]


_TOPIC_COMMENTS = (
    "The text is about {}.",
    "The topic of the report is {}.",
    "So people talked about {}.",
)


def finding(world: World) -> list[str]:
    """Somebody finds things, and what kinds of things they are."""
    rng = world.rng
    lines = [_introduction(world)]
    for _ in range(rng.randint(2, 3)):
        (good,) = judgements.reflexive_agreement(world, judgements.ACCEPTABLE)
        person, thing = world.owned(
            lambda: (rng.choice(world.names), rng.choice(world.things)), lambda drawn: ("find", *drawn)
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
    """What was yesterday, what will be tomorrow, what is where, in good English."""
    rng = world.rng
    makers = (
        judgements.tense_agreement,
        judgements.number_agreement,
        judgements.reflexive_agreement,
        judgements.word_order,
    )
    lines = [rng.choice(makers)(world, judgements.ACCEPTABLE)[0] for _ in range(rng.randint(3, 5))]
    comment = rng.choice(("The words are correct.", "The text has no mistake.", "It is good English."))
    return [*lines, comment]


WRITERS: list[tuple[float, Writer]] = [
    (0.20, restated_story),
    (0.10, denied_story),
    (0.20, dialogue),
    (0.30, compared_sentences),
    (0.12, review),
    (0.08, talk),
    (0.05, finding),
    (0.10, diary),
]
"""Weighted kinds of documents."""


def documents(split: str, count: int, seed: int) -> list[str]:
    """Raw texts of one split.

    Args:
        split: One of `freelm.data.miniworld.world.SPLITS`; facts are of this split only.
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
        lambda: (world.rng.choice(world.names), world.rng.choice(JOBS)), lambda drawn: ("job", *drawn)
    )
    return f"{person} is {with_article(job)}."


def _facts(world: World, count: int) -> list[Fact]:
    """Facts of different words, so that none speaks against another."""
    facts: dict[frozenset[str], Fact] = {}
    while len(facts) < count:
        fact = world.fact(world.rng.choice(FACT_KINDS))
        # Somebody is in one place only, and a thing has one colour.
        words = fact.roles[:1] if fact.kind in ("place", "colour") else fact.words
        facts.setdefault(frozenset((fact.kind, *words)), fact)
    return list(facts.values())

