"""In-context learning: a base answers after a few rows with their answers, and nothing is trained.

Demonstrations are training rows of the same task, the same ones before every row that is answered;
they are read once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from freelm.config import RunConfig
from freelm.data.mixture import TeacherExample
from freelm.data.tokens import TextForm
from freelm.errors import ConfigError
from freelm.tasks import Example
from freelm.train.signals import build_teacher_signal, load_battery


@dataclass(frozen=True, slots=True)
class Shots:
    """Demonstrations in tokens.

    Attributes:
        ids: Token ids of all of them.
        rows: Ids of the rows that they are, `task/train/row`.
    """

    ids: tuple[int, ...]
    rows: tuple[str, ...]


def demonstrations(
    run: RunConfig, task: str, count: int, data_root: Path | None
) -> list[TeacherExample]:
    """Training rows of a task with their label words, labels spread evenly, drawn by a run's seed.

    A run that trains on the task would not draw other rows: those kept for choices and those that
    are evaluation rows elsewhere are left out. Fewer demonstrations are the first of more.

    Args:
        run: Its seed and teacher signal count.
        task: The task, as a configuration names it.
        count: How many.
        data_root: Where the data is.

    Raises:
        DataError: If the task has no training rows.
    """
    if count == 0:
        return []
    if run.teacher is None:
        raise ConfigError("in_context needs a base run with a teacher section")
    settings = run.teacher.model_copy(
        update={"tasks": [task], "weights": {}, "target": "label_words"}
    )
    battery = load_battery(settings, data_root)
    signal = build_teacher_signal(settings, battery, run.seed)
    return [signal.example(index) for index in range(count)]


def written(
    shots: Sequence[TeacherExample], form: TextForm, max_context_tokens: int
) -> list[Shots]:
    """Each demonstration in tokens: its text, cut as in training, and the words of its label."""
    found = []
    for shot in shots:
        context = form.context(shot.context, max_context_tokens)
        answer = form.claim(shot.claims[shot.truths.index(max(shot.truths))])
        found.append(Shots((*context.ids, *answer), (shot.id,)))
    return found


def fitting(shots: Sequence[Shots], room: int) -> Shots:
    """The first demonstrations that fit a number of tokens together."""
    ids: tuple[int, ...] = ()
    rows: tuple[str, ...] = ()
    for shot in shots:
        if len(ids) + len(shot.ids) > room:
            break
        ids, rows = ids + shot.ids, rows + shot.rows
    return Shots(ids, rows)


def longest(examples: Sequence[Example], form: TextForm, max_context_tokens: int) -> int:
    """Tokens of the longest of some questions with its longest answer."""
    return max(
        len(form.context(example.context, max_context_tokens).ids)
        + max(len(form.claim(claim)) for claim in example.claims)
        for example in examples
    )
