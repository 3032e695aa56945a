"""The small English world: its words, its facts, and which split a fact belongs to.

A fact says who did what to whom, who is older than whom, who is where ... in symbols;
`sentences.py` turns it into sentences. Every fact belongs to exactly one split by a hash of its
words, so no sentence of an evaluation split occurs in the training split, although every word
occurs in all splits: only combinations are new in evaluation.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

SPLITS = ("train", "validation", "test")
TRAIN_SHARE = 70
"""Percentage of the combinations of words that belong to the training split."""

WOMEN = ("Anna", "Mary", "Lucy", "Emma", "Kate", "Nora")
MEN = ("Tom", "Jack", "Ben", "Paul", "Leo", "Max")
PEOPLE = WOMEN + MEN

CLASSES = {
    "fruit": ("apple", "pear", "plum"),
    "toy": ("ball", "kite", "doll"),
    "tool": ("hammer", "saw", "spade"),
    "animal": ("dog", "cat", "horse"),
}
CLASS_OF = {thing: name for name, things in CLASSES.items() for thing in things}
THINGS = tuple(CLASS_OF)
COLOURS = ("red", "blue", "green", "white", "black")
PLACES = ("park", "kitchen", "garden", "school", "library", "shop")
JOBS = ("doctor", "teacher", "farmer", "baker", "driver", "painter")

DEEDS = {
    "help": "helped",
    "thank": "thanked",
    "call": "called",
    "visit": "visited",
    "follow": "followed",
    "watch": "watched",
}
"""Base form of a verb between two people -> its past and participle."""

COMPARISONS = {
    "old": ("older", "younger"),
    "tall": ("taller", "shorter"),
    "strong": ("stronger", "weaker"),
}
"""Dimension -> the comparative and its converse."""

GIFTS = ("give", "sell")

JUDGED = ("soup", "cake", "film", "book", "song", "hotel", "lesson", "game")
GOOD = ("good", "great", "wonderful", "lovely")
BAD = ("bad", "awful", "terrible", "boring")

TOPICS = {
    "food": ("bread", "cheese", "salad", "dinner", "rice"),
    "sport": ("match", "race", "team", "goal", "player"),
    "music": ("band", "concert", "piano", "guitar", "singer"),
    "weather": ("rain", "storm", "snow", "wind", "cloud"),
}

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of the world.

    Attributes:
        kind: `deed`, `gift`, `compare`, `place` or `colour`; it fixes what the roles are.
        relation: The verb, dimension or preposition.
        roles: The participants, in the order of the kind: agent and patient; giver, receiver
            and thing; the greater and the lesser; who and where; what and which colour.
    """

    kind: str
    relation: str
    roles: tuple[str, ...]

    def swapped(self) -> "Fact":
        """The fact with its first two roles exchanged: another fact with the same words."""
        first, second, *others = self.roles
        return replace(self, roles=(second, first, *others))

    def with_role(self, index: int, value: str) -> "Fact":
        """The fact with another value in one role."""
        roles = [value if i == index else role for i, role in enumerate(self.roles)]
        return replace(self, roles=tuple(roles))

    @property
    def words(self) -> tuple[str, ...]:
        """What decides the split; the same for a fact and its swapped form."""
        return (self.kind, self.relation, *self.roles)


def split_of(words: Sequence[str]) -> str:
    """The split that a combination of words belongs to, whatever their order.

    The answer does not depend on a seed: the test rows of one world are in no training split of
    another.
    """
    share = zlib.crc32(" ".join(sorted(words)).encode()) % 100
    if share < TRAIN_SHARE:
        return "train"
    return "validation" if share % 2 else "test"


class NothingOwned(Exception):
    """No suitable fact belongs to the split; the caller draws the row again."""


class World:
    """Draws the facts of one split.

    Args:
        rng: Source of all randomness.
        split: One of `SPLITS`; only facts of this split are drawn.
    """

    def __init__(self, rng: Random, split: str) -> None:
        self.rng = rng
        self.split = split
        self.names: Sequence[str] = PEOPLE
        self.things: Sequence[str] = THINGS
        self.places: Sequence[str] = PLACES

    def with_cast(self, num_people: int, num_things: int, num_places: int) -> "World":
        """The same world with a small cast: a few of its people, things and places."""
        world = World(self.rng, self.split)
        world.names = self.rng.sample(PEOPLE, num_people)
        world.things = self.rng.sample(THINGS, num_things)
        world.places = self.rng.sample(PLACES, num_places)
        return world

    def owns(self, *words: str) -> bool:
        """Whether a combination of words belongs to this world's split."""
        return split_of(words) == self.split

    def owned(self, draw: Callable[[], Value], words: Callable[[Value], Sequence[str]]) -> Value:
        """Draw until the words of what was drawn belong to this split.

        Raises:
            NothingOwned: If nothing of the kind seems to belong to this split.
        """
        for _ in range(200):
            value = draw()
            if self.owns(*words(value)):
                return value
        raise NothingOwned

    def choice(self, facts: Iterable[Fact]) -> Fact:
        """One of the facts that belong to this split.

        Raises:
            NothingOwned: If none does.
        """
        owned = [fact for fact in facts if self.owns(*fact.words)]
        if not owned:
            raise NothingOwned
        return self.rng.choice(owned)

    def people(self, count: int) -> list[str]:
        """Different people."""
        return self.rng.sample(self.names, count)

    def fact(self, kind: str, *fixed: str) -> Fact:
        """A fact of a kind whose first roles are the given ones.

        Args:
            kind: A kind of fact, see `Fact`.
            fixed: Values of the first roles; the others are drawn.
        """
        return self.owned(lambda: self._any_fact(kind, fixed), lambda fact: fact.words)

    def another(self, fact: Fact, role: int) -> Fact:
        """The fact with a different value in one role, of this split.

        Raises:
            NothingOwned: If this split has none.
        """
        values = [v for v in self.role_values(fact.kind, role) if v not in fact.roles]
        return self.choice(fact.with_role(role, value) for value in values)

    def role_values(self, kind: str, role: int) -> Sequence[str]:
        """The values that a role of a kind of fact can have in this world."""
        values = {"person": self.names, "thing": self.things, "place": self.places}
        return values.get(_ROLES[kind][role], COLOURS)

    def _any_fact(self, kind: str, fixed: tuple[str, ...]) -> Fact:
        roles = list(fixed)
        for role in range(len(fixed), len(_ROLES[kind])):
            values = [v for v in self.role_values(kind, role) if v not in roles]
            if not values:
                raise NothingOwned
            roles.append(self.rng.choice(values))
        return Fact(kind, self.rng.choice(_RELATIONS[kind]), tuple(roles))


_ROLES = {
    "deed": ("person", "person"),
    "gift": ("person", "person", "thing"),
    "compare": ("person", "person"),
    "place": ("person", "place"),
    "colour": ("thing", "colour"),
}
_RELATIONS: dict[str, tuple[str, ...]] = {
    "deed": tuple(DEEDS),
    "gift": GIFTS,
    "compare": tuple(COMPARISONS),
    "place": ("in",),
    "colour": ("is",),
}
FACT_KINDS = tuple(_ROLES)
