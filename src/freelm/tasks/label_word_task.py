"""Label words: a task without propositions, for plain fine-tuning and in-context learning.

The text of a row is followed by words that name its label: `positive` after a review, or the option
itself. The task's name comes first, because several tasks can ask about the same text (T5 does the
same, arXiv 1910.10683, section 2.4), followed by the words to choose from if there are few. Fields
that only claims mention come after the text, so that this format and the claims give a model the
same information.
"""

from freelm.errors import TaskError
from freelm.tasks.definition import Phrasing
from freelm.tasks.task import Task
from freelm.tasks.template import template_fields

PHRASING = "label_words"

MAX_NAMED = 8
"""Most labels that are listed after the task's name; a longer list would crowd out the text."""


def label_word_task(task: Task) -> Task:
    """The same rows and labels with label words in place of claims.

    A predicate becomes a choice between its two labels.

    Raises:
        TaskError: If two labels have the same words.
    """
    return task.model_copy(
        update={
            "question": "choice" if task.question == "predicate" else task.question,
            "context": [_asked(task), *task.context, *_told_by_claims_alone(task)],
            "phrasings": [_label_words(task)],
        }
    )


def _asked(task: Task) -> str:
    """The task's name, and the words to choose from."""
    name = task.name.replace("_", " ")
    words = [] if task.question == "options" else list(_words(task).values())
    return f"{name}: {' or '.join(map(_literal, words))}?" if 0 < len(words) <= MAX_NAMED else name


def _label_words(task: Task) -> Phrasing:
    if task.question == "options":
        return Phrasing(name=PHRASING, template="{option}")
    words = _words(task)
    if len(set(words.values())) < len(words):
        raise TaskError(f"task {task.name!r}: two labels have the same words")
    return Phrasing(name=PHRASING, claims={name: _literal(text) for name, text in words.items()})


def _words(task: Task) -> dict[str, str]:
    """Label -> its words."""
    return {
        name: task.label.descriptions.get(name, name.replace("_", " ")) for name in task.label.ids
    }


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _told_by_claims_alone(task: Task) -> list[str]:
    """Templates of the fields that claims use and the context does not, in the task's order."""
    in_context = {name for part in task.context for name in template_fields(part)}
    in_claims = {
        name
        for phrasing in task.training_phrasings
        for text in (*phrasing.claims.values(), phrasing.template or "")
        for name in template_fields(text)
    }
    return [f"{{{name}}}" for name in task.fields if name in in_claims - in_context]
