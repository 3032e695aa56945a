"""Rows to choose by (best checkpoint, temperatures): neither trained on nor reported on."""

from pathlib import Path

from freelm.data.mixture import seeded
from freelm.tasks import Example, Rows, Task, load_rows
from freelm.tasks.sources import available_splits

CHOOSING_SEED = 0
"""Not a run's own: one that goes on from another's weights must keep the same rows, or it would
choose by rows that the other has trained on."""


def unreported_examples(task: Task, count: int, data_root: Path | None) -> list[Example]:
    """Labelled rows of a split that is neither trained nor reported on, in the training phrasing.

    Args:
        task: The task.
        count: Rows at most.
        data_root: Where its rows are.

    Returns:
        The rows, the same ones every time; none where the task has no such split with labels.

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


def kept_rows(rows: Rows, count: int) -> list[int]:
    """The numbers of training rows that every run leaves out of training, to choose by.

    Args:
        rows: Of the training split of a task that has no split for it.
        count: Rows at most; never more than a fifth of the split.
    """
    return draw_rows(rows.task.name, len(rows), min(count, len(rows) // 5))


def draw_rows(name: str, size: int, count: int) -> list[int]:
    """The numbers of rows to choose by, drawn at random, the same ones every time.

    Fewer rows are among more of them.

    Args:
        name: Of the task.
        size: Rows of the split.
        count: Rows at most.
    """
    order = seeded(CHOOSING_SEED, "validation", name).permutation(size)
    return sorted(order[:count].tolist())
