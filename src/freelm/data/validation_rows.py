"""Validation rows, neither trained nor reported on: for the best checkpoint and temperatures."""

from pathlib import Path

from freelm.data.mixture import seeded
from freelm.tasks import Example, Rows, Task, load_rows
from freelm.tasks.sources import available_splits

VALIDATION_SEED = 0
"""The same for every run: a run that starts from another run's weights must hold out the same rows,
or it would validate on rows that the other was trained on."""


def unused_split_examples(task: Task, count: int, data_root: Path | None) -> list[Example]:
    """Labelled rows of a split that is neither trained nor reported on, in the training phrasing.

    Args:
        task: The task.
        count: Maximum number of rows.
        data_root: Data root of the rows.

    Returns:
        The same rows every time; none if the task has no such split with labels.

    Raises:
        DataError: If a split cannot be read or a row is wrong.
    """
    others = set(available_splits(task, data_root)) - {"train", task.report_split}
    for split in sorted(others, key=lambda name: (name != "validation", name)):
        rows = load_rows(task, split, data_root)
        numbers = draw_rows(task.name, len(rows), count)
        listed = rows.examples(task.training_phrasings[0], numbers)
        if labelled := [example for example in listed if example.truths is not None]:
            return labelled
    return []


def held_out_rows(rows: Rows, count: int) -> list[int]:
    """The training rows that every run holds out for validation.

    Args:
        rows: Training split of a task that has no other split for it.
        count: Maximum number of rows; never more than a fifth of the split.
    """
    return draw_rows(rows.task.name, len(rows), min(count, len(rows) // 5))


def draw_rows(name: str, size: int, count: int) -> list[int]:
    """Randomly drawn row numbers, the same every time; a smaller draw is part of a larger one.

    Args:
        name: Name of the task.
        size: Rows of the split.
        count: Maximum number of rows.
    """
    order = seeded(VALIDATION_SEED, "validation", name).permutation(size)
    return sorted(order[:count].tolist())
