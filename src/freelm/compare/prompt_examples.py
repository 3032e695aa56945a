"""One row of every task, written the way each kind of arm reads it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from freelm.eval.items import labelled_examples
from freelm.eval.measure import report_rows
from freelm.eval.sections import Block, Paragraph, Verbatim
from freelm.tasks import Task
from freelm.tasks.label_word_task import label_word_task

NEW_LINE = "\n "
"""Joins the fields of a context in context: the tokens of each field begin with a space."""

MAX_CHARACTERS = 300
"""Longer fields are shortened on the page."""

EXPLANATION = (
    "One row of each task. A proposition is judged true or false at [cls]. Of label words, here "
    "separated by |, the most likely one is the answer: fine-tuned models read them after the text "
    "and end them with the end-of-text token; in context they follow Answer: and end with an empty "
    "line, as in the demonstrations."
)


def prompt_examples(tasks: Sequence[Task], data_root: Path | None) -> list[Block]:
    """One row of each task in every format."""
    return [Paragraph(EXPLANATION), *(Verbatim(one_row(task, data_root)) for task in tasks)]


def one_row(task: Task, data_root: Path | None) -> str:
    """An evaluated row as propositions, for fine-tuning on label words, and in context."""
    rows = report_rows(task, data_root)
    (usual,) = labelled_examples(rows, task.training_phrasings[0], 1)
    number = int(usual.id.rpartition("/")[2])
    own = label_word_task(task)
    (plain,) = replace(rows, task=own).examples(own.phrasings[0], [number])
    context, words = _join(plain.context, " [sep] "), " | ".join(plain.claims)
    lines = [
        usual.id,
        *(f"{_join(usual.context, ' [sep] ')} [sep] {claim} [cls]" for claim in usual.claims),
        f"\n{context} [sep] {words}",
        f"\n{_join(plain.context, NEW_LINE)}\nAnswer: {words}",
    ]
    return "\n".join(lines)


def _join(fields: Sequence[str], separator: str) -> str:
    limit = MAX_CHARACTERS
    return separator.join(f if len(f) <= limit else f[:limit] + " ..." for f in fields)
