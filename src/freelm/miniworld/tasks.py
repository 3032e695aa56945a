"""The labelled rows of the miniworld tasks: which functions make them, and how often.

To drop or reweight a mechanism, change its number in `MECHANISMS`; to see what one does, read its
function in `relations.py` or `judgements.py`.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from freelm.miniworld import judgements, relations
from freelm.miniworld.world import TOPICS, NothingOwned, World

UNSEEN_FAMILY = "consistency"
"""The family that the demo leaves out of training and evaluates."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "miniworld_entailment": ("text",),
    "miniworld_paraphrase": ("text",),
    "miniworld_sentiment": ("text", "target"),
    "miniworld_topic": ("text",),
    "miniworld_acceptability": ("sentence",),
    "miniworld_qa": ("text", "question"),
    "miniworld_consistency": ("report",),
}
"""Task -> its text columns."""

NUM_LABELS = {
    "miniworld_sentiment": 2,
    "miniworld_topic": len(TOPICS),
    "miniworld_acceptability": 2,
}
"""Task with fixed labels -> how many; the options of the others come from their rows."""

TASKS = tuple(COLUMNS)

Mechanism = Callable[..., tuple[Any, ...]]

MECHANISMS: dict[str, list[tuple[float, Mechanism]]] = {
    "miniworld_entailment": [
        (0.35, partial(relations.statement, kind="deed")),
        (0.30, partial(relations.statement, kind="gift")),
        (0.10, partial(relations.statement, kind="compare")),
        (0.15, partial(relations.statement, kind="place")),
        (0.10, relations.class_statement),
    ],
    "miniworld_paraphrase": [
        (0.50, partial(relations.rewording, kind="deed")),
        (0.35, partial(relations.rewording, kind="gift")),
        (0.15, partial(relations.rewording, kind="compare")),
    ],
    "miniworld_sentiment": [
        (0.25, judgements.thought_opinion),
        (0.15, judgements.right_opinion),
        (0.30, judgements.surprising_opinion),
        (0.30, judgements.two_opinions),
    ],
    "miniworld_topic": [
        (0.50, judgements.most_talked_about),
        (0.50, judgements.not_talked_about),
    ],
    "miniworld_acceptability": [
        (0.10, judgements.number_agreement),
        (0.10, judgements.tense_agreement),
        (0.80, judgements.word_order),
    ],
    "miniworld_qa": [
        (0.84, judgements.of_one_fact),
        (0.04, judgements.who_is_more),
        (0.06, judgements.where_is),
        (0.06, judgements.which_colour),
    ],
    "miniworld_consistency": [
        (0.45, partial(relations.statement, kind="deed")),
        (0.30, partial(relations.statement, kind="gift")),
        (0.10, partial(relations.statement, kind="compare")),
        (0.15, partial(relations.statement, kind="place")),
    ],
}
"""Task -> weighted mechanisms of its rows."""


def task_rows(task: str, split: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Labelled rows of one split of a task, no two with the same text.

    Args:
        task: One of `TASKS`.
        split: One of `freelm.miniworld.world.SPLITS`.
        count: Number of rows; all labels are equally frequent.
        seed: Seed of the world.
    """
    rng = Random(f"{seed}/{task}/{split}")
    world = World(rng, split)
    rows: list[dict[str, Any]] = []
    seen: set[tuple[Any, ...]] = set()
    while len(rows) < count:
        row, texts = _draw_row(world, task, len(rows))
        if split == "train" or texts not in seen:
            seen.add(texts)
            rows.append(row)
    rng.shuffle(rows)
    return rows


def _draw_row(world: World, task: str, index: int) -> tuple[dict[str, Any], tuple[Any, ...]]:
    weights, mechanisms = zip(*MECHANISMS[task], strict=True)
    while True:
        mechanism = world.rng.choices(mechanisms, weights)[0]
        try:
            if task in NUM_LABELS:
                return _labelled_row(world, task, mechanism, index % NUM_LABELS[task])
            return _question_row(world, task, mechanism)
        except NothingOwned:
            continue


def _labelled_row(
    world: World, task: str, mechanism: Mechanism, label: int
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    texts = mechanism(world, label=label)
    return {**dict(zip(COLUMNS[task], texts, strict=True)), "label": label}, texts


def _question_row(
    world: World, task: str, mechanism: Mechanism
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    *texts, answer, wrong = mechanism(world)
    options = [answer, *wrong]
    world.rng.shuffle(options)
    row = {**dict(zip(COLUMNS[task], texts, strict=True)), "options": options}
    return {**row, "answer": options.index(answer)}, tuple(texts)
