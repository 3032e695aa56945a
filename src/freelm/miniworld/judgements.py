"""Rows of the tasks that judge one text: sentiment, topic, acceptability and question answering.

Each function takes the world and the label (questions have none) and returns the text fields of a
row.
"""

from collections.abc import Iterable

from freelm.miniworld.sentences import any_form, finish, sentence, with_article
from freelm.miniworld.world import (
    BAD,
    COLOURS,
    COMPARISONS,
    DEEDS,
    GOOD,
    JUDGED,
    TOPICS,
    WOMEN,
    Fact,
    NothingOwned,
    World,
)

NEGATIVE, POSITIVE = 0, 1
UNACCEPTABLE, ACCEPTABLE = 0, 1
DENIED_SHARE = 0.25
"""Share of opinions that are denied or called wrong."""
TOPIC_VERBS = {"talk": "talked", "hear": "heard", "read": "read", "ask": "asked"}

# -- sentiment: (text, what is judged) -------------------------------------------------------------


def thought_opinion(world: World, label: int) -> tuple[str, str]:
    """As in "Anna did not think that the soup was bad": adjective and negation together."""
    negated = world.rng.random() < DENIED_SHARE
    person, thing, adjective = _opinion(world, "think", (label == POSITIVE) != negated)
    verb = "did not think" if negated else "thought"
    return f"{person} {verb} that the {thing} was {adjective}.", f"the {thing}"


def right_opinion(world: World, label: int) -> tuple[str, str]:
    """As in "Anna was wrong to think that the soup was bad": adjective and verdict together."""
    wrong = world.rng.random() < DENIED_SHARE
    person, thing, adjective = _opinion(world, "right", (label == POSITIVE) != wrong)
    verdict = "wrong" if wrong else "right"
    text = f"{person} was {verdict} to think that the {thing} was {adjective}."
    return text, f"the {thing}"


def surprising_opinion(world: World, label: int) -> tuple[str, str]:
    """As in "Anna expected the soup to be bad, but it was great": the last opinion counts."""
    rng = world.rng
    person, thing, adjective = _opinion(world, "expect", label == NEGATIVE)
    outcome = rng.choice(_adjectives(label == POSITIVE))
    return f"{person} expected the {thing} to be {adjective}, but it was {outcome}.", f"the {thing}"


def two_opinions(world: World, label: int) -> tuple[str, str]:
    """As in "The soup was good, but the film was bad": only the named thing counts."""
    rng = world.rng
    judged, other = rng.sample(JUDGED, 2)
    parts = [
        f"the {judged} was {rng.choice(_adjectives(label == POSITIVE))}",
        f"the {other} was {rng.choice(_adjectives(label == NEGATIVE))}",
    ]
    rng.shuffle(parts)
    text = finish(", but ".join(parts))
    if not world.owns(text):
        raise NothingOwned
    return text, f"the {judged}"


# -- topic: (text,) --------------------------------------------------------------------------------


def most_talked_about(world: World, label: int) -> tuple[str]:
    """Two sentences on the topic and one on another topic."""
    own, other = _two_topics(world, label)
    nouns = [*world.rng.sample(own, 2), world.rng.choice(other)]
    said = [_talk(world, noun, denied=False) for noun in nouns]
    world.rng.shuffle(said)
    return (" ".join(said),)


def not_talked_about(world: World, label: int) -> tuple[str]:
    """One sentence on the topic and one that denies talk of another topic."""
    own, other = _two_topics(world, label)
    said = [
        _talk(world, world.rng.choice(own), denied=False),
        _talk(world, world.rng.choice(other), denied=True),
    ]
    world.rng.shuffle(said)
    return (" ".join(said),)


# -- acceptability: (sentence,) --------------------------------------------------------------------


def number_agreement(world: World, label: int) -> tuple[str]:
    """As in "The dogs near the cat are red": the verb agrees with the first noun."""
    rng = world.rng
    first, second, colour = world.owned(
        lambda: (*rng.sample(world.things, 2), rng.choice(COLOURS)), lambda drawn: ("near", *drawn)
    )
    plural = rng.random() < 0.5
    second += "s" if rng.random() < 0.5 else ""
    verb = "are" if plural == (label == ACCEPTABLE) else "is"
    return (f"The {first}{'s' if plural else ''} near the {second} {verb} {colour}.",)


def reflexive_agreement(world: World, label: int) -> tuple[str]:
    """As in "Anna bought herself a kite", not "himself"."""
    rng = world.rng
    person, thing, verb = world.owned(
        lambda: (
            rng.choice(world.names),
            rng.choice(world.things),
            rng.choice(("found", "bought")),
        ),
        lambda drawn: ("self", *drawn),
    )
    fitting = (person in WOMEN) == (label == ACCEPTABLE)
    return (f"{person} {verb} {'herself' if fitting else 'himself'} {with_article(thing)}.",)


def tense_agreement(world: World, label: int) -> tuple[str]:
    """As in "Yesterday Anna helped Tom", "Tomorrow Anna will help Tom", not the other way round."""
    fact = world.fact("deed")
    first, second = fact.roles
    past = world.rng.random() < 0.5
    verb = DEEDS[fact.relation] if past else f"will {fact.relation}"
    day = "Yesterday" if past == (label == ACCEPTABLE) else "Tomorrow"
    return (f"{day} {first} {verb} {second}.",)


def word_order(world: World, label: int) -> tuple[str]:
    """A correct sentence, or one with two neighbouring words exchanged."""
    fact = world.fact(world.rng.choice(("deed", "gift", "compare")))
    text = sentence(fact, any_form(world.rng, fact))
    if label == ACCEPTABLE:
        return (text,)
    words = text.rstrip(".").split()
    # Exchanging the first two words can give a correct sentence, of a fact of another split.
    at = world.rng.randrange(1, len(words) - 1)
    words[at], words[at + 1] = words[at + 1], words[at]
    return (finish(" ".join(words)),)


# -- question answering: (text, question, right answer, wrong answers) -----------------------------

Question = tuple[str, str, str, list[str]]


def of_one_fact(world: World) -> Question:
    """A question about one fact that names two answers, of which the text holds one."""
    rng = world.rng
    fact = world.fact(rng.choices(("deed", "place", "colour"), (0.7, 0.15, 0.15))[0])
    first, second = fact.roles
    role = rng.randrange(2) if fact.kind == "deed" else 1
    wrong = rng.choice([v for v in world.role_values(fact.kind, role) if v not in fact.roles])
    one, other = rng.sample((fact.roles[role], wrong), 2)
    if fact.kind == "deed" and role == 0:
        question = f"Who {DEEDS[fact.relation]} {second}, {one} or {other}?"
    elif fact.kind == "deed":
        question = f"Who did {first} {fact.relation}, {one} or {other}?"
    elif fact.kind == "place":
        question = f"Is {first} in the {one} or in the {other}?"
    else:
        question = f"Is the {first} {one} or {other}?"
    return _asked(world, [fact], question, fact.roles[role], [wrong])


def who_of_gift(world: World) -> Question:
    """As in "Who got the ball from Anna?" of two gifts, the receiver of one giving the other."""
    first = world.fact("gift")
    second = world.fact("gift", first.roles[1])
    if set(second.roles[1:]) & set(first.roles):
        raise NothingOwned
    asked = world.rng.choice((first, second))
    giver, receiver, thing = asked.roles
    got, gave = {"give": ("got", "gave"), "sell": ("bought", "sold")}[asked.relation]
    if world.rng.random() < 0.5:
        question, answer = f"Who {got} the {thing} from {giver}?", receiver
    else:
        question, answer = f"Who {gave} the {thing} to {receiver}?", giver
    people = {*first.roles[:2], *second.roles[:2]}
    return _asked(world, [first, second], question, answer, people)


def who_of_deed(world: World) -> Question:
    """As in "Who was helped by Anna?" of two deeds, one person in both."""
    first = world.fact("deed")
    second = world.fact("deed", first.roles[1])
    if second.roles[1] in first.roles:
        raise NothingOwned
    asked = world.rng.choice((first, second))
    agent, patient = asked.roles
    past = DEEDS[asked.relation]
    if world.rng.random() < 0.5:
        question, answer = f"Who {past} {patient}?", agent
    else:
        question, answer = f"Who was {past} by {agent}?", patient
    return _asked(world, [first, second], question, answer, {*first.roles, *second.roles})


def who_is_more(world: World) -> Question:
    """As in "Who is younger, Anna or Tom?" of one comparison."""
    fact = world.fact("compare")
    which = world.rng.randrange(2)
    asked = world.rng.sample(fact.roles, 2)
    word = COMPARISONS[fact.relation][which]
    question = f"Who is {word}, {asked[0]} or {asked[1]}?"
    return _asked(world, [fact], question, fact.roles[which], asked)


def where_is(world: World) -> Question:
    """As in "Is Anna in the park or in the shop?" where two people are in two places."""
    first = world.fact("place")
    second = world.fact("place")
    if set(second.roles) & set(first.roles):
        raise NothingOwned
    person, place = first.roles
    places = [place, second.roles[1]]
    asked = world.rng.sample(places, 2)
    question = f"Is {person} in the {asked[0]} or in the {asked[1]}?"
    return _asked(world, [first, second], question, place, places)


def which_colour(world: World) -> Question:
    """As in "Is the ball red or blue?" where two things have two colours."""
    first = world.fact("colour")
    second = world.fact("colour")
    if set(second.roles) & set(first.roles):
        raise NothingOwned
    colours = [first.roles[1], second.roles[1]]
    asked = world.rng.sample(colours, 2)
    question = f"Is the {first.roles[0]} {asked[0]} or {asked[1]}?"
    return _asked(world, [first, second], question, colours[0], colours)


def _asked(
    world: World, facts: list[Fact], question: str, answer: str, options: Iterable[str]
) -> Question:
    if not world.owns(question):
        raise NothingOwned
    said = [sentence(fact, any_form(world.rng, fact)) for fact in facts]
    world.rng.shuffle(said)
    return " ".join(said), question, answer, sorted(set(options) - {answer})


def _adjectives(positive: bool) -> tuple[str, ...]:
    return GOOD if positive else BAD


def _opinion(world: World, verb: str, positive: bool) -> tuple[str, str, str]:
    """Person, thing and adjective of one opinion."""
    rng = world.rng
    return world.owned(
        lambda: (rng.choice(world.names), rng.choice(JUDGED), rng.choice(_adjectives(positive))),
        lambda drawn: (verb, *drawn),
    )


def _two_topics(world: World, label: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The nouns of the topic and of another one."""
    topics = list(TOPICS.values())
    own = topics.pop(label)
    return own, world.rng.choice(topics)


def _talk(world: World, noun: str, *, denied: bool) -> str:
    rng = world.rng
    person, verb = world.owned(
        lambda: (rng.choice(world.names), rng.choice(list(TOPIC_VERBS))),
        lambda drawn: (*drawn, noun),
    )
    said = f"did not {verb}" if denied else TOPIC_VERBS[verb]
    return f"{person} {said} about the {noun}."
