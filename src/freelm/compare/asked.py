"""How the arms ask: one row of every task as each kind of arm reads it, word by word."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from freelm.eval.items import labelled_examples
from freelm.eval.measure import report_rows
from freelm.report.page import Block, Code, Heading, Paragraph
from freelm.tasks import Task
from freelm.tasks.label_words import label_word_task

NEW_LINE = "\n "
"""What stands between two parts of a text in context; the tokens of a part begin with a space."""

SHOWN = 300
"""Characters of a part of a text that are shown."""


def how_asked(tasks: Sequence[Task], data_root: Path | None) -> list[Block]:
    """A section with one row of each task, in all ways to ask."""
    return [
        Heading("How tasks are asked"),
        Paragraph(
            "One row of each task. Propositions are judged true or false at [cls]; of label "
            "words, separated here by |, the likeliest ones are the answer. Fine-tuned models read "
            "them after the text and close them with the end-of-text token; in context they stand "
            "after Answer: and are closed by an empty line; demonstrations are written likewise."
        ),
        *(Code(one_row(task, data_root)) for task in tasks),
    ]


def one_row(task: Task, data_root: Path | None) -> str:
    """A measured row of a task as a proposition, for fine-tuning and in context."""
    rows = report_rows(task, data_root)
    (usual,) = labelled_examples(rows, task.training_phrasings[0], 1)
    number = int(usual.id.rpartition("/")[2])
    own = label_word_task(task)
    (plain,) = replace(rows, task=own).examples(own.phrasings[0], [number])
    propositions = [f"{_joined(usual.context, ' [sep] ')} [sep] {c} [cls]" for c in usual.claims]
    words = " | ".join(plain.claims)
    return "\n".join(
        [
            usual.id,
            *propositions,
            "",
            f"{_joined(plain.context, ' [sep] ')} [sep] {words}",
            "",
            f"{_joined(plain.context, NEW_LINE)}\nAnswer: {words}",
        ]
    )


def _joined(parts: Sequence[str], joint: str) -> str:
    return joint.join(part if len(part) <= SHOWN else part[:SHOWN] + " ..." for part in parts)
