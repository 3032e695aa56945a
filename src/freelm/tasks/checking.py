"""Check a task against its data: columns, fields and labels of real rows."""

from collections.abc import Callable
from pathlib import Path

from freelm.errors import DataError
from freelm.tasks.forms import FORMS, wordings
from freelm.tasks.sources import available_splits, load_rows
from freelm.tasks.task import Task


def check_data(
    task: Task, data_root: Path | None, max_rows: int, say: Callable[[str], None]
) -> list[str]:
    """Render rows of every split in every phrasing and form.

    Args:
        task: A sound definition.
        data_root: Where its rows are.
        max_rows: Rows of each split to render, at most.
        say: Receives one line per split, or a line that says that there is no data.

    Returns:
        One line per problem.
    """
    problems: list[str] = []
    forms = [found[0] for form in FORMS if (found := wordings(task, form))]
    splits = available_splits(task, data_root)
    if not splits:
        say(f"{task.name}: no data to check; give --data or source.files")
    for split in splits:
        try:
            rows = load_rows(task, split, data_root)
        except DataError as error:
            problems.append(str(error))
            continue
        bad = []
        count = min(max_rows, len(rows))
        for number in range(count):
            try:
                for phrasing in task.phrasings:
                    rows.example(number, phrasing)
                for wording in forms:
                    rows.form(number, wording)
            except DataError as error:
                bad.append(str(error))
        problems += bad
        say(f"{task.name}/{split}: {count - len(bad)} of {count} rows are sound")
    return problems
