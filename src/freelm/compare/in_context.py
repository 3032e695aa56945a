"""In-context learning: the model reads some training rows with their answers; nothing is trained.

All rows of a task get the same demonstrations, which are computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from freelm.config import RunConfig
from freelm.data.teacher import TeacherExample
from freelm.data.tokens import TextForm
from freelm.errors import ConfigError
from freelm.tasks import Example
from freelm.train.signals import build_teacher_signal, load_battery


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """Tokenized demonstrations.

    Attributes:
        ids: Token ids of all of them.
        rows: Ids of their rows, `task/train/row`.
    """

    ids: tuple[int, ...] = ()
    rows: tuple[str, ...] = ()


def draw_demonstrations(
    run: RunConfig, task: str, count: int, data_root: Path | None
) -> list[TeacherExample]:
    """Training rows of a task with their label words, balanced over labels, drawn by its seed.

    They come from the rows that training on the task would draw from: validation rows and rows that
    occur in an evaluation split are excluded. Fewer demonstrations are a prefix of more.

    Args:
        run: Gives the seed and the teacher signal.
        task: The task, as a configuration names it.
        count: Number of demonstrations.
        data_root: Where the data is.

    Raises:
        DataError: If the task has no training rows.
    """
    if count == 0:
        return []
    if run.teacher is None:
        raise ConfigError("in_context needs a base run with a teacher section")
    changes = {"tasks": [task], "weights": {}, "target": "label_words"}
    settings = run.teacher.model_copy(update=changes)
    signal = build_teacher_signal(settings, load_battery(settings, data_root), run.seed)
    return [signal.example(index) for index in range(count)]


def tokenize(
    shots: Sequence[TeacherExample], form: TextForm, max_context_tokens: int
) -> list[Demonstrations]:
    """Each demonstration: its context, truncated as in training, and the words of its label."""
    tokenized = []
    for shot in shots:
        context = form.context(shot.context, max_context_tokens)
        answer = form.claim(shot.claims[shot.truths.index(max(shot.truths))])
        tokenized.append(Demonstrations((*context.ids, *answer), (shot.id,)))
    return tokenized


def fit(shots: Sequence[Demonstrations], max_tokens: int) -> Demonstrations:
    """As many of the first demonstrations as fit into a number of tokens."""
    joined = Demonstrations()
    for shot in shots:
        if len(joined.ids) + len(shot.ids) > max_tokens:
            break
        joined = Demonstrations(joined.ids + shot.ids, joined.rows + shot.rows)
    return joined


def longest_question(examples: Sequence[Example], form: TextForm, max_context_tokens: int) -> int:
    """Tokens of the longest question with its longest answer."""
    return max(
        len(form.context(example.context, max_context_tokens).ids)
        + max(len(form.claim(claim)) for claim in example.claims)
        for example in examples
    )
