"""Changes of a text that keep its meaning, shared by training and the robustness suite."""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

MIN_TYPO_LETTERS = 4
"""Shorter words keep their letters: a typo in `is` makes another word."""

DISTRACTORS = (
    "The office is closed on public holidays.",
    "This page was last printed in March.",
    "There is a table by the window.",
    "The document has several sections.",
    "The clock on the wall shows a quarter past two.",
    "The form has to be filled in with a pen.",
    "The building has two entrances.",
    "Some names have been shortened.",
    "The list is in alphabetical order.",
    "The corridor leads to a second room.",
    "The paper is stored in a folder.",
    "The lines are numbered on the left.",
)
"""Sentences without opinion or news, which no task asks about."""

ORDINALS = ("first", "second", "third", "fourth", "fifth")

TRAINING_DISTRACTORS = (
    "The library opens at nine on weekdays.",
    "A bus stops at the corner every half hour.",
    "The shelves were painted grey.",
    "There is a lamp next to the door.",
    "The envelope has a blue stamp.",
    "The fence runs along the road.",
    "The page numbers are printed at the bottom.",
    "A copy is kept in the archive.",
    "The chairs are stacked in the hall.",
    "The sign hangs above the counter.",
    "The tap in the yard is turned off in winter.",
    "The map is drawn to scale.",
)
"""Distractors of training; they differ from `DISTRACTORS`, by which robustness is measured."""

Draw = np.random.Generator

# -- text ------------------------------------------------------------------------------------------


def with_typos(text: str, rate: float, draw: Draw) -> str:
    """A text in which a share of the longer words has one wrong letter.

    Args:
        text: The text.
        rate: Probability that a word of at least four letters gets a typo.
        draw: Random generator.
    """

    def maybe(match: re.Match[str]) -> str:
        return _typo(match[0], draw) if draw.random() < rate else match[0]

    return re.sub(rf"[^\W\d_]{{{MIN_TYPO_LETTERS},}}", maybe, text)


def _typo(word: str, draw: Draw) -> str:
    """Swap two letters, drop one or double one; never the first."""
    place = int(draw.integers(1, len(word) - 1))
    match int(draw.integers(3)):
        case 0:
            return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        case 1:
            return word[:place] + word[place + 1 :]
        case _:
            return word[:place] + word[place] + word[place:]


def without_punctuation(text: str) -> str:
    """A text without its punctuation; one of nothing else stays as it is."""
    bare = " ".join(re.sub(r"[^\w\s]", " ", text).split())
    return bare or text


def with_distractors(
    context: tuple[str, ...], count: int, draw: Draw, sentences: Sequence[str] = DISTRACTORS
) -> tuple[str, ...]:
    """A context whose longest part has sentences about something else before or after it."""
    longest = max(range(len(context)), key=lambda i: len(context[i]))
    text = context[longest]
    for index in draw.choice(len(sentences), size=count, replace=False):
        sentence = sentences[index]
        text = f"{sentence} {text}" if draw.random() < 0.5 else f"{text} {sentence}"
    return (*context[:longest], text, *context[longest + 1 :])


# -- parts of a context ----------------------------------------------------------------------------


def named_parts(context: Sequence[str], names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Parts with their names before them: "The first text: ...", or "Premise: ..." from `names`."""
    names = names or [f"The {ordinal} text" for ordinal in ORDINALS[: len(context)]]
    return tuple(f"{name}: {part}" for name, part in zip(names, context, strict=True))


# -- drawing changes for training ------------------------------------------------------------------

TYPO_SHARE = 0.1
"""Share of the longer words of a text that get a typo."""

Change = Callable[[tuple[str, ...], Sequence[str], Draw], tuple[str, ...]]


def _per_part(change: Callable[[str, Draw], str]) -> Change:
    return lambda context, names, draw: tuple(change(part, draw) for part in context)


def _ordinals(context: tuple[str, ...], names: Sequence[str], draw: Draw) -> tuple[str, ...]:
    if not 2 <= len(context) <= len(ORDINALS):
        return context
    named = named_parts(context)
    return tuple(named[i] for i in draw.permutation(len(named)))


def _field_names(context: tuple[str, ...], names: Sequence[str], draw: Draw) -> tuple[str, ...]:
    return named_parts(context, names) if len(names) == len(context) else context


CHANGES: dict[str, Change] = {
    "typos": _per_part(lambda text, draw: with_typos(text, TYPO_SHARE, draw)),
    "lower_case": _per_part(lambda text, draw: text.lower()),
    "upper_case": _per_part(lambda text, draw: text.upper()),
    "no_punctuation": _per_part(lambda text, draw: without_punctuation(text)),
    "distractor": lambda context, names, draw: with_distractors(
        context, 1, draw, TRAINING_DISTRACTORS
    ),
    "ordinals": _ordinals,
    "field_names": _field_names,
}
"""Changes that training draws. `ordinals` names the parts ("The first text: ...") and shuffles
them; `field_names` names them by their fields and keeps their order."""

CHANGE_RATES = {
    "typos": 0.03,
    "lower_case": 0.04,
    "upper_case": 0.01,
    "no_punctuation": 0.03,
    "distractor": 0.04,
    "ordinals": 0.1,
    "field_names": 0.04,
}
"""Rates of `teacher.changes: all`."""

EXCLUSIVE = ("ordinals", "field_names")
"""Of these at most one is made: a part has one name."""


def changed(
    context: tuple[str, ...], names: Sequence[str], rates: Mapping[str, float], draw: Draw
) -> tuple[str, ...]:
    """A context after the changes that are drawn, each with its own probability.

    Args:
        context: Parts of the context.
        names: Their names; empty where they have none.
        rates: Change of `CHANGES` -> probability.
        draw: Random generator.
    """
    named = False
    for change, apply in CHANGES.items():
        if draw.random() < rates.get(change, 0.0) and not (named and change in EXCLUSIVE):
            context = apply(context, names, draw)
            named = named or change in EXCLUSIVE
    return context
